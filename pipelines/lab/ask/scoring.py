"""What networks said of films, as the table that evaluation reads (lab.measure.classifier_scores)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.lab.films.samples import Index, Samples
from pipelines.lab.measure import classifier_scores
from pipelines.lab.train import classifier_train

SCORES = "scores.csv"
VALID = "valid"


def score(run: Path, samples: Samples) -> Path:
    """Asks the network that a run kept about the films it did not learn from; returns `run/scores.csv`.

    Those that it was stopped by are the set "valid", and thresholds may be chosen on them; those set aside
    keep the name of their split.
    """
    net, task, settings = classifier_train.restored(run)
    _, valid = classifier_train.sides(
        samples, settings, None
    )  # before labels are dropped: they shape the split
    samples = samples.only(task.labels)
    rows = np.concatenate([valid, np.setdiff1d(np.arange(len(samples)), samples.training)])
    said = classifier_train.probabilities(
        classifier_train.predict(net, samples, rows, settings.px), task.exclusive
    )
    write(run / SCORES, samples, rows, said, VALID)
    return run / SCORES


def write(
    path: Path,
    samples: Samples,
    rows: Index,
    said: NDArray[np.float64],
    own: str,
    fold_of: Mapping[int, str] | None = None,
) -> None:
    """The table about these films; `own` is the set of those that are not set aside under a name."""
    folds = fold_of or {}
    films = [
        {
            "file": samples.rows[n].file,
            "patient": samples.rows[n].patient,
            "fold": folds.get(int(n), ""),
            "group": samples.rows[n].group,
            "set": samples.rows[n].split or own,
        }
        for n in rows
    ]
    classifier_scores.write(path, samples.task.labels, films, samples.targets[rows].astype(np.float64), said)
