"""A phantom film as a DX object, for demonstrations and tests. These are phantoms, not patients.

The object is a Digital X-Ray Image Storage - For Presentation instance (PS3.3 A.26): 12 bits, MONOCHROME2,
uncompressed, free of `dciodvfy` errors. Nothing in it marks it as made by filmgate, so a gateway treats it as
any modality's film; the patient's name, the maker and Image Comments say that it is synthetic.
"""

import uuid
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from pipelines.lab.films.phantom import mirrored, pitch_mm, render

__all__ = ["phantom_dx"]

NAMESPACE = uuid.UUID("4f1d5b0e-6c2b-5f0a-9f57-7d1f2a6c9b31")  # of the uuid5 in the UIDs of phantoms
LEVELS = 4095  # highest value in 12 bits
OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}
Code = tuple[str, str]  # SNOMED CT value and meaning


@dataclass(frozen=True, slots=True)
class Claim:
    """What a header says its picture shows."""

    part: str  # Body Part Examined
    view: str  # View Position
    region: Code
    view_code: Code
    rows_to: str  # Patient Orientation: where a row runs to, and where a column runs to
    columns_to: str
    laterality: str  # Image Laterality


CHEST_PA = Claim(
    "CHEST", "PA", ("43799004", "Thorax"), ("272479007", "postero-anterior"), "L", "F", "U"
)  # what the room's default says


VIEW_CODES: dict[str, Code] = {
    "AP": ("399348003", "antero-posterior"),
    "LL": ("399173006", "left lateral"),
    "RL": ("399198007", "right lateral"),
}
PARTS: dict[str, tuple[str, Code, str]] = {  # kind -> part, region (PS3.16 CID 4009), view
    "skull": ("SKULL", ("89546000", "Skull"), "AP"),
    "skull_lateral": ("SKULL", ("89546000", "Skull"), "LL"),
    "neck": ("CSPINE", ("122494005", "Cervical spine"), "AP"),
    "neck_lateral": ("CSPINE", ("122494005", "Cervical spine"), "LL"),
    "abdomen": ("ABDOMEN", ("818981001", "Abdomen"), "AP"),
    "pelvis": ("PELVIS", ("816092008", "Pelvis"), "AP"),
}


def phantom_dx(
    kind: str,
    seed: int,
    *,
    turn: int = 0,
    inverted: bool = False,
    size: tuple[int, int] = (512, 420),
    age: str = "050Y",
    honest: bool = False,
    claims: bool = True,
    patient: str | None = None,
    salt: str = "",
    uid_root: str | None = None,
) -> Dataset:
    """A phantom of `phantom.render` as a DX object; the header knows nothing of what happened to it.

    Whatever the kind, the header claims a postero-anterior chest, as a modality does whose operator chose the
    wrong button; `honest` makes it claim what the picture shows, and claims=False makes it claim neither body
    part nor view. The same arguments give the same object, UIDs included.

    Args:
        turn: degrees clockwise by which the pixels are turned: 0, 90, 180 or 270.
        inverted: store the negative, air bright, under a header that still says MONOCHROME2.
        size: rows and columns before the turn.
        age: Patient's Age, such as "050Y" or "003Y".
        patient: Patient's Name instead of "Phantom^<Kind>".
        salt: any text; another salt makes new UIDs, so that a demonstration can send the same films afresh.
        uid_root: root of the UIDs instead of "2.25".

    Raises:
        ValueError: the kind is unknown, or the turn is not a right angle.
    """
    if turn not in {0, 90, 180, 270}:
        raise ValueError(f"a turn of {turn!r} degrees; only 0, 90, 180 and 270 are possible")
    pixels = np.rint(render(kind, seed, size) * LEVELS).astype("<u2")
    pixels = np.rot90(LEVELS - pixels if inverted else pixels, -turn // 90)
    claim = _turned(_truth(kind, seed), turn) if honest else CHEST_PA
    name = f"{kind}/{seed}/{turn}/{inverted}/{size}/{age}/{honest}/{claims}/{salt}"
    ds = Dataset()
    _identity(ds, name, uid_root or "2.25")
    _patient(ds, patient or f"Phantom^{kind.title()}", f"PHANTOM-{kind.upper()}-{seed}", age)
    _study(ds, seed)
    _anatomy(ds, claim, spoken=claims)
    _detector(ds, pitch_mm(kind, size))
    _image(ds, pixels)
    return ds


def _truth(kind: str, seed: int) -> Claim:
    """What the picture shows, before any turn."""
    if kind == "frontal":
        return CHEST_PA
    other = mirrored(kind, seed)
    if kind == "lateral":
        side = "RL" if other else "LL"
        return Claim("CHEST", side, CHEST_PA.region, VIEW_CODES[side], "A" if other else "P", "F", "U")
    if kind in PARTS:
        part, region, view = PARTS[kind]
        if view == "AP":
            return Claim(part, view, region, VIEW_CODES[view], "L", "F", "U")
        side = "RL" if other else "LL"
        return Claim(part, side, region, VIEW_CODES[side], "A" if other else "P", "F", "U")
    return Claim("HAND", "PA", ("85562004", "Hand"), CHEST_PA.view_code, "L", "H", "R" if other else "L")


def _turned(claim: Claim, turn: int) -> Claim:
    """The claim of the same film turned clockwise: what pointed up now points right."""
    across, down = claim.rows_to, claim.columns_to
    for _ in range(turn // 90):
        across, down = OPPOSITE[down], across
    return Claim(claim.part, claim.view, claim.region, claim.view_code, across, down, claim.laterality)


def _uid(name: str, root: str) -> UID:
    return UID(f"{root}.{uuid.uuid5(NAMESPACE, name).int}"[:64])


def _identity(ds: Dataset, name: str, root: str) -> None:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = _uid(name, root)
    ds.SeriesInstanceUID = _uid(f"{name}/series", root)
    ds.StudyInstanceUID = _uid(f"{name}/study", root)


def _patient(ds: Dataset, name: str, patient_id: str, age: str) -> None:
    ds.PatientName, ds.PatientID, ds.PatientAge, ds.PatientSex = name, patient_id, age, "O"
    ds.PatientBirthDate = ""


def _study(ds: Dataset, seed: int) -> None:
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260105"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "090000"
    ds.AccessionNumber, ds.StudyID = f"PH{seed}"[:16], "1"
    ds.SeriesNumber = ds.InstanceNumber = 1
    ds.ReferringPhysicianName = ""
    ds.Manufacturer, ds.ManufacturerModelName, ds.StationName = "Phantom", "Synthetic film", "PHANTOM"
    ds.ImageComments = "Synthetic phantom, not a patient"


def _anatomy(ds: Dataset, claim: Claim, *, spoken: bool) -> None:
    """DX Anatomy Imaged and DX Positioning (PS3.3 C.8.11.2, C.8.11.5)."""
    ds.ImageLaterality = claim.laterality
    ds.PatientOrientation = [claim.rows_to, claim.columns_to]
    ds.AnatomicRegionSequence = []
    if not spoken:
        return
    view = _code(claim.view_code)
    view.ViewModifierCodeSequence = []
    ds.AnatomicRegionSequence, ds.ViewCodeSequence = [_code(claim.region)], [view]
    ds.BodyPartExamined, ds.ViewPosition = claim.part, claim.view


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodeMeaning, item.CodingSchemeDesignator = *code, "SCT"
    return item


def _detector(ds: Dataset, pitch: float) -> None:
    """DX Series, Detector and Positioning (PS3.3 C.8.11.1, C.8.11.4, C.8.11.5); pitch in mm."""
    ds.Modality, ds.PresentationIntentType = "DX", "FOR PRESENTATION"
    ds.DetectorType, ds.PositionerType = "DIRECT", "NONE"
    ds.ImagerPixelSpacing = [round(pitch, 4)] * 2
    ds.AcquisitionContextSequence = []


def _image(ds: Dataset, pixels: np.ndarray[tuple[int, int], np.dtype[np.uint16]]) -> None:
    """DX Image (PS3.3 C.8.11.3); pixels are (rows, columns)."""
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PixelRepresentation = 1, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PhotometricInterpretation, ds.PresentationLUTShape = "MONOCHROME2", "IDENTITY"
    ds.WindowCenter, ds.WindowWidth = (LEVELS + 1) // 2, LEVELS + 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    ds.PixelData = pixels.tobytes()
