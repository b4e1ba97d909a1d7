"""The lung field: where it is, whether there is one, and whether the film cuts it off.

The network sees the film upright; the box is told in the film as it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.asking import Ask
from models.bundle import Bundle
from pipelines.film import Box, Film, Finding, Reason, Verdict
from pipelines.gates.pose import Eyes, Pose

LUNGS = 2
COARSE = 4  # px a cell: lungs are further apart than that, or one piece anyway
EDGE = 2  # px of the mask: a lung that comes this near to the edge of the film is cut off
SIDES = ("apices at the top", "angles at the bottom", "left side", "right side")
LEAST_OTHER = 0.25  # a lung smaller than this part of the other one was not seen (0.60: least of 3,643 masks)
GAP = 0.31  # of a lung's width lies between two lungs: the median of 3,643 masks
MARGIN = 0.04  # of the film, round the box, in what a classifier of chests is given


@dataclass(frozen=True, slots=True)
class Field:
    """Where the lungs are on an upright film."""

    box: Box
    area: float  # share of the film that is lung
    by_symmetry: bool  # one lung was hardly seen, and its place taken from the other
    cut: tuple[str, ...]  # of SIDES: where lung runs along the film's edge


class LungsGate:
    """Finds the box round both lungs of a frontal film. The score is the share of the film that is lung.

    `least` is the least share that counts as a lung field, `touching` the share of an edge's length that
    lungs may touch before the film counts as cut off. A cut or a guessed lung is noted, not held for.
    """

    name = "lungs"
    needs = ("rotation", "inversion", "lungs")

    def __init__(self, eyes: Eyes, lungs: Bundle) -> None:
        self.eyes, self.net, self.card = eyes, lungs.net, lungs.card
        self.least, self.touching = lungs.card.thresholds["least"], lungs.card.thresholds["touching"]

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        pose = self.eyes.pose(film.pixels)
        found = field_of(mask_of(self.net, pose), self.touching)
        if found is None or found.area < self.least:
            area = found.area if found else 0.0
            return (self._finding(Verdict.BAD, area, Reason.LUNGS_NOT_FOUND, "no lung field", None),)
        box = found.box.turned(pose.turn)
        noted = []
        if found.cut:
            detail = f"lung along the edge: {', '.join(found.cut)}"
            noted.append(self._finding(Verdict.BAD, found.area, Reason.LUNGS_CUT_OFF, detail, box))
        if found.by_symmetry:
            detail = "one lung not seen; its place taken from the other"
            noted.append(self._finding(Verdict.BAD, found.area, Reason.LUNG_BY_SYMMETRY, detail, box))
        good = self._finding(Verdict.GOOD, found.area, None, f"lungs on {found.area:.0%} of the film", box)
        return tuple(noted) or (good,)

    def _finding(
        self, verdict: Verdict, area: float, reason: Reason | None, detail: str, box: Box | None
    ) -> Finding:
        return Finding(
            self.name, verdict, area, self.least, self.least, reason, detail, box, self.card.weights_sha256
        )


def mask_of(net: Ask, pose: Pose) -> NDArray[np.bool_]:
    """Where the upright film is lung (S, S): the mean of the film's logits and its mirror image's."""
    film, mirrored = net(np.concatenate([pose.upright, pose.mirrored]))[:, 0]
    out: NDArray[np.bool_] = film + mirrored[:, ::-1] > 0
    return out


def field_of(mask: NDArray[np.bool_], touching: float) -> Field | None:
    """The lung field of an upright film from a lung mask (S, S); None when nothing is lung."""
    labels, count = pieces(mask)
    if not count:
        return None
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    kept = 1 + np.argsort(-sizes, kind="stable")[:LUNGS]
    mask = np.isin(np.arange(count + 1), kept)[labels]  # 0, no piece, is never kept
    box = box_of(mask)
    other = missing_lung([labels == piece for piece in kept])
    if other is not None:
        box = box.union(other)
    along = (mask[:EDGE].any(0), mask[-EDGE:].any(0), mask[:, :EDGE].any(1), mask[:, -EDGE:].any(1))
    cut = tuple(name for name, edge in zip(SIDES, along, strict=True) if edge.mean() > touching)
    return Field(box, float(mask.mean()), other is not None, cut)


def missing_lung(lungs: Sequence[NDArray[np.bool_]]) -> Box | None:
    """The box of a lung that is hardly seen, mirrored from the other; None when both are seen.

    A white lung leaves one piece, or a small second one, on one side of the film. The midline is taken to
    lie half a usual gap beside the lung that is seen, on the side where the film has more room. With either
    lung taken out of 3,643 masks, the box round both had an overlap (IoU) of 0.91 in the median.
    """
    sizes = [int(lung.sum()) for lung in lungs]
    if len(sizes) > 1 and min(sizes) >= LEAST_OTHER * max(sizes):
        return None
    seen = box_of(lungs[int(np.argmax(sizes))])
    width = seen.width
    if width > seen.height:  # as wide as both: two lungs that the mask has joined
        return None
    if seen.x0 + seen.x1 < 1:
        x0, x1 = seen.x1 + GAP * width, seen.x1 + (1 + GAP) * width
    else:
        x0, x1 = seen.x0 - (1 + GAP) * width, seen.x0 - GAP * width
    x0, x1 = max(x0, 0.0), min(x1, 1.0)
    return Box(x0, seen.y0, x1, seen.y1) if x0 < x1 else None


def crop_of(box: Box) -> Box:
    """What a classifier of chests is given: the lung box and a margin, inside the film."""
    return box.grown(MARGIN)


def pieces(mask: NDArray[np.bool_]) -> tuple[NDArray[np.uint16], int]:
    """A number for each piece of the mask (S, S), 0 where there is none; and how many there are.

    Pieces are told apart on a coarse grid, where cells that touch, at a corner too, are one piece.
    """
    side = mask.shape[0] // COARSE
    whole = mask[: side * COARSE, : side * COARSE].reshape(side, COARSE, side, COARSE)
    cells: NDArray[np.bool_] = np.asarray(whole.any(axis=(1, 3)))
    labels = np.zeros(cells.shape, dtype=np.uint16)
    found = _touching(cells)
    for number, piece in enumerate(found, start=1):
        labels[piece] = number
    wide = np.zeros(mask.shape, dtype=np.uint16)
    wide[: side * COARSE, : side * COARSE] = labels.repeat(COARSE, axis=0).repeat(COARSE, axis=1)
    return wide * mask, len(found)


def _touching(cells: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The pieces of a grid (n, n), each as a mask of it, in the order of their last cells.

    The grid is one number with a bit a cell, so a piece grows by all its neighbours in a few shifts. A column
    that is always empty keeps the end of a line from touching the next one's beginning.
    """
    height, width = cells.shape[0], cells.shape[1] + 1
    padded = np.pad(cells, ((0, 0), (0, 1)))
    left = int.from_bytes(np.packbits(padded, bitorder="little").tobytes(), "little")
    found = []
    while left:
        grown, piece = 1 << (left.bit_length() - 1), 0
        while grown != piece:
            piece = grown
            across = piece | piece << 1 | piece >> 1
            grown = (across | across << width | across >> width) & left
        left &= ~piece
        packed = np.frombuffer(piece.to_bytes(-(-height * width // 8), "little"), dtype=np.uint8)
        bits = np.unpackbits(packed, count=height * width, bitorder="little").astype(bool)
        found.append(bits.reshape(height, width)[:, :-1])
    return found[::-1]


def box_of(mask: NDArray[np.bool_]) -> Box:
    """The box round a mask (S, S) that is not empty, in fractions of the film."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    return Box(columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
