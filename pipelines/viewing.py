"""Pictures for people: a thumbnail, and values that a browser windows by itself.

Both show what the gates see (`pipelines.display`). Hostile files come here in a limited child alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset

from pipelines.codecs.frames import decoded_photometric
from pipelines.codecs.layout import GREY, Layout
from pipelines.decode import film_of, first_frame, header_in_errors, shown_film
from pipelines.display import is_inverse, on_grey_scale, voi
from pipelines.header import numbers
from pipelines.instance.part10 import Source, parse
from pipelines.pixels.colour import grey, luminance
from pipelines.pixels.luts import VOI, Grey, modality, read_luts, windows
from pipelines.pixels.shrinking import SPACINGS, shrunk

THUMB_PX = (480, 320)  # columns and rows, at most
THUMB_QUALITY = 82
VIEW_PX = 2000  # long side of what a browser gets
TOP = 65535
MOST_WINDOWS = 8
SHADE = 0.01  # this near to black or white is black or white
IN_MM = tuple(keyword for keyword in SPACINGS if keyword != "PixelAspectRatio")


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Values after the Modality LUT (PS3.3 C.11.1) as whole numbers, and how they are shown at first.

    The value that a pixel stands for is `pixels` * step + offset. `table` has, for each whole number, the
    grey that the film's own VOI LUT, window and polarity give it: 0 black, 255 white.
    """

    pixels: NDArray[np.uint16]  # (H, W)
    table: NDArray[np.uint8]  # (the highest of `pixels` + 1,)
    step: float
    offset: float
    windows: tuple[tuple[float, float], ...]  # centre and width; the first one comes near `table`
    inverse: bool  # the lowest values are shown white
    padded: bool  # 0 is no value but padding, which is shown black
    bits: int  # Bits Stored
    spacing: tuple[float, float] | None  # mm between rows and between columns of `pixels`


def thumbnail(pixels: Grey) -> bytes:
    """A JPEG of a film (H, W) in [0, 1], within THUMB_PX."""
    picture = Image.fromarray(np.rint(pixels * np.float32(255)).astype(np.uint8))
    picture.thumbnail(THUMB_PX, Image.Resampling.BOX)
    written = BytesIO()
    picture.save(written, "JPEG", quality=THUMB_QUALITY)
    return written.getvalue()


def thumbnail_of(source: Source) -> bytes:
    """The same of a DICOM file. Raises Undecodable."""
    return thumbnail(shown_film(source).pixels)


def png_of(source: Source) -> bytes:
    """A PNG of a picture that is one already, 8 bits in colours, as `report.capture` makes them, else as the
    film is displayed. Raises Undecodable."""
    part = parse(source)
    with header_in_errors(part):
        layout, stored = first_frame(part, VIEW_PX)
        if decoded_photometric(part, layout) == "RGB" and stored.dtype == np.uint8:
            picture = Image.fromarray(np.ascontiguousarray(stored))
        else:
            shown = film_of(part, layout, stored, long_side=VIEW_PX).pixels
            picture = Image.fromarray(_greys(shown))
    written = BytesIO()
    picture.save(written, "PNG", compress_level=1)
    return written.getvalue()


def view(source: Source, *, long_side: int = VIEW_PX) -> View:
    """The first frame for a browser, square pixels, long side at most `long_side`. Raises Undecodable."""
    part = parse(source)
    with header_in_errors(part):
        layout, stored = first_frame(part, long_side)
        layout = replace(layout, photometric=decoded_photometric(part, layout))
        values, empty = shrunk(grey(stored, part.ds, layout), part.ds, layout, long_side)
        if layout.photometric in GREY:
            return _monochrome(values, empty, part.ds, layout)
        return _coloured(luminance(values, layout), part.ds, layout)


def _monochrome(values: Grey, empty: NDArray[np.bool_] | None, ds: Dataset, layout: Layout) -> View:
    stage = modality(ds)
    shown = np.nan_to_num(stage.applied(values), posinf=0.0, neginf=0.0)
    film = shown if empty is None or empty.all() else shown[~empty]
    unit = 1.0 if stage.lut else abs(stage.slope) or 1.0
    scale = _Scale.of(film, unit, padded=empty is not None)
    levels = scale.levels()
    table = on_grey_scale(voi(shown, ds, layout, stage.span)(levels), ds)
    inverse = is_inverse(ds)
    first = _nearest(levels, 1.0 - table if inverse else table)
    pixels = scale.whole(shown)
    greys = _greys(table)
    if empty is not None:
        pixels[empty] = greys[0] = 0
    spacing = _spacing(ds, layout, pixels.shape)
    stated = () if any(read_luts(ds, VOI, stage.span)) else _windows(ds)
    return View(
        pixels,
        greys,
        scale.step,
        scale.offset,
        (stated or (first,))[:MOST_WINDOWS],
        inverse,
        empty is not None,
        layout.stored,
        spacing,
    )


def _coloured(luminances: Grey, ds: Dataset, layout: Layout) -> View:
    """Colour has no window: its luminance, from 0 to 255."""
    pixels = np.rint(luminances * np.float32(255)).astype(np.uint16)
    table = np.arange(256, dtype=np.uint8)
    spacing = _spacing(ds, layout, pixels.shape)
    return View(
        pixels, table, 1.0, 0.0, ((127.5, 255.0),), inverse=False, padded=False, bits=8, spacing=spacing
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """Values <-> whole numbers of 16 bits; with padding these begin at 1."""

    step: float
    offset: float  # the value that 0 stands for
    entries: int

    @classmethod
    def of(cls, values: Grey, unit: float, *, padded: bool) -> _Scale:
        """In steps of `unit`, or larger ones where 16 bits do not hold the values otherwise."""
        low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
        if not isfinite(high - low):  # an overflow, or nothing at all
            low = high = 0.0
        least = int(padded)
        step = max(unit, (high - low) / (TOP - least))
        if not isfinite(step):
            step = 1.0
        entries = min(TOP, round((high - low) / step) + least) + 1
        return cls(step, low - least * step, entries)

    def levels(self) -> Grey:
        """The value of each whole number."""
        return (np.arange(self.entries, dtype=np.float64) * self.step + self.offset).astype(np.float32)

    def whole(self, values: Grey) -> NDArray[np.uint16]:
        steps = (values - np.float32(self.offset)) * np.float32(1 / self.step)
        whole: NDArray[np.uint16] = np.rint(steps).clip(0, self.entries - 1).astype(np.uint16)
        return whole


def _greys(shown: Grey) -> NDArray[np.uint8]:
    greys: NDArray[np.uint8] = np.rint(shown * np.float32(255)).astype(np.uint8)
    return greys


def _nearest(levels: Grey, rising: Grey) -> tuple[float, float]:
    """Centre and width of the linear window that comes near a rising table."""
    inside = np.flatnonzero((rising > SHADE) & (rising < 1 - SHADE))
    low, high = (levels[inside[0]], levels[inside[-1]]) if inside.size else (levels[0], levels[-1])
    return float(low + high) / 2, max(float(high - low), 1.0)


def _windows(ds: Dataset) -> tuple[tuple[float, float], ...]:
    stated = ((one.center, one.width) for one in windows(ds))
    return tuple(pair for pair in stated if isfinite(sum(pair)))


def _spacing(ds: Dataset, layout: Layout, shape: tuple[int, ...]) -> tuple[float, float] | None:
    """Between the pixels of a picture of this shape (PS3.3 10.7.1.3); None where the header states none."""
    for keyword in IN_MM:
        stated = numbers(ds, keyword)
        if len(stated) == 2 and all(isfinite(mm) and mm > 0 for mm in stated):
            return stated[0] * layout.rows / shape[0], stated[1] * layout.columns / shape[1]
    return None
