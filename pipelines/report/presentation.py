"""Where the classifier looked, as graphics on the original: a Grayscale Softcopy Presentation State.

PS3.3 A.33.1. The state replaces the film's own grey scale while it is applied, so it repeats the film's
Modality LUT, first VOI LUT or window, polarity and shutter, and changes none of them; it turns and flips
nothing. Some viewers apply the newest presentation state by themselves, so it is off by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from math import isfinite

from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage
from pydicom.valuerep import DSfloat

from pipelines.display import is_inverse
from pipelines.film import Box, Operations
from pipelines.header import integer, numbers, quietly, text, upper
from pipelines.pixels.luts import (
    VOI,
    WORD,
    Span,
    modality,
    read_luts,
    stored_span,
    windows,
    write_lut,
    write_modality,
)
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
SHUTTER = {  # what draws each shape of PS3.3 C.7.6.11
    "RECTANGULAR": (
        "ShutterLeftVerticalEdge",
        "ShutterRightVerticalEdge",
        "ShutterUpperHorizontalEdge",
        "ShutterLowerHorizontalEdge",
    ),
    "CIRCULAR": ("CenterOfCircularShutter", "RadiusOfCircularShutter"),
    "POLYGONAL": ("VerticesOfThePolygonalShutter",),
}


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
    state = Dataset()
    state.SOPClassUID = GrayscaleSoftcopyPresentationStateStorage
    with quietly():
        _relate(state, film)
        _grey_scale(state, source)
        _area(state, source, film)
        _graphics(state, film, region, _said(reading, shown))
        state.Laterality = said_by(source, "Laterality")
        state.ContentLabel = "FILMGATE"
        state.ContentDescription = f"{shown.name.replace('_', ' ')}: where {reading.classifier} looked"[:64]
        state.ContentCreatorName = ""
        state.PresentationCreationDate = at.strftime("%Y%m%d")
        state.PresentationCreationTime = at.strftime("%H%M%S")
    series = Series(
        ("presentation", reading.classifier),
        "PR",
        PRESENTATION_SERIES,
        f"filmgate {reading.classifier} region",
    )
    contribution_text = f"read by {reading.classifier} {reading.version}"
    return identify(
        state, source, uid, series, contribution_text=contribution_text, at=at, equipment=equipment
    )


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


def _relate(state: Dataset, film: Dataset) -> None:
    """Presentation State Relationship (PS3.3 C.11.11)."""
    series = Dataset()
    series.SeriesInstanceUID = film.SeriesInstanceUID
    series.ReferencedImageSequence = Sequence([_image(film)])
    state.ReferencedSeriesSequence = Sequence([series])


# The film's own grey scale


def _grey_scale(state: Dataset, source: Dataset) -> None:
    """Modality LUT, Softcopy VOI LUT, Softcopy Presentation LUT, Display Shutter."""
    stage = modality(source)
    if stage.lut:
        # Its values stay what they are: the window is in them.
        item = Dataset()
        write_modality(item, stage.lut, stored_span(source))
        types = (text(item, "ModalityLUTType") for item in source.ModalityLUTSequence)
        item.ModalityLUTType = next(filter(None, types), "US")
        state.ModalityLUTSequence = Sequence([item])
    elif any(numbers(source, keyword) for keyword in ("RescaleSlope", "RescaleIntercept")):
        state.RescaleIntercept, state.RescaleSlope = _decimal(stage.intercept), _decimal(stage.slope)
        state.RescaleType = text(source, "RescaleType") or "US"
    _voi(state, source, stage.span)
    state.PresentationLUTShape = "INVERSE" if is_inverse(source) else "IDENTITY"
    _shutter(state, source)


def _voi(state: Dataset, source: Dataset, span: Span) -> None:
    """The first table, else the first window: what is shown first (PS3.3 C.11.8).

    A state's tables have 8 or 16 bits, a film's 10 or more, and few read 8: so the same ramp to 16.
    """
    item = Dataset()
    _, lut = next(read_luts(source, VOI, span), (None, None))
    window = next(windows(source), None)
    if lut:
        table = Dataset()
        write_lut(table, lut.scaled(WORD), span)
        item.VOILUTSequence = Sequence([table])
    elif window and isfinite(window.center) and isfinite(window.width):
        item.WindowCenter, item.WindowWidth = _decimal(window.center), _decimal(window.width)
        if window.function != "LINEAR":
            item.VOILUTFunction = window.function
    else:
        return
    state.SoftcopyVOILUTSequence = Sequence([item])


def _shutter(state: Dataset, source: Dataset) -> None:
    """The film's shutter (PS3.3 C.7.6.11), of the shapes whose outline it gives: no other would load."""
    shapes = dict.fromkeys(shape for shape in upper(source, "ShutterShape") if shape in SHUTTER)
    outlines = {shape: _outline(source, shape) for shape in shapes}
    given = [shape for shape, outline in outlines.items() if outline]
    for shape in given:
        for keyword, numbers_told in outlines[shape].items():
            setattr(state, keyword, numbers_told if len(numbers_told) > 1 else numbers_told[0])
    if given:
        state.ShutterShape = given
        state.ShutterPresentationValue = integer(source, "ShutterPresentationValue") or 0


def _outline(source: Dataset, shape: str) -> dict[str, list[int]]:
    """What draws a shutter of this shape; {} where a part of it is missing, or encloses nothing."""
    outlines = {keyword: numbers(source, keyword) for keyword in SHUTTER[shape]}
    if not all(found and all(isfinite(value) for value in found) for found in outlines.values()):
        return {}
    outline = {keyword: [int(value) for value in found] for keyword, found in outlines.items()}
    sizes = [len(found) for found in outline.values()]
    if shape == "RECTANGULAR":
        left, right, top, bottom = (found[0] for found in outline.values())
        fits = sizes == [1] * 4 and left < right and top < bottom
    elif shape == "CIRCULAR":
        fits = sizes == [2, 1] and outline["RadiusOfCircularShutter"][0] > 0
    else:
        fits = sizes[0] >= 6 and sizes[0] % 2 == 0
    return outline if fits else {}


def _decimal(value: float) -> DSfloat:
    return DSfloat(value, auto_format=True)


# Area and graphics


def _area(state: Dataset, source: Dataset, film: Dataset) -> None:
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
    state.DisplayedAreaSelectionSequence = Sequence([item])


def _spacings(source: Dataset) -> Iterator[tuple[float, ...]]:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        pair = numbers(source, keyword)
        if len(pair) == 2 and min(pair) > 0:
            yield pair


def _graphics(state: Dataset, film: Dataset, box: Box, caption: str) -> None:
    """Graphic Annotation and Graphic Layer (PS3.3 C.10.5, C.10.7), in pixels of the film from 0\\0."""
    left, top, right, bottom = box.in_pixels(film.Rows, film.Columns)
    corners = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    outline = Dataset()
    outline.GraphicAnnotationUnits, outline.GraphicType, outline.GraphicFilled = "PIXEL", "POLYLINE", "N"
    outline.GraphicDimensions, outline.NumberOfGraphicPoints = 2, len(corners)
    outline.GraphicData = [round(value, 1) for corner in corners for value in corner]
    words = Dataset()
    words.UnformattedTextValue = caption
    words.AnchorPointAnnotationUnits, words.AnchorPointVisibility = "PIXEL", "N"
    words.AnchorPoint = [round(left, 1), round(bottom, 1)]
    annotation = Dataset()
    annotation.ReferencedImageSequence = Sequence([_image(film)])
    annotation.GraphicLayer = LAYER
    annotation.TextObjectSequence = Sequence([words])
    annotation.GraphicObjectSequence = Sequence([outline])
    state.GraphicAnnotationSequence = Sequence([annotation])
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder = LAYER, 1
    layer.GraphicLayerDescription = "filmgate: where a classifier looked"
    state.GraphicLayerSequence = Sequence([layer])
