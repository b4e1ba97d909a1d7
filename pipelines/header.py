"""The header of one instance, cleaned: `read_header` never raises, whatever the values are.

Headers lie, are empty, hold several values where one belongs, or come in the wrong VR or character set.
A value that cannot be read is an absent value. The *claims* (`part`, `view`) follow one rule: attributes
are asked in a fixed order and the first that says something wins; several values that disagree within one
attribute say nothing.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from math import isfinite

from pydicom import Dataset, config
from pydicom.uid import (
    DigitalIntraOralXRayImageStorageForProcessing,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForProcessing,
)

from pipelines.film import Header

OUR_NAME = "FILMGATE"  # Contributing Equipment: Manufacturer of everything that we make

MAX_TEXT = 64  # characters kept of a coded value: LO's limit
OLDEST_YEARS = 130.0
DAYS_PER = {"D": 1.0, "W": 7.0, "M": 30.436875, "Y": 365.2425}

CHEST_WORDS = ("CHEST", "THORAX", "TORAX", "TORACE", "LUNG", "PULMO", "CXR")
NOT_CHEST_WORDS = (
    "SPINE",
    "VERTEBRA",
    "WIRBEL",
    "ABD",
    "PELV",
    "INLET",
    "OUTLET",
    "AORTA",
)  # THORAX SPINE, CHESTABDOMEN
NO_PART = frozenset(
    {"", "UNKNOWN", "UNDEFINED", "UNSPECIFIED", "NONE", "NA", "ANY", "OTHER", "BODYPART", "DEFAULT", "0"}
)

# PS3.16 CID 4009 and CID 4031 (chest, thorax, thoracic structure, lung): SNOMED CT, and SRT before it
CHEST_CODES = frozenset({"816094009", "43799004", "51185008", "39607008", "TD3200", "TD3000", "T28000"})

# ViewPosition (0018,5101): defined terms of PS3.3 C.8.1.1, and what rooms type in their place
VIEW_WORDS = {
    "frontal": frozenset(
        {"PA", "AP", "APPA", "PAAP", "FRONTAL", "POSTEROANTERIOR", "ANTEROPOSTERIOR", "APSUPINE", "APERECT"}
    ),
    "lateral": frozenset(
        {
            "LL",
            "RL",
            "LAT",
            "LATERAL",
            "LLAT",
            "RLAT",
            "LATL",
            "LATR",
            "LEFTLATERAL",
            "RIGHTLATERAL",
            "LTLATERAL",
            "RTLATERAL",
        }
    ),
    "other": frozenset(
        {
            "RLD",
            "LLD",
            "RLO",
            "LLO",
            "RAO",
            "LAO",
            "RPO",
            "LPO",
            "OBL",
            "OBLIQUE",
            "AXIAL",
            "LORDOTIC",
            "DECUBITUS",
            "CC",
            "MLO",
            "ML",
            "LM",
        }
    ),
}
# PS3.16 CID 4010, DX View: SNOMED CT, and SRT before it
VIEW_CODES = dict.fromkeys(
    ("399348003", "272479007", "399033003", "R10206", "R40888", "R10202"), "frontal"
) | dict.fromkeys(("399067008", "399173006", "399198007", "R102CD", "R10236", "R10232"), "lateral")
URGENT_WORDS = frozenset({"STAT", "HIGH", "URGENT", "EMERGENCY", "ASAP"})
COMPANION_WORDS = frozenset({"COMPANION", "LOCALIZER", "SCOUT", "THUMBNAIL"})
FOR_PROCESSING_CLASSES = frozenset(
    {
        DigitalXRayImageStorageForProcessing,
        DigitalMammographyXRayImageStorageForProcessing,
        DigitalIntraOralXRayImageStorageForProcessing,
    }
)


def read_header(ds: Dataset) -> Header:
    """Return what the header says; never raises on odd values.

    Age (years) is PatientAge or, where both are there and disagree, the smaller of it and the age from
    PatientBirthDate at the study: who may be a child counts as one.
    """
    with quietly():
        return _read(ds)


@contextmanager
def quietly() -> Iterator[None]:
    """pydicom warns of and logs every odd value; here they are expected, and no log may show them."""
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def _read(ds: Dataset) -> Header:
    sop_class = text(ds, "SOPClassUID")
    image_type = upper(ds, "ImageType")
    meta = getattr(ds, "file_meta", None) or Dataset()
    return Header(
        sop_class_uid=sop_class,
        sop_instance_uid=text(ds, "SOPInstanceUID"),
        transfer_syntax_uid=text(meta, "TransferSyntaxUID"),
        modality=first(upper(ds, "Modality")),
        image_type=image_type,
        presentation_intent=_presentation_intent(ds, sop_class),
        photometric=first(upper(ds, "PhotometricInterpretation")),
        presentation_shape=first(upper(ds, "PresentationLUTShape")),
        rows=integer(ds, "Rows") or 0,
        columns=integer(ds, "Columns") or 0,
        frames=max(1, integer(ds, "NumberOfFrames") or 1),
        bits_stored=integer(ds, "BitsStored") or 0,
        body_part="\\".join(upper(ds, "BodyPartExamined"))[:MAX_TEXT],
        view_position="\\".join(upper(ds, "ViewPosition"))[:MAX_TEXT],
        orientation=upper(ds, "PatientOrientation")[:2],
        part=_part(ds),
        view=_view(ds),
        age_years=_age_years(ds),
        study_date=_date_text(ds, "StudyDate"),
        urgent=any(
            first(upper(ds, k)) in URGENT_WORDS for k in ("RequestedProcedurePriority", "StudyPriorityID")
        ),
        ours=_ours(ds),
        companion=_companion(ds, image_type),
    )


# Values


def values(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of an attribute as stripped text, () when it is absent, empty, a sequence or unreadable."""
    value = value_of(ds, keyword)
    if value is None or value in ("", b"") or isinstance(value, Dataset):
        return ()
    if isinstance(value, bytes):
        value = value.decode("latin-1").split("\\")
    items = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    if any(isinstance(item, Dataset) for item in items):
        return ()
    return tuple(_clean(str(item)) for item in items)


def upper(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """`values`, upper case."""
    return tuple(value.upper() for value in values(ds, keyword))


def text(ds: Dataset, keyword: str) -> str:
    """The first value, or ""."""
    return first(values(ds, keyword))


def first(items: tuple[str, ...]) -> str:
    """The first of several values, or ""."""
    return items[0] if items else ""


def numbers(ds: Dataset, keyword: str) -> tuple[float, ...]:
    """The values as floats; () when one of them is not a number. NaN and infinity are numbers here."""
    try:
        return tuple(float(value) for value in values(ds, keyword))
    except ValueError:
        return ()


def number(ds: Dataset, keyword: str) -> float | None:
    """The first value as a float, or None."""
    found = numbers(ds, keyword)
    return found[0] if found else None


def integer(ds: Dataset, keyword: str) -> int | None:
    """The first value as an int, or None."""
    value = number(ds, keyword)
    return int(value) if value is not None and isfinite(value) else None


def items(ds: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """The items of a sequence attribute; () when it is absent, empty or no sequence."""
    value = value_of(ds, keyword)
    if value is None or isinstance(value, str | bytes | int | float) or not hasattr(value, "__iter__"):
        return ()
    return tuple(item for item in value if isinstance(item, Dataset))


def value_of(ds: Dataset, keyword: str) -> object:
    """The value of an attribute; None where it is absent or cannot be read."""
    try:
        return ds.get(keyword)
    except Exception:  # noqa: BLE001 - pydicom converts here; hostile values raise nearly anything
        return None


def _clean(value: str) -> str:
    return "".join(c for c in value[: 4 * MAX_TEXT] if c.isprintable()).strip()[:MAX_TEXT]


def _letters(value: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", value.upper())


def _agreed(claims: set[str]) -> str:
    claims = claims - {""}
    return claims.pop() if len(claims) == 1 else ""


# Claims


def _part(ds: Dataset) -> str:
    """BodyPartExamined first: it is set for each exposure; the coded region often comes from a template."""
    named = _agreed({_part_of(value) for value in upper(ds, "BodyPartExamined")})
    if named:
        return named
    return _agreed({_part_of_region(item) for item in items(ds, "AnatomicRegionSequence")})


def _part_of(value: str) -> str:
    if _letters(value) in NO_PART:
        return ""
    chest = any(word in value for word in CHEST_WORDS) and not any(word in value for word in NOT_CHEST_WORDS)
    return "chest" if chest else "other"


def _part_of_region(item: Dataset) -> str:
    if _letters(text(item, "CodeValue")) in CHEST_CODES:
        return "chest"
    return _part_of(first(upper(item, "CodeMeaning")))


def _view(ds: Dataset) -> str:
    return (
        _agreed({_view_of(value) for value in upper(ds, "ViewPosition")})
        or _agreed({_view_of_code(item) for item in items(ds, "ViewCodeSequence")})
        or _view_of_orientation(upper(ds, "PatientOrientation"))
    )


def _view_of(value: str) -> str:
    word = _letters(value)
    return next((view for view, words in VIEW_WORDS.items() if word in words), "")


def _view_of_code(item: Dataset) -> str:
    meanings = [
        text(item, "CodeMeaning"),
        *(text(m, "CodeMeaning") for m in items(item, "ViewModifierCodeSequence")),
    ]
    said = " ".join(meanings).upper()
    if any(word in said for word in ("OBLIQUE", "DECUBITUS", "LORDOTIC", "AXIAL")):
        return "other"
    return VIEW_CODES.get(_letters(text(item, "CodeValue"))) or _view_of(meanings[0])


def _view_of_orientation(orientation: tuple[str, ...]) -> str:
    """PatientOrientation (0020,0020) gives the plane: L or R against F or H is coronal, A or P sagittal."""
    axes = "".join(sorted(value[0] for value in orientation if value))
    if re.fullmatch("[FH][LR]", axes):
        return "frontal"
    return "lateral" if re.fullmatch("[AP][FH]|[FH]P", axes) else ""


# The rest


def _presentation_intent(ds: Dataset, sop_class: str) -> str:
    said = first(upper(ds, "PresentationIntentType"))
    return said or ("FOR PROCESSING" if sop_class in FOR_PROCESSING_CLASSES else "")


def _age_years(ds: Dataset) -> float | None:
    known = [
        age for age in (_age_told(ds), _age_from_birth(ds)) if age is not None and 0 <= age <= OLDEST_YEARS
    ]
    return min(known, default=None)


def _age_told(ds: Dataset) -> float | None:
    match = re.fullmatch(r"(\d{1,4})([DWMY])", first(upper(ds, "PatientAge")))
    return int(match[1]) * DAYS_PER[match[2]] / DAYS_PER["Y"] if match else None


def _age_from_birth(ds: Dataset) -> float | None:
    born = _date(ds, "PatientBirthDate")
    studied = (
        _date(ds, keyword) for keyword in ("StudyDate", "AcquisitionDate", "SeriesDate", "ContentDate")
    )
    at = next((day for day in studied if day), None)
    return (at - born).days / DAYS_PER["Y"] if born and at else None


def _date_text(ds: Dataset, keyword: str) -> str:
    """YYYYMMDD; the dots and dashes of old writers are dropped."""
    digits = re.sub(r"[.\-/]", "", text(ds, keyword))
    return digits if re.fullmatch(r"\d{8}", digits) else ""


def _date(ds: Dataset, keyword: str) -> date | None:
    try:
        return date.fromisoformat(_date_text(ds, keyword))
    except ValueError:
        return None


def _ours(ds: Dataset) -> bool:
    equipment = items(ds, "ContributingEquipmentSequence")
    return any(
        OUR_NAME in (first(upper(e, k)) for k in ("Manufacturer", "ManufacturerModelName")) for e in equipment
    )


def _companion(ds: Dataset, image_type: tuple[str, ...]) -> bool:
    """A view made beside the film: PS3.3 C.8.1.2.1.1 leaves ImageType values 3 and up to the maker."""
    return bool(COMPANION_WORDS & set(image_type[2:])) or "COMPANION" in first(upper(ds, "SeriesDescription"))
