"""What a classifier said of films it had never seen: the one table that its evaluation is made from.

A CSV file with a row a film: `file,patient,fold,group,set`, then `y:<label>` (1, 0, or empty: unknown) and
`p:<label>` (a probability) for each label. `group` is a stratum such as PA or AP; `set` names the films that
are counted together: "cv" for films that a fold left out, "accept" or "test" for films set aside.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]
Texts = NDArray[np.str_]

COLUMNS = ("file", "patient", "fold", "group", "set")
TRUE, SAID = "y:", "p:"
KNOWN = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "": math.nan}
ASIDE = ("accept", "test")  # sets that nothing is ever chosen on
SUMS_TO_ONE = 1e-3  # tables are rounded


@dataclass(frozen=True, slots=True)
class Scores:
    """Films with the truth about them and what was said; all arrays go film by film."""

    labels: tuple[str, ...]
    files: Texts  # (N,)
    patients: Texts  # (N,) a film of an unknown patient is a patient of its own
    folds: Texts  # (N,) "" where there is none
    groups: Texts  # (N,)
    sets: Texts  # (N,)
    truth: Doubles  # (N, L) 1, 0 or nan: unknown
    said: Doubles  # (N, L) probabilities

    def __len__(self) -> int:
        return len(self.files)

    def where(self, keep: Flags) -> Scores:
        """The films for which `keep` (N,) is true."""
        return Scores(
            self.labels,
            self.files[keep],
            self.patients[keep],
            self.folds[keep],
            self.groups[keep],
            self.sets[keep],
            self.truth[keep],
            self.said[keep],
        )

    def saying(self, said: Doubles) -> Scores:
        """The same films with other probabilities (N, L)."""
        return Scores(
            self.labels, self.files, self.patients, self.folds, self.groups, self.sets, self.truth, said
        )

    def of(self, name: str) -> Scores:
        """The films of one set."""
        return self.where(self.sets == name)

    def known(self, label: str) -> tuple[Flags, Doubles, Flags]:
        """Of the films whose truth about a label is known: truth (n,), probability (n,), and which (N,)."""
        index = self.labels.index(label)
        which = ~np.isnan(self.truth[:, index])
        return self.truth[which, index] == 1, self.said[which, index], which

    def positives(self, label: str) -> int:
        """How many films are known to have it."""
        return int((self.truth[:, self.labels.index(label)] == 1).sum())

    @property
    def exclusive(self) -> bool:
        """Whether every film has exactly one of the labels, and the probabilities sum to one."""
        sums = np.abs(self.said.sum(axis=1) - 1) < SUMS_TO_ONE
        return len(self.labels) > 1 and bool(np.all(sums) and np.all(self.truth.sum(axis=1) == 1))


def read(paths: Path | Sequence[Path]) -> Scores:
    """Reads one table, or several of the same labels. Raises OSError, or ValueError with file and line."""
    tables = [_read(path) for path in ([paths] if isinstance(paths, Path) else paths)]
    if not tables:
        raise ValueError("there is no table of scores")
    first = tables[0]
    if any(table.labels != first.labels for table in tables[1:]):
        raise ValueError("the tables are about different labels")
    together = Scores(
        first.labels,
        *(
            np.concatenate([getattr(table, name) for table in tables])
            for name in ("files", "patients", "folds", "groups", "sets", "truth", "said")
        ),
    )
    _no_film_twice(together)
    return together


def write(
    path: Path,
    labels: Sequence[str],
    films: Iterable[Mapping[str, str]],
    truth: Doubles,
    said: Doubles,
) -> None:
    """Writes the table as CSV, beside first, then renamed; `films` have the COLUMNS, the rest is (N, L)."""
    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w", newline="") as handle:
        out = csv.writer(handle)
        out.writerow([*COLUMNS, *(f"{kind}{label}" for label in labels for kind in (TRUE, SAID))])
        for film, is_so, p in zip(films, truth, said, strict=True):
            cells = (
                cell for y, value in zip(is_so, p, strict=True) for cell in (_truth(y), f"{float(value):.9g}")
            )
            out.writerow([*(film.get(column, "") for column in COLUMNS), *cells])
    part.replace(path)


def save(path: Path, scores: Scores) -> None:
    """Writes what `read` reads."""
    columns = zip(scores.files, scores.patients, scores.folds, scores.groups, scores.sets, strict=True)
    films = [dict(zip(COLUMNS, map(str, cells), strict=True)) for cells in columns]
    write(path, scores.labels, films, scores.truth, scores.said)


def _truth(value: float) -> str:
    return "" if math.isnan(value) else str(int(value))


def _read(path: Path) -> Scores:
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        labels = _labels(path, reader.fieldnames or ())
        rows, truth, said = [], [], []
        for line in reader:
            where = f"{path}, line {reader.line_num}"
            if None in line or None in line.values():
                raise ValueError(f"{where}: {'more' if None in line else 'fewer'} cells than the head names")
            if not line["file"]:
                raise ValueError(f"{where}: no file is named")
            rows.append([line[column] for column in COLUMNS])
            truth.append([_known(line[f"{TRUE}{label}"], f"{where}: {TRUE}{label}") for label in labels])
            said.append([_probability(line[f"{SAID}{label}"], f"{where}: {SAID}{label}") for label in labels])
    if not rows:
        raise ValueError(f"{path}: no film in it")
    cells = np.array(rows, dtype=np.str_)
    patients = np.where(cells[:, 1] == "", np.char.add("film ", cells[:, 0]), cells[:, 1])
    files, folds, groups, sets = cells[:, 0], cells[:, 2], cells[:, 3], cells[:, 4]
    return Scores(labels, files, patients, folds, groups, sets, np.array(truth), np.array(said))


def _labels(path: Path, head: Sequence[str]) -> tuple[str, ...]:
    missing = [column for column in COLUMNS if column not in head]
    if missing:
        raise ValueError(f"{path}, line 1: no column {', '.join(missing)}")
    labels = tuple(name.removeprefix(TRUE) for name in head if name.startswith(TRUE))
    if not labels:
        raise ValueError(f"{path}, line 1: no column {TRUE}<label>")
    said = {name.removeprefix(SAID) for name in head if name.startswith(SAID)}
    lonely = [f"{SAID}{label}" for label in labels if label not in said]
    lonely += [f"{TRUE}{label}" for label in sorted(said - set(labels))]
    if lonely:
        raise ValueError(f"{path}, line 1: no column {', '.join(lonely)}")
    twice = sorted({name for name in head if list(head).count(name) > 1})
    if twice:
        raise ValueError(f"{path}, line 1: {', '.join(twice)} stands twice")
    return labels


def _known(cell: str, where: str) -> float:
    if cell not in KNOWN:
        raise ValueError(f"{where} is {cell!r}; 1, 0 or nothing is expected")
    return KNOWN[cell]


def _probability(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ValueError(f"{where} is {cell!r}; a probability from 0 to 1 is expected")
    return value


def _no_film_twice(scores: Scores) -> None:
    """A film counted twice, or a patient in two folds, would make every number look surer than it is."""
    seen: set[tuple[str, str]] = set()
    fold_of: dict[tuple[str, str], str] = {}
    columns = (scores.files, scores.patients, scores.folds, scores.sets)
    for file, patient, fold, set_ in zip(*(column.tolist() for column in columns), strict=True):
        if (set_, file) in seen:
            raise ValueError(f"film {file} stands twice in set {set_!r}")
        seen.add((set_, file))
        if fold_of.setdefault((set_, patient), fold) != fold:
            raise ValueError(
                f"patient {patient} is in two folds of set {set_!r}: the split is not by patient"
            )
