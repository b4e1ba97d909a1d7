"""Who made an object, when, from what: the part that every DICOM object of ours has in common.

UIDs are `2.25.` and a uuid5 of what the object depends on (PS3.5 B.2), so that doing it again makes the same
object. Results lie in the source's study, in a series of their own for each kind and classifier, and name
filmgate in Contributing Equipment, by which we know our own work when it comes round.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from pipelines.film import WHOLE, Box, Operations
from pipelines.header import integer, quietly, text, value_of

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "filmgate")
IMPLEMENTATION_CLASS = UID(f"2.25.{NAMESPACE.int}")
MANUFACTURER = "filmgate"
CHARACTER_SET = "ISO_IR 192"  # UTF-8: whatever the source's was, its names can be said in it

# What of the patient and the study a result repeats (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2): type 1 and 2 first,
# which are there even when empty; the others only when the source has them
TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
OPTIONAL = (
    "IssuerOfPatientID",
    "PatientBirthTime",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDescription",
)
# What a value must look like to be repeated (PS3.5 6.2); names, identifiers and texts are repeated as they
# are, so that an archive finds the same patient
TIME = r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"
FORM = {
    "PatientBirthDate": r"\d{8}",
    "PatientBirthTime": TIME,
    "PatientSex": "[MFO]",
    "PatientAge": r"\d{3}[DWMY]",
    "PatientSize": r"\d{1,4}(\.\d{1,8})?",
    "PatientWeight": r"\d{1,4}(\.\d{1,8})?",
    "StudyDate": r"\d{8}",
    "StudyTime": TIME,
}
OFFSET = r"([+-])(\d\d)([0-5]\d)"
FIRST_YEAR = 1970  # of films; days before it are mostly those of films without names, as 19000101
WESTMOST, EASTMOST = timedelta(hours=-12), timedelta(hours=14)  # PS3.5 6.2, of a DT's suffix


class NotReportable(Exception):
    """Raised when a result cannot refer to its film: it has no UIDs, or no SOP class that is known."""


@dataclass(frozen=True, slots=True)
class Equipment:
    """What made the object: our version, the sha256 of each model that had a say, and the clock's zone."""

    version: str
    models: dict[str, str]
    zone: tzinfo = UTC


@dataclass(frozen=True, slots=True)
class Series:
    """The series that a result goes into; `key` are the parts of its UID beside the study's."""

    key: tuple[str, ...]
    modality: str
    number: int
    description: str


def made_uid(*parts: str) -> UID:
    """The same parts, the same UID."""
    return UID(f"2.25.{uuid.uuid5(NAMESPACE, '|'.join(parts)).int}")


def result_uid(kind: str, film: Dataset, *key: str, at: datetime, equipment: Equipment) -> UID:
    """Of a result: a retry on the same occasion makes the same object; what is made anew has other bytes.

    `at` is as the object states it, by `local_time`: in another zone it is another object.
    """
    return made_uid(kind, film.SOPInstanceUID, *key, at.isoformat(), equipment.version)


def canonical(operations: Operations) -> str:
    """Operations as a part of a UID."""
    box = operations.crop
    crop = f"{box.x0:.6f},{box.y0:.6f},{box.x1:.6f},{box.y1:.6f}" if box else ""
    relabel = ";relabel=True" if operations.relabel else ""  # without it, as it always was
    flip = ";flip=True" if operations.flip else ""
    return f"crop={crop};turn={operations.turn};invert={operations.invert}{relabel}{flip}"


def code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    """One item of a code sequence (PS3.3 Table 8.8-1)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def contribution(contribution_text: str, equipment: Equipment, at: datetime) -> Dataset:
    """Contributing Equipment (PS3.3 C.12.1.1.5): by this we know our own work again. `at` is aware."""
    models = "; ".join(f"{name} sha256:{digest}" for name, digest in sorted(equipment.models.items()))
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Sequence([code("109102", "Processing Equipment")])  # CID 7005
    item.Manufacturer, item.ManufacturerModelName = MANUFACTURER, "filmgate"
    item.SoftwareVersions = equipment.version
    item.ContributionDateTime = at.strftime("%Y%m%d%H%M%S%z")
    item.ContributionDescription = f"{contribution_text}; {models}"[:1024] if models else contribution_text
    return item


# Times


def local_time(source: Dataset, at: datetime, equipment: Equipment) -> datetime:
    """`at` (aware) as an object says it that repeats dates and times of `source`.

    One Timezone Offset From UTC holds for every DA and TM of an instance (PS3.3 C.12.1.1.8), and what is
    repeated cannot be changed. So the offset is the source's own; where it states none, that of the
    equipment's zone at the time of the study, which may be summer while we write in winter; without such a
    time, at `at`.
    """
    with quietly():
        offset = _own_offset(source) or _offset_of_study(source, equipment.zone)
    return at.astimezone(offset or _in_minutes(at.astimezone(equipment.zone)) or UTC)


def state_zone(instance: Dataset, at: datetime) -> None:
    """Timezone Offset From UTC, of `at` as `local_time` gives it."""
    instance.TimezoneOffsetFromUTC = at.strftime("%z")


def _own_offset(ds: Dataset) -> timezone | None:
    match = re.fullmatch(OFFSET, text(ds, "TimezoneOffsetFromUTC"))
    if not match:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return _statable(-offset if match[1] == "-" else offset)


def _offset_of_study(ds: Dataset, zone: tzinfo) -> timezone | None:
    day, hour = repeated(ds, "StudyDate"), repeated(ds, "StudyTime")
    clock = f"{hour[:2]}{hour[2:4] or '00'}" if hour else "1200"
    try:
        moment = datetime.strptime(day + clock, "%Y%m%d%H%M")  # noqa: DTZ007 - of the zone that follows
        if moment.year < FIRST_YEAR:
            return None
        return _in_minutes(moment.replace(tzinfo=zone))
    except (ValueError, OverflowError):  # no such day, or at the end of all days
        return None


def _in_minutes(at: datetime) -> timezone | None:
    """The offset of an aware time; a few of the past have seconds, which no object can state."""
    offset = at.utcoffset() or timedelta()
    return _statable(timedelta(minutes=round(offset / timedelta(minutes=1))))


def _statable(offset: timedelta) -> timezone | None:
    return timezone(offset) if WESTMOST <= offset <= EASTMOST else None


# Results


def referenced(source: Dataset) -> Dataset:
    """The source as far as references need it: its UIDs and its size. Raises NotReportable.

    highdicom reads patient and study from what it refers to, and stops at values that it does not like;
    `identify` writes them afterwards, whatever they are.
    """
    with quietly():
        needed = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
        instance = Dataset()
        for keyword in needed:
            if not (value := text(source, keyword)):
                raise NotReportable(f"the film has no {keyword}")
            setattr(instance, keyword, value)
        instance.Rows, instance.Columns = integer(source, "Rows") or 1, integer(source, "Columns") or 1
        for keyword in TYPE_2:
            setattr(instance, keyword, "")
        return instance


@contextmanager
def built() -> Iterator[None]:
    """Where highdicom builds: it warns of names and logs UIDs, and no log may show them.

    A SOP class that it does not know is NotReportable.
    """
    loud, level = logging.getLogger("highdicom"), logging.getLogger("highdicom").level
    loud.setLevel(logging.CRITICAL + 1)
    try:
        with quietly():
            yield
    except KeyError as error:
        raise NotReportable("the film is of a SOP class that no report can refer to") from error
    finally:
        loud.setLevel(level)


def identify(
    instance: Dataset,
    source: Dataset,
    uid: UID,
    series: Series,
    *,
    contribution_text: str,
    at: datetime,
    equipment: Equipment,
) -> Dataset:
    """Patient, study, series, equipment, SOP common and file meta of a result; `at` is of `local_time`."""
    with quietly():
        _patient_and_study(instance, source)
        _series_and_equipment(instance, source, series, equipment)
        _sop_common(instance, uid, at)
        instance.ContributingEquipmentSequence = Sequence([contribution(contribution_text, equipment, at)])
    return instance


def _patient_and_study(instance: Dataset, source: Dataset) -> None:
    instance.SpecificCharacterSet = CHARACTER_SET
    instance.StudyInstanceUID = text(source, "StudyInstanceUID")
    for keyword in TYPE_2:
        setattr(instance, keyword, repeated(source, keyword))
    for keyword in OPTIONAL:
        if value := repeated(source, keyword):
            setattr(instance, keyword, value)
        elif keyword in instance:
            delattr(instance, keyword)


def repeated(source: Dataset, keyword: str) -> str:
    """The value of the source, where it has the form that its VR asks for; else ""."""
    value = said_by(source, keyword)
    return value if re.fullmatch(FORM.get(keyword, ".*"), value) else ""


def said_by(source: Dataset, keyword: str) -> str:
    """The value as text, decoded by the source's own character set; "" where it cannot be read."""
    value: Any = value_of(source, keyword)
    if value is None or isinstance(value, bytes):
        return ""
    many = not isinstance(value, str) and hasattr(value, "__len__") and hasattr(value, "__iter__")
    first = (str(value[0]) if len(value) else "") if many and not hasattr(value, "components") else str(value)
    return "".join(c for c in first if c.isprintable()).strip()


def _series_and_equipment(instance: Dataset, source: Dataset, series: Series, equipment: Equipment) -> None:
    instance.SeriesInstanceUID = made_uid("series", text(source, "StudyInstanceUID"), *series.key)
    instance.SeriesNumber = series.number
    instance.InstanceNumber = max(1, (integer(source, "InstanceNumber") or 1) % 100_000)
    instance.Modality, instance.SeriesDescription = series.modality, series.description[:64]
    instance.Manufacturer, instance.ManufacturerModelName = MANUFACTURER, "filmgate"
    instance.SoftwareVersions = equipment.version
    instance.DeviceSerialNumber = "filmgate"


def _sop_common(instance: Dataset, uid: UID, at: datetime) -> None:
    instance.SOPInstanceUID = uid
    state_zone(instance, at)
    day, hour = at.strftime("%Y%m%d"), at.strftime("%H%M%S")
    instance.InstanceCreationDate, instance.InstanceCreationTime = day, hour
    for keyword, value in (("ContentDate", day), ("ContentTime", hour)):
        if keyword in instance:
            setattr(instance, keyword, value)
    instance.file_meta = FileMetaDataset()
    instance.file_meta.MediaStorageSOPClassUID = instance.SOPClassUID
    instance.file_meta.MediaStorageSOPInstanceUID = uid
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS
    instance.file_meta.ImplementationVersionName = "FILMGATE"


def on_original(box: Box, operations: Operations, rows: int, columns: int) -> Box:
    """A box on the corrected copy as a box on its source of `rows` x `columns` pixels.

    The copy was cut out in whole pixels, then turned clockwise and then flipped, so the box is flipped and
    turned back and then moved.
    """
    if operations.flip:
        box = Box(1 - box.x1, box.y0, 1 - box.x0, box.y1)
    box = box.turned(-(operations.turn // 90))
    top, bottom, left, right = crop_window(operations.crop, rows, columns)
    width, height = (right - left) / columns, (bottom - top) / rows
    x, y = left / columns, top / rows
    return Box(x + box.x0 * width, y + box.y0 * height, x + box.x1 * width, y + box.y1 * height)


def crop_window(crop: Box | None, rows: int, columns: int) -> tuple[int, int, int, int]:
    """Top, bottom, left, right, in whole pixels of the source; bottom and right are outside."""
    box = crop or WHOLE
    top, bottom = (round(min(max(y, 0.0), 1.0) * rows) for y in (box.y0, box.y1))
    left, right = (round(min(max(x, 0.0), 1.0) * columns) for x in (box.x0, box.x1))
    return top, bottom, left, right
