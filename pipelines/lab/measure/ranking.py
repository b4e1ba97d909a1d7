"""What training looks at while it goes: macro-averages over labels, and the best F-score of one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.lab.measure.discrimination import auc

Scores = NDArray[np.float64] | NDArray[np.float32]
Truth = NDArray[np.bool_]


def f1(truth: Truth, called: Truth) -> float:
    """The F-score; 0 when nothing was called and nothing was there to call."""
    right = int((truth & called).sum())
    wrong = int((truth ^ called).sum())
    return 2 * right / (2 * right + wrong) if right or wrong else 0.0


def best_f1_threshold(truth: Truth, scores: Scores) -> float:
    """The score from which on films are called positive for the highest F-score; infinite with none."""
    if not truth.any():
        return float("inf")
    order = np.argsort(-scores, kind="stable")
    found, last = np.cumsum(truth[order]), np.append(np.diff(scores[order]) != 0, True)
    value = 2 * found / (np.arange(1, len(scores) + 1) + truth.sum())
    return float(scores[order][np.where(last, value, -1).argmax()])


def by_label(targets: NDArray[np.float32], scores: Scores) -> list[float]:
    """The AUC of each label (L,) over the films (N, L) for which it is known."""
    said = scores.astype(np.float64)
    return [auc(targets[known, n] == 1, said[known, n]) for n, known in enumerate((~np.isnan(targets)).T)]


def macro_auc(targets: NDArray[np.float32], scores: Scores) -> float:
    """The mean AUC over the labels that can be judged; NaN when none can."""
    each = [value for value in by_label(targets, scores) if not np.isnan(value)]
    return float(np.mean(each)) if each else float("nan")
