"""Peers for the listener's tests: films, honest senders, and raw sockets that need not be honest."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from gateway.ledger.records import Outcome, Received, Recorded, Tally
from gateway.listener import Listener
from gateway.settings import GatewaySettings, Settings
from gateway.store import Store

DX = "1.2.840.10008.5.1.4.1.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = str(ExplicitVRLittleEndian)
EMPTY_PDU = struct.pack(">BxL", 4, 0)  # a P-DATA-TF without a value


class MemoryLedger:
    """The ledger's receiving side without a database."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.refused: list[dict[str, Any]] = []
        self.associations: list[dict[str, Any]] = []
        self.ended: dict[int, dict[str, Any]] = {}
        self.counts: dict[int, dict[str, Any]] = {}  # of those refused, by row
        self.changed = threading.Condition()

    def associate(self, **row: Any) -> int:
        with self.changed:
            self.associations.append(row)
            return len(self.associations)

    def dissociate(self, association_id: int, **row: Any) -> None:
        with self.changed:
            self.ended[association_id] = row
            self.changed.notify_all()

    def tally(self, tallies: Sequence[Tally]) -> list[int]:
        with self.changed:
            rows = [self._tally(one) for one in tallies]
            self.changed.notify_all()
            return rows

    def _tally(self, one: Tally) -> int:
        row = one.row
        if row is None:
            self.associations.append(asdict(one))
            row = len(self.associations)
        if one.outcome == "refused":
            self.counts[row] = asdict(one)
            self.refused = list(self.counts.values())
        else:
            self.ended[row] = asdict(one)
        return row

    def admits(self, calling: str, address: str) -> bool:
        return False

    def record(self, batch: Sequence[Received], **_: Any) -> list[Recorded]:
        with self.changed:
            self.received.extend(batch)
            return [Recorded(len(self.received), 1, Outcome.NEW) for _ in batch]

    def wait(self, what: Any, timeout: float = 30.0) -> bool:
        with self.changed:
            return bool(self.changed.wait_for(what, timeout=timeout))


@contextmanager
def listening(state: Path, ledger: Any = None, *, min_free_mb: int = 0, **gateway: Any) -> Iterator[Listener]:
    """A listener on a free port; `gateway` are its settings."""
    options = {key: gateway.pop(key) for key in ("ssl_context",) if key in gateway}
    settings = Settings(gateway=GatewaySettings(**gateway), state=state)
    store = Store(state, min_free_mb)
    listener = Listener(settings, ledger or MemoryLedger(), store, port=0, **options)
    listener.start()
    try:
        yield listener
    finally:
        listener.stop(drain_s=0)


CHILD = """
import logging, sys, threading
import structlog
from pathlib import Path
from gateway.ledger import Ledger
from gateway.listener import Listener
from gateway.settings import GatewaySettings, Settings
from gateway.store import Store
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
state = Path(sys.argv[1])
settings = Settings(gateway=GatewaySettings(**eval(sys.argv[2])), state=state)
ledger = Ledger.open(settings.ledger_url, migrate_first=True)
print(Listener(settings, ledger, Store(state, 0), port=0).start(), flush=True)
threading.Event().wait()
"""


@contextmanager
def listener_process(
    state: Path, *, crash_at: str = "", **gateway: Any
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A listener with the real ledger in a process of its own, which may be killed; and its port."""
    root = str(Path(__file__).parents[1])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(state), repr(gateway)],
        env=os.environ | {"FILMGATE_CRASH_AT": crash_at, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    try:
        lines = iter(child.stdout.readline, "")
        yield child, next(int(line) for line in lines if line.strip().isdigit())
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def film(*, sop_class: str = DX, transfer_syntax: str = EXPLICIT, size_bytes: int = 2048) -> Dataset:
    """A small film with new UIDs."""
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    one.SOPClassUID, one.SOPInstanceUID = sop_class, generate_uid()
    one.StudyInstanceUID, one.SeriesInstanceUID = generate_uid(), generate_uid()
    one.PatientID, one.Modality = "TEST", "DX"
    one.Rows, one.Columns, one.SamplesPerPixel = size_bytes // 64, 32, 1
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
    one.PhotometricInterpretation = "MONOCHROME2"
    one.PixelData = os.urandom(size_bytes)
    one["PixelData"].VR = "OW"
    return one


def encoded(dataset: Dataset) -> bytes:
    """The dataset's bytes in explicit VR little endian."""
    from pynetdicom.dsutils import encode

    data = encode(dataset, False, True)
    assert data is not None
    return data


@contextmanager
def sender(
    port: int, *contexts: tuple[str, str], called: str = "FILMGATE", calling: str = "SENDER"
) -> Iterator[Any]:
    """An association of an honest sender, by pynetdicom; (SOP class, transfer syntax) a context."""
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = 10
    ae.requested_contexts = [build_context(one, syntax) for one, syntax in contexts or ((DX, EXPLICIT),)]
    association = ae.associate("127.0.0.1", port, ae_title=called)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def echo(port: int) -> bool:
    """Whether the listener answers a C-ECHO."""
    with sender(port, (VERIFICATION, EXPLICIT)) as association:
        return association.is_established and association.send_c_echo().Status == 0x0000


def associate_rq(*contexts: tuple[str, str], called: str = "FILMGATE", calling: str = "RAW") -> bytes:
    """An A-ASSOCIATE-RQ PDU, by pynetdicom's codec."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.called_ae_title, primitive.calling_ae_title = called, calling
    proposed = []
    for number, (abstract, syntax) in enumerate(contexts or ((DX, EXPLICIT), (VERIFICATION, EXPLICIT))):
        context = build_context(abstract, syntax)
        context.context_id = 2 * number + 1
        proposed.append(context)
    primitive.presentation_context_definition_list = proposed
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16384
    implementation.implementation_class_uid = "1.2.3.4"
    primitive.user_information = [length, implementation]
    return bytes(A_ASSOCIATE_RQ(primitive).encode())


def item(kind: int, value: bytes = b"", *, reserved: int = 0) -> bytes:
    """An item or sub-item of an A-ASSOCIATE PDU (PS3.8 section 9.3.2)."""
    return struct.pack(">BBH", kind, reserved, len(value)) + value


def context_item(
    context_id: int = 1, *subitems: bytes, kind: int = 0x20, result: int = 0, reserved: int = 0
) -> bytes:
    """A presentation context item; DX in explicit VR unless told otherwise."""
    inner = subitems or (item(0x30, DX.encode(), reserved=reserved), item(0x40, EXPLICIT.encode()))
    head = struct.pack(">BBBB", context_id, reserved, result or reserved, reserved)
    return item(kind, head + b"".join(inner), reserved=reserved)


def associate_rq_of(*items: bytes, titles: bytes | None = None, reserved: bytes = bytes(32)) -> bytes:
    """An A-ASSOCIATE-RQ PDU of just these items after the application context; `titles` are 32 bytes."""
    titles = titles or b"FILMGATE".ljust(16) + b"RAW".ljust(16)
    context = item(0x10, b"1.2.840.10008.3.1.1.1")
    body = struct.pack(">HH", 1, 0) + titles + reserved + context + b"".join(items)
    return struct.pack(">BxL", 1, len(body)) + body


def pdata(payload: bytes, *, context: int = 1, command: bool = False, last: bool = True) -> bytes:
    """A P-DATA-TF PDU with one presentation data value."""
    control = (1 if command else 0) | (2 if last else 0)
    return struct.pack(">BxLLBB", 4, len(payload) + 6, len(payload) + 2, context, control) + payload


def store_rq(sop_instance: str, *, sop_class: str = DX, priority: int = 0, field: int = 1) -> bytes:
    """The command set of a C-STORE-RQ."""
    return _command(
        (0x0002, sop_class.encode()),
        (0x0100, struct.pack("<H", field)),
        (0x0110, struct.pack("<H", 7)),
        (0x0700, struct.pack("<H", priority)),
        (0x0800, struct.pack("<H", 1)),
        (0x1000, sop_instance.encode()),
    )


def echo_rq(sop_class: str = VERIFICATION) -> bytes:
    """The command set of a C-ECHO-RQ."""
    numbers = ((0x0100, 0x0030), (0x0110, 7), (0x0800, 0x0101))
    return _command((0x0002, sop_class.encode()), *((at, struct.pack("<H", value)) for at, value in numbers))


def _command(*elements: tuple[int, bytes]) -> bytes:
    def element(number: int, value: bytes) -> bytes:
        return struct.pack("<HHL", 0, number, len(value) + len(value) % 2) + value + b"\0" * (len(value) % 2)

    body = b"".join(element(number, value) for number, value in elements)
    return element(0x0000, struct.pack("<L", len(body))) + body


class RawPeer:
    """A peer that says exactly the bytes it is told to."""

    def __init__(self, port: int, *, timeout: float = 10.0, source: str = "127.0.0.1") -> None:
        here = (source, 0)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout, source_address=here)
        self.port = port

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, *data: bytes) -> RawPeer:
        for one in data:
            self.socket.sendall(one)
        return self

    def associate(self, *contexts: tuple[str, str]) -> RawPeer:
        self.say(associate_rq(*contexts))
        kind, _ = self.pdu()
        assert kind == 0x02
        return self

    def pdu(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; (-1, b"") when the listener closed."""
        try:
            header = self._exactly(6)
        except ConnectionError:
            return -1, b""
        if len(header) < 6:
            return -1, b""
        return header[0], self._exactly(int.from_bytes(header[2:], "big"))

    def status(self) -> int:
        """Status of the DIMSE response that comes."""
        kind, body = self.pdu()
        assert kind == 0x04, kind
        at = body.index(struct.pack("<HHL", 0, 0x0900, 2)) + 8
        return int.from_bytes(body[at : at + 2], "little")

    def echo(self, *, context: int = 3) -> int:
        """Send a C-ECHO-RQ; the status."""
        return self.say(pdata(echo_rq(), command=True, context=context)).status()

    def store(self, sop_instance: str, dataset: bytes, **command: Any) -> int:
        """Send one object; the status."""
        self.say(pdata(store_rq(sop_instance, **command), command=True), pdata(dataset))
        return self.status()

    def closed(self) -> bool:
        """Wait until the listener closes; whatever it still says is skipped."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        return True

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size and (chunk := self.socket.recv(size - len(data))):
            data += chunk
        return bytes(data)


class SlowSender:
    """One C-STORE of which a part is sent."""

    def __init__(self, port: int) -> None:
        self.film = film(size_bytes=64_000)
        self._data = encoded(self.film)
        self._peer = RawPeer(port, timeout=60).associate()
        self._peer.say(pdata(store_rq(self.film.SOPInstanceUID), command=True))
        self.more()

    def more(self, count: int = 1000) -> None:
        """Some of the dataset, in a PDU of its own."""
        self._peer.say(pdata(self._data[:count], last=False))
        self._data = self._data[count:]

    def finish(self) -> int:
        """The rest; the status."""
        with self._peer.socket:
            self._peer.say(pdata(self._data))
            return self._peer.status()

    def feed_until_aborted(self) -> None:
        """A byte now and then, until there is an A-ABORT."""
        self._peer.socket.settimeout(0.05)
        kind = 0
        with self._peer.socket:
            while not kind:
                with suppress(TimeoutError):
                    kind, _ = self._peer.pdu()
                    break
                self.more(1)
        assert kind == 7


def files(folder: Path) -> list[Path]:
    """Every regular file below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]
