"""Thresholds by rule, and what an operating point is worth: exact intervals, and the baseline beside it.

Accuracy alone says little of a rare condition: to call every film negative is right for 97 of 100 where 3
have it. So no accuracy is told without that of "all negative" beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.lab.measure.binomial import clopper_pearson, lowers
from pipelines.lab.measure.classifier_scores import Doubles, Flags, Scores
from pipelines.lab.measure.tables import Table

LEAST_POSITIVES = 30  # under it no threshold is given: any would be chosen by a handful of films
MAX_F1, YOUDEN, SENSITIVITY, PRECISION = "max-f1", "youden", "sensitivity", "precision"
RULES = (MAX_F1, YOUDEN, f"{SENSITIVITY}=0.95", f"{PRECISION}=0.5")  # as they are written
INSUFFICIENT = "insufficient positives"


@dataclass(frozen=True, slots=True)
class Rule:
    """How a threshold is chosen."""

    kind: str  # MAX_F1, YOUDEN, SENSITIVITY or PRECISION
    at: float = math.nan  # of a fixed sensitivity or precision

    def __str__(self) -> str:
        return self.kind if math.isnan(self.at) else f"{self.kind}={self.at:g}"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A film is positive at this probability or more; None where there is none, and why."""

    value: float | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """Films counted at a threshold. Shares are nan where there is nothing to divide by."""

    label: str
    threshold: Threshold
    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def films(self) -> int:
        return self.tp + self.fp + self.fn + self.tn

    @property
    def sensitivity(self) -> float:
        return _share(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        return _share(self.tn, self.tn + self.fp)

    @property
    def ppv(self) -> float:
        """The share of positive calls that are right (precision)."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def npv(self) -> float:
        return _share(self.tn, self.tn + self.fn)

    @property
    def f1(self) -> float:
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def accuracy(self) -> float:
        return _share(self.tp + self.tn, self.films)

    @property
    def baseline(self) -> float:
        """The accuracy of calling every film negative."""
        return _share(self.tn + self.fp, self.films)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Exact 95 % intervals in films (Clopper and Pearson 1934).

        F1 is one, too: of the films that are positive or called so, each is both with probability J, and
        F1 = 2 J / (1 + J).
        """
        low, high = _exact(self.tp, self.tp + self.fp + self.fn)
        return {
            "sensitivity": _exact(self.tp, self.tp + self.fn),
            "specificity": _exact(self.tn, self.tn + self.fp),
            "ppv": _exact(self.tp, self.tp + self.fp),
            "npv": _exact(self.tn, self.tn + self.fn),
            "f1": (2 * low / (1 + low), 2 * high / (1 + high)),
            "accuracy": _exact(self.tp + self.tn, self.films),
        }

    def evidence(self) -> dict[str, Any]:
        """What the card keeps."""
        shares: dict[str, Any] = {
            name: [rounded(getattr(self, name)), *map(rounded, interval)]
            for name, interval in self.intervals().items()
        }
        counts = {"tp": self.tp, "fp": self.fp, "fn": self.fn, "tn": self.tn}
        return {**counts, **shares, "accuracy of all negative": rounded(self.baseline)}


def parse(text: str) -> Rule:
    """The rule that a text names: "max-f1", "youden", "sensitivity=0.95". Raises ValueError."""
    kind, _, at = text.partition("=")
    if kind in (MAX_F1, YOUDEN) and not at:
        return Rule(kind)
    if kind in (SENSITIVITY, PRECISION):
        try:
            value = float(at)
        except ValueError:
            value = math.nan
        if 0 < value < 1:
            return Rule(kind, value)
        raise ValueError(f"{text!r}: a share between 0 and 1 is expected, as in {kind}=0.9")
    raise ValueError(f"{text!r} is no rule; there are {', '.join(RULES)}")


def choose(rule: Rule, truth: Flags, p: Doubles, least: int = LEAST_POSITIVES) -> Threshold:
    """The threshold for truth (n,) and probabilities p (n,).

    It lies midway between the lowest probability that it calls positive and the next lower one. Of a
    fixed sensitivity it is the highest that reaches it; of a fixed precision the lowest whose precision has
    it as its exact lower bound (one-sided, 95 %). That bound is of one threshold, and this is the best of
    many: expect a little less on other films.
    """
    positives = int(truth.sum())
    if positives < least or positives in (0, len(truth)):
        many = f"{positives}, {least} are needed" if positives < least else "every film has it"
        return Threshold(None, f"{INSUFFICIENT} ({many})" if positives < least else many)
    values, tp, fp = swept(truth, p)
    fn, negatives = positives - tp, len(truth) - positives
    if rule.kind == MAX_F1:
        best = int(np.argmax(2 * tp / (2 * tp + fp + fn)))
    elif rule.kind == YOUDEN:
        best = int(np.argmax(tp / positives - fp / negatives))
    elif rule.kind == SENSITIVITY:
        best = int(np.argmax(tp >= rule.at * positives - 1e-9))
    else:
        sure = np.flatnonzero(lowers(tp, fp) >= rule.at)
        if not len(sure):
            return Threshold(None, f"no threshold has a precision of {rule.at:g} as its lower bound")
        best = int(sure[-1])
    below = values[best + 1] if best + 1 < len(values) else 0.0
    return Threshold(float(values[best] + below) / 2)


def f1(truth: Flags, called: Flags) -> float:
    """The F-score; 0 when nothing was called and nothing was there to call."""
    right = int((truth & called).sum())
    wrong = int((truth ^ called).sum())
    return 2 * right / (2 * right + wrong) if right or wrong else 0.0


def best_f1_threshold(truth: Flags, p: Doubles) -> float:
    """The probability from which on films are called positive for the highest F-score; infinite with none."""
    if not truth.any():
        return math.inf
    values, tp, fp = swept(truth, p)
    return float(values[np.argmax(2 * tp / (tp + fp + truth.sum()))])


def swept(truth: Flags, p: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """The distinct probabilities falling (m,), and the true and false positives at each or more."""
    levels, at = np.unique(-p, return_inverse=True)
    tp = np.bincount(at, truth, len(levels)).cumsum()
    fp = np.bincount(at, ~truth, len(levels)).cumsum()
    return -levels, tp, fp


def point(label: str, threshold: Threshold, truth: Flags, called: Flags) -> Point:
    """The counts of truth (n,) against what was called positive (n,)."""
    tp, fp = int((truth & called).sum()), int((~truth & called).sum())
    return Point(label, threshold, tp, fp, int(truth.sum()) - tp, int((~truth).sum()) - fp)


def as_table(name: str, title: str, points: Sequence[Point], note: str = "") -> Table:
    """Operating points as cells; a label without a threshold says why."""
    head = (
        "label",
        "threshold",
        "with it",
        "without",
        "sensitivity",
        "specificity",
        "PPV",
        "NPV",
        "F1",
        "accuracy",
        "accuracy of “all negative”",
    )
    return Table(name, title, head, tuple(_cells(one) for one in points), f"{note} {NOTE}".strip())


NOTE = (
    "Exact 95 % intervals in films; films of one patient are taken as independent, so where patients have "
    "many films they are somewhat too narrow. An accuracy no better than “all negative” is no merit."
)


def _cells(one: Point) -> tuple[str, ...]:
    counts = (str(one.tp + one.fn), str(one.fp + one.tn))
    if one.threshold.value is None:
        return (one.label, one.threshold.why, *counts, *("–",) * 6, share(one.baseline))
    shares = (with_interval(getattr(one, name), span) for name, span in one.intervals().items())
    return (one.label, f"{one.threshold.value:.4f}", *counts, *shares, share(one.baseline))


def share(value: float) -> str:
    """A share as it is printed; "–" where there is none."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def with_interval(value: float, interval: tuple[float, float]) -> str:
    """ "0.912 (0.881 to 0.940)"; "–" where there is none."""
    return "–" if math.isnan(value) else f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def rounded(value: float) -> float | None:
    """Four digits, or None for nan: JSON knows no nan."""
    return None if math.isnan(value) else round(float(value), 4)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _exact(part: int, whole: int) -> tuple[float, float]:
    return clopper_pearson(part, whole) if whole else (math.nan, math.nan)


# --- one threshold for all labels ---------------------------------------------------------------------------

# As people first meet the question: one threshold from 0 to 1 beside a threshold for each. The thresholds for
# each label are chosen on other patients than they are judged on (cross-fitted), while the best single one is
# read off the very films: the comparison favours the single one, if anything.
STEPS = 201


@dataclass(frozen=True, slots=True)
class Sweep:
    """F1 over the labels that have a threshold of their own."""

    labels: tuple[str, ...]
    thresholds: Doubles  # (STEPS,)
    macro: Doubles  # (STEPS,) mean F1 of the labels with this one threshold
    micro: Doubles  # (STEPS,) F1 of all answers together
    macro_each: float  # with a threshold for each label
    micro_each: float

    @property
    def best(self) -> tuple[float, float]:
        """The one threshold with the highest macro-F1, and that F1."""
        index = int(np.argmax(self.macro))
        return float(self.thresholds[index]), float(self.macro[index])

    def evidence(self) -> dict[str, Any]:
        """What the card keeps."""
        at, best = self.best
        half = int(np.argmin(np.abs(self.thresholds - 0.5)))
        return {
            "labels": len(self.labels),
            "macro-F1 at 0.5 for all": rounded(float(self.macro[half])),
            "best threshold for all": rounded(at),
            "macro-F1 at it": rounded(best),
            "macro-F1 with one for each": rounded(self.macro_each),
            "micro-F1 with one for each": rounded(self.micro_each),
            "best micro-F1 with one for all": rounded(float(self.micro.max())),
        }


def sweep(scores: Scores, called: Mapping[str, Flags]) -> Sweep:
    """The sweep over the labels in `called`, which holds what their own thresholds call positive.

    `called` (n,) goes over the films whose truth about the label is known.
    """
    thresholds = np.linspace(0, 1, STEPS)
    labels = tuple(label for label in scores.labels if label in called)
    alone = np.zeros((len(labels), 3, STEPS))
    each = np.zeros((len(labels), 3))
    for index, label in enumerate(labels):
        truth, p, _ = scores.known(label)
        over = p[None] >= thresholds[:, None]
        alone[index] = _counts(truth[None], over).T
        each[index] = _counts(truth[None], called[label][None])[0]
    return Sweep(
        labels,
        thresholds,
        _f1s(alone).mean(axis=0),
        _f1s(alone.sum(axis=0)[None])[0],
        float(_f1s(each[:, :, None]).mean()),
        float(_f1s(each.sum(axis=0)[None, :, None])[0, 0]),
    )


def _counts(truth: Flags, called: Flags) -> Doubles:
    """(T, 3): true positives, false positives, false negatives of each row."""
    tp, fp = (truth & called).sum(axis=1), (~truth & called).sum(axis=1)
    return np.stack([tp, fp, truth.sum() - tp], axis=1).astype(np.float64)


def _f1s(counts: Doubles) -> Doubles:
    """(L, 3, T) -> (L, T); 0 where nothing is positive, nor called so."""
    tp, fp, fn = counts[:, 0], counts[:, 1], counts[:, 2]
    return np.asarray(2 * tp / np.maximum(2 * tp + fp + fn, 1e-9))
