"""Whole files in each transfer syntax, and the same mutated in bits, lengths, tags, VRs and nesting."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pydicom
from encoded import CODECS, written
from harm.mutations import EXTREMES, Rng, in_bytes, overwritten

from pipelines.lab.films.phantom import render

SIZE = (220, 200)  # rows and columns of the phantoms


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
    return overwritten(
        data, at + rng.choice((4, 6, 8)), struct.pack("<I", rng.choice(EXTREMES))[: rng.choice((2, 4))]
    )


def tag(data: bytes, at: int, rng: Rng) -> bytes:
    group = rng.choice((0, 2, 8, 0x28, 0x28, 0x5400, 0x6000, 0x7FE0, 0xFFFA, 0xFFFE))
    element = rng.choice(
        (0, 1, 2, 5, 8, 0x10, 0x11, 0x100, 0x101, 0x103, 0x1050, 0x3010, 0xE000, 0xE00D, 0xE0DD)
    )
    return overwritten(data, at, struct.pack("<HH", group, element))


def vr(data: bytes, at: int, rng: Rng) -> bytes:
    names = (b"SQ", b"UN", b"OB", b"OW", b"US", b"DS", b"IS", b"UI", b"LO", b"PN", b"AT", b"??", b"\0\0")
    return overwritten(data, at + 4, rng.choice(names))


def value(data: bytes, at: int, rng: Rng) -> bytes:
    pieces = (b"\xff" * 8, bytes(8), b"\\\\\\\\", rng.randbytes(8), b"\x1b$B\x1b(J", b"-1e999", b"\xff\xff")
    return overwritten(data, at + rng.choice((8, 12)), rng.choice(pieces))


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
