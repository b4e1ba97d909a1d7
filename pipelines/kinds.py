"""What the header alone says of an instance: is it one projection radiograph, meant to be looked at?

Objects whose pixels cannot be decoded are judged by this too, so it imports no gate and no torch.
SOP classes: PS3.4 annex B.5. ImageType (0008,0008): PS3.3 C.7.6.1.1.2 and C.8.11.3.1.1.
"""

from __future__ import annotations

from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalIntraOralXRayImageStorageForPresentation,
    DigitalIntraOralXRayImageStorageForProcessing,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from pipelines.film import Finding, Header, Reason, Verdict

GATE = "header"

FILM_CLASSES = frozenset(
    {
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
    }
)
SECONDARY_CLASSES = frozenset(
    {
        SecondaryCaptureImageStorage,
        MultiFrameSingleBitSecondaryCaptureImageStorage,
        MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)
# Films too, but the class or the modality itself names the part: a breast, or teeth
OTHER_PART_CLASSES = frozenset(
    {
        DigitalMammographyXRayImageStorageForPresentation,
        DigitalMammographyXRayImageStorageForProcessing,
        DigitalIntraOralXRayImageStorageForPresentation,
        DigitalIntraOralXRayImageStorageForProcessing,
    }
)
OTHER_PART_MODALITIES = frozenset({"MG", "IO", "PX"})
# Words in ImageType values 3 and up of pictures computed from several exposures, or meant for another purpose
COMPUTED_WORDS = (
    "SUBTRACT",
    "BONE",
    "SOFT",
    "SUPPRESS",
    "DUAL",
    "TOMO",
    "STITCH",
    "CAD",
    "SCREEN SHOT",
    "SCREENSHOT",
)


def header_findings(header: Header) -> tuple[Finding, ...]:
    """One finding a fault, or one GOOD finding; never empty.

    DERIVED is BAD only where the header names a picture computed from others (subtracted, bone suppressed,
    stitched ...). DERIVED\\PRIMARY alone is what many CR and DX systems write on every processed film: it is
    UNSURE, which the default policy notes as a flag.
    """
    found = (*_class_findings(header), *_image_type_findings(header), *_other_findings(header))
    return found or (Finding(GATE, Verdict.GOOD, 1.0, 0.5, 0.5, detail=_named(header)),)


def is_film(header: Header) -> bool:
    """Whether the header speaks of one projection radiograph that is meant to be looked at, and not ours."""
    return all(finding.verdict is not Verdict.BAD for finding in header_findings(header))


def _class_findings(header: Header) -> tuple[Finding, ...]:
    sop_class = header.sop_class_uid
    if not sop_class and header.no_pixels:  # a worklist item, the answer to a query: nobody need look
        return (_finding(Reason.NOT_A_FILM, "there is neither a SOP class nor a picture"),)
    if not sop_class:
        return (_finding(Reason.NOT_A_FILM, "there is no SOP class", Verdict.UNSURE),)
    if sop_class in OTHER_PART_CLASSES or (
        sop_class in FILM_CLASSES and header.modality in OTHER_PART_MODALITIES
    ):
        return (_finding(Reason.OTHER_PART, f"{_named(header)}: a breast or teeth"),)
    if sop_class in SECONDARY_CLASSES:
        return (_finding(Reason.SECONDARY, _named(header)),)
    if sop_class not in FILM_CLASSES:
        return (_finding(Reason.NOT_A_FILM, _named(header)),)
    return ()


def _image_type_findings(header: Header) -> tuple[Finding, ...]:
    image_type = (*header.image_type, "", "")
    said = "ImageType " + "\\".join(header.image_type)
    found = []
    if image_type[1] == "SECONDARY":
        found.append(_finding(Reason.SECONDARY, said))
    if image_type[0] == "DERIVED":
        computed = any(word in value for value in image_type[2:] for word in COMPUTED_WORDS)
        found.append(_finding(Reason.DERIVED, said, Verdict.BAD if computed else Verdict.UNSURE))
    return tuple(found)


def _other_findings(header: Header) -> tuple[Finding, ...]:
    for_processing = (
        header.presentation_intent == "FOR PROCESSING"
        or header.sop_class_uid == DigitalXRayImageStorageForProcessing
    )
    faults = (
        (for_processing, Reason.FOR_PROCESSING, "Presentation Intent Type FOR PROCESSING"),
        (header.companion, Reason.COMPANION, "ImageType or Series Description says companion"),
        (header.ours, Reason.OURS, "filmgate stands among the contributing equipment"),
        (header.frames > 1, Reason.MULTI_FRAME, f"{header.frames} frames"),
    )
    return tuple(_finding(reason, detail) for is_so, reason, detail in faults if is_so)


def _finding(reason: Reason, detail: str, verdict: Verdict = Verdict.BAD) -> Finding:
    return Finding(GATE, verdict, 0.0, 0.5, 0.5, reason, detail)


def _named(header: Header) -> str:
    return f"{UID(header.sop_class_uid).name[:80]}, modality {header.modality[:16] or 'unknown'}"
