"""The bars that a gate must clear, and whether it does: as observed, and as proven by so many patients.

A bar *holds* when what was observed meets it. It is *proven* when the 95 % bound meets it too; where it is
not, more patients could still show the claim wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.lab.films.data import Row
from pipelines.lab.measure.binomial import clopper_pearson, upper
from pipelines.lab.measure.scores import GOOD, BoxScore, Score
from pipelines.lab.measure.tables import (
    GROUPS,
    MISJUDGED,
    RIGHT,
    Judged,
    Line,
    Table,
    Thresholds,
    grouped,
    judge,
    line,
    lost,
    markdown,
    patients,
    share,
    span,
)
from pipelines.lab.report.gate_curves import ALL, Roc, rocs

ONE_IN_2000 = 1 / 2000
FRONTALS_LOST = 0.0005  # of the anatomy gate
CHAIN_LOST = 0.002  # of clean films, by all gates together
MIRROR_ALARMS = 0.0002  # what the mirror gate may cost
NOT_CHEST_RECALL, CHILDREN_KEPT = 0.995, 0.995
FAR_AUC, NEAR_AUC, MIRROR_AUC = 0.999, 0.97, 0.995
PASSED = 0.01  # of skull-like and abdomen-like films that may be taken for a frontal chest
LIKE_SKULL_OR_ABDOMEN = ("skull", "dental", "abdomen")
BOX_MEDIAN, BOX_LOW, LUNG_INSIDE = 0.92, 0.75, 0.99


@dataclass(frozen=True, slots=True)
class Claim:
    """One bar and what was measured against it."""

    claim: str
    bar: str
    measured: str
    n: int  # patients
    interval: str  # 95 %
    holds: bool | None  # as observed; None where there is nothing to measure it on, or no bar
    proven: bool | None = None  # the 95 % bound holds too


def judged_claims(
    gate: str,
    scores: Iterable[Score],
    thresholds: Thresholds,
    rows: Sequence[Row],
    boxes: Sequence[BoxScore] = (),
    budget: float | None = None,
) -> list[Claim]:
    """All bars that apply to this gate. `budget` is the share of clean films that it may cost."""
    judged = judge(scores, thresholds, rows)
    return claims_of(gate, judged, rocs(gate, judged), boxes, budget)


def claims_of(
    gate: str,
    judged: Sequence[Judged],
    curves: Sequence[Roc],
    boxes: Sequence[BoxScore] = (),
    budget: float | None = None,
) -> list[Claim]:
    """The same, where the answers and their curves are already there."""
    claims: list[Claim] = []
    if gate in ("rotation", "inversion"):
        claims = _no_errors(gate, judged)
    elif gate == "anatomy":
        claims = _anatomy(judged, curves)
    elif gate == "mirror":
        claims = _mirror(judged, curves)
    elif gate == "chain":
        claims, budget = _chain(judged), CHAIN_LOST if budget is None else budget
    return [*claims, *box_claims(boxes), *_kept(gate, judged, budget)]


def at_most(claim: str, bar: float, count: Line, what: str = "errors") -> Claim:
    """A bar on the share of patients with an error."""
    if not count.patients:
        return Claim(claim, _bar(bar), "no such films", 0, "", None)
    low, high = clopper_pearson(count.errors, count.patients)
    measured = f"{count.errors} {what} in {count.patients} patients"
    return Claim(
        claim,
        _bar(bar),
        measured,
        count.patients,
        span((low, high)),
        count.errors / count.patients <= bar,
        upper(count.errors, count.patients) <= bar,
    )


def printed(claim: str, count: Line, what: str) -> Claim:
    """A count that no bar stands against."""
    return replace(at_most(claim, 1.0, count, what), bar="printed", holds=None, proven=None)


def as_table(name: str, title: str, rows: Iterable[Claim]) -> Table:
    """The claims as cells."""
    head = ("claim", "bar", "measured", "patients", "95 % interval", "holds")
    cells = tuple((c.claim, c.bar, c.measured, str(c.n), c.interval, verdict(c)) for c in rows)
    return Table(name, title, head, cells, "“Proven”: the one-sided 95 % bound meets the bar too.")


def verdict(claim: Claim) -> str:
    """ "no", "observed", "proven"; "no films" where there is none, and "–" where there is no bar."""
    if not claim.n:
        return "no films"
    if claim.holds is None:
        return "–"
    return "proven" if claim.holds and claim.proven else "observed" if claim.holds else "no"


def claims_markdown(rows: Iterable[Claim]) -> str:
    """The claims as a Markdown table."""
    table = as_table("claims", "", rows)
    return markdown(table.head, table.rows)


# --- by gate ------------------------------------------------------------------------------------------------


def _no_errors(gate: str, judged: Sequence[Judged]) -> list[Claim]:
    """Rotation and inversion: one error in 2,000 patients, all the ways a film is shown counted as one."""
    what, belongs = next(iter(GROUPS[gate].items()))
    shown = [one for one in judged if one.score.wanted and belongs(one.score.case)]
    everything = line(what, ALL, shown)
    wrong = Line(what, ALL, everything.patients, everything.misjudged, 0)
    rows = [
        at_most(f"{what}: misjudged", ONE_IN_2000, wrong),
        at_most(f"{what}: misjudged or unsure", ONE_IN_2000, everything),
    ]
    adults = [one for one in shown if not one.child]
    for site, some in grouped(adults, lambda one: one.score.site).items():
        count = line(what, site, some)
        measured = f"{count.misjudged} misjudged, {count.unsure} only unsure"
        interval = span(clopper_pearson(count.misjudged, count.patients))
        holds = count.misjudged <= 1
        rows.append(
            Claim(f"{what}: adults of {site}", "at most 1", measured, count.patients, interval, holds)
        )
    return rows


def _anatomy(judged: Sequence[Judged], curves: Sequence[Roc]) -> list[Claim]:
    frontal = [one for one in judged if one.score.view == "frontal"]
    lateral = [one for one in judged if one.score.view == "lateral"]
    other = [one for one in judged if one.score.view not in ("frontal", "lateral")]
    rows = [
        at_most("laterals passed as frontal", 0.0, _count(lateral, lambda one: one.answer == GOOD), "passed"),
        printed(
            "laterals not named lateral", _count(lateral, lambda one: one.answer != "LATERAL"), "not named"
        ),
        at_most(
            "frontals called lateral",
            ONE_IN_2000,
            _count(frontal, lambda one: one.answer == "LATERAL"),
            "called so",
        ),
        at_most("frontals lost", FRONTALS_LOST, _lost("anatomy", judged), "lost"),
        at_most("other parts passed as frontal", 1 - NOT_CHEST_RECALL, _passed(other), "passed"),
    ]
    for site, some in grouped(other, lambda one: one.score.site).items():
        rows.append(at_most(f"{site} passed as frontal", 1 - NOT_CHEST_RECALL, _passed(some), "passed"))
    for part, some in grouped(other, lambda one: one.score.part).items():
        if any(word in part.lower() for word in LIKE_SKULL_OR_ABDOMEN):
            rows.append(at_most(f"like a skull or an abdomen: {part}", PASSED, _passed(some), "passed"))
    far = {one.score.site for one in other if is_far(one.score)}
    sets = {one.score.site for one in other}
    for curve in curves:
        if curve.name == "as it is" and curve.site in sets:
            bar, kind = (FAR_AUC, "far") if curve.site in far else (NEAR_AUC, "near")
            rows.append(_area(f"AUROC, {kind}: {curve.site}", bar, curve))
    return rows


def is_far(score: Score) -> bool:
    """Whether the film is no radiograph at all; every other part of the body counts as near."""
    return score.part.startswith("non-radiograph") or score.site.startswith("far")


def _mirror(judged: Sequence[Judged], curves: Sequence[Roc]) -> list[Claim]:
    rows = [_area(f"AUC, {curve.name}: {curve.site}", MIRROR_AUC, curve) for curve in curves]
    for curve in curves:
        if curve.site == ALL:
            for alarms in (MIRROR_ALARMS, 0.01):
                measured = f"recall {share(curve.recall_at(alarms))}"
                claim = f"{curve.name}: recall at {_rate(alarms)} false alarms"
                rows.append(Claim(claim, "printed", measured, curve.patients, "", None))
    mirrored = [one for one in judged if one.score.case == "mirrored"]
    missed = _count(mirrored, lambda one: one.wrong != RIGHT)
    rows.append(printed("mirrored films missed at the thresholds", missed, "missed"))
    return [
        *rows,
        at_most("false alarms at the thresholds", MIRROR_ALARMS, _lost("mirror", judged), "alarms"),
    ]


def _chain(judged: Sequence[Judged]) -> list[Claim]:
    """What passes all gates and is no frontal chest; what it costs in clean films is the budget's."""
    others = [one for one in judged if one.score.view != "frontal"]
    return [printed("not a frontal chest, and passed", _passed(others), "passed")]


def box_claims(boxes: Sequence[BoxScore]) -> list[Claim]:
    """The lung box by site: median and first percentile of the overlap, and the share of lung inside."""
    rows: list[Claim] = []
    sites = sorted({box.site for box in boxes})
    for site in sites:
        some = [box for box in boxes if box.site == site]
        iou = np.array([box.iou for box in some])
        inside = np.array([box.inside for box in some])
        n = len({box.group for box in some})
        rows.append(_value(f"box IoU, median: {site}", BOX_MEDIAN, float(np.median(iou)), n))
        rows.append(_value(f"box IoU, 1st percentile: {site}", BOX_LOW, float(np.quantile(iou, 0.01)), n))
        if not np.isnan(inside).all():
            rows.append(
                _value(f"lung inside the box, mean: {site}", LUNG_INSIDE, float(np.nanmean(inside)), n)
            )
    return rows


def _kept(gate: str, judged: Sequence[Judged], budget: float | None) -> list[Claim]:
    """What the gate costs in clean films, and how many films of children it keeps."""
    kept = lost(gate, judged)
    count = line("", ALL, kept)
    rows = []
    if budget is not None:
        rows.append(at_most("clean films lost, against the budget", budget, count, "lost"))
    else:
        rows.append(printed("clean films lost", count, "lost"))
    children = line("", ALL, [one for one in kept if one.child])
    return [*rows, at_most("children's frontal films lost", 1 - CHILDREN_KEPT, children, "lost")]


def _lost(gate: str, judged: Sequence[Judged]) -> Line:
    return line("", ALL, lost(gate, judged))


def _passed(judged: Iterable[Judged]) -> Line:
    return _count(judged, lambda one: one.answer == GOOD)


def _count(judged: Iterable[Judged], error: Callable[[Judged], bool]) -> Line:
    """Patients, and those with any answer for which `error` is true."""
    marked = [Judged(one.score, one.answer, MISJUDGED if error(one) else RIGHT, one.row) for one in judged]
    worst = Counter(patients(marked).values())
    return Line("", ALL, worst.total(), worst[MISJUDGED], 0)


def _area(claim: str, bar: float, curve: Roc) -> Claim:
    return Claim(
        claim,
        f"at least {bar}",
        f"{curve.auc:.5f}",
        curve.patients,
        f"{curve.interval[0]:.5f} to {curve.interval[1]:.5f}",
        curve.auc >= bar,
        curve.interval[0] >= bar,
    )


def _value(claim: str, bar: float, value: float, n: int) -> Claim:
    return Claim(claim, f"at least {bar}", share(value), n, "", value >= bar)


def _bar(value: float) -> str:
    return f"at most {_rate(value)}" if value else "none"


def _rate(value: float) -> str:
    return f"{value * 100:g} %"
