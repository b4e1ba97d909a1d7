"""The rules: what is decided of a film from its header and the findings of the gates."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from policy_films import (
    BOX,
    CHEST,
    CHEST_ANY_VIEW,
    DEFAULT_TEXT,
    GATES,
    HAND,
    LATERAL,
    SILENT,
    TODAY,
    film,
    judge,
    says,
)
from pydicom.uid import (
    BasicTextSRStorage,
)

from pipelines.film import Act, Finding, Header, Operations, Reason, Verdict
from pipelines.policy import (
    Policy,
    decide,
    decide_unreadable,
)
from pipelines.policy.correction import corrections
from pipelines.policy.deciding import ACCEPTS, MEASURED, UNEXPLAINED

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
    """Every combination of good, bad, unsure and failed over all gates; elsewhere three at once."""
    failed = {gate: Finding(gate, Verdict.FAILED, reason=Reason.GATE_FAILED) for gate in GATES}
    good = {gate: Finding(gate, Verdict.GOOD, 0.9) for gate in GATES}
    spoken = [(good[gate], *(says(word, gate) for word in GATE_SAYS[gate]), failed[gate]) for gate in GATES]
    for header, *findings in product((CHEST, HAND, SILENT), *spoken):
        wrong = {f.reason for f in findings if f.verdict is not Verdict.GOOD}
        if header is not CHEST and sum(f.verdict is not Verdict.GOOD for f in findings) > 3:
            continue
        decision = judge(header, tuple(findings))
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


# The trace, and the manual


def test_the_trace_names_each_rule_tried_with_scores_and_thresholds() -> None:
    trace = judge(CHEST, film("ROTATED_90")).trace
    names = [rule.name for rule in Policy.default().rules]
    assert [row["rule"] for row in trace] == [*names[: names.index("can be put right") + 1], ACCEPTS]
    fired = next(row for row in trace if row["fired"])
    assert fired["because"] == "rotation bad ROTATED_90 0.1 (thresholds 0.2, 0.8)"


def test_every_rule_is_explained_in_the_documentation() -> None:
    text = (Path(__file__).parents[1] / "docs" / "policy.md").read_text(encoding="utf-8")
    assert [rule.name for rule in Policy.default().rules if f"**{rule.name}**" not in text] == []
