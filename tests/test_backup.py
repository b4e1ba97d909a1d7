"""Backup and restore: whole or not there, checked, and complete while films arrive."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from disks import small_disk

from gateway.errors import BackupError
from gateway.ledger import Ledger
from gateway.ledger.records import Received
from gateway.store import Store
from gateway.upkeep import fsck
from gateway.upkeep.backup import back_up, read_manifest, restore

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
EXPLICIT = "1.2.840.10008.1.2.1"

# The listener's last steps, again and again: kept, recorded, and only then told, as 0x0000 would be.
SENDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from gateway.ledger import Ledger
from gateway.ledger.records import Received
from gateway.store import Store
root, number = Path(sys.argv[1]), 0
ledger, store = Ledger.open(f"sqlite:///{root}/ledger.sqlite"), Store(root, 0)
while True:
    uid, number = f"1.2.9.{number}", number + 1
    incoming = store.begin("1.2", uid, "1.2.840.10008.1.2.1")
    incoming.write(uid.encode() * 50)
    kept = incoming.finish()
    ledger.record([Received("1.2", uid, "1.2.840.10008.1.2.1", kept.digest, kept.size_bytes, None,
                            datetime.now(UTC))], always=("archive",))
    print(uid, flush=True)
"""


class Gateway:
    """A state folder with films."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ledger = Ledger.open(f"sqlite:///{root}/ledger.sqlite", migrate_first=True)
        self.store = Store(root, 0)

    def take(self, *numbers: int, size: int = 100) -> list[str]:
        digests = []
        for number in numbers:
            incoming = self.store.begin("1.2", f"1.2.{number}", EXPLICIT)
            incoming.write(bytes([number]) * size)
            kept = incoming.finish()
            self.ledger.record([Received("1.2", f"1.2.{number}", EXPLICIT, kept.digest, 100, None, NOW)])
            digests.append(kept.digest)
        return digests


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    (tmp_path / "state").mkdir()
    return Gateway(tmp_path / "state")


def uids(root: Path) -> set[str]:
    with closing(sqlite3.connect(root / "ledger.sqlite")) as db:
        return {row[0] for row in db.execute("SELECT sop_instance_uid FROM instances")}


def troubles(root: Path) -> list[fsck.Found]:
    ledger = Ledger.open(f"sqlite:///{root}/ledger.sqlite")
    try:
        found = fsck.check(
            ledger, Store(root, 0), mend=False, deep=True, always=(), clock=lambda: datetime.now(UTC)
        )
        return list(found)
    finally:
        ledger.close()


def test_a_backup_under_load_has_all_that_was_acknowledged_before(gateway: Gateway, tmp_path: Path) -> None:
    """Films arrive all the while; what is restored is whole, and nothing that was told safe is missing."""
    dest, back = tmp_path / "backup", tmp_path / "back"
    sender = subprocess.Popen(
        (sys.executable, "-c", SENDER, str(gateway.root)), stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert sender.stdout is not None
    try:
        told = {sender.stdout.readline().strip() for _ in range(5)}
        done = back_up(gateway.ledger, gateway.store, dest)
        later = sender.stdout.readline().strip()
    finally:
        sender.kill()
        sender.communicate()
    assert later
    assert done.lacking == ()
    restored = restore(dest, back)
    assert told <= uids(back)
    assert restored.films == len(uids(back)) == done.films
    assert troubles(back) == []


def test_the_next_backup_copies_what_is_new(gateway: Gateway, tmp_path: Path) -> None:
    gateway.take(1, 2)
    first = back_up(gateway.ledger, gateway.store, tmp_path / "backup")
    gateway.take(3)
    second = back_up(gateway.ledger, gateway.store, tmp_path / "backup")
    assert (first.copied, second.copied, second.objects) == (2, 1, 3)
    assert len(list((tmp_path / "backup").glob("ledger*"))) == 1


def test_a_backup_is_for_its_owner_alone(gateway: Gateway, tmp_path: Path) -> None:
    gateway.take(1)
    back_up(gateway.ledger, gateway.store, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "back")
    for root in (tmp_path / "backup", tmp_path / "back"):
        for path in (root, *root.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_what_was_lacking_already_is_told_and_the_rest_is_kept(gateway: Gateway, tmp_path: Path) -> None:
    gone, cut, good = gateway.take(1, 2, 3)
    gateway.store.remove(gone)
    with gateway.store.path(cut).open("r+b") as file:
        file.truncate(file.seek(0, 2) - 10)
    done = back_up(gateway.ledger, gateway.store, tmp_path / "backup")
    assert set(done.lacking) == {gone, cut}
    restored = restore(tmp_path / "backup", tmp_path / "back")
    assert set(restored.lacking) == {gone, cut}
    assert Store(tmp_path / "back", 0).verify(good)
    assert {one.digest for one in troubles(tmp_path / "back")} == {gone, cut}


def test_a_ledger_alone(gateway: Gateway, tmp_path: Path) -> None:
    gateway.take(1)
    done = back_up(gateway.ledger, gateway.store, tmp_path / "backup", ledger_only=True)
    assert done.ledger_only
    assert not (tmp_path / "backup" / "store").exists()
    restore(tmp_path / "backup", tmp_path / "back")
    assert uids(tmp_path / "back") == {"1.2.1"}


def test_a_full_disk_leaves_the_backup_before_whole(gateway: Gateway, tmp_path: Path) -> None:
    """Said before anything is copied; the backup of yesterday can be restored."""
    gateway.take(1)
    with small_disk(tmp_path / "disk", "2m") as disk:
        dest = disk / "backup"
        back_up(gateway.ledger, gateway.store, dest)
        before = read_manifest(dest)
        gateway.take(2, size=3 << 20)
        with pytest.raises(BackupError, match=r"MiB of films are to be copied .* is whole"):
            back_up(gateway.ledger, gateway.store, dest)
        assert read_manifest(dest) == before
        assert [path for path in dest.rglob("*") if path.suffix in (".part", ".new")] == []
        restore(dest, tmp_path / "back")
    assert uids(tmp_path / "back") == {"1.2.1"}


def test_a_first_backup_that_broke_off_is_taken_up_again(gateway: Gateway, tmp_path: Path) -> None:
    """Once there is room, by the same command; a ledger in it can be read where nothing can be written."""
    gateway.take(2, size=3 << 20)
    with small_disk(tmp_path / "disk", "8m") as disk:
        (disk / "other").write_bytes(bytes(6 << 20))
        for _ in range(2):
            with pytest.raises(BackupError, match=r"MiB are free\. The backup"):
                back_up(gateway.ledger, gateway.store, disk / "backup")
        (disk / "other").unlink()
        done = back_up(gateway.ledger, gateway.store, disk / "backup")
        (ledger,) = (disk / "backup").glob("ledger-*")
        assert (done.objects, done.lacking, ledger.read_bytes()[18:20]) == (1, (), b"\1\1")


def test_a_disk_too_small_for_the_ledger_holds_no_backup(gateway: Gateway, tmp_path: Path) -> None:
    gateway.take(1)
    with small_disk(tmp_path / "disk", "64k") as disk:
        with pytest.raises(BackupError, match="full"):
            back_up(gateway.ledger, gateway.store, disk / "backup")
        assert list((disk / "backup").glob("*.json")) == []
        with pytest.raises(BackupError, match="no whole backup"):
            restore(disk / "backup", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_changed_ledger_is_not_restored(gateway: Gateway, tmp_path: Path) -> None:
    gateway.take(1)
    back_up(gateway.ledger, gateway.store, tmp_path / "backup")
    (ledger,) = (tmp_path / "backup").glob("ledger-*")
    with ledger.open("r+b") as file:
        file.seek(5000)
        file.write(b"other")
    with pytest.raises(BackupError, match="not the one that its manifest names"):
        restore(tmp_path / "backup", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_it_goes_into_no_folder_that_holds_other_things(gateway: Gateway, tmp_path: Path) -> None:
    gateway.take(1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(BackupError, match="holds no backup"):
        back_up(gateway.ledger, gateway.store, tmp_path / "other")
    back_up(gateway.ledger, gateway.store, tmp_path / "backup")
    with pytest.raises(BackupError, match="not empty"):
        restore(tmp_path / "backup", tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["letter.txt"]


def test_a_restore_that_was_killed_is_not_started_from(tmp_path: Path) -> None:
    from gateway.errors import LedgerError

    (tmp_path / "ledger.sqlite.restoring").touch()
    with pytest.raises(LedgerError, match="did not end"):
        Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", migrate_first=True)


def cli(*words: object) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "gateway.cli", *map(str, words))
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_commands(gateway: Gateway, tmp_path: Path) -> None:
    """JSON for programs; a state folder that is in use is not restored into."""
    gateway.take(1, 2)
    made = cli("backup", tmp_path / "backup", "--state", gateway.root, "--json")
    assert made.returncode == 0, made.stderr
    (item,) = json.loads(made.stdout)
    assert (item["films"], item["objects"], item["lacking"]) == (2, 2, [])
    inside = cli("backup", gateway.root / "backup", "--state", gateway.root)
    assert (inside.returncode, "lies in the state folder" in inside.stderr) == (1, True)
    used = cli("restore", tmp_path / "backup", "--state", gateway.root)
    assert (used.returncode, "not empty" in used.stderr) == (1, True)
    back = cli("restore", tmp_path / "backup", "--state", tmp_path / "back")
    assert (back.returncode, "2 films, 2 objects" in back.stdout) == (0, True)
