"""How a gate for another region is trained: a recipe made from a region's manifest, not written by hand.

The films are those of a staged collection (pipelines.lab.films.region_data.stage), whose `view` is the label.

No gate knows which way up a hip is, and none puts it right. So a film of the region that is turned by a
quarter or more, or has black and white exchanged, is taught as neither yes nor no, and a person will see it.
It is boxed all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from models.graphs import GRID, REGION_OUTPUTS
from models.region_net import boxes_of, middles
from pipelines.lab.films import augment
from pipelines.lab.films.augment import Dice
from pipelines.lab.films.data import Row
from pipelines.lab.train.recipes.base import SIZE, Pool, Recipe, roughened, zooms

YES, TURNED, NO = "yes", "turned", "no"
DOUBT = 0.5  # what the label of a turned or inverted film of the region is taught as
# What the batches are made of. The films that are most like the region are other parts of the same source:
# without them the source would be the answer.
SHARE = {YES: 0.45, "no, same source": 0.27, NO: 0.28}
JUNK_SHARE = 0.04  # of all pictures are no film at all
LOOSE_SHARE = 0.3  # of the films lie in any turn: pelvis films come lying on their side
NEGATIVE_SHARE = 0.2  # of the films have black and white exchanged
SECTION_SHARE = 0.3  # of the films that are not of the region are seen in any section ...
SECTION = (1.0, 2.5)  # ... magnified so much: it makes up for few sources
SEEN = 0.5  # of a box must still be on the film after all that, or there is no object any more
CORE = 0.35  # of a box's sides: the cells in its middle learn its size
PEAK = 0.12  # standard deviation of a centre's peak, of the box's sides
SMOOTHING = 0.01  # a few labels are wrong
BOX_WEIGHT = 1.0
UNKNOWN = -1.0  # in a target: nobody said
BOX_LESS = (UNKNOWN,) * 4

Keep = Callable[[Row], bool]


def region_recipe(
    boxes: Mapping[str, tuple[tuple[float, float, float, float], ...]],
    most: int,
    keep: Keep,
    *,
    alike: frozenset[str],
    films: int = 48,
    steps: int = 320,
) -> Recipe:
    """The recipe for one region.

    `boxes` are those of each film in fractions of it, at most `most` a film; a film labelled yes that has
    none teaches the label alone. `keep` says which films may be trained on; `alike` names the sources that
    have films of the region.
    """

    def share(row: Row) -> tuple[str, float]:
        kind = YES if row.view != NO else "no, same source" if row.source in alike else NO
        return kind, SHARE[kind] if keep(row) else 0.0

    def batch(pool: Pool, dice: Dice) -> tuple[Tensor, Tensor]:
        return region_batch(pool, dice, boxes, most)

    return Recipe(
        outputs=REGION_OUTPUTS,
        network="RegionNet",
        share=share,
        batch=batch,
        loss=region_loss,
        phantoms=(),
        films=films,
        steps=steps,
    )


def region_batch(
    pool: Pool, dice: Dice, boxes: Mapping[str, tuple[tuple[float, float, float, float], ...]], most: int
) -> tuple[Tensor, Tensor]:
    """Films in any turn, polarity and section -> targets (B, 2 + 4 * most).

    A target: 1 of the region, 0 not, DOUBT of it but turned or inverted, UNKNOWN where it went out of sight;
    1 where the boxes are known; then the boxes x0, y0, x1, y1 in fractions of the film, UNKNOWN where there
    is none.
    """
    films, index = pool.draw(dice)
    rows = [pool.films.rows[i] for i in index]
    yes = torch.tensor([row.view != NO for row in rows])
    lying = torch.tensor([row.view == TURNED for row in rows])
    drawn = torch.tensor([_padded(boxes.get(row.file, ()), most) for row in rows])  # (B, most, 4)
    known = ~yes | (drawn[:, 0, 0] != UNKNOWN)
    flip, quarters = dice.chance(0.5), dice.choice(4) * dice.chance(LOOSE_SHARE)
    section = ~yes & dice.chance(SECTION_SHARE)
    zoom = torch.where(section, dice.between(*SECTION), zooms(dice))
    matrices = augment.placement(dice, zoom)
    negative = dice.chance(NEGATIVE_SHARE)
    films = augment.inverted(augment.turned(augment.flipped(films, flip), quarters), negative)
    films = augment.placed(films, matrices, augment.surround(dice), SIZE)
    moved, seen = placed_boxes(turned_boxes(drawn, flip, quarters), matrices)
    label = torch.where(lying | (quarters > 0) | negative, DOUBT, 1.0) * yes
    # A film on its side may be turned upright here, nobody said which way round it lies.
    label[(yes & known & ~seen.any(dim=1)) | (lying & (quarters % 2 == 1))] = UNKNOWN
    count = round(JUNK_SHARE * dice.size)
    films[:count] = augment.junk(films[:count], Dice(count, dice.generator), SIZE)
    label[:count], known[:count], moved[:count] = 0.0, True, UNKNOWN
    target = torch.cat([label[:, None], known[:, None].float(), moved.flatten(1)], dim=1)
    return roughened(films, pool.sheets, dice), target


def turned_boxes(boxes: Tensor, flip: Tensor, quarters: Tensor) -> Tensor:
    """Boxes (B, n, 4) of films that are mirrored where `flip` (B,) says so and then turned clockwise."""
    absent = boxes[..., :1] == UNKNOWN
    x0, y0, x1, y1 = boxes.unbind(dim=-1)
    out = torch.where(flip[:, None, None], torch.stack([1 - x1, y0, 1 - x0, y1], dim=-1), boxes)
    for k in (1, 2, 3):
        x0, y0, x1, y1 = out.unbind(dim=-1)
        once = torch.stack([1 - y1, x0, 1 - y0, x1], dim=-1)
        out = torch.where((quarters >= k)[:, None, None], once, out)
    return torch.where(absent, UNKNOWN, out)


def placed_boxes(boxes: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (B, n, 4) after augment.placed with these matrices (B, 2, 3), and which (B, n) are still seen.

    A tilted box gets the upright box round the ellipse inside of it: that round its corners grows with
    every tilt, though the object does not. What hangs over the film's edge is cut off.
    """
    back = torch.linalg.inv(matrices[:, :, :2])  # a grid says where a pixel comes from; we ask where it goes
    centre = (boxes[..., :2] + boxes[..., 2:]) - 1  # from -1 to 1 over the film, as grids are
    half = boxes[..., 2:] - boxes[..., :2]
    centre = torch.einsum("bij,bnj->bni", back, centre - matrices[:, None, :, 2])
    half = torch.einsum("bij,bnj->bni", back.square(), half.square()).clamp(min=1e-9).sqrt()
    whole = (torch.cat([centre - half, centre + half], dim=-1) + 1) / 2
    cut = whole.clamp(0, 1)
    share = _area(cut) / _area(whole).clamp(min=1e-9)
    seen = (boxes[..., 0] != UNKNOWN) & (share >= SEEN)
    return torch.where(seen[..., None], cut, UNKNOWN), seen


def region_loss(out: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of the label, focal loss of the centres and 1 - GIoU of the boxes."""
    label, known, boxes = target[:, 0], target[:, 1], target[:, 2:].reshape(len(target), -1, 4)
    said = (label != UNKNOWN).float()
    wanted = label.clamp(min=0) * (1 - 2 * SMOOTHING) + SMOOTHING
    odds = out[:, 0].mean(dim=(1, 2))
    named = F.binary_cross_entropy_with_logits(odds, wanted, reduction="none") * said
    peaks, owner = peaks_of(boxes)
    count = (boxes[..., 0] != UNKNOWN).sum().clamp(min=1)
    centred = (focal(out[:, 1], peaks).sum(dim=(1, 2)) * known).sum() / count
    core = owner >= 0  # (B, GRID, GRID)
    if not core.any():
        return named.sum() / said.sum().clamp(min=1) + centred
    per_cell = boxes.gather(1, owner.clamp(min=0).flatten(1)[..., None].expand(-1, -1, 4))  # (B, cells, 4)
    guessed = boxes_of(out[:, 2:]).flatten(2).transpose(1, 2)
    reach = 1 - giou(guessed[core.flatten(1)], per_cell[core.flatten(1)])
    return named.sum() / said.sum().clamp(min=1) + centred + BOX_WEIGHT * reach.mean()


def peaks_of(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (B, n, 4) -> the peaks (B, GRID, GRID) in [0, 1], and in whose core each cell is, else -1."""
    middle = middles().to(boxes.device)[None, None]  # (1, 1, 2, GRID, GRID)
    size = (boxes[..., 2:] - boxes[..., :2])[..., None, None]
    centre = ((boxes[..., 2:] + boxes[..., :2]) / 2)[..., None, None]
    there = (boxes[..., 0] != UNKNOWN)[..., None, None]
    cell = ((centre * GRID).floor().clamp(0, GRID - 1) + 0.5) / GRID  # the middle of the cell of the centre
    away = ((middle - cell) / (PEAK * size).clamp(min=1 / GRID / 2)).square().sum(dim=2)
    peaks = (torch.exp(-away / 2) * there).amax(dim=1)
    inside = ((middle - cell).abs() <= (CORE / 2 * size).clamp(min=0.5 / GRID)).all(dim=2) & there
    owner = torch.where(inside.any(dim=1), inside.float().argmax(dim=1), -1)
    return peaks, owner


def focal(odds: Tensor, peaks: Tensor) -> Tensor:
    """The loss of Law and Deng (2018), cell by cell: 1 in a peak, less where near to one, 0 elsewhere."""
    sure, unsure = F.logsigmoid(odds), F.logsigmoid(-odds)
    p = odds.sigmoid()
    at_peak = peaks > 0.999
    return torch.where(at_peak, -((1 - p) ** 2) * sure, -((1 - peaks) ** 4) * p**2 * unsure)


def giou(one: Tensor, other: Tensor) -> Tensor:
    """Generalised intersection over union (Rezatofighi et al. 2019) of boxes (N, 4)."""
    low, high = torch.maximum(one[:, :2], other[:, :2]), torch.minimum(one[:, 2:], other[:, 2:])
    both = (high - low).clamp(min=0).prod(dim=1)
    either = _area(one) + _area(other) - both
    round_ = torch.cat(
        [torch.minimum(one[:, :2], other[:, :2]), torch.maximum(one[:, 2:], other[:, 2:])], dim=1
    )
    around = _area(round_).clamp(min=1e-9)
    return both / either.clamp(min=1e-9) - (around - either) / around


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def _padded(
    boxes: tuple[tuple[float, float, float, float], ...], most: int
) -> list[tuple[float, float, float, float]]:
    return [*boxes, *[BOX_LESS] * (most - len(boxes))]
