"""Bytes altered at random, from a seed."""

from __future__ import annotations

import random
import struct

EXTREMES = (0, 1, 2, 6, 7, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE)
Rng = random.Random


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
    return overwritten(
        data, at, struct.pack(rng.choice("<>") + "I", rng.choice(EXTREMES))[rng.choice((0, 2)) :]
    )


BYTES = (flipped, cut, inserted, removed, number)


def overwritten(data: bytes, at: int, piece: bytes) -> bytes:
    return data[:at] + piece[: len(data) - at] + data[at + len(piece) :]


def in_bytes(data: bytes, rng: Rng) -> bytes:
    return rng.choice(BYTES)(data, rng) if data else data
