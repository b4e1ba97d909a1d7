"""Malformed conversations and broken files, by the thousand: does a process of ours end, or stay ill?

    python bench/fuzz.py [--minutes 10] [--files 10000] [--seed 0]

Conversations first: to a whole gateway on loopback THREADS peers say an echo, a store or both, mutated in the
bytes (flips, cuts, pieces inserted, lengths), the PDUs (type, order, repeats, fragments and their flags), the
elements of the command set or the items of the A-ASSOCIATE-RQ, in one piece or many, and close, half-close,
reset or stay. Meanwhile an honest C-ECHO is timed. Then files: phantoms in each transfer syntax, mutated in
bits, lengths, tags, VRs and nesting; all go through the decoder, one in STORED by C-STORE to the gateway too.

Counted as a fault: a process of the gateway that ended (but for the decoder's child, which is there to end),
an honest echo without an answer, a file that ends neither as a film nor with a reason, an acknowledged film
without a decision, a decoder that does not read a whole film after it was lost. The exit status says so too.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from damage import CODECS, written
from rig import Gateway, cpu_model, gateway, rss_mb, wait_for

from gateway.destinations import scu
from gateway.errors import DecodeError, DeliveryError, NoTime
from gateway.sandbox.decoder import Decoder
from gateway.store import read_meta
from gateway.upper_layer import dimse, requestor
from gateway.upper_layer.association import Association, Interrupted, Proposal, Target
from gateway.upper_layer.pdu import RELEASE_RQ, PduType, p_data
from pipelines.film import Operations
from pipelines.lab.films.phantom import render

THREADS = 4
PAUSE_S = 0.005  # between two conversations of a peer: about what a loopback costs
HEARD_S = 0.1  # a peer that listens gives up after so long
ECHO_EVERY_S = 0.25
STORED = 50  # one file in so many goes by C-STORE too
COPIED = 20  # of one in so many that decode a corrected copy is made
SIZE = (220, 200)  # rows and columns of the phantoms
EXTREMES = (0, 1, 2, 6, 7, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE)
OURS = ("listen", "dispatch", "work", "up", "redis-server")  # that must outlive it all
Rng = random.Random


# Bytes


def flipped(data: bytes, rng: Rng) -> bytes:
    broken = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
    return bytes(broken)


def cut(data: bytes, rng: Rng) -> bytes:
    return data[: rng.randrange(len(data))]


def inserted(data: bytes, rng: Rng) -> bytes:
    at, size = rng.randrange(len(data)), rng.choice((1, 2, 3, 8, 64, 1024))
    begin = rng.randrange(len(data))
    piece = rng.choice((rng.randbytes(size), bytes(size), b"\xff" * size, data[begin : begin + size]))
    return data[:at] + piece + data[at:]


def removed(data: bytes, rng: Rng) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 2, 4, 8, 100)) :]


def number(data: bytes, rng: Rng) -> bytes:
    """An extreme number of two or four bytes somewhere."""
    at = rng.randrange(len(data))
    return _overwritten(
        data, at, struct.pack(rng.choice("<>") + "I", rng.choice(EXTREMES))[rng.choice((0, 2)) :]
    )


BYTES = (flipped, cut, inserted, removed, number)


def _overwritten(data: bytes, at: int, piece: bytes) -> bytes:
    return data[:at] + piece[: len(data) - at] + data[at + len(piece) :]


def in_bytes(data: bytes, rng: Rng) -> bytes:
    return rng.choice(BYTES)(data, rng) if data else data


# Conversations


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
        command = _overwritten(command, at, tag)
    elif act == 1:
        command = _overwritten(command, at + 4, struct.pack("<I", rng.choice(EXTREMES)))
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
        request = _overwritten(
            request, at, bytes([rng.choice((0, 0x10, 0x20, 0x21, 0x30, 0x40, 0x50, 0x58, 0xFF))])
        )
    elif act == 1:
        request = _overwritten(request, at + 2, struct.pack(">H", rng.choice(EXTREMES) & 0xFFFF))
    elif act == 2:
        request = request[:end] + request[at:end] * rng.choice((1, 2, 200)) + request[end:]
    elif act == 3:
        request = request[:at] + request[end:]
    elif act == 4:
        request = _overwritten(
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
        spoken[at] = _overwritten(spoken[at], 2, struct.pack(">I", rng.choice(EXTREMES)))
    elif act == 5:
        spoken[at] = in_bytes(spoken[at], rng)
    else:
        data = [n for n, one in enumerate(spoken) if one[:1] == bytes([PduType.P_DATA])]
        if data:
            at = rng.choice(data)
            where, what = rng.choice(((6, 4), (10, 1), (11, 1)))
            spoken[at] = _overwritten(
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


def costs(pid: int) -> dict[str, float]:
    here = Path(f"/proc/{pid}")
    return {
        "threads": len(list((here / "task").iterdir())),
        "file descriptors": len(list((here / "fd").iterdir())),
        "memory_mb": round(rss_mb(pid), 1),
    }


def ours(running: Gateway) -> dict[int, str]:
    """Processes that must not end."""
    return {pid: line for pid, line in running.pids().items() if any(f"{one} " in line for one in OURS)}


def conversations(running: Gateway, minutes: float, seed: int, files: Sequence[bytes]) -> dict[str, Any]:
    listener, lines = running.pid_of(" listen "), len(running.lines)
    words = honest(files)
    with Peers(running.port, words, seed):
        time.sleep(2)  # the first of each kind loads code
    wait_for(lambda: costs(listener)["threads"] < 2 * THREADS + 20, 60, "associations did not end")
    before = costs(listener)
    with Peers(running.port, words, seed + 1) as peers:
        time.sleep(60 * minutes)
    with suppress(TimeoutError):  # then it shows in the numbers
        wait_for(lambda: costs(listener)["file descriptors"] <= before["file descriptors"] + 2, 20, "")
    return {
        "conversations": sum(peers.ends.values()),
        "ends": dict(peers.ends.most_common()),
        "honest echoes": len(peers.echoes_s),
        "unanswered": peers.unanswered[:5] + peers.unanswered[5:][:1],
        "slowest_s": round(max(peers.echoes_s), 3),
        "listener before": before,
        "listener after": costs(listener),
        "log lines": len(running.lines) - lines,
        "said most": dict(Counter(map(_gist, running.lines[lines:])).most_common(8)),
    }


def _gist(line: str) -> str:
    """A line of the log without what differs from one to the next."""
    return re.sub(r"\d+|[A-Z]\w+=\S*", "#", line.strip())[25:90]


# Files


def dataset_at(file: bytes) -> int:
    """Where the dataset begins (PS3.10 section 7.1): behind preamble, prefix and group 2."""
    return 144 + int(struct.unpack_from("<I", file, 140)[0])


@dataclass(frozen=True, slots=True)
class Master:
    """A whole file, and where the elements of its dataset begin (none where it is deflated)."""

    name: str
    file: bytes
    elements: tuple[int, ...]
    uid: bytes

    def own(self, count: int) -> Master:
        """The same with a SOP Instance UID of its own, of the same length; deflated ones share theirs."""
        own = _uid(count) if self.elements else self.uid
        return Master(self.name, self.file.replace(self.uid, own), self.elements, own)


def _uid(count: int) -> bytes:
    return b"1.2.826.0.1.3680043.8.498.%d" % (10**29 + count)


def masters(seed: int) -> list[Master]:
    greys = render("frontal", seed, size=SIZE)
    made = []
    for codec in CODECS:
        depth = (1 << codec.bits) - 1
        pixels = np.ascontiguousarray((greys * depth).astype(np.uint8 if codec.bits == 8 else "<u2"))
        file = written(codec, pixels, codec.encode(pixels))
        uid = _uid(0)
        ds = pydicom.dcmread(BytesIO(file))
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid.decode()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.PatientID = "1.2.3.4", "1.2.3.5", "FUZZ"
        out = BytesIO()
        ds.save_as(out, enforce_file_format=True)
        made.append(Master(codec.name, out.getvalue(), _where(out.getvalue()), uid))
    return made


def _where(file: bytes) -> tuple[int, ...]:
    ds = pydicom.dcmread(BytesIO(file))
    if ds.file_meta.TransferSyntaxUID.is_deflated:
        return ()
    little = ds.file_meta.TransferSyntaxUID.is_little_endian
    tags = (struct.pack("<HH" if little else ">HH", tag.group, tag.element) for tag in sorted(ds.keys()))
    found, at = [], dataset_at(file)
    for tag in tags:  # in order, so that each is looked for behind the last one
        at = file.index(tag, at)
        found.append(at)
        at += 4
    return tuple(found)


def length_field(data: bytes, at: int, rng: Rng) -> bytes:
    return _overwritten(
        data, at + rng.choice((4, 6, 8)), struct.pack("<I", rng.choice(EXTREMES))[: rng.choice((2, 4))]
    )


def tag(data: bytes, at: int, rng: Rng) -> bytes:
    group = rng.choice((0, 2, 8, 0x28, 0x28, 0x5400, 0x6000, 0x7FE0, 0xFFFA, 0xFFFE))
    element = rng.choice(
        (0, 1, 2, 5, 8, 0x10, 0x11, 0x100, 0x101, 0x103, 0x1050, 0x3010, 0xE000, 0xE00D, 0xE0DD)
    )
    return _overwritten(data, at, struct.pack("<HH", group, element))


def vr(data: bytes, at: int, rng: Rng) -> bytes:
    names = (b"SQ", b"UN", b"OB", b"OW", b"US", b"DS", b"IS", b"UI", b"LO", b"PN", b"AT", b"??", b"\0\0")
    return _overwritten(data, at + 4, rng.choice(names))


def value(data: bytes, at: int, rng: Rng) -> bytes:
    pieces = (b"\xff" * 8, bytes(8), b"\\\\\\\\", rng.randbytes(8), b"\x1b$B\x1b(J", b"-1e999", b"\xff\xff")
    return _overwritten(data, at + rng.choice((8, 12)), rng.choice(pieces))


def nested(data: bytes, at: int, rng: Rng) -> bytes:
    """Sequences in sequences before the element, closed or not, of undefined length (PS3.5 section 7.5)."""
    deep = rng.choice((1, 10, 100, 1000, 20_000))
    opened = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closed = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return data[:at] + opened * deep + closed * rng.choice((deep, 0, deep // 2, 2 * deep)) + data[at:]


def twice(data: bytes, at: int, rng: Rng) -> bytes:
    return data[:at] + data[at : at + rng.choice((8, 10, 200))] + data[at:]


ELEMENTS: tuple[Callable[[bytes, int, Rng], bytes], ...] = (length_field, tag, vr, value, nested, twice)


def mutated(master: Master, rng: Rng, *, dataset_only: bool) -> bytes:
    """One to three damages: of elements, of the last one (the pixels), or anywhere in the bytes."""
    data, start = master.file, dataset_at(master.file)
    for _ in range(rng.choice((1, 1, 2, 3))):
        act = rng.random()
        if act < 0.5 and master.elements:
            data = rng.choice(ELEMENTS)(data, min(rng.choice(master.elements), len(data)), rng)
        else:
            low = start if dataset_only or rng.random() < 0.8 else 0
            if act > 0.8 and master.elements:
                low = max(low, master.elements[-1])  # pixels
            elif act > 0.65:  # the header
                high = master.elements[-1] if master.elements else start + 200
                data = data[:low] + in_bytes(data[low:high], rng) + data[high:]
                continue
            data = data[:low] + in_bytes(data[low:], rng)
    return data


@dataclass
class Decoded:
    """What became of the files."""

    ends: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    lost: int = 0
    slowest_s: float = 0.0


def decode(folder: Path, whole: Sequence[Master], count: int, seed: int) -> Decoded:
    """Every file through the decoder: a film or a reason; when the child was lost, a whole film next."""
    rng, result, path, sound = Rng(seed), Decoded(), folder / "mutated.dcm", folder / "whole.dcm"
    sound.write_bytes(whole[0].file)
    with Decoder() as decoder:
        decoder.film(sound)
        for n in range(count):
            pid, began = decoder.pid, time.monotonic()
            path.write_bytes(mutated(whole[n % len(whole)], rng, dataset_only=False))
            try:
                result.ends[_film(decoder, path, copy=n % COPIED == 0)] += 1
            except Exception as error:  # noqa: BLE001 - whatever else comes out is what is looked for
                kept = folder / f"fault-{n}.dcm"
                kept.write_bytes(path.read_bytes())
                result.faults.append(f"{whole[n % len(whole)].name}, file {n}: {error!r}"[:300])
            result.slowest_s = max(result.slowest_s, time.monotonic() - began)
            if decoder.pid != pid:
                result.lost += 1
                decoder.film(sound)
        decoder.film(sound)
    return result


def _film(decoder: Decoder, path: Path, *, copy: bool) -> str:
    try:
        decoder.film(path)
        if copy:
            decoder.derive(path, Operations(turn=90), {}, path.with_name("copy.dcm"))
            decoder.pixel_digest(path)
    except DecodeError as error:
        return str(error.reason)
    except NoTime:
        return "no time"
    return "film"


def store(running: Gateway, whole: Sequence[Master], count: int, seed: int) -> tuple[Counter[str], set[str]]:
    """Mutated datasets by C-STORE: what was answered, and what was acknowledged."""
    rng, answers, kept = Rng(seed), Counter[str](), set[str]()
    target = Target("FILMGATE", "127.0.0.1", running.port)
    for n in range(count):
        master = whole[n % len(whole)].own(n + 1)
        meta = read_meta(BytesIO(master.file))
        proposal = Proposal(meta.sop_class_uid, (meta.transfer_syntax_uid,))
        dataset = mutated(master, rng, dataset_only=True)[dataset_at(master.file) :]
        association = Association.request(target, "FUZZ", [proposal], 30)
        context = association.accepted(proposal)
        if context is None:
            answers["context not accepted"] += 1
            association.release()
            continue
        with suppress(Interrupted):
            status = association.store(
                BytesIO(dataset), context.context_id, meta.sop_class_uid, meta.sop_instance_uid
            ).status
            answers[f"0x{status:04X}"] += 1
            kept |= set() if status else {meta.sop_instance_uid}
            association.release()
            continue
        answers["broken off"] += 1
    return answers, kept


def decided(running: Gateway, uids: set[str], timeout_s: float) -> tuple[Counter[str], list[str]]:
    """Wait for a decision of each; the decisions, and what has none."""
    until = time.monotonic() + timeout_s
    while True:
        films = {one["sop_instance_uid"]: one for one in running.films()}
        without = sorted(uid for uid in uids if not films.get(uid, {}).get("decision"))
        if not without or time.monotonic() > until:
            reasons = Counter(
                "|".join(films[uid]["reasons"]) or films[uid]["decision"] for uid in uids - set(without)
            )
            return reasons, without
        time.sleep(1)


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--minutes", type=float, default=1.0)
    options.add_argument("--files", type=int, default=1000)
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args()
    whole = masters(args.seed)
    with (
        tempfile.TemporaryDirectory(prefix="filmgate-fuzz-") as name,
        gateway(gateway={"deflated": True, "big_endian": True}, work={"workers": 1}) as running,
    ):
        processes = ours(running)
        small = [one for one in whole if one.name == "native, 8 bits"]
        files = [one.own(10**6 + n).file for one in small for n in range(4)]
        talked = conversations(running, args.minutes, args.seed, files)
        first = {"machine": cpu_model(), "seed": args.seed, "conversations": talked}
        print(json.dumps(first, indent=1), flush=True)
        began = time.monotonic()
        result = decode(Path(name), whole, args.files, args.seed)
        took_s = time.monotonic() - began
        answers, kept = store(running, whole, args.files // STORED, args.seed)
        reasons, without = decided(running, kept, 300)
        died = [line for pid, line in processes.items() if pid not in ours(running)]
        checked = running.cli("fsck")
        stopped_s = running.stop()
        code = running.process.returncode
    faults = [*talked["unanswered"], *result.faults, *without, *died]
    if code or checked.returncode:
        faults.append(f"`up` ended with {code}, fsck with {checked.returncode}: {checked.stdout[-500:]}")
    report = {
        "files": {
            "decoded": dict(result.ends.most_common()),
            "child lost": result.lost,
            "slowest_s": round(result.slowest_s, 1),
            "took_s": round(took_s),
            "stored": dict(answers.most_common()),
            "decided": dict(reasons.most_common()),
        },
        "stop_s": round(stopped_s, 1),
        "faults": faults,
    }
    print(json.dumps(report, indent=1))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
