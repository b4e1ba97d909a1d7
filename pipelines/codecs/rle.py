"""RLE (PS3.5 Annex G), and native frames in fragments (A.4.11, A.4.13)."""

from __future__ import annotations

import itertools
import struct
import zlib

import imagecodecs
import numpy as np

from pipelines.codecs.codestream import decoded
from pipelines.codecs.layout import Layout, Pixels
from pipelines.codecs.native import shaped
from pipelines.codecs.syntaxes import UNCOMPRESSED_FRAMES
from pipelines.film import Reason
from pipelines.instance.part10 import Undecodable


def decode_rle(codestream: bytes, layout: Layout) -> Pixels:
    """PS3.5 Annex G: a segment a byte of a sample, most significant first; samples come one after another."""
    width = layout.container.itemsize
    size = (layout.rows * layout.columns * min(8, layout.allocated) + 7) // 8
    placed = np.empty((layout.samples, size, width), dtype=np.uint8)  # bytes of little endian values
    for number, segment in enumerate(_rle_segments(codestream, layout.samples * width)):
        unpacked = decoded(imagecodecs.packbits_decode, segment)
        if len(unpacked) not in (size, size + size % 2):
            raise Undecodable(Reason.PIXELS_MISMATCH, f"{len(unpacked)} bytes in an RLE segment for {size}")
        sample, byte = divmod(number, width)
        placed[sample, :, width - 1 - byte] = np.frombuffer(unpacked, np.uint8, size)
    if layout.allocated == 1:
        return shaped(placed.tobytes(), layout)
    values: Pixels = placed.view(layout.container.newbyteorder("<"))
    values = values.reshape(layout.samples, layout.rows, layout.columns)
    return values[0] if layout.samples == 1 else values.transpose(1, 2, 0)


def _rle_segments(codestream: bytes, expected: int) -> list[bytes]:
    """The segments that the header names; its offsets must rise and lie inside."""
    count, *offsets = struct.unpack("<16I", codestream[:64].ljust(64, b"\0"))
    bounds = [*offsets[:count], len(codestream)]
    if count != expected or bounds != sorted(bounds) or bounds[0] != 64:
        raise Undecodable(Reason.PIXELS_MISMATCH, f"{count} RLE segments where {expected} are expected")
    return [codestream[start:end] for start, end in itertools.pairwise(bounds)]


def framed(codestream: bytes, layout: Layout, syntax: str) -> bytes:
    """The native bytes of one frame: deflated (PS3.5 A.4.13), or as they are (A.4.11)."""
    size = (layout.frame_bits + 7) // 8
    held = codestream if syntax == UNCOMPRESSED_FRAMES else _inflated(codestream, size + 2)
    if len(held) not in (size, size + size % 2):
        raise Undecodable(Reason.PIXELS_MISMATCH, f"{len(held)} bytes of pixels where {size} are expected")
    return held[:size]


def _inflated(codestream: bytes, most: int) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(codestream, most)
    except zlib.error as error:
        raise Undecodable(Reason.DECODE_FAILED, "the deflated frame is broken") from error
