"""Which part of a film a classifier is shown, as a square: its card's `crop` and `aspect`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.classifiers.inputs import prepared

Part = tuple[float, float, float, float]  # x0, y0, x1, y1 in fractions of the film
WHOLE: Part = (0.0, 0.0, 1.0, 1.0)


def shown(
    pixels: NDArray[np.float32], px: int, *, aspect: str = "squash", part: Part = WHOLE
) -> Tensor:  # (1, 1, px, px)
    """The part of a film (H, W) in [0, 1], as a network sees it."""
    cut = cropped(pixels, part)
    return prepared((padded(cut) if aspect == "pad" else cut)[None], px)


def part_of(shape: tuple[int, int], aspect: str, part: Part = WHOLE) -> Part:
    """What is left of a part of a film (H, W) when its "centre" alone is shown; else all of it."""
    if aspect != "centre":
        return part
    height, width = shape
    x0, y0, x1, y1 = part
    side = min((x1 - x0) * width, (y1 - y0) * height)
    half_x, half_y = side / width / 2, side / height / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return (max(x - half_x, 0.0), max(y - half_y, 0.0), min(x + half_x, 1.0), min(y + half_y, 1.0))


def cropped(pixels: NDArray[np.float32], part: Part) -> NDArray[np.float32]:
    """The part of a film (H, W), at least one pixel of it."""
    height, width = pixels.shape
    x0, y0, x1, y1 = part
    top, left = _within(math.floor(y0 * height), height), _within(math.floor(x0 * width), width)
    return pixels[top : max(math.ceil(y1 * height), top + 1), left : max(math.ceil(x1 * width), left + 1)]


def padded(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """A film (H, W) in the middle of a black square."""
    height, width = pixels.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    out = np.zeros((side, side), dtype=pixels.dtype)
    out[top : top + height, left : left + width] = pixels
    return out


def without_padding(square: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """What lies over the film of a picture (S, S) that lies over `padded`; `shape` is the film's, (H, W)."""
    side, (height, width) = len(square), shape
    top, left = (round(side * (1 - n / max(shape)) / 2) for n in (height, width))
    return square[top : side - top, left : side - left]


def _within(at: int, size: int) -> int:
    return min(max(at, 0), size - 1)
