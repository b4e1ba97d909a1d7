"""Scores as probabilities: Platt's scaling of their log-odds, and how far off they are before and after.

A gate's table shows as many altered films as clean ones, which no hospital does: there both weigh the same,
and the probability is one at even odds. A classifier's films count as they come, at their own prevalence. The
scaling rises with the score, so thresholds on probabilities decide exactly as thresholds on scores do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar  # type: ignore[import-untyped]

from pipelines.lab.measure.areas import Value
from pipelines.lab.measure.binomial import clopper_pearson
from pipelines.lab.measure.classifier_scores import Doubles, Flags, Scores
from pipelines.lab.measure.scores import GOOD, Score

GATE_BINS = 15  # of a gate's expected calibration error, equally wide each
BINS = 10  # of a classifier's reliability diagram, equally many films each
NEAREST = 1e-7  # scores are kept this far from 0 and 1: tables have six digits
LEAST_SLOPE = 0.05  # a threshold on probabilities must decide as one on scores does


def log_odds(p: float | Doubles) -> Any:
    """log(p / (1 - p)), finite for every p in [0, 1]."""
    clipped = np.clip(p, NEAREST, 1 - NEAREST)
    return np.log(clipped) - np.log1p(-clipped)


def sigmoid(x: Any) -> Any:
    """The inverse of `log_odds`."""
    return 1 / (1 + np.exp(-x))


@dataclass(frozen=True, slots=True)
class Platt:
    """log-odds -> a * log-odds + b (Platt 1999)."""

    a: float
    b: float

    def of(self, score: float | Doubles) -> Any:
        """The calibrated probability of a score, or of scores (N,)."""
        return sigmoid(self.a * log_odds(score) + self.b)


def fit(truth: Flags, p: Doubles, weights: Doubles | None = None) -> Platt:
    """Slope and offset by maximum likelihood for truth (N,) and scores p (N,), each film of its weight (N,).

    The targets are drawn in as Platt did, by a count of one each, so that separated classes have a finite
    answer. The slope is at least LEAST_SLOPE. Raises ValueError when a class is missing.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        raise ValueError("a probability needs films with the condition and films without")
    x = log_odds(p)
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    weights = np.full(len(x), 1 / len(x)) if weights is None else weights

    def loss(ab: Doubles) -> tuple[float, Doubles]:
        z = ab[0] * x + ab[1]
        off = weights * (sigmoid(z) - target)
        value = (weights * (np.logaddexp(0, z) - target * z)).sum()
        return float(value), np.array([(off * x).sum(), off.sum()])

    bounds = [(LEAST_SLOPE, None), (None, None)]
    a, b = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return Platt(float(a), float(b))


# --- of gates, at even odds ---------------------------------------------------------------------------------


def even_odds(good: Flags) -> Doubles:
    """A weight for each picture (N,), so that all good ones together weigh as much as all faulty ones."""
    counts = np.array([max((~good).sum(), 1), max(good.sum(), 1)])
    return np.asarray(len(good) / counts[good.astype(int)] / 2)


def gate_calibration_error(good: Flags, p: Doubles, bins: int = GATE_BINS) -> float:
    """The expected calibration error of probabilities p (N,), at even odds (Naeini et al. 2015)."""
    weight = even_odds(good)
    which = np.minimum((p * bins).astype(int), bins - 1)
    expected = np.bincount(which, weight * p, bins)
    observed = np.bincount(which, weight * good, bins)
    return float(np.abs(expected - observed).sum() / weight.sum())


def calibration(rows: Sequence[Score]) -> tuple[Platt, dict[str, Any]] | None:
    """The scaling for clean and faulty pictures, and its error before and after; None without both.

    After is counted round by round with the scaling of the other rounds, where there are others.
    """
    values = np.array([row.score for row in rows], dtype=np.float64)
    good = np.array([row.wanted == GOOD for row in rows], dtype=bool)
    rounds = np.array([row.left_out for row in rows])
    if not _both(good):
        return None
    fitted = fit(good, values, even_odds(good))
    crossed = all(_both(good[rounds != round_]) for round_ in np.unique(rounds))
    after = fitted.of(values)
    if crossed:
        for round_ in np.unique(rounds):
            here = rounds == round_
            after[here] = fit(good[~here], values[~here], even_odds(good[~here])).of(values[here])
    return fitted, {
        "a": round(fitted.a, 6),
        "b": round(fitted.b, 6),
        "pictures": len(rows),
        "error before": round(gate_calibration_error(good, values), 5),
        "error after": round(gate_calibration_error(good, after), 5),
        "judged": "each round by the others" if crossed else "on the same pictures",
    }


def _both(good: Flags) -> bool:
    return bool(good.any() and not good.all())


# --- of classifiers, at the films' own prevalence -----------------------------------------------------------


def temperature(truth: Doubles, said: Doubles) -> float:
    """The slope 1/T of log-probabilities (N, L) under which the true classes are likeliest (Guo 2017)."""
    logs, true = np.log(np.maximum(said, 1e-7)), truth.argmax(axis=1)

    def loss(log_slope: float) -> float:
        return float(-np.log(softened(logs, math.exp(log_slope))[np.arange(len(true)), true] + 1e-12).mean())

    best = minimize_scalar(loss, bounds=(math.log(LEAST_SLOPE), math.log(20)), method="bounded")
    return math.exp(float(best.x))


def softened(logs: Doubles, slope: float) -> Doubles:
    """softmax(slope * logs) (N, L)."""
    scaled_logs = slope * logs
    powers = np.exp(scaled_logs - scaled_logs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_scalings(scores: Scores) -> dict[str, Platt]:
    """What the card calls calibration: of exclusive labels one slope for all, else Platt's of each label
    that has both kinds."""
    if scores.exclusive:
        return dict.fromkeys(scores.labels, Platt(temperature(scores.truth, scores.said), 0.0))
    scalings = {}
    for label in scores.labels:
        truth, p, _ = scores.known(label)
        if _both(truth):
            scalings[label] = fit(truth, p)
    return scalings


def scaled(scores: Scores, scalings: dict[str, Platt]) -> Scores:
    """The films with calibrated probabilities; a label without a scaling keeps its own."""
    if scores.exclusive and scalings:
        slope = next(iter(scalings.values())).a
        return scores.saying(softened(np.log(np.maximum(scores.said, 1e-7)), slope))
    said = scores.said.copy()
    for index, label in enumerate(scores.labels):
        if label in scalings:
            said[:, index] = scalings[label].of(said[:, index])
    return scores.saying(said)


@dataclass(frozen=True, slots=True)
class Bin:
    """Films that were given about the same probability."""

    said: float  # the mean
    was: Value  # the share that has it, exact interval
    films: int


def reliability(truth: Flags, p: Doubles, bins: int = BINS) -> list[Bin]:
    """The films in order of their probability, in `bins` parts of equal size; equal ones stay together."""
    if not len(p):
        return []
    edges = np.unique(np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1]))
    which = np.searchsorted(edges, p, side="left")
    out = []
    for one in np.unique(which):
        here = which == one
        hits, films = int(truth[here].sum()), int(here.sum())
        out.append(
            Bin(float(p[here].mean()), Value(hits / films, clopper_pearson(hits, films)), films),
        )
    return out


def calibration_error(truth: Flags, p: Doubles, bins: int = BINS) -> float:
    """The expected calibration error at the films' own prevalence, in bins of equal size."""
    parts = reliability(truth, p, bins)
    total = sum(one.films for one in parts)
    return sum(one.films * abs(one.said - one.was.value) for one in parts) / total if total else math.nan
