"""The header of one instance, cleaned: `read_header` never raises, whatever the values are.

Headers lie, are empty, hold several values where one belongs, or come in the wrong VR or character set.
A value that cannot be read is an absent value. The *claims* (`part`, `view`) follow one rule: attributes
are asked in a fixed order and the first that says something wins; several values that disagree within one
attribute say nothing, and nor does a word that stands in no table of `pipelines.words.vocabulary`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import MAXYEAR, MINYEAR, date
from math import floor, isfinite

from pydicom import Dataset, charset, config
from pydicom.datadict import tag_for_keyword
from pydicom.uid import (
    DigitalIntraOralXRayImageStorageForProcessing,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForProcessing,
)

from pipelines.film import Header
from pipelines.words import vocabulary
from pipelines.words.special_words import special_words

OUR_NAME = "FILMGATE"  # Contributing Equipment: Manufacturer of everything that we make

MAX_TEXT = 64  # characters kept of a coded value: LO's limit
OLDEST_YEARS = 115  # above, it is no age but a date that nobody knew
MONTHS_UNTIL = 2  # younger children's ages count in fractions of a year, all others in completed years
PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 365.2425 / 7, "D": 365.2425}
# PatientAge (0010,1010), VR AS, is nnnD, nnnW, nnnM or nnnY; the rest is what people type. J alone is not
# here: Jahre are years, jours are days.
AGE_UNITS = {
    word: unit
    for unit, listed in {
        "Y": "Y YR YRS YEAR YEARS YO A AN ANS ANO ANOS ANNO ANNI JAHR JAHRE JAAR ROK LAT AR YAS 歳 才 岁 세",
        "M": "M MO MOS MON MTH MTHS MONTH MONTHS MONAT MONATE MOIS MES MESES MESE MESI MAAND MAANDEN",
        "W": "W WK WKS WEEK WEEKS WOCHE WOCHEN SEMAINE SEMAINES SEMANA SEMANAS SETTIMANA SETTIMANE",
        "D": "D DAY DAYS T TAG TAGE JOUR JOURS DIA DIAS GIORNO GIORNI DAG DAGEN DAGE",
    }.items()
    for word in listed.split()
}
AGE_PAIR = re.compile(r"(\d{1,4}(?:[.,]\d{1,3})?) *\+? *([^\W\d]*)\.? *\+?")  # a count and its unit
# Dates that systems and people write where they know none, the zero of OLE, Excel and Unix among them. They
# are named because on an old film the age from 1900 may be anybody's.
PLACEHOLDER_DATES = frozenset(
    {
        "00010101",
        "11111111",
        "18000101",
        "18991230",
        "18991231",
        "19000101",
        "19010101",
        "19111111",
        "19691231",
        "19700101",
    }
)

# PS3.16 CID 4009 and CID 4031 (chest, thorax, thoracic structure, lung): SNOMED CT, and SRT before it
CHEST_CODES = frozenset({"816094009", "43799004", "51185008", "39607008", "TD3200", "TD3000", "T28000"})

# ViewPosition (0018,5101) that says that it says nothing
NO_VIEW = frozenset(
    {"", "UNKNOWN", "UNDEFINED", "UNSPECIFIED", "NONE", "N A", "NA", "ANY", "OTHER", "DEFAULT", "0"}
)
# PS3.16 CID 4010, DX View: SNOMED CT, and SRT before it
VIEW_CODES = dict.fromkeys(
    ("399348003", "272479007", "399033003", "R10206", "R40888", "R10214", "R10202"), "frontal"
) | dict.fromkeys(("399067008", "399173006", "399198007", "R102CD", "R10236", "R10232"), "lateral")
URGENT_WORDS = frozenset({"STAT", "HIGH", "URGENT", "EMERGENCY", "ASAP"})
# Where makers and rooms write what kind of picture it is
KIND_OF_PICTURE = (
    "ImageType",
    "SeriesDescription",
    "DerivationDescription",
    "AcquisitionDeviceProcessingDescription",
)
FOR_PROCESSING_CLASSES = frozenset(
    {
        DigitalXRayImageStorageForProcessing,
        DigitalMammographyXRayImageStorageForProcessing,
        DigitalIntraOralXRayImageStorageForProcessing,
    }
)


def read_header(ds: Dataset) -> Header:
    """Return what the header says; never raises on odd values.

    Age (completed years; below two, with a fraction) is PatientAge or, where the age from PatientBirthDate at
    the study differs from it by a year or more, the smaller of the two: who may be a child counts as one.
    `age_doubt` says what of them could not be read or believed.
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
    meta = getattr(ds, "file_meta", None) or Dataset()
    age, doubt = _age(ds)
    return Header(
        sop_class_uid=sop_class,
        sop_instance_uid=text(ds, "SOPInstanceUID"),
        transfer_syntax_uid=text(meta, "TransferSyntaxUID"),
        modality=first(upper(ds, "Modality")),
        image_type=upper(ds, "ImageType"),
        presentation_intent=_presentation_intent(ds, sop_class),
        photometric=first(upper(ds, "PhotometricInterpretation")),
        presentation_shape=first(upper(ds, "PresentationLUTShape")),
        rows=integer(ds, "Rows") or 0,
        columns=integer(ds, "Columns") or 0,
        frames=max(1, integer(ds, "NumberOfFrames") or 1),
        bits_stored=integer(ds, "BitsStored") or 0,
        body_part="\\".join(typed(ds, "BodyPartExamined"))[:MAX_TEXT],
        view_position="\\".join(typed(ds, "ViewPosition"))[:MAX_TEXT],
        orientation=upper(ds, "PatientOrientation")[:2],
        part=_part(ds),
        view=_view(ds),
        age_years=age,
        age_doubt=doubt,
        study_date=_date_text(ds, "StudyDate"),
        urgent=any(
            first(upper(ds, k)) in URGENT_WORDS for k in ("RequestedProcedurePriority", "StudyPriorityID")
        ),
        ours=_ours(ds),
        words=_words(ds),
    )


# Values


def values(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of an attribute as stripped text, () when it is absent, empty, a sequence or unreadable."""
    return tuple(_clean(text) for text in _texts(ds, keyword))


def _texts(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """The values as they stand."""
    value = value_of(ds, keyword)
    if value is None or value in ("", b"") or isinstance(value, Dataset):
        return ()
    if isinstance(value, bytes):
        value = value.decode("latin-1").split("\\")
    items = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    if any(isinstance(item, Dataset) for item in items):
        return ()
    return tuple(str(item) for item in items)


def upper(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """`values`, upper case."""
    return tuple(value.upper() for value in values(ds, keyword))


def typed(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """`upper` of an attribute that ought to be ASCII (VR CS), but where people type words of their language.

    pydicom reads a CS as Latin-1. Other bytes are UTF-8, or else of the Specific Character Set (0008,0005).
    """
    return tuple(_clean(_spelled(ds, value)).upper() for value in _texts(ds, keyword))


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
    floats = numbers(ds, keyword)
    return floats[0] if floats else None


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
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in ds.keys():  # noqa: SIM118 - of the two the dictionary's own look-up is ten times as fast
        return None
    try:
        return ds[tag].value
    except Exception:  # noqa: BLE001 - pydicom converts here; hostile values raise nearly anything
        return None


def _spelled(ds: Dataset, value: str) -> str:
    if value.isascii() and "\x1b" not in value:
        return value
    try:
        coded = value[: 4 * MAX_TEXT].encode("latin-1")
    except UnicodeEncodeError:
        return value  # read in its character set already
    try:
        return coded.decode("utf-8") if "\x1b" not in value else _in_character_set(ds, coded)
    except UnicodeDecodeError:
        return _in_character_set(ds, coded)


def _in_character_set(ds: Dataset, coded: bytes) -> str:
    try:
        encodings = charset.convert_encodings(list(values(ds, "SpecificCharacterSet")))
        decoded = charset.decode_bytes(coded, encodings, set())
    except (LookupError, ValueError, AttributeError):
        decoded = "\ufffd"
    return coded.decode("latin-1") if "\ufffd" in decoded else decoded


def _clean(value: str) -> str:
    value = value[: 4 * MAX_TEXT]
    if not value.isprintable():
        value = "".join(c for c in value if c.isprintable())
    return value.strip()[:MAX_TEXT]


def _letters(value: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", value.upper())


def _agreed(claims: set[str]) -> str:
    claims = claims - {""}
    return claims.pop() if len(claims) == 1 else ""


# Claims


def _part(ds: Dataset) -> str:
    """BodyPartExamined first: it is set for each exposure; the coded region often comes from a template."""
    named = part_named(typed(ds, "BodyPartExamined"))
    if named:
        return named
    return _agreed({_part_of_region(item) for item in items(ds, "AnatomicRegionSequence")})


def part_named(stated: Iterable[str], known: vocabulary.PartWords = vocabulary.PARTS) -> str:
    """The part that values of BodyPartExamined name: "chest", "other" or ""; if they disagree, none."""
    return _agreed({known.part(value) for value in stated})


def _part_of_region(item: Dataset) -> str:
    if _letters(text(item, "CodeValue")) in CHEST_CODES:
        return "chest"
    return vocabulary.PARTS.part(text(item, "CodeMeaning"))


def _view(ds: Dataset) -> str:
    """The plane is asked last, and only where ViewPosition is silent: PatientOrientation often comes from a
    template, and cannot say what a ViewPosition means that nobody understands."""
    stated = typed(ds, "ViewPosition")
    return (
        _agreed({vocabulary.view(value) for value in stated})
        or _agreed({_view_of_code(item) for item in items(ds, "ViewCodeSequence")})
        or ("" if any(vocabulary.spaced(value) not in NO_VIEW for value in stated) else _view_by_plane(ds))
    )


def _view_of_code(item: Dataset) -> str:
    meanings = [
        text(item, "CodeMeaning"),
        *(text(m, "CodeMeaning") for m in items(item, "ViewModifierCodeSequence")),
    ]
    if "other" in {vocabulary.view(meaning) for meaning in meanings}:
        return "other"
    return VIEW_CODES.get(_letters(text(item, "CodeValue"))) or vocabulary.view(meanings[0])


def _view_by_plane(ds: Dataset) -> str:
    """PatientOrientation (0020,0020) gives the plane: L or R against F or H is coronal, A or P sagittal."""
    axes = "".join(sorted(value[0] for value in upper(ds, "PatientOrientation") if value))
    if re.fullmatch("[FH][LR]", axes):
        return "frontal"
    return "lateral" if re.fullmatch("[AP][FH]|[FH]P", axes) else ""


# The rest


def _presentation_intent(ds: Dataset, sop_class: str) -> str:
    stated = first(upper(ds, "PresentationIntentType"))
    return stated or ("FOR PROCESSING" if sop_class in FOR_PROCESSING_CLASSES else "")


def _age(ds: Dataset) -> tuple[float | None, str]:
    """The age in years, and what of PatientAge and PatientBirthDate could not be read or believed."""
    stated, unread = _age_stated(ds)
    reckoned, unlikely = _age_reckoned(ds)
    known = [age for age in (stated, reckoned) if age is not None]
    if not known:
        return None, "; ".join(filter(None, (unread, unlikely)))
    age = stated if stated is not None and max(known) - min(known) < 1 else min(known)
    return (age if age < MONTHS_UNTIL else float(floor(age))), unread


def _age_stated(ds: Dataset) -> tuple[float | None, str]:
    """PatientAge: 042Y, and as people type it: 42, 42 Y, 042A, 90+, 1Y6M."""
    stated = text(ds, "PatientAge")
    if not stated:
        return None, ""
    typed_in = vocabulary.plain(stated)
    pairs = AGE_PAIR.findall(typed_in)
    units = [AGE_UNITS.get(unit or "Y") for _, unit in pairs]
    if not pairs or None in units or len(set(units)) < len(units) or AGE_PAIR.sub("", typed_in).strip(" >≥"):
        return None, f"the age {stated[:16]!r} could not be read"
    counts = (float(count.replace(",", ".")) for count, _ in pairs)
    age = sum(count / PER_YEAR[unit] for count, unit in zip(counts, units, strict=True) if unit)
    if age >= OLDEST_YEARS + 1:
        return None, f"the age {stated[:16]!r} is over {OLDEST_YEARS} years"
    return age, ""


def _age_reckoned(ds: Dataset) -> tuple[float | None, str]:
    """From PatientBirthDate to the study, by the calendar: whole on each birthday."""
    if not text(ds, "PatientBirthDate"):
        return None, ""
    if _date_text(ds, "PatientBirthDate") in PLACEHOLDER_DATES:
        return None, "the birth date is one that people write where they know none"
    born = _date(ds, "PatientBirthDate")
    if born is None:
        return None, "the birth date could not be read"
    studied = (
        _date(ds, keyword) for keyword in ("StudyDate", "AcquisitionDate", "SeriesDate", "ContentDate")
    )
    at = next((day for day in studied if day), None)
    if at is None:
        return None, "there is a birth date, but no date of the study"
    age = _years_between(born, at)
    if not 0 <= age < OLDEST_YEARS + 1:
        return None, f"the birth date gives {floor(age)} years, which cannot be"
    return age, ""


def _years_between(born: date, at: date) -> float:
    birthday = _birthday(born, at.year)
    last = birthday if birthday <= at else _birthday(born, at.year - 1)
    following = _birthday(born, last.year + 1)
    return last.year - born.year + (at - last).days / (following - last).days


def _birthday(born: date, year: int) -> date:
    """Who was born on 29 February completes a year on 1 March where there is no 29th."""
    try:
        return born.replace(year=year)
    except ValueError:
        return date(year, 3, 1)


def _date_text(ds: Dataset, keyword: str) -> str:
    """YYYYMMDD; the dots and dashes of old writers are dropped."""
    digits = re.sub(r"[.\-/]", "", text(ds, keyword))
    return digits if re.fullmatch(r"\d{8}", digits) else ""


def _date(ds: Dataset, keyword: str) -> date | None:
    digits = _date_text(ds, keyword)
    try:
        day = date.fromisoformat(digits)
    except ValueError:
        return None
    known = digits not in PLACEHOLDER_DATES and MINYEAR + 1 < day.year < MAXYEAR  # birthdays lie around it
    return day if known else None


def _ours(ds: Dataset) -> bool:
    equipment = items(ds, "ContributingEquipmentSequence")
    return any(
        OUR_NAME in (first(upper(e, k)) for k in ("Manufacturer", "ManufacturerModelName")) for e in equipment
    )


def _words(ds: Dataset) -> tuple[str, ...]:
    """What it says of a computed or special picture; (0028,0300) is the Standard's of phantoms.

    That a class is FOR PROCESSING needs no word; an intent that its class denies may be a template's.
    """
    texts = [text for keyword in KIND_OF_PICTURE for text in _texts(ds, keyword)]
    if text(ds, "SOPClassUID") not in FOR_PROCESSING_CLASSES:
        texts += _texts(ds, "PresentationIntentType")
    control = first(upper(ds, "QualityControlImage")) in ("YES", "BOTH")
    return special_words([*texts, *(("QA",) if control else ())])
