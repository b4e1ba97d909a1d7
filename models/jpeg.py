"""Whether a JPEG is whole (ISO 10918-1 B.1.1, B.2). Decoders give a picture where half of it is missing.

libjpeg-turbo fills with grey what it has no data for, leaves what it has too much, and imagecodecs passes no
warning on. So the marker segments are walked to their end, and the picture is decoded once more, with the
last bytes altered and others added behind them: that must change the last pixels, and hardly more. Where it
does not, two decodings tell which: bytes added alone must change nothing, the last ones altered must change
something.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]

STRAY = 8  # bytes behind the end that encoders are known to leave


class BrokenJpegError(ValueError):
    """The codestream is not as any encoder leaves it; the text says why."""


SOI, EOI, SOS, DRI, SOF_LOSSLESS, PROGRESSIVE = 0xD8, 0xD9, 0xDA, 0xDD, 0xC3, 0xC2
HUFFMAN = frozenset({0xC0, 0xC1, PROGRESSIVE, SOF_LOSSLESS})
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
MARKER = re.compile(rb"\xff+([^\x00\xff])")
PIECE = 1 << 20  # bytes that are searched at a time
TAIL = 4  # bytes at the end of an interval that must matter
FILLER = b"\x55" * 4096  # no marker, and no run of ones, with which encoders pad
MASKS = (0xFF, 0x55, 0x33)
MOST_CHANGED = 8  # blocks by what an encoder may have left out of its last byte


@dataclass(frozen=True, slots=True)
class Coded:
    """The entropy-coded segments of a JPEG codestream: begin and end of each restart interval."""

    marker: int  # of the start of frame
    rows: int
    columns: int
    components: int
    interval: int  # MCUs, 0: no restarts
    scans: int
    segments: tuple[tuple[int, int], ...]

    @property
    def unit(self) -> int:
        """Pixels a side of an MCU of one component."""
        return 1 if self.marker == SOF_LOSSLESS else 8


def segments(codestream: bytes, *, more_behind: bool = False) -> Coded:
    """Walks all marker segments to EOI. Raises BrokenJpegError where they break
    off, restart or leave bytes."""
    at, scans, interval = 2, 0, 0
    frame = (0, 0, 0, 0)
    found_segments: list[tuple[int, int]] = []
    while True:
        found = MARKER.match(codestream, at)
        if not found:
            raise BrokenJpegError("a marker is missing")
        marker, at = found[1][0], found.end()
        if marker == EOI:
            break
        if marker == SOI:
            raise BrokenJpegError("it starts again")
        length = int.from_bytes(codestream[at : at + 2], "big")
        if length < 2 or at + length > len(codestream):
            raise BrokenJpegError("a marker segment is cut off")
        body = codestream[at + 2 : at + length]
        at += length
        if marker in FRAMES and len(body) >= 6:
            if frame[0]:
                raise BrokenJpegError("it has a second frame")
            frame = (marker, *struct.unpack_from(">xHHB", body))
        elif marker == DRI and len(body) >= 2:
            interval = int.from_bytes(body[:2], "big")
        elif marker == SOS:
            scans += 1
            pieces, at = _entropy_coded(codestream, at, restarts=interval > 0)
            found_segments += pieces
    if not more_behind and codestream[at + STRAY :].strip(b"\0\xff"):
        raise BrokenJpegError(f"{len(codestream) - at} bytes are left behind its end")
    if not found_segments:
        raise BrokenJpegError("it has no scan")
    return Coded(*frame, interval, scans, tuple(found_segments))


def _entropy_coded(codestream: bytes, at: int, *, restarts: bool) -> tuple[list[tuple[int, int]], int]:
    """The restart intervals of a scan, and where the marker stands that ends it."""
    pieces: list[tuple[int, int]] = []
    for start in _markers(codestream, at):
        end = start
        while end > at and codestream[end - 1] == 0xFF:  # fill bytes
            end -= 1
        pieces.append((at, end))
        at = start + 2
        marker = codestream[start + 1]
        if not 0xD0 <= marker <= 0xD7:
            return pieces, end
        if not restarts or marker != 0xD0 + (len(pieces) - 1) % 8:
            raise BrokenJpegError("a restart marker is out of place")
    raise BrokenJpegError("it is cut off")


def _markers(codestream: bytes, at: int) -> Iterator[int]:
    """Where FF stands, and behind it neither the zero of a stuffed byte nor FF again."""
    while at < len(codestream) - 1:
        piece = np.frombuffer(codestream, np.uint8, min(PIECE, len(codestream) - at), at)
        full = np.flatnonzero(piece[:-1] == 0xFF)
        behind = piece[full + 1]
        yield from (full[(behind != 0) & (behind != 0xFF)] + at).tolist()
        at += len(piece) - 1


def check(
    codestream: bytes, pixels: Pixels, decode: Callable[[bytes], Pixels], *, more_behind: bool = False
) -> None:
    """Whether each scan holds neither too little nor too much for `pixels`, which `decode` gave.

    `more_behind`: bytes may follow the end. Raises BrokenJpegError.
    """
    coded = segments(codestream, more_behind=more_behind)
    if coded.marker not in HUFFMAN:
        return
    grey = coded.components == 1 and coded.scans == 1
    if grey and coded.interval:
        across, down = (-(-side // coded.unit) for side in (coded.columns, coded.rows))
        expected = -(-across * down // coded.interval)
        if len(coded.segments) != expected:
            raise BrokenJpegError(f"{len(coded.segments)} restart intervals where {expected} are expected")
    # Both at once is enough for nearly all: what is altered, and what is added, meets the last blocks only.
    both = _changed(decode(_with_tails(codestream, coded, _other_and_more)) != pixels, coded, grey=grey)
    if ((both > 0) & (both <= MOST_CHANGED)).all():
        return
    added = decode(_with_tails(codestream, coded, lambda tail: tail + FILLER))
    if (_changed(added != pixels, coded, grey=grey) > MOST_CHANGED).any():
        raise BrokenJpegError("a scan ends before the picture does")
    unused = np.ones(len(coded.segments) if grey else 1, dtype=np.bool_)
    for mask in MASKS:
        altered = decode(_with_tails(codestream, coded, partial(_altered, mask)))
        unused &= _changed(altered != pixels, coded, grey=grey) == 0
        if not unused.any():
            return
    raise BrokenJpegError("a scan goes on behind the end of the picture")


def _with_tails(codestream: bytes, coded: Coded, change: Callable[[bytes], bytes]) -> bytes:
    """The codestream with the last bytes of each interval changed."""
    pieces, done = [], 0
    for begin, end in coded.segments:
        tail = max(begin, end - TAIL)
        if tail > begin and codestream[tail - 1] == 0xFF:  # of a stuffed byte the zero
            tail += 1
        pieces += [codestream[done:tail], change(codestream[tail:end])]
        done = end
    return b"".join([*pieces, codestream[done:]])


def _altered(mask: int, tail: bytes) -> bytes:
    """Other bytes, none of which needs stuffing."""
    return bytes(byte ^ mask if byte ^ mask != 0xFF else 0x7F for byte in tail)


def _other_and_more(tail: bytes) -> bytes:
    return _altered(MASKS[0], tail) + FILLER


def _changed(differs: NDArray[np.bool_], coded: Coded, *, grey: bool) -> NDArray[np.intp]:
    """How many blocks (of lossless JPEG, pixels) differ in each restart interval; or in all components."""
    if differs.ndim == 3:
        differs = np.logical_or.reduce(differs, axis=2)
    starts = np.arange(len(coded.segments) if grey else 1) * coded.interval
    if not differs.any():
        return np.zeros(len(starts), dtype=np.intp)
    if len(starts) == 1:  # what is whole differs in its last lines
        first = int(np.argmax(differs.any(axis=1))) // coded.unit * coded.unit
        differs = differs[first:]
    if coded.unit > 1:
        down, across = (np.arange(0, side, coded.unit) for side in differs.shape)
        differs = np.logical_or.reduceat(np.logical_or.reduceat(differs, down, axis=0), across, axis=1)
    if len(starts) == 1:
        return np.array([np.count_nonzero(differs)])
    return np.asarray(np.add.reduceat(differs.ravel(), starts, dtype=np.intp))
