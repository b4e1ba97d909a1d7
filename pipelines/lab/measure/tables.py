"""Counts in patients: how many of a site a gate got wrong, and how many it may get wrong at worst.

A patient is an error when any one of their films, in any of the cases that a line is about, was not answered
as wanted; they are *misjudged* when any such answer was wrong, and *only unsure* when the gate never said
anything wrong of them but did not dare to answer. Intervals are Clopper and Pearson's, exact.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.lab.films.data import ROUNDS, Row
from pipelines.lab.measure.binomial import clopper_pearson
from pipelines.lab.measure.scores import GOOD, UNSURE, Score

Thresholds = tuple[float, float]  # low, high
RIGHT, NOT_SURE, MISJUDGED = range(3)
ALL_FRONTALS, ALL_OTHERS = "all frontal chests", "all others"
SLOUCH = 15  # degrees up to which a tilted film is upright
OUR_LEVEL = 0.90  # of a two-sided interval whose upper end is the one-sided 95 % bound


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer of a gate, and what it is worth."""

    score: Score
    answer: str  # "good", "unsure" or a reason
    wrong: int  # RIGHT, NOT_SURE or MISJUDGED
    row: Row | None  # None for a film that is not in the manifest, a phantom for instance

    @property
    def place(self) -> str:
        """The site, with laterals and squashed films apart."""
        if self.score.view == "lateral":
            return f"{self.score.site}, lateral"
        return f"{self.score.site}, squashed" if self.row and self.row.squashed else self.score.site

    @property
    def child(self) -> bool:
        """Whether the film is known to show a child under ten."""
        return bool(self.row and self.row.child)

    @property
    def kind(self) -> str:
        """The pool that the film belongs to: frontal chests, or everything that is none."""
        return ALL_FRONTALS if self.score.view == "frontal" else ALL_OTHERS


@dataclass(frozen=True, slots=True)
class Line:
    """What a gate did with the patients of one site in some cases."""

    what: str
    site: str
    patients: int
    misjudged: int
    unsure: int  # patients of whom it was only unsure: held, not misjudged

    @property
    def errors(self) -> int:
        """Patients with any film that was not answered as wanted."""
        return self.misjudged + self.unsure

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of the share of patients answered as wanted."""
        return clopper_pearson(self.patients - self.errors, self.patients)

    @property
    def bound(self) -> float:
        """The share of patients with an error is at most this, at one-sided 95 %."""
        return upper_bound(self.errors, self.patients)


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as they are shown: in HTML, as CSV and in Markdown."""

    name: str  # of the CSV file
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


GROUPS: dict[str, dict[str, Callable[[str], bool]]] = {  # cases that one claim is about, by gate
    "rotation": {
        "all four turns": lambda case: case in ("upright", "turned 90", "turned 180", "turned 270"),
        "other polarity, mirrored, flipped": lambda case: (
            case
            in ("upright, inverted", "upright, mirrored", "flipped top to bottom", "turned 90 and inverted")
        ),
        f"tilted by up to {SLOUCH} degrees": lambda case: case.startswith("tilt "),
    },
    "inversion": {
        "4 turns x 2 polarities": lambda case: "border" not in case,
        "white border, 2 polarities": lambda case: "border" in case,
    },
    "anatomy": {"both ways shown": lambda _: True},
    "mirror": {
        "not mirrored, however marked": lambda case: not case.startswith(("mirrored", "flipped")),
        "mirrored or flipped, however marked": lambda case: case.startswith(("mirrored", "flipped")),
    },
    "lungs": {"as it is": lambda _: True},
}
EVERYTHING: dict[str, Callable[[str], bool]] = {"all cases": lambda _: True}  # of the chain, and of new gates
PLAIN = {"rotation": "upright", "inversion": "right polarity"}  # else "as it is"


def plain(gate: str) -> str:
    """The case in which a film is shown as it is published."""
    return PLAIN.get(gate, "as it is")


def judge(scores: Iterable[Score], thresholds: Thresholds, rows: Sequence[Row] = ()) -> list[Judged]:
    """The answers at these thresholds. A score with nothing wanted is right whatever was answered."""
    by_file = {row.file: row for row in rows}
    return [_judged(score, thresholds, by_file.get(score.file)) for score in scores]


def _judged(score: Score, thresholds: Thresholds, row: Row | None) -> Judged:
    answer = score.answer(*thresholds)
    right = not score.wanted or answer in score.wanted.split("|")
    return Judged(score, answer, RIGHT if right else NOT_SURE if answer == UNSURE else MISJUDGED, row)


def unseen(scores: Iterable[Score]) -> tuple[list[Score], int]:
    """The scores without those of films that their own round trained on, and how many these are.

    A round sees every site of the other rounds, save patients with a lateral, who are left out one by one.
    """
    scores = list(scores)
    laterals = {score.group for score in scores if score.view == "lateral"}

    def seen(score: Score) -> bool:
        sites = ROUNDS.get(score.left_out)
        if sites is None or score.site in sites or score.group in laterals:
            return False
        return any(score.site in others for others in ROUNDS.values())

    kept = [score for score in scores if not seen(score)]
    return kept, len(scores) - len(kept)


def upper_bound(errors: int, n: int) -> float:
    """The one-sided 95 % bound of a share: 0.001 for no error in 2,995, or one in 4,742."""
    return clopper_pearson(errors, n, OUR_LEVEL)[1]


def patients(judged: Iterable[Judged]) -> dict[str, int]:
    """Each patient with the worst of their answers."""
    worst: dict[str, int] = defaultdict(int)
    for one in judged:
        worst[one.score.group] = max(worst[one.score.group], one.wrong)
    return worst


def line(what: str, site: str, judged: Iterable[Judged]) -> Line:
    """The count of these answers, all of a patient's as one."""
    worst = list(patients(judged).values())
    return Line(what, site, len(worst), worst.count(MISJUDGED), worst.count(NOT_SURE))


def by_site(what: str, judged: Sequence[Judged]) -> list[Line]:
    """A line a site, squashed films and laterals apart, then one for all frontals and one for all others."""
    places: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        places[one.place].append(one)
    pools: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        pools[one.kind].append(one)
    return [
        *(line(what, place, places[place]) for place in sorted(places)),
        *(line(what, pool, pools[pool]) for pool in sorted(pools)),
    ]


def counts(gate: str, judged: Sequence[Judged]) -> list[Line]:
    """All lines of a gate: the cases that a claim takes together first, then each case by itself."""
    wanted = [one for one in judged if one.score.wanted]
    lines: list[Line] = []
    for what, belongs in GROUPS.get(gate, EVERYTHING).items():
        lines += by_site(what, [one for one in wanted if belongs(one.score.case)])
    for case in _in_order(one.score.case for one in wanted):
        lines += by_site(case, [one for one in wanted if one.score.case == case])
    return lines


def rounds(gate: str, judged: Sequence[Judged]) -> list[Line]:
    """A line a round and site, all cases of the gate's first claim taken together."""
    belongs = next(iter(GROUPS.get(gate, EVERYTHING).values()))
    lines: list[Line] = []
    for round_ in _in_order(one.score.left_out for one in judged):
        mine = [one for one in judged if one.score.left_out == round_ and one.score.wanted]
        lines += by_site(round_ or "nothing left out", [one for one in mine if belongs(one.score.case)])
    return lines


def lost(gate: str, judged: Iterable[Judged]) -> list[Judged]:
    """The frontal films as published, each right when the gate lets it through and an error when not."""
    kept = {GOOD, "LUNGS_CUT_OFF", "LUNG_BY_SYMMETRY"} if gate == "lungs" else {GOOD}
    return [
        Judged(one.score, one.answer, RIGHT if one.answer in kept else one.wrong or MISJUDGED, one.row)
        for one in judged
        if one.score.case == plain(gate) and one.score.view == "frontal"
    ]


LINE_HEAD = ("site", "patients", "misjudged", "only unsure", "as wanted", "95 % interval", "errors at most")
BOUND_NOTE = "“Errors at most” is the one-sided 95 % bound of the share of patients with any error."


def as_table(name: str, title: str, first: str, lines: Iterable[Line], note: str = "") -> Table:
    """The lines as cells."""
    rows = tuple(
        (
            one.what,
            one.site,
            str(one.patients),
            str(one.misjudged),
            str(one.unsure),
            share(1 - one.errors / one.patients),
            span(one.interval),
            share(one.bound),
        )
        for one in lines
    )
    return Table(name, title, (first, *LINE_HEAD), rows, f"{note} {BOUND_NOTE}".strip())


def share(value: float) -> str:
    """A share as it is printed, four digits."""
    return f"{value:.4f}"


def span(interval: tuple[float, float]) -> str:
    """An interval as it is printed."""
    return f"{share(interval[0])} to {share(interval[1])}"


def write_csv(folder: Path, table: Table) -> Path:
    """Writes the cells as CSV and returns the path."""
    path = folder / f"{table.name}.csv"
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows([table.head, *table.rows])
    return path


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells as a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def grouped(judged: Iterable[Judged], key: Callable[[Judged], str]) -> Mapping[str, list[Judged]]:
    """The answers by a key, in the order of the keys."""
    groups: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        groups[key(one)].append(one)
    return dict(sorted(groups.items()))


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
