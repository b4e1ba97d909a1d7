"""Thresholds by rule, and what an operating point is worth: exact intervals, and the baseline beside it.

Accuracy alone says little of a rare condition: to call every film negative is right for 97 of 100 where 3
have it. So no accuracy is told without that of "all negative" beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta  # type: ignore[import-untyped]

from pipelines.lab.measure.binomial import CONFIDENCE, clopper_pearson
from pipelines.lab.measure.classifier_scores import Doubles, Flags
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
        sure = np.flatnonzero(beta.ppf(1 - CONFIDENCE, np.maximum(tp, 1e-9), fp + 1) >= rule.at)
        if not len(sure):
            return Threshold(None, f"no threshold has a precision of {rule.at:g} as its lower bound")
        best = int(sure[-1])
    below = values[best + 1] if best + 1 < len(values) else 0.0
    return Threshold(float(values[best] + below) / 2)


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
