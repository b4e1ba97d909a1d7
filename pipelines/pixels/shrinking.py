"""Stored values averaged down to square pixels, padding left out."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from pipelines.codecs.layout import GREY, Layout, Pixels
from pipelines.header import integer, numbers

SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
FOUR_LANES = np.uint64(0x0001_0001_0001_0001)  # times it, a word of four 16-bit values has their sum on top
SANE_ASPECT = (0.1, 10.0)  # a spacing ratio beyond this is a typing error, not a detector


def most_shrink(ds: Dataset, layout: Layout, long_side: int) -> int:
    """How much smaller a codec may make the picture; 1 (not at all) where overlays lie in its values."""
    embedded = any((group, 0x0102) in ds for group in range(0x6000, 0x6020, 2))  # Overlay Bit Position
    return 1 if embedded else max(1, int(_squared(layout, ds, long_side)[2]))


def shrunk(
    stored: Pixels, ds: Dataset, layout: Layout, long_side: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Average down to square pixels and `long_side`; also where only padding is, None without any."""
    height, width = _target(stored.shape, layout, ds, long_side)
    padding = _padding(ds, layout)
    if padding is None:
        return _averaged(stored, height, width, most=layout.highest), None
    film = (stored < padding[0]) | (stored > padding[1])
    if stored.shape != layout.shape:
        film, stored = _unmixed(stored, film, padding)
    share = _averaged(film.view(np.uint8), height, width, most=1)
    values = _averaged(np.where(film, stored, 0), height, width, most=layout.highest)
    empty = share < 0.5
    values = np.where(empty, values[~empty].min(initial=np.inf), values / np.maximum(share, 0.5))
    return np.nan_to_num(values, posinf=0.0).astype(np.float32), empty


def _target(shape: tuple[int, ...], layout: Layout, ds: Dataset, long_side: int) -> tuple[int, int]:
    """Rows and columns of the preview; the longer pixel side sets the grid, nothing is enlarged."""
    tall, wide, shrink = _squared(layout, ds, long_side)
    height, width = round(tall / shrink), round(wide / shrink)
    return min(max(1, height), shape[0]), min(max(1, width), shape[1])


def _squared(layout: Layout, ds: Dataset, long_side: int) -> tuple[float, float, float]:
    """Rows and columns in units of the longer pixel side, and how much they shrink to fit `long_side`.

    That side shrinks so much, the other one no less.
    """
    row_mm, column_mm = _spacing(ds)
    pitch = max(row_mm, column_mm)
    tall, wide = layout.rows * row_mm / pitch, layout.columns * column_mm / pitch
    return tall, wide, max(1.0, max(tall, wide) / long_side)


def _spacing(ds: Dataset) -> tuple[float, float]:
    """Distance between rows and between columns; only the ratio counts (PS3.3 10.7.1.3, C.7.6.3.1.7)."""
    for keyword in SPACINGS:
        spacing = numbers(ds, keyword)
        if len(spacing) == 2 and all(isfinite(value) and value > 0 for value in spacing):
            sane = SANE_ASPECT[0] <= spacing[0] / spacing[1] <= SANE_ASPECT[1]
            return (spacing[0], spacing[1]) if sane else (1.0, 1.0)
    return 1.0, 1.0


def _averaged(values: Pixels, height: int, width: int, *, most: int | None = None) -> NDArray[np.float32]:
    """Area average to (height, width): whole blocks first, because that is fast, then exactly.

    `most`: what no value exceeds, where that is known.
    """
    rows, columns = values.shape[0] // height, values.shape[1] // width
    small = _block_sums(values, rows, columns, most).astype(np.float32)
    small *= np.float32(1 / (rows * columns))
    return _area(_area(small, height, axis=0), width, axis=1)


def _block_sums(values: Pixels, rows: int, columns: int, most: int | None = None) -> Pixels:
    """Sums of rows x columns blocks; a remainder smaller than a block is left out at the far edges.

    Strided additions read the film once and are ten times as fast as a mean over a reshaped array.
    """
    if rows * columns == 1:
        return values
    if most is None or most * rows >= 2**16:  # what is there is often less, and adds up in narrower words
        most = int(values.max())
    height, width = values.shape[0] // rows, values.shape[1] // columns
    values = values[: height * rows, : width * columns]
    of_lines, of_blocks = (_sum_type(values.dtype, most * count) for count in (rows, rows * columns))
    if rows == 1:
        lines = values.astype(of_lines, order="C")
    else:
        lines = np.add(values[::rows], values[1::rows], dtype=of_lines, order="C")
    for i in range(2, rows):
        lines += values[i::rows]
    return _beside_added(lines, columns, of_blocks)


def _beside_added(lines: Pixels, columns: int, wide: np.dtype[Any]) -> Pixels:
    """Sums of each `columns` values beside each other, in words so `wide`; 16-bit ones first as the lanes of
    longer words, because contiguous operations are faster than strided ones."""
    if lines.dtype == wide == np.uint16 and columns % 4 == 0:
        lines = lines.view(np.uint64) * FOUR_LANES >> np.uint64(48)  # the highest lane has the sum of all
        columns //= 4
    elif lines.dtype == np.uint16 and columns % 2 == 0:
        words = lines.view(np.uint32)
        lines = (words & np.uint32(0xFFFF)) + (words >> np.uint32(16))
        columns //= 2
    sums = lines[:, ::columns].astype(wide)
    for i in range(1, columns):
        sums += lines[:, i::columns]
    return sums


def _sum_type(values: np.dtype[Any], largest: int) -> np.dtype[Any]:
    """The narrowest type that holds sums of such values, none above `largest`."""
    if values.kind == "f":
        return np.dtype(np.float32)
    if values.kind == "i":
        return np.dtype(np.int64 if values.itemsize > 2 else np.int32)
    return np.dtype(np.uint16 if largest < 2**16 else np.uint32 if largest < 2**32 else np.uint64)


def _area(values: NDArray[np.float32], length: int, *, axis: int) -> NDArray[np.float32]:
    """Exact area average along an axis, to no fewer than half: three values reach into each new one."""
    count = values.shape[axis]
    if count == length:
        return values
    edges = np.linspace(0.0, count, length + 1)
    start = edges[:-1].astype(np.intp)
    averaged: NDArray[np.float32] | None = None
    for tap in range(3):
        overlap = np.minimum(edges[1:], start + tap + 1) - np.maximum(edges[:-1], start + tap)
        weight = (overlap.clip(0.0) * (length / count)).astype(np.float32)
        part = values.take(np.minimum(start + tap, count - 1), axis=axis)
        part *= weight[:, None] if axis == 0 else weight
        averaged = part if averaged is None else np.add(averaged, part, out=averaged)
    assert averaged is not None
    return averaged


# Padding


def _padding(ds: Dataset, layout: Layout) -> tuple[int, int] | None:
    """Lowest and highest padding value (C.7.5.1.1.2), or None."""
    value, limit = integer(ds, "PixelPaddingValue"), integer(ds, "PixelPaddingRangeLimit")
    if value is None or layout.photometric not in GREY:
        return None
    ends = sorted(_as_stored(v, layout) for v in (value, value if limit is None else limit))
    return ends[0], ends[1]


FILTER_REACH = 5  # pixels of a lower resolution that wavelet filters mix across an edge, with some to spare


def _unmixed(
    stored: Pixels, film: NDArray[np.bool_], padding: tuple[int, int]
) -> tuple[NDArray[np.bool_], Pixels]:
    """Film or padding at a lower resolution, where filters have mixed the two along their edges.

    An area of nothing but padding keeps its value. What lies along one is film when it is nearer to the film
    beyond than to the padding, and then takes that film's value where it was drawn towards the padding.
    """
    area = ~_grown(film, 1)
    edge = _grown(area, FILTER_REACH) & ~area
    beyond = _spread(stored.astype(np.float32), ~area & ~edge)
    off_padding = np.abs(stored - stored.clip(*padding).astype(np.float32))
    film_off = np.abs(beyond - beyond.clip(*padding))
    is_film = ~area & (~edge | (np.abs(stored - beyond) < off_padding))  # false where beyond is NaN
    return is_film, np.where(edge & (off_padding < film_off), beyond, stored).astype(np.float32)


def _grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """The mask and `by` pixels round it."""
    for axis in (0, 1):
        grown = mask.copy()
        ahead, behind = grown.swapaxes(0, axis), mask.swapaxes(0, axis)
        for step in range(1, by + 1):
            ahead[step:] |= behind[:-step]
            ahead[:-step] |= behind[step:]
        mask = grown
    return mask


def _spread(values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """`values` where known; within twice FILTER_REACH of there the mean of known neighbours; NaN beyond."""
    total, count = np.where(known, values, 0), known.astype(np.float32)
    for _ in range(2 * FILTER_REACH):
        sums, counts = np.zeros_like(total), np.zeros_like(count)
        for near, far in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            sums[near] += total[far]
            counts[near] += count[far]
            sums[:, near] += total[:, far]
            counts[:, near] += count[:, far]
        new = (count == 0) & (counts > 0)
        total[new], count[new] = sums[new] / counts[new], 1
    return np.where(count > 0, total, np.nan).astype(np.float32)


def _as_stored(value: int, layout: Layout) -> int:
    """US read as SS, or SS as US, mended."""
    if layout.signed and value > layout.highest:
        return value - (1 << layout.allocated)
    return value + (1 << layout.allocated) if not layout.signed and value < 0 else value
