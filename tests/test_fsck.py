"""fsck: store and ledger agree, or it says where they do not."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest
from structlog.testing import capture_logs

from gateway.ledger import Ledger
from gateway.ledger.records import Received
from gateway.store import Store
from gateway.upkeep.fsck import Found, Trouble, check, recent, recover

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", migrate_first=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, 0)


def keep(store: Store, uid: str = "1.2.3") -> str:
    incoming = store.begin("1.2", uid, EXPLICIT)
    incoming.write(b"dataset bytes of " + uid.encode())
    return incoming.finish().digest


def keep_bytes(store: Store, data: bytes) -> str:
    """A version of 1.2.3."""
    incoming = store.begin("1.2", "1.2.3", EXPLICIT)
    incoming.write(data)
    return incoming.finish().digest


def aged(store: Store, digest: str) -> str:
    """The file as it is when its row had time enough to follow."""
    os.utime(store.path(digest), times=(NOW.timestamp() - 3600,) * 2)
    return digest


def run(ledger: Ledger, store: Store, *, mend: bool = False, deep: bool = False) -> list[Found]:
    options = {"mend": mend, "deep": deep, "always": ("archive",)}
    return list(check(ledger, store, clock=lambda: NOW, **options))  # type: ignore[arg-type]


def record(ledger: Ledger, digest: str, uid: str = "1.2.3") -> None:
    received = Received("1.2", uid, EXPLICIT, digest, 10, None, NOW)
    ledger.record([received], always=("archive",))


def test_a_sound_store_has_nothing_to_tell(ledger: Ledger, store: Store) -> None:
    record(ledger, keep(store))
    assert run(ledger, store, deep=True) == []


def test_an_orphan_is_found_and_put_into_the_ledger(ledger: Ledger, store: Store) -> None:
    """A file that was renamed but never committed becomes a film like any other."""
    digest = aged(store, keep(store))
    assert [f.trouble for f in run(ledger, store)] == [Trouble.ORPHAN]
    (mended,) = run(ledger, store, mend=True)
    assert "put into the ledger" in mended.mended
    assert ledger.film("1.2.3").deliveries[0]["destination"] == "archive"
    assert ledger.digests() == {digest}
    assert run(ledger, store) == []


def test_a_file_whose_row_may_follow_is_left_alone(ledger: Ledger, store: Store) -> None:
    digest = keep(store)
    os.utime(store.path(digest), times=((NOW - timedelta(seconds=5)).timestamp(),) * 2)
    assert run(ledger, store, mend=True) == []
    assert ledger.films() == []


def test_a_copy_that_no_decision_names_is_no_film(ledger: Ledger, store: Store, tmp_path: Path) -> None:
    """Its maker died before the decision: it is removed, and nothing is queued or delivered."""
    made = tmp_path / "made.dcm"
    made.write_bytes(store.path(keep(store, "1.2.9")).read_bytes())
    store.remove(keep(store, "1.2.9"))
    copy = aged(store, store.put_file(made).digest)
    assert [f.trouble for f in run(ledger, store)] == [Trouble.LEFTOVER]
    os.utime(store.path(copy), times=(NOW.timestamp() - 300,) * 2)
    assert run(ledger, store, mend=True) == []  # the job that made it may still be under way
    aged(store, copy)
    run(ledger, store, mend=True)
    assert not store.has(copy)
    assert ledger.films() == []


def test_an_orphan_that_was_cut_short_is_removed(ledger: Ledger, store: Store) -> None:
    digest = keep(store)
    with store.path(digest).open("r+b") as file:
        file.truncate(store.path(digest).stat().st_size - 3)
    aged(store, digest)
    (found,) = run(ledger, store, mend=True)
    assert "removed" in found.mended
    assert not store.has(digest)
    assert ledger.films() == []


def test_a_missing_object_stops_its_deliveries(ledger: Ledger, store: Store) -> None:
    digest = keep(store)
    record(ledger, digest)
    store.remove(digest)
    assert [f.trouble for f in run(ledger, store)] == [Trouble.MISSING]
    (found,) = run(ledger, store, mend=True)
    assert "1 deliveries stopped" in found.mended
    assert ledger.film("1.2.3").deliveries[0]["state"] == "cancelled"
    record(ledger, keep(store))  # its sender sends it again
    assert ledger.film("1.2.3").deliveries[0]["state"] == "pending"


def test_a_damaged_object_is_found_only_when_every_byte_is_read(ledger: Ledger, store: Store) -> None:
    digest = keep(store)
    record(ledger, digest)
    with store.path(digest).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"X")
    assert run(ledger, store) == []
    assert [f.trouble for f in run(ledger, store, deep=True)] == [Trouble.DAMAGED]


def put_right(ledger: Ledger, store: Store, at: datetime = NOW) -> list[Found]:
    return list(recent(ledger, store, always=("archive",), clock=lambda: at))


def test_a_recent_orphan_is_put_into_the_ledger(ledger: Ledger, store: Store) -> None:
    """What a failed commit left gets its row; what is young, recorded or made by us is left alone."""
    record(ledger, keep(store, "1.2.1"), "1.2.1")
    orphan = aged(store, keep(store, "1.2.2"))
    young = keep(store, "1.2.3")
    os.utime(store.path(young), times=(NOW.timestamp() - 10,) * 2)
    assert [found.digest for found in put_right(ledger, store)] == [orphan]
    assert ledger.digests() == set(store.digests()) - {young}
    assert [found.digest for found in put_right(ledger, store, NOW + timedelta(minutes=2))] == [young]
    assert ledger.film("1.2.2").deliveries[0]["destination"] == "archive"


def test_what_its_sender_replaced_meanwhile_waits_for_a_person(ledger: Ledger, store: Store) -> None:
    """It was told 0xA700, corrected the object and sent that: the archive must not get the older one last."""
    refused = aged(store, keep(store, "1.2.3"))
    record(ledger, keep(store, "1.2.4"), "1.2.3")
    (found,) = put_right(ledger, store)
    assert (found.digest, found.mended) == (refused, "")
    assert refused not in ledger.digests()
    assert [one.trouble for one in run(ledger, store)] == [Trouble.ORPHAN]
    assert [one.mended for one in run(ledger, store, mend=True)] == ["put into the ledger (version)"]


def test_versions_without_a_row_are_put_into_the_ledger_as_they_came(ledger: Ledger, store: Store) -> None:
    """The digest says nothing of their order."""
    digests = [keep_bytes(store, bytes([number])) for number in range(8)]
    for number, digest in enumerate(digests):
        os.utime(store.path(digest), times=(NOW.timestamp() - 3600 + number,) * 2)
    assert [found.digest for found in put_right(ledger, store)] == digests


def test_a_good_object_that_comes_while_a_spoiled_one_is_removed_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender is told 0x0000 while the one of the same name is read."""
    digest = keep(store)
    store.path(digest).write_bytes(store.path(digest).read_bytes()[:-1])
    verify = store.verify

    def slow(digest: str) -> bool:
        intact = verify(digest)
        keep(store)
        return intact

    monkeypatch.setattr(store, "verify", slow)
    assert not store.remove_spoiled(digest)
    assert verify(digest)


def test_only_folders_that_changed_are_read(ledger: Ledger, store: Store) -> None:
    """After a look all that is old is known to be sound; a clock that was put back makes it look again."""
    digests = [aged(store, keep(store, f"1.2.{number}")) for number in range(20)]
    folders = {digest[:2] for digest in digests}
    assert set(store.changed()) == folders
    assert len(put_right(ledger, store)) == 20
    for name in folders:
        os.utime(store.path(name.ljust(64, "0")).parent, times=(NOW.timestamp() - 3600,) * 2)
    assert store.changed() == []
    again = keep(store, "1.2.99")
    assert store.changed() == [again[:2]]
    store.note_checked(NOW.timestamp() + 10 * 365 * 86400)
    assert set(store.changed()) == folders | {again[:2]}


def test_a_ledger_that_fails_is_told_and_nothing_is_noted(
    ledger: Ledger, store: Store, tmp_path: Path
) -> None:
    """It is said in the log, and the next start looks again."""
    aged(store, keep(store))
    (tmp_path / "ledger.sqlite").rename(tmp_path / "away")
    with capture_logs() as logs:
        recover(ledger, store, always=(), clock=lambda: NOW, stop=Event(), wait_s=0)
    assert "removed or replaced" in logs[0]["error"]
    (tmp_path / "away").rename(tmp_path / "ledger.sqlite")
    with capture_logs() as logs:
        recover(ledger, store, always=(), clock=lambda: NOW, stop=Event(), wait_s=0)
    assert [one["done"] for one in logs] == ["put into the ledger (new)"]
