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
from pipelines.words.special_words import COMPANION_WORDS, FOR_PROCESSING

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
# Films too, but the class itself names the part: a breast, or teeth
OTHER_PART_CLASSES = frozenset(
    {
        DigitalMammographyXRayImageStorageForPresentation,
        DigitalMammographyXRayImageStorageForProcessing,
        DigitalIntraOralXRayImageStorageForPresentation,
        DigitalIntraOralXRayImageStorageForProcessing,
    }
)
# Of a CR or DX object these are a claim of its header (pipelines.policy.claims).
OTHER_PART_MODALITIES = frozenset({"MG", "IO", "PX"})
OF_OTHER_CLASSES = dict.fromkeys(COMPANION_WORDS, Reason.COMPANION) | {FOR_PROCESSING: Reason.FOR_PROCESSING}


def header_findings(header: Header) -> tuple[Finding, ...]:
    """One finding a fault, or one GOOD finding; never empty.

    What the class of an object says is BAD. What ImageType and descriptions say of a CR or DX object may be
    true: many systems write DERIVED or SECONDARY on every processed film, which is UNSURE, and a flag by the
    default policy; a special word is HEADER_WORD, one finding a word, which stands alone in `detail`: people
    are asked about it, once a sender. Of an object of another class they are believed.
    """
    faults = (
        *_class_findings(header),
        *_image_type_findings(header),
        *_word_findings(header),
        *_other_findings(header),
    )
    return faults or (Finding(GATE, Verdict.GOOD, 1.0, 0.5, 0.5, detail=_named(header)),)


def is_film(header: Header) -> bool:
    """Whether the header speaks of one projection radiograph that is meant to be looked at, and not ours; or
    may, whatever the words in it mean."""
    return all(
        finding.verdict is not Verdict.BAD or finding.reason is Reason.HEADER_WORD
        for finding in header_findings(header)
    )


def _class_findings(header: Header) -> tuple[Finding, ...]:
    sop_class = header.sop_class_uid
    if not sop_class and header.no_pixels:  # a worklist item, the answer to a query: nobody need look
        return (_finding(Reason.NOT_A_FILM, "there is neither a SOP class nor a picture"),)
    if not sop_class:
        return (_finding(Reason.NOT_A_FILM, "there is no SOP class", Verdict.UNSURE),)
    if sop_class in OTHER_PART_CLASSES:
        return (_finding(Reason.OTHER_PART, f"{_named(header)}: a breast or teeth"),)
    if sop_class in SECONDARY_CLASSES:
        return (_finding(Reason.SECONDARY, _named(header)),)
    if sop_class not in FILM_CLASSES:
        return (_finding(Reason.NOT_A_FILM, _named(header)),)
    return ()


def _image_type_findings(header: Header) -> tuple[Finding, ...]:
    image_type = (*header.image_type, "", "")
    words = "ImageType " + "\\".join(header.image_type)
    faults = []
    if image_type[1] == "SECONDARY":
        verdict = Verdict.BAD if _other_class(header) else Verdict.UNSURE
        faults.append(_finding(Reason.SECONDARY, words, verdict))
    if image_type[0] == "DERIVED":
        faults.append(_finding(Reason.DERIVED, words, Verdict.UNSURE))
    return tuple(faults)


def _word_findings(header: Header) -> tuple[Finding, ...]:
    if not _other_class(header):
        return tuple(_finding(Reason.HEADER_WORD, word) for word in header.words)
    reasons = {OF_OTHER_CLASSES.get(word, Reason.DERIVED): word for word in header.words}
    return tuple(_finding(reason, word) for reason, word in reasons.items())


def _other_class(header: Header) -> bool:
    """Whether the SOP class says that it is no CR or DX object; "" says nothing."""
    return bool(header.sop_class_uid) and header.sop_class_uid not in FILM_CLASSES


def _other_findings(header: Header) -> tuple[Finding, ...]:
    for_processing = header.sop_class_uid == DigitalXRayImageStorageForProcessing
    faults = (
        (for_processing, Reason.FOR_PROCESSING, _named(header)),
        (header.ours, Reason.OURS, "filmgate stands among the contributing equipment"),
        (header.frames > 1, Reason.MULTI_FRAME, f"{header.frames} frames"),
    )
    return tuple(_finding(reason, detail) for is_so, reason, detail in faults if is_so)


def _finding(reason: Reason, detail: str, verdict: Verdict = Verdict.BAD) -> Finding:
    return Finding(GATE, verdict, 0.0, 0.5, 0.5, reason, detail)


def _named(header: Header) -> str:
    return f"{UID(header.sop_class_uid).name[:80]}, modality {header.modality[:16] or 'unknown'}"
