"""What people search a film by: whose study it is, and which device made it."""

from __future__ import annotations

from pydicom import Dataset

from pipelines.film import Identity
from pipelines.header import MAX_TEXT, text


def read_identity(ds: Dataset) -> Identity:
    """The identifying attributes as they stand; like `read_header` it never raises on odd values."""
    return Identity(
        study_uid=text(ds, "StudyInstanceUID"),
        series_uid=text(ds, "SeriesInstanceUID"),
        accession=text(ds, "AccessionNumber"),
        patient_id=text(ds, "PatientID"),
        device=_device(ds),
    )


def _device(ds: Dataset) -> str:
    """Station Name (0008,1010) or, where the room has none, whose equipment of which model it is."""
    made_by = (text(ds, "Manufacturer"), text(ds, "ManufacturerModelName"))
    return text(ds, "StationName") or " ".join(filter(None, made_by))[:MAX_TEXT]
