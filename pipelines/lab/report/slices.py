"""Retention by finding, projection, sex and age: whether a gate holds some kind of patient more than others.

The sickest films are the ones a gate likes to hold, and an average hides it. Each slice is set against the
rest of the films *that it could have been told from*: a finding against the other films of its site, because
every site has its own words; sex, projection and age decade against the other adults of whom they are known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from scipy.stats import fisher_exact  # type: ignore[import-untyped]

from pipelines.lab.films.data import Row
from pipelines.lab.measure.binomial import clopper_pearson
from pipelines.lab.measure.tables import RIGHT, Judged, Table, lost, patients, share, span

LEAST = 5  # patients of a slice: fewer say nothing
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
    found: list[Slice] = []
    for kind, domain, names in KINDS:
        pools: dict[str, list[tuple[Judged, set[str]]]] = defaultdict(list)
        for one, row in shown:
            pool = domain(row)
            if pool is not None:
                pools[pool].append((one, set(names(row))))
        for pool, members in sorted(pools.items()):
            found += _slices(kind, pool, members)
    return _holm(found)


def _slices(kind: str, pool: str, members: Sequence[tuple[Judged, set[str]]]) -> Iterator[Slice]:
    for name in sorted({name for _, names in members for name in names}):
        n, kept = _kept(one for one, names in members if name in names)
        rest, rest_kept = _kept(one for one, names in members if name not in names)
        if n >= LEAST and rest >= LEAST:
            p = float(fisher_exact([[kept, n - kept], [rest_kept, rest - rest_kept]]).pvalue)
            yield Slice(kind, f"{pool}: {name}" if pool else name, n, kept, rest, rest_kept, p)


def _kept(judged: Iterable[Judged]) -> tuple[int, int]:
    """Patients, and those all of whose films were let through."""
    worst = list(patients(judged).values())
    return len(worst), worst.count(RIGHT)


def _holm(found: list[Slice]) -> list[Slice]:
    """The p values times the number of tests that are not yet decided, never falling."""
    order = sorted(range(len(found)), key=lambda i: found[i].p)
    out, worst = list(found), 0.0
    for place, i in enumerate(order):
        worst = max(worst, min(1.0, found[i].p * (len(found) - place)))
        out[i] = replace(found[i], p_holm=worst)
    return out


def as_table(found: Iterable[Slice]) -> Table:
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
        for one in found
    )
    note = (
        "Frontal films as published that the gate let through, in patients. Fisher's exact test, two-sided, "
        "against the rest of the same pool, corrected after Holm for all rows; slices of under "
        f"{LEAST} patients are left out."
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
