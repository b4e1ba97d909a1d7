"""Counts in patients: how many of a site a gate got wrong, and how many it may get wrong at worst.

A patient is an error when any one of their films, in any of the cases that a line is about, was not answered
as wanted; they are *misjudged* when any such answer was wrong, and *only unsure* when the gate never said
anything wrong of them but did not dare to answer. Intervals are Clopper and Pearson's, exact.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scipy.stats import fisher_exact  # type: ignore[import-untyped]

from pipelines.lab.films.data import ROUNDS, Row
from pipelines.lab.measure.binomial import clopper_pearson, upper
from pipelines.lab.measure.scores import GOOD, UNSURE, Score

Thresholds = tuple[float, float]  # low, high
RIGHT, NOT_SURE, MISJUDGED = range(3)
ALL_FRONTALS, ALL_OTHERS = "all frontal chests", "all others"
SLOUCH = 15  # degrees up to which a tilted film is upright


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
        return upper(self.errors, self.patients)


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


# --- by slice: whether a gate holds some kind of patient more than others -----------------------------------

# The sickest films are the ones a gate likes to hold, and an average hides it. Each slice is set against the
# rest of the films *that it could have been told from*: a finding against the other films of its site, as
# every site has its own words; sex, projection and age decade against the other adults of whom they are
# known.
LEAST_IN_SLICE = 5  # patients of a slice: fewer say nothing
ALPHA = 0.05
SEXES = {"m": "men", "male": "men", "f": "women", "female": "women"}


@dataclass(frozen=True, slots=True)
class Slice:
    """How many patients of one kind a gate let through, and how many of the others."""

    kind: str  # "finding", "projection", ...
    name: str
    patients: int
    kept: int
    rest: int  # patients
    rest_kept: int
    p: float  # Fisher's exact test, two-sided
    p_holm: float = 1.0  # corrected for all slices of the table

    @property
    def below(self) -> bool:
        """Significantly fewer kept than of the rest."""
        fewer = self.kept * self.rest < self.rest_kept * self.patients
        return fewer and self.p_holm < ALPHA


def slices(gate: str, judged: Sequence[Judged]) -> list[Slice]:
    """All slices of the frontal films as published, with p values corrected after Holm (1979)."""
    shown = [(one, one.row) for one in lost(gate, judged) if one.row]
    slices_: list[Slice] = []
    for kind, domain, names in KINDS:
        pools: dict[str, list[tuple[Judged, set[str]]]] = defaultdict(list)
        for one, row in shown:
            pool = domain(row)
            if pool is not None:
                pools[pool].append((one, set(names(row))))
        for pool, members in sorted(pools.items()):
            slices_ += _slices(kind, pool, members)
    return _holm(slices_)


def _slices(kind: str, pool: str, members: Sequence[tuple[Judged, set[str]]]) -> Iterator[Slice]:
    for name in sorted({name for _, names in members for name in names}):
        n, kept = _kept(one for one, names in members if name in names)
        rest, rest_kept = _kept(one for one, names in members if name not in names)
        if n >= LEAST_IN_SLICE and rest >= LEAST_IN_SLICE:
            p = float(fisher_exact([[kept, n - kept], [rest_kept, rest - rest_kept]]).pvalue)
            yield Slice(kind, f"{pool}: {name}" if pool else name, n, kept, rest, rest_kept, p)


def _kept(judged: Iterable[Judged]) -> tuple[int, int]:
    """Patients, and those all of whose films were let through."""
    worst = list(patients(judged).values())
    return len(worst), worst.count(RIGHT)


def _holm(slices_: list[Slice]) -> list[Slice]:
    """The p values times the number of tests that are not yet decided, never falling."""
    order = sorted(range(len(slices_)), key=lambda i: slices_[i].p)
    out, worst = list(slices_), 0.0
    for place, i in enumerate(order):
        worst = max(worst, min(1.0, slices_[i].p * (len(slices_) - place)))
        out[i] = replace(slices_[i], p_holm=worst)
    return out


def slice_table(slices_: Iterable[Slice]) -> Table:
    """The slices as cells, the worst first within each kind."""
    head = ("kind", "slice", "patients", "kept", "share", "95 % interval", "rest", "share", "p (Holm)", "")
    rows = tuple(
        (
            one.kind,
            one.name,
            str(one.patients),
            str(one.kept),
            share(one.kept / one.patients),
            span(clopper_pearson(one.kept, one.patients)),
            str(one.rest),
            share(one.rest_kept / one.rest),
            f"{one.p_holm:.3g}",
            "significantly below" if one.below else "",
        )
        for one in slices_
    )
    note = (
        "Frontal films as published that the gate let through, in patients. Fisher's exact test, two-sided, "
        "against the rest of the same pool, corrected after Holm for all rows; slices of under "
        f"{LEAST_IN_SLICE} patients are left out."
    )
    return Table("slices", "Retention by slice", head, rows, note)


# --- what a film is a member of -----------------------------------------------------------------------------

Domain = Callable[[Row], str | None]  # the pool a film is compared in; None: not known, left out


def _findings(row: Row) -> Iterator[str]:
    yield from (label for label in row.labels.split("|") if label and label != "todo")


def _site_with_labels(row: Row) -> str | None:
    return row.site if any(_findings(row)) else None


def _projection(row: Row) -> Iterator[str]:
    yield row.projection


def _adult_of_known_projection(row: Row) -> str | None:
    return "" if row.projection in ("PA", "AP") and not row.child else None


def _sex(row: Row) -> Iterator[str]:
    yield SEXES[row.sex.lower()]


def _adult_of_known_sex(row: Row) -> str | None:
    return "" if row.sex.lower() in SEXES and not row.child else None


def decade(row: Row) -> str | None:
    """ "50 to 59"; None when the age is not a number."""
    try:
        years = int(float(row.age)) // 10 * 10
    except ValueError:
        return None
    return f"{years} to {years + 9}"


def _decade(row: Row) -> Iterator[str]:
    yield decade(row) or ""


def _of_known_age(row: Row) -> str | None:
    return "" if decade(row) else None


def _squashed(row: Row) -> Iterator[str]:
    yield "squashed to a square" if row.squashed else "not squashed"


def _child(row: Row) -> Iterator[str]:
    yield "children under ten" if row.child else "older or of unknown age"


KINDS: tuple[tuple[str, Domain, Callable[[Row], Iterator[str]]], ...] = (
    ("finding", _site_with_labels, _findings),
    ("projection", _adult_of_known_projection, _projection),
    ("sex", _adult_of_known_sex, _sex),
    ("age", _of_known_age, _decade),
    ("child", lambda _: "", _child),
    ("picture", lambda row: row.site, _squashed),
)
