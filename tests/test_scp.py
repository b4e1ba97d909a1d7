"""The listener: what it takes, what it refuses and why, and that 0x0000 means safe."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path

import psutil
import pytest
from dicom_peers import (
    DX,
    EXPLICIT,
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
    sender,
    store_rq,
)
from scp_objects import IMPLICIT, J2K, header_of, stored

from gateway.ledger import Ledger
from gateway.listener import serve
from gateway.settings import GatewaySettings, Settings
from gateway.store import Store

HTJ2K = "1.2.840.10008.1.2.4.201"
PRIVATE = "1.2.276.0.7230010.3.1.0.99.1"
DCMSEND = "/usr/bin/dcmsend"


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
