"""Counts what a gate does with held-out patients, a row a site, and writes it into the model card.

A gate is judged as it ships: one film at a time, from the picture as it is published, thresholds and
all. `judge` is the gate (pipelines.gates), handed in; it answers "good", "unsure" or a reason.
Counts are in *patients*: a patient counts as an error when any one of their films went wrong.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import beta  # type: ignore[import-untyped]

from models import card
from models.data import Row, read_rows

Pixels = NDArray[np.float32]  # (H, W) in [0, 1]
Judge = Callable[[Pixels], str]
WHAT = """Held-out patients (a fifth of the groups, trained on by nothing), as published, judged with the
thresholds that ship. A patient counts as an error when any one of their films was not answered as wanted.
"""
HEAD = """| case | site | patients | as wanted | 95 % interval | only unsure | misjudged |
|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One way to show films to a gate, and what it must answer."""

    name: str
    fits: Callable[[Row], bool]
    alter: Callable[[Pixels], Pixels]
    wanted: Callable[[Row], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Line:
    """What a gate did with the patients of one site in one case."""

    case: str
    site: str
    patients: int
    errors: int  # patients with any film that was not answered as wanted
    unsure: int  # of these, patients whose films were only answered "unsure": held, not misjudged
    low: float  # exact 95 % interval of the share of patients answered as wanted
    high: float


def clopper_pearson(good: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval for a share of `good` in `n` (Clopper and Pearson 1934)."""
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, good, n - good + 1)) if good else 0.0
    high = float(beta.ppf(1 - tail, good + 1, n - good)) if good < n else 1.0
    return low, high


def frontal(row: Row) -> bool:
    """Frontal chests, the only films that have an upright, a polarity and a handedness here."""
    return row.view == "frontal"


def _turn(k: int) -> Callable[[Pixels], Pixels]:
    return lambda a: np.rot90(a, -k)


def _anatomy(row: Row) -> tuple[str, ...]:
    if row.view == "frontal":
        return ("good",)
    return ("LATERAL", "OTHER_PART", "NOT_A_RADIOGRAPH")  # which of them is a matter for people


CASES: dict[str, tuple[Case, ...]] = {
    "rotation": (
        Case("upright", frontal, lambda a: a, lambda _: ("good",)),
        Case("upright, inverted", frontal, lambda a: 1 - a, lambda _: ("good",)),
        Case("upright, mirrored", frontal, lambda a: a[:, ::-1], lambda _: ("good",)),
        Case("turned 90", frontal, _turn(1), lambda _: ("ROTATED_90",)),
        Case("turned 180", frontal, _turn(2), lambda _: ("ROTATED_180",)),
        Case("turned 270", frontal, _turn(3), lambda _: ("ROTATED_270",)),
        Case("flipped top to bottom", frontal, lambda a: a[::-1], lambda _: ("ROTATED_180",)),
        Case("turned 90 and inverted", frontal, lambda a: 1 - np.rot90(a, -1), lambda _: ("ROTATED_90",)),
    ),
    "inversion": (
        Case("right polarity", frontal, lambda a: a, lambda _: ("good",)),
        Case("right polarity, turned 90", frontal, _turn(1), lambda _: ("good",)),
        Case("inverted", frontal, lambda a: 1 - a, lambda _: ("INVERTED",)),
        Case("inverted and turned 90", frontal, lambda a: 1 - np.rot90(a, -1), lambda _: ("INVERTED",)),
    ),
    "anatomy": (
        Case("as it is", lambda _: True, lambda a: a, _anatomy),
        Case("turned 90 and inverted", lambda _: True, lambda a: 1 - np.rot90(a, -1), _anatomy),
    ),
    "mirror": (
        Case("as it is", frontal, lambda a: a, lambda _: ("good",)),
        Case("mirrored", frontal, lambda a: a[:, ::-1], lambda _: ("MIRROR_SUSPECTED",)),
        Case("flipped top to bottom", frontal, lambda a: a[::-1], lambda _: ("MIRROR_SUSPECTED",)),
    ),
    "lungs": (Case("as it is", frontal, lambda a: a, lambda _: ("good", "LUNGS_CUT_OFF")),),
}


def evaluate(name: str, films: Path, folder: Path, judge: Judge, fold: int = 0) -> tuple[Line, ...]:
    """Judges the held-out films, writes `evaluation.json` and the card's table; returns the lines."""
    lines = counted(name, [row for row in read_rows(films) if row.fold == fold], films, judge)
    (folder / "docs" / "evaluation.json").write_text(
        json.dumps([asdict(line) for line in lines], indent=1) + "\n"
    )
    card.write_part(folder, "evaluation", f"## Evaluation\n\n{WHAT}\n{table(lines)}")
    return lines


def evaluate_site(name: str, films: Path, folder: Path, judge: Judge, site: str) -> tuple[Line, ...]:
    """Judges all films of one site with a gate that was trained without it; adds a table to the card."""
    lines = counted(name, [row for row in read_rows(films) if row.site == site], films, judge)
    title = (
        f"## Trained without {site}\n\nThe same recipe in a shorter run that never saw a film of this site."
    )
    card.write_part(folder, f"without {site}", f"{title}\n\n{table(lines)}")
    return lines


def counted(name: str, rows: list[Row], films: Path, judge: Judge) -> tuple[Line, ...]:
    """What a gate does with these films, in all cases of its kind."""
    return tuple(line for case in CASES[name] for line in _count(case, rows, films, judge))


def table(lines: Iterable[Line]) -> str:
    """The lines as Markdown."""
    return HEAD + "".join(
        f"| {x.case} | {x.site} | {x.patients} | {x.patients - x.errors} | {x.low:.3f} to {x.high:.3f} "
        f"| {x.unsure} | {x.errors - x.unsure} |\n"
        for x in lines
    )


def read_pixels(path: Path) -> Pixels:
    """A published picture as a film, (H, W) float32 in [0, 1]."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L")).astype(np.float32) / np.float32(255)


def _count(case: Case, rows: list[Row], films: Path, judge: Judge) -> list[Line]:
    worst: dict[tuple[str, str], int] = defaultdict(
        int
    )  # (site, patient) -> 0 as wanted, 1 unsure, 2 misjudged
    for row in rows:
        if case.fits(row):
            answer = judge(np.ascontiguousarray(case.alter(read_pixels(films / row.file))))
            wrong = 0 if answer in case.wanted(row) else 1 if answer == "unsure" else 2
            for site in (_site(row), "all of these" if row.view == "frontal" else "all others"):
                worst[site, row.group] = max(worst[site, row.group], wrong)
    return [
        _line(case.name, site, [v for (s, _), v in worst.items() if s == site])
        for site in sorted({s for s, _ in worst})
    ]


def _line(case: str, site: str, worst: list[int]) -> Line:
    n, errors = len(worst), sum(v > 0 for v in worst)
    return Line(case, site, n, errors, sum(v == 1 for v in worst), *clopper_pearson(n - errors, n))


def _site(row: Row) -> str:
    if row.view == "lateral":
        return f"{row.site}, lateral"
    return f"{row.site}, squashed" if row.squashed else row.site
