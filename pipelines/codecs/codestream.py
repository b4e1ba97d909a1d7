"""What all codecs ask of a codestream: its size, its end, its errors, and stored values of what comes out."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from pipelines.codecs.layout import Layout, Pixels, settle
from pipelines.codecs.syntaxes import LOSSY
from pipelines.film import Reason
from pipelines.instance.part10 import Undecodable

END = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
PADDING = b"\x00\xff"  # what stands behind the end of a codestream, or of native pixels
START_OF_SCAN = 0xDA


def from_codestream(found: Pixels, layout: Layout, syntax: str) -> Pixels:
    """What a codec gave, as stored values. Codestreams of signed pixels are mostly marked unsigned."""
    bits = min(layout.stored, found.dtype.itemsize * 8)
    if found.dtype.kind == "i":
        return found.clip(layout.lowest, layout.highest) if syntax in LOSSY else found
    if syntax in LOSSY and not layout.signed:
        clipped: Pixels = np.minimum(found, found.dtype.type((1 << bits) - 1))
        return clipped
    width = found.dtype.itemsize * 8
    plain = replace(layout, allocated=width, stored=bits, high=bits - 1)
    return settle(np.ascontiguousarray(found), plain)


def check_size(rows: int, columns: int, samples: int, layout: Layout) -> None:
    if (rows, columns, samples) != (layout.rows, layout.columns, layout.samples):
        stated = f"{layout.rows}x{layout.columns}x{layout.samples}"
        raise Undecodable(
            Reason.PIXELS_MISMATCH, f"the header says {stated}, the codestream {rows}x{columns}x{samples}"
        )


def whole(codestream: bytes) -> bytes:
    """The codestream without the padding behind its end; b"" where it has no end."""
    if END in codestream[-8:]:
        return codestream
    stripped = codestream.rstrip(PADDING)
    return stripped if stripped.endswith(END) else b""


def checked_end(codestream: bytes) -> bytes:
    """`whole`. Codecs fill a cut-off picture with grey; so it must end as it should, padding allowed for."""
    ended = whole(codestream)
    if not ended:
        raise Undecodable(Reason.PIXELS_MISMATCH, "the codestream is cut off")
    return ended


def decoded(decode: Any, codestream: bytes, **how: Any) -> Pixels:
    try:
        found: Pixels = decode(codestream, **how)
    except (RuntimeError, ValueError, OSError, SyntaxError) as error:  # what imagecodecs and Pillow raise
        raise Undecodable(Reason.DECODE_FAILED, f"{type(error).__name__} in the codec") from error
    return found


def broken(what: str) -> Undecodable:
    """The codestream is not as any encoder leaves it."""
    return Undecodable(Reason.PIXELS_DAMAGED, f"the codestream is damaged: {what}")


def segments(codestream: bytes, at: int = 2) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment up to the first scan, from where the first one begins."""
    while at + 4 <= len(codestream) and codestream[at] == 0xFF:
        marker = codestream[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        (length,) = struct.unpack_from(">H", codestream, at + 2)
        yield marker, codestream[at + 4 : at + 2 + length]
        if marker == START_OF_SCAN:
            return
        at += 2 + length
