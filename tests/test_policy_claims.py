"""How the header stands to the picture, by the words that filmgate knows and those of a site."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dicom_files import dx, ramp
from policy_films import (
    CHEST,
    HAND,
    OK,
    SILENT,
    TODAY,
    film,
    judge,
    rules,
    says,
)

from pipelines.film import Act, Claim, Finding, Header, Reason, Verdict
from pipelines.header import read_header
from pipelines.policy import (
    Policy,
    decide,
)
from pipelines.policy.claims import claim

W, Q, C, P = Act.WITHHOLD, Act.QUARANTINE, Act.CORRECT, Act.PASS


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
