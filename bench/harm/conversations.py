"""Malformed conversations: what an honest peer would say, altered, and said by several peers at once."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO

from harm.broken_files import dataset_at
from harm.mutations import EXTREMES, Rng, in_bytes, overwritten

from gateway.destinations import scu
from gateway.errors import DeliveryError
from gateway.store import read_meta
from gateway.upper_layer import dimse, requestor
from gateway.upper_layer.association import Proposal
from gateway.upper_layer.pdu import RELEASE_RQ, PduType, p_data

THREADS = 4
PAUSE_S = 0.005  # between two conversations of a peer: about what a loopback costs
HEARD_S = 0.1  # a peer that listens gives up after so long
ECHO_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Words:
    """What an honest peer would say: an A-ASSOCIATE-RQ, messages, and the end."""

    request: bytes
    messages: tuple[tuple[int, bytes, bytes], ...]  # context id, command set, dataset

    def pdus(self, rng: Rng) -> list[bytes]:
        spoken = [self.request]
        for context_id, command, dataset in self.messages:
            spoken += fragments(context_id, command, rng, command=True)
            spoken += fragments(context_id, dataset, rng, command=False) if dataset else []
        return [*spoken, RELEASE_RQ]


def fragments(context_id: int, data: bytes, rng: Rng, *, command: bool) -> list[bytes]:
    size = rng.choice((2, 16, 100, 16378)) if len(data) < 1000 else rng.choice((1000, 16378))
    starts = range(0, len(data), size)
    pieces = [data[at : at + size] for at in starts]
    return [
        p_data(context_id, len(piece), command=command, last=at + size >= len(data)) + piece
        for at, piece in zip(starts, pieces, strict=True)
    ]


def other_command(words: Words, rng: Rng) -> Words:
    """The command set altered: an element's tag, length or value, or its bytes."""
    context_id, command, dataset = rng.choice(words.messages)
    starts = list(_elements(command))
    at = rng.choice(starts)
    act = rng.randrange(5)
    if act == 0:
        tag = struct.pack(
            "<HH", rng.choice((0, 0, 2, 8, 0xFFFE)), rng.choice((0, 2, 0x100, 0x800, 0x1000, 0xE00D))
        )
        command = overwritten(command, at, tag)
    elif act == 1:
        command = overwritten(command, at + 4, struct.pack("<I", rng.choice(EXTREMES)))
    elif act == 2:
        value = rng.choice(
            (b"", bytes(2), b"\xff\xff", rng.randbytes(64), b"1." * 30_000, b"\0" * 65, b"1.2\\3.4 ")
        )
        length = struct.unpack_from("<I", command, at + 4)[0]
        command = command[: at + 4] + struct.pack("<I", len(value)) + value + command[at + 8 + length :]
    elif act == 3:
        length = struct.unpack_from("<I", command, at + 4)[0]
        command = command[:at] + command[at + 8 + length :]
    else:
        command = in_bytes(command, rng)
    messages = (*words.messages, (rng.choice((context_id, 0, 2, 255)), command, dataset))
    return Words(words.request, messages[rng.randrange(len(messages)) :])


def _elements(command: bytes) -> Iterator[int]:
    at = 0
    while at + 8 <= len(command):
        yield at
        at += 8 + int(struct.unpack_from("<I", command, at + 4)[0])


def other_dataset(words: Words, rng: Rng) -> Words:
    return Words(words.request, tuple((i, c, in_bytes(d, rng)) for i, c, d in words.messages))


def other_request(words: Words, rng: Rng) -> Words:
    """The A-ASSOCIATE-RQ altered: an item's type or length, an item twice or gone, titles, or its bytes."""
    request = words.request
    starts = list(_items(request))
    at = rng.choice(starts)
    end = at + 4 + struct.unpack_from(">H", request, at + 2)[0]
    act = rng.randrange(6)
    if act == 0:
        request = overwritten(
            request, at, bytes([rng.choice((0, 0x10, 0x20, 0x21, 0x30, 0x40, 0x50, 0x58, 0xFF))])
        )
    elif act == 1:
        request = overwritten(request, at + 2, struct.pack(">H", rng.choice(EXTREMES) & 0xFFFF))
    elif act == 2:
        request = request[:end] + request[at:end] * rng.choice((1, 2, 200)) + request[end:]
    elif act == 3:
        request = request[:at] + request[end:]
    elif act == 4:
        request = overwritten(
            request, 10, rng.choice((bytes(32), b"\xff" * 32, rng.randbytes(32), b"\n" * 32))
        )
    else:
        request = in_bytes(request, rng)
    if rng.random() < 0.8:  # else only the door sees it
        request = request[:2] + struct.pack(">I", max(0, len(request) - 6)) + request[6:]
    return Words(request, words.messages)


def _items(request: bytes) -> Iterator[int]:
    at = 74
    while at + 4 <= len(request):
        yield at
        at += 4 + int(struct.unpack_from(">H", request, at + 2)[0])


def other_pdus(spoken: list[bytes], rng: Rng) -> list[bytes]:
    """The PDUs altered: order, repeats, type, length, and context and flags of the PDVs."""
    spoken = list(spoken)
    at = rng.randrange(len(spoken))
    act = rng.randrange(7)
    if act == 0:
        spoken.insert(at, rng.choice(spoken))
    elif act == 1:
        del spoken[at]
    elif act == 2:
        rng.shuffle(spoken)
    elif act == 3:
        spoken[at] = bytes([rng.randrange(256) if rng.random() < 0.3 else rng.randrange(9)]) + spoken[at][1:]
    elif act == 4:
        spoken[at] = overwritten(spoken[at], 2, struct.pack(">I", rng.choice(EXTREMES)))
    elif act == 5:
        spoken[at] = in_bytes(spoken[at], rng)
    else:
        data = [n for n, one in enumerate(spoken) if one[:1] == bytes([PduType.P_DATA])]
        if data:
            at = rng.choice(data)
            where, what = rng.choice(((6, 4), (10, 1), (11, 1)))
            spoken[at] = overwritten(
                spoken[at], where, rng.choice((bytes(what), b"\xff" * what, rng.randbytes(what)))
            )
    return spoken


def conversation(words: Words, rng: Rng) -> list[bytes]:
    for alter in rng.sample((other_command, other_dataset, other_request), rng.choice((0, 0, 1, 1, 1, 2))):
        words = alter(words, rng)
    spoken = words.pdus(rng)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        spoken = other_pdus(spoken, rng) if spoken else spoken
    return spoken


def talk(port: int, spoken: Sequence[bytes], rng: Rng) -> str:
    """Say it, in one piece or PDU by PDU, and end somehow; how the listener ended it, or we did."""
    data = b"".join(spoken)
    pieces = rng.choice(
        ([data], spoken, [data[:1], data[1:]], [data[at : at + 7] for at in range(0, min(len(data), 700), 7)])
    )
    with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        peer.settimeout(HEARD_S)
        try:
            if rng.random() < 0.5:
                for piece in pieces:
                    peer.sendall(piece)
            elif pieces:
                peer.sendall(pieces[0])
                peer.recv(4096)
                for piece in pieces[1:]:
                    peer.sendall(piece)
            return ended(peer, rng)
        except TimeoutError:
            return "we left"
        except OSError:
            return "they left"


def ended(peer: socket.socket, rng: Rng) -> str:
    how = rng.randrange(4)
    if how == 0:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return "reset"
    if how == 1:
        return "closed"
    if how == 2:
        peer.shutdown(socket.SHUT_WR)
    while peer.recv(65536):
        pass
    return "they left"


def honest(files: Sequence[bytes]) -> list[Words]:
    """An echo, a store, and both."""
    meta = [read_meta(BytesIO(one)) for one in files]
    proposals = [
        Proposal(meta[0].sop_class_uid, (meta[0].transfer_syntax_uid,)),
        Proposal(dimse.VERIFICATION, ("1.2.840.10008.1.2",)),
    ]
    request = requestor.associate_rq("FUZZ", "FILMGATE", proposals, 16384)
    echo = (3, dimse.c_echo_rq(1), b"")
    stores = [
        (1, dimse.c_store_rq(1, one.sop_class_uid, one.sop_instance_uid), data[dataset_at(data) :])
        for one, data in zip(meta, files, strict=True)
    ]
    return [
        Words(request, (echo,)),
        *(Words(request, (s,)) for s in stores),
        Words(request, (echo, stores[0])),
    ]


@dataclass
class Peers:
    """Malformed conversations from several threads until told to stop, and an honest echo now and then."""

    port: int
    words: Sequence[Words]
    seed: int
    ends: Counter[str] = field(default_factory=Counter)
    echoes_s: list[float] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)

    def __enter__(self) -> Peers:
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._talk, args=(n,)) for n in range(THREADS)]
        self._threads.append(threading.Thread(target=self._echo))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _talk(self, number: int) -> None:
        rng = Rng(f"{self.seed} {number}")
        while not self._done.wait(PAUSE_S):
            spoken = conversation(rng.choice(self.words), rng)
            try:
                how = talk(self.port, spoken, rng)
            except OSError:
                how = "no connection"
            self.ends[how] += 1

    def _echo(self) -> None:
        while not self._done.wait(ECHO_EVERY_S):
            began = time.monotonic()
            try:
                scu.echo("127.0.0.1", self.port, "FILMGATE", calling="HONEST", timeout_s=10)
            except DeliveryError as error:
                self.unanswered.append(str(error))
            self.echoes_s.append(time.monotonic() - began)
