"""The ledger's file: locks, syncs, schemas and what older ones keep."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ledger_films import ANSWER, CHEST, NOW, WAITS, claimed, ledger, reading, received
from sqlalchemy import insert, select, text

from gateway.errors import (
    LedgerBusy,
    LedgerError,
    SchemaTooNew,
    SchemaTooOld,
)
from gateway.ledger import Ledger
from gateway.ledger.records import Outcome, Wanted
from gateway.ledger.tables import SCHEMA, deliveries, instances

__all__ = ["ledger"]


def test_errors_hold_no_uid(ledger: Ledger) -> None:
    """What SQLAlchemy says of a failed statement is logged: without its parameters."""
    uid = ".".join(("1", "2", "99"))  # not a literal: tracebacks quote the source
    with pytest.raises(LedgerError) as caught, ledger.writing() as db:
        db.execute(insert(instances).values(sop_instance_uid=uid, sop_class_uid=None, received_at=NOW))
    assert uid not in "".join(traceback.format_exception(caught.value))


def test_many_threads_on_a_locked_ledger_are_all_told_it_is_busy(ledger: Ledger, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def record(number: int) -> str:
        try:
            ledger.record([received(f"1.{number}", f"{number % 16:x}")])
        except LedgerError as error:
            return type(error).__name__
        return ""

    with ThreadPoolExecutor(40) as pool:
        assert set(pool.map(record, range(40))) == {"LedgerBusy"}
    other.execute("ROLLBACK")
    other.close()


def test_a_locked_ledger_is_busy_and_recovers(ledger: Ledger, tmp_path: Path) -> None:
    """A lock held by somebody else is LedgerBusy after the timeout, without a partial row."""
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerBusy):
        ledger.record([received()])
    other.execute("ROLLBACK")
    other.close()
    assert ledger.films() == []
    assert ledger.record([received()])[0].outcome is Outcome.NEW


def test_who_only_reads_is_not_kept_by_a_writer_that_was_halted(ledger: Ledger, tmp_path: Path) -> None:
    """Lists and `doctor` open the ledger and read it while somebody holds the lock of all commits."""
    ledger.record([received()])
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", busy_timeout_s=0.2)
    assert len(opened.films()) == 1
    opened.close()
    other.execute("ROLLBACK")
    other.close()


def test_a_newer_schema_refuses_and_an_empty_one_asks_for_migration(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    with pytest.raises(SchemaTooOld):
        Ledger.open(url)
    assert not (tmp_path / "ledger.sqlite").exists()  # who only looks puts nothing in its place
    ledger = Ledger.open(url, migrate_first=True)
    with ledger.writing() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    ledger.close()
    with pytest.raises(SchemaTooNew):
        Ledger.open(url, migrate_first=True)


def test_an_older_ledger_is_backed_up_before_it_is_migrated(tmp_path: Path) -> None:
    """The copy beside the file is a whole ledger of the old schema."""
    path = tmp_path / "ledger.sqlite"
    old = sqlite3.connect(path)
    old.executescript(
        "CREATE TABLE alembic_version (version_num VARCHAR(32)); CREATE TABLE old (x);"
        "INSERT INTO old VALUES (7); INSERT INTO alembic_version VALUES ('0000');"
    )
    old.close()
    with pytest.raises(LedgerError, match="cannot be migrated"):  # no release ever wrote 0000
        Ledger.open(f"sqlite:///{path}", migrate_first=True)
    kept = sqlite3.connect(next(tmp_path.glob("ledger.sqlite.before-*")))
    assert kept.execute("SELECT x FROM old").fetchone() == (7,)
    kept.close()


def test_the_migrations_make_the_tables_that_the_code_uses(ledger: Ledger) -> None:
    """Alembic's own comparison finds no difference between migrations and tables.py."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from gateway.ledger.tables import metadata

    with ledger.reading() as db:
        assert compare_metadata(MigrationContext.configure(db), metadata) == []


def test_every_commit_is_synced(ledger: Ledger) -> None:
    """WAL with synchronous FULL (2), so that a commit survives a power cut."""
    with ledger.reading() as db:
        assert db.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert db.execute(text("PRAGMA synchronous")).scalar() == 2


def older(tmp_path: Path, schema: str) -> Ledger:
    """A ledger that a filmgate of this schema wrote, opened by today's."""
    old = sqlite3.connect(tmp_path / "ledger.sqlite")
    old.executescript((Path(__file__).parent / f"ledger_{schema}.sql").read_text())
    old.close()
    return Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", migrate_first=True)


@pytest.mark.parametrize("schema", ["0001", "0002", "0003"])
def test_an_older_ledger_keeps_all_it_held(tmp_path: Path, schema: str) -> None:
    """Jobs, deliveries and holds go on, and what is owed to a classifier can be read."""
    ledger = older(tmp_path, schema)
    ready, held = ledger.films()
    assert (ready.job, held.decision, held.job) == ("ready", "quarantine", "done")
    assert [(d["destination"], d["tries"], d["trouble"]) for d in held.deliveries] == [("archive", 0, None)]
    assert claimed(ledger).sop_instance_uid == ready.sop_instance_uid
    hold = ledger.open_hold(held.film_id)
    assert hold.words == ()
    ledger.release(hold, CHEST, by="ann", note_text="", now=NOW)
    ledger.read(reading(ledger), ANSWER, now=NOW)
    assert len(ledger.film(held.film_id).results) == 1
    kept = sqlite3.connect(tmp_path / f"ledger.sqlite.before-{schema}-to-{SCHEMA}")
    assert kept.execute("SELECT version_num FROM alembic_version").fetchone() == (schema,)
    kept.close()
    ledger.close()


def test_what_an_older_ledger_owes_goes_in_the_order_of_its_films(tmp_path: Path) -> None:
    """0003 to 0004: the first film was sent as urgent, and what is owed of it is."""
    ledger = older(tmp_path, "0003")
    with ledger.reading() as db:
        ranks = db.execute(select(deliveries.c.film_id, deliveries.c.rank).order_by(deliveries.c.id)).all()
    assert ranks == [(1, 0), (2, 1)]
    ledger.close()


def test_an_older_ledger_can_be_asked_and_answered(tmp_path: Path) -> None:
    """0002 to 0003: nothing that was held before waits for an answer; what is held now does."""
    ledger = older(tmp_path, "0002")
    assert (ledger.questions(), ledger.rulings()) == ([], [])
    ledger.judge(claimed(ledger), WAITS, now=NOW)
    (question,) = ledger.questions()
    assert (question.sender, question.word, len(question.films)) == ("ROOM3", "BONE", 1)
    ledger.close()


def test_the_films_of_an_older_ledger_are_found_by_reason_and_sender_at_once(tmp_path: Path) -> None:
    """0007 to 0008: what the ledger knew already; what stands in their headers alone is still to be read."""
    ledger = older(tmp_path, "0003")
    (held,) = ledger.search(Wanted(decision="quarantine"))
    (code, *_) = held.reasons
    assert [film.film_id for film in ledger.search(Wanted(reason=code))] == [held.film_id]
    (card,) = ledger.sheet(Wanted(reason=code))
    assert [group.words for group in ledger.groups("room")] == [(card.header.sender, "", code)]
    assert {one.film_id for one in ledger.unread()} == {film.film_id for film in ledger.search()}
    ledger.close()


def test_opening_a_ledger_anew_keeps_the_locks_on_it(tmp_path: Path) -> None:
    """A ledger is open twice in each process, and again for a look: whoever closes last elsewhere must not
    take itself for the last of all, and remove the log that others write to."""
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    ledger = Ledger.open(url, migrate_first=True)
    ledger.record([received()])
    Ledger.open(url).close()
    look = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM instances').fetchall()"
    subprocess.run([sys.executable, "-c", look, str(tmp_path / "ledger.sqlite")], check=True)
    log = (tmp_path / "ledger.sqlite-wal").stat().st_ino
    ledger.record([received("1.2.4")])
    assert (tmp_path / "ledger.sqlite-wal").stat().st_ino == log
    assert len(ledger.films()) == 2
    ledger.close()
