"""What shows in a picture that code blocks of its wavelets are broken."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.film import Box, Damage
from pipelines.pixels.rows import Floats, Values

CODE_BLOCK = 64  # coefficients a side, of nearly all encoders; 32 are seen, too
INVERTED = 2.5  # mean detail of a level over that of the next coarser one
LEVELS = 5


def inversion(stored: Values) -> tuple[float, Box | None]:
    """The most that detail outweighs the next coarser one in any code block, and where."""
    smooth = stored.astype(np.float32)
    details: list[tuple[Floats, ...]] = []
    for _ in range(LEVELS):
        if min(smooth.shape) < 8:
            break
        smooth, *detail = _split(smooth)
        details.append(tuple(detail))
    most, where = 0.0, None
    for level in range(len(details) - 1):
        for fine, coarse in zip(details[level], details[level + 1], strict=True):
            ratio = _block_means(fine, CODE_BLOCK) / (_block_means(coarse, CODE_BLOCK // 2) + 0.5)
            if ratio.max() > most:
                most = float(ratio.max())
                y, x = np.unravel_index(int(ratio.argmax()), ratio.shape)
                h, w = ratio.shape
                where = Box(float(x / w), float(y / h), float((x + 1) / w), float((y + 1) / h))
    return most, where


def inverted(stored: Values) -> Damage | None:
    most, where = inversion(stored)
    if most < INVERTED or where is None:
        return None
    return Damage(f"fine detail is {most:.1f} times as strong as coarse: code blocks are broken", where)


def _split(values: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Smooth, and detail across, down and both, by the 5/3 filter (ISO 15444-1 F.4.8.1)."""
    low, high = _lifted(values)
    (ll, hl), (lh, hh) = (_lifted(lines.T) for lines in (low, high))
    return ll.T, hl.T, lh.T, hh.T


def _lifted(values: Floats) -> tuple[Floats, Floats]:
    """Along the first axis, of an even number of lines."""
    even = values[: len(values) // 2 * 2 : 2]
    part = np.float32(0.5) * even
    high: Floats = values[1::2][: len(even)] - part
    high[:-1] -= part[1:]
    high[-1] -= part[-1]
    np.multiply(high, np.float32(0.25), out=part)
    low: Floats = even + part
    low[1:] += part[:-1]
    low[0] += part[0]
    return low, high


def _block_means(detail: Floats, side: int) -> NDArray[np.float64]:
    """Mean size in blocks; what is left at the far edges belongs to the last ones."""
    total: NDArray[Any] = np.abs(detail)
    area = np.ones((1, 1))
    for axis in (1, 0):  # neighbours in memory first
        length = detail.shape[axis]
        starts = np.arange(max(1, length // side)) * side
        total = np.add.reduceat(total, starts, axis=axis)
        sizes = np.diff(starts, append=length).astype(np.float64)
        area = area * (sizes[:, None] if axis == 0 else sizes[None, :])
    return np.asarray(total / area, dtype=np.float64)
