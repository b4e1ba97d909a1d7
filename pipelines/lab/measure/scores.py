"""What a gate said of films it had never seen: the one table that thresholds, cards and reports come from.

    runs/<round>/<gate>/scores.csv    what a round's network made of the films it never saw
    runs/<round>/lungs/boxes.csv      and where it found their lungs

A row is one film shown in one way ("turned 90", "inverted", ...) to a gate. It keeps the gate's score and
the answer that it would give if its score lay at the bad end, so that every threshold can be tried on the
table without looking at a film again. In each gate more is better: at or above `high` a film is good, at or
below `low` it is bad, between them the gate is not sure.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pipelines.lab.films.data import ROUNDS

GOOD, UNSURE = "good", "unsure"
SCORES, BOXES = "scores.csv", "boxes.csv"


@dataclass(frozen=True, slots=True)
class Score:
    """One film, shown in one way, and what a gate made of it."""

    gate: str
    left_out: str  # the round whose network this was (a key of data.ROUNDS), "" for the one that ships
    file: str
    source: str
    site: str
    group: str  # the patient: counts are in these
    view: str
    part: str
    case: str  # how it was shown: "as it is", "turned 90", ...
    wanted: str  # "good", or the reasons any of which is right, joined by "|"
    score: float  # 1: surely good
    named: str  # what the gate calls it when it is bad, a Reason

    def answer(self, low: float, high: float) -> str:
        """ "good", "unsure" or a reason, with these thresholds."""
        if self.score >= high:
            return GOOD
        return self.named if self.score <= low else UNSURE

    def right(self, low: float, high: float) -> bool:
        """Whether that answer is the wanted one."""
        return self.answer(low, high) in self.wanted.split("|")


@dataclass(frozen=True, slots=True)
class BoxScore:
    """The lung box that a gate found in one film, beside the true one."""

    left_out: str
    file: str
    source: str
    site: str
    group: str
    iou: float  # intersection over union of the two boxes; 0 where none was found
    inside: float  # share of the true lung area inside of the found box; nan where the film has no mask
    found: str  # "x0 y0 x1 y1" in fractions of the film, "" where none was found
    true: str


def write(path: Path, scores: Iterable[Score]) -> None:
    """Writes the table as CSV, beside first and then renamed."""
    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w", newline="") as handle:
        out = csv.DictWriter(handle, [field.name for field in fields(Score)])
        out.writeheader()
        out.writerows(asdict(score) | {"score": f"{score.score:.6g}"} for score in scores)
    part.replace(path)


def read(path: Path) -> list[Score]:
    """Reads such a table. Raises OSError or ValueError."""
    with path.open(newline="") as handle:
        return [Score(**{**line, "score": float(line["score"])}) for line in csv.DictReader(handle)]  # type: ignore[arg-type]


def write_boxes(path: Path, boxes: Iterable[BoxScore]) -> None:
    """Writes the boxes as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as handle:
        out = csv.DictWriter(handle, [field.name for field in fields(BoxScore)])
        out.writeheader()
        out.writerows(asdict(box) for box in boxes)


def read_boxes(path: Path) -> list[BoxScore]:
    """Reads such a table. Raises OSError or ValueError."""
    with path.open(newline="") as handle:
        return [
            BoxScore(**{**line, "iou": float(line["iou"]), "inside": float(line["inside"])})  # type: ignore[arg-type]
            for line in csv.DictReader(handle)
        ]


# --- the tables of all rounds -------------------------------------------------------------------------------


def tables(runs: Path, gate: str) -> tuple[Path, ...]:
    """The tables of a gate's rounds that are there, in the order of their paths."""
    return tuple(sorted(path for round_ in ROUNDS if (path := runs / round_ / gate / SCORES).exists()))


def named_tables(paths: Sequence[Path], gate: str) -> tuple[Path, ...]:
    """Tables as they are, folders of runs as the tables of a gate in them. Raises ValueError for none."""
    named = tuple(path for name in paths for path in (tables(name, gate) if name.is_dir() else (name,)))
    if not named:
        raise ValueError(f"no {SCORES} of {gate} in {', '.join(str(path) for path in paths)}")
    return named


def pooled(paths: Sequence[Path], gate: str) -> list[Score]:
    """All scores of a gate in these tables and folders of runs. Raises OSError or ValueError."""
    return of_gate((score for path in named_tables(paths, gate) for score in read(path)), gate)


def boxes(runs: Path) -> list[BoxScore]:
    """The lung boxes of all rounds that have some. Raises OSError or ValueError."""
    found = (runs / round_ / "lungs" / BOXES for round_ in ROUNDS)
    return [box for path in found if path.exists() for box in read_boxes(path)]


def of_gate(table: Iterable[Score], gate: str) -> list[Score]:
    """The rows of one gate. Raises ValueError when there are none."""
    rows = [row for row in table if row.gate == gate]
    if not rows:
        raise ValueError(f"there are no scores of the gate {gate} in the tables")
    return rows
