"""What all recipes share: how a gate's training is described, how films are drawn, posed and roughened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.lab.films import augment
from pipelines.lab.films.augment import Dice
from pipelines.lab.films.data import Films, Row

SIZE = 128  # px, pipelines.transforms.GATE_PX
ZOOM = (0.85, 1.25)  # magnification: sites collimate more or less closely
FAR_SHARE = 0.08  # of the films are shown small in a border, as a wrong crop or a photograph shows them
# How much the sites count inside a kind; others 1. Adults count for more than children.
SITE_WEIGHT = {"nih": 1.0, "web": 0.9, "kermany": 0.45, "phantom": 0.2}


@dataclass(frozen=True, slots=True)
class Pool:
    """The films to draw from, and with what probability."""

    films: Films
    chances: Tensor  # (N,)
    sheets: Tensor  # marker sheets

    def draw(self, dice: Dice) -> tuple[Tensor, NDArray[np.int64]]:
        """Random films (B, CACHE_PX, CACHE_PX) in [0, 1] and their indices."""
        index = torch.multinomial(self.chances, dice.size, replacement=True, generator=dice.generator).numpy()
        return torch.from_numpy(self.films.greys[index]).float() / 255, index


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one gate is trained."""

    outputs: tuple[str, ...]  # the names of the network's outputs
    network: str  # a key of nets.KINDS
    share: Callable[[Row], tuple[str, float]]  # a film's kind and how often that kind is drawn; 0: never
    batch: Callable[[Pool, Dice], tuple[Tensor, Tensor]]  # -> films (B, SIZE, SIZE) and what they are
    loss: Callable[[Tensor, Tensor], Tensor]
    phantoms: tuple[str, ...]
    films: int  # a step
    steps: int


def pool_of(films: Films, recipe: Recipe, generator: torch.Generator) -> Pool:
    """Balances: each kind gets its share; inside a kind each site counts by the square root of its films."""
    keys = [(recipe.share(row)[0], row.site) for row in films.rows]
    counts = Counter(keys)
    kinds: dict[str, float] = {}
    for (kind, site), count in counts.items():
        kinds[kind] = kinds.get(kind, 0.0) + SITE_WEIGHT.get(site, 1.0) * count**0.5
    chances = [
        recipe.share(row)[1] * SITE_WEIGHT.get(row.site, 1.0) * counts[key] ** -0.5 / kinds[key[0]]
        for row, key in zip(films.rows, keys, strict=True)
    ]
    return Pool(films, torch.tensor(chances, dtype=torch.float64), augment.marker_sheets(SIZE, generator))


def frontal_share(row: Row) -> tuple[str, float]:
    """Frontal chests only."""
    return row.view, float(row.view == "frontal")


def zooms(dice: Dice) -> Tensor:
    """Magnifications (B,): mostly near 1, now and then a film small in a border."""
    near = torch.exp(dice.between(np.log(ZOOM[0]), np.log(ZOOM[1])))
    return torch.where(dice.chance(FAR_SHARE), dice.between(0.3, ZOOM[0]), near)


def posed(films: Tensor, dice: Dice) -> Tensor:
    """Films tilted, shifted, squashed and zoomed at random, (B, SIZE, SIZE)."""
    return augment.placed(films, augment.placement(dice, zooms(dice)), augment.surround(dice), SIZE)


def roughened(films: Tensor, sheets: Tensor, dice: Dice) -> Tensor:
    """What happens to any film on its way: grey curves, erased and pasted markers, bars, blur, noise."""
    films = augment.toned(films, dice)
    films = augment.erased(films, dice)
    films = augment.marked(films, sheets, dice)
    films = augment.bordered(films, dice)
    return augment.degraded(films, dice)
