"""What a classifier sees: the one function that training and inference share.

A film is squashed to a square and its greys are spread between two percentiles, film by film, so that
neither exposure nor bit depth nor the format of the sheet tells a network where a film was made.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

LOWEST, HIGHEST = 0.005, 0.995  # percentiles that become black and white; outside lie markers, dead pixels
LEAST_RANGE = 0.02  # a film flatter than this is not stretched further: noise must stay noise


def prepared(greys: NDArray[np.uint8] | NDArray[np.float32] | Tensor, px: int) -> Tensor:
    """Films (B, H, W), uint8 or float in [0, 1], as displayed -> (B, 1, px, px) float32 in [0, 1].

    NaN becomes black: it must not reach a network.
    """
    films = greys if isinstance(greys, Tensor) else torch.from_numpy(np.ascontiguousarray(greys))
    x = films.float() / 255 if films.dtype == torch.uint8 else films.float()
    x = torch.nan_to_num(x, nan=0.0, posinf=1.0, neginf=0.0).clamp(0.0, 1.0)[:, None]
    return spread(squared(x, px))


def squared(films: Tensor, px: int) -> Tensor:
    """Films (B, 1, H, W) squashed to (B, 1, px, px): area averaged when made smaller, else interpolated."""
    height, width = films.shape[-2:]
    if (height, width) == (px, px):
        return films
    if min(height, width) >= px:
        return F.interpolate(films, size=(px, px), mode="area")
    return F.interpolate(films, size=(px, px), mode="bilinear", antialias=True)


def spread(films: Tensor) -> Tensor:
    """Films (B, 1, H, W) stretched linearly, each between its own two percentiles, and clipped to [0, 1]."""
    sample = films[..., ::2, ::2].flatten(1)  # every fourth pixel: the percentiles hardly move
    count = sample.shape[1]
    low, high = (
        sample.kthvalue(round(share * (count - 1)) + 1).values[:, None, None, None]
        for share in (LOWEST, HIGHEST)
    )
    out: Tensor = ((films - low) / (high - low).clamp(min=LEAST_RANGE)).clamp(0.0, 1.0)
    return out
