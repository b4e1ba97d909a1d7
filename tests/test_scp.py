"""The listener: what it takes, what it refuses and why, and that 0x0000 means safe."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import struct
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path

import psutil
import pytest
from dicom_peers import (
    DX,
    EXPLICIT,
    VERIFICATION,
    MemoryLedger,
    RawPeer,
    associate_rq,
    associate_rq_of,
    context_item,
    echo,
    encoded,
    files,
    film,
    item,
    listener_process,
    listening,
    pdata,
    sender,
    store_rq,
)
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, build_context, build_role
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from sqlalchemy import event
from structlog.testing import capture_logs

from gateway.errors import LedgerBusy, LedgerError
from gateway.ledger import Ledger
from gateway.ledger.records import Outcome, Received
from gateway.listener import glance, negotiate, serve
from gateway.listener.recorder import Recorder
from gateway.listener.scp import caller_rejection
from gateway.settings import GatewaySettings, Peer, Settings
from gateway.store import Store
from gateway.upper_layer import acceptor, dimse
from gateway.upper_layer.pdu import BadPdu
from pipelines import codecs

IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
HTJ2K = "1.2.840.10008.1.2.4.201"
J2K = "1.2.840.10008.1.2.4.90"
PRIVATE = "1.2.276.0.7230010.3.1.0.99.1"
DCMSEND = "/usr/bin/dcmsend"
ECHOSCU = "/usr/bin/echoscu"
MAX_LENGTH = item(0x51, struct.pack(">L", 16384))


def stored(state: Path) -> list[Path]:
    return files(state / "store")


def header_of(sop_instance: str) -> bytes:
    """A dataset that says what it is, and nothing else."""
    uids = ((0x16, DX.encode()), (0x18, sop_instance.encode()))
    return b"".join(struct.pack("<HH2sH", 8, at, b"UI", len(uid) + 1) + uid + b"\0" for at, uid in uids)


# What is taken


def test_an_object_is_kept_byte_for_byte_and_recorded(tmp_path: Path) -> None:
    """0x0000, the dataset as sent, one row with what the worker needs, nothing left in incoming."""
    ledger, one = MemoryLedger(), film()
    with listening(tmp_path, ledger) as listener, sender(listener.port) as association:
        assert association.send_c_store(one).Status == 0x0000
    (received,) = ledger.received
    assert (received.sop_instance_uid, received.sop_class_uid) == (one.SOPInstanceUID, DX)
    assert (received.transfer_syntax_uid, received.association_id) == (EXPLICIT, 1)
    meta, file = Store(tmp_path, 0).open_dataset(received.digest)
    with file:
        assert file.read() == encoded(one)
    assert meta.sop_instance_uid == one.SOPInstanceUID
    assert ledger.associations[0]["calling"] == "SENDER"
    assert ledger.ended[1]["outcome"] == "released"
    assert (ledger.ended[1]["objects"], ledger.ended[1]["size_bytes"]) == (1, received.size_bytes)
    assert files(tmp_path / "incoming") == []


@pytest.mark.dcmtk
def test_dcmtk_sends_films(tmp_path: Path) -> None:
    """dcmsend's PDUs of 128 KiB, several films in one association."""
    films = []
    for number in range(5):
        one = film(size_bytes=400_000)
        films.append(tmp_path / f"{number}.dcm")
        one.save_as(films[-1], enforce_file_format=True)
    ledger = MemoryLedger()
    with listening(tmp_path / "state", ledger) as listener:
        command = [DCMSEND, "-aec", "FILMGATE", "127.0.0.1", str(listener.port), *map(str, films)]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    assert len(ledger.received) == len(stored(tmp_path / "state")) == 5


@pytest.mark.parametrize(
    "syntax", [IMPLICIT, HTJ2K, J2K, "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.110"]
)
def test_compressed_syntaxes_are_kept_as_they_are(tmp_path: Path, syntax: str) -> None:
    """A context that proposes one syntax gets it, and the object is stored in it."""
    ledger, one = MemoryLedger(), film()
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        status = peer.associate((DX, syntax)).store(one.SOPInstanceUID, encoded(one))
        assert status == 0x0000
    assert ledger.received[0].transfer_syntax_uid == syntax


@pytest.mark.parametrize(
    "sop_class", [PRIVATE, "1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.5.1.4.1.1.999.1"]
)
def test_private_and_future_storage_classes_are_kept(tmp_path: Path, sop_class: str) -> None:
    """SR and KOS, a vendor's own, and one that the Standard may add next year."""
    ledger, one = MemoryLedger(), film(sop_class=sop_class)
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        status = peer.associate((sop_class, EXPLICIT)).store(
            one.SOPInstanceUID, encoded(one), sop_class=sop_class
        )
        assert status == 0x0000
    assert ledger.received[0].sop_class_uid == sop_class


@pytest.mark.parametrize("padding", ["", "\0", "  ", "\0\0"])
def test_padded_uids_are_one_uid(tmp_path: Path, padding: str) -> None:
    """Trailing NULs and blanks, which senders write, are not part of a UID."""
    ledger, one = MemoryLedger(), film()
    uid = str(one.SOPInstanceUID)
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        assert peer.associate().store(uid + padding, encoded(one)) == 0x0000
    assert ledger.received[0].sop_instance_uid == uid


def test_high_priority_is_urgent_and_low_can_wait(tmp_path: Path) -> None:
    """C-STORE's Priority HIGH puts a film first in the queue, LOW last (PS3.7 section 9.1.1.1)."""
    ledger = MemoryLedger()
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        peer.associate()
        for priority in (0, 1, 2):
            one = film()
            assert peer.store(one.SOPInstanceUID, encoded(one), priority=priority) == 0x0000
    assert [received.urgent for received in ledger.received] == [False, True, False]
    assert [received.can_wait for received in ledger.received] == [False, False, True]


def test_fragments_may_fall_anywhere(tmp_path: Path) -> None:
    """Several values in a PDU, a command in pieces, empty fragments: all of PS3.8 annex E."""
    ledger, one = MemoryLedger(), film()
    command, data = store_rq(one.SOPInstanceUID), encoded(one)

    def value(payload: bytes, control: int) -> bytes:
        return struct.pack(">LBB", len(payload) + 2, 1, control) + payload

    values = value(command[:10], 1) + value(command[10:], 3) + value(b"", 0)
    values += b"".join(value(data[at : at + 7], 0) for at in range(0, len(data), 7)) + value(b"", 2)
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        peer.associate().say(struct.pack(">BxL", 4, len(values)) + values)
        assert peer.status() == 0x0000
    assert ledger.received[0].size_bytes == len(data)


def test_the_same_object_at_the_same_moment_is_one_film(tmp_path: Path) -> None:
    """Eight associations send one object: eight 0x0000, one file, one job."""
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}", migrate_first=True)
    one = film()
    data = encoded(one)

    def send(port: int) -> int:
        with RawPeer(port) as peer:
            return peer.associate().store(one.SOPInstanceUID, data)

    with listening(tmp_path, ledger) as listener, ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, [listener.port] * 8)) == {0x0000}
    assert len(stored(tmp_path)) == 1
    assert len(ledger.films()) == 1
    ledger.close()


def test_many_associations_at_once(tmp_path: Path) -> None:
    """A hundred associations of three objects each, all stored or cleanly refused."""
    ledger = MemoryLedger()

    def send(port: int) -> int:
        with RawPeer(port) as peer:
            if peer.say(associate_rq()).pdu()[0] == 3:
                return 0
            for _ in range(3):
                one = film(size_bytes=256)
                assert peer.store(one.SOPInstanceUID, encoded(one)) == 0x0000
            return 3

    with listening(tmp_path, ledger, max_associations=60) as listener, ThreadPoolExecutor(100) as pool:
        sent = sum(pool.map(send, [listener.port] * 100))
    assert sent == len(ledger.received) == len(stored(tmp_path)) > 0


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


@pytest.mark.parametrize(
    ("called", "calling", "reason", "text"),
    [
        ("ELSEWHERE", "ROOM1", 7, "called AE title not recognised"),
        ("FILMGATE", "ROOM9", 3, "calling AE title not recognised"),
        ("FILMGATE", "ROOM2", 1, "this address may not send here"),
    ],
)
def test_who_is_not_allowed_is_rejected_with_the_standards_reason(
    tmp_path: Path, called: str, calling: str, reason: int, text: str
) -> None:
    """Permanent, by the service user, the reason of PS3.8 table 9-21; and an audit row."""
    allow = (
        Peer(ae_title="ROOM1", from_="127.0.0.0/8"),
        Peer(ae_title="ROOM2", from_="10.1.0.0/16"),
    )
    ledger = MemoryLedger()
    with listening(tmp_path, ledger, allow=allow) as listener:
        with RawPeer(listener.port) as peer:
            peer.say(associate_rq(called=called, calling=calling))
            assert peer.pdu() == (3, bytes((0, 1, 1, reason)))
        assert ledger.wait(lambda: ledger.refused)
        with sender(listener.port, calling="ROOM1") as association:
            assert association.is_established
    (row,) = ledger.refused
    assert (row["calling"], row["called"], row["reason"]) == (calling, called, text)


@pytest.mark.parametrize(
    ("calling", "named"),
    [
        (b"ROOM1".ljust(16, b"\0"), "ROOM1"),
        (b"ROOM1\0\x7f\1garbage\xff", "ROOM1"),
        (b"  ROOM1".ljust(16), "ROOM1"),
        (b"room1".ljust(16), "room1"),
        ("RÖNTGEN".encode("latin-1").ljust(16), "RÖNTGEN"),
        ("RÖNTGEN".encode().ljust(16), "RÖNTGEN"),
        (b"A\x01\x1b[2J\xa0B".ljust(16), "A??[2J?B"),
        (b"../../etc/x".ljust(16), "../../etc/x"),
        (b"A\\B".ljust(16), "A\\B"),
        (b" " * 16, ""),
        (b"\0" * 16, ""),
    ],
)
def test_an_odd_calling_ae_title_is_a_title(tmp_path: Path, calling: bytes, named: str) -> None:
    """Where any may send it is welcome, and its film is kept; the answer repeats it byte for byte."""
    titles, reserved = b"FILMGATE".ljust(16, b"\0") + calling, bytes(range(32))
    ledger = MemoryLedger()
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        peer.say(associate_rq_of(context_item(), titles=titles, reserved=reserved))
        kind, body = peer.pdu()
        assert (kind, body[4:68]) == (2, titles + reserved)
        assert peer.store("1.2.3", header_of("1.2.3")) == 0x0000
    assert ledger.associations[0]["calling"] == named
    assert {one.name for one in tmp_path.iterdir()} <= {"incoming", "store"}


@pytest.mark.parametrize(
    ("titles", "reason", "text"),
    [
        (b"FILMGATE".ljust(16) + b"ROOM\xd6".ljust(16), 3, "calling AE title not recognised"),
        (b"FILMGATE".ljust(16) + b"\0" * 16, 3, "calling AE title not recognised"),
        (b"FILMGATE".ljust(16) + b" " * 16, 3, "calling AE title not recognised"),
        (b"FILMGATE".ljust(16) + b"..".ljust(16), 3, "calling AE title not recognised"),
        (b"FILMGATE".ljust(16) + b"room1".ljust(16), 3, "calling AE title not recognised"),
        (b"F\xdcLMGATE".ljust(16) + b"ROOM1".ljust(16), 7, "called AE title not recognised"),
        (b"filmgate".ljust(16) + b"ROOM1".ljust(16), 7, "called AE title not recognised"),
        (b" " * 16 + b"ROOM1".ljust(16), 7, "called AE title not recognised"),
    ],
)
def test_an_odd_ae_title_that_is_not_known_is_rejected(
    tmp_path: Path, titles: bytes, reason: int, text: str
) -> None:
    """As any other: the reason of PS3.8 table 9-21, and an audit row."""
    ledger = MemoryLedger()
    allow = (Peer(ae_title="ROOM1", from_="127.0.0.0/8"),)
    with listening(tmp_path, ledger, allow=allow) as listener, RawPeer(listener.port) as peer:
        peer.say(associate_rq_of(context_item(), titles=titles))
        assert peer.pdu() == (3, bytes((0, 1, 1, reason)))
        assert ledger.wait(lambda: ledger.refused)
    assert ledger.refused[0]["reason"] == text


def test_a_title_with_an_umlaut_can_be_allowed(tmp_path: Path) -> None:
    """Settings take it, so a sender that writes it must get in."""
    allow = (Peer(ae_title="RÖNTGEN1", from_="127.0.0.0/8"),)
    with listening(tmp_path, allow=allow) as listener, RawPeer(listener.port) as peer:
        titles = b"FILMGATE".ljust(16) + "RÖNTGEN1".encode("latin-1").ljust(16)
        assert peer.say(associate_rq_of(context_item(), titles=titles)).pdu()[0] == 2


@pytest.mark.skipif(not Path(ECHOSCU).exists(), reason="needs DCMTK's echoscu")
@pytest.mark.parametrize("title", ["..", "room 1", "RÖNTGEN", "a/b"])
def test_dcmtk_with_an_odd_title_is_answered(tmp_path: Path, title: str) -> None:
    with listening(tmp_path) as listener:
        command = [ECHOSCU, "-aet", title, "-aec", "FILMGATE", "127.0.0.1", str(listener.port)]
        done = subprocess.run(command, capture_output=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "items",
    [
        pytest.param((item(0x99, b"abc"), context_item(), item(0x50, MAX_LENGTH)), id="unknown item"),
        pytest.param((context_item(), item(0x00), item(0xFF)), id="unknown items of no length"),
        pytest.param((context_item(kind=0x21), item(0x40, b"1.2"), context_item()), id="not of a request"),
        pytest.param((item(0x50, MAX_LENGTH), context_item()), id="unusual order"),
        pytest.param(
            (context_item(1, item(0x77, b"z"), item(0x40, EXPLICIT.encode()), item(0x30, DX.encode())),),
            id="unknown sub-item of a context, syntax first",
        ),
        pytest.param((context_item(reserved=255),), id="reserved bytes"),
        pytest.param(
            (context_item(1, item(0x30, DX.encode() + b"\0"), item(0x40, EXPLICIT.encode() + b"\0\0")),),
            id="padded UIDs",
        ),
    ]
    + [
        pytest.param((context_item(), item(0x50, user)), id=name)
        for name, user in {
            "no user information": b"",
            "unknown sub-items": item(0x5A, b"odd") + item(0x00) + MAX_LENGTH,
            "no limit": item(0x51, bytes(4)),
            "a limit of no length": item(0x51),
            "version name in Latin-1": MAX_LENGTH + item(0x55, "Gerät".encode("latin-1")),
            "version name too long": MAX_LENGTH + item(0x55, b"X" * 40),
            "implementation class that is no UID": MAX_LENGTH + item(0x52, b"\xff" * 80),
            "implementation class of no length": item(0x52) + MAX_LENGTH,
            "user identity with an answer wanted": item(0x58, b"\1\1\0\4user\0\0"),
            "user identity of no length": item(0x58),
            "user identity that lies inside": item(0x58, b"\1\1\xff\xffuser"),
            "role of an unknown class": item(0x54, b"\0\5" + b"1.2.3" + b"\7\7"),
            "sub-items of no length": b"".join(map(item, range(0x53, 0x5A))),
        }.items()
    ],
)
def test_items_that_we_do_not_use_are_skipped(tmp_path: Path, items: tuple[bytes, ...]) -> None:
    """Ignored and skipped (PS3.8 section 9.3.1): DX in explicit VR is accepted, and an object stored."""
    ledger = MemoryLedger()
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        kind, body = peer.say(associate_rq_of(*items)).pdu()
        assert kind == 2
        assert context_item(1, item(0x40, EXPLICIT.encode()), kind=0x21) in body
        assert peer.store("1.2.3", header_of("1.2.3")) == 0x0000
    assert len(ledger.received) == 1


@pytest.mark.parametrize(
    ("other", "result"),
    [
        (context_item(3, item(0x30), item(0x40, EXPLICIT.encode())), 3),
        (context_item(3, item(0x40, EXPLICIT.encode())), 3),
        (context_item(3, item(0x30, b"..\xff"), item(0x40, EXPLICIT.encode())), 3),
        (context_item(3, item(0x30, b"1" * 80), item(0x40, EXPLICIT.encode())), 3),
        (context_item(3, item(0x30, DX.encode())), 4),
        (context_item(3, item(0x30, DX.encode()), item(0x40), item(0x40, b"..\xff")), 4),
    ],
)
def test_a_context_that_nobody_can_read_is_not_accepted(tmp_path: Path, other: bytes, result: int) -> None:
    """Its own result says so (PS3.8 table 9-18); the context beside it is as good as ever."""
    with listening(tmp_path) as listener, RawPeer(listener.port) as peer:
        kind, body = peer.say(associate_rq_of(other, context_item(1))).pdu()
    assert kind == 2
    assert struct.pack(">BxBx", 3, result) in body
    assert context_item(1, item(0x40, EXPLICIT.encode()), kind=0x21) in body


def test_pynetdicom_with_all_it_can_negotiate_is_served(tmp_path: Path) -> None:
    """Role selection, user identity with an answer wanted, asynchronous operations, extended negotiation."""
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field = 1, b"user"
    identity.positive_response_requested = True
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 5
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = DX, b"\1\0\2"
    ae = AE("ROOM1")
    ae.requested_contexts = [build_context(VERIFICATION, EXPLICIT)]
    wishes = [identity, window, extended, build_role(DX, scu_role=True, scp_role=True)]
    with listening(tmp_path) as listener:
        association = ae.associate("127.0.0.1", listener.port, ae_title="FILMGATE", ext_neg=wishes)
        assert association.send_c_echo().Status == 0x0000
        association.release()


@pytest.mark.parametrize(
    "lie",
    [
        (context_item(), b"\x99\0\xff\xff"),
        (context_item(), item(0x50, MAX_LENGTH + b"\x5a\0\xff\xff")),
        (context_item(1, item(0x30, DX.encode()), b"\x40\0\0\xff1.2"),),
        (context_item(), b"\0"),
        (context_item(), item(0x50, item(0x5A) * 2000)),
        (context_item(1, item(0x30, DX.encode()), *[item(0x40, b"1")] * 200),),
        (item(0x20, b"\1"),),
    ],
)
def test_items_that_do_not_fit_are_aborted(tmp_path: Path, lie: tuple[bytes, ...]) -> None:
    """An item longer than what holds it, or far too many of them: A-ABORT by the provider."""
    with listening(tmp_path) as listener, RawPeer(listener.port) as peer:
        kind, body = peer.say(associate_rq_of(*lie)).pdu()
        assert (kind, body[2:]) == (7, bytes((2, 6)))


def test_addresses_of_both_families_are_compared() -> None:
    """An IPv4 peer of a dual-stack socket is the same peer; an address range is what counts, not its text."""
    allow = GatewaySettings(allow=(Peer(from_="10.1.0.0/16"), Peer(ae_title="V6", from_="fd00::/8")))
    assert caller_rejection("ANY", "::ffff:10.1.2.3", allow) is None
    assert caller_rejection("ANY", "10.2.2.3", allow) is acceptor.NOT_ALLOWED
    assert caller_rejection("V6", "fd00::1%eth0", allow) is None


def test_an_error_comment_says_why(tmp_path: Path) -> None:
    """The response carries (0000,0902), without a UID in it."""
    with listening(tmp_path) as listener, RawPeer(listener.port) as peer:
        peer.associate().say(pdata(store_rq("1.2.3"), command=True), pdata(b"no dataset, this"))
        assert b"the dataset is not DICOM" in peer.pdu()[1]


# Negotiation


def test_the_syntax_taken_is_ours_to_prefer() -> None:
    """Native first, then lossless; deflated and big endian only when the settings say so."""
    plain, old = GatewaySettings(), GatewaySettings(deflated=True, big_endian=True)
    assert negotiate.preferred((DEFLATED, BIG_ENDIAN, IMPLICIT, EXPLICIT), plain)[0] == EXPLICIT
    assert negotiate.preferred((J2K, IMPLICIT), plain)[0] == IMPLICIT
    assert negotiate.preferred(("1.2.840.10008.1.2.4.50", J2K), plain)[0] == J2K
    assert negotiate.preferred((DEFLATED, BIG_ENDIAN), plain) == []
    assert negotiate.preferred((DEFLATED,), old)[0] == DEFLATED
    assert negotiate.preferred((DEFLATED, BIG_ENDIAN), old)[0] == BIG_ENDIAN
    assert negotiate.preferred(("1.2.3", "1.2.840.10008.1.2.4.94"), plain) == []


def test_every_syntax_that_pixels_travel_in_is_welcome() -> None:
    """All that pydicom knows, but for those that need a setting or another server."""
    refused = {one for one in AllTransferSyntaxes if not negotiate.preferred([one], GatewaySettings())}
    assert {DEFLATED, BIG_ENDIAN} <= refused
    assert not [one for one in refused if one.startswith("1.2.840.10008.1.2.4") and "JPIP" not in one.name]


def test_what_can_be_decoded_is_preferred() -> None:
    """All in the list, and nothing else, the decoder reads; video comes after the last of them."""
    assert set(negotiate.PREFERENCE) == codecs.NATIVE | codecs.ENCAPSULATED
    video, frames = "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.1.98"
    plain = GatewaySettings()
    for syntax in negotiate.PREFERENCE:
        offered = negotiate.preferred((video, syntax), plain)
        assert offered[0] == syntax or syntax in (DEFLATED, BIG_ENDIAN, negotiate.DEFLATED_FRAMES)
    assert negotiate.preferred((J2K, frames), plain)[0] == frames


def test_every_storage_class_is_accepted_and_no_query() -> None:
    """What is kept is what is storage; C-FIND, C-MOVE, worklist and print are not."""
    assert all(negotiate.is_storage(cx.abstract_syntax) for cx in AllStoragePresentationContexts)
    for other in ("1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.31", "1.2.840.10008.1.20.1", "x", ""):
        assert not negotiate.is_storage(other)
    assert not negotiate.is_storage("1.2.840.10008.5.1.4.1.1.201.2")  # Inventory - FIND


def test_private_classes_are_capped() -> None:
    """An association may bring 64 private SOP classes; the 65th is refused, the known ones are not."""
    contexts = [build_context(f"1.2.3.{n}", EXPLICIT) for n in range(70)] + [build_context(DX, EXPLICIT)]
    for n, context in enumerate(contexts):
        context.context_id = 2 * n + 1
    answers = negotiate.negotiate(contexts, GatewaySettings())
    assert sum(one.result == 0 for one in answers) == 65
    assert answers[-1].result == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body[:50],
        lambda body: body[:68],
        lambda body: body[:-1],
        lambda body: body[:68] + b"\x20\0\0\4\2\0\0\0",
        lambda body: body[:68] + b"\x30\0\0\0" * 200,
    ],
)
def test_a_broken_request_is_a_bad_pdu(change) -> None:
    """Too short, without contexts, an item that does not fit, an even context id, too many items."""
    with pytest.raises(BadPdu):
        acceptor.decode_associate_rq(change(associate_rq()[6:]))


def test_a_glance_is_bounded_and_flat() -> None:
    """An undefined length, a length past the end, many elements: not clear, so nothing is said."""
    head = struct.pack("<HH2sxxL", 8, 0x0006, b"SQ", 0xFFFFFFFF) + b"\xfe\xff\0\xe0\xff\xff\xff\xff" * 9000
    assert glance.glance(head, len(head), EXPLICIT) == glance.Glance(True)
    many = b"".join(struct.pack("<HHL", 8, 1, 0) for _ in range(8000))
    assert glance.glance(many, len(many), IMPLICIT) == glance.Glance(True)
    late = struct.pack("<HH2sHH", 8, 5, b"CS", 60000, 0)
    assert glance.glance(late, 70000, EXPLICIT) == glance.Glance(True)
    assert glance.glance(b"\x78\x9c\1\2", 4, DEFLATED) == glance.Glance(True)


@pytest.mark.parametrize(
    ("syntax", "order", "form"), [(BIG_ENDIAN, ">", ">HH2sH"), (EXPLICIT, "<", "<HH2sH")]
)
def test_a_glance_reads_both_byte_orders(syntax: str, order: str, form: str) -> None:
    """SOP Class and Instance UID of explicit VR datasets, little and big endian."""
    data = b"".join(
        struct.pack(form, 8, element, b"UI", 4) + value
        for element, value in ((0x16, b"1.2\0"), (0x18, b"3.4\0"), (0x20, b"9.9\0"))
    )
    assert glance.glance(data, len(data), syntax) == glance.Glance(True, "1.2", "3.4")


@pytest.mark.parametrize(
    "data", [b"\0", b"\1\0\0\1\0\0\0\0", b"\0\0\0\1\xff\xff\0\0", struct.pack("<HHL", 0, 0, 0)]
)
def test_a_broken_command_set_is_a_bad_pdu(data: bytes) -> None:
    """It breaks off, holds another group, a length past the end, or no command field."""
    with pytest.raises(BadPdu):
        dimse.decode_command(data)


# Crashes and stopping


@pytest.mark.parametrize(
    ("stage", "objects", "rows"), [("pdu:3", 0, 0), ("renamed:1", 1, 0), ("committed:1", 1, 1)]
)
def test_a_crash_never_loses_or_doubles(tmp_path: Path, stage: str, objects: int, rows: int) -> None:
    """kill -9 amid the PDUs, after the rename, after the commit: no 0x0000, and a resend makes one film."""
    one = film(size_bytes=100_000)
    data = encoded(one)
    with listener_process(tmp_path, crash_at=stage) as (child, port), RawPeer(port) as peer:
        peer.associate().say(pdata(store_rq(one.SOPInstanceUID), command=True))
        peer.say(pdata(data[:50_000], last=False), pdata(data[50_000:]))
        assert peer.pdu() == (-1, b"")
        assert child.wait(10) == 137
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    assert (len(stored(tmp_path)), len(ledger.films())) == (objects, rows)
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        assert files(tmp_path / "incoming") == []
        assert peer.associate().store(one.SOPInstanceUID, data) == 0x0000
    assert (len(stored(tmp_path)), len(ledger.films())) == (1, 1)
    ledger.close()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_object(tmp_path: Path) -> None:
    """A quarter of a gigabyte in one object: less than 20 MiB more."""
    with listener_process(tmp_path) as (child, port), RawPeer(port, timeout=60) as peer:
        process = psutil.Process(child.pid)
        one = film()
        peer.associate()
        assert peer.store(one.SOPInstanceUID, encoded(one)) == 0x0000
        before = most = process.memory_info().rss
        peer.say(pdata(store_rq(one.SOPInstanceUID), command=True), pdata(encoded(one), last=False))
        piece = pdata(bytes(250_000), last=False)
        for _ in range(1000):
            peer.say(piece)
            most = max(most, process.memory_info().rss)
        peer.say(pdata(b""))
        assert peer.status() == 0x0000
        assert most - before < 20 << 20


def test_many_small_objects_leave_memory_flat(tmp_path: Path) -> None:
    """400 in one association, then 60 associations of one: memory, threads and files as before."""
    fast = Path("/dev/shm")  # syncs cost nothing there; all else is as on a disk
    state = Path(tempfile.mkdtemp(dir=fast)) if fast.is_dir() else tmp_path
    uids = (f"1.2.826.0.1.3680043.{number}" for number in count(1))

    def send(peer: RawPeer, objects: int) -> None:
        for uid in islice(uids, objects):
            assert peer.store(uid, header_of(uid)) == 0x0000

    try:
        with listener_process(state) as (child, port):
            process = psutil.Process(child.pid)
            with RawPeer(port) as peer:
                send(peer.associate(), 100)
                before, threads, opened = process.memory_info().rss, process.num_threads(), process.num_fds()
                send(peer, 400)
                assert process.memory_info().rss - before < 6 << 20
            for _ in range(60):
                with RawPeer(port) as peer:
                    send(peer.associate(), 1)
            assert process.memory_info().rss - before < 8 << 20
            assert process.num_threads() <= threads + 2
            assert process.num_fds() <= opened + 8
        assert len(stored(state)) == 560
    finally:
        if state != tmp_path:
            shutil.rmtree(state)


def test_stopping_lets_an_association_finish(tmp_path: Path) -> None:
    """New ones are refused at once; the open one completes its film and is released."""
    ledger, one = MemoryLedger(), film()
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        peer.associate().say(pdata(store_rq(one.SOPInstanceUID), command=True))
        stopping = threading.Thread(target=listener.stop, args=(10,))
        stopping.start()
        while listener._door._listening.fileno() >= 0:
            threading.Event().wait(0.01)
        with pytest.raises(ConnectionRefusedError):
            RawPeer(listener.port)
        peer.say(pdata(encoded(one)))
        assert peer.status() == 0x0000
        assert peer.say(struct.pack(">BxL4x", 5, 4)).pdu()[0] == 6
        stopping.join(5)
        assert not stopping.is_alive()
    assert len(ledger.received) == 1


def test_what_does_not_finish_is_aborted(tmp_path: Path) -> None:
    """After the time to drain, an association amid an object gets A-ABORT, and its part file goes."""
    with listening(tmp_path) as listener, RawPeer(listener.port) as peer:
        peer.associate().say(pdata(store_rq("1.2.3"), command=True), pdata(bytes(100), last=False))
        while not files(tmp_path / "incoming"):
            threading.Event().wait(0.01)
        listener.stop(drain_s=0.1)
        assert peer.pdu() == (7, b"\0\0\0\0")
        assert files(tmp_path / "incoming") == []


def test_two_listeners_share_a_port(tmp_path: Path, free_port: int) -> None:
    """`serve` with reuse_port: both start on one port, and both end when told."""
    settings = Settings(gateway=GatewaySettings(port=free_port), state=tmp_path)
    stop, ready = threading.Event(), [threading.Event(), threading.Event()]
    threads = [
        threading.Thread(
            target=serve,
            args=(settings, MemoryLedger(), Store(tmp_path, 0)),
            kwargs={"reuse_port": True, "ready": one.set, "stop": stop, "drain_s": 1},
        )
        for one in ready
    ]
    for thread in threads:
        thread.start()
    assert all(one.wait(5) for one in ready)
    assert all(echo(free_port) for _ in range(4))
    stop.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
