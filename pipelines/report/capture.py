"""A reading as a picture: the film, the film with heat, and the ranked conditions.

`painted` draws it, for a PNG as for the Secondary Capture (PS3.3 A.8.1) that `capture` makes. No name, number
or date of the patient is drawn; what is drawn says whose reading it is and that it is not for diagnosis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import SecondaryCaptureImageStorage

from pipelines.film import WHOLE, Box, Operations
from pipelines.header import first, quietly, upper, values
from pipelines.reading import Condition, Reading
from pipelines.report.identity import (
    MANUFACTURER,
    Equipment,
    Series,
    canonical,
    code,
    identify,
    local_time,
    referenced,
    result_uid,
    said_by,
)

CAPTURE_SERIES = 8903
WIDTH = 1200  # px
SMOOTH = 2  # drawn this much larger, then made smaller: Pillow's lines have no grey edges
MARGIN, GAP = 24, 16
FILM_WIDTH, FILM_HEIGHT = 424, 560  # px, at most
HEAD, FOOT = 76, 64
ROW = 34  # a condition
ROWS_SHOWN = 18

Colour = tuple[int, int, int]
BACKGROUND: Colour = (16, 19, 24)
PANEL: Colour = (0, 0, 0)
TEXT: Colour = (232, 236, 240)
QUIET: Colour = (142, 152, 164)
TRACK: Colour = (44, 51, 60)
BELOW: Colour = (98, 126, 156)
ABOVE: Colour = (240, 160, 48)
UNKNOWN: Colour = (104, 108, 114)  # no threshold
MARK: Colour = (250, 250, 250)
REGION: Colour = (64, 224, 208)
NOT_FOR_DIAGNOSIS = "Not for diagnosis"
# What spoke for the condition, from nothing to most: heat -> colour and opacity
HEAT_AT = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
HEAT_COLOUR = np.array([[90, 0, 90], [180, 20, 90], [235, 70, 40], [252, 160, 30], [255, 245, 150]], float)
HEAT_OPACITY = np.array([0.0, 0.12, 0.4, 0.55, 0.62])

Grey = NDArray[np.float32]  # (H, W) in [0, 1]
RGB = NDArray[np.uint8]  # (H, W, 3)
Area = tuple[int, int, int, int]  # left, top, right, bottom


def capture(
    source: Dataset,
    pixels: Grey,
    reading: Reading,
    *,
    at: datetime,
    equipment: Equipment,
    operations: Operations = Operations(),  # noqa: B008 - frozen
) -> Dataset:
    """A Secondary Capture of the reading, in the study of the original.

    `source` is the original's header, `pixels` (H, W) in [0, 1] the film as the classifier saw it: of the
    copy, when one made with `operations` was read. `at` is aware. Raises NotReportable.
    """
    evidence, at = referenced(source), local_time(source, at, equipment)
    picture = painted(pixels, reading, at=at, operations=operations)
    key = (reading.classifier, reading.version, reading.model_digest, canonical(operations))
    uid = result_uid("capture", evidence, *key, at=at, equipment=equipment)
    instance = Dataset()
    instance.SOPClassUID = SecondaryCaptureImageStorage
    with quietly():
        _describe(instance, source, evidence, at)
        _set_pixels(instance, picture)
        instance.DerivationDescription = (
            f"filmgate: {reading.classifier} {reading.version}, heat map and conditions"
        )
    series = Series(
        ("capture", reading.classifier), "OT", CAPTURE_SERIES, f"filmgate {reading.classifier} heat map"
    )
    contribution_text = f"read by {reading.classifier} {reading.version}"
    return identify(
        instance, source, uid, series, contribution_text=contribution_text, at=at, equipment=equipment
    )


def _describe(instance: Dataset, source: Dataset, evidence: Dataset, at: datetime) -> None:
    """General Image, SC Equipment and SC Image (PS3.3 C.7.6.1, C.8.6.1, C.8.6.2)."""
    instance.ImageType = ["DERIVED", "SECONDARY"]
    instance.PatientOrientation = ""
    instance.Laterality = said_by(source, "Laterality")
    instance.ContentDate = instance.ContentTime = ""  # `identify` says them
    instance.ConversionType = "WSD"
    instance.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    instance.SecondaryCaptureDeviceManufacturerModelName = "filmgate"
    instance.DateOfSecondaryCapture, instance.TimeOfSecondaryCapture = (
        at.strftime("%Y%m%d"),
        at.strftime("%H%M%S"),
    )
    if burned := first(upper(source, "BurnedInAnnotation")):  # nothing of the patient is drawn beside it
        instance.BurnedInAnnotation = burned
    if first(upper(source, "LossyImageCompression")) == "01":  # once lossy, always lossy
        instance.LossyImageCompression = "01"
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if entries := values(source, keyword):
                setattr(instance, keyword, list(entries))
    item = Dataset()
    item.ReferencedSOPClassUID = evidence.SOPClassUID
    item.ReferencedSOPInstanceUID = evidence.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = Sequence(
        [code("121322", "Source image for image processing operation")]  # PS3.16 CID 7202
    )
    instance.SourceImageSequence = Sequence([item])


def _set_pixels(instance: Dataset, picture: RGB) -> None:
    instance.Rows, instance.Columns = picture.shape[:2]
    instance.SamplesPerPixel, instance.PlanarConfiguration, instance.PixelRepresentation = 3, 0, 0
    instance.BitsAllocated = instance.BitsStored = 8
    instance.HighBit, instance.PhotometricInterpretation = 7, "RGB"
    raw = picture.tobytes()
    instance.add_new("PixelData", "OB", raw + b"\0" * (len(raw) % 2))


# The picture


@dataclass(frozen=True, slots=True)
class _Sheet:
    """What is drawn on, in px of the finished picture."""

    image: Image.Image

    @classmethod
    def blank(cls, width: int, height: int) -> _Sheet:
        return cls(Image.new("RGB", (width * SMOOTH, height * SMOOTH), BACKGROUND))

    def rectangle(self, area: tuple[float, ...], fill: Colour | None = None, *, round_px: float = 0) -> None:
        ImageDraw.Draw(self.image).rounded_rectangle(
            [SMOOTH * value for value in area], round_px * SMOOTH, fill=fill
        )

    def frame(self, area: tuple[float, ...], colour: Colour, line_px: float) -> None:
        ImageDraw.Draw(self.image).rectangle(
            [SMOOTH * value for value in area], outline=colour, width=round(line_px * SMOOTH)
        )

    def write(
        self, at: tuple[float, float], words: str, size: int, colour: Colour = TEXT, anchor: str = "ls"
    ) -> None:
        font = ImageFont.load_default(size * SMOOTH)
        ImageDraw.Draw(self.image).text((at[0] * SMOOTH, at[1] * SMOOTH), words, colour, font, anchor=anchor)

    def paste(self, picture: RGB, area: Area) -> None:
        width, height = (area[2] - area[0]) * SMOOTH, (area[3] - area[1]) * SMOOTH
        shown = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
        self.image.paste(shown, (area[0] * SMOOTH, area[1] * SMOOTH))

    def finished(self) -> RGB:
        return np.asarray(self.image.reduce(SMOOTH))


def painted(
    pixels: Grey,
    reading: Reading,
    *,
    at: datetime | None = None,
    operations: Operations = Operations(),  # noqa: B008 - frozen
) -> RGB:
    """The film, the film with heat, and the ranked conditions with bars and thresholds, 1200 px wide.

    `pixels` (H, W) in [0, 1] are the film as displayed; `at` is aware and drawn as it is, with its zone.
    """
    width, height = _fitted(pixels.shape[1], pixels.shape[0])
    body = max(height, ROW * min(len(reading.conditions), ROWS_SHOWN + 1), 200)
    sheet = _Sheet.blank(WIDTH, HEAD + body + FOOT)
    left = (MARGIN, HEAD, MARGIN + width, HEAD + height)
    right = (left[2] + GAP, HEAD, left[2] + GAP + width, HEAD + height)
    grey = _rgb(pixels)
    sheet.paste(grey, left)
    sheet.paste(_heated(grey, reading), right)
    if reading.region is not None:
        sheet.frame(_within(reading.region, right), REGION, 1.5)
    _head(sheet, reading, left, right)
    _ranked(sheet, reading, right[2] + GAP + 8)
    _foot(sheet, reading, HEAD + body + FOOT, at, operations)
    return sheet.finished()


def heated(pixels: Grey, reading: Reading) -> RGB:
    """The film alone, (H, W) in [0, 1] as displayed, with heat over the part that the network saw."""
    return _heated(_rgb(pixels), reading)


def _fitted(columns: int, rows: int) -> tuple[int, int]:
    """Width and height of the film on the sheet."""
    scale = min(FILM_WIDTH / columns, FILM_HEIGHT / rows)
    return max(1, round(columns * scale)), max(1, round(rows * scale))


def _rgb(pixels: Grey) -> RGB:
    grey = np.rint(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _within(box: Box, area: Area) -> tuple[float, float, float, float]:
    width, height = area[2] - area[0], area[3] - area[1]
    return (
        area[0] + box.x0 * width,
        area[1] + box.y0 * height,
        area[0] + box.x1 * width,
        area[1] + box.y1 * height,
    )


def _heated(grey: RGB, reading: Reading) -> RGB:
    """The film with heat over the part that the network saw."""
    if reading.heat is None or not reading.heat.size:
        return grey
    rows, columns = grey.shape[:2]
    box = reading.crop
    left, right = round(box.x0 * columns), max(round(box.x1 * columns), round(box.x0 * columns) + 1)
    top, bottom = round(box.y0 * rows), max(round(box.y1 * rows), round(box.y0 * rows) + 1)
    heat = Image.fromarray(np.clip(np.nan_to_num(reading.heat), 0, 1).astype(np.float32))
    laid = np.zeros((rows, columns), np.float32)
    spread = np.asarray(heat.resize((right - left, bottom - top), Image.Resampling.BICUBIC))
    laid[top:bottom, left:right] = np.clip(spread, 0, 1)[: rows - top, : columns - left]
    colour = np.stack([np.interp(laid, HEAT_AT, HEAT_COLOUR[:, c]) for c in range(3)], axis=-1)
    opacity = np.interp(laid, HEAT_AT, HEAT_OPACITY)[..., None]
    mixed: RGB = np.rint(grey * (1 - opacity) + colour * opacity).astype(np.uint8)
    return mixed


def _head(sheet: _Sheet, reading: Reading, left: Area, right: Area) -> None:
    sheet.write((MARGIN, 34), f"{reading.classifier} {reading.version}", 22)
    sheet.write((left[0], HEAD - 12), "The film", 13, QUIET)
    shown = f"What spoke for {_name(reading.shown)}" if reading.shown else "No heat map"
    sheet.write((right[0], HEAD - 12), shown, 13, QUIET)
    sheet.write((WIDTH - MARGIN, 34), NOT_FOR_DIAGNOSIS.upper(), 15, ABOVE, "rs")


def _ranked(sheet: _Sheet, reading: Reading, left: int) -> None:
    title = "Probability of each condition" if not reading.exclusive else "Probability, one of these"
    sheet.write((left, HEAD - 12), title, 13, QUIET)
    right = WIDTH - MARGIN
    for rank, condition in enumerate(reading.conditions[:ROWS_SHOWN]):
        _row(sheet, condition, (left, HEAD + rank * ROW, right))
    if (more := len(reading.conditions) - ROWS_SHOWN) > 0:
        sheet.write((left, HEAD + ROWS_SHOWN * ROW + 13), f"and {more} more, less likely", 13, QUIET)


def _row(sheet: _Sheet, condition: Condition, at: tuple[int, int, int]) -> None:
    """Name and number above a bar from 0 to 1 with a mark at the threshold."""
    left, top, right = at
    found = bool(condition.positive) and not condition.nothing
    colour = ABOVE if found else UNKNOWN if condition.threshold is None else BELOW
    name = _name(condition.name) + (" (no threshold)" if condition.threshold is None else "")
    sheet.write((left, top + 13), name[:34], 14, TEXT if condition.positive else QUIET)
    sheet.write((right, top + 13), f"{condition.probability:.2f}", 14, TEXT, "rs")
    bar, width = top + 19, right - left
    sheet.rectangle((left, bar, right, bar + 6), TRACK, round_px=3)
    filled = width * min(max(condition.probability, 0.0), 1.0)
    if filled >= 1:
        sheet.rectangle((left, bar, left + max(filled, 6), bar + 6), colour, round_px=3)
    if condition.threshold is not None:
        mark = left + width * min(max(condition.threshold, 0.0), 1.0)
        sheet.rectangle((mark - 1, bar - 3, mark + 1, bar + 9), MARK)


def _foot(sheet: _Sheet, reading: Reading, bottom: int, at: datetime | None, operations: Operations) -> None:
    sheet.write((MARGIN, bottom - 34), ", ".join(_said(reading, at, operations)), 13, QUIET)
    legend = "White mark: threshold. Amber: at or above it. No threshold: too few examples to set one."
    sheet.write((MARGIN, bottom - 14), f"{NOT_FOR_DIAGNOSIS}. {legend}", 13, QUIET)


def _said(reading: Reading, at: datetime | None, operations: Operations) -> Iterator[str]:
    yield f"model {reading.classifier} {reading.version}"
    yield f"sha256 {reading.model_digest[:16]}"
    if at is not None:
        yield at.strftime("read %Y-%m-%d %H:%M UTC%z").removesuffix("+0000")
    if reading.crop != WHOLE:
        yield "only part of the film was read"
    if operations.changes_pixels:
        turned = f"turned {operations.turn} degrees clockwise" if operations.turn else ""
        flipped = "flipped" if operations.flip else ""
        inverted = "inverted" if operations.invert else ""
        done = ["cropped" if operations.crop else "", turned, flipped, inverted]
        yield "film shown corrected: " + " and ".join(word for word in done if word)


def _name(name: str) -> str:
    return name.replace("_", " ")
