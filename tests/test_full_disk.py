"""A disk that is full where the ledger lies, where `up` begins, and where a migration needs room."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from dicom_peers import RawPeer, encoded, film, listening
from disks import small_disk

from gateway.errors import LedgerError, SettingsError
from gateway.ledger import Ledger
from gateway.ledger.tables import SCHEMA
from gateway.settings import Settings
from gateway.supervisor.lock import alone
from gateway.supervisor.snapshot import write_snapshot

OLD = Path(__file__).with_name("ledger_0002.sql").read_text(encoding="utf-8")


def fill(folder: Path) -> Path:
    """Take all that is left of the disk; remove the file to give it back."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def test_no_room_for_the_wal_is_told_the_sender_and_passes(tmp_path: Path) -> None:
    """0xA700 and no row while the ledger's disk is full; with room again the resend is taken."""
    with small_disk(tmp_path / "disk", "4m") as disk:
        ledger, one = Ledger.open(f"sqlite:///{disk}/ledger.sqlite", migrate_first=True), film()
        with listening(tmp_path / "state", ledger) as listener, RawPeer(listener.port) as peer:
            peer.associate()
            filler = fill(disk)
            assert peer.store(one.SOPInstanceUID, encoded(one)) == 0xA700
            assert ledger.films() == []
            filler.unlink()
            assert peer.store(one.SOPInstanceUID, encoded(one)) == 0x0000
        assert len(ledger.films()) == 1
        ledger.close()


def test_no_room_to_copy_the_wal_harms_nothing(tmp_path: Path) -> None:
    """What was committed stays in the WAL, can be read, and is copied once there is room."""
    with small_disk(tmp_path / "disk", "4m") as disk:
        ledger, one = Ledger.open(f"sqlite:///{disk}/ledger.sqlite", migrate_first=True), film()
        with listening(tmp_path / "state", ledger) as listener, RawPeer(listener.port) as peer:
            peer.associate()
            assert peer.store(one.SOPInstanceUID, encoded(one)) == 0x0000
        filler = fill(disk)
        with contextlib.suppress(LedgerError):
            ledger.checkpoint()
        assert len(ledger.films()) == 1
        filler.unlink()
        done = ledger.checkpoint()
        assert done is not None
        assert done.copied == done.frames
        ledger.close()


def test_a_gateway_that_is_started_again_needs_no_room(tmp_path: Path) -> None:
    """The same settings are not written again, and the lock holds without its number."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        settings = Settings(state=disk / "state")
        with alone(settings.state):
            path = write_snapshot(settings)
        before = path.read_text()
        filler = fill(disk)
        with alone(settings.state):
            assert write_snapshot(settings) == path
        other = settings.model_copy(update={"work": settings.work.model_copy(update={"nice": 3})})
        with pytest.raises(SettingsError, match="cannot be kept"):
            write_snapshot(other)
        assert path.read_text() == before
        filler.unlink()


def test_a_migration_without_room_changes_nothing(tmp_path: Path) -> None:
    """It says how much it takes; the older gateway can go on; with room it is done, the backup beside it."""
    with small_disk(tmp_path / "disk", "4m") as disk:
        file = disk / "ledger.sqlite"
        with closing(sqlite3.connect(file)) as db:
            db.executescript(OLD)
        filler = fill(disk)
        with pytest.raises(LedgerError, match=r"is full.*Make room"):  # not even for a WAL
            Ledger.open(f"sqlite:///{file}", migrate_first=True)
        os.truncate(filler, filler.stat().st_size - 200_000)
        with pytest.raises(LedgerError, match=r"no room to migrate .* from schema 0002 .* MiB are free"):
            Ledger.open(f"sqlite:///{file}", migrate_first=True)
        assert sorted(path.name for path in disk.glob("*.before-*")) == []
        with closing(sqlite3.connect(file)) as db:
            assert db.execute("SELECT version_num FROM alembic_version").fetchone() == ("0002",)
        filler.unlink()
        Ledger.open(f"sqlite:///{file}", migrate_first=True).close()
        assert [path.name for path in disk.glob("*.before-*")] == [f"ledger.sqlite.before-0002-to-{SCHEMA}"]
