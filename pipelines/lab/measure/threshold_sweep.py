"""One threshold for all labels, from 0 to 1, beside a threshold for each: as people first meet the question.

The thresholds for each label are chosen on other patients than they are judged on (cross-fitted), while the
best single threshold is read off the very films: the comparison favours the single one, if anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.lab.measure.classifier_scores import Doubles, Flags, Scores
from pipelines.lab.measure.rules import rounded

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


def swept(scores: Scores, called: Mapping[str, Flags]) -> Sweep:
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
        _f1(alone).mean(axis=0),
        _f1(alone.sum(axis=0)[None])[0],
        float(_f1(each[:, :, None]).mean()),
        float(_f1(each.sum(axis=0)[None, :, None])[0, 0]),
    )


def _counts(truth: Flags, called: Flags) -> Doubles:
    """(T, 3): true positives, false positives, false negatives of each row."""
    tp, fp = (truth & called).sum(axis=1), (~truth & called).sum(axis=1)
    return np.stack([tp, fp, truth.sum() - tp], axis=1).astype(np.float64)


def _f1(counts: Doubles) -> Doubles:
    """(L, 3, T) -> (L, T); 0 where nothing is positive, nor called so."""
    tp, fp, fn = counts[:, 0], counts[:, 1], counts[:, 2]
    return np.asarray(2 * tp / np.maximum(2 * tp + fp + fn, 1e-9))
