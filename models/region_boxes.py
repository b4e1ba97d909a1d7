"""The boxes in the maps of a region network; the network itself stands in models.region_net."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OVERLAP = 0.3  # two boxes that share more (intersection over union) are the same object

Maps = NDArray[np.float32]  # (6, GRID, GRID), named in models.graphs.REGION_OUTPUTS
Boxes = NDArray[np.float32]  # (..., 4), x0, y0, x1, y1 in fractions of the film


def objects(maps: Maps, least: float, most: int) -> Boxes:
    """The objects in one film's maps -> (n, 5), n <= most: x0, y0, x1, y1, probability.

    A peak of `centre` of probability `least` or more is an object; its box is the mean of those of the cells
    round the peak, weighted by their probabilities. The surest comes first; boxes are cut to the film.
    """
    sure = 1 / (1 + np.exp(-maps[1].clip(-30, 30)))
    around = np.lib.stride_tricks.sliding_window_view(np.pad(sure, 1), (3, 3)).max(axis=(2, 3))
    peaks = np.argwhere((sure == around) & (sure >= least))
    boxes = _boxes_of(maps[2:])
    found: list[Boxes] = []
    for y, x in sorted(peaks.tolist(), key=lambda cell: -sure[tuple(cell)]):
        near = (slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2))
        weight = sure[near] / sure[near].sum()
        box = (boxes[:, *near] * weight).sum(axis=(1, 2)).clip(0, 1)
        if all(float(overlap(box, other[:4])) <= OVERLAP for other in found):
            found.append(np.append(box, sure[y, x]))
        if len(found) == most:
            break
    return np.stack(found) if found else np.zeros((0, 5), np.float32)


def overlap(one: Boxes, other: Boxes) -> Boxes:
    """Intersection over union of boxes (..., 4)."""
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:4], other[..., 2:4])
    both = (high - low).clip(min=0).prod(axis=-1)
    areas = [(box[..., 2:4] - box[..., :2]).clip(min=0).prod(axis=-1) for box in (one, other)]
    shared: Boxes = both / np.maximum(areas[0] + areas[1] - both, 1e-9)
    return shared


def _boxes_of(reach: Maps) -> Boxes:
    """How far each cell reaches left, up, right, down (4, GRID, GRID) -> its box (4, GRID, GRID)."""
    line = (np.arange(reach.shape[-1], dtype=np.float32) + np.float32(0.5)) / np.float32(reach.shape[-1])
    middle = np.stack(np.meshgrid(line, line, indexing="xy"))
    return np.concatenate([middle - reach[:2], middle + reach[2:]])
