"""The ledger's WAL: who copies it into the ledger, while nobody can commit, and how long it becomes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event

from gateway.dispatcher.dispatcher import Checkpoints
from gateway.errors import LedgerBusy
from gateway.ledger import Checkpoint, Ledger, has_wal_reset_bug
from gateway.ledger.records import Received

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

# A process that records objects, several in a transaction, as the listener does; then says how many.
BATCH = 20
WRITER = (
    f"BATCH = {BATCH}"
    """
import select, sys
from datetime import UTC, datetime
from gateway.ledger import Ledger
from gateway.ledger.records import Received
url, name, count, *told = sys.argv[1:]
ledger, written = Ledger.open(url, busy_timeout_s=60), 0
for batch in range(int(count)):
    if told and select.select([sys.stdin], [], [], 0)[0]: break
    written = batch + 1
    ledger.record([
        Received("1.2", f"1.2.{ord(name)}.{n}", "1.2.840.10008.1.2.1", f"{n:032x}" + name * 32, 10, None,
                 datetime.now(UTC))
        for n in range(BATCH * batch, BATCH * batch + BATCH)
    ], always=("archive",))
    if batch == 0: print("writes", flush=True)
print(written, flush=True)
sys.stdin.read()
ledger.close()
"""
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(file: Path) -> Ledger:
    return Ledger.open(f"sqlite:///{file}", busy_timeout_s=60, migrate_first=True)


def write(ledger: Ledger, first: int, count: int) -> None:
    for n in range(first, first + count):
        ledger.record([Received("1.2", f"1.2.{n}", "1.2.840.10008.1.2.1", f"{n:064x}", 10, None, NOW)])


def digest(file: Path) -> str:
    """Of the ledger's file, by another process: whoever closes a file gives up all its locks on it."""
    return subprocess.check_output(("sha256sum", file), text=True).split()[0]


def salts(file: Path) -> bytes:
    """Checkpoint sequence number and salts of the WAL's header: others once it starts anew."""
    return Path(f"{file}-wal").read_bytes()[12:24]


def writers(file: Path, names: str, count: int, *until_told: str) -> list[subprocess.Popen[str]]:
    command = (sys.executable, "-c", WRITER, f"sqlite:///{file}")
    return [
        subprocess.Popen(
            (*command, name, str(count), *until_told),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ,
        )
        for name in names
    ]


@pytest.mark.parametrize(
    ("version", "bug"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 53, 4), False),
    ],
)
def test_which_sqlite_has_the_bug(version: tuple[int, ...], bug: bool) -> None:
    assert has_wal_reset_bug(version) is bug


def test_nobody_checkpoints_by_itself(ledger: Ledger, file: Path) -> None:
    """Other processes write more than SQLite's thousand pages: the ledger's file is not touched."""
    before, header = digest(file), None
    busy = writers(file, "ab", 60)
    for process in busy:
        assert process.stdout is not None
        assert process.stdout.readline() == "writes\n"
    header = salts(file)
    for process in busy:
        process.communicate("")
        assert process.returncode == 0
    assert ledger.wal_bytes > 1500 * 4096
    assert digest(file) == before
    assert salts(file) == header


def test_a_checkpoint_lets_the_wal_start_anew(ledger: Ledger, file: Path) -> None:
    write(ledger, 0, 20)
    header, size = salts(file), ledger.wal_bytes
    done = ledger.checkpoint()
    assert done is not None
    assert done.frames == done.copied > 20
    write(ledger, 20, 1)
    assert salts(file) != header
    assert ledger.wal_bytes == size


def test_nobody_can_commit_while_the_wal_is_copied(ledger: Ledger, file: Path) -> None:
    """From before it begins until after its end the lock that every commit needs is held."""
    write(ledger, 0, 5)
    before = digest(file)
    seen: list[tuple[str, bool]] = []

    def look(statement: str) -> None:
        """Called as a statement begins."""
        if "wal_checkpoint" not in statement and "ROLLBACK" not in statement:
            return
        with (
            closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("BEGIN IMMEDIATE")
        seen.append((statement.split(maxsplit=1)[0], digest(file) != before))

    def trace(connection: sqlite3.Connection, *_: object) -> None:
        connection.set_trace_callback(look)

    event.listen(ledger._engine, "checkout", trace)
    ledger.checkpoint()
    assert seen == [("PRAGMA", False), ("ROLLBACK", True)]


def test_a_reader_of_an_old_state_delays_it_and_stops_nobody(ledger: Ledger) -> None:
    """What the reader needs stays in the WAL; films are taken in; the next checkpoint has it all."""
    write(ledger, 0, 5)
    with ledger.reading() as db:
        db.exec_driver_sql("SELECT count(*) FROM instances").scalar()
        write(ledger, 5, 5)
        held = ledger.checkpoint()
        write(ledger, 10, 5)
    assert held is not None
    assert held.copied < held.frames
    done = ledger.checkpoint()
    assert done is not None
    assert done.copied == done.frames


def test_a_wal_that_stays_long_is_told_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gateway.dispatcher.dispatcher.LONG_WAL_BYTES", 1)
    copying = Checkpoints(ledger, small_bytes=0)
    write(ledger, 0, 5)
    with ledger.reading() as db:
        db.exec_driver_sql("SELECT count(*) FROM instances").scalar()
        write(ledger, 5, 5)
        for _ in range(3):
            copying.look()
    assert capsys.readouterr().err.count("ledger's WAL is long") == 1


def test_a_small_wal_is_left_alone(ledger: Ledger) -> None:
    write(ledger, 0, 1)
    assert Checkpoints(ledger).look() is None
    assert isinstance(Checkpoints(ledger, small_bytes=0).look(), Checkpoint)


def test_writers_and_checkpoints_side_by_side_lose_nothing(ledger: Ledger, file: Path) -> None:
    """Three processes commit until the WAL, copied again and again, started anew: whole, every row there."""
    done, often, anew = threading.Event(), threading.Event(), set[bytes]()

    def copy() -> None:
        while not done.is_set():
            with suppress(LedgerBusy):
                ledger.checkpoint()
            with suppress(FileNotFoundError):
                anew.add(salts(file))
            if len(anew) >= 4:
                often.set()

    thread = threading.Thread(target=copy)
    busy = writers(file, "abc", 10_000, "until told")
    thread.start()
    try:
        assert often.wait(120)
        written = [int(process.communicate("")[0].split()[-1]) for process in busy]
    finally:
        done.set()
        thread.join()
    assert [process.returncode for process in busy] == [0, 0, 0]
    ledger.checkpoint()
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT count(*) FROM instances").fetchone() == (sum(written) * BATCH,)
        assert db.execute("SELECT count(*) FROM deliveries").fetchone() == (sum(written) * BATCH,)
