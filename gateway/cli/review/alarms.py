"""`filmgate alarms`: what is wrong now, who is told of it, and what would have been told of the past."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from gateway.alarms.looking import BATCH, events_of, films_per_false, is_film
from gateway.alarms.telling import Telling, makers, ways
from gateway.alarms.words import named, rate
from gateway.cli.options import Common, Signed
from gateway.cli.output import print_json, print_list, say, when
from gateway.cli.quiet import quiet_logs
from gateway.cli.review.ledgers import open_ledger
from gateway.errors import FilmgateError
from gateway.ledger import Ledger
from gateway.ledger.watching.records import Alarm, AlarmKind, NoticeState, Signal
from gateway.settings import load
from pipelines.watching import Rate, Watch, follow

LISTED = 50
TEST_S = 90.0  # for both ways together

All = Annotated[bool, typer.Option("--all", help="Those that are over, too, newest first.")]
Limit = Annotated[int, typer.Option(min=1, help="Show at most this many.")]
Days = Annotated[int, typer.Option(min=1, help="Show alarms of the last so many days alone.")]
Sender = Annotated[str | None, typer.Option("--sender", help="Only the films of this calling AE title.")]


def list_alarms(common: Common, every: All = False, limit: Limit = LISTED) -> None:
    """List the alarms that are on, oldest first."""
    with open_ledger(common) as ledger:
        alarms = ledger.alarms(limit) if every else ledger.alarms_on()[:limit]
        notices = {alarm.id: ledger.notices_of(alarm.id) for alarm in alarms}
    if common.json:
        print_json(item(alarm, notices[alarm.id]) for alarm in alarms)
        return
    rows = ((a.id, a.kind, when(a.since), when(a.over_at), _told(notices[a.id]), a.words) for a in alarms)
    print_list(("alarm", "kind", "since", "over", "told", "what"), rows, below=1)


def test(common: Common, signed: Signed) -> None:
    """Send a test alarm every way that is set up; exit code 1 when one was not taken."""
    settings = load(common.config, common.state)
    quiet_logs()
    if not (named_ways := ways(settings.alarms)):
        raise FilmgateError(
            "nobody is told of alarms: neither alarms.webhook.url nor alarms.mail.server is set. Nothing was "
            "sent. Set one of them (docs/monitoring.md), and test again."
        )
    signal = Signal(AlarmKind.TEST, signed.person, f"A test by {signed.person}: nothing is wrong.", "/")
    with open_ledger(common) as ledger:
        alarm = ledger.test_alarm(signal, named_ways, signed.person, _now())
        notices = _settled(ledger, alarm.id, Telling(ledger, makers(settings, ledger), _now))
    if common.json:
        print_json([item(alarm, notices)])
    else:
        for one in notices:
            say(f"{one['way']}: {one['error'] or 'taken'}")
    if any(one["state"] != NoticeState.SENT for one in notices):
        raise typer.Exit(1)


def replay(common: Common, sender: Sender = None, days: Days = 36_500) -> None:
    """Run the alarms of rates over the films of the ledger: what would have been told, and when."""
    settings = load(common.config, common.state)
    since = _now() - timedelta(days=min(days, 36_500))
    with open_ledger(common) as ledger:
        rows = [row for row in replayed(ledger, films_per_false(settings), sender) if row["at"] >= since]
    if common.json:
        print_json(rows)
        return
    shown = ((named(r["sender"]), r["rate"], r["news"], when(r["at"]), r["film"], r["words"]) for r in rows)
    print_list(("sender", "rate", "news", "at", "film", "what"), shown, below=1)


def replayed(ledger: Ledger, per_false: float, only: str | None) -> Iterator[dict[str, Any]]:
    """Each alarm, and each end of one, in the order of the films; nothing is written."""
    watches: dict[tuple[str, Rate], Watch] = {}
    films = dict[str, int]()
    last = 0
    while batch := ledger.judged_after(last, BATCH):
        last = batch[-1].id
        for film in batch:
            if not film.sender or not is_film(film) or (only is not None and film.sender != only):
                continue
            films[film.sender] = films.get(film.sender, 0) + 1
            for key, event in events_of(film):
                watch, news = follow(watches.get(key, Watch()), event, per_false)
                watches[key] = watch
                if news:
                    yield {
                        "sender": key[0],
                        "rate": key[1].value,
                        "news": news.value,
                        "at": film.decided_at,
                        "film": film.film_id,
                        "films": films[film.sender],
                        "words": rate(*key, watch) if news == "alarm" else "",
                    }


def item(alarm: Alarm, notices: list[dict[str, Any]]) -> dict[str, Any]:
    """What a program is given of an alarm, and of who was told."""
    told = [{name: one[name] for name in ("way", "news", "state", "attempts", "error")} for one in notices]
    return asdict(alarm) | {"notices": told}


def _told(notices: list[dict[str, Any]]) -> str:
    states = (f"{one['way']} {one['state']}" for one in notices if one["news"] != "over")
    return ", ".join(states) or "nobody"


def _settled(ledger: Ledger, alarm_id: int, telling: Telling) -> list[dict[str, Any]]:
    """The notices of an alarm once each was tried: by us, or by the dispatcher, which may be quicker."""
    until = time.monotonic() + TEST_S
    while True:
        telling.tell(alarm_id)
        notices = ledger.notices_of(alarm_id)
        if all(one["attempts"] for one in notices) or time.monotonic() > until:
            return notices
        time.sleep(0.2)


def _now() -> datetime:
    return datetime.now(UTC)
