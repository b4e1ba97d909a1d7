"""What the listener refuses, object by object, and what it says."""

from __future__ import annotations

import os
import random
import sqlite3
import struct
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dicom_peers import (
    DX,
    EXPLICIT,
    VERIFICATION,
    MemoryLedger,
    RawPeer,
    associate_rq,
    echo,
    encoded,
    files,
    film,
    listener_process,
    listening,
    pdata,
    store_rq,
)
from scp_objects import stored
from sqlalchemy import event
from structlog.testing import capture_logs

from gateway.errors import LedgerBusy, LedgerError
from gateway.ledger import Ledger
from gateway.ledger.records import Outcome, Received
from gateway.listener.recorder import Recorder

# What is refused, and why


@pytest.mark.parametrize(
    ("status", "uid", "change"),
    [
        (0xA900, None, {"SOPInstanceUID": "1.2.3.4"}),
        (0xA900, None, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}),
        (0xA900, "../../x", {}),
        (0xA900, "a" * 64, {}),
        (0xA900, "", {}),
        (0xA900, "1." * 40, {}),
        (0x0000, None, {"SOPInstanceUID": None}),
    ],
)
def test_uids_that_disagree_or_are_none_are_refused(
    tmp_path: Path, status: int, uid: str | None, change: dict[str, str | None]
) -> None:
    """0xA900, and nothing is kept; a dataset that does not say is kept under the command's UID."""
    ledger, one = MemoryLedger(), film()
    uid = str(one.SOPInstanceUID) if uid is None else uid
    for keyword, value in change.items():
        setattr(one, keyword, value) if value else delattr(one, keyword)
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        assert peer.associate().store(uid, encoded(one)) == status
    assert len(ledger.received) == len(stored(tmp_path)) == (1 if status == 0 else 0)
    assert files(tmp_path / "incoming") == []


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 500, b"GET / HTTP/1.1\r\n\r\n", random.Random(1).randbytes(64).replace(b"\0", b"x")]
)
def test_what_is_not_dicom_is_not_understood(tmp_path: Path, data: bytes) -> None:
    """0xC000; the association goes on."""
    with listening(tmp_path) as listener, RawPeer(listener.port) as peer:
        assert peer.associate().store("1.2.3", data) == 0xC000
        one = film()
        assert peer.store(one.SOPInstanceUID, encoded(one)) == 0x0000


def test_the_log_says_whose_object_was_refused(tmp_path: Path) -> None:
    """Of many rooms that send at once, the one to call."""
    with capture_logs() as logs, listening(tmp_path) as listener, RawPeer(listener.port) as peer:
        peer.associate().store("1.2.3", b"")
    (said,) = [entry for entry in logs if entry["event"] == "object refused"]
    assert (said["calling"], said["address"], said["status"]) == ("RAW", "127.0.0.1", "0xc000")


def test_other_services_are_not_recognised(tmp_path: Path) -> None:
    """A C-FIND in a storage context: 0x0211; a C-STORE in a Verification context: 0x0122."""
    one = film()
    with listening(tmp_path) as listener, RawPeer(listener.port) as peer:
        peer.associate((DX, EXPLICIT), (VERIFICATION, EXPLICIT))
        assert peer.store("1.2.3", encoded(one), field=0x0020) == 0x0211
        peer.say(pdata(store_rq("1.2.3"), command=True, context=3), pdata(encoded(one), context=3))
        assert peer.status() == 0x0122
        assert peer.store(one.SOPInstanceUID, encoded(one)) == 0x0000


def test_a_cancel_needs_no_answer_and_a_store_needs_a_dataset(tmp_path: Path) -> None:
    """C-CANCEL-RQ is passed over; a C-STORE-RQ that announces no dataset gets 0xC000."""
    no_dataset = (struct.pack("<HHLH", 0, 0x0800, 2, 1), struct.pack("<HHLH", 0, 0x0800, 2, 0x0101))
    with listening(tmp_path) as listener, RawPeer(listener.port) as peer:
        peer.associate().say(pdata(store_rq("1.2.3", field=0x0FFF).replace(*no_dataset), command=True))
        peer.say(pdata(store_rq("1.2.3").replace(*no_dataset), command=True))
        assert peer.status() == 0xC000


def test_an_object_above_the_cap_ends_the_association(tmp_path: Path) -> None:
    """0xA700, then A-ABORT; the part file is gone."""
    with listening(tmp_path, max_object_mb=1) as listener, RawPeer(listener.port) as peer:
        peer.associate().say(pdata(store_rq("1.2.3"), command=True))
        peer.say(*(pdata(bytes(200_000), last=False) for _ in range(6)))
        assert peer.status() == 0xA700
        assert peer.pdu()[0] == 7
        assert files(tmp_path / "incoming") == []


def test_without_room_objects_and_associations_are_refused(tmp_path: Path) -> None:
    """0xA700 in an association, temporary congestion for a new one (PS3.8 table 9-21), and it recovers."""
    ledger, one = MemoryLedger(), film()
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        peer.associate()
        store = listener._store
        store.room = lambda: False
        assert peer.store(one.SOPInstanceUID, encoded(one)) == 0xA700
        with RawPeer(listener.port) as late:
            assert late.say(associate_rq()).pdu() == (3, b"\0\2\3\1")
        del store.room
        assert peer.store(one.SOPInstanceUID, encoded(one)) == 0x0000
    assert len(ledger.received) == len(stored(tmp_path)) == 1


def test_above_the_watermark_an_association_is_refused(tmp_path: Path) -> None:
    """The disk itself says that less is free than must be: temporary congestion, before anything is sent."""
    ledger = MemoryLedger()
    with listening(tmp_path, ledger, min_free_mb=1 << 40) as listener, RawPeer(listener.port) as peer:
        assert peer.say(associate_rq()).pdu() == (3, b"\0\2\3\1")
        assert ledger.wait(lambda: ledger.refused)
    assert "no room on disk" in ledger.refused[0]["reason"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_fills_up_in_the_middle(tmp_path: Path) -> None:
    """A small tmpfs: 0xA700, no part file, and the next object that fits is taken."""
    state = tmp_path / "small"
    state.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(state)], capture_output=True)
    if mount.returncode:
        pytest.skip("no mounts here")
    try:
        with listening(state) as listener, RawPeer(listener.port) as peer:
            peer.associate().say(pdata(store_rq("1.2.3"), command=True))
            peer.say(*(pdata(b"\x08\0\x16\0" + bytes(200_000), last=number == 29) for number in range(30)))
            assert peer.status() == 0xA700
            assert files(state / "incoming") == []
            listener._store._room = (0.0, True)  # what a second later the disk itself says
            one = film()
            assert peer.store(one.SOPInstanceUID, encoded(one)) == 0x0000
    finally:
        subprocess.run(["umount", str(state)], check=False)


def test_a_locked_ledger_is_a_failure_that_passes(tmp_path: Path) -> None:
    """0xA700 after the ledger's own timeout, no row; when the lock is gone the resend is taken."""
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger, one = Ledger.open(url, busy_timeout_s=0.2, migrate_first=True), film()
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        peer.associate()
        other.execute("BEGIN IMMEDIATE")
        assert peer.store(one.SOPInstanceUID, encoded(one)) == 0xA700
        assert echo(listener.port)
        other.execute("ROLLBACK")
        other.close()
        assert ledger.films() == []
        assert peer.store(one.SOPInstanceUID, encoded(one)) == 0x0000
    assert len(ledger.films()) == 1
    ledger.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_ledger_whose_file_is_gone_takes_no_film(tmp_path: Path, replaced: bool) -> None:
    """Removed or replaced while the listener runs: 0xA700, not 0x0000 into a file nobody can reach."""
    names = ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm")
    away = tmp_path / "away"
    away.mkdir()
    first, second = film(), film()
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}", migrate_first=True)
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        assert peer.associate().store(first.SOPInstanceUID, encoded(first)) == 0x0000
        for name in names:
            (tmp_path / name).rename(away / name)
        if replaced:
            Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}", migrate_first=True).close()
        assert peer.store(second.SOPInstanceUID, encoded(second)) == 0xA700
        for name in names:
            (away / name).rename(tmp_path / name)
        assert peer.store(second.SOPInstanceUID, encoded(second)) == 0x0000
    ledger.close()
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    assert {one.sop_instance_uid for one in ledger.films()} == {first.SOPInstanceUID, second.SOPInstanceUID}
    ledger.close()


def test_a_ledger_without_its_log_takes_no_film(tmp_path: Path) -> None:
    """What is committed into a write-ahead log that was removed is not safe: 0xA700."""
    with listener_process(tmp_path) as (_, port), RawPeer(port) as peer:
        one = film()
        assert peer.associate().store(one.SOPInstanceUID, encoded(one)) == 0x0000
        (tmp_path / "ledger.sqlite-wal").unlink()
        one = film()
        assert peer.store(one.SOPInstanceUID, encoded(one)) == 0xA700


@pytest.mark.parametrize("folder", ["store", "incoming"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_store_whose_folder_is_gone_takes_no_film(tmp_path: Path, folder: str, replaced: bool) -> None:
    """Moved away, or another folder in its place (a disk not mounted): 0xA700; back again: 0x0000."""
    ledger, one = MemoryLedger(), film()
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        assert peer.associate().store(one.SOPInstanceUID, encoded(one)) == 0x0000
        (tmp_path / folder).rename(tmp_path / "away")
        if replaced:
            (tmp_path / folder).mkdir()
        second = film()
        assert peer.store(second.SOPInstanceUID, encoded(second)) == 0xA700
        if replaced:
            assert files(tmp_path / folder) == []
            (tmp_path / folder).rmdir()
        (tmp_path / "away").rename(tmp_path / folder)
        assert peer.store(second.SOPInstanceUID, encoded(second)) == 0x0000
    assert len(ledger.received) == len(stored(tmp_path)) == 2


def test_a_read_only_ledger_is_a_failure_that_passes(tmp_path: Path) -> None:
    """0xA700 while the database refuses every write, no row; an echo is answered; then a resend is taken."""
    ledger, one = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}", migrate_first=True), film()
    writable = threading.Event()

    def refuse(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA query_only={'OFF' if writable.is_set() else 'ON'}")

    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        peer.associate()
        event.listen(ledger._engine, "checkout", refuse)
        assert peer.store(one.SOPInstanceUID, encoded(one)) == 0xA700
        assert echo(listener.port)
        writable.set()
        assert ledger.films() == []
        assert peer.store(one.SOPInstanceUID, encoded(one)) == 0x0000
    assert len(ledger.films()) == 1
    ledger.close()


def test_a_ledger_that_breaks_does_not_break_the_listener(tmp_path: Path) -> None:
    """Any error while an object is recorded is 0xA700 for it and for those of its batch, no more."""

    class Broken(MemoryLedger):
        def record(self, batch, **options):
            if not self.received:
                self.received.append(batch[0])
                raise RuntimeError("a bug")
            return super().record(batch, **options)

    with listening(tmp_path, Broken()) as listener, RawPeer(listener.port) as peer:
        peer.associate()
        assert [peer.store((one := film()).SOPInstanceUID, encoded(one)) for _ in range(3)] == [0xA700, 0, 0]


def test_one_bad_object_does_not_fail_its_batch() -> None:
    """What the ledger cannot take is tried alone; the others of the batch are recorded."""
    gate = threading.Event()

    class Picky(MemoryLedger):
        def record(self, batch, **options):
            gate.wait(10)
            if any(one.sop_instance_uid == "bad" for one in batch):
                raise LedgerError("refused a statement")
            return super().record(batch, **options)

    def received(uid: str) -> Received:
        return Received(DX, uid, EXPLICIT, "0" * 64, 1, None, datetime.now(UTC))

    recorder = Recorder(Picky(), lambda: ())
    with ThreadPoolExecutor(4) as pool:
        results = {uid: pool.submit(recorder.record, received(uid)) for uid in ("1", "2", "bad", "3")}
        gate.set()
    assert isinstance(results.pop("bad").exception(), LedgerError)
    assert all(one.result().outcome == Outcome.NEW for one in results.values())


def test_one_batch_one_transaction(tmp_path: Path) -> None:
    """While a commit lasts, all others that finish wait for the next and share it."""
    gate, batches = threading.Event(), []

    class Slow(MemoryLedger):
        def record(self, batch, **options):
            batches.append(len(batch))
            if len(batches) == 1:
                gate.wait(10)
            if len(batches) == 2:
                raise LedgerBusy("locked")
            return super().record(batch, **options)

    def send(port: int) -> int:
        one = film()
        with RawPeer(port) as peer:
            return peer.associate().store(one.SOPInstanceUID, encoded(one))

    with listening(tmp_path, Slow()) as listener, ThreadPoolExecutor(5) as pool:
        results = [pool.submit(send, listener.port) for _ in range(5)]
        recorder = listener._shared.recorder
        while len(recorder._waiting) < 4:
            threading.Event().wait(0.01)
        gate.set()
        assert sorted(result.result() for result in results) == [0, 0xA700, 0xA700, 0xA700, 0xA700]
    assert batches == [1, 4]
