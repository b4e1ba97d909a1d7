"""The lung field: where it is, whether there is one, and whether the film cuts it off."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.bundle import Bundle
from pipelines.film import Box, Film, Finding, Reason, Verdict
from pipelines.transforms import See, gate_input

LUNGS = 2
COARSE = 4  # px a cell: lungs are further apart than that, or one piece anyway
EDGE = 2  # px of the mask: a lung that comes this near to the edge of the film is cut off


class LungsGate:
    """Finds the box round both lungs; made for upright frontal films of right polarity.

    The score is the share of the film that is lung. `low` is the least share that counts as a lung
    field, `high` the share of the edge's length that lungs may touch before the film counts as cut off.
    """

    name = "lungs"
    needs = ("lungs",)

    def __init__(self, lungs: Bundle, see: See = gate_input) -> None:
        self.see = see
        self.net, self.card = lungs.net, lungs.card
        self.least, self.touching = lungs.card.thresholds["least"], lungs.card.thresholds["touching"]

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        with torch.inference_mode():
            mask = self.net(self.see(film.pixels)[None])[0, 0].numpy() > 0
        mask = two_largest(mask)
        area, touch = float(mask.mean()), touched(mask)
        if area < self.least:
            return (self._finding(Verdict.BAD, area, Reason.LUNGS_NOT_FOUND, "no lung field", None),)
        box = box_of(mask)
        if touch > self.touching:
            detail = f"lung along {touch:.0%} of an edge"
            return (self._finding(Verdict.BAD, area, Reason.LUNGS_CUT_OFF, detail, box),)
        return (self._finding(Verdict.GOOD, area, None, f"lungs on {area:.0%} of the film", box),)

    def _finding(
        self, verdict: Verdict, area: float, reason: Reason | None, detail: str, box: Box | None
    ) -> Finding:
        return Finding(
            self.name, verdict, area, self.least, self.least, reason, detail, box, self.card.weights_sha256
        )


def two_largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask (S, S) without all but its two largest pieces, S a multiple of COARSE.

    Pieces are told apart on a coarse grid: each cell takes the largest label of its neighbours until
    nothing changes.
    """
    whole = torch.from_numpy(mask)[None, None].float()
    cells = functional.max_pool2d(whole, COARSE)
    labels = cells * torch.arange(1, cells.numel() + 1).view_as(cells)
    before = torch.zeros_like(labels)
    while not torch.equal(labels, before):
        before, labels = labels, functional.max_pool2d(labels, 3, stride=1, padding=1) * cells
    area = functional.avg_pool2d(whole, COARSE).flatten()
    sizes = torch.zeros(cells.numel() + 1).scatter_add(0, labels.flatten().long(), area)
    keep = torch.isin(labels, sizes.topk(LUNGS).indices.float()) & (labels > 0)
    wide = functional.interpolate(keep.float(), scale_factor=COARSE, mode="nearest")
    out: NDArray[np.bool_] = mask & (wide[0, 0] > 0).numpy()
    return out


def touched(mask: NDArray[np.bool_]) -> float:
    """The largest share of any one edge of the film along which lung comes within EDGE pixels."""
    sides = (
        mask[:EDGE].any(axis=0),
        mask[-EDGE:].any(axis=0),
        mask[:, :EDGE].any(axis=1),
        mask[:, -EDGE:].any(axis=1),
    )
    return max(float(side.mean()) for side in sides)


def box_of(mask: NDArray[np.bool_]) -> Box:
    """The box round a mask (S, S) that is not empty, in fractions of the film."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    return Box(columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
