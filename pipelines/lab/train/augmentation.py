"""Other looks of the same film, for training: `none`, `basic` or `complex`.

The geometry is one batched affine resampling through MONAI's AffineTransform, the greys are batched tensor
operations with one random parameter a film: MONAI's dictionary transforms of the same names go film by
film, and took longer than the network itself.

Nothing here flips a film. A flip makes situs inversus: heart, stomach and aortic arch on the wrong side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from monai.networks.layers.spatial_transforms import AffineTransform
from torch import Generator, Tensor

CELLS = 4  # a hole of coarse dropout covers up to 1 / CELLS of the side


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far a film may be altered; every parameter is drawn evenly up to its bound, film by film."""

    rotation_deg: float = 0.0  # either way
    shift: float = 0.0  # of the side
    zoom: float = 0.0  # 0.1: from 0.9 to 1.1
    crop: float = 0.0  # up to this much of the side is cut away, anywhere
    shear_deg: float = 0.0
    squash: float = 0.0  # logarithm of the aspect ratio
    contrast: float = 0.0  # 0.1: greys round their mean times 0.9 to 1.1
    brightness: float = 0.0
    gamma: float = 0.0  # its logarithm
    noise: float = 0.0  # standard deviation
    smooth: float = 0.0  # chance of smoothing
    holes: int = 0  # coarse dropout
    hole_chance: float = 0.0

    def __call__(self, films: Tensor, generator: Generator) -> Tensor:
        """Films (B, 1, S, S) float32 in [0, 1], altered. The generator lives on the CPU."""
        if self == NONE:
            return films
        dice = Dice(len(films), generator, films.device)
        return self.regreyed(self.placed(films, dice), dice)

    def placed(self, films: Tensor, dice: Dice) -> Tensor:
        """The films turned, sheared, zoomed and moved, in one resampling; black where nothing was."""
        move = AffineTransform(
            normalized=True, align_corners=False, padding_mode="zeros", reverse_indexing=False
        )
        out: Tensor = move(films, self.matrices(dice))
        return out

    def matrices(self, dice: Dice) -> Tensor:
        """Where each pixel comes from: (B, 2, 3) with a positive determinant, so never a mirror image."""
        angle = dice.within(self.rotation_deg * math.pi / 180)
        shear = torch.tan(dice.within(self.shear_deg * math.pi / 180))
        squash = torch.exp(dice.within(self.squash) / 2)
        cut = dice.between(0, self.crop)
        side = (1 - cut) / (1 + dice.within(self.zoom))
        across, down = side * squash, side / squash
        cos, sin = angle.cos(), angle.sin()
        shift_x, shift_y = (dice.within(1.0) * cut + dice.within(2 * self.shift) for _ in range(2))
        row_x = torch.stack([cos * across, (cos * shear - sin) * down, shift_x], dim=1)
        row_y = torch.stack([sin * across, (sin * shear + cos) * down, shift_y], dim=1)
        return torch.stack([row_x, row_y], dim=1)

    def regreyed(self, films: Tensor, dice: Dice) -> Tensor:
        """The films with other grey curves, blur, noise and holes; greys rise as before."""
        x = films
        if self.contrast or self.brightness:
            mean = x.mean(dim=(1, 2, 3), keepdim=True)
            x = (x - mean) * _each(1 + dice.within(self.contrast)) + mean
            x = (x + _each(dice.within(self.brightness))).clamp(0, 1)
        if self.gamma:
            x = x.clamp(min=1e-4) ** _each(torch.exp(dice.within(self.gamma)))
        if self.smooth:
            which = dice.chance(self.smooth).bool()
            x = x.masked_scatter(_each(which), smoothed(x[which]))
        if self.noise:
            x = x + _each(dice.between(0, self.noise)) * dice.normal(*x.shape[1:])
        for _ in range(self.holes):
            x = torch.where(self._hole(x.shape[-1], dice), x.mean(dim=(1, 2, 3), keepdim=True), x)
        return x.clamp(0, 1)

    def _hole(self, size: int, dice: Dice) -> Tensor:
        """One rectangle a film, true inside, (B, 1, S, S); coarse dropout (DeVries and Taylor 2017)."""
        ramp = (torch.arange(size, device=dice.device) + 0.5) / size
        inside = []
        for _ in range(2):
            half = dice.between(0.3, 1.0) / (2 * CELLS)
            inside.append((ramp[None] - dice.between(0, 1)[:, None]).abs() < half[:, None])
        hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return hole & (_each(dice.chance(self.hole_chance)) > 0)


NONE = Augmentation()
BASIC = Augmentation(rotation_deg=7.0, shift=0.04, zoom=0.1, contrast=0.1, brightness=0.05)
COMPLEX = Augmentation(
    rotation_deg=10.0,
    shift=0.05,
    zoom=0.1,
    crop=0.2,
    shear_deg=6.0,
    squash=0.15,
    contrast=0.2,
    brightness=0.1,
    gamma=0.35,
    noise=0.04,
    smooth=0.3,
    holes=2,
    hole_chance=0.5,
)
AUGMENTATIONS: dict[str, Augmentation] = {"none": NONE, "basic": BASIC, "complex": COMPLEX}


@dataclass(frozen=True, slots=True)
class Dice:
    """Random numbers for a batch, (B,), from one generator, so that a run can be repeated."""

    size: int
    generator: Generator
    device: torch.device

    def between(self, low: float, high: float) -> Tensor:
        """Uniform in [low, high)."""
        return (torch.rand(self.size, generator=self.generator) * (high - low) + low).to(self.device)

    def within(self, bound: float) -> Tensor:
        """Uniform in [-bound, bound)."""
        return self.between(-bound, bound)

    def chance(self, p: float) -> Tensor:
        """1 with probability p, else 0."""
        return (torch.rand(self.size, generator=self.generator) < p).float().to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, (B, *shape)."""
        return torch.randn(self.size, *shape, generator=self.generator).to(self.device)


def smoothed(films: Tensor) -> Tensor:
    """Films (B, 1, H, W) after a small Gaussian: the binomial 1 2 1, both ways."""
    x = F.pad(films, (1, 1, 1, 1), mode="replicate")
    x = torch.lerp(x[..., 1:-1], (x[..., :-2] + x[..., 2:]) / 2, 0.5)
    return torch.lerp(x[..., 1:-1, :], (x[..., :-2, :] + x[..., 2:, :]) / 2, 0.5)


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]
