"""What `filmgate doctor` looks at in the ledger: that it opens, its SQLite, and what has not arrived."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from sqlalchemy import make_url

from gateway.cli.output import when
from gateway.cli.upkeep.check import Check
from gateway.errors import LedgerError
from gateway.ledger import LONG_WAL_BYTES, Ledger, has_wal_reset_bug
from gateway.ledger.records import Undone
from gateway.settings import Settings


def ledger(settings: Settings) -> Check:

    if not settings.ledger.url and not (settings.state / "ledger.sqlite").exists():
        return Check("ledger", "ok", "`up` will make it")
    try:
        ledger = Ledger.open(settings.ledger_url, busy_timeout_s=settings.ledger.busy_timeout_s)
        counts = ledger.counts()
        ledger.close()
    except LedgerError as error:
        return Check("ledger", "error", str(error))
    return Check("ledger", "ok", ", ".join(f"{name} {count}" for name, count in counts.items()))


def sqlite(settings: Settings) -> Iterator[Check]:
    """SQLite's version, what guards us from its WAL-reset bug, and how long the WAL is."""

    if settings.ledger.url and not settings.ledger.url.startswith("sqlite"):
        return
    version = sqlite3.sqlite_version
    if has_wal_reset_bug():
        guard = "the dispatcher alone copies the WAL, and nobody can commit meanwhile, which rules it out"
        version += f"; it has the WAL-reset bug (3.7.0 to 3.51.2): {guard}. Let no other program write there"
    yield Check("sqlite", "ok", version)
    with suppress(OSError):
        wal = Path(f"{make_url(settings.ledger_url).database}-wal").stat().st_size
        if wal >= LONG_WAL_BYTES:
            why = "no dispatcher runs, or a program reads an old state of the ledger; nothing is lost"
            yield Check("ledger's WAL", "warning", f"{wal >> 20} MiB: {why}, but the disk fills")


def deliveries(settings: Settings) -> Iterator[Check]:
    """What has not arrived at each destination, and why: an outage looks different from refused objects."""

    if not settings.ledger.url and not (settings.state / "ledger.sqlite").exists():
        return
    try:
        ledger = Ledger.open(settings.ledger_url, busy_timeout_s=settings.ledger.busy_timeout_s)
    except LedgerError:
        return  # said above
    with closing(ledger):
        try:
            groups = [group for group in ledger.undone() if group.trouble or group.state == "failed"]
            for name in dict.fromkeys(group.destination for group in groups):
                undone = [group for group in groups if group.destination == name]
                yield Check(f"deliveries to {name}", "warning", _undone(undone, ledger.last_taken(name)))
        except LedgerError as error:  # damaged, or gone by now: what was found so far is shown all the same
            yield Check("deliveries", "error", str(error))


def _undone(groups: list[Undone], taken: datetime | None) -> str:
    counts = [f"{group.count} {'failed' if group.state == 'failed' else 'wait'}" for group in groups]
    words = [
        f"{count}: {group.trouble or 'see its error'}" for count, group in zip(counts, groups, strict=True)
    ]
    oldest = min(group.since for group in groups)
    words.append(f"the oldest has been owed since {when(oldest)}")
    words.append(
        f"it last accepted something at {when(taken)}" if taken else "it has never accepted anything"
    )
    if refused := max(group.most_tries for group in groups):
        words.append(f"one was refused {refused} times while others were accepted")
    return "; ".join(words) + "; see `filmgate deliveries summary` and `list`"
