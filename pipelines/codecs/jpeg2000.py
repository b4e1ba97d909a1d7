"""JPEG 2000 and HTJ2K (ISO 15444-1, 15444-15).

Both by OpenJPEG, which says so when headers are broken, and of HTJ2K when code blocks are; of JPEG 2000 it
decodes any bytes in a code block. So the marker segments are walked to their end, and what entropy coding
can never write is looked for. At a lower resolution most code blocks are not even looked at.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from io import BytesIO

import imagecodecs
import numpy as np
from PIL import Image

from pipelines.codecs.codestream import broken, check_size, checked_end, decoded, from_codestream, segments
from pipelines.codecs.layout import Layout, Pixels
from pipelines.codecs.syntaxes import HTJ2K_FAMILY, LOSSY
from pipelines.film import Reason
from pipelines.instance.part10 import Undecodable

OVERSHOOT = 8  # filters go beyond the range of the values by less than such a part of it
BEGIN = b"\xff\x4f\xff\x51"  # SOC, and the marker SIZ


def decode_jpeg2000(codestream: bytes, layout: Layout, syntax: str, shrink: int) -> Pixels:
    rows, columns, samples, precision, signed = _siz(codestream)
    check_size(rows, columns, samples, layout)
    codestream = checked_end(codestream)
    check_jpeg2000(codestream, codestream.find(BEGIN, 0, 4096))
    if syntax in HTJ2K_FAMILY:  # it takes no longer than half a JPEG, and tells of every broken code block
        shrink = 1
    # two's complement in a codestream that is marked unsigned cannot be averaged, which a lower resolution is
    if shrink > 1 and samples == 1 and precision <= 16 and signed == layout.signed:
        small = _reduced(codestream, shrink, precision, signed)
        # Clipped, as filters overshoot: masking would make white black. What lies far beyond is read in full.
        if small is not None and (syntax in LOSSY or _near(small, layout)):
            return small.clip(layout.lowest, layout.highest)
    return from_codestream(decoded(imagecodecs.jpeg2k_decode, codestream), layout, syntax)


def _near(small: Pixels, layout: Layout) -> bool:
    """Whether values lie within Bits Stored, or as little beyond as a filter overshoots."""
    beyond = (layout.highest - layout.lowest) // OVERSHOOT
    return bool(layout.lowest - beyond <= small.min() and small.max() <= layout.highest + beyond)


def _siz(codestream: bytes) -> tuple[int, int, int, int, bool]:
    """Rows, columns, components, precision and signedness; a JP2 wrapper, forbidden but seen, is skipped."""
    at = codestream.find(BEGIN, 0, 4096)
    if at < 0 or len(codestream) < at + 44:
        raise Undecodable(Reason.DECODE_FAILED, "no SIZ marker in the JPEG 2000 codestream")
    right, bottom, left, top = struct.unpack_from(">4I", codestream, at + 8)
    samples, depth = struct.unpack_from(">HB", codestream, at + 40)
    return bottom - top, right - left, samples, (depth & 0x7F) + 1, bool(depth & 0x80)


@dataclass(frozen=True, slots=True)
class CodingStyle:
    """What the COD marker segment says (ISO 15444-1 A.6.1)."""

    transforms_colour: bool = False
    reversible: bool = True


def coding_style(codestream: bytes) -> CodingStyle:
    at = codestream.find(BEGIN, 0, 4096)
    for marker, body in segments(codestream, at + 2) if at >= 0 else ():
        if marker == 0x52 and len(body) >= 10:
            return CodingStyle(transforms_colour=body[4] == 1, reversible=body[9] == 1)
    return CodingStyle()


def _reduced(codestream: bytes, shrink: int, precision: int, signed: bool) -> Pixels | None:
    """OpenJPEG at a lower resolution, at most `shrink` times; None where there is none, as rarely happens.

    Through Pillow, which shifts values up to 16 bits and above zero.
    """
    halvings = shrink.bit_length() - 1
    if halvings < 1:
        return None
    try:
        image = Image.open(BytesIO(codestream), formats=("JPEG2000",))
        image.reduce = halvings  # type: ignore[assignment,method-assign] # Pillow's way to ask for it
        values = np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    if values.dtype == np.uint16:
        values = values >> (16 - precision)
    return values.astype(np.int32) - (1 << (precision - 1)) if signed else values


# Whether a codestream is whole (ISO 15444-1 A.2, A.4, B.10.1)

STRAY = 8  # bytes behind the end that encoders are known to leave
EMPTY = bytes(4096)  # a page that was never written; only a picture without any noise leaves such a run
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
