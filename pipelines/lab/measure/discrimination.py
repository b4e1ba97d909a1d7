"""How well a classifier tells films apart, and how sure that is: areas, calibration, confusion, learning.

Intervals come from drawing the *patients* again with replacement: films of one patient are not independent,
and with each draw all of them come or stay away together. A draw is a weight for each film, so that one
sorting of the films serves all draws.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar  # type: ignore[import-untyped]

from pipelines.lab.measure.binomial import clopper_pearson
from pipelines.lab.measure.classifier_scores import Doubles, Flags, Scores, Texts
from pipelines.lab.measure.platt import log_odds, sigmoid

DRAWS = 1000  # of patients with replacement
SEED = 7
AT_ONCE = 4_000_000  # weights that are held in memory together
LEAST_IN_MACRO = 40  # films with a condition, for it to count in the macro-average
BINS = 10  # of the reliability diagram, equally many films each
LEAST_SLOPE = 0.05  # of Platt's scaling: a threshold on probabilities must decide as one on scores does
NORMAL = ("normal", "no finding")  # the labels that name no disease

Interval = tuple[float, float]  # 95 %
NOWHERE: Interval = (math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Value:
    """A number with its interval; nan where there is nothing to measure it on."""

    value: float
    interval: Interval = NOWHERE


@dataclass(frozen=True, slots=True)
class Area:
    """How well the films with a condition are told from those without."""

    label: str
    positives: int
    negatives: int
    patients: int
    auc: Value
    precision: Value  # average precision; chance gives the share of positives
    folds: tuple[float, ...] = ()  # AUC within each fold that has both kinds

    @property
    def prevalence(self) -> float:
        """What average precision is by chance."""
        return self.positives / max(self.positives + self.negatives, 1)

    @property
    def by_fold(self) -> float:
        """The mean of the folds; nan without any. Scores of different networks are not compared in it."""
        return float(np.mean(self.folds)) if self.folds else math.nan


@dataclass(frozen=True, slots=True)
class Areas:
    """The areas of all labels, and their mean over those with enough films."""

    areas: tuple[Area, ...]
    macro: Value
    averaged: tuple[str, ...]  # the labels in it
    by_fold: float  # the mean of the same labels' means by fold

    def of(self, label: str) -> Area:
        return next(area for area in self.areas if area.label == label)


# --- draws --------------------------------------------------------------------------------------------------


class Draws:
    """Patients drawn again with replacement: how often each film counts in each draw."""

    def __init__(self, patients: Texts, draws: int = DRAWS, seed: int = SEED) -> None:
        names, self._of = np.unique(patients, return_inverse=True)
        chance = np.full(len(names), 1 / max(len(names), 1))
        self._counts = np.random.default_rng(seed).multinomial(len(names), chance, size=draws)
        self.draws, self.patients = draws, len(names)

    def weights(self, which: Flags | NDArray[np.intp], of: slice = slice(None)) -> Doubles:
        """(draws, n) for the films `which`."""
        return self._counts[of][:, self._of[which]].astype(np.float64)

    def each(self, which: Flags, measure: Callable[[Doubles], Doubles]) -> Doubles:
        """`measure` of the weights (some, n) of the films `which` (N,), for all draws: (draws,)."""
        index = np.flatnonzero(which)
        step = max(1, AT_ONCE // max(len(index), 1))
        parts = [
            measure(self.weights(index, slice(start, start + step))) for start in range(0, self.draws, step)
        ]
        return np.concatenate(parts)


def interval_of(values: Doubles) -> Interval:
    """The central 95 % of draws; draws that had nothing to measure (nan) are left out."""
    values = values[np.isfinite(values)]
    if not len(values):
        return NOWHERE
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


# --- areas --------------------------------------------------------------------------------------------------


def auc(truth: Flags, p: Doubles) -> float:
    """The chance that a film with it scores higher than one without, ties counted half; nan without both."""
    return float(aucs(truth, p, np.ones((1, len(p))))[0])


def aucs(truth: Flags, p: Doubles, weights: Doubles) -> Doubles:
    """The same for each row of weights (R, n): (R,)."""
    if not len(p):
        return np.full(len(weights), math.nan)
    order, starts = _levels(p)
    low = np.add.reduceat(weights[:, order] * ~truth[order], starts, axis=1)
    high = np.add.reduceat(weights[:, order] * truth[order], starts, axis=1)
    pairs = (high * (low.cumsum(axis=1) - low / 2)).sum(axis=1)
    return _ratio(pairs, low.sum(axis=1) * high.sum(axis=1))


def average_precision(truth: Flags, p: Doubles) -> float:
    """The precision at each probability, weighted by the recall gained there; nan without positives."""
    return float(average_precisions(truth, p, np.ones((1, len(p))))[0])


def average_precisions(truth: Flags, p: Doubles, weights: Doubles) -> Doubles:
    """The same for each row of weights (R, n): (R,)."""
    if not len(p):
        return np.full(len(weights), math.nan)
    order, starts = _levels(-p)
    high = np.add.reduceat(weights[:, order] * truth[order], starts, axis=1)
    called = np.add.reduceat(weights[:, order], starts, axis=1).cumsum(axis=1)
    precision = np.divide(high.cumsum(axis=1), called, out=np.zeros_like(high), where=called > 0)
    return _ratio((high * precision).sum(axis=1), high.sum(axis=1))


def areas(scores: Scores, least: int = LEAST_IN_MACRO, draws: int = DRAWS) -> Areas:
    """The areas of every label over these films, pooled; the macro-average over labels with `least` films.

    Where labels are each by themselves, that nothing was found is no condition and is not averaged.
    """
    drawn = Draws(scores.patients, draws)
    found, replicates = [], {}
    for label in scores.labels:
        one, aucs_ = _area(scores, label, drawn)
        found.append(one)
        replicates[label] = aucs_
    normal = None if scores.exclusive else normal_of(scores.labels)
    counted = [one for one in found if one.positives >= least and one.negatives and one.label != normal]
    if not counted:
        return Areas(tuple(found), Value(math.nan), (), math.nan)
    value = float(np.mean([one.auc.value for one in counted]))
    means = np.mean([replicates[one.label] for one in counted], axis=0)
    by_fold = float(np.mean([one.by_fold for one in counted]))
    return Areas(tuple(found), Value(value, interval_of(means)), tuple(one.label for one in counted), by_fold)


def _area(scores: Scores, label: str, drawn: Draws) -> tuple[Area, Doubles]:
    truth, p, which = scores.known(label)
    values = drawn.each(which, lambda weights: aucs(truth, p, weights))
    precisions = drawn.each(which, lambda weights: average_precisions(truth, p, weights))
    patients = scores.patients[which]
    one = Area(
        label,
        int(truth.sum()),
        int((~truth).sum()),
        len(set(patients)),
        Value(auc(truth, p), careful(interval_of(values), truth, patients)),
        Value(average_precision(truth, p), interval_of(precisions)),
        tuple(by_fold(truth, p, scores.folds[which])),
    )
    return one, values


def careful(interval: Interval, truth: Flags, patients: Texts) -> Interval:
    """Where both kinds hardly overlap every draw gives nearly 1, which promises too much: the lower end is
    at most the exact one for no patient out of place among those of the rarer kind."""
    rarer = min(len(set(patients[truth])), len(set(patients[~truth])))
    if not rarer or math.isnan(interval[0]):
        return interval
    return min(interval[0], clopper_pearson(rarer, rarer)[0]), interval[1]


def by_fold(truth: Flags, p: Doubles, folds: Texts) -> list[float]:
    """The AUC within each fold that has both kinds; none where there is only one fold."""
    names = np.unique(folds)
    if len(names) < 2:
        return []
    each = (auc(truth[folds == name], p[folds == name]) for name in names)
    return [value for value in each if not math.isnan(value)]


def _levels(p: Doubles) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rising order of p, and where in it each distinct value begins."""
    order = np.argsort(p, kind="stable")
    fresh = np.append(True, np.diff(p[order]) != 0)
    return order, np.flatnonzero(fresh)


def _ratio(part: Doubles, whole: Doubles) -> Doubles:
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, math.nan), where=whole > 0))


# --- one of several classes ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exclusive:
    """What a classifier of exclusive classes does when the likeliest is its answer."""

    labels: tuple[str, ...]
    confusion: NDArray[np.int64]  # (true, said)
    accuracy: Value  # exact, in films
    by_patient: Interval  # of the accuracy, patients drawn again
    macro_f1: Value
    largest: float  # the accuracy of always saying the most frequent class


def exclusive(scores: Scores, draws: int = DRAWS) -> Exclusive:
    """The confusion matrix and what follows from it. Raises ValueError for labels that are not exclusive."""
    if not scores.exclusive:
        raise ValueError("these labels are not exclusive: a confusion matrix needs one class a film")
    labels = len(scores.labels)
    true, said = scores.truth.argmax(axis=1), scores.said.argmax(axis=1)
    cell = true * labels + said
    confusion = np.bincount(cell, minlength=labels**2).reshape(labels, labels)
    drawn = Draws(scores.patients, draws)
    everything = np.ones(len(scores), dtype=bool)

    def macro(weights: Doubles) -> Doubles:
        return np.array([macro_f1(_matrix(cell, row, labels)) for row in weights])

    right = (true == said).astype(np.float64)
    accuracies = drawn.each(everything, lambda weights: weights @ right / weights.sum(axis=1))
    hits = int(right.sum())
    return Exclusive(
        scores.labels,
        confusion,
        Value(hits / len(scores), clopper_pearson(hits, len(scores))),
        interval_of(accuracies),
        Value(macro_f1(confusion.astype(np.float64)), interval_of(drawn.each(everything, macro))),
        float(confusion.sum(axis=1).max() / len(scores)),
    )


def macro_f1(confusion: Doubles) -> float:
    """The mean F1 of the classes that occur or were said."""
    hits, true, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    seen = true + said > 0
    return float(np.mean(2 * hits[seen] / (true + said)[seen])) if seen.any() else math.nan


def _matrix(cell: NDArray[np.intp], weights: Doubles, labels: int) -> Doubles:
    return np.asarray(np.bincount(cell, weights, labels**2).reshape(labels, labels), dtype=np.float64)


def normal_of(labels: Sequence[str]) -> str | None:
    """The label that means "nothing found", None where there is none."""
    return next((label for label in labels if label.lower().replace("_", " ") in NORMAL), None)


def any_finding(scores: Scores, normal: str) -> Scores:
    """The same films with one label: anything but normal, of probability 1 - p:normal."""
    index = scores.labels.index(normal)
    return Scores(
        (f"any but {normal}",),
        scores.files,
        scores.patients,
        scores.folds,
        scores.groups,
        scores.sets,
        1 - scores.truth[:, [index]],
        1 - scores.said[:, [index]],
    )


# --- calibration --------------------------------------------------------------------------------------------

Scaling = tuple[float, float]  # log-odds -> slope * log-odds + offset


def platt(truth: Flags, p: Doubles) -> Scaling:
    """Slope and offset by maximum likelihood at the films' own prevalence (Platt 1999).

    The targets are drawn in by a count of one each. The slope is at least LEAST_SLOPE, so that more stays
    more. Raises ValueError when a kind is missing. (lab.measure.platt weighs both kinds alike instead.)
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        raise ValueError("a probability needs films with the condition and films without")
    x = log_odds(p)
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(ab: Doubles) -> tuple[float, Doubles]:
        z = ab[0] * x + ab[1]
        off = (sigmoid(z) - target) / len(x)
        return float((np.logaddexp(0, z) - target * z).mean()), np.array([(off * x).sum(), off.sum()])

    start = np.array([1.0, 0.0])
    a, b = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(LEAST_SLOPE, None), (None, None)]).x
    return float(a), float(b)


def temperature(truth: Doubles, said: Doubles) -> float:
    """The slope 1/T of log-probabilities (N, L) under which the true classes are likeliest (Guo 2017)."""
    logs, true = np.log(np.maximum(said, 1e-7)), truth.argmax(axis=1)

    def loss(log_slope: float) -> float:
        return float(-np.log(softened(logs, math.exp(log_slope))[np.arange(len(true)), true] + 1e-12).mean())

    found = minimize_scalar(loss, bounds=(math.log(LEAST_SLOPE), math.log(20)), method="bounded")
    return math.exp(float(found.x))


def softened(logs: Doubles, slope: float) -> Doubles:
    """softmax(slope * logs) (N, L)."""
    scaled = slope * logs
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_scalings(scores: Scores) -> dict[str, Scaling]:
    """What the card calls calibration: of exclusive labels one slope for all, else Platt's of each label
    that has both kinds."""
    if scores.exclusive:
        slope = temperature(scores.truth, scores.said)
        return dict.fromkeys(scores.labels, (slope, 0.0))
    found = {}
    for label in scores.labels:
        truth, p, _ = scores.known(label)
        if truth.any() and not truth.all():
            found[label] = platt(truth, p)
    return found


def scaled(scores: Scores, scalings: dict[str, Scaling]) -> Scores:
    """The films with calibrated probabilities; a label without a scaling keeps its own."""
    if scores.exclusive and scalings:
        slope = next(iter(scalings.values()))[0]
        return scores.saying(softened(np.log(np.maximum(scores.said, 1e-7)), slope))
    said = scores.said.copy()
    for index, label in enumerate(scores.labels):
        if label in scalings:
            a, b = scalings[label]
            said[:, index] = sigmoid(a * log_odds(said[:, index]) + b)
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
    found = reliability(truth, p, bins)
    total = sum(one.films for one in found)
    return sum(one.films * abs(one.said - one.was.value) for one in found) / total if total else math.nan


# --- learning -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Learned:
    """What was measured after training on so many films."""

    films: int
    auc: float
    error: float = 0.0  # standard error; 0: unknown


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """AUC(n) = a - b n^-c through the points, and where it may go beyond them.

    `low` and `high` are the 95 % band of curves through points drawn again. `log_line` is the straight line
    over log n, which cannot level off: between the two lies what the points cannot tell.
    """

    points: tuple[Learned, ...]
    a: float
    b: float
    c: float
    films: tuple[int, ...]
    power: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    log_line: tuple[float, ...]

    def at(self, films: int) -> dict[str, Any]:
        """The extrapolation to one of `films`, with its honest width."""
        i = self.films.index(films)
        low, high = min(self.low[i], self.log_line[i]), max(self.high[i], self.log_line[i])
        return {
            "films": films,
            "auc": round(self.power[i], 4),
            "band": [round(self.low[i], 4), round(self.high[i], 4)],
            "by log": round(self.log_line[i], 4),
            "width": [round(low, 4), round(high, 4)],
        }


NIH_FILMS = 78_000  # what networks on ChestX-ray14 are trained with
POWERS = np.geomspace(0.05, 2.0, 80)  # c
LEAST_ERROR = 0.005  # of an AUC whose error nobody knows: less than any seed moves it


def learning_curve(
    points: Sequence[Learned], beyond: int = NIH_FILMS, draws: int = DRAWS, seed: int = SEED
) -> LearningCurve:
    """The fit and its band. Raises ValueError for fewer than three sizes."""
    sizes = sorted({point.films for point in points})
    if len(sizes) < 3:
        raise ValueError(f"a learning curve needs three sizes; there are {len(sizes)}")
    n = np.array([point.films for point in points], dtype=np.float64)
    y = np.array([point.auc for point in points])
    errors = np.array([max(point.error, LEAST_ERROR) for point in points])
    grid = np.unique(np.geomspace(sizes[0], beyond, 60).round().astype(int).tolist() + sizes + [beyond])
    a, b, c = (values[0] for values in _power_laws(n, y[None], errors))
    noise = np.random.default_rng(seed).standard_normal((draws, len(y))) * errors
    drawn = _power_laws(n, y + noise, errors)
    curves = drawn[0][:, None] - drawn[1][:, None] * grid[None] ** -drawn[2][:, None]
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    slope, offset = np.polyfit(np.log(n), y, 1, w=1 / errors)
    line = np.clip(offset + slope * np.log(grid), 0, 1)
    return LearningCurve(
        tuple(points),
        float(a),
        float(b),
        float(c),
        tuple(int(size) for size in grid),
        tuple(float(value) for value in a - b * grid**-c),
        tuple(map(float, low)),
        tuple(map(float, high)),
        tuple(map(float, line)),
    )


def read_learned(path: Path) -> list[Learned]:
    """Points from a CSV file `films,auc,error`; an empty error is unknown. Raises OSError or ValueError."""
    with path.open(newline="") as handle:
        lines = csv.DictReader(handle)
        if not {"films", "auc"} <= set(lines.fieldnames or ()):
            raise ValueError(f"{path} has no columns films and auc")
        return [
            Learned(int(line["films"]), float(line["auc"]), float(line.get("error") or 0)) for line in lines
        ]


def _power_laws(n: Doubles, y: Doubles, errors: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """a, b, c (R,) with least squares for each row of y (R, n), a at most 1 and b not negative."""
    w = 1 / errors**2
    w = w / w.sum()
    best = np.full(len(y), np.inf)
    a, b, c = np.zeros(len(y)), np.zeros(len(y)), np.zeros(len(y))
    for power in POWERS:
        x = n**-power
        mean_x, mean_y = w @ x, y @ w
        slope = np.maximum(((mean_y[:, None] - y) * w) @ (x - mean_x) / (w @ (x - mean_x) ** 2), 0)
        top = mean_y + slope * mean_x
        over = top > 1
        slope = np.where(over, np.maximum(((1 - y) * w) @ x / (w @ x**2), 0), slope)
        top = np.where(over, 1.0, top)
        loss = ((top[:, None] - slope[:, None] * x[None] - y) ** 2) @ w
        better = loss < best
        best = np.where(better, loss, best)
        a, b, c = np.where(better, top, a), np.where(better, slope, b), np.where(better, power, c)
    return a, b, c
