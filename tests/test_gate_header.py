"""What the header alone says of an instance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydicom.uid import (
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalIntraOralXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EncapsulatedPDFStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

from pipelines.film import Film, Header, Reason, Verdict
from pipelines.gates.header import HeaderGate, header_findings
from pipelines.words.kinds import is_film

DX = Header(
    sop_class_uid=DigitalXRayImageStorageForPresentation, modality="DX", image_type=("ORIGINAL", "PRIMARY")
)
CR = replace(DX, sop_class_uid=ComputedRadiographyImageStorage, modality="CR")


def said(header: Header) -> set[str]:
    """The reasons, with a question mark where the gate is not sure; a reason is never given with GOOD."""
    findings = header_findings(header)
    assert all((f.reason is None) == (f.verdict is Verdict.GOOD) and f.gate == "header" for f in findings)
    return {f.reason + ("?" if f.verdict is Verdict.UNSURE else "") for f in findings if f.reason}


@pytest.mark.parametrize("header", [DX, CR, replace(DX, image_type=()), replace(CR, modality="")])
def test_a_primary_film_is_good(header: Header) -> None:
    (finding,) = header_findings(header)
    assert (finding.verdict, finding.reason) == (Verdict.GOOD, None)


@pytest.mark.parametrize(
    ("sop_class", "reason"),
    [
        (BasicTextSRStorage, "NOT_A_FILM"),
        (EncapsulatedPDFStorage, "NOT_A_FILM"),
        (CTImageStorage, "NOT_A_FILM"),
        (XRayAngiographicImageStorage, "NOT_A_FILM"),
        (XRayRadiofluoroscopicImageStorage, "NOT_A_FILM"),
        ("1.2.3.4.5", "NOT_A_FILM"),
        ("", "NOT_A_FILM?"),
        (SecondaryCaptureImageStorage, "SECONDARY"),
        (MultiFrameGrayscaleByteSecondaryCaptureImageStorage, "SECONDARY"),
        (DigitalMammographyXRayImageStorageForPresentation, "OTHER_PART"),
        (DigitalIntraOralXRayImageStorageForPresentation, "OTHER_PART"),
        (DigitalXRayImageStorageForProcessing, "FOR_PROCESSING"),
    ],
)
def test_the_sop_class_tells_what_is_no_film(sop_class: str, reason: str) -> None:
    assert said(replace(DX, sop_class_uid=sop_class)) == {reason}


@pytest.mark.parametrize("modality", ["MG", "IO", "PX"])
def test_a_modality_that_names_another_part_is_a_claim(modality: str) -> None:
    """Of a CR or DX object; what the picture shows is asked as well."""
    assert said(replace(CR, modality=modality)) == set()


def test_for_processing_is_a_fact_of_its_class_alone() -> None:
    """An intent that the class denies is asked about (tests/test_special_words.py)."""
    assert said(replace(DX, presentation_intent="FOR PROCESSING")) == set()
    capture = replace(CR, sop_class_uid=SecondaryCaptureImageStorage, words=("FOR PROCESSING",))
    assert said(capture) == {"SECONDARY", "FOR_PROCESSING"}


@pytest.mark.parametrize(
    ("image_type", "reasons"),
    [
        (("DERIVED", "PRIMARY"), {"DERIVED?"}),  # every processed film of many makers
        (("DERIVED", "PRIMARY", "POST_PROCESSED"), {"DERIVED?"}),
        (("DERIVED",), {"DERIVED?"}),
        (("DERIVED", "SECONDARY", "", "CSA RESAMPLED"), {"DERIVED?", "SECONDARY?"}),
        (("DERIVED", "SECONDARY"), {"DERIVED?", "SECONDARY?"}),
        (("ORIGINAL", "SECONDARY"), {"SECONDARY?"}),
        (("ORIGINAL", "PRIMARY", "", "RT"), set()),
    ],
)
def test_image_type_tells_derived_from_secondary(image_type: tuple[str, ...], reasons: set[str]) -> None:
    assert said(replace(CR, image_type=image_type)) == reasons


def test_a_word_is_a_question_of_a_film_and_believed_of_another_class() -> None:
    """One finding a word, which stands alone in its detail: people are asked about it."""
    header = replace(CR, image_type=("ORIGINAL", "PRIMARY"), words=("DUAL ENERGY", "BONE"))
    findings = header_findings(header)
    assert [(f.verdict, f.reason, f.detail) for f in findings] == [
        (Verdict.BAD, Reason.HEADER_WORD, "DUAL ENERGY"),
        (Verdict.BAD, Reason.HEADER_WORD, "BONE"),
    ]
    assert said(replace(header, sop_class_uid="")) == {"NOT_A_FILM?", "HEADER_WORD"}
    capture = replace(header, sop_class_uid=SecondaryCaptureImageStorage, words=("BONE", "COMPANION"))
    assert said(capture) == {"SECONDARY", "DERIVED", "COMPANION"}
    capture = replace(header, sop_class_uid=CTImageStorage, image_type=("DERIVED", "SECONDARY"), words=())
    assert said(capture) == {"NOT_A_FILM", "DERIVED?", "SECONDARY"}


def test_words_do_not_make_a_film_something_else() -> None:
    """What is sent to everybody while a site only observes, and who is told that a film was not read."""
    assert is_film(replace(CR, words=("BONE",), image_type=("DERIVED", "SECONDARY")))
    assert not is_film(replace(CR, ours=True, words=("BONE",)))
    assert not is_film(replace(CR, sop_class_uid=SecondaryCaptureImageStorage))


def test_several_faults_are_several_findings() -> None:
    header = replace(DX, words=("COMPANION",), ours=True, frames=3)
    assert said(header) == {Reason.HEADER_WORD, Reason.OURS, Reason.MULTI_FRAME}


def test_the_gate_looks_at_the_header_only() -> None:
    film = Film(replace(DX, ours=True), np.full((2, 2), np.nan, dtype=np.float32))
    assert HeaderGate()(film) == header_findings(film.header)
    assert HeaderGate.name == "header"
