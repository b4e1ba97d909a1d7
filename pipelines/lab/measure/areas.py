"""How well films are told apart, and how sure that is: areas under curves with their intervals, confusion.

Everything that states an area, of a gate, a classifier or a probe, gets it and its interval here. Intervals
come from drawing the *patients* again with replacement: films of one patient are not independent, and with
each draw all of them come or stay away together. A draw is a weight for each film, so that one sorting of
the films serves all draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.lab.measure.binomial import clopper_pearson
from pipelines.lab.measure.classifier_scores import Doubles, Flags, Scores, Texts

DRAWS = 1000  # of patients with replacement
SEED = 7
AT_ONCE = 4_000_000  # weights that are held in memory together
LEAST_IN_MACRO = 40  # films with a condition, for it to count in the macro-average
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


def area(truth: Flags, p: Doubles, patients: Texts, seed: int = SEED, draws: int = DRAWS) -> Value:
    """The area of truth (n,) and scores p (n,) with its interval, films of a patient (n,) drawn together."""
    everything = np.ones(len(p), dtype=bool)
    values = Draws(patients, draws, seed).each(everything, lambda weights: aucs(truth, p, weights))
    return Value(auc(truth, p), careful(interval_of(values), truth, patients))


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


def areas_of(scores: Scores, least: int = LEAST_IN_MACRO, draws: int = DRAWS) -> Areas:
    """The areas of every label over these films, pooled; the macro-average over labels with `least` films.

    Where labels are each by themselves, that nothing was found is no condition and is not averaged.
    """
    drawn = Draws(scores.patients, draws)
    each, replicates = [], {}
    for label in scores.labels:
        one, aucs_ = _area(scores, label, drawn)
        each.append(one)
        replicates[label] = aucs_
    normal = None if scores.exclusive else normal_of(scores.labels)
    counted = [one for one in each if one.positives >= least and one.negatives and one.label != normal]
    if not counted:
        return Areas(tuple(each), Value(math.nan), (), math.nan)
    value = float(np.mean([one.auc.value for one in counted]))
    means = np.mean([replicates[one.label] for one in counted], axis=0)
    by_fold = float(np.mean([one.by_fold for one in counted]))
    return Areas(tuple(each), Value(value, interval_of(means)), tuple(one.label for one in counted), by_fold)


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


# --- what training looks at while it goes -------------------------------------------------------------------


def by_label(targets: NDArray[np.float32], scores: NDArray[np.float32] | Doubles) -> list[float]:
    """The area of each label (L,) over the films (N, L) for which it is known."""
    doubles = scores.astype(np.float64)
    return [auc(targets[known, n] == 1, doubles[known, n]) for n, known in enumerate((~np.isnan(targets)).T)]


def macro_auc(targets: NDArray[np.float32], scores: NDArray[np.float32] | Doubles) -> float:
    """The mean area over the labels that can be judged; NaN when none can."""
    each = [value for value in by_label(targets, scores) if not np.isnan(value)]
    return float(np.mean(each)) if each else math.nan


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
