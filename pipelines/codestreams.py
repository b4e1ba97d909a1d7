"""Whether a codestream is whole. Decoders answer with a picture where half of it is missing.

OpenJPEG decodes any bytes in a code block. So the marker segments are walked to their end, and what entropy
coding can never write is looked for. JPEG: `models.jpeg`, which the reader of picture files asks, too. What
is not whole raises Undecodable.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from models import jpeg
from pipelines.film import Reason
from pipelines.part10 import Undecodable

Pixels = NDArray[Any]

STRAY = 8  # bytes behind the end that encoders are known to leave
EMPTY = bytes(4096)  # a page that was never written; only a picture without any noise leaves such a run


def broken(what: str) -> Undecodable:
    """The codestream is not as any encoder leaves it."""
    return Undecodable(Reason.PIXELS_DAMAGED, f"the codestream is damaged: {what}")


# JPEG


def check_jpeg(codestream: bytes, pixels: Pixels, decode: Callable[[bytes], Pixels]) -> None:
    """`models.jpeg.check`, with Undecodable."""
    try:
        jpeg.check(codestream, pixels, decode)
    except jpeg.BrokenJpegError as error:
        raise broken(str(error)) from None


# JPEG 2000 (ISO 15444-1 A.2, A.4, B.10.1)

SIZ, SOT, COD = 0x51, 0x90, 0x52
FORBIDDEN = re.compile(rb"\xff[\x90-\xff]")  # neither packet headers nor bodies hold such a pair
USES_SOP, USES_EPH = 2, 4
SOP_SEGMENT = re.compile(rb"\xff\x91\x00\x04..", re.DOTALL)


def check_jpeg2000(codestream: bytes, begin: int) -> None:
    """`begin` is where SOC stands. Raises Undecodable where tile-parts do not reach from SOT to EOC, or hold
    what an encoder cannot have written."""
    at, style, tiles = begin + 2, 0, 1
    seen: set[int] = set()
    while True:
        if codestream[at : at + 2] == b"\xff\xd9":
            break
        if at + 12 > len(codestream) or codestream[at] != 0xFF:
            raise broken("a marker is missing")
        marker = codestream[at + 1]
        length = int.from_bytes(codestream[at + 2 : at + 4], "big")
        if marker == SIZ:
            tiles = _tile_count(codestream[at + 4 : at + 40])
        elif marker == COD:
            style = codestream[at + 4]
        elif marker == SOT:
            number, size = struct.unpack_from(">HI", codestream, at + 4)
            end = at + size if size else codestream.rfind(b"\xff\xd9")
            if end < at + 14 or end > len(codestream) - 2:
                raise broken("a tile-part is cut off")
            _check_packets(codestream, at + length + 2, end, style)
            seen.add(number)
            at = end
            continue
        at += 2 + length
    if codestream[at + 2 + STRAY :].strip(b"\0\xff"):
        raise broken(f"{len(codestream) - at - 2} bytes are left behind its end")
    if len(seen) != tiles:
        raise broken(f"{len(seen)} tiles where {tiles} are expected")


def _tile_count(siz: bytes) -> int:
    right, bottom, _, _, wide, high, left, top = struct.unpack_from(">8I", siz, 2)
    return int(-(-(right - left) // max(1, wide)) * -(-(bottom - top) // max(1, high)))


def _check_packets(codestream: bytes, at: int, end: int, style: int) -> None:
    """The marker segments of a tile-part's header, and what follows SOD."""
    while codestream[at : at + 2] != b"\xff\x93":
        if at + 4 > end or codestream[at] != 0xFF:
            raise broken("a tile-part has no data")
        if codestream[at + 1] == COD:
            style = codestream[at + 4]
        at += 2 + int.from_bytes(codestream[at + 2 : at + 4], "big")
    packets = codestream[at + 2 : end]
    if style & USES_SOP:
        packets = SOP_SEGMENT.sub(b"\0", packets)
    if style & USES_EPH:
        packets = packets.replace(b"\xff\x92", b"\0")
    if FORBIDDEN.search(packets):
        raise broken("code blocks hold a marker, which no encoder writes there")
    if EMPTY in packets:
        raise broken("code blocks hold thousands of zeros, which no encoder writes there")
