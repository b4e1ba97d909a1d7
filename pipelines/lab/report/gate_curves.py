"""ROC, coverage and stress curves: their points, their areas, and how they are drawn.

The positive class is the defect, as in the tables: a *false alarm* is a good film called bad, *recall* the
share of defects called bad. Scores run the other way round (1 is surely good), so a film is called bad at or
below the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from pipelines.lab.ask.gate_cases import TILTS, tilt_name
from pipelines.lab.measure import areas
from pipelines.lab.measure.areas import DRAWS
from pipelines.lab.measure.scores import GOOD, UNSURE, Score
from pipelines.lab.measure.tables import (
    ALL_FRONTALS,
    ALL_OTHERS,
    RIGHT,
    SLOUCH,
    Judged,
    Table,
    Thresholds,
    grouped,
    share,
)
from pipelines.lab.report.drawing import LINES, LOOKS, STROKES, save

Doubles = NDArray[np.float64]
SEED = 3  # of the patients drawn again, for the interval of an area
ALL = "all sites"
PAIRS: dict[
    str, dict[str, tuple[str, ...]]
] = {  # cases that one curve is about; () is all that want an answer
    "rotation": {"four turns": ("upright", "turned 90", "turned 180", "turned 270")},
    "inversion": {
        "4 turns x 2 polarities": (),
        "white border": ("right polarity, white border", "inverted, white border"),
    },
    "anatomy": {"as it is": ("as it is",), "turned 90 and inverted": ("turned 90 and inverted",)},
    "mirror": {
        "as published": ("as it is", "mirrored", "flipped top to bottom"),
        "markers painted out": ("markers painted out", "mirrored, markers painted out"),
        "letter against the anatomy": ("letter on the wrong side", "mirrored, letter as if not"),
    },
}


@dataclass(frozen=True, slots=True)
class Roc:
    """How well good films and defects are told apart, at every threshold."""

    name: str
    site: str
    alarms: Doubles  # (n,) rising: share of good films called bad
    recall: Doubles  # (n,) rising: share of defects called bad
    auc: float
    interval: tuple[float, float]  # 95 %
    good: int  # films
    bad: int
    patients: int  # of the rarer kind

    def recall_at(self, alarms: float) -> float:
        """The recall where no more than this share of good films is called bad."""
        return float(self.recall[np.searchsorted(self.alarms, alarms, side="right") - 1])


@dataclass(frozen=True, slots=True)
class Coverage:
    """How the error among the answered films falls as fewer are answered."""

    site: str
    answered: Doubles  # (n,) rising: share of films that got an answer
    error: Doubles  # (n,) share of the answered that was answered wrong
    working: tuple[float, float]  # both, at the thresholds

    @property
    def first_error(self) -> float:
        """The share answered up to which nothing is wrong; 1 where nothing ever is."""
        return float(self.answered[self.error > 0][0]) if self.error.any() else 1.0

    def error_at(self, answered: float) -> float:
        """The error where at least this share of the films is answered."""
        return float(self.error[np.searchsorted(self.answered, answered - 1e-9)])


@dataclass(frozen=True, slots=True)
class Tilted:
    """What a gate says of films tilted by so many degrees."""

    site: str
    fill: str  # "black" or "cropped"
    degrees: int  # clockwise
    films: int
    upright: float
    unsure: float
    turned: float


# --- points -------------------------------------------------------------------------------------------------


def rocs(gate: str, judged: Sequence[Judged]) -> list[Roc]:
    """The curves of a gate: for each pair of cases all sites together, then each site.

    Another part than a chest is no site that good films come from; each such site is set against the
    frontal films of all sites.
    """
    out = []
    for name, cases in PAIRS.get(gate, {}).items():
        asked = [one for one in judged if one.score.wanted and _about(one.score.case, cases)]
        for site, some in _against(asked).items():
            curve = roc(name, site, [one.score for one in some])
            out += [curve] if curve else []
    return out


def _about(case: str, cases: tuple[str, ...]) -> bool:
    return case in cases if cases else "border" not in case


def _against(judged: list[Judged]) -> dict[str, list[Judged]]:
    frontals = [one for one in judged if one.kind == ALL_FRONTALS]
    others = [one for one in judged if one.kind == ALL_OTHERS]
    if not others:
        return {ALL: judged} | dict(grouped(judged, lambda one: one.score.site))
    sites = grouped(others, lambda one: one.place)
    return {ALL: judged} | {site: frontals + some for site, some in sites.items()}


def roc(name: str, site: str, scores: Sequence[Score]) -> Roc | None:
    """The curve of these scores; None when one of the two kinds is missing."""
    good = np.array([GOOD in score.wanted.split("|") for score in scores], dtype=bool)
    if good.all() or not good.any():
        return None
    values = np.array([score.score for score in scores])
    groups = np.array([score.group for score in scores])
    levels, at = np.unique(values, return_inverse=True)
    alarms = np.bincount(at, good, len(levels)).cumsum() / good.sum()
    recall = np.bincount(at, ~good, len(levels)).cumsum() / (~good).sum()
    area = areas.area(good, values, groups, SEED)
    return Roc(
        name,
        site,
        np.concatenate([[0.0], alarms]),
        np.concatenate([[0.0], recall]),
        area.value,
        area.interval,
        int(good.sum()),
        int((~good).sum()),
        min(len(set(groups[good])), len(set(groups[~good]))),
    )


def coverages(judged: Sequence[Judged], thresholds: Thresholds) -> list[Coverage]:
    """Coverage of all films that want an answer, and by site."""
    asked = [one for one in judged if one.score.wanted]
    sites = {ALL: asked} | dict(grouped(asked, lambda one: one.score.site))
    return [coverage(site, some, thresholds) for site, some in sites.items() if some]


def coverage(site: str, judged: Sequence[Judged], thresholds: Thresholds) -> Coverage:
    """The two thresholds move together from their middle to the ends; what lies between is not answered."""
    middle = float(np.clip(sum(thresholds) / 2, 1e-9, 1 - 1e-9))
    values = np.array([one.score.score for one in judged])
    away = np.where(values < middle, (middle - values) / middle, (values - middle) / (1 - middle))
    wrong = np.array([not one.score.right(middle, middle) for one in judged])
    order = np.argsort(-away, kind="stable")
    last = np.flatnonzero(
        np.append(np.diff(away[order]) != 0, True)
    )  # films equally far are answered together
    many = np.arange(1, len(judged) + 1)
    answered = [one for one in judged if one.answer != UNSURE]
    mistaken = sum(one.wrong != RIGHT for one in answered)
    return Coverage(
        site,
        (many / len(judged))[last],
        (wrong[order].cumsum() / many)[last],
        (len(answered) / len(judged), mistaken / max(len(answered), 1)),
    )


def tilts(judged: Sequence[Judged]) -> list[Tilted]:
    """What the gate says at each tilt, all sites together and by site."""
    shown = [one for one in judged if one.score.case.startswith("tilt ")]
    sites = {ALL: shown} | dict(grouped(shown, lambda one: one.score.site))
    out = []
    for site, some in sites.items():
        cases = grouped(some, lambda one: one.score.case)
        for fill in ("black", "cropped"):
            for degrees in TILTS:
                mine = cases.get(tilt_name(degrees, fill == "cropped"), [])
                out += [_tilted(site, fill, degrees, mine)] if mine else []
    return out


def _tilted(site: str, fill: str, degrees: int, judged: Sequence[Judged]) -> Tilted:
    n = len(judged)
    upright = sum(one.answer == GOOD for one in judged) / n
    unsure = sum(one.answer == UNSURE for one in judged) / n
    return Tilted(site, fill, degrees, n, upright, unsure, 1 - upright - unsure)


# --- tables -------------------------------------------------------------------------------------------------


def roc_table(curves: Sequence[Roc]) -> Table:
    """Areas, and the recall at two rates of false alarms."""
    head = (
        "cases",
        "site",
        "AUC",
        "95 % interval",
        "recall at 0.02 %",
        "recall at 1 %",
        "good films",
        "defects",
    )
    rows = tuple(
        (
            curve.name,
            curve.site,
            f"{curve.auc:.5f}",
            f"{curve.interval[0]:.5f} to {curve.interval[1]:.5f}",
            share(curve.recall_at(0.0002)),
            share(curve.recall_at(0.01)),
            str(curve.good),
            str(curve.bad),
        )
        for curve in curves
    )
    note = (
        f"Recall at a rate of false alarms, in films. The interval comes from {DRAWS} draws of patients; "
        "its lower end is no higher than the exact one for no patient out of place among those of the rarer "
        "kind, for near 1 the draws alone would promise too much."
    )
    return Table("roc", "Telling good films from defects", head, rows, note)


def tilt_table(points: Sequence[Tilted]) -> Table:
    """The shares at every tilt."""
    rows = tuple(
        (
            f"{p.site}, {p.fill}",
            f"{p.degrees:+d}",
            str(p.films),
            share(p.upright),
            share(p.unsure),
            share(p.turned),
        )
        for p in points
    )
    return Table("tilt", "Tilt", ("corners", "degrees", "films", "upright", "unsure", "turned"), rows)


def coverage_table(curves: Sequence[Coverage]) -> Table:
    """The share answered at the thresholds and the error among it, then the error if fewer were answered."""
    shares = (0.9, 0.95, 0.99, 1.0)
    rows = tuple(
        (
            curve.site,
            share(curve.working[0]),
            share(curve.working[1]),
            *(share(curve.error_at(least)) for least in shares),
        )
        for curve in curves
    )
    head = ("site", "answered", "wrong", *(f"at {least:.0%}" for least in shares))
    note = (
        "In films, all cases together: the share that got an answer, the share of these that is wrong, and "
        "what it would be if more or fewer were answered."
    )
    return Table("coverage", "Coverage", head, rows, note)


# --- pictures -----------------------------------------------------------------------------------------------


def draw_rocs(folder: Path, curves: Sequence[Roc], stem: str = "") -> tuple[str, str]:
    """`roc-*.svg`: recall over the rate of false alarms, that on a logarithmic axis."""

    def draw(figure: Figure, look: str) -> None:
        axes = figure.subplots()
        first = 1 / (2 * max(curve.good for curve in curves))
        for index, curve in enumerate(curves):
            axes.step(
                np.append(np.maximum(curve.alarms, first), 1),
                np.append(curve.recall, 1),
                where="post",
                label=f"{curve.site}, AUC {curve.auc:.5f}",
                **_stroke(curve.site, index, look),
            )
        lowest = min(curve.recall_at(0) for curve in curves)
        room = max(0.06 * (1 - lowest), 0.002)
        axes.set(xscale="log", xlim=(first, 1), ylim=(lowest - room, 1 + room / 6))
        axes.set_yticks([tick for tick in axes.get_yticks() if lowest - room <= tick <= 1])
        axes.set(xlabel="good films called bad (share, logarithmic)", ylabel="defects called bad (share)")
        _legend(axes)

    return save(folder, f"{stem}roc", (7.4, 4.4), draw)


def draw_coverages(folder: Path, curves: Sequence[Coverage], stem: str = "") -> tuple[str, str]:
    """`coverage-*.svg`: error among the answered over the share answered; a dot where the thresholds are."""

    def draw(figure: Figure, look: str) -> None:
        axes = figure.subplots()
        for index, curve in enumerate(curves):
            stroke = _stroke(curve.site, index, look)
            axes.plot(curve.answered, curve.error, label=curve.site, **stroke)
            axes.plot(*curve.working, marker="o", color=stroke["color"], markersize=6, clip_on=False)
        most = max(float(curve.error.max()) for curve in curves)
        first = min(min(curve.working[0], curve.first_error) for curve in curves)
        axes.set(
            xlim=(max(0.0, first - 0.1 * (1 - first) - 0.002), 1.0),
            ylim=(-0.02 * (most or 0.01), 1.08 * (most or 0.01)),
        )
        axes.set(xlabel="films that got an answer", ylabel="wrong among the answered")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        _legend(axes)

    return save(folder, f"{stem}coverage", (7.4, 4.2), draw)


def draw_tilts(folder: Path, points: Sequence[Tilted], stem: str = "") -> tuple[str, str]:
    """`tilt-*.svg`: the shares called upright, unsure and turned; a panel a site and kind of corner."""
    sites = list(dict.fromkeys(point.site for point in points))
    fills = ("black", "cropped")

    def draw(figure: Figure, look: str) -> None:
        grid = figure.subplots(len(fills), len(sites), sharex=True, sharey=True, squeeze=False)
        for row, fill in enumerate(fills):
            for column, site in enumerate(sites):
                some = [point for point in points if (point.site, point.fill) == (site, fill)]
                _tilt_panel(grid[row, column], some, look)
                grid[row, column].set_title(f"{site}, {'black corners' if fill == 'black' else 'cropped'}")
        for axes in grid[-1]:
            axes.set(xlabel="tilt, degrees", xticks=range(-45, 46, 15))
        for axes in grid[:, 0]:
            axes.set(ylabel="films")
        handles, names = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=3, frameon=False)

    return save(folder, f"{stem}tilt", (2.0 + 2.3 * len(sites), 5.3), draw)


def _tilt_panel(axes: Axes, points: Sequence[Tilted], look: str) -> None:
    axes.axvspan(-SLOUCH, SLOUCH, color=LOOKS[look]["band"], zorder=0)
    degrees = [point.degrees for point in points]
    for index, name in enumerate(("upright", "unsure", "turned")):
        shares = [getattr(point, name) for point in points]
        axes.plot(degrees, shares, label=name, color=LINES[look][index], linestyle=STROKES[index], lw=1.8)
    axes.set(ylim=(-0.03, 1.03), xlim=(-45, 45))
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _stroke(site: str, index: int, look: str) -> dict[str, Any]:
    if site == ALL:
        return {"color": LOOKS[look]["ink"], "lw": 2.4}
    colours = LINES[look]
    return {
        "color": colours[(index - 1) % len(colours)],
        "linestyle": STROKES[(index - 1) // len(colours) % 4],
        "lw": 1.6,
    }


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0)
