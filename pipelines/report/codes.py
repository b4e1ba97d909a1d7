"""The codes that results say things with, and where each comes from.

A condition has a code of SNOMED CT or DICOM where one was found in a published value set that means the same;
else a code of our own scheme, 99FILMGATE, which every object that uses it identifies (PS3.3 C.12.1.1.7). A
label of a data set is not always the disease of that name: "No Finding" of ChestX-ray14 means none of its 14
names in the report, not a normal film, so it is ours; so are names for which no code could be verified.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from pydicom import Dataset

from pipelines.film import PATIENT_SAFETY, REJECT_REASONS, REJECTION_TITLES, Reason
from pipelines.report.identity import code, made_uid

SCHEME = "99FILMGATE"
SCHEME_UID = made_uid("coding scheme", SCHEME)
CODE_VALUE_LENGTH = 16  # SH
CODE_MEANING_LENGTH = 64  # LO


@dataclass(frozen=True, slots=True)
class Coded:
    """A code value, its coding scheme designator, what it means, and where we found it."""

    value: str
    scheme: str
    meaning: str
    source: str = ""


def _ours(value: str, meaning: str) -> Coded:
    return Coded(value, SCHEME, meaning, "filmgate")


CONDITIONS: dict[str, Coded] = {
    # ChestX-ray14 (Wang et al., CVPR 2017), in its spelling
    "Atelectasis": Coded("46621007", "SCT", "Atelectasis", "MedDRA to SNOMED CT map, 10003598"),
    "Cardiomegaly": Coded("287272002", "SCT", "Cardiomegaly", "PS3.16 CID 12248"),
    "Effusion": Coded("60046008", "SCT", "Pleural effusion", "PS3.16 CID 645"),
    "Infiltration": Coded("409609008", "SCT", "Radiologic infiltrate of lung", "UMLS, SNOMEDCT_US"),
    "Mass": Coded("309529002", "SCT", "Lung mass", "HL7 FHIR, GenomicStudy examples"),
    "Nodule": Coded("27925004", "SCT", "Nodule", "PS3.16 CID 6102"),
    "Pneumonia": Coded("233604007", "SCT", "Pneumonia", "SNOMED CT documentation, subtypes"),
    "Pneumothorax": Coded("36118008", "SCT", "Pneumothorax", "PS3.16 CID 6102"),
    "Consolidation": Coded("95436008", "SCT", "Lung consolidation", "HL7 Lithuania, lung cancer"),
    "Edema": Coded("19242006", "SCT", "Pulmonary edema", "PS3.16 CID 3700"),
    "Emphysema": Coded("87433001", "SCT", "Pulmonary emphysema", "HL7 Lithuania, lung cancer"),
    "Fibrosis": Coded("51615001", "SCT", "Pulmonary fibrosis", "MedDRA to SNOMED CT map, 10037383"),
    "Pleural_Thickening": _ours("PLEURAL_THICK", "Pleural thickening"),
    "Hernia": Coded("39839004", "SCT", "Diaphragmatic hernia", "HL7 FHIR, FamilyMemberHistory"),
    "No Finding": _ours("NO_FINDING", "None of the trained conditions"),
    # children's pneumonia (Kermany et al., Cell 2018)
    "Normal": Coded("17621005", "SCT", "Normal", "PS3.16 CID 222"),
    "Bacterial": Coded("53084003", "SCT", "Bacterial pneumonia", "SNOMED CT documentation, subtypes"),
    "Viral": Coded("75570004", "SCT", "Viral pneumonia", "OMOP vocabulary 261326"),
    # what TorchXRayVision adds (Cohen et al., MIDL 2022)
    "Lung Lesion": _ours("LUNG_LESION", "Lung lesion"),
    "Fracture": Coded("125605004", "SCT", "Fracture of bone", "SNOMED CT documentation, ECL"),
    "Lung Opacity": Coded("112001", "DCM", "Opacity", "PS3.16 CID 6102"),
    "Enlarged Cardiomediastinum": _ours("WIDE_MEDIAST", "Enlarged cardiomediastinum"),
}

PROBABILITY = Coded("122157", "DCM", "Probability", "PS3.16 Annex D")
THRESHOLD = Coded("122411", "DCM", "Threshold Value", "PS3.16 Annex D")
NOT_ATTEMPTED = Coded("111225", "DCM", "Not Attempted", "PS3.16 CID 6042")
RELATION = _ours("RELATION", "Relation to threshold")
ABOVE = _ours("AT_OR_ABOVE", "At or above threshold")
BELOW = _ours("BELOW", "Below threshold")
NO_THRESHOLD = _ours("NO_THRESHOLD", "No threshold, too few positives")
REGION = _ours("REGION", "Region on the original film")
NOT_ANALYSED = _ours("NOT_ANALYSED", "Film not analysed")
STATUS = _ours("ANALYSIS_STATUS", "Status of analysis")
FILM = _ours("FILM", "Film that was not analysed")
WHY = _ours("WHY", "Reason for no analysis")

# PS3.16 CID 7011 "Rejected for Quality Reasons", by the reason that a film was held for
_CID_7011 = "PS3.16 CID 7011"
POSITIONING = Coded("111209", "DCM", "Positioning", _CID_7011)
UNDER_EXPOSED = Coded("111211", "DCM", "Under exposed", _CID_7011)
OVER_EXPOSED = Coded("111212", "DCM", "Over exposed", _CID_7011)
NO_IMAGE = Coded("111213", "DCM", "No image", _CID_7011)
SOFTWARE_FAILURE = Coded("111218", "DCM", "Software failure", _CID_7011)
PROCESSING = Coded("111219", "DCM", "Inappropriate image processing", _CID_7011)
OTHER_FAILURE = Coded("111220", "DCM", "Other failure", _CID_7011)  # whatever is not in the table

_CID_7010 = "PS3.16 CID 7010"
QUALITY_TITLE = Coded("113001", "DCM", REJECTION_TITLES["113001"], _CID_7010)
SAFETY_TITLE = Coded(PATIENT_SAFETY, "DCM", REJECTION_TITLES[PATIENT_SAFETY], _CID_7010)
QUALITY_CODES = {  # that a person may name
    code: Coded(code, "DCM", meaning, _CID_7011)
    for code, meaning in REJECT_REASONS.items()
    if code != PATIENT_SAFETY
}

REJECTION: dict[Reason, Coded] = {
    Reason.BLANK: NO_IMAGE,
    Reason.NO_PIXELS: NO_IMAGE,
    Reason.OVEREXPOSED: OVER_EXPOSED,
    Reason.UNDEREXPOSED: UNDER_EXPOSED,
    Reason.ROTATED_90: POSITIONING,
    Reason.ROTATED_180: POSITIONING,
    Reason.ROTATED_270: POSITIONING,
    Reason.ROTATION_UNSURE: POSITIONING,
    Reason.LUNGS_CUT_OFF: POSITIONING,
    Reason.LUNGS_NOT_FOUND: POSITIONING,
    Reason.INVERTED: PROCESSING,
    Reason.INVERSION_UNSURE: PROCESSING,
    Reason.POLARITY_AMBIGUOUS: PROCESSING,
    Reason.MIRROR_SUSPECTED: PROCESSING,
    Reason.WASHED_OUT: PROCESSING,
    Reason.CLIPPED: PROCESSING,
    Reason.UNREADABLE: SOFTWARE_FAILURE,
    Reason.UNSUPPORTED: SOFTWARE_FAILURE,
    Reason.PIXELS_MISMATCH: SOFTWARE_FAILURE,
    Reason.DECODE_FAILED: SOFTWARE_FAILURE,
}


def condition(name: str) -> Coded:
    """The code of a condition; one that is not in the table gets a code of ours, made from its name."""
    return CONDITIONS.get(name) or _ours(_value(name), _meaning(name))


def _value(name: str) -> str:
    """At most 16 characters; a longer name ends in six of its sha256, so that no two are the same."""
    word = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
    if word and len(word) <= CODE_VALUE_LENGTH and name.isascii():
        return word
    digest = hashlib.sha256(name.encode()).hexdigest()[:6].upper()
    return f"{word[: CODE_VALUE_LENGTH - 7]}_{digest}".strip("_")


def _meaning(name: str) -> str:
    printable = "".join(c for c in name if c.isprintable()).replace("_", " ").strip()
    return printable[:CODE_MEANING_LENGTH] or "unnamed condition"


def item(coded: Coded) -> Dataset:
    """As an item of a code sequence."""
    return code(coded.value, coded.meaning, coded.scheme)


def scheme_identification() -> Dataset:
    """Coding Scheme Identification (PS3.3 C.12.1.1.7) of our own scheme."""
    item = Dataset()
    item.CodingSchemeDesignator, item.CodingSchemeUID = SCHEME, SCHEME_UID
    item.CodingSchemeName = "filmgate private codes"
    item.CodingSchemeResponsibleOrganization = "filmgate"
    return item
