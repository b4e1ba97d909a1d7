"""How the one question of the exposure gate that no computed rule answers is trained: several films in one?

A seam between two films is often invisible: both end in dark air, or in shoulders of the same grey. What
gives them away is that there are two of everything, so the network is shown composites of any two films of
the pool, in any arrangement, and single films of any kind, posed and roughened alike. It looks at half the
resolution of the other gates: two of everything can be seen from afar.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models import augment
from models.augment import Dice
from models.data import Row
from models.recipes.base import SIZE, Pool, Recipe, roughened, zooms
from models.recipes.frontal import yes_or_no

HALF = SIZE // 2  # px
CLOSEST = 1.05  # magnification of composites: a closer look may show one of the films alone
GAP = 0.08  # of the picture, the widest between two films; half of the composites have none
SMALLEST = 0.6  # of the larger film's side, the smaller one
TRIM = 0.12  # cut from each film's sides before they are joined
SPLIT = (0.4, 0.6)  # where the seam lies
SHARES = {"frontal": 0.6, "lateral": 0.15, "not_chest": 0.25}


def single_share(row: Row) -> tuple[str, float]:
    """All films but those that hold several exposures already."""
    return row.view, 0.0 if "multi-panel" in row.note else SHARES[row.view]


def exposure_batch(pool: Pool, dice: Dice) -> tuple[Tensor, Tensor]:
    """Single films and composites in any turn and polarity -> 1 where there are several (B,).

    They are made at the resolution at which they are seen, and doubled for the common input chain.
    """
    first, second = (_any_way(_small(pool.draw(dice)[0]), dice) for _ in range(2))
    several = dice.chance(0.5)
    films = torch.where(several[:, None, None], paired(first, second, dice), first)
    films = augment.inverted(augment.turned(films, dice.choice(4)), dice.chance(0.2))
    zoom = zooms(dice)
    zoom = torch.where(several, zoom.clamp(max=CLOSEST), zoom)
    films = augment.placed(films, augment.placement(dice, zoom), augment.surround(dice), HALF)
    films = roughened(films, pool.sheets[:, ::2, ::2], dice)
    return films.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2), several.float()


def paired(films: Tensor, others: Tensor, dice: Dice) -> Tensor:
    """Two films (B, S, S) side by side in one picture (B, S, S), with or without a gap, at any scale.

    Both are averaged over two columns first, as any reduction to half the width would do.
    """
    seam = dice.between(*SPLIT)
    gap = dice.between(0, GAP) * dice.chance(0.5)
    shrunk = torch.where(dice.chance(0.4), dice.between(SMALLEST, 1), torch.ones(dice.size))
    which = dice.chance(0.5)  # of the two is the smaller one
    left = _part(films, dice, torch.zeros(dice.size), seam - gap / 2, torch.where(which, shrunk, 1.0))
    right = _part(others, dice, seam + gap / 2, torch.ones(dice.size), torch.where(which, 1.0, shrunk))
    level = augment.surround(dice)[:, None, None]
    out = torch.where(torch.isnan(left), right, left)
    return torch.where(torch.isnan(out), level, out)


def _part(films: Tensor, dice: Dice, start: Tensor, end: Tensor, height: Tensor) -> Tensor:
    """Films between the columns `start` and `end` (B,) of the picture, `height` of it high; NaN elsewhere."""
    size = films.shape[-1]
    line = (torch.arange(size) + 0.5)[None] / size
    drop = dice.between(0, 1) * (1 - height)
    x = (line - start[:, None]) / (end - start)[:, None]  # 0 to 1 across the film, (B, S)
    y = (line - drop[:, None]) / height[:, None]
    inside = ((x > 0) & (x < 1))[:, None, :] & ((y > 0) & (y < 1))[:, :, None]
    cut = [dice.between(0, TRIM) * dice.chance(0.5) for _ in range(2)]
    x = cut[0][:, None] + x * (1 - cut[0] - cut[1])[:, None]
    x, y = (x * 2 - 1)[:, None, :].expand(-1, size, -1), (y * 2 - 1)[:, :, None].expand(-1, -1, size)
    narrow = F.avg_pool2d(films[:, None], (1, 2))
    grid = torch.stack([x, y], dim=-1)
    out = F.grid_sample(narrow, grid, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]
    return torch.where(inside, out, torch.nan)


def _small(films: Tensor) -> Tensor:
    """Films (B, HALF, HALF), averaged over whole pixels of the cache."""
    return F.avg_pool2d(films, films.shape[-1] // HALF)


def _any_way(films: Tensor, dice: Dice) -> Tensor:
    """Mirrored or not, in a window of its own, and now and then turned or inverted against its neighbour."""
    films = augment.flipped(films, dice.chance(0.5))
    slope = dice.between(0.6, 1) * torch.where(dice.chance(0.05), -1.0, 1.0)
    level = dice.between(0, 1) * (1 - slope.abs()) + torch.where(slope < 0, -slope, 0.0)
    films = films * slope[:, None, None] + level[:, None, None]
    return augment.turned(films, dice.choice(4) * dice.chance(0.15))


EXPOSURE = Recipe(
    outputs=("several films",),
    network="Coarse",
    share=single_share,
    batch=exposure_batch,
    loss=yes_or_no,
    phantoms=("frontal", "lateral", "hand"),
    films=48,
    steps=1400,
)
