"""Words of computed and special pictures: which headers have them, and what people say once for all."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation

from pipelines.film import Act, Answer, Decision, Finding, Reason, Ruling, Sender, Verdict
from pipelines.header import read_header
from pipelines.policy import DEFAULT_RULES, Acceptance, Policy, decide, decide_unreadable
from pipelines.policy.rulings import SAID_ONCE
from pipelines.words.kinds import header_findings
from pipelines.words.special_words import SPELLINGS, special_words, word_named

GATES = ("exposure", "anatomy", "inversion", "rotation", "mirror", "lungs")
ANN = Ruling("ROOM3", "BONE", Answer.ALWAYS, "ann", datetime(2026, 11, 20, tzinfo=UTC), "all films have it")
BOB = replace(ANN, answer=Answer.NEVER, by="bob")


def sent(image_type: str = "ORIGINAL\\PRIMARY", **attributes: str) -> Dataset:
    """The header of a frontal chest as a CR system sends it."""
    ds = Dataset()
    ds.SOPClassUID, ds.Modality = ComputedRadiographyImageStorage, "CR"
    ds.BodyPartExamined, ds.ViewPosition, ds.PatientAge = "CHEST", "PA", "050Y"
    ds.ImageType = image_type.split("\\")
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def judge(
    ds: Dataset, *faults: Finding, rulings: tuple[Ruling, ...] = (), policy: Policy | None = None
) -> Decision:
    """What is decided of it; the pixels are surely a clean frontal chest but for `faults`."""
    header, found = read_header(ds), {fault.gate: fault for fault in faults}
    pixels = (found.get(gate, Finding(gate, Verdict.GOOD, 0.9, 0.2, 0.8)) for gate in GATES)
    return decide(
        policy or Policy.default(),
        header,
        (*header_findings(header), *pixels),
        destinations={"chest-ai": Acceptance()},
        today=date(2026, 11, 20),
        sender=Sender("ROOM3", rulings),
    )


@pytest.mark.parametrize(
    "image_type",
    [
        "DERIVED\\SECONDARY\\\\CSA RESAMPLED",
        "DERIVED\\SECONDARY",
        "ORIGINAL\\SECONDARY",
        "DERIVED\\PRIMARY",
        "DERIVED\\PRIMARY\\POST_PROCESSED",
        "DERIVED\\PRIMARY\\\\SOFTCOPY",
        "DERIVED\\PRIMARY\\\\CASCADE",
        "DERIVED\\PRIMARY\\\\INDIVIDUAL",
        "ORIGINAL\\PRIMARY\\\\RT",
    ],
)
@pytest.mark.parametrize(
    "sop_class", [ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation]
)
def test_what_makers_write_on_ordinary_films_is_a_flag(image_type: str, sop_class: str) -> None:
    """It passes, and the flag tells who looks for it."""
    decision = judge(sent(image_type, SOPClassUID=sop_class))
    assert (decision.act, decision.destinations) == (Act.PASS, ("chest-ai",))
    first, second, *_ = image_type.split("\\")
    assert (Reason.DERIVED in decision.flags) is (first == "DERIVED")
    assert (Reason.SECONDARY in decision.flags) is (second == "SECONDARY")


@pytest.mark.parametrize(
    ("image_type", "words"),
    [
        ("ORIGINAL\\PRIMARY\\TOMOSYNTHESIS", "TOMOSYNTHESIS"),
        ("ORIGINAL\\PRIMARY\\TOMO_PROJ", "TOMOSYNTHESIS"),
        ("ORIGINAL\\PRIMARY\\\\DUAL ENERGY\\SOFT TISSUE", "DUAL ENERGY, SOFT TISSUE"),
        ("DERIVED\\PRIMARY\\\\DUAL_ENERGY\\BONE", "DUAL ENERGY, BONE"),
        ("ORIGINAL\\PRIMARY\\BONE", "BONE"),
        ("DERIVED\\PRIMARY\\\\BONE_SUPPRESSED", "BONE SUPPRESSED"),
        ("DERIVED\\SECONDARY\\SUBTRACTION", "SUBTRACTED"),
        ("ORIGINAL\\PRIMARY\\STITCHED", "STITCHED"),
        ("DERIVED\\SECONDARY\\SCREEN SHOT", "SCREENSHOT"),
        ("DERIVED\\PRIMARY\\\\CAD", "CAD"),
        ("ORIGINAL\\PRIMARY\\LOCALIZER", "LOCALIZER"),
    ],
)
def test_a_word_in_image_type_waits_for_a_person(image_type: str, words: str) -> None:
    """Whatever value 1 says; the person is told word and sender, and nothing is withheld."""
    decision = judge(sent(image_type))
    assert (decision.act, decision.rule) == (Act.QUARANTINE, "word of a special picture")
    assert decision.words == tuple(words.split(", "))
    assert decision.reasons[0] is Reason.HEADER_WORD
    assert all(f"{word}, sender ROOM3" in decision.why for word in decision.words)


@pytest.mark.parametrize(
    ("keyword", "value", "word"),
    [
        ("SeriesDescription", "Bone Suppressed", "BONE SUPPRESSED"),
        ("SeriesDescription", "Rib suppression", "BONE SUPPRESSED"),
        ("SeriesDescription", "PA CAD overlay", "CAD"),
        ("SeriesDescription", "Chest companion view", "COMPANION"),
        ("SeriesDescription", "PHANTOM weekly", "PHANTOM"),
        ("SeriesDescription", "Fantôme", "PHANTOM"),
        ("SeriesDescription", "Thorax Tomosynthese", "TOMOSYNTHESIS"),
        ("SeriesDescription", "TOMOSSÍNTESE TÓRAX", "TOMOSYNTHESIS"),
        ("SeriesDescription", "Daily quality control", "QA"),
        ("SeriesDescription", "Chest PA-softtissue", "SOFT TISSUE"),
        ("DerivationDescription", f"{'x' * 300}\r\nbone\r\nsuppressed", "BONE SUPPRESSED"),
        ("AcquisitionDeviceProcessingDescription", "CHEST TOMO", "TOMOSYNTHESIS"),
        ("QualityControlImage", "YES", "QA"),
        ("PresentationIntentType", "FOR PROCESSING", "FOR PROCESSING"),
    ],
)
def test_a_word_in_a_description_waits_for_a_person(keyword: str, value: str, word: str) -> None:
    """ImageType says ORIGINAL\\PRIMARY on many of them."""
    decision = judge(sent(**{keyword: value}))
    assert (decision.act, decision.words) == (Act.QUARANTINE, (word,))


@pytest.mark.parametrize("modality", ["MG", "IO", "PX"])
def test_a_modality_of_another_part_is_an_opinion(modality: str) -> None:
    """A clean chest under it is held for a person; what may be no chest is withheld, by two opinions."""
    ds = sent(Modality=modality)
    decision = judge(ds)
    assert (decision.act, decision.reasons) == (Act.QUARANTINE, (Reason.HEADER_CONTRADICTS,))
    assert f"The header says: modality {modality}, a breast or teeth" in decision.why
    doubt = Finding("anatomy", Verdict.UNSURE, 0.5, 0.2, 0.8, Reason.UNKNOWN_ANATOMY)
    assert judge(ds, doubt).act is Act.WITHHOLD


ORDINARY = """Softcopy, CASCADE, individual, Bone age, BONE SURVEY chest, noise suppression,
Grid line suppression, Dual side read, quality, image quality 3,
elefant, stomata, AUTOMATIC, cadáver, ESCUTCHEON, QAT, Chest PA"""


@pytest.mark.parametrize("text", ["", *map(str.strip, ORDINARY.split(","))])
def test_parts_of_words_and_ordinary_words_say_nothing(text: str) -> None:
    assert special_words([text]) == ()
    assert judge(sent(SeriesDescription=text)).act is Act.PASS


def test_odd_values_are_no_words_and_raise_nothing() -> None:
    ds = sent()
    ds.add_new("SeriesDescription", "UN", b"Bone\\Suppr\xff")
    ds.add_new("DerivationDescription", "SQ", [Dataset()])
    assert read_header(ds).words == ("BONE",)


def test_always_passes_with_a_flag_that_names_who_said_so() -> None:
    decision = judge(sent("ORIGINAL\\PRIMARY\\BONE"), rulings=(ANN,))
    assert (decision.act, decision.flags, decision.words) == (Act.PASS, (Reason.HEADER_WORD,), ())
    assert decision.rulings == (ANN,)
    said = next(row["because"] for row in decision.trace if row["rule"] == SAID_ONCE)
    assert said == "BONE, sender ROOM3: always, said ann on 2026-11-20"


def test_never_withholds_with_the_name_and_the_day() -> None:
    """Whatever the pixels are: nobody is asked again."""
    for fault in (
        (),
        (Finding("anatomy", Verdict.UNSURE, 0.5, 0.2, 0.8, Reason.UNKNOWN_ANATOMY),),
        (Finding("exposure", Verdict.BAD, 0.1, 0.2, 0.8, Reason.WASHED_OUT),),
    ):
        decision = judge(sent("ORIGINAL\\PRIMARY\\BONE"), *fault, rulings=(BOB,))
        assert (decision.act, decision.reasons) == (Act.WITHHOLD, (Reason.RULED_OUT,))
        assert "BONE, sender ROOM3: never, said bob on 2026-11-20" in decision.why


def test_every_word_needs_its_answer_and_one_never_is_enough() -> None:
    ds = sent("ORIGINAL\\PRIMARY\\\\DUAL ENERGY\\BONE")
    assert judge(ds, rulings=(ANN,)).words == ("DUAL ENERGY",)
    assert judge(ds, rulings=(ANN, replace(ANN, word="DUAL ENERGY"))).act is Act.PASS
    assert judge(ds, rulings=(ANN, replace(BOB, word="DUAL ENERGY"))).act is Act.WITHHOLD
    assert judge(ds, rulings=(BOB,)).act is Act.WITHHOLD


def test_always_says_nothing_of_what_else_is_wrong() -> None:
    """The film is judged as if the word were not there."""
    turned = Finding("rotation", Verdict.BAD, 0.9, 0.2, 0.8, Reason.ROTATED_90)
    mirrored = Finding("mirror", Verdict.BAD, 0.9, 0.2, 0.8, Reason.MIRROR_SUSPECTED)
    ds = sent("ORIGINAL\\PRIMARY\\BONE")
    assert judge(ds, turned, rulings=(ANN,)).act is Act.CORRECT
    assert judge(ds, mirrored, rulings=(ANN,)).reasons == (Reason.MIRROR_SUSPECTED,)
    assert judge(ds, mirrored).reasons == (Reason.HEADER_WORD, Reason.MIRROR_SUSPECTED)


def test_a_lateral_with_a_word_is_withheld_by_the_rule_for_laterals() -> None:
    lateral = Finding("anatomy", Verdict.BAD, 0.9, 0.2, 0.8, Reason.LATERAL)
    decision = judge(sent("ORIGINAL\\PRIMARY\\BONE", ViewPosition="LL"), lateral)
    assert (decision.act, decision.rule) == (Act.WITHHOLD, "header and picture rule out a frontal chest")
    assert decision.words == ()


def test_a_film_that_cannot_be_decoded_waits_for_its_word_too() -> None:
    header = read_header(sent("ORIGINAL\\PRIMARY\\BONE"))
    waiting = decide_unreadable(Policy.default(), header, Reason.DECODE_FAILED)
    assert (waiting.act, waiting.words) == (Act.QUARANTINE, ("BONE",))
    never = decide_unreadable(Policy.default(), header, Reason.DECODE_FAILED, sender=Sender("ROOM3", (BOB,)))
    assert (never.act, never.reasons) == (Act.WITHHOLD, (Reason.RULED_OUT,))


def test_a_site_can_write_its_own_rule_for_words() -> None:
    """Then the word withholds because the site said so, and nobody is asked."""
    text = DEFAULT_RULES.read_text().replace("[RULED_OUT]", "[RULED_OUT, HEADER_WORD]")
    decision = judge(sent("ORIGINAL\\PRIMARY\\BONE"), policy=Policy.load(text))
    assert (decision.act, decision.words) == (Act.WITHHOLD, ())


def test_every_word_is_documented() -> None:
    """docs/policy.md has a row for each, and none for a word that is gone; what it says is written so is."""
    page = (Path(__file__).parents[1] / "docs" / "policy.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([A-Z ]+)` \| (.+) \|$", page, re.MULTILINE))
    assert list(rows) == list(SPELLINGS)
    for word, spellings in rows.items():
        assert {special_words([text]) for text in spellings.split(", ")} == {(word,)}, word


def test_a_word_is_found_by_what_people_type() -> None:
    assert word_named("bone suppression") == ("BONE SUPPRESSED",)
    assert word_named("tomo") == ("TOMOSYNTHESIS",)
    assert word_named("STICHED") == ("STITCHED",)
    assert word_named("nonsense") == ()
    assert all(word_named(word) == (word,) for word in SPELLINGS)
