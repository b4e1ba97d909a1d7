"""The corrected copy of a film: cropped, turned, inverted, with a header that is true of the new pixels.

`derive` keeps the SOP class and adds no error that the source lacks; a value that the source lacks is never
invented, but for the zone of its times. What is geometry or grey scale is carried along with the pixels or
dropped; nothing else changes.

Two claims of a header are about the patient, not about the pixels: Patient Orientation and Pixel Intensity
Relationship Sign. A room that sends a turned film mostly still says that it is upright. So after a correction
they say what the corrected film shows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from datetime import datetime
from math import isfinite

import numpy as np
from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalIntraOralXRayImageStorageForPresentation,
    DigitalIntraOralXRayImageStorageForProcessing,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pydicom.valuerep import DSfloat

from pipelines.codecs.layout import GREY, Layout, Pixels
from pipelines.decode import pixel_digest
from pipelines.display import is_inverse
from pipelines.film import Box, Operations
from pipelines.header import first, items, number, numbers, quietly, text, upper, values
from pipelines.pixels.luts import MODALITY, VOI, mend, modality, read_lut, windows
from pipelines.report.identity import (
    IMPLEMENTATION_CLASS,
    canonical,
    code,
    contribution,
    crop_window,
    local_time,
    made_uid,
    state_zone,
)
from pipelines.report.identity import Equipment as Equipment

SERIES_DESCRIPTION = "filmgate corrected - AI input"
SERIES_NUMBER_OFFSET = 9000

COPYABLE = frozenset(
    {
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
        DigitalMammographyXRayImageStorageForPresentation,
        DigitalMammographyXRayImageStorageForProcessing,
        DigitalIntraOralXRayImageStorageForPresentation,
        DigitalIntraOralXRayImageStorageForProcessing,
        SecondaryCaptureImageStorage,
    }
)
# True of the old bytes or the old pixels only, and nobody needs them in an AI's input
ALWAYS_DROPPED = (
    "IconImageSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "MACParametersSequence",
    "DigitalSignaturesSequence",
    "DataSetTrailingPadding",
    "InstanceCreatorUID",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
)
GRAPHIC_GROUPS = ((0x5000, 0x501F), (0x6000, 0x601F))  # curves and overlays
ROW_COLUMN_PAIRS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
FIELD_OF_VIEW = (  # PS3.3 C.8.11.4: where the image lies on the detector; each needs the next
    "FieldOfViewShape",
    "FieldOfViewDimensions",
    "FieldOfViewOrigin",
    "FieldOfViewRotation",
    "FieldOfViewHorizontalFlip",
)
TURNED_AT_ONCE = (
    32  # columns: a few rows of the source stay in the processor's cache, twice as fast as all at once
)
OPPOSITE = str.maketrans("LRAPHF", "RLPAFH")

Point = tuple[int, int]  # row, column; the first is 1


class NotDerivable(Exception):
    """Raised when no honest copy of an object can be made."""


def derive(
    ds: Dataset, stored: Pixels, operations: Operations, *, equipment: Equipment, now: datetime
) -> Dataset:
    """The corrected copy, ready to be written as Explicit VR Little Endian.

    `stored` is (rows, columns), every stored value of the one frame. The SOP Instance UID depends on the
    source, its pixels and the operations alone: doing it again makes the same instance. Raises NotDerivable.
    """
    with quietly():  # the source's odd values are kept, not judged
        layout = _copyable(ds, stored, operations)
        corrected = _little_endian(ds)
        _drop(corrected)
        window = _crop_window(operations.crop, layout)
        pixels = _pixels(stored, layout, window, operations)
        _describe_grey(corrected, layout, operations, pixels)
        _describe_geometry(corrected, window, operations)
        _set_pixels(corrected, pixels, layout)
        _identify(corrected, ds, pixel_digest(stored, ds), operations)
        _explain(corrected, ds, operations, equipment, local_time(ds, now, equipment))
        return corrected


def _copyable(ds: Dataset, stored: Pixels, operations: Operations) -> Layout:
    layout = Layout.of(ds)
    if text(ds, "SOPClassUID") not in COPYABLE or layout.frames > 1:
        raise NotDerivable("only single frames of projection radiography are copied")
    grey = layout.photometric in GREY and layout.allocated > 1
    if not grey or stored.shape != (layout.rows, layout.columns):
        raise NotDerivable("only grey pictures are copied")
    if not operations or operations.turn % 90 or not text(ds, "SOPInstanceUID"):
        raise NotDerivable("nothing to correct, or nothing to name the source by")
    return layout


# Pixels


def _crop_window(crop: Box | None, layout: Layout) -> tuple[int, int, int, int]:
    """Top, bottom, left, right, in whole pixels of the source; bottom and right are outside."""
    top, bottom, left, right = crop_window(crop, layout.rows, layout.columns)
    if bottom <= top or right <= left:
        raise NotDerivable("the crop leaves nothing")
    return top, bottom, left, right


def _pixels(
    stored: Pixels, layout: Layout, window: tuple[int, int, int, int], operations: Operations
) -> Pixels:
    top, bottom, left, right = window
    turned = np.rot90(stored[top:bottom, left:right], -operations.turn // 90)
    if operations.flip:
        turned = turned[:, ::-1]
    pixels = np.empty(turned.shape, f"<{'i' if layout.signed else 'u'}{layout.allocated // 8}")
    for begin in range(0, turned.shape[1], TURNED_AT_ONCE):
        columns = slice(begin, begin + TURNED_AT_ONCE)
        pixels[:, columns] = turned[:, columns]
    if not operations.invert:
        return pixels
    # lowest + highest - value, without overflow
    return np.invert(pixels, out=pixels) if layout.signed else np.subtract(layout.highest, pixels, out=pixels)


def _set_pixels(corrected: Dataset, pixels: Pixels, layout: Layout) -> None:
    corrected.Rows, corrected.Columns = pixels.shape
    corrected.HighBit = layout.stored - 1
    raw = pixels.tobytes()
    corrected.add_new("PixelData", "OW" if layout.allocated > 8 else "OB", raw + b"\0" * (len(raw) % 2))


# What is left out


def _drop(corrected: Dataset) -> None:
    for keyword in ALWAYS_DROPPED:
        _delete(corrected, keyword)
    for tag in list(corrected.keys()):
        if any(low <= tag.group <= high for low, high in GRAPHIC_GROUPS):
            del corrected[tag]


def _delete(corrected: Dataset, keyword: str) -> None:
    if keyword in corrected:
        del corrected[keyword]


def _little_endian(ds: Dataset) -> Dataset:
    """A copy; pydicom turns numbers to another byte order, but leaves OW as it is."""
    if ds.original_encoding[1] is not False:
        return copy.deepcopy(ds)
    corrected = Dataset({element.tag: copy.deepcopy(element) for element in ds})
    corrected.walk(_swap_words)
    return corrected


def _swap_words(_: Dataset, element: DataElement) -> None:
    if element.VR == "OW" and isinstance(element.value, bytes):
        element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()


# Grey scale


def _describe_grey(corrected: Dataset, layout: Layout, operations: Operations, pixels: Pixels) -> None:
    _drop_empty_tables(corrected)
    _drop_no_windows(corrected)
    if operations.invert:
        _mirror_grey(corrected, layout)
    else:
        mend(corrected)
    if operations.invert or operations.crop:
        ends = {"SmallestImagePixelValue": pixels.min(), "LargestImagePixelValue": pixels.max()}
        for keyword in [keyword for keyword in ends if keyword in corrected]:
            corrected[keyword] = DataElement(keyword, "SS" if layout.signed else "US", int(ends[keyword]))
    if "PresentationLUTShape" in corrected and is_inverse(
        corrected
    ):  # said once of two, and believed: say it of both
        corrected.PhotometricInterpretation, corrected.PresentationLUTShape = "MONOCHROME1", "INVERSE"


def _mirror_grey(corrected: Dataset, layout: Layout) -> None:
    """Values v became lowest + highest - v; what looks at values must look at the other end."""
    total = layout.lowest + layout.highest
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        if (padding := number(corrected, keyword)) is not None:
            mirrored = min(max(total - int(padding), layout.lowest), layout.highest)
            corrected[keyword] = DataElement(keyword, "SS" if layout.signed else "US", mirrored)
    shown = modality(corrected, big=False).span
    mend(corrected, mirrored=True)
    _mirror_windows(corrected, sum(shown))
    if "PixelIntensityRelationshipSign" in corrected:
        # PS3.3 C.8.11.3.1.2: a corrected film is white where fewer X-rays came through
        corrected.PixelIntensityRelationshipSign = 1 if is_inverse(corrected) else -1


def _mirror_windows(corrected: Dataset, total: float) -> None:
    """PS3.3 C.11.2.1.2: the centre of LINEAR lies half a value beside its middle; the others' does not.

    `total` is the sum of a value and its mirror, as windows see them.
    """
    linear = any(window.function == "LINEAR" for window in windows(corrected))
    centers = numbers(corrected, "WindowCenter")
    if centers and all(isfinite(center) for center in centers):
        mirrored = [total + (1.0 if linear else 0.0) - center for center in centers]
        corrected.WindowCenter = [DSfloat(center, auto_format=True) for center in mirrored]


def _drop_empty_tables(corrected: Dataset) -> None:
    """An item without a table says nothing, and readers stumble over it."""
    for keyword in (MODALITY, VOI):
        whole = [item for item in items(corrected, keyword) if read_lut(item, (0.0, 0.0), big=False)]
        if not whole:
            _delete(corrected, keyword)
        elif len(whole) < len(items(corrected, keyword)):
            setattr(corrected, keyword, Sequence(whole))


def _drop_no_windows(corrected: Dataset) -> None:
    """A width of 0 or less is no window (PS3.3 C.11.2.1.2): it says nothing, and readers stumble over it."""
    widths = numbers(corrected, "WindowWidth")
    kept = [place for place, width in enumerate(widths) if not width <= 0]
    if len(kept) == len(widths):
        return
    for keyword in ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation"):
        entries = values(corrected, keyword)
        _delete(corrected, keyword)
        if kept and kept[-1] < len(entries):
            setattr(corrected, keyword, [entries[place] for place in kept])
    if not kept:
        _delete(corrected, "VOILUTFunction")


# Geometry


def _describe_geometry(corrected: Dataset, window: tuple[int, int, int, int], operations: Operations) -> None:
    if operations.turn % 180:
        for keyword in ROW_COLUMN_PAIRS:
            if len(pair := values(corrected, keyword)) == 2:
                setattr(corrected, keyword, [pair[1], pair[0]])
    if operations.turn:
        _turn_orientation(corrected, operations.turn)
        _turn_field_of_view(corrected, operations.turn)
    if operations.flip:
        _flip_orientation(corrected)
    if operations.crop:
        for keyword in FIELD_OF_VIEW:
            _delete(corrected, keyword)
    moved = _mover(window, operations)
    for kind in ("Shutter", "Collimator"):
        _move_edges(corrected, kind, moved)


def _turn_orientation(corrected: Dataset, turn: int) -> None:
    """PS3.3 C.7.6.1.1.1; where the source claimed to be upright, the pixels have now come round to it.

    Left or right in the rows and head or feet in the columns is a frontal film's claim. One that has the feet
    elsewhere than down after the turn was wrong before it: then nothing is claimed, although a DX should.
    """
    entries = upper(corrected, "PatientOrientation")
    if len(entries) != 2 or not all(entries) or entries[1].startswith("F"):
        return
    right, down = entries
    for _ in range(turn // 90 % 4):
        right, down = down.translate(OPPOSITE), right
    frontal = {right[0], down[0]} in ({"L", "F"}, {"L", "H"}, {"R", "F"}, {"R", "H"})
    corrected.PatientOrientation = "" if frontal and not down.startswith("F") else [right, down]


def _turn_field_of_view(corrected: Dataset, turn: int) -> None:
    """PS3.3 C.8.11.4.1.1: detector to image is a clockwise turn, then perhaps a flip; the origin stays."""
    rotation = number(corrected, "FieldOfViewRotation")
    if rotation is None:
        return
    flipped = first(upper(corrected, "FieldOfViewHorizontalFlip")) == "YES"
    corrected.FieldOfViewRotation = str(
        int(rotation - turn if flipped else rotation + turn) % 360
    )  # no "90.0"


def _flip_orientation(corrected: Dataset) -> None:
    """PS3.3 C.7.6.1.1.1 and C.8.11.4.1.1. Rows that claimed to run to the patient's left, as a frontal film's
    do, have now come round to it, as in `_turn_orientation`."""
    if corrected.get("FieldOfViewHorizontalFlip"):
        flipped = first(upper(corrected, "FieldOfViewHorizontalFlip")) == "YES"
        corrected.FieldOfViewHorizontalFlip = "NO" if flipped else "YES"
    entries = upper(corrected, "PatientOrientation")
    if len(entries) == 2 and all(entries) and tuple(entries) != ("L", "F"):
        corrected.PatientOrientation = [entries[0].translate(OPPOSITE), entries[1]]


def _mover(window: tuple[int, int, int, int], operations: Operations) -> Callable[[Point], Point]:
    """Source (row, column) -> row and column in the copy."""
    top, bottom, left, right = window

    def moved(point: Point) -> Point:
        row, column, rows, columns = point[0] - top, point[1] - left, bottom - top, right - left
        for _ in range(operations.turn // 90 % 4):
            row, column, rows, columns = column, rows + 1 - row, columns, rows
        return row, columns + 1 - column if operations.flip else column

    return moved


def _move_edges(corrected: Dataset, kind: str, moved: Callable[[Point], Point]) -> None:
    """Shutter (PS3.3 C.7.6.11) and collimator (C.8.7.3) outlines follow the pixels."""
    sides = [
        f"{kind}{side}"
        for side in ("UpperHorizontalEdge", "LowerHorizontalEdge", "LeftVerticalEdge", "RightVerticalEdge")
    ]
    if all(side in corrected for side in sides):
        upper_row, lower_row, left, right = (int(number(corrected, side) or 0) for side in sides)
        corners = sorted((moved((upper_row, left)), moved((lower_row, right))))
        rows, columns = sorted(c[0] for c in corners), sorted(c[1] for c in corners)
        for side, value in zip(sides, (*rows, *columns), strict=True):
            setattr(corrected, side, value)
    elif shapes := values(corrected, f"{kind}Shape"):  # a part of an outline, or none, cannot follow
        for side in sides:
            _delete(corrected, side)
        if kept := [shape for shape in shapes if shape.upper() != "RECTANGULAR"]:
            setattr(corrected, f"{kind}Shape", kept)
        else:
            _delete(corrected, f"{kind}Shape")
    _move_points(corrected, f"CenterOfCircular{kind}", moved)
    _move_points(corrected, f"VerticesOfThePolygonal{kind}", moved)


def _move_points(corrected: Dataset, keyword: str, moved: Callable[[Point], Point]) -> None:
    entries = [int(value) for value in numbers(corrected, keyword)]
    if entries and len(entries) % 2 == 0:
        points = [moved(point) for point in zip(entries[::2], entries[1::2], strict=True)]
        setattr(corrected, keyword, [value for point in points for value in point])


# Identity and explanation


def _identify(corrected: Dataset, ds: Dataset, digest: str, operations: Operations) -> None:
    source, series = text(ds, "SOPInstanceUID"), text(ds, "SeriesInstanceUID")
    corrected.SOPInstanceUID = made_uid("instance", source, digest, canonical(operations))
    corrected.SeriesInstanceUID = made_uid("series", series or source)
    corrected.SeriesDescription = SERIES_DESCRIPTION
    corrected.SeriesNumber = SERIES_NUMBER_OFFSET + int(number(ds, "SeriesNumber") or 0) % 1000
    corrected.ImageType = [
        "DERIVED",
        (*values(ds, "ImageType"), "", "PRIMARY")[1] or "PRIMARY",
        *values(ds, "ImageType")[2:],
    ]
    corrected.file_meta = FileMetaDataset()
    corrected.file_meta.MediaStorageSOPClassUID = corrected.SOPClassUID
    corrected.file_meta.MediaStorageSOPInstanceUID = corrected.SOPInstanceUID
    corrected.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    corrected.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS
    corrected.file_meta.ImplementationVersionName = "FILMGATE"


def _explain(
    corrected: Dataset, ds: Dataset, operations: Operations, equipment: Equipment, at: datetime
) -> None:
    description = ", ".join(_in_words(operations))
    corrected.DerivationDescription = f"filmgate: {description}"
    corrected.SourceImageSequence = Sequence([_source(ds, operations)])
    corrected.ContributingEquipmentSequence = Sequence(
        [*items(corrected, "ContributingEquipmentSequence"), contribution(description, equipment, at)]
    )
    state_zone(corrected, at)
    corrected.InstanceCreationDate, corrected.InstanceCreationTime = (
        at.strftime("%Y%m%d"),
        at.strftime("%H%M%S"),
    )


def _in_words(operations: Operations) -> Iterator[str]:
    if operations.crop:
        yield "cropped to the exposed area"
    if operations.turn:
        yield f"turned {operations.turn} degrees clockwise"
    if operations.flip:
        yield "flipped left to right"
    if operations.invert:
        yield "grey values inverted"
    if operations.relabel:
        yield "polarity said in one way"


def _source(ds: Dataset, operations: Operations) -> Dataset:
    source = Dataset()
    source.ReferencedSOPClassUID = text(ds, "SOPClassUID")
    source.ReferencedSOPInstanceUID = text(ds, "SOPInstanceUID")
    if not (operations.crop or operations.turn or operations.flip):
        source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = Sequence(
        [code("121322", "Source image for image processing operation")]  # PS3.16 CID 7202
    )
    return source
