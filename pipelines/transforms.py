"""The MONAI chains that turn a film into what the networks see; training and inference share them.

A film is *squashed* to a square, not padded to one. Padding bars turn with the film and tell a network
the answer for nothing; a third of the children's films were squashed before we got them; and a phone
photograph or a strip detector has another aspect ratio than the sites we trained on. So aspect ratio is
no cue here, for any class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.lean_monai import Compose, Resize, Transform, get_track_meta, set_track_meta

See = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # (H, W) -> (1, GATE_PX, GATE_PX)

GATE_PX = 128  # side of the square that every gate sees
LOWEST, HIGHEST = 0.005, 0.995  # percentiles that become black and white; outside lie markers and dead pixels
LEAST_RANGE = 0.02  # a film flatter than this is not stretched further: noise must stay noise


class Cleaned(Transform):
    """Replaces NaN and infinities and clips to [0, 1]: neither may ever reach a network."""

    def __call__(self, greys: Tensor) -> Tensor:
        darkest, brightest = greys.aminmax()  # NaN if one pixel is
        if darkest >= 0 and brightest <= 1:
            return greys
        return torch.nan_to_num(greys, nan=0.0, posinf=1.0, neginf=0.0).clamp_(0.0, 1.0)


class Spread(Transform):
    """Stretches each film linearly between two percentiles; the slope is positive, so polarity survives."""

    def __call__(self, greys: Tensor) -> Tensor:
        sample = greys[..., ::2, ::2].flatten(-2)  # every fourth pixel: the percentiles hardly move
        low, high = (_quantile(sample, share)[..., None, None] for share in (LOWEST, HIGHEST))
        width = (high - low).clamp(min=LEAST_RANGE)
        return (greys - low).div_(width).clamp_(0.0, 1.0)


def _quantile(values: Tensor, share: float) -> Tensor:
    """`torch.quantile(values, share, dim=-1)`, without putting all values in order."""
    place = torch.tensor(share, dtype=values.dtype) * (values.shape[-1] - 1)
    below, last = int(place), values.shape[-1] - 1
    ends = [below, min(below + 1, last)]
    around = torch.from_numpy(np.partition(values.numpy(), ends)[..., ends])
    return torch.lerp(around[..., 0], around[..., 1], place - below)


@cache
def gate_chain(size: int = GATE_PX) -> Compose:
    """The chain for one film (1, H, W) or, films taken as channels, for a batch (B, H, W)."""
    return Compose([Cleaned(), Resize((size, size), mode="area"), Spread()])


def gate_input(pixels: NDArray[np.float32], size: int = GATE_PX) -> NDArray[np.float32]:
    """One film (H, W) in [0, 1], as displayed -> (1, size, size) float32 in [0, 1]."""
    greys = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))
    seen: NDArray[np.float32] = as_batch(greys[None], size).numpy()
    return seen


def as_batch(greys: Tensor, size: int = GATE_PX) -> Tensor:
    """Films of one size (B, H, W) in [0, 1] -> (B, size, size) float32 in [0, 1], each treated alone."""
    with _without_metadata():
        for step in gate_chain(size).transforms:  # Compose's bookkeeping takes as long as a step
            greys = step(greys)
    return greys


@contextmanager
def _without_metadata() -> Iterator[None]:
    """MONAI's transforms give plain tensors: a film has no affine matrix to keep, and one kept at each step
    takes as much time as the step itself."""
    tracked = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(tracked)
