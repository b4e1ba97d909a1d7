"""Films of other body regions: gates of work.regions beside the rules for chests."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import product

import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation

from pipelines.film import Act, Box, Claim, Decision, Finding, Header, Operations, Reason, Verdict
from pipelines.policy import Acceptance, Policy, accepts, decide, regions, would_take
from pipelines.policy.deciding import ACCEPTS

TODAY = date(2026, 11, 20)
SILENT = Header(
    sop_class_uid=DigitalXRayImageStorageForPresentation, modality="DX", age_years=50, study_date="20261101"
)
CHEST = replace(SILENT, body_part="CHEST", part="chest", view="frontal", view_position="PA")
HIP = replace(SILENT, body_part="HIP", part="other", view="frontal", view_position="AP")
PELVIS = replace(HIP, body_part="PELVIS\\HIP")
HAND = replace(HIP, body_part="HAND")
CHEST_AI, HIP_AI = Acceptance(), Acceptance(regions=("hip",))
BOTH = {"chest-ai": CHEST_AI, "hip-ai": HIP_AI}
GATES = ("header", "exposure", "anatomy", "inversion", "rotation", "mirror", "lungs")
P, W, Q, C = Act.PASS, Act.WITHHOLD, Act.QUARANTINE, Act.CORRECT

HIP_GOOD = Finding("hip", Verdict.GOOD, 0.99, 0.1, 0.9, detail="hip, p 0.990", box=Box(0.1, 0.1, 0.9, 0.9))
HIP_UNSURE = Finding("hip", Verdict.UNSURE, 0.5, 0.1, 0.9, Reason.REGION_UNSURE)
HIP_NOT = Finding("hip", Verdict.BAD, 0.01, 0.1, 0.9, Reason.NOT_THIS_REGION)
HIP_FAILED = Finding("hip", Verdict.FAILED, reason=Reason.MODEL_MISSING)
REGIONAL = (HIP_GOOD, HIP_UNSURE, HIP_NOT, HIP_FAILED)


def says(gate: str, word: str) -> Finding:
    """ "BLANK" is sure of it, "BLANK?" suspects it, "" is content, "!" is a gate that failed."""
    if word in ("", "!"):
        verdict = Verdict.FAILED if word else Verdict.GOOD
        return Finding(gate, verdict, 0.9, 0.2, 0.8, Reason.GATE_FAILED if word else None)
    verdict = Verdict.UNSURE if word.endswith("?") else Verdict.BAD
    return Finding(gate, verdict, 0.1, 0.2, 0.8, Reason(word.removesuffix("?")))


def film(anatomy: str = "OTHER_PART", **words: str) -> tuple[Finding, ...]:
    """What the gates for chests find; those about chests alone are asked only where it may be one."""
    asked = GATES[:3] if anatomy == "OTHER_PART" else GATES
    return tuple(says(gate, {"anatomy": anatomy, **words}.get(gate, "")) for gate in asked)


def judge(header: Header, *findings: Finding, to: dict[str, Acceptance] = BOTH, **more: object) -> Decision:
    options = {"destinations": to, "today": TODAY, "region_gates": ("hip",), **more}
    return decide(Policy.default(), header, findings, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("header", [HIP, PELVIS, SILENT])
def test_a_film_of_the_region_passes_to_those_who_take_it_and_to_nobody_else(header: Header) -> None:
    """The decision names the region, and the header's claim."""
    decision = judge(header, *film(), HIP_GOOD)
    assert (decision.act, decision.rule, decision.destinations) == (P, "region hip", ("hip-ai",))
    assert "hip (hip, p 0.990)" in decision.why
    assert f"The header says: {header.body_part or 'no part'}" in decision.why
    assert decision.reasons == ()
    assert decision.policy_digest == Policy.default().digest
    assert "chest-ai: region hip is not taken" in decision.trace[-1]["because"]


@pytest.mark.parametrize(
    ("header", "anatomy", "passes"),
    [
        (HIP, "OTHER_PART", True),
        (SILENT, "OTHER_PART", True),
        (HIP, "UNKNOWN_ANATOMY?", True),  # header and region gate are two opinions
        (SILENT, "UNKNOWN_ANATOMY?", False),
        (HAND, "OTHER_PART", False),
        (CHEST, "OTHER_PART", False),
        (HIP, "LATERAL", False),
        (HIP, "NOT_A_RADIOGRAPH", False),
        (HIP, "!", False),
        (HIP, "", False),  # the picture is a chest
    ],
)
def test_two_opinions_are_needed_that_it_is_no_chest(header: Header, anatomy: str, passes: bool) -> None:
    decision = judge(header, *film(anatomy), HIP_GOOD)
    assert (decision.act is P) is passes
    assert decision.destinations == (("hip-ai",) if passes else ())


@pytest.mark.parametrize("regional", REGIONAL)
def test_a_chest_is_decided_as_if_no_region_was_configured(regional: Finding) -> None:
    """Whatever a region gate says: the same act, rule, reasons, why, destinations and trace."""
    words = {
        "header": "DERIVED?",
        "exposure": "WASHED_OUT",
        "rotation": "ROTATED_90",
        "lungs": "LUNGS_CUT_OFF",
    }
    for header, fault in product((CHEST, SILENT, HIP), (None, *words)):
        found = film("", **({fault: words[fault]} if fault else {}))
        alone = judge(header, *found, to={"chest-ai": CHEST_AI}, region_gates=())
        with_gate = judge(header, *found, regional, to={"chest-ai": CHEST_AI})
        assert with_gate == alone
        to_both = judge(header, *found, regional)
        assert replace(to_both, trace=()) == replace(alone, trace=())


@pytest.mark.parametrize("header", [HIP, SILENT, HAND, CHEST])
@pytest.mark.parametrize("anatomy", ["OTHER_PART", "LATERAL", "NOT_A_RADIOGRAPH", "UNKNOWN_ANATOMY?"])
@pytest.mark.parametrize("regional", REGIONAL)
def test_a_region_that_nobody_takes_changes_nothing(regional: Finding, anatomy: str, header: Header) -> None:
    alone = judge(header, *film(anatomy), to={"chest-ai": CHEST_AI}, region_gates=())
    assert judge(header, *film(anatomy), regional, to={"chest-ai": CHEST_AI}) == alone


@pytest.mark.parametrize(
    "word", ["BLANK", "WASHED_OUT", "CLIPPED?", "OVEREXPOSED", "SEVERAL_FILMS", "BORDER", "!"]
)
@pytest.mark.parametrize("header", [HIP, SILENT])
def test_a_film_of_the_region_that_is_badly_exposed_is_not_passed(header: Header, word: str) -> None:
    """It is held, where the header alone would have had it withheld quietly."""
    decision = judge(header, *film(exposure=word), HIP_GOOD)
    assert decision.act is Q
    assert decision.reasons[0] is (Reason.GATE_FAILED if word == "!" else Reason(word.removesuffix("?")))
    assert decision.operations == Operations()


def test_a_film_whose_exposure_nobody_judged_is_not_passed() -> None:
    found = tuple(f for f in film() if f.gate != "exposure")
    assert judge(HIP, *found, HIP_GOOD).reasons == (Reason.GATE_FAILED,)
    assert judge(HIP, HIP_GOOD).act is Q


@pytest.mark.parametrize(
    "word", ["NOT_A_FILM", "FOR_PROCESSING", "DERIVED", "SECONDARY", "OURS", "MULTI_FRAME"]
)
@pytest.mark.parametrize("regional", REGIONAL)
def test_what_is_no_film_for_ai_stays_so(regional: Finding, word: str) -> None:
    found = film(header=word)
    assert judge(HIP, *found, regional) == judge(HIP, *found, region_gates=())


def test_what_is_flagged_passes_and_is_noted() -> None:
    decision = judge(HIP, *film(header="DERIVED?"), HIP_GOOD)
    assert (decision.act, decision.flags) == (P, (Reason.DERIVED,))


@pytest.mark.parametrize(
    ("header", "regional", "act", "reasons"),
    [
        (HIP, HIP_UNSURE, Q, (Reason.REGION_UNSURE,)),
        (SILENT, HIP_UNSURE, Q, (Reason.REGION_UNSURE,)),
        (HIP, HIP_FAILED, Q, (Reason.MODEL_MISSING,)),
        (HIP, replace(HIP_GOOD, score=float("nan")), Q, (Reason.GATE_FAILED,)),
        (HAND, HIP_UNSURE, W, (Reason.OTHER_PART,)),  # two opinions: nobody need look
        (HAND, HIP_FAILED, W, (Reason.OTHER_PART,)),
        (HIP, HIP_NOT, W, (Reason.OTHER_PART,)),
        (SILENT, HIP_NOT, W, (Reason.OTHER_PART,)),
    ],
)
def test_a_region_gate_that_is_not_sure_or_failed_holds_what_may_be_its_region(
    header: Header, regional: Finding, act: Act, reasons: tuple[Reason, ...]
) -> None:
    decision = judge(header, *film(), regional)
    assert (decision.act, decision.reasons) == (act, reasons)


def test_with_two_regions_a_film_goes_to_those_who_take_either() -> None:
    knee = replace(HIP_GOOD, gate="knee")
    takers = {**BOTH, "knee-ai": Acceptance(regions=("knee",)), "all": Acceptance(regions=("chest", "hip"))}
    more = {"to": takers, "region_gates": ("hip", "knee")}
    both = judge(SILENT, *film(), HIP_GOOD, knee, **more)  # type: ignore[arg-type]
    assert (both.rule, both.destinations) == ("region hip, knee", ("hip-ai", "knee-ai", "all"))
    one = judge(SILENT, *film(), HIP_GOOD, replace(HIP_NOT, gate="knee"), **more)  # type: ignore[arg-type]
    assert (one.rule, one.destinations) == ("region hip", ("hip-ai", "all"))


def test_no_region_gate_can_call_a_film_a_chest() -> None:
    """A gate named "chest" would open the door of the chest AI."""
    found = (*film(), replace(HIP_GOOD, gate="chest"))
    assert judge(SILENT, *found, region_gates=("chest", "hip")).act is W
    assert would_take(SILENT, found, destinations=BOTH, today=TODAY, region_gates=("chest",)) == ("chest-ai",)


def test_no_film_passes_for_a_region_unless_all_that_counts_is_good() -> None:
    """Every combination of header, exposure, anatomy and region gate with four headers."""
    for header, head, exposure, anatomy, regional in product(
        (HIP, SILENT, HAND, CHEST),
        ("", "DERIVED?", "SECONDARY", "NOT_A_FILM?", "!"),
        ("", "BLANK", "WASHED_OUT?", "!"),
        ("", "OTHER_PART", "LATERAL", "NOT_A_RADIOGRAPH", "UNKNOWN_ANATOMY?", "UNKNOWN_ANATOMY", "!"),
        REGIONAL,
    ):
        decision = judge(header, *film(anatomy, header=head, exposure=exposure), regional)
        if "hip-ai" in decision.destinations:
            assert decision.destinations == ("hip-ai",)
            assert regional is HIP_GOOD
            assert exposure == ""
            assert head in ("", "DERIVED?")
            assert anatomy in ("OTHER_PART", "UNKNOWN_ANATOMY", "UNKNOWN_ANATOMY?")
            assert header in (HIP, SILENT)
        elif "chest-ai" in decision.destinations:
            assert anatomy == ""


# Destinations


@pytest.mark.parametrize(
    ("change", "acceptance", "why_not"),
    [
        ({}, HIP_AI, ""),
        ({}, Acceptance(regions=("chest", "hip")), ""),
        ({}, CHEST_AI, "region hip is not taken"),
        ({"age_years": 3}, HIP_AI, "age 3 is under 10"),
        ({"view": "", "view_position": ""}, Acceptance(views=("PA",), regions=("hip",)), ""),
        ({"view": "lateral", "view_position": "LL"}, HIP_AI, "view lateral is not taken"),
        ({"view": "lateral", "view_position": "LL"}, replace(HIP_AI, views=("AP", "lateral")), ""),
        ({}, replace(HIP_AI, views=("PA",)), "view AP is not taken"),
    ],
)
def test_a_destination_says_why_it_does_not_take_a_film_of_a_region(
    change: dict[str, object], acceptance: Acceptance, why_not: str
) -> None:
    """Of a hip only the header says from where it was taken."""
    header = replace(HIP, **change)  # type: ignore[arg-type]
    assert accepts(acceptance, header, TODAY, ("hip",)) == (not why_not, why_not)


def test_a_film_of_the_region_that_is_too_young_for_its_ai_is_withheld() -> None:
    decision = judge(replace(HIP, age_years=3), *film(), HIP_GOOD)
    assert (decision.act, decision.rule, decision.reasons) == (W, ACCEPTS, (Reason.NO_AI_ACCEPTS,))
    assert "hip-ai: age 3 is under 10" in decision.why


def test_a_chest_goes_to_no_ai_for_hips() -> None:
    assert judge(CHEST, *film(""), HIP_NOT).destinations == ("chest-ai",)
    alone = judge(CHEST, *film(""), HIP_NOT, to={"hip-ai": HIP_AI})
    assert (alone.act, alone.reasons) == (W, (Reason.NO_AI_ACCEPTS,))


@pytest.mark.parametrize(
    ("anatomy", "regional", "expected"),
    [
        ("OTHER_PART", HIP_GOOD, ("hip-ai",)),
        ("OTHER_PART", HIP_UNSURE, ("hip-ai",)),
        ("UNKNOWN_ANATOMY?", HIP_GOOD, ("hip-ai",)),
        ("UNKNOWN_ANATOMY?", HIP_UNSURE, ("chest-ai",)),
        ("OTHER_PART", HIP_NOT, ("chest-ai",)),
        ("", HIP_GOOD, ("chest-ai",)),
    ],
)
def test_a_person_releases_a_held_film_to_the_ai_of_what_it_shows(
    anatomy: str, regional: Finding, expected: tuple[str, ...]
) -> None:
    found = (*film(anatomy), regional)
    assert would_take(HIP, found, destinations=BOTH, today=TODAY, region_gates=("hip",)) == expected


# The header's claim


@pytest.mark.parametrize(
    ("body_part", "part", "region", "expected"),
    [
        ("HIP", "other", "hip", Claim.AGREES),
        ("LEFT HIP", "other", "hip", Claim.AGREES),
        ("PELVIS\\HIP", "other", "hip", Claim.AGREES),
        ("HIP\\HAND", "other", "hip", Claim.CONTRADICTS),
        ("HAND", "other", "hip", Claim.CONTRADICTS),
        ("", "", "hip", Claim.SILENT),
        ("UNKNOWN", "", "hip", Claim.SILENT),
        ("", "other", "hip", Claim.SILENT),  # a coded region that is no chest
        ("", "chest", "hip", Claim.CONTRADICTS),
        ("CHEST", "chest", "hip", Claim.CONTRADICTS),
        ("KNEE", "other", "knee", Claim.AGREES),  # no words given: its own name
    ],
)
def test_the_header_fits_is_silent_or_contradicts(
    body_part: str, part: str, region: str, expected: Claim
) -> None:
    words = Policy.default().region_words
    assert regions.claim(Header(body_part=body_part, part=part), region, words) is expected


def test_a_site_gives_the_words_of_its_rooms() -> None:
    policy = Policy.load(
        "version: 1\nrequires: [anatomy]\nregions: {hip: [schenkelhals]}\nrules:\n"
        "  - {name: other, when: {anatomy: [OTHER_PART]}, act: withhold, why: no chest}\n"
    )
    header = replace(HIP, body_part="SCHENKELHALS LI")
    decision = decide(
        policy, header, (*film(), HIP_GOOD), destinations=BOTH, today=TODAY, region_gates=("hip",)
    )
    assert decision.destinations == ("hip-ai",)
