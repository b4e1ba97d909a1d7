"""Noise that comes twice: a piece of a film that was written a second time."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipelines.film import Damage
from pipelines.pixels.rows import GREYS, Values, band

WINDOW = 16  # bytes that are compared at first
STRETCHES = 32  # places in a film at which windows begin at every value; elsewhere at some
ROWS_TWICE = 2.0  # so much is no chance
FEW_ROWS = 8  # and multiples of so few rows are a film that was enlarged
NOISY = 0.3  # of the values differ from the one before, and from the one above ...
TRIED = 16  # distances


def repeated(stored: Values) -> Damage | None:
    """Noise that comes twice, at whatever distance: windows at every value of some stretches, as long as the
    step at which windows begin everywhere, meet each other in any piece that is longer than what lies between
    two stretches."""
    height, width = stored.shape
    flat = np.ascontiguousarray(stored).ravel()
    count = WINDOW // flat.itemsize
    step = max(32, 1 << math.isqrt(flat.size // STRETCHES).bit_length())
    apart = max(4, height // STRETCHES) * width
    windows = _windows(flat)
    some = windows[::step].copy()
    at = np.flatnonzero(_changes(some.view(flat.dtype)) > NOISY * count)
    starts = np.arange(0, len(windows) - step, apart)
    every = np.concatenate([windows[start : start + step] for start in starts])
    hashed, known = _hashed(every), _hashed(some)[at]
    found, met = np.flatnonzero(_among(hashed, known)), np.flatnonzero(_among(known, hashed))
    if not len(found) or not len(met):
        return None
    met = met[np.argsort(known[met])]
    place = np.searchsorted(known[met], hashed[found]).clip(max=len(met) - 1)
    same = known[met[place]] == hashed[found]
    one, other = starts[found // step] + found % step, at[met[place]] * step
    one, other = one[same & (one != other)], other[same & (one != other)]
    if not len(one):
        return None
    far, first, counts = np.unique(np.abs(one - other), return_index=True, return_counts=True)
    for index in np.argsort(-counts)[:TRIED]:
        begin = int(min(one[first[index]], other[first[index]]))
        if run := _twice(flat, width, begin, int(far[index])):
            row, again = (run[0] // width, (run[0] + int(far[index])) // width)
            words = f"rows from {row} on come a second time from row {again} on, their noise included"
            return Damage(words, band(again, min(height, again + -(-(run[1] - run[0]) // width)), height))
    return None


def _windows(flat: Values) -> NDArray[np.uint64]:
    """The WINDOW bytes that begin at each value, as words, without a copy: (values, WINDOW // 8)."""
    shape = (flat.size - WINDOW // flat.itemsize + 1, WINDOW // 8)
    return np.ndarray(shape, np.uint64, buffer=flat, strides=(flat.itemsize, 8))


def _changes(windows: Values) -> NDArray[np.uint8]:
    """How often the value changes within each window."""
    columns = np.ascontiguousarray(windows.T)
    changes: NDArray[np.uint8] = (columns[1:] != columns[:-1]).sum(axis=0, dtype=np.uint8)
    return changes


def _hashed(halves: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Of windows."""
    mixed = halves[:, 0] * np.uint64(0x9E3779B97F4A7C15) + halves[:, 1] * np.uint64(0xC2B2AE3D27D4EB4F)
    return np.asarray(mixed ^ (mixed >> np.uint64(29)), dtype=np.uint64) * np.uint64(0xBF58476D1CE4E5B9)


def _among(hashed: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Those that may be among the others, by their upper bits: all that are, and few that are not."""
    held = np.zeros(1 << 17, dtype=np.bool_)
    held[(others >> np.uint64(47)).view(np.intp)] = True
    return held.take((hashed >> np.uint64(47)).view(np.intp))


def _twice(flat: Values, width: int, at: int, far: int) -> tuple[int, int] | None:
    """Where noise begins and ends that is the same `far` values later, if it is enough and of a film."""
    if far < width or (far % width == 0 and far < FEW_ROWS * width):
        return None
    least, reach = int(ROWS_TWICE * width), 64 * width
    low, high = max(0, at - reach), min(len(flat) - far, at + reach)
    unlike = np.flatnonzero(flat[low:high] != flat[low + far : high + far]) + low
    place = int(np.searchsorted(unlike, at))
    begin = int(unlike[place - 1]) + 1 if place else low
    end = int(unlike[place]) if place < len(unlike) else high
    piece = flat[begin:end]
    if end - begin < least or len(np.unique(piece)) < GREYS:
        return None
    if min(np.mean(piece[1:] != piece[:-1]), np.mean(piece[width:] != piece[:-width])) < NOISY:
        return None
    return begin, end
