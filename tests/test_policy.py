"""The rules: what is decided of a film from its header and the findings of the gates."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from itertools import product
from pathlib import Path

import pytest
import yaml
from dicom_files import dx, ramp
from pydicom.uid import (
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
)

from pipelines.film import Act, Box, Claim, Decision, Finding, Header, Operations, Reason, Verdict
from pipelines.header import read_header
from pipelines.policy import (
    ACCEPTS,
    DEFAULT_RULES,
    MEASURED,
    UNEXPLAINED,
    Acceptance,
    Policy,
    PolicyError,
    accepts,
    claim,
    claimed_view,
    corrections,
    decide,
    decide_unreadable,
)

GATES = ("header", "exposure", "anatomy", "inversion", "rotation", "mirror", "lungs")
TODAY = date(2026, 11, 20)
CHEST = Header(
    sop_class_uid=DigitalXRayImageStorageForPresentation,
    modality="DX",
    part="chest",
    view="frontal",
    view_position="PA",
    age_years=50,
    study_date="20261101",
)
SILENT = replace(CHEST, part="", view="", view_position="")
HAND = replace(CHEST, part="other", view="", view_position="")
LATERAL = replace(CHEST, part="chest", view="lateral", view_position="LL")
CHEST_ANY_VIEW = replace(CHEST, view="", view_position="")
BOX = Box(0.3, 0.3, 0.6, 0.6)
DEFAULT_TEXT = DEFAULT_RULES.read_text(encoding="utf-8")


def gate_of(reason: Reason) -> str:
    """The gate that gives a reason."""
    names = {
        "exposure": (
            "BLANK",
            "WASHED_OUT",
            "CLIPPED",
            "BORDER",
            "OVEREXPOSED",
            "UNDEREXPOSED",
            "SEVERAL_FILMS",
        ),
        "integrity": ("PIXELS_DAMAGED",),
        "anatomy": ("LATERAL", "OTHER_PART", "NOT_A_RADIOGRAPH", "UNKNOWN_ANATOMY", "AGE_CONTRADICTS"),
        "inversion": ("INVERTED", "INVERSION_UNSURE", "POLARITY_AMBIGUOUS"),
        "rotation": ("ROTATED_90", "ROTATED_180", "ROTATED_270", "ROTATION_UNSURE"),
        "mirror": ("MIRROR_SUSPECTED",),
        "lungs": ("LUNGS_NOT_FOUND", "LUNGS_CUT_OFF", "LUNG_BY_SYMMETRY"),
        "history": ("OTHER_PIXELS", "ATTEMPTS_EXHAUSTED", "COPY_FAILED"),
        "decode": ("UNREADABLE", "UNSUPPORTED", "NO_PIXELS", "PIXELS_MISMATCH", "DECODE_FAILED"),
    }
    return next((gate for gate, reasons in names.items() if reason.value in reasons), "header")


def says(word: str, gate: str = "") -> Finding:
    """A finding from a word as the rules use them: "BLANK" is sure of it, "BLANK?" suspects it."""
    reason = Reason(word.removesuffix("?"))
    verdict = Verdict.UNSURE if word.endswith("?") else Verdict.BAD
    box = BOX if reason is Reason.BORDER else None
    return Finding(gate or gate_of(reason), verdict, 0.1, 0.2, 0.8, reason, box=box)


def film(*words: str) -> tuple[Finding, ...]:
    """The findings of every gate: good, except for those that say something."""
    said = tuple(says(word) for word in words)
    spoke = {finding.gate for finding in said if finding.reason is not Reason.AGE_CONTRADICTS}
    return (*(Finding(gate, Verdict.GOOD, 0.9, 0.2, 0.8) for gate in GATES if gate not in spoke), *said)


def judge(header: Header, findings: tuple[Finding, ...], **more: object) -> Decision:
    options = {"destinations": {"chest-ai": Acceptance()}, "today": TODAY, **more}
    return decide(Policy.default(), header, findings, **options)  # type: ignore[arg-type]


W, Q, C, P = Act.WITHHOLD, Act.QUARANTINE, Act.CORRECT, Act.PASS
CASES = [
    # header, what the gates say, act, rule, reasons
    (CHEST, "", P, "qualified", ""),
    (SILENT, "", P, "qualified", ""),
    (CHEST, "NOT_A_FILM", W, "not a film for AI", "NOT_A_FILM"),
    (CHEST, "FOR_PROCESSING", W, "not a film for AI", "FOR_PROCESSING"),
    (CHEST, "DERIVED", W, "not a film for AI", "DERIVED"),
    (CHEST, "SECONDARY", W, "not a film for AI", "SECONDARY"),
    (CHEST, "COMPANION", W, "not a film for AI", "COMPANION"),
    (CHEST, "OURS", W, "not a film for AI", "OURS"),
    (CHEST, "RULED_OUT", W, "a person said never", "RULED_OUT"),
    (CHEST, "HEADER_WORD", Q, "word of a special picture", "HEADER_WORD"),
    (SILENT, "HEADER_WORD INVERTED", Q, "word of a special picture", "HEADER_WORD INVERTED"),
    (
        CHEST,
        "HEADER_WORD LATERAL",
        Q,
        "header claims a frontal chest",
        "HEADER_CONTRADICTS HEADER_WORD LATERAL",
    ),
    (LATERAL, "HEADER_WORD LATERAL", W, "header and picture rule out a frontal chest", "LATERAL"),
    (CHEST, "HEADER_WORD UNKNOWN_ANATOMY?", Q, "unknown anatomy", "HEADER_WORD UNKNOWN_ANATOMY"),
    (CHEST, "FOR_PROCESSING INVERTED BLANK", W, "not a film for AI", "FOR_PROCESSING"),
    (CHEST, "MULTI_FRAME", Q, "unclear object", "MULTI_FRAME"),
    (CHEST, "NOT_A_FILM?", Q, "unclear object", "NOT_A_FILM"),
    (CHEST, "DECODE_FAILED", Q, "unreadable", "DECODE_FAILED"),
    (CHEST, "PIXELS_DAMAGED", Q, "damaged", "PIXELS_DAMAGED"),
    (HAND, "PIXELS_DAMAGED OTHER_PART", Q, "damaged", "PIXELS_DAMAGED"),
    (CHEST, "COPY_FAILED", Q, "history", "COPY_FAILED"),
    (CHEST, "OTHER_PIXELS", Q, "history", "OTHER_PIXELS"),
    (HAND, "OTHER_PART", W, "header and picture rule out a frontal chest", "OTHER_PART"),
    (HAND, "UNKNOWN_ANATOMY?", W, "header and picture rule out a frontal chest", "UNKNOWN_ANATOMY"),
    (HAND, "OTHER_PART WASHED_OUT", W, "header and picture rule out a frontal chest", "OTHER_PART"),
    (LATERAL, "LATERAL", W, "header and picture rule out a frontal chest", "LATERAL"),
    (LATERAL, "OTHER_PART", W, "header and picture rule out a frontal chest", "OTHER_PART"),
    (CHEST, "BLANK", Q, "badly exposed", "BLANK"),
    (CHEST, "WASHED_OUT", Q, "badly exposed", "WASHED_OUT"),
    (CHEST, "CLIPPED", Q, "badly exposed", "CLIPPED"),
    (CHEST, "WASHED_OUT?", Q, "badly exposed", "WASHED_OUT"),
    (CHEST, "OVEREXPOSED", Q, "badly exposed", "OVEREXPOSED"),
    (CHEST, "UNDEREXPOSED?", Q, "badly exposed", "UNDEREXPOSED"),
    (CHEST, "SEVERAL_FILMS", Q, "several films", "SEVERAL_FILMS"),
    (SILENT, "SEVERAL_FILMS? OTHER_PART", Q, "several films", "SEVERAL_FILMS"),
    (HAND, "SEVERAL_FILMS OTHER_PART", W, "header and picture rule out a frontal chest", "OTHER_PART"),
    (SILENT, "BLANK OTHER_PART", Q, "badly exposed", "BLANK"),
    (CHEST, "OTHER_PART", Q, "header claims a frontal chest", "HEADER_CONTRADICTS OTHER_PART"),
    (CHEST, "LATERAL", Q, "header claims a frontal chest", "HEADER_CONTRADICTS LATERAL"),
    (CHEST, "NOT_A_RADIOGRAPH", Q, "header claims a frontal chest", "HEADER_CONTRADICTS NOT_A_RADIOGRAPH"),
    (SILENT, "OTHER_PART ROTATED_90", W, "not a frontal chest", "OTHER_PART"),
    (CHEST_ANY_VIEW, "LATERAL", W, "not a frontal chest", "LATERAL"),
    (CHEST_ANY_VIEW, "OTHER_PART", Q, "header claims a frontal chest", "HEADER_CONTRADICTS OTHER_PART"),
    (CHEST, "UNKNOWN_ANATOMY?", Q, "unknown anatomy", "UNKNOWN_ANATOMY"),
    (SILENT, "UNKNOWN_ANATOMY", Q, "unknown anatomy", "UNKNOWN_ANATOMY"),
    (HAND, "", Q, "header denies a frontal chest", "HEADER_CONTRADICTS"),
    (LATERAL, "", Q, "header denies a frontal chest", "HEADER_CONTRADICTS"),
    (CHEST, "MIRROR_SUSPECTED", Q, "mirror suspected", "MIRROR_SUSPECTED"),
    (CHEST, "MIRROR_SUSPECTED ROTATED_180", Q, "mirror suspected", "MIRROR_SUSPECTED ROTATED_180"),
    (CHEST, "ROTATION_UNSURE?", Q, "not sure", "ROTATION_UNSURE"),
    (CHEST, "INVERSION_UNSURE? ROTATED_90", Q, "not sure", "INVERSION_UNSURE ROTATED_90"),
    (CHEST, "BORDER?", Q, "not sure", "BORDER"),
    (CHEST, "ROTATED_90", C, "can be put right", "ROTATED_90"),
    (CHEST, "INVERTED", C, "can be put right", "INVERTED"),
    (CHEST, "BORDER", C, "can be put right", "BORDER"),
    (CHEST, "ROTATED_270 INVERTED BORDER", C, "can be put right", "ROTATED_270 INVERTED BORDER"),
    (CHEST, "ROTATED_180 LUNGS_NOT_FOUND", C, "can be put right", "ROTATED_180"),
    (CHEST, "LUNGS_NOT_FOUND", Q, "no lungs found", "LUNGS_NOT_FOUND"),
]


@pytest.mark.parametrize(("header", "words", "act", "rule", "reasons"), CASES)
def test_each_rule_fires_for_its_case(header: Header, words: str, act: Act, rule: str, reasons: str) -> None:
    decision = judge(header, film(*words.split()))
    assert (decision.act, decision.rule) == (act, rule)
    assert sorted(decision.reasons) == sorted(Reason(word) for word in reasons.split())
    assert decision.why
    assert [row["rule"] for row in decision.trace if row["fired"]][:1] == [rule]


def test_every_default_rule_has_a_case() -> None:
    of_their_own = {"gate failed", "worth a note", "age contradicts", "a person said always"}  # tests
    fired = {rule for *_, rule, _ in CASES} | of_their_own
    assert fired == {rule.name for rule in Policy.default().rules}


def test_every_reason_that_a_gate_can_give_holds_a_film_or_flags_it() -> None:
    """Some are reasons of decisions, REJECTED is what others said; those of region gates hold no chest."""
    decisions = {Reason.NO_AI_ACCEPTS, Reason.HEADER_CONTRADICTS, Reason.REJECTED}
    for reason in set(Reason) - decisions - {Reason.NOT_THIS_REGION, Reason.REGION_UNSURE}:
        decision = judge(CHEST, film(reason.value))
        assert reason in (*decision.reasons, *decision.flags)
        assert decision.rule != UNEXPLAINED, reason


@pytest.mark.parametrize("reason", [Reason.GATE_FAILED, Reason.MODEL_MISSING])
@pytest.mark.parametrize("gate", GATES)
def test_a_gate_that_failed_holds_the_film(gate: str, reason: Reason) -> None:
    good = tuple(f for f in film() if f.gate != gate)
    decision = judge(CHEST, (*good, Finding(gate, Verdict.FAILED, reason=reason)))
    assert (decision.act, decision.rule, decision.reasons) == (Q, "gate failed", (reason,))


@pytest.mark.parametrize("gate", GATES[:-1])
def test_a_required_gate_that_said_nothing_has_failed(gate: str) -> None:
    decision = judge(CHEST, tuple(f for f in film() if f.gate != gate))
    assert (decision.act, decision.reasons) == (Q, (Reason.GATE_FAILED,))


def test_a_gate_that_was_not_asked_does_not_matter_when_another_settled_it() -> None:
    """Which way up is a hand, or an empty plate?"""
    assert judge(SILENT, (*film("OTHER_PART")[:2], says("OTHER_PART"))).rule == "not a frontal chest"
    assert judge(CHEST, (film()[0], says("BLANK"))).rule == "badly exposed"


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_a_failure(score: float) -> None:
    findings = tuple(replace(f, score=score) if f.gate == "mirror" else f for f in film())
    assert judge(CHEST, findings).reasons == (Reason.GATE_FAILED,)


def test_nothing_at_all_is_held() -> None:
    assert judge(CHEST, ()).act is Q


GATE_SAYS = {
    "header": ("NOT_A_FILM", "NOT_A_FILM?"),
    "exposure": ("BLANK", "BORDER?"),
    "anatomy": ("LATERAL", "UNKNOWN_ANATOMY?"),
    "inversion": ("INVERTED", "INVERSION_UNSURE?"),
    "rotation": ("ROTATED_90", "ROTATION_UNSURE?"),
    "mirror": ("MIRROR_SUSPECTED", "MIRROR_SUSPECTED?"),
    "lungs": ("LUNGS_NOT_FOUND", "LUNGS_NOT_FOUND?"),
}


def test_no_film_passes_unless_every_gate_is_good_or_flagged() -> None:
    """Every combination of good, bad, unsure and failed over all gates, with three kinds of header."""
    failed = {gate: Finding(gate, Verdict.FAILED, reason=Reason.GATE_FAILED) for gate in GATES}
    good = {gate: Finding(gate, Verdict.GOOD, 0.9) for gate in GATES}
    spoken = [(good[gate], *(says(word, gate) for word in GATE_SAYS[gate]), failed[gate]) for gate in GATES]
    for header, *findings in product((CHEST, HAND, SILENT), *spoken):
        decision = judge(header, tuple(findings))
        wrong = {f.reason for f in findings if f.verdict is not Verdict.GOOD}
        assert decision.act is not P or wrong <= set(decision.flags)
        assert decision.act is P or decision.reasons
        assert decision.act is P or not decision.destinations or decision.operations
        assert decision.act is not C or wrong <= {Reason.INVERTED, Reason.ROTATED_90, Reason.LUNGS_NOT_FOUND}


def test_a_rule_cannot_pass_or_correct_what_another_finding_speaks_against() -> None:
    """A site's own policy that forgets every rule but two still holds what is not good."""
    policy = Policy.load("""
version: 1
rules:
  - {name: put right, when: {any: [INVERTED]}, act: correct, why: inverted}
  - {name: pass, when: {all: [good]}, act: pass, why: good}
""")
    for words in ("INVERTED BLANK", "INVERTED ROTATION_UNSURE?", "MIRROR_SUSPECTED", "GATE_FAILED"):
        decision = decide(policy, CHEST, film(*words.split()), destinations={}, today=TODAY)
        assert (decision.act, decision.rule) == (Q, UNEXPLAINED)
        assert Reason(words.split()[-1].removesuffix("?")) in decision.reasons


# Correction


@pytest.mark.parametrize(
    ("words", "operations"),
    [
        ("ROTATED_90", Operations(turn=270)),
        ("ROTATED_180", Operations(turn=180)),
        ("ROTATED_270 INVERTED", Operations(turn=90, invert=True)),
        ("BORDER INVERTED", Operations(crop=BOX, invert=True)),
        ("POLARITY_AMBIGUOUS", Operations(relabel=True)),
        ("ROTATED_90 POLARITY_AMBIGUOUS", Operations(turn=270, relabel=True)),
    ],
)
def test_the_correction_turns_back_what_was_found(words: str, operations: Operations) -> None:
    decision = judge(CHEST, film(*words.split()))
    assert decision.operations == operations
    assert decision.destinations == ("chest-ai",)


def test_two_turns_or_a_border_without_a_box_cannot_be_corrected() -> None:
    assert corrections((says("ROTATED_90"), says("ROTATED_180"))) is None
    assert corrections((replace(says("BORDER"), box=None),)) is None
    assert corrections((says("INVERTED?"),)) is None
    assert judge(CHEST, (*film("ROTATED_90"), says("ROTATED_180"))).act is Q


def test_the_words_say_what_becomes_of_the_copy() -> None:
    assert "waits for a person" in judge(CHEST, film("INVERTED"), correct="propose").why
    assert "gated again" in judge(CHEST, film("INVERTED"), correct="auto").why
    assert "gated again" in judge(CHEST, film("POLARITY_AMBIGUOUS"), correct="propose").why
    assert "waits for a person" in judge(CHEST, film("POLARITY_AMBIGUOUS", "INVERTED"), correct="propose").why
    observed = judge(CHEST, film("INVERTED"), mode="observe")
    assert observed.act is C
    assert "nothing is held" in observed.why
    assert "No copy was made" in observed.why
    alone = judge(CHEST, film("INVERTED"), mode="alone").why
    assert "No copy was made; a gateway that enforces its policy makes one" in alone
    assert "corrected copy waits" not in alone


# Flags


def test_what_is_flagged_passes_and_is_noted() -> None:
    decision = judge(CHEST, film("DERIVED?", "LUNGS_CUT_OFF"))
    assert (decision.act, decision.reasons) == (P, ())
    assert set(decision.flags) == {Reason.DERIVED, Reason.LUNGS_CUT_OFF}


def test_a_doubt_about_lungs_is_a_flag_but_no_lungs_at_all_is_held() -> None:
    assert judge(CHEST, film("LUNGS_NOT_FOUND?")).flags == (Reason.LUNGS_NOT_FOUND,)
    assert judge(CHEST, film("LUNGS_NOT_FOUND")).act is Q


def test_one_lung_boxed_by_symmetry_is_a_flag_also_on_a_film_that_is_turned() -> None:
    assert judge(CHEST, film("LUNG_BY_SYMMETRY")).flags == (Reason.LUNG_BY_SYMMETRY,)
    turned = judge(CHEST, film("LUNG_BY_SYMMETRY", "ROTATED_90"))
    assert (turned.act, turned.operations) == (C, Operations(turn=270))


@pytest.mark.parametrize("word", ["AGE_CONTRADICTS", "AGE_CONTRADICTS?"])
def test_an_age_that_does_not_fit_is_noted_and_holds_nothing(word: str) -> None:
    decision = judge(CHEST, film(word))
    assert (decision.act, decision.flags) == (P, (Reason.AGE_CONTRADICTS,))
    assert judge(HAND, film(word)).rule == "header denies a frontal chest"


def test_an_age_that_does_not_fit_is_held_where_a_site_says_so() -> None:
    """One word of the shipped rules, as the manual tells."""
    name, rest = DEFAULT_TEXT.split("  - name: age contradicts\n")
    policy = Policy.load(
        f"{name}  - name: age contradicts\n{rest.replace('act: flag', 'act: quarantine', 1)}"
    )
    decision = decide(
        policy, CHEST, film("AGE_CONTRADICTS", "MIRROR_SUSPECTED"), destinations={}, today=TODAY
    )
    assert (decision.act, decision.rule) == (Q, "age contradicts")
    assert set(decision.reasons) == {Reason.AGE_CONTRADICTS, Reason.MIRROR_SUSPECTED}


def test_an_age_alone_does_not_say_what_the_film_shows() -> None:
    """The anatomy gate that says no more than that has not spoken."""
    without = tuple(f for f in film() if f.gate != "anatomy")
    assert judge(CHEST, (*without, says("AGE_CONTRADICTS"))).reasons == (Reason.GATE_FAILED,)


# What was measured


def test_what_was_measured_stands_in_the_trace_and_holds_nothing() -> None:
    facts = {"rotation": (("tilt_deg", -12.4),), "anatomy": (("ap", 0.03), ("child", float("nan")))}
    findings = tuple(replace(f, facts=facts.get(f.gate, ())) for f in film())
    decision = judge(CHEST, findings)
    (row,) = (row for row in decision.trace if row["rule"] == MEASURED)
    assert row["because"] == "anatomy: PA, p .97; rotation: tilted 12 degrees counter-clockwise"
    assert (decision.act, row["fired"]) == (P, False)


# The header's claim


@pytest.mark.parametrize(
    ("part", "view", "word", "expected"),
    [
        ("other", "", "OTHER_PART", Claim.AGREES),
        ("", "", "OTHER_PART", Claim.SILENT),
        ("", "frontal", "OTHER_PART", Claim.SILENT),  # a hand is PA as well
        ("chest", "", "OTHER_PART", Claim.CONTRADICTS),
        ("chest", "frontal", "OTHER_PART", Claim.CONTRADICTS),
        ("chest", "lateral", "OTHER_PART", Claim.AGREES),
        ("chest", "lateral", "LATERAL", Claim.AGREES),
        ("chest", "", "LATERAL", Claim.SILENT),
        ("", "frontal", "LATERAL", Claim.CONTRADICTS),
        ("other", "frontal", "LATERAL", Claim.AGREES),
        ("chest", "frontal", "UNKNOWN_ANATOMY?", Claim.CONTRADICTS),
    ],
)
def test_the_header_agrees_is_silent_or_contradicts(part: str, view: str, word: str, expected: Claim) -> None:
    assert claim(Header(part=part, view=view), says(word)) is expected


@pytest.mark.parametrize(
    ("part", "view", "expected"),
    [
        ("chest", "frontal", Claim.AGREES),
        ("", "", Claim.SILENT),
        ("other", "", Claim.CONTRADICTS),
        ("chest", "other", Claim.CONTRADICTS),
    ],
)
def test_a_frontal_chest_may_be_denied_by_its_header(part: str, view: str, expected: Claim) -> None:
    assert claim(Header(part=part, view=view), Finding("anatomy", Verdict.GOOD)) is expected


def test_a_contradiction_tells_the_person_what_the_header_says() -> None:
    assert "The header says: another part" in judge(HAND, film()).why


# The site's own words


SITE = "{name: ok, when: {all: [good]}, act: pass, why: good}"
HELD = "{name: unknown, when: {anatomy: [unsure]}, act: quarantine, why: unknown}"
AGREED = "{name: ruled out, when: {anatomy: [unsure]}, claim: [agrees], act: withhold, why: two opinions}"
DENIED = (
    "{name: denied, when: {anatomy: [good]}, claim: [contradicts], act: quarantine,"
    " reason: HEADER_CONTRADICTS, why: another part}"
)
ROOMS = "regions: {chest: [Käfig, ZG*, THX OP, clavicle], other: [GERÄT, lunge zg]}"


@pytest.mark.parametrize(
    ("body_part", "part", "clean", "half_cut"),
    [
        ("KAFIG", "chest", P, Q),
        ("KAEFIG LINKS", "chest", P, Q),
        ("ZGROSS", "chest", P, Q),
        ("THX-OP", "chest", P, Q),
        ("CLAVICLE", "chest", P, Q),  # the site's word goes before ours
        ("KÄFIG WIRBEL", "other", Q, W),  # but no word makes a chest of a spine
        ("GERAET", "other", Q, W),
        ("LUNGE ZG", "", P, Q),  # words of both
        ("CHEST", "chest", P, Q),  # ours still count
        ("HAND", "other", Q, W),
        ("KAEFIGE", "", P, Q),  # a whole word
    ],
)
def test_a_site_says_which_words_its_rooms_use(body_part: str, part: str, clean: Act, half_cut: Act) -> None:
    """Words of `regions: {chest, other}` in the policy file decide what the header claims."""
    policy = Policy.load(f"{ROOMS}\n{rules(AGREED, HELD, DENIED, SITE)}")
    header = read_header(dx(ramp(), BodyPartExamined=body_part, AnatomicRegionSequence=None))
    assert policy.reads(header).part == part
    acts = [
        decide(policy, header, findings, destinations={}, today=TODAY).act
        for findings in (film(), film("UNKNOWN_ANATOMY?"))
    ]
    assert acts == [clean, half_cut]


def test_a_header_that_the_site_has_no_word_for_is_left_as_it_is() -> None:
    """A coded region, for example, says chest where BodyPartExamined is silent."""
    policy = Policy.load(f"{ROOMS}\n{rules(OK)}")
    for header in (CHEST, HAND, SILENT, replace(CHEST, body_part="WIDGET")):
        assert policy.reads(header) is header


@pytest.mark.parametrize("body_part", ["BRUST", "TÓRAX", "CAGE THORACIQUE", "RIBS", "WIDGET"])
def test_a_chest_passes_and_a_doubtful_one_is_held_whatever_the_language(body_part: str) -> None:
    """Nothing in such a header denies a chest, so no film is withheld unseen for it."""
    header = read_header(dx(ramp(), BodyPartExamined=body_part, AnatomicRegionSequence=None))
    assert judge(header, film()).act is P
    assert judge(header, film("UNKNOWN_ANATOMY?")).act is Q
    assert judge(header, film("LUNGS_CUT_OFF")).flags == (Reason.LUNGS_CUT_OFF,)


@pytest.mark.parametrize("body_part", ["MANO", "KNÖCHELGELENK", "COLUMNA DORSAL", "BWS"])
def test_another_part_is_known_in_other_languages(body_part: str) -> None:
    header = read_header(dx(ramp(), BodyPartExamined=body_part, AnatomicRegionSequence=None))
    assert judge(header, film()).reasons == (Reason.HEADER_CONTRADICTS,)
    assert judge(header, film("UNKNOWN_ANATOMY?")).act is W


# Destinations


def test_no_day_lies_between_the_ais_for_children_and_for_adults() -> None:
    """The shipped example: on each day around the 18th birthday exactly one takes the film."""
    text = (Path(__file__).parents[1] / "config" / "hospital.yaml").read_text(encoding="utf-8")
    blocks = yaml.safe_load(text)["destinations"]
    ages = {name: blocks[name]["accepts"] for name in ("chest-ai", "chest-ai-children")}
    takers = {
        name: Acceptance(min_age=block["min_age"], max_age=block.get("max_age", 200.0))
        for name, block in ages.items()
    }
    told = []
    for days in range(-400, 400):
        born = date(2008, 11, 1) - timedelta(days=days)
        header = read_header(dx(ramp(), PatientAge=None, PatientBirthDate=f"{born:%Y%m%d}"))
        told.append([name for name, ai in takers.items() if accepts(ai, header, TODAY)[0]])
    assert told == [["chest-ai-children"]] * 400 + [["chest-ai"]] * 400


def test_an_age_that_could_not_be_read_is_told() -> None:
    """In the words of the decision where it held the film, in its trace where another age was found."""
    unread = read_header(dx(ramp(), PatientAge="XX", PatientBirthDate=None))
    decision = judge(unread, film())
    assert decision.act is W
    assert "chest-ai: the age is unknown: the age 'XX' could not be read" in decision.why
    other = judge(read_header(dx(ramp(), PatientAge="XX")), film())
    assert (other.act, other.trace[-1]["because"]) == (
        P,
        "taken by chest-ai; the age 'XX' could not be read",
    )


def test_a_child_is_kept_from_an_adult_ai_and_told_why() -> None:
    decision = judge(replace(CHEST, age_years=3), film())
    assert (decision.act, decision.rule, decision.reasons) == (W, ACCEPTS, (Reason.NO_AI_ACCEPTS,))
    assert "chest-ai: age 3 is under 10" in decision.why


def test_no_copy_is_made_for_an_ai_that_would_not_take_it() -> None:
    decision = judge(replace(CHEST, age_years=3), film("INVERTED"))
    assert (decision.act, decision.operations) == (W, Operations())
    assert decision.reasons == (Reason.NO_AI_ACCEPTS, Reason.INVERTED)


def test_a_film_goes_to_each_destination_that_takes_it() -> None:
    takers = {
        "adults": Acceptance(),
        "children": Acceptance(min_age=0, max_age=9),
        "all": Acceptance(min_age=0),
    }
    assert judge(CHEST, film(), destinations=takers).destinations == ("adults", "all")


def test_a_good_film_passes_where_no_ai_is_configured() -> None:
    decision = judge(CHEST, film(), destinations={})
    assert (decision.act, decision.destinations) == (P, ())


@pytest.mark.parametrize(
    ("change", "acceptance", "why_not"),
    [
        ({}, Acceptance(), ""),
        ({"age_years": 10.0}, Acceptance(), ""),
        ({"age_years": 9.99}, Acceptance(), "age 9.9 is under 10"),
        ({"age_years": 90}, Acceptance(max_age=80), "age 90 is over 80"),
        ({"age_years": 17.997}, Acceptance(max_age=17), ""),
        ({"age_years": 18.0}, Acceptance(max_age=17), "age 18 is over 17"),
        ({"age_years": 1.9}, Acceptance(min_age=0, max_age=1), ""),
        ({"age_years": 1.0}, Acceptance(min_age=0, max_age=0.5), "age 1 is over 0.5"),
        ({"age_years": None}, Acceptance(), "the age is unknown"),
        ({"age_years": float("nan")}, Acceptance(), "the age is unknown"),
        ({"age_years": None}, Acceptance(unknown_age=True), ""),
        (
            {"age_years": None, "age_doubt": "the age 'XX' could not be read"},
            Acceptance(),
            "the age is unknown: the age 'XX' could not be read",
        ),
        ({"modality": "RF"}, Acceptance(), "modality RF is not taken"),
        ({"modality": ""}, Acceptance(), ""),
        ({"modality": "", "sop_class_uid": ""}, Acceptance(), "modality unknown is not taken"),
        (
            {"modality": "", "sop_class_uid": ComputedRadiographyImageStorage},
            Acceptance(modalities=("CR",)),
            "",
        ),
        ({}, Acceptance(views=("AP",)), "view PA is not taken"),
        ({"view_position": "", "view": ""}, Acceptance(views=("PA",)), "view frontal is not taken"),
        ({}, Acceptance(max_study_age_days=19), ""),
        ({}, Acceptance(max_study_age_days=18), "the study is 19 days old"),
        ({"study_date": "20261399"}, Acceptance(max_study_age_days=9), "the study date is unknown"),
        ({"study_date": "20261120"}, Acceptance(max_study_age_days=0), ""),
        ({"study_date": "20261121"}, Acceptance(max_study_age_days=0), ""),
        ({"study_date": "20261122"}, Acceptance(max_study_age_days=0), "the study is dated 2 days ahead"),
        ({"study_date": "20271225"}, Acceptance(max_study_age_days=9), "the study is dated 400 days ahead"),
        ({"study_date": "20271225"}, Acceptance(), ""),
        ({"age_years": 3, "modality": "MR"}, Acceptance(), "modality MR is not taken; age 3 is under 10"),
    ],
)
def test_a_destination_says_why_it_does_not_take_a_film(
    change: dict[str, object], acceptance: Acceptance, why_not: str
) -> None:
    assert accepts(acceptance, replace(CHEST, **change), TODAY) == (not why_not, why_not)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("view_position", "view", "expected"),
    [
        ("PA", "frontal", "PA"),
        ("AP SUPINE", "frontal", "AP"),
        ("PORTABLE AP", "frontal", "AP"),
        ("POSTERO-ANTERIOR", "frontal", "PA"),
        ("APICAL", "", "frontal"),  # no AP in it
        ("PATELLA", "", "frontal"),
        ("AP\\PA", "frontal", "frontal"),
        ("", "", "frontal"),
        ("LL", "lateral", "frontal"),
    ],
)
def test_pa_and_ap_are_taken_from_the_header(view_position: str, view: str, expected: str) -> None:
    assert claimed_view(Header(view_position=view_position, view=view)) == expected


# Objects that cannot be decoded


def test_a_report_without_pixels_is_withheld_quietly() -> None:
    header = Header(sop_class_uid=BasicTextSRStorage, modality="SR")
    decision = decide_unreadable(Policy.default(), header, Reason.NO_PIXELS)
    assert (decision.act, decision.reasons) == (W, (Reason.NOT_A_FILM,))


@pytest.mark.parametrize("header", [None, CHEST, HAND])
def test_a_film_that_cannot_be_decoded_is_held(header: Header | None) -> None:
    decision = decide_unreadable(Policy.default(), header, Reason.DECODE_FAILED, "it took more than 10 s")
    assert (decision.act, decision.reasons) == (Q, (Reason.DECODE_FAILED,))
    assert "it took more than 10 s" in decision.why


# The file


def rules(*lines: str) -> str:
    return "version: 1\nrequires: [anatomy]\nrules:\n" + "".join(f"  - {line}\n" for line in lines)


OK = "{name: hold, when: {any: [BLANK]}, act: quarantine, why: empty}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            rules("{name: hold, wen: {any: [BLANK]}, act: quarantine, why: x}"),
            "rule 'hold': unknown key 'wen'.*'when'",
        ),
        (
            rules("{name: hold, when: {any: [BLANC]}, act: quarantine, why: x}"),
            "'hold': when: any: 'BLANC'.*'BLANK'",
        ),
        (
            rules("{name: hold, when: {any: [BLANK]}, act: quarantin, why: x}"),
            "'hold': act: 'quarantin'.*'quarantine'",
        ),
        (
            rules("{name: hold, when: {anotomy: [bad]}, act: withhold, why: x}"),
            "'hold'.*no gate 'anotomy'.*'anatomy'",
        ),
        (rules("{name: hold, when: {any: [BLANK]}, act: quarantine}"), "'hold': why must be a text"),
        (
            rules("{name: hold, when: {any: BLANK}, act: quarantine, why: x}"),
            "'hold': when: any must be a list",
        ),
        (rules("{name: hold, when: {}, act: quarantine, why: x}"), "'hold': when: needs a gate"),
        (
            rules("{name: c, when: {anatomy: [bad]}, claim: [agree], act: withhold, why: x}"),
            "'c': claim: 'agree'",
        ),
        (
            rules("{name: c, when: {any: [bad]}, claim: [agrees], act: withhold, why: x}"),
            "'c': claim: is about",
        ),
        (rules("{name: p, when: {any: [BLANK]}, act: pass, why: x}"), "'p': act: only"),
        (
            rules("{name: f, when: {any: [unsure]}, act: flag, why: x}"),
            "'f': act: a flag needs reasons by name",
        ),
        (rules("{name: f, when: {any: [GATE_FAILED]}, act: flag, why: x}"), "'f': act: a flag needs"),
        (rules("{name: g, when: {anatomy: [good]}, act: withhold, why: x}"), "'g': reason: is needed"),
        (
            rules("{name: r, when: {any: [INVERTED]}, act: correct, reason: BLANK, why: x}"),
            "'r': reason: belongs",
        ),
        (rules(OK, OK), "rule 'hold' stands twice"),
        (
            rules("{name: hold, when: {any: [BLANK], any: [OURS]}, act: withhold, why: x}"),
            "'any' stands twice",
        ),
        (rules("{when: {any: [BLANK]}, act: withhold, why: x}"), "rule 1: name must be a text"),
        (rules("hold"), "rule 1 must be a mapping"),
        (f"regions: {{chest: CHEST}}\n{rules(OK)}", "regions: chest must be a list of words"),
        (f"regions: {{chest: ['*']}}\n{rules(OK)}", "regions: chest: '\\*' holds no letter"),
        (f"regions: {{chest: [KÄFIG], other: [kafig]}}\n{rules(OK)}", "'KAFIG' stands under 'chest' and"),
        (f"regions: {{chest: ['TH*X']}}\n{rules(OK)}", "'TH\\*X': '\\*' stands at the beginning or the end"),
        (f"regions: {{Chest: [THO]}}\n{rules(OK)}", "regions: Chest: no region .* mean 'chest'"),
        (f"regions: {{others: [THO]}}\n{rules(OK)}", "regions: others: no region .* mean 'other'"),
        (f"regions: {{hip: HIP}}\n{rules(OK)}", "regions: hip must be a list of words"),
        (f"regions: {{hip: ['']}}\n{rules(OK)}", "regions: hip must be a text"),
        ("version: 2\nrules: []", "version: 1"),
        ("version: 1\nrules: []", "a list of rules"),
        ("version: 1\nrule: []", "unknown key 'rule'.*'rules'"),
        ("version: [", "not YAML"),
        ("", "must be a mapping"),
    ],
)
def test_a_policy_that_is_not_understood_is_refused_by_the_name_of_its_rule(text: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Policy.load(text)


def test_the_digest_follows_the_rules_and_not_their_layout() -> None:
    first = Policy.load(rules(OK)).digest
    assert Policy.load("# a comment\n" + rules(OK)).digest == first
    assert Policy.load(rules(OK.replace("empty", "blank"))).digest != first
    assert judge(CHEST, film()).policy_digest == Policy.load(DEFAULT_TEXT).digest


def test_the_trace_names_each_rule_tried_with_scores_and_thresholds() -> None:
    trace = judge(CHEST, film("ROTATED_90")).trace
    names = [rule.name for rule in Policy.default().rules]
    assert [row["rule"] for row in trace] == [*names[: names.index("can be put right") + 1], ACCEPTS]
    fired = next(row for row in trace if row["fired"])
    assert fired["because"] == "rotation bad ROTATED_90 0.1 (thresholds 0.2, 0.8)"


def test_every_rule_is_explained_in_the_documentation() -> None:
    text = (Path(__file__).parents[1] / "docs" / "policy.md").read_text(encoding="utf-8")
    assert [rule.name for rule in Policy.default().rules if f"**{rule.name}**" not in text] == []
