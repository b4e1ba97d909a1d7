"""Today: how it goes, in numbers that are links, and one sentence of health."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from gateway.alarms.health import how_it_is
from gateway.bootstrap import Shell, now
from gateway.console.doors import Things, Viewer
from gateway.console.rendering import page, part
from gateway.process import clock, health
from pipelines.film import REASON_TEXT, Reason

router = APIRouter()

HOURS = 24
SLOT, HEIGHT = 42, 90  # of the chart, in its own units


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour of the chart."""

    x: int
    height: float
    films: int
    hour: str  # by the hospital's clock
    link: str


@router.get("/", response_class=HTMLResponse)
def today(request: Request, person: Viewer, shell: Things) -> HTMLResponse:
    """The page."""
    return page(request, "today.html", person, **_values(shell, now()))


@router.get("/today", response_class=HTMLResponse)
def figures(request: Request, person: Viewer, shell: Things) -> HTMLResponse:
    """What is in it, anew: the page asks for it when the ledger has changed."""
    return part(request, "today_figures.html", person, **_values(shell, now()))


def _values(shell: Shell, at: datetime) -> dict[str, Any]:
    since = _midnight(shell, at)
    day = shell.ledger.today(since)
    reports = health.reports(shell.settings.state)
    return {
        "since": since,
        "day": day,
        "said": how_it_is(shell.ledger, shell.settings, reports, day, at),
        "held": [(code, count, _words(code)) for code, count in day.held_for.items()],
        "waits": sum(day.held_for.values()),
        "destinations": _destinations(shell, day.delivered, day.failed),
        "bars": _bars(shell, at),
        "slot": SLOT,
        "films": lambda **wishes: films(since, **wishes),
    }


def films(since: datetime | None = None, **wishes: str) -> str:
    """The address of the films that a number counts."""
    received = {"since": _plain(since)} if since else {}
    return "/films?" + urlencode(wishes | received)


def _plain(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _midnight(shell: Shell, at: datetime) -> datetime:
    """When today began by the hospital's clock."""
    zone = clock.zone(shell.settings.gateway.time_zone)
    return datetime.combine(at.astimezone(zone).date(), time(), zone).astimezone(UTC)


def _words(code: str) -> str:
    return REASON_TEXT[Reason(code)] if code in Reason.__members__ else "its reason is not kept"


def _destinations(
    shell: Shell, delivered: Mapping[str, int], failed: Mapping[str, int]
) -> list[tuple[str, int, int]]:
    """(name, delivered today, failed) of those in the settings, and of any other that has a number."""
    names = dict.fromkeys([*shell.settings.destinations, *delivered, *failed])
    return [(name, delivered.get(name, 0), failed.get(name, 0)) for name in names]


def _bars(shell: Shell, at: datetime) -> list[Bar]:
    """Films of all senders in each of the last HOURS hours; the last one has just begun."""
    zone = clock.zone(shell.settings.gateway.time_zone)
    this = at.replace(minute=0, second=0, microsecond=0)
    hours = [this - timedelta(hours=back) for back in reversed(range(HOURS))]
    by_sender = shell.ledger.films_by_hour(hours[0]).values()
    counts = [sum(by_hour.get(hour, 0) for by_hour in by_sender) for hour in hours]
    most = max(1, *counts)
    return [
        Bar(
            place * SLOT,
            round(HEIGHT * count / most, 1),
            count,
            f"{hour.astimezone(zone):%H}",
            films(hour, until=_plain(hour + timedelta(hours=1))),
        )
        for place, (hour, count) in enumerate(zip(hours, counts, strict=True))
    ]
