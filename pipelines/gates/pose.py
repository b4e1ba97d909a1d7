"""What the gates' networks look at: one small picture of a film, and the same film put upright.

Five gates ask for the same picture and four for the same pose, so both are worked out once a film. A pose
is a guess; whether it is sure is the business of the rotation and inversion gates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.asking import Ask, probability
from models.graphs import TILT_UNIT
from pipelines.transforms import gate_input

MOST_ODDS = 8.0  # beyond, an answer is not surer, only louder

Picture = NDArray[np.float32]  # (1, 1, S, S) in [0, 1]


@dataclass(frozen=True, slots=True)
class Pose:
    """How a film lies."""

    shares: tuple[float, float, float, float]  # probability of 0, 1, 2, 3 quarter turns clockwise
    tilt_deg: float  # clockwise, once the likeliest turn is taken back
    right: float  # probability that black and white are not exchanged
    turn_odds: float  # log-odds of the likeliest turn, at most MOST_ODDS
    polarity_odds: float  # log-odds of the likelier polarity, at most MOST_ODDS
    upright: Picture  # turned back and of right polarity as far as one can tell

    @property
    def turn(self) -> int:
        """The likeliest number of quarter turns clockwise."""
        return max(range(4), key=self.shares.__getitem__)

    @property
    def mirrored(self) -> Picture:
        """The upright film flipped left to right."""
        return self.upright[..., ::-1]


class Eyes:
    """Looks at one film after another and remembers the last; films are frozen, so the same array is the
    same film. What it returns is shared and must not be written to."""

    def __init__(self, rotation: Ask | None = None, inversion: Ask | None = None) -> None:
        self._rotation, self._inversion = rotation, inversion
        self._seen: tuple[NDArray[np.float32], Picture] | None = None
        self._posed: tuple[NDArray[np.float32], Pose] | None = None

    def see(self, pixels: NDArray[np.float32]) -> Picture:
        """The film as the networks take it."""
        seen = self._seen
        if seen is None or seen[0] is not pixels:
            seen = self._seen = (pixels, gate_input(pixels)[None])
        return seen[1]

    def pose(self, pixels: NDArray[np.float32]) -> Pose:
        """How the film lies. Call it only when both networks were given."""
        last = self._posed
        if last is None or last[0] is not pixels:
            if self._rotation is None or self._inversion is None:
                raise TypeError("these eyes were given no networks to tell a pose with")
            last = self._posed = (pixels, posed(self.see(pixels), self._rotation, self._inversion))
        return last[1]


def posed(x: Picture, rotation: Ask, inversion: Ask) -> Pose:
    """The pose of one film, from the answers of the networks Turns and Polarity."""
    outputs = [float(value) for value in rotation(x)[0]]
    odds, tilts = outputs[:4], outputs[4:]
    shares = shares_of(odds)
    turn = max(range(4), key=odds.__getitem__)
    others = sum(math.exp(value - odds[turn]) for k, value in enumerate(odds) if k != turn)
    turn_odds = min(-math.log(others), MOST_ODDS) if others else MOST_ODDS
    inverted = float(inversion(x)[0, 0])
    upright = np.ascontiguousarray(np.rot90(x, turn, (-2, -1)))
    return Pose(
        shares,
        tilts[turn] * TILT_UNIT,
        probability(-min(max(inverted, -MOST_ODDS), MOST_ODDS)),
        turn_odds,
        min(abs(inverted), MOST_ODDS),
        1 - upright if inverted > 0 else upright,
    )


def shares_of(odds: Sequence[float]) -> tuple[float, float, float, float]:
    """The log-odds of the four turns, up to a constant, as probabilities (softmax)."""
    most = max(odds)
    weights = [math.exp(value - most) for value in odds]
    first, second, third, fourth = (weight / sum(weights) for weight in weights)
    return first, second, third, fourth
