"""Native pixels: values as they stand, in the words of the transfer syntax (PS3.5 8.1, 8.2)."""

from __future__ import annotations

import numpy as np
from pydicom.uid import ExplicitVRBigEndian

from pipelines.codecs.codestream import PADDING
from pipelines.codecs.layout import Layout, Pixels
from pipelines.codecs.syntaxes import ENCAPSULATED, NATIVE
from pipelines.film import Reason
from pipelines.instance.part10 import Part10, Undecodable

MOST_PADDING = 2**20  # bytes behind native pixels


def _native_size(layout: Layout) -> int:
    """Bytes that all frames need."""
    return (layout.frames * layout.frame_bits + 7) // 8


def check_native(part: Part10, layout: Layout) -> None:
    if part.transfer_syntax not in NATIVE:
        reason = Reason.PIXELS_MISMATCH if part.transfer_syntax in ENCAPSULATED else Reason.UNSUPPORTED
        raise Undecodable(reason, "the transfer syntax asks for encapsulated pixels, these are not")
    expected = _native_size(layout)
    held = min(part.pixel_length, len(part.buffer) - part.pixel_at)
    if held != part.pixel_length or held < expected or not _is_padding(part, layout, expected):
        raise Undecodable(Reason.PIXELS_MISMATCH, f"{held} bytes of pixels where {expected} are expected")


def _is_padding(part: Part10, layout: Layout, expected: int) -> bool:
    """Whether what stands behind the pixels is padding, rather than a sign that the header lies.

    A row or a column more than the header says can be told by the length; so less than either may be
    anything. More must be blank, and no whole number of rows or columns.
    """
    extra = part.pixel_length - expected
    row, column = (max(1, layout.frame_bits // 8 // length) for length in (layout.rows, layout.columns))
    if extra <= expected % 2 or extra < min(row, column):
        return True
    if extra > MOST_PADDING:
        return False
    behind = bytes(part.buffer[part.pixel_at + expected : part.pixel_at + part.pixel_length])
    return bool(extra % row and extra % column) and not behind.strip(PADDING)


def native_bytes(part: Part10, layout: Layout, begin: int, end: int) -> memoryview:
    """Little endian bytes `begin` to `end` of the value; words of big endian are turned, and OW are words."""
    at, view = part.pixel_at, memoryview(part.buffer)
    word = max(layout.container.itemsize, 2 if part.pixel_vr == "OW" else 1)
    if part.transfer_syntax != ExplicitVRBigEndian or word == 1:
        return view[at + begin : at + end]
    first, last = begin // word * word, -(-end // word) * word
    held = view[at + first : at + last]
    if len(held) < last - first:  # the last word has no end
        held = memoryview(held.tobytes().ljust(last - first, b"\0"))
    turned = np.frombuffer(held, f"u{word}").byteswap()
    return turned.data.cast("B")[begin - first : end - first]


def shaped(held: bytes | memoryview, layout: Layout, *, skip_bits: int = 0) -> Pixels:
    """Values of one frame, samples last whatever Planar Configuration; of 4:2:2 each pixel gets chroma."""
    if layout.allocated == 1:
        packed = np.frombuffer(held, np.uint8)
        bits = np.unpackbits(packed, bitorder="little")[skip_bits:][: layout.frame_bits]
        return bits.reshape(layout.shape)
    flat = np.frombuffer(held, layout.container.newbyteorder("<"), layout.frame_bits // layout.allocated)
    if layout.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        if layout.columns % 2:
            raise Undecodable(Reason.PIXELS_MISMATCH, "4:2:2 with an odd number of columns")
        pairs = flat.reshape(-1, 4)
        both = np.stack([pairs[:, [0, 2, 3]], pairs[:, [1, 2, 3]]], axis=1)
        return both.reshape(layout.rows, layout.columns, 3)
    if layout.samples > 1 and layout.planar:
        return flat.reshape(layout.samples, layout.rows, layout.columns).transpose(1, 2, 0)
    return flat.reshape(layout.shape)
