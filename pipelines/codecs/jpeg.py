"""JPEG and JPEG-LS (ISO 10918-1, 14495-1).

Decoders answer with a picture where half of it is missing, so `models.jpeg` looks whether a scan holds what
the picture needs; the reader of picture files asks it, too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import imagecodecs

from models import jpeg
from pipelines.codecs.codestream import START_OF_SCAN, broken, check_size, checked_end, decoded, segments
from pipelines.codecs.layout import Layout, Pixels
from pipelines.film import Reason
from pipelines.instance.part10 import Undecodable

LOSSLESS_JPEG, JPEG_LS = 0xC3, 0xF7  # SOF markers
START_OF_FRAME = frozenset({*range(0xC0, 0xD0), JPEG_LS}) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class StartOfFrame:
    """What a JPEG codestream says of itself before its first scan."""

    marker: int
    rows: int
    columns: int
    samples: int
    says_colour: bool  # JFIF or Adobe markers, component names or subsampling tell the colour space

    @property
    def lossy(self) -> bool:
        return self.marker not in (LOSSLESS_JPEG, JPEG_LS)


def decode_jpeg(codestream: bytes, layout: Layout) -> Pixels:
    start = start_of_frame(codestream)
    check_size(start.rows, start.columns, start.samples, layout)
    codestream = checked_end(codestream)
    if start.marker == JPEG_LS:  # by CharLS, which says so when it is broken
        return decoded(imagecodecs.jpegls_decode, codestream)
    how: dict[str, Any] = {}  # 8, 12 and 16 bits, lossless too
    if start.samples > 1:
        how = {"outcolorspace": "RGB"}
        if not start.lossy or (layout.photometric == "RGB" and not start.says_colour):
            how["colorspace"] = "RGB"  # as they are
    decode = partial(decoded, partial(imagecodecs.jpeg8_decode, **how))
    pixels = decode(codestream)
    check_jpeg(codestream, pixels, decode)
    return pixels


def check_jpeg(codestream: bytes, pixels: Pixels, decode: Callable[[bytes], Pixels]) -> None:
    """`models.jpeg.check`, with Undecodable."""
    try:
        jpeg.check(codestream, pixels, decode)
    except jpeg.BrokenJpegError as error:
        raise broken(str(error)) from None


def start_of_frame(codestream: bytes) -> StartOfFrame:
    named = False
    for marker, body in segments(codestream):
        named |= (marker == 0xE0 and body[:4] == b"JFIF") or (marker == 0xEE and body[:5] == b"Adobe")
        if marker in START_OF_FRAME and len(body) >= 6:
            _precision, rows, columns, samples = struct.unpack_from(">BHHB", body)
            sampling = set(body[7::3][:samples])
            return StartOfFrame(
                marker, rows, columns, samples, named or body[6::3][:3] == b"RGB" or len(sampling) > 1
            )
    raise Undecodable(Reason.DECODE_FAILED, "no start of frame in the JPEG codestream")


def bound(codestream: bytes) -> int:
    """The bound on errors of JPEG-LS, in its start of scan (ISO 14495-1 C.2.3)."""
    scan = next((body for marker, body in segments(codestream) if marker == START_OF_SCAN), b"")
    return scan[-3] if len(scan) >= 3 else 0
