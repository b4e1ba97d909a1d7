"""Models: what ships and is in use, its card, and whether it judges today's films as it did before."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from gateway.console.bundles import Shown, bundles
from gateway.console.doors import Things, Viewer
from gateway.console.rendering import page
from gateway.ledger.labelling.scores import BINS, GateScores
from pipelines.watching.exact import as_many_by_chance, clopper_pearson

router = APIRouter()

FILMS = 1000  # decided last, and as many before them
RARE = 0.001  # a chance below this is called a drift
WIDTH, HEIGHT = 400, 120  # of a histogram, in its own units

Films = Annotated[int, Query(ge=20, le=20_000)]


@dataclass(frozen=True, slots=True)
class Drift:
    """Films of which the gate is not sure: of those decided last, and at calibration or before."""

    unsure: int
    films: int
    low: float  # of the share, at 95 %
    high: float
    other: str  # what it is compared with, in words
    other_unsure: int
    other_films: int
    chance: float  # of so many more, were both of one kind
    drifts: bool


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a histogram."""

    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True, slots=True)
class Judging:
    """What one gate made of the last films."""

    now: GateScores | None
    before: GateScores | None
    drifts: tuple[Drift, ...]
    bars: tuple[Bar, ...]
    line: str  # points of the films before, as SVG has them
    marks: tuple[tuple[str, float], ...]  # thresholds


@router.get("/models", response_class=HTMLResponse)
def models(request: Request, person: Viewer, shell: Things, films: Films = FILMS) -> HTMLResponse:
    """Every bundle, those in use first."""
    last, before = shell.ledger.gate_scores(films), shell.ledger.gate_scores(films, skip=films)
    shown = [(one, judging(one, last.get(one.name), before.get(one.name))) for one in _gates_by_name(shell)]
    return page(
        request,
        "models.html",
        person,
        shown=shown,
        films=films,
        width=WIDTH,
        height=HEIGHT,
        rare=RARE,
    )


@router.get("/api/models")
def api_models(_person: Viewer, shell: Things, films: Films = FILMS) -> dict[str, Any]:
    """The same for programs."""
    last, before = shell.ledger.gate_scores(films), shell.ledger.gate_scores(films, skip=films)
    out = []
    for one in _gates_by_name(shell):
        judged = judging(one, last.get(one.name), before.get(one.name))
        scores = {"now": judged.now and asdict(judged.now), "before": judged.before and asdict(judged.before)}
        out.append(asdict(one) | scores | {"drifts": [asdict(drift) for drift in judged.drifts]})
    return {"films": films, "models": out}


def _gates_by_name(shell: Any) -> list[Shown]:
    return bundles(shell.settings)


def judging(one: Shown, last: GateScores | None, before: GateScores | None) -> Judging:
    """Histogram and drift of a gate; of a classifier, and of what is not in use, there is none."""
    if one.kind == "classifier" or not one.use or last is None:
        return Judging(None, None, (), (), "", ())
    return Judging(last, before, tuple(_drifts(one, last, before)), _bars(last), _line(before), _marks(one))


def _drifts(one: Shown, last: GateScores, before: GateScores | None) -> list[Drift]:
    found = []
    if one.calibrated is not None:
        its = one.calibrated
        found.append(_drift(last, "clean patients at its calibration", its.unsure, its.patients))
    if before is not None and before.films:
        found.append(_drift(last, "films before these", before.unsure, before.films))
    return found


def _drift(last: GateScores, other: str, other_unsure: int, other_films: int) -> Drift:
    low, high = clopper_pearson(last.unsure, last.films)
    chance = as_many_by_chance(last.unsure, last.films, other_unsure, other_films)
    return Drift(
        last.unsure, last.films, low, high, other, other_unsure, other_films, chance, drifts=chance < RARE
    )


def _bars(scores: GateScores) -> tuple[Bar, ...]:
    """The root of each share, so that few films are seen beside many."""
    step = WIDTH / BINS
    return tuple(
        Bar(
            round(place * step + 1, 2),
            round(HEIGHT - high, 2),
            round(step - 2, 2),
            round(high, 2),
            f"{count} of {scores.films} from {place / BINS:.2f} to {(place + 1) / BINS:.2f}",
        )
        for place, count in enumerate(scores.bins)
        for high in (HEIGHT * (count / scores.films) ** 0.5,)
        if count
    )


def _line(scores: GateScores | None) -> str:
    if scores is None or not scores.films:
        return ""
    step = WIDTH / BINS
    heights = [HEIGHT - HEIGHT * (count / scores.films) ** 0.5 for count in scores.bins]
    return " ".join(
        f"{x:.1f},{high:.1f}"
        for place, high in enumerate(heights)
        for x in (place * step, (place + 1) * step)
    )


def _marks(one: Shown) -> tuple[tuple[str, float], ...]:
    marks: dict[float, str] = {}
    for name in ("low", "high"):
        value = one.thresholds.get(name)
        if value is not None and 0 <= value <= 1:
            place = round(WIDTH * value, 2)
            marks[place] = f"{marks[place]}, {name}" if place in marks else name
    return tuple((name, place) for place, name in marks.items())
