"""How the gates for rotation, polarity and mirroring are trained, on frontal chests.

Each network compares a film with its own turns, negative or mirror image, so one film is every class at
once and each loss is a comparison within the film.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.graphs import TILT_UNIT
from pipelines.lab.films import augment
from pipelines.lab.films.augment import Dice
from pipelines.lab.train.recipes.base import SIZE, Pool, Recipe, frontal_share, posed, roughened, zooms

SLOUCH_DEG = 15.0  # up to here a film counts as upright ...
TURN_DEG = 45.0  # ... and here it is as much turned as upright
STRESS_SHARE = 0.25  # of the films lie so askew that the question has no sure answer
TILT_WEIGHT = 0.2  # of the tilt's error in the rotation gate's loss
SMOOTHING = 0.01  # a few films are themselves wrong; do not let the network stake everything on one


def rotation_batch(pool: Pool, dice: Dice) -> tuple[Tensor, Tensor]:
    """Films of any turn, tilt, polarity and handedness -> shares of the four turns, and tilt, (B, 6).

    The last two: the tilt in degrees clockwise, and which quarter turn it is added to.
    """
    films, _ = pool.draw(dice)
    films = augment.inverted(augment.flipped(films, dice.chance(0.5)), dice.chance(0.3))
    askew = dice.chance(STRESS_SHARE)
    tilt = torch.where(askew, dice.between(-TURN_DEG, TURN_DEG), dice.between(-SLOUCH_DEG, SLOUCH_DEG))
    zoom = torch.where(dice.chance(0.5), zooms(dice) + 0.8 * tilt.abs() / TURN_DEG, zooms(dice))
    matrices = augment.placement(dice, zoom, tilt=tilt)
    quarters = dice.choice(4)
    films = augment.turned(augment.placed(films, matrices, augment.surround(dice), SIZE), quarters)
    return roughened(films, pool.sheets, dice), torch.cat([turn_shares(quarters, tilt), tilt[:, None]], dim=1)


def turn_shares(quarters: Tensor, tilt: Tensor) -> Tensor:
    """Quarter turns (B,) and tilts (B,) in degrees clockwise -> (B, 5): shares of the turns; the turn."""
    beyond = ((tilt.abs() - SLOUCH_DEG) / (TURN_DEG - SLOUCH_DEG)).clamp(0, 1) / 2
    here = F.one_hot(quarters, 4) * (1 - beyond)[:, None]
    there = F.one_hot((quarters + tilt.sign().long()) % 4, 4) * beyond[:, None]
    return torch.cat([here + there, quarters[:, None].float()], dim=1)


def rotation_loss(out: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of the turn, and the tilt's absolute error where the film is near upright."""
    shares, turn, tilt = target[:, :4], target[:, 4].long(), target[:, 5]
    named = F.cross_entropy(out[:, :4], shares * (1 - SMOOTHING) + SMOOTHING / 4)
    tilts = out[:, 4:].gather(1, turn[:, None])[:, 0]
    small = (tilt.abs() <= SLOUCH_DEG).float()
    off = ((tilts - tilt / TILT_UNIT).abs() * small).sum() / small.sum().clamp(min=1)
    return named + TILT_WEIGHT * off


def inversion_batch(pool: Pool, dice: Dice) -> tuple[Tensor, Tensor]:
    """Films in four turns -> 1 where black and white are exchanged (B,)."""
    films, _ = pool.draw(dice)
    wrong = dice.chance(0.5)
    films = augment.turned(augment.flipped(films, dice.chance(0.5)), dice.choice(4))
    return roughened(posed(augment.inverted(films, wrong), dice), pool.sheets, dice), wrong.float()


def mirror_batch(pool: Pool, dice: Dice) -> tuple[Tensor, Tensor]:
    """Upright films of right polarity, half of them mirrored -> 1 where mirrored (B,)."""
    films, _ = pool.draw(dice)
    wrong = dice.chance(0.5)
    return roughened(posed(augment.flipped(films, wrong), dice), pool.sheets, dice), wrong.float()


def yes_or_no(out: Tensor, target: Tensor) -> Tensor:
    """Cross entropy for one logit (B, 1)."""
    return F.binary_cross_entropy_with_logits(out[:, 0], target * (1 - SMOOTHING) + SMOOTHING / 2)


ROTATION = Recipe(
    outputs=("0", "90", "180", "270", "tilt at 0", "tilt at 90", "tilt at 180", "tilt at 270"),
    network="Turns",
    share=frontal_share,
    batch=rotation_batch,
    loss=rotation_loss,
    phantoms=("frontal",),
    films=32,
    steps=900,
)
INVERSION = Recipe(
    outputs=("inverted",),
    network="Polarity",
    share=frontal_share,
    batch=inversion_batch,
    loss=yes_or_no,
    phantoms=("frontal",),
    films=48,
    steps=700,
)
MIRROR = Recipe(
    outputs=("mirrored",),
    network="Antisymmetric",
    share=frontal_share,
    batch=mirror_batch,
    loss=yes_or_no,
    phantoms=("frontal",),
    films=56,
    steps=2000,
)
