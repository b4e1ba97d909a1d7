"""JPEG XL (ISO 18181), by libjxl."""

from __future__ import annotations

import imagecodecs

from pipelines.codecs.codestream import check_size, decoded
from pipelines.codecs.layout import Layout, Pixels
from pipelines.film import Reason
from pipelines.instance.part10 import Undecodable

JXL_CODESTREAM, JXL_CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
JXL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height, by code - 1


def decode_jpegxl(codestream: bytes, layout: Layout) -> Pixels:
    """By libjxl, which says so when a codestream is cut off."""
    rows, columns = _jxl_size(codestream)
    check_size(rows, columns, layout.samples, layout)
    found = decoded(imagecodecs.jpegxl_decode, codestream)
    if found.shape != layout.shape or found.dtype.kind != "u":
        raise Undecodable(Reason.PIXELS_MISMATCH, "the codestream has other samples than the header says")
    return found


def _jxl_size(codestream: bytes) -> tuple[int, int]:
    """Rows and columns of the SizeHeader (ISO 18181-1 D.2), in the codestream itself or in its container."""
    at = 0
    if codestream[:12] == JXL_CONTAINER:
        boxes = (codestream.find(name, 12) for name in (b"jxlc", b"jxlp"))
        begins = min((box + 4 for box in boxes if box > 0), default=len(codestream))
        at = codestream.find(JXL_CODESTREAM, begins, begins + 6)
    if at < 0 or codestream[at : at + 2] != JXL_CODESTREAM:
        raise Undecodable(Reason.DECODE_FAILED, "no JPEG XL codestream")
    bits = _Bits(int.from_bytes(codestream[at + 2 : at + 14], "little"))
    small = bits.take(1)
    rows = (bits.take(5) + 1) * 8 if small else bits.take((9, 13, 18, 30)[bits.take(2)]) + 1
    if ratio := bits.take(3):
        wide, high = JXL_RATIOS[ratio - 1]
        return rows, rows * wide // high
    return rows, (bits.take(5) + 1) * 8 if small else bits.take((9, 13, 18, 30)[bits.take(2)]) + 1


class _Bits:
    """Numbers of some bits each, the least significant bit first."""

    def __init__(self, value: int) -> None:
        self._value = value

    def take(self, count: int) -> int:
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        return taken
