"""Encapsulated pixels: the codestream of each frame, put together from its fragments (PS3.5 A.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from pipelines.codecs.codestream import whole
from pipelines.codecs.layout import Layout
from pipelines.codecs.syntaxes import ENCAPSULATED, JPEG2000_FAMILY, JPEG_FAMILY, NATIVE
from pipelines.film import Reason
from pipelines.instance.first_elements import UNDEFINED_LENGTH
from pipelines.instance.part10 import Part10, Undecodable

Fragment = tuple[int, int]  # where its value is, and how long
MAX_FRAGMENTS = 2**20


def _frames(part: Part10, layout: Layout) -> Iterator[bytes]:
    """The codestream of each frame, put together from its fragments (PS3.5 A.4)."""
    syntax = part.transfer_syntax
    if syntax in NATIVE:
        raise Undecodable(Reason.PIXELS_MISMATCH, "encapsulated pixels in a transfer syntax for native ones")
    if syntax not in ENCAPSULATED:
        raise Undecodable(Reason.UNSUPPORTED, f"transfer syntax {syntax.name}")
    (table_at, table_size), *fragments = _fragments(part)
    offsets = _offsets(part, bytes(part.buffer[table_at : table_at + table_size]))
    for group in _grouped(part, layout, fragments, offsets):
        yield b"".join(bytes(part.buffer[at : at + length]) for at, length in group)


def first_frame(part: Part10, layout: Layout) -> bytes:
    """b"" where there is none, which no decoder takes."""
    return next(_frames(part, layout), b"")


def all_frames(part: Part10, layout: Layout) -> Iterator[bytes]:
    """Raises Undecodable where there are more or fewer than Number of Frames says."""
    found = 0
    for found, codestream in enumerate(_frames(part, layout), 1):
        if found <= layout.frames:
            yield codestream
    if found != layout.frames:
        raise Undecodable(Reason.PIXELS_MISMATCH, f"{found} frames where {layout.frames} are expected")


def _grouped(
    part: Part10, layout: Layout, fragments: list[Fragment], offsets: list[int]
) -> Iterator[list[Fragment]]:
    """Fragments by frame: all in one, one in each, as a table says, or by the codestreams' ends."""
    if layout.frames == 1:
        yield fragments
        return
    one_each = len(fragments) == layout.frames
    starts = {fragments[0][0] + offset - offsets[0] for offset in offsets} if fragments and offsets else set()
    by_table = len(starts) == layout.frames and starts <= {at for at, _ in fragments}
    by_end = not (one_each or by_table) and part.transfer_syntax in JPEG_FAMILY | JPEG2000_FAMILY
    group: list[Fragment] = []
    for at, length in fragments:
        if group and (one_each or (by_table and at in starts)):
            yield group
            group = []
        group.append((at, length))
        if by_end and whole(bytes(part.buffer[at : at + length])):
            yield group
            group = []
    if group:
        yield group


def _offsets(part: Part10, table: bytes) -> list[int]:
    """Where frames begin: the Extended Offset Table (PS3.3 C.7.6.3.1.8), or the basic one (PS3.5 A.4)."""
    extended = part.ds.get("ExtendedOffsetTable")
    if isinstance(extended, bytes) and extended and len(extended) % 8 == 0:
        return [int(offset) for offset in np.frombuffer(extended, "<u8")]
    return [int(offset) for offset in np.frombuffer(table, "<u4", len(table) // 4)]


def _fragments(part: Part10) -> list[Fragment]:
    """The items of the pixel sequence, the basic offset table first; each must lie within the file whole."""
    at, end = part.pixel_at, len(part.buffer)
    found: list[Fragment] = []
    while at + 8 <= end:
        group, element, length = struct.unpack_from("<HHI", part.buffer, at)
        at += 8
        if (group, element) == (0xFFFE, 0xE0DD):
            if not found:
                break
            return found
        if (group, element) != (0xFFFE, 0xE000) or at + length > end or len(found) > MAX_FRAGMENTS:
            break
        found.append((at, length))
        at += length
    raise Undecodable(Reason.PIXELS_MISMATCH, "the encapsulated pixel data are cut off")


def pixels_end(part: Part10) -> int:
    """Offset of what follows the Pixel Data element. Raises Undecodable."""
    if part.pixel_length != UNDEFINED_LENGTH:
        return part.pixel_at + part.pixel_length
    at, length = _fragments(part)[-1]
    return at + length + 8  # the sequence delimiter
