"""DICOM objects for tests: a conformant DX built here, and the real files beside the repository."""

from __future__ import annotations

import csv
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, config
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, HTJ2KLossless

REAL = Path(__file__).parents[2] / "shared" / "dicom"  # absent elsewhere; tests of it skip


def deflated_zeros(mib: int) -> bytes:
    """So many MiB of zeros as a raw deflate stream: one MiB's blocks, that refer to no other, repeated."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    once = squeeze.compress(bytes(1 << 20)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return once * mib + squeeze.flush()


def real_files(*suffixes: str) -> list[Path]:
    """Every real DICOM file, or those whose name ends so."""
    files = sorted(
        path for path in REAL.rglob("*") if path.is_file() and path.suffix not in (".csv", ".md", ".txt")
    )
    return [path for path in files if not suffixes or path.name.endswith(suffixes)]


def real_radiographs() -> list[Path]:
    """The real grey CR, DX, RG, MG and IO files, as the manifest beside them tells."""
    manifest = REAL / "manifest.csv"
    if not manifest.exists():
        return []
    with manifest.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["modality"] in ("CR", "DX", "RG", "MG", "IO")]
    return [REAL / row["file"] for row in rows if row["photometric"].startswith("MONOCHROME")]


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def dx(pixels: np.ndarray, **attributes: Any) -> Dataset:
    """A conformant DX FOR PRESENTATION, 12 bits in 16 unless `attributes` say otherwise."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    ds.PatientName, ds.PatientID, ds.PatientSex = "Film^Test", "F1", "O"
    ds.PatientBirthDate, ds.PatientAge = "19760601", "050Y"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20261101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
    ds.AccessionNumber, ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "A1", "1", 1, 1
    ds.ReferringPhysicianName, ds.Manufacturer = "", "ACME"
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "DX", "CHEST", "PA"
    ds.PresentationIntentType, ds.ImageType = "FOR PRESENTATION", ["ORIGINAL", "PRIMARY"]
    ds.PatientOrientation, ds.ImageLaterality = ["L", "F"], "U"
    ds.AnatomicRegionSequence = [code("43799004", "SCT", "Thorax")]
    ds.ViewCodeSequence = [code("272479007", "SCT", "postero-anterior")]
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = []
    ds.AcquisitionContextSequence = []
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
    ds.LossyImageCompression, ds.BurnedInAnnotation = "00", "NO"
    ds.DetectorType, ds.PositionerType, ds.ImagerPixelSpacing = "DIRECT", "NONE", [0.2, 0.2]
    ds.PhotometricInterpretation, ds.PresentationLUTShape = "MONOCHROME2", "IDENTITY"
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = pixels.shape[0], pixels.shape[1], 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = pixels.tobytes()
    change(ds, **attributes)
    return ds


def change(ds: Dataset, **attributes: Any) -> Dataset:
    """Set attributes; None deletes one."""
    with config.disable_value_validation():  # odd values are what tests are about
        for keyword, value in attributes.items():
            if keyword in ds:
                delattr(ds, keyword)
            if value is not None:
                setattr(ds, keyword, value)
    return ds


def part10(ds: Dataset, syntax: str = ExplicitVRLittleEndian, *, frames: list[bytes] | None = None) -> bytes:
    """The bytes of a Part 10 file; `frames` are codestreams to encapsulate."""
    from pydicom.encaps import encapsulate

    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    if frames is not None:
        ds.PixelData = encapsulate(frames)
    written = BytesIO()
    ds.save_as(written, enforce_file_format=True)
    return written.getvalue()


def in_syntax(ds: Dataset, syntax: str, *, frames: list[bytes]) -> bytes:
    """`part10` in a transfer syntax that pydicom does not know: written as HTJ2K, and renamed."""
    known = HTJ2KLossless.encode()
    return part10(ds, HTJ2KLossless, frames=frames).replace(
        known, syntax.encode().ljust(len(known), b"\0"), 1
    )


def ramp(rows: int = 40, columns: int = 30, top: int = 4095, dtype: str = "<u2") -> np.ndarray:
    """Every corner another value, so that no turn or flip goes unseen."""
    values = np.linspace(0, top, rows * columns).reshape(rows, columns)
    return values.round().astype(dtype)
