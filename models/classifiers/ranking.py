"""How well scores rank the films that have a condition above those that have not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64] | NDArray[np.float32]
Truth = NDArray[np.bool_]


def auc(truth: Truth, scores: Scores) -> float:
    """The area under the ROC curve, ties counting half; NaN when only one kind is there."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return float("nan")
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(truth: Truth, scores: Scores) -> float:
    """The mean of the precision over the positives, as steps; NaN when there is none."""
    if not truth.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    found, last = np.cumsum(truth[order]), np.append(np.diff(scores[order]) != 0, True)
    recall = found[last] / truth.sum()
    precision = found[last] / (np.flatnonzero(last) + 1)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


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
    return [auc(targets[known, n] == 1, scores[known, n]) for n, known in enumerate((~np.isnan(targets)).T)]


def macro_auc(targets: NDArray[np.float32], scores: Scores) -> float:
    """The mean AUC over the labels that can be judged; NaN when none can."""
    each = [value for value in by_label(targets, scores) if not np.isnan(value)]
    return float(np.mean(each)) if each else float("nan")


def resampled_auc(truth: Truth, scores: Scores, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The AUC for each row of weights (draws, N): how often a film was drawn; (draws,). No ties."""
    order = np.argsort(scores, kind="stable")
    positive, drawn = truth[order], weights[:, order]
    below = np.cumsum(drawn * ~positive, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        out: NDArray[np.float64] = (drawn * positive * below).sum(axis=1) / (
            (drawn * positive).sum(axis=1) * below[:, -1]
        )
    return out
