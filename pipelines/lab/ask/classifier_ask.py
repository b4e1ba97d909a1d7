"""Asks classifiers about films that they did not learn from, for the table that evaluation reads.

The table is lab.measure.classifier_scores. In a cross-validation every film is asked about by a network that
never saw its patient.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.lab.films.labels import Task
from pipelines.lab.films.samples import Index, Samples, SamplesError, folds, split
from pipelines.lab.measure import classifier_scores
from pipelines.lab.train import classifier_run, classifier_train
from pipelines.lab.train.classifier_run import Settings

SCORES = "scores.csv"
VALID = "valid"
CROSS_VALIDATION, LOGITS = "cv.json", "logits.npz"


def score(run: Path, samples: Samples) -> Path:
    """Asks the network that a run kept about the films it did not learn from; returns `run/scores.csv`.

    Those that it was stopped by are the set "valid", and thresholds may be chosen on them; those set aside
    keep the name of their split.
    """
    net, task, settings = classifier_run.restored(run)
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


def cross_validate(
    samples: Samples,
    task: Task,
    settings: Settings,
    out: Path,
    parts: int = 5,
    *,
    aside: bool = True,
    picture: bool = True,
    quiet: bool = False,
) -> Path:
    """Trains once without each part and writes what was said of it: `out/scores.csv`, set "cv".

    A part that was done is not done again, and a stopped one goes on. Early stopping looks at patients of
    the learning side, never at the part that is left out. With `aside` the films set aside are in the table
    too, under the name of their split, with the mean probability of all networks.

    Raises:
        SamplesError: `out` holds another cross-validation, or no label can be learned in every part.
    """
    whole = samples.training
    left = folds(samples, parts, settings.seed, whole)
    learned = [np.setdiff1d(whole, part) for part in left]
    samples = samples.only(labels_of(samples, task, learned, settings))
    others = np.setdiff1d(np.arange(len(samples)), whole) if aside else whole[:0]
    _same_as_before(out, samples, settings, parts)
    logits = np.zeros((len(samples), len(samples.task.labels)), dtype=np.float32)
    of_others = np.zeros((len(others), len(samples.task.labels)))
    for n, (part, learn) in enumerate(zip(left, learned, strict=True)):
        folder = out / f"fold{n}"
        if not (folder / LOGITS).exists():
            inner = inner_sides(samples, settings, learn)
            classifier_train.train(
                samples, samples.task, settings, folder, rows=inner, resume=True, picture=picture, quiet=quiet
            )
            net, _, _ = classifier_run.restored(folder)
            asked = np.concatenate([part, others])
            np.savez(
                folder / LOGITS, rows=asked, logits=classifier_train.predict(net, samples, asked, settings.px)
            )
        with np.load(folder / LOGITS) as stored:
            logits[part] = stored["logits"][: len(part)]
            of_others += classifier_train.probabilities(stored["logits"][len(part) :], task.exclusive) / parts
    fold_of = {int(row): str(n) for n, part in enumerate(left) for row in part}
    said = np.concatenate([classifier_train.probabilities(logits[whole], task.exclusive), of_others])
    write(out / SCORES, samples, np.concatenate([whole, others]), said, "cv", fold_of)
    return out / SCORES


def labels_of(samples: Samples, task: Task, learned: list[Index], settings: Settings) -> tuple[str, ...]:
    """The labels that every part's network can learn.

    Raises:
        SamplesError: there is none.
    """
    sides = [inner_sides(samples, settings, learn)[0] for learn in learned]
    carried = set.intersection(*(set(samples.carried(side)) for side in sides)) & set(task.labels)
    if not carried:
        raise SamplesError("no label has films of both kinds in every part; take fewer parts")
    return tuple(label for label in samples.task.labels if label in carried)


def inner_sides(samples: Samples, settings: Settings, learn: Index) -> tuple[Index, Index]:
    """Of the films a part may learn from: those it learns from and those that stop it early."""
    if not settings.valid_share:
        return learn, learn[:0]
    return split(samples, settings.valid_share, settings.seed, learn)


def _same_as_before(out: Path, samples: Samples, settings: Settings, parts: int) -> None:
    """
    Raises:
        SamplesError: what was begun in `out` had other settings or films.
    """
    begun = {"settings": asdict(settings), "parts": parts, "films": len(samples), "task": samples.task.name}
    path = out / CROSS_VALIDATION
    if path.exists() and json.loads(path.read_text()) != begun:
        raise SamplesError(
            f"{out} holds a cross-validation with other settings or films; name another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(begun, indent=1) + "\n")
