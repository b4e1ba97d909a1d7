"""Where the classifier looked, as graphics on the original: a Grayscale Softcopy Presentation State.

PS3.3 A.33.1. The state replaces the film's own grey scale while it is applied, so it repeats the film's
Modality LUT, first VOI LUT or window, polarity and shutter, and changes none of them; it turns and flips
nothing. Some viewers apply the newest presentation state by themselves, so it is off by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.sequence import Sequence
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage
from pydicom.valuerep import DSfloat

from pipelines.display import Lut, is_inverse, read_lut
from pipelines.film import Box, Operations
from pipelines.header import first, integer, items, numbers, quietly, text, upper, values
from pipelines.reading import Condition, Reading
from pipelines.report.identity import (
    Equipment,
    Series,
    canonical,
    identify,
    local_time,
    on_original,
    referenced,
    result_uid,
    said_by,
)

PRESENTATION_SERIES = 8904
LAYER = "FILMGATE"
BYTE, WORD = 255, 65535
SHUTTER = (  # PS3.3 C.7.6.11
    "ShutterShape",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "CenterOfCircularShutter",
    "RadiusOfCircularShutter",
    "VerticesOfThePolygonalShutter",
)


def presentation_state(
    source: Dataset,
    reading: Reading,
    *,
    at: datetime,
    equipment: Equipment,
    operations: Operations = Operations(),  # noqa: B008 - frozen
) -> Dataset | None:
    """The region of the condition that is shown as a box with text; None where the reading has no region.

    `source` is the original's header, also when a copy made with `operations` was read. `at` is aware.
    Raises NotReportable when the film has no UIDs.
    """
    shown = next((c for c in reading.conditions if c.name == reading.shown), None)
    if reading.region is None or shown is None:
        return None
    film, at = referenced(source), local_time(source, at, equipment)
    region = on_original(reading.region, operations, film.Rows, film.Columns)
    key = (reading.classifier, reading.version, reading.model_digest, canonical(operations))
    uid = result_uid("presentation", film, *key, at=at, equipment=equipment)
    made = Dataset()
    made.SOPClassUID = GrayscaleSoftcopyPresentationStateStorage
    with quietly():
        _relate(made, film)
        _grey_scale(made, source)
        _area(made, source, film)
        _graphics(made, film, region, _said(reading, shown))
        made.Laterality = said_by(source, "Laterality")
        made.ContentLabel = "FILMGATE"
        made.ContentDescription = f"{shown.name.replace('_', ' ')}: where {reading.classifier} looked"[:64]
        made.ContentCreatorName = ""
        made.PresentationCreationDate = at.strftime("%Y%m%d")
        made.PresentationCreationTime = at.strftime("%H%M%S")
    series = Series(
        ("presentation", reading.classifier),
        "PR",
        PRESENTATION_SERIES,
        f"filmgate {reading.classifier} region",
    )
    said = f"read by {reading.classifier} {reading.version}"
    return identify(made, source, uid, series, said=said, at=at, equipment=equipment)


def _said(reading: Reading, shown: Condition) -> str:
    side = "" if shown.threshold is None else f" (threshold {shown.threshold:.2f})"
    name = shown.name.replace("_", " ")
    return (
        f"{name} {shown.probability:.2f}{side}\r\n{reading.classifier} {reading.version}, not for diagnosis"
    )


def _image(film: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = film.SOPClassUID, film.SOPInstanceUID
    return item


def _relate(made: Dataset, film: Dataset) -> None:
    """Presentation State Relationship (PS3.3 C.11.11)."""
    series = Dataset()
    series.SeriesInstanceUID = film.SeriesInstanceUID
    series.ReferencedImageSequence = Sequence([_image(film)])
    made.ReferencedSeriesSequence = Sequence([series])


# The film's own grey scale


def _grey_scale(made: Dataset, source: Dataset) -> None:
    """Modality LUT, Softcopy VOI LUT, Softcopy Presentation LUT, Display Shutter."""
    signed = integer(source, "PixelRepresentation") == 1
    found = items(source, "ModalityLUTSequence")
    modality = read_lut(found[0], signed_input=signed) if found else None
    slopes, intercepts = numbers(source, "RescaleSlope"), numbers(source, "RescaleIntercept")
    if modality:
        item = _table(modality)  # its values stay what they are: the window is in them
        item.ModalityLUTType = text(found[0], "ModalityLUTType") or "US"
        made.ModalityLUTSequence = Sequence([item])
    elif slopes and intercepts:
        made.RescaleIntercept, made.RescaleSlope = _decimal(intercepts[0]), _decimal(slopes[0])
        made.RescaleType = text(source, "RescaleType") or "US"
        signed = signed or intercepts[0] < 0
    _voi(made, source, signed=signed)
    made.PresentationLUTShape = "INVERSE" if is_inverse(source) else "IDENTITY"
    _shutter(made, source)


def _voi(made: Dataset, source: Dataset, *, signed: bool) -> None:
    """The first table, else the first window: what is shown first (PS3.3 C.11.8)."""
    item = Dataset()
    centers, widths = numbers(source, "WindowCenter"), numbers(source, "WindowWidth")
    found = items(source, "VOILUTSequence")
    if found and (lut := read_lut(found[0], signed_input=signed)):
        item.VOILUTSequence = Sequence([_table(_to_words(lut))])
    elif centers and widths and widths[0] > 0:
        item.WindowCenter, item.WindowWidth = _decimal(centers[0]), _decimal(widths[0])
        if function := first(upper(source, "VOILUTFunction")):
            item.VOILUTFunction = function
    else:
        return
    made.SoftcopyVOILUTSequence = Sequence([item])


def _to_words(lut: Lut) -> Lut:
    """The same ramp to 16 bits: a state's tables have 8 or 16 (PS3.3 C.11.8), a film's 10 or more."""
    if lut.top == BYTE:
        return lut
    return Lut(lut.start, (lut.table * (WORD / lut.top)).round(), WORD)


def _table(lut: Lut) -> Dataset:
    """As an item of little-endian words, whose bits are 8 or 16."""
    item = Dataset()
    entries = len(lut.table) % 65536
    signed = lut.start < 0
    bits = 8 if lut.top <= BYTE else 16
    described = [entries - 65536 if signed and entries > 32767 else entries, lut.start, bits]
    item["LUTDescriptor"] = DataElement("LUTDescriptor", "SS" if signed else "US", described)
    item["LUTData"] = DataElement("LUTData", "OW", lut.table.astype("<u2").tobytes())
    return item


def _shutter(made: Dataset, source: Dataset) -> None:
    if not values(source, "ShutterShape"):
        return
    for keyword in SHUTTER:
        if told := values(source, keyword):
            setattr(made, keyword, list(told) if len(told) > 1 else told[0])
    made.ShutterPresentationValue = integer(source, "ShutterPresentationValue") or 0


def _decimal(value: float) -> DSfloat:
    return DSfloat(value, auto_format=True)


# Area and graphics


def _area(made: Dataset, source: Dataset, film: Dataset) -> None:
    """Displayed Area (PS3.3 C.10.4): the whole film, to fit."""
    item = Dataset()
    item.DisplayedAreaTopLeftHandCorner = [1, 1]
    item.DisplayedAreaBottomRightHandCorner = [film.Columns, film.Rows]
    item.PresentationSizeMode = "SCALE TO FIT"
    spacing = next(_spacings(source), None)
    if spacing:
        item.PresentationPixelSpacing = [_decimal(value) for value in spacing]
    else:
        aspect = [int(value) for value in numbers(source, "PixelAspectRatio")]
        item.PresentationPixelAspectRatio = aspect if len(aspect) == 2 and min(aspect) > 0 else [1, 1]
    made.DisplayedAreaSelectionSequence = Sequence([item])


def _spacings(source: Dataset) -> Iterator[tuple[float, ...]]:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        pair = numbers(source, keyword)
        if len(pair) == 2 and min(pair) > 0:
            yield pair


def _graphics(made: Dataset, film: Dataset, box: Box, said: str) -> None:
    """Graphic Annotation and Graphic Layer (PS3.3 C.10.5, C.10.7), in pixels of the film from 0\\0."""
    left, right = box.x0 * film.Columns, box.x1 * film.Columns
    top, bottom = box.y0 * film.Rows, box.y1 * film.Rows
    corners = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    outline = Dataset()
    outline.GraphicAnnotationUnits, outline.GraphicType, outline.GraphicFilled = "PIXEL", "POLYLINE", "N"
    outline.GraphicDimensions, outline.NumberOfGraphicPoints = 2, len(corners)
    outline.GraphicData = [round(value, 1) for corner in corners for value in corner]
    words = Dataset()
    words.UnformattedTextValue = said
    words.AnchorPointAnnotationUnits, words.AnchorPointVisibility = "PIXEL", "N"
    words.AnchorPoint = [round(left, 1), round(bottom, 1)]
    annotation = Dataset()
    annotation.ReferencedImageSequence = Sequence([_image(film)])
    annotation.GraphicLayer = LAYER
    annotation.TextObjectSequence = Sequence([words])
    annotation.GraphicObjectSequence = Sequence([outline])
    made.GraphicAnnotationSequence = Sequence([annotation])
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder = LAYER, 1
    layer.GraphicLayerDescription = "filmgate: where a classifier looked"
    made.GraphicLayerSequence = Sequence([layer])
