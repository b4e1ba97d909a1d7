"""How the lung network is trained, on films with a lung mask."""

from __future__ import annotations

import torch
from monai.losses.dice import DiceCELoss
from torch import Tensor

from pipelines.lab.films import augment
from pipelines.lab.films.augment import Dice
from pipelines.lab.films.data import Row
from pipelines.lab.train.recipes.base import SIZE, Pool, Recipe, roughened, zooms

TILT_DEG = 10.0  # degrees: it sees films after they are turned upright


def masked_share(row: Row) -> tuple[str, float]:
    """Films with a lung mask."""
    return row.view, float(bool(row.mask))


def lungs_batch(pool: Pool, dice: Dice) -> tuple[Tensor, Tensor]:
    """Upright films of right polarity -> their lung masks (B, SIZE, SIZE)."""
    films, index = pool.draw(dice)
    masks = torch.from_numpy(pool.films.masks[index]).float() / 255
    flip = dice.chance(0.5)  # a mirrored film has lungs too
    films, masks = augment.flipped(films, flip), augment.flipped(masks, flip)
    films, masks = augment.with_room(films, masks, dice)
    pose = augment.placement(dice, zooms(dice), TILT_DEG)
    films = augment.placed(films, pose, augment.surround(dice), SIZE)
    masks = augment.placed(masks, pose, torch.zeros(dice.size), SIZE)
    return roughened(films, pool.sheets, dice), (masks > 0.5).float()


def overlap(out: Tensor, target: Tensor) -> Tensor:
    """Dice and cross entropy together; logits (B, 1, S, S), target (B, S, S)."""
    loss: Tensor = DiceCELoss(sigmoid=True)(out, target[:, None])
    return loss


LUNGS = Recipe(
    outputs=("lung",),
    network="lung_net",
    share=masked_share,
    batch=lungs_batch,
    loss=overlap,
    phantoms=(),
    films=48,
    steps=1200,
)
