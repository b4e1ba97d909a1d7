"""Peers for tests of what we send: real pynetdicom SCPs, DCMTK's storescp, and sockets that misbehave."""

from __future__ import annotations

import os
import socket
import socketserver
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt

from gateway.ledger.records import Delivery
from gateway.store import file_meta, read_meta

DX = "1.2.840.10008.5.1.4.1.1.1.1"
CR = "1.2.840.10008.5.1.4.1.1.1"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
STORESCP = Path("/usr/bin/storescp")
WAIT_S = 20.0


def kept(
    folder: Path,
    dataset: bytes,
    *,
    uid: str = "1.2.3.4",
    sop_class: str = DX,
    syntax: str = ExplicitVRLittleEndian,
) -> tuple[Path, Delivery]:
    """A stored file with these dataset bytes, and a delivery of it."""
    path = folder / f"{uid}.dcm"
    path.write_bytes(file_meta(sop_class, uid, syntax) + dataset)
    digest = sha256(syntax.encode() + b"\0" + dataset).hexdigest()
    return path, Delivery(1, 1, "archive", digest, sop_class, uid, syntax, 1, NOW, "always")


@contextmanager
def small_disk(folder: Path, size_kb: int) -> Iterator[Path]:
    """A disk of its own (tmpfs) at `folder`, where mounting is allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=False)


def dataset_of(path: Path) -> bytes:
    with path.open("rb") as file:
        read_meta(file)
        return file.read()


class Peer:
    """A storage SCP that keeps what it got, and answers what it is told to."""

    def __init__(self) -> None:
        self.datasets: list[bytes] = []
        self.syntaxes: list[str] = []
        self.uids: list[str] = []
        self.accepted = 0
        self.released = threading.Event()
        self.began = threading.Event()  # an object is here, not yet answered
        self.go_on = threading.Event()  # clear it, and no answer is given before it is set again
        self.go_on.set()
        self.status: int | Dataset = 0x0000
        self.pdu_lengths: list[int] = []

    def on_store(self, event: Any) -> int | Dataset:
        self.datasets.append(event.request.DataSet.getvalue())
        self.syntaxes.append(str(event.context.transfer_syntax))
        self.uids.append(str(event.request.AffectedSOPInstanceUID))
        self.began.set()
        self.go_on.wait(WAIT_S)
        return self.status

    def on_accepted(self, event: Any) -> None:
        self.accepted += 1

    def on_data(self, event: Any) -> None:
        if event.data[:1] == b"\x04":
            self.pdu_lengths.append(len(event.data) - 6)


@contextmanager
def storage_scp(
    port: int, syntaxes: dict[str, list[str]] | None = None, *, max_pdu: int = 16382, **options: Any
) -> Iterator[Peer]:
    """A pynetdicom SCP; `syntaxes` are the transfer syntaxes it accepts by SOP class."""
    peer = Peer()
    ae = AE("ARCHIVE")
    ae.maximum_pdu_size = max_pdu
    for name, value in options.items():
        setattr(ae, name, value)
    ae.add_supported_context("1.2.840.10008.1.1")
    for sop_class, accepted in (syntaxes or {DX: [ExplicitVRLittleEndian]}).items():
        ae.add_supported_context(sop_class, accepted)
    handlers = [
        (evt.EVT_C_STORE, peer.on_store),
        (evt.EVT_ACCEPTED, peer.on_accepted),
        (evt.EVT_RELEASED, lambda event: peer.released.set()),
        (evt.EVT_DATA_RECV, peer.on_data),
    ]
    server = ae.make_server(("127.0.0.1", port), evt_handlers=handlers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # looks so often whether to end
    thread.start()
    try:
        yield peer
    finally:
        socketserver.TCPServer.shutdown(server)  # AssociationServer.shutdown expects ae.start_server
        server.server_close()
        thread.join(WAIT_S)
        for association in ae.active_associations:
            association.abort()
            association.join(WAIT_S)


@contextmanager
def dcmtk_storescp(port: int, folder: Path, *options: str) -> Iterator[Path]:
    """DCMTK's storescp, started and listening; the folder it writes to."""
    folder.mkdir()
    command = [str(STORESCP), "-od", str(folder), "-aet", "ARCHIVE", *options, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _listening(port, process)
        yield folder
    finally:
        process.terminate()
        process.wait(WAIT_S)


def _listening(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), WAIT_S):
            return
    raise AssertionError("storescp did not start")


Script = Callable[[socket.socket], None]


@contextmanager
def raw_peer(script: Script) -> Iterator[int]:
    """A port at which `script` is run on every connection, one after another."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connections.append(connection)
                with connection, suppress(OSError):
                    script(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            for one in (server, *connections):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            thread.join(WAIT_S)


def take(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError("ended")
        data += piece
    return data


def take_pdu(connection: socket.socket) -> tuple[int, bytes]:
    kind, length = struct.unpack(">BxI", take(connection, 6))
    return kind, take(connection, length)


def accept(connection: socket.socket, max_pdu: int = 0, *, more: bytes = b"", user: bytes = b"") -> bytes:
    """Answer an A-ASSOCIATE-RQ: every context, its first transfer syntax. The request's body.

    `more` are items before the contexts, `user` sub-items of user information before the maximum length.
    """
    _, body = take_pdu(connection)
    answers = more
    at = 68
    while at < len(body):
        kind, length = struct.unpack_from(">BxH", body, at)
        if kind == 0x20:
            context = body[at + 4]
            inner = body[at + 8 : at + 4 + length]
            skip = 4 + struct.unpack_from(">xxH", inner)[0]
            first = inner[skip : skip + 4 + struct.unpack_from(">xxH", inner, skip)[0]]
            answers += struct.pack(">BxHBxBx", 0x21, 4 + len(first), context, 0) + first
        at += 4 + length
    answers += struct.pack(">BxH", 0x50, len(user) + 8) + user + struct.pack(">BxHI", 0x51, 4, max_pdu)
    answer = struct.pack(">H66x", 1) + answers
    connection.sendall(struct.pack(">BxI", 2, len(answer)) + answer)
    return body


def take_message(connection: socket.socket) -> bytes:
    """A whole DIMSE message; the Message ID of its command."""
    message_id = b""
    while True:
        kind, body = take_pdu(connection)
        if kind != 4:
            raise ConnectionError("no more")
        if body[5] & 1:
            at = body.index(bytes.fromhex("0000100102000000")) + 8
            message_id = body[at : at + 2]
        if body[5] == 2:
            return message_id


def answer(connection: socket.socket, message_id: bytes, status: int = 0) -> None:
    """A C-STORE-RSP."""
    command = struct.pack("<HHI", 0, 0x0120, 2) + message_id + struct.pack("<HHIH", 0, 0x0900, 2, status)
    pdv = struct.pack(">IBB", len(command) + 2, 1, 3) + command
    connection.sendall(struct.pack(">BxI", 4, len(pdv)) + pdv)


def answers(status: Callable[[int], int]) -> Script:
    """A script that takes objects for ever; `status` is asked with how many came before."""
    count = iter(range(1 << 30))

    def script(connection: socket.socket) -> None:
        accept(connection)
        while True:
            answer(connection, take_message(connection), status(next(count)))

    return script
