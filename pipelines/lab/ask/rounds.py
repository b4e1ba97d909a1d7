"""The tables that the rounds of leave-site-out left behind, and thresholds chosen without a site.

runs/<round>/<gate>/scores.csv    what a round's network made of the films it never saw
runs/<round>/lungs/boxes.csv      and where it found their lungs
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path

from models.bundle import Card
from pipelines.lab.ask.evaluate import BoxScore, read_boxes
from pipelines.lab.films.data import ROUNDS
from pipelines.lab.measure import calibrate, scores
from pipelines.lab.measure.binomial import Rate
from pipelines.lab.measure.budget import Share
from pipelines.lab.measure.calibrate import Found
from pipelines.lab.measure.scores import Score

SCORES, BOXES = "scores.csv", "boxes.csv"

Measure = tuple[str, str, float | str, int, tuple[float, float] | str | None]  # as lab.report shows them


def tables(runs: Path, gate: str) -> tuple[Path, ...]:
    """The tables of a gate's rounds that are there, in the order of their paths."""
    return tuple(sorted(path for round_ in ROUNDS if (path := runs / round_ / gate / SCORES).exists()))


def named_tables(paths: Sequence[Path], gate: str) -> tuple[Path, ...]:
    """Tables as they are, folders of runs as the tables of a gate in them. Raises ValueError for none."""
    found = tuple(path for name in paths for path in (tables(name, gate) if name.is_dir() else (name,)))
    if not found:
        raise ValueError(f"no {SCORES} of {gate} in {', '.join(str(path) for path in paths)}")
    return found


def pooled(paths: Sequence[Path], gate: str) -> list[Score]:
    """All scores of a gate in these tables. Raises OSError or ValueError."""
    return calibrate.of_gate((score for path in paths for score in scores.read(path)), gate)


def boxes(runs: Path) -> list[BoxScore]:
    """The lung boxes of all rounds that have some. Raises OSError or ValueError."""
    found = (runs / round_ / "lungs" / BOXES for round_ in ROUNDS)
    return [box for path in found if path.exists() for box in read_boxes(path)]


def thresholds_of(card: Card) -> tuple[float, float] | None:
    """(low, high) of a card, the same twice for a gate with one threshold; None when it has none yet."""
    known = card.thresholds
    if "least" in known:
        return known["least"], known["least"]
    return (known["low"], known.get("high", known["low"])) if "low" in known else None


def without_site(table: Sequence[Score], share: Share) -> dict[str, Found]:
    """What each round's patients get from thresholds chosen on the others; nothing with a single round."""
    if len({row.left_out for row in table}) < 2:
        return {}
    out = {}
    for round_, chosen in calibrate.frozen(table, share).items():
        here = calibrate.patients(row for row in table if row.left_out == round_)
        if here.good:
            out[round_] = calibrate.counted(here.goods, here.bads, share, chosen.low, chosen.high)
    return out


def measures(found: dict[str, Found]) -> tuple[Measure, ...]:
    """These counts as rows of a report."""
    rows: list[Measure] = []
    for round_, one in found.items():
        rows.append((round_, "low, high", f"{one.low:.4f}, {one.high:.4f}", one.lost.patients, None))
        rows += [_measure(round_, "clean patients lost", one.lost)]
        rows += [_measure(round_, "clean patients called faulty", one.wrong)]
        if one.missed:
            rows += [_measure(round_, "faulty patients missed", one.missed)]
        if not isnan(one.caught):
            rows.append(
                (round_, "faulty patients called faulty, all films", one.caught, one.lost.patients, None)
            )
    return tuple(rows)


def _measure(round_: str, metric: str, rate: Rate) -> Measure:
    return round_, metric, str(rate.errors), rate.patients, f"share at most {rate.bound:.5f}"
