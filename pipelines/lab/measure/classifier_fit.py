"""What is chosen for a classifier on some films, scaling and thresholds, and what it makes of others.

Nothing is chosen on films that are set aside ("accept", "test"). Where scaling and thresholds are judged on
the films they are chosen on, that is cross-fitted: each fold's patients are judged by what the other folds
give. Numbers of other sets are those of the thresholds that the card gets.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pipelines.lab.measure import platt, rules
from pipelines.lab.measure.areas import any_finding, normal_of
from pipelines.lab.measure.classifier_scores import ASIDE, Flags, Scores
from pipelines.lab.measure.platt import Platt
from pipelines.lab.measure.rules import Point, Rule, Sweep, Threshold

PARTS = 5  # of the patients, for cross-fitting where the table has no folds


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is chosen on films and put on the card."""

    scalings: dict[str, Platt]
    thresholds: dict[str, Threshold]  # on scaled probabilities; of exclusive labels also of "any but normal"


@dataclass(frozen=True, slots=True)
class Judged:
    """The films of one set as the thresholds see them."""

    name: str
    raw: Scores  # as the network said
    scaled: Scores  # with calibrated probabilities, and with "any but normal"
    called: dict[str, Flags]  # by label (N,); absent where there is no threshold
    thresholds: dict[str, Threshold]
    crossed: bool


def fit(films: Scores, rule: Rule, least: int = rules.LEAST_POSITIVES) -> Fitted:
    """Scaling and thresholds from these films."""
    scalings = platt.fit_scalings(films)
    calibrated = with_any(platt.scaled(films, scalings))
    thresholds = {}
    for label in calibrated.labels:
        truth, p, _ = calibrated.known(label)
        thresholds[label] = rules.choose(rule, truth, p, least)
    return Fitted(scalings, thresholds)


def judge(films: Scores, name: str, fitted: Fitted, rule: Rule | None) -> Judged:
    """The films at the thresholds; with `rule` they are the ones chosen on, and it is cross-fitted."""
    if rule is None:
        calibrated = with_any(platt.scaled(films, fitted.scalings))
        called = {
            label: calibrated.said[:, calibrated.labels.index(label)] >= threshold.value
            for label, threshold in fitted.thresholds.items()
            if threshold.value is not None
        }
        return Judged(name, films, calibrated, called, fitted.thresholds, crossed=False)
    said = np.zeros((len(films), len(with_any(films).labels)))
    positive = np.zeros(said.shape, dtype=bool)
    for here in parts(films):
        other = fit(films.where(~here), rule, least=1)
        part = judge(films.where(here), name, other, None)
        said[here] = part.scaled.said
        for label, flags in part.called.items():
            positive[here, part.scaled.labels.index(label)] = flags
    calibrated = with_any(films).saying(said)
    called = {
        label: positive[:, calibrated.labels.index(label)]
        for label, threshold in fitted.thresholds.items()
        if threshold.value is not None
    }
    return Judged(name, films, calibrated, called, fitted.thresholds, crossed=True)


def parts(films: Scores) -> Iterator[Flags]:
    """The folds, where there are two or more; else PARTS of the patients, by the digest of their names."""
    folds = films.folds
    if len(set(folds.tolist())) < 2:
        folds = np.array([str(zlib.crc32(patient.encode()) % PARTS) for patient in films.patients.tolist()])
    for name in sorted(set(folds.tolist())):
        if not (folds == name).all():
            yield folds == name


def with_any(films: Scores) -> Scores:
    """Exclusive labels with a normal among them, and one more: anything but normal."""
    normal = normal_of(films.labels) if films.exclusive else None
    if normal is None:
        return films
    more = any_finding(films, normal)
    return replace(
        films,
        labels=films.labels + more.labels,
        truth=np.hstack([films.truth, more.truth]),
        said=np.hstack([films.said, more.said]),
    )


def points(judged: Judged) -> list[Point]:
    """What each label's threshold makes of the films."""
    out = []
    for label, threshold in judged.thresholds.items():
        truth, _, which = judged.scaled.known(label)
        called = judged.called.get(label, np.zeros(len(judged.scaled), dtype=bool))
        out.append(rules.point(label, threshold, truth, called[which]))
    return out


def swept(judged: Judged) -> Sweep:
    """On what the network said, where a single threshold is usually put; "any but normal" is no label."""
    own = {label: flags for label, flags in judged.called.items() if label in judged.raw.labels}
    return rules.sweep(judged.raw, {label: own[label][judged.raw.known(label)[2]] for label in own})


def base_of(table: Scores, chosen_on: str | None) -> str | None:
    """The set that thresholds are chosen on; None where every one is set aside."""
    names = list(dict.fromkeys(table.sets.tolist()))
    if chosen_on is not None:
        if chosen_on not in names:
            raise ValueError(f"no set {chosen_on!r} in the table; there are {', '.join(map(repr, names))}")
        if chosen_on in ASIDE:
            raise ValueError(f"set {chosen_on!r} is set aside: nothing is chosen on it")
        return chosen_on
    free = [name for name in names if name not in ASIDE]
    return "cv" if "cv" in free else next(iter(free), None)


def sets_of(table: Scores, base: str | None) -> list[str]:
    """The sets of a table, the one that is chosen on first."""
    names = list(dict.fromkeys(table.sets.tolist()))
    return sorted(names, key=lambda name: name != base)
