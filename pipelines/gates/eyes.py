"""What the gates' networks look at: one small picture of a film, and the same film put upright.

Five gates ask for the same picture and four for the same pose, so both are worked out once a film. A pose
is a guess; whether it is sure is the business of the rotation and inversion gates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.nets import Turns
from pipelines.transforms import SeenOnce

MOST_ODDS = 8.0  # beyond, an answer is not surer, only louder


@dataclass(frozen=True, slots=True)
class Pose:
    """How a film lies."""

    shares: tuple[float, float, float, float]  # probability of 0, 1, 2, 3 quarter turns clockwise
    tilt_deg: float  # clockwise, once the likeliest turn is taken back
    right: float  # probability that black and white are not exchanged
    turn_odds: float  # log-odds of the likeliest turn, at most MOST_ODDS
    polarity_odds: float  # log-odds of the likelier polarity, at most MOST_ODDS
    upright: Tensor  # (1, 1, S, S), turned back and of right polarity as far as one can tell

    @property
    def turn(self) -> int:
        """The likeliest number of quarter turns clockwise."""
        return max(range(4), key=self.shares.__getitem__)


class Eyes:
    """Looks at one film after another and remembers the last; films are frozen, so the same array is the
    same film. What it returns is shared and must not be written to."""

    def __init__(self, rotation: nn.Module | None = None, inversion: nn.Module | None = None) -> None:
        self._see = SeenOnce()
        self._rotation, self._inversion = rotation, inversion
        self._last: tuple[NDArray[np.float32], Pose] | None = None

    def see(self, pixels: NDArray[np.float32]) -> Tensor:
        """The film as the networks take it, (1, 1, S, S)."""
        return self._see(pixels)[None]

    def pose(self, pixels: NDArray[np.float32]) -> Pose:
        """How the film lies. Call it only when both networks were given."""
        last = self._last
        if last is None or last[0] is not pixels:
            last = self._last = (pixels, self._posed(self.see(pixels)))
        return last[1]

    def _posed(self, x: Tensor) -> Pose:
        if self._rotation is None or self._inversion is None:
            raise TypeError("these eyes were given no networks to tell a pose with")
        return posed(x, self._rotation, self._inversion)


def posed(x: Tensor, rotation: nn.Module, inversion: nn.Module) -> Pose:
    """The pose of one film (1, 1, S, S), from the outputs of the networks Turns and Polarity."""
    with torch.inference_mode():
        out = rotation(x)[0]
        first, second, third, fourth = torch.softmax(out[:4], dim=0).tolist()
        shares = (first, second, third, fourth)
        turn = max(range(4), key=shares.__getitem__)
        tilt = float(out[4 + turn]) * Turns.TILT_UNIT
        inverted = float(inversion(x)[0, 0])
        right = 1 / (1 + math.exp(min(max(inverted, -MOST_ODDS), MOST_ODDS)))
        upright = x.rot90(turn, (-2, -1))
        upright = 1 - upright if inverted > 0 else upright
        others = out[:4][torch.arange(4) != turn]
        turn_odds = min(float(out[turn] - torch.logsumexp(others, dim=0)), MOST_ODDS)
        return Pose(shares, tilt, right, turn_odds, min(abs(inverted), MOST_ODDS), upright)
