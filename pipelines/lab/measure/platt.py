"""Scores as probabilities: Platt's scaling of their log-odds, and how far off they are before and after.

The table of scores shows as many altered films as clean ones, which no hospital does: both weigh the same
here, and the probability is one at even odds. The scaling rises with the score, so thresholds on
probabilities would decide exactly as thresholds on scores do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]

from pipelines.lab.measure.scores import GOOD, Score

BINS = 15  # of the expected calibration error
NEAREST = 1e-7  # scores are kept this far from 0 and 1: tables have six digits

Values = NDArray[np.float64]


def log_odds(p: float | Values) -> Any:
    """log(p / (1 - p)), finite for every p in [0, 1]."""
    clipped = np.clip(p, NEAREST, 1 - NEAREST)
    return np.log(clipped) - np.log1p(-clipped)


def sigmoid(x: Any) -> Any:
    """The inverse of `log_odds`."""
    return 1 / (1 + np.exp(-x))


@dataclass(frozen=True, slots=True)
class Platt:
    """log-odds -> a * log-odds + b: the probability of "good" at even odds (Platt 1999)."""

    a: float
    b: float

    def of(self, score: float | Values) -> Any:
        """The calibrated probability of a score, or of scores (N,)."""
        return sigmoid(self.a * log_odds(score) + self.b)


def fit_platt(values: Values, good: NDArray[np.bool_]) -> Platt:
    """Two parameters by maximum likelihood, clean and faulty weighing the same; values and good (N,).

    The targets are drawn in as Platt did, by a count of one each, so that separated classes have a finite
    answer. Raises ValueError when a class is missing.
    """
    counts = np.array([(~good).sum(), good.sum()])
    if not counts.all():
        raise ValueError("a probability needs clean films and faulty ones")
    x = log_odds(values)
    target = np.where(good, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))
    weight = len(x) / counts[good.astype(int)] / 2

    def loss(ab: Values) -> tuple[float, Values]:
        z = ab[0] * x + ab[1]
        off = weight * (sigmoid(z) - target)
        value = (weight * (np.logaddexp(0, z) - target * z)).sum()
        return float(value), np.array([(off * x).sum(), off.sum()])

    a, b = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B").x
    return Platt(float(a), float(b))


def calibration_error(p: Values, good: NDArray[np.bool_], bins: int = BINS) -> float:
    """The expected calibration error of probabilities p (N,), at even odds (Naeini et al. 2015)."""
    weight = 0.5 / np.array([max((~good).sum(), 1), max(good.sum(), 1)])[good.astype(int)]
    which = np.minimum((p * bins).astype(int), bins - 1)
    said = np.bincount(which, weight * p, bins)
    was = np.bincount(which, weight * good, bins)
    return float(np.abs(said - was).sum() / weight.sum())


def calibration(rows: Sequence[Score]) -> tuple[Platt, dict[str, Any]] | None:
    """The scaling for clean and faulty pictures, and its error before and after; None without both.

    After is counted round by round with the scaling of the other rounds, where there are others.
    """
    values = np.array([row.score for row in rows], dtype=np.float64)
    good = np.array([row.wanted == GOOD for row in rows], dtype=bool)
    rounds = np.array([row.left_out for row in rows])
    if not _both(good):
        return None
    fitted = fit_platt(values, good)
    crossed = all(_both(good[rounds != round_]) for round_ in np.unique(rounds))
    after = fitted.of(values)
    if crossed:
        for round_ in np.unique(rounds):
            here = rounds == round_
            after[here] = fit_platt(values[~here], good[~here]).of(values[here])
    return fitted, {
        "a": round(fitted.a, 6),
        "b": round(fitted.b, 6),
        "pictures": len(rows),
        "error before": round(calibration_error(values, good), 5),
        "error after": round(calibration_error(after, good), 5),
        "judged": "each round by the others" if crossed else "on the same pictures",
    }


def _both(good: NDArray[np.bool_]) -> bool:
    return bool(good.any() and not good.all())
