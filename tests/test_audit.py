"""The audit of associations: all that was refused is told and counted, and no flood of it fills the disk."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dicom_peers import MemoryLedger, RawPeer, associate_rq, listening
from sqlalchemy import func, select
from structlog.testing import capture_logs

from gateway.errors import LedgerError
from gateway.ledger import Ledger
from gateway.ledger.tables import associations
from gateway.listener import audit
from gateway.listener.audit import MOST_COUNTS, Audit, Ended
from gateway.logs.limiter import LogLimiter
from gateway.upper_layer.acceptor import CALLED_UNKNOWN, NOT_ALLOWED

RELEASE = b"\5\0\0\0\0\4\0\0\0\0"


def real_ledger(state: Path) -> Ledger:
    return Ledger.open(f"sqlite:///{state / 'ledger.sqlite'}", migrate_first=True)


def rows(ledger: Ledger) -> int:
    with ledger.reading() as db:
        return db.scalar(select(func.count()).select_from(associations)) or 0


def knock(port: int, *, source: str = "127.0.0.1", called: str = "ELSEWHERE", calling: str = "RAW") -> None:
    """Ask for an association that is refused."""
    with RawPeer(port, source=source) as peer:
        assert peer.say(associate_rq(called=called, calling=calling)).pdu()[0] == 3


def ended(row: int | None = None, outcome: str = "released", objects: int = 0, echoes: int = 0) -> Ended:
    now = datetime.now(UTC)
    return Ended(row, "RAW", "FILMGATE", "10.0.0.1", now, now, outcome, objects, 0, echoes)


def test_a_flood_of_refusals_is_one_row(tmp_path: Path) -> None:
    """How many, from where, the first and the last time, who they said they were; the log keeps 20 lines."""
    ledger = real_ledger(tmp_path)
    with capture_logs() as logs, listening(tmp_path, ledger) as listener:
        for number in range(300):
            knock(listener.port, calling=f"ROOM{number % 7}")
    (row,) = ledger.refusals()
    assert (row["times"], row["address"], row["calling"]) == (300, "127.0.0.1", "ROOM0")
    titles = "calling AE titles ROOM0, ROOM1, ROOM2, ROOM3, ..."
    assert row["reason"] == f"called AE title not recognised; {titles}"
    assert row["started_at"] < row["ended_at"]
    assert rows(ledger) == 1
    assert sum(one["event"] == "association refused" for one in logs) == 20
    ledger.close()


def test_further_addresses_share_a_row(tmp_path: Path) -> None:
    """A hundred addresses knock: so many rows as a window may have, and none is uncounted."""
    ledger = real_ledger(tmp_path)
    with listening(tmp_path, ledger) as listener:
        for number in range(100):
            knock(listener.port, source=f"127.0.1.{number + 1}")
    found = ledger.refusals(200)
    assert len(found) == MOST_COUNTS + 1
    assert sum(row["times"] for row in found) == 100
    assert {row["times"] for row in found if row["address"] == audit.OTHERS} == {100 - MOST_COUNTS}
    ledger.close()


def test_the_first_refusal_is_told_at_once_and_several_reasons_are_told_apart() -> None:
    """Whoever sets up a modality looks now; what follows is counted in the same row."""
    ledger = MemoryLedger()
    one = Audit(ledger, LogLimiter(), flush_s=0.05)
    one.start()
    one.refused("ROOM1", "ELSEWHERE", "10.0.0.1", CALLED_UNKNOWN)
    assert ledger.wait(lambda: ledger.refused and ledger.refused[0]["times"] == 1)
    for _ in range(2):
        one.refused("ROOM1", "FILMGATE", "10.0.0.1", NOT_ALLOWED)
    assert ledger.wait(lambda: ledger.refused[0]["times"] == 3)
    one.stop()
    (row,) = ledger.refused
    assert row["reason"] == "this address may not send here (2), called AE title not recognised (1)"


def test_a_window_ends_and_another_row_begins() -> None:
    """A flood of an hour is a row a minute, not one row and not all of them."""
    ledger = MemoryLedger()
    one = Audit(ledger, LogLimiter(), window_s=0.0, flush_s=0.01)
    one.start()
    for number in (1, 2, 3):
        one.refused("ROOM1", "FILMGATE", "10.0.0.1", NOT_ALLOWED)
        assert ledger.wait(lambda number=number: len(ledger.refused) == number)
    one.stop()
    assert [row["times"] for row in ledger.refused] == [1, 1, 1]


def test_health_checks_have_no_row(tmp_path: Path) -> None:
    """C-ECHO and a release, or none of it: nothing in the ledger, nothing in the log. A timeout has a row."""
    ledger = real_ledger(tmp_path)
    with capture_logs() as logs, listening(tmp_path, ledger, idle_timeout_s=0.2) as listener:
        for number in range(20):
            with RawPeer(listener.port) as peer:
                assert peer.associate().echo() == 0x0000
                if number % 2:
                    assert peer.say(RELEASE).pdu()[0] == 6
        assert not [one for one in logs if one["event"] == "association ended"]
        with RawPeer(listener.port) as silent:
            assert silent.associate().pdu()[0] == 7
    with ledger.reading() as db:
        assert list(db.scalars(select(associations.c.outcome))) == ["timed out"]
    ledger.close()


def test_health_checks_are_counted_in_the_log(monkeypatch) -> None:
    """One line an hour, however many there were."""
    monkeypatch.setattr(audit, "_SAY_S", 0.0)
    one = Audit(MemoryLedger(), LogLimiter())
    with capture_logs() as logs:
        one.ended(ended(outcome="lost", echoes=1))
    assert [line["count"] for line in logs] == [1]


@pytest.mark.parametrize("error", [LedgerError("the ledger is full"), RuntimeError("changed size")], ids=repr)
def test_what_the_ledger_does_not_take_is_written_later(error: Exception) -> None:
    """The audit outlives a ledger that fails, and what nobody thought of: said, and no count is lost."""
    full = threading.Event()
    full.set()

    class Full(MemoryLedger):
        def tally(self, tallies):
            if full.is_set():
                raise error
            return super().tally(tallies)

    ledger = Full()
    one = Audit(ledger, LogLimiter(), flush_s=0.01)
    with capture_logs() as logs:
        one.start()
        for _ in range(5):
            one.refused("ROOM1", "FILMGATE", "10.0.0.1", NOT_ALLOWED)
        until = time.monotonic() + 10
        while not logs or not any("not in the ledger" in line["event"] for line in logs):
            assert time.monotonic() < until
            threading.Event().wait(0.01)
        full.clear()
        assert ledger.wait(lambda: ledger.refused)
        one.stop()
    assert [row["times"] for row in ledger.refused] == [5]
    assert [line["event"] for line in logs if line.get("thread") == "audit"][-1] == "a thread goes on"


def test_the_ends_that_wait_are_bounded_and_counted(monkeypatch) -> None:
    """While the ledger takes nothing, so many ends are kept; the row of the rest says how many there were."""
    monkeypatch.setattr(audit, "MOST_WAITING", 10)
    ledger = MemoryLedger()
    one = Audit(ledger, LogLimiter())
    for number in range(25):
        one.ended(ended(row=number + 1, objects=1))
    one.start()
    one.stop()
    notes = [row for row in ledger.ended.values() if row["outcome"] == audit.NOT_NOTED]
    assert [row["times"] for row in notes] == [15]
    assert sum(row["outcome"] == "released" for row in ledger.ended.values()) >= 9
