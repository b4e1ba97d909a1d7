"""A glance at the start of a dataset, for SOP Class UID (0008,0016) and SOP Instance UID (0008,0018) alone.

Bounded (`HEAD_BYTES`, `MOST_ELEMENTS`), flat (a sequence of undefined length ends it) and without inflating:
what is not clear here is kept, and a worker judges it in its own child process.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gateway.listener.negotiate import BIG_ENDIAN, DEFLATED, IMPLICIT_LITTLE_ENDIAN
from gateway.upper_layer.pdu import uid

HEAD_BYTES = 64 << 10
MOST_ELEMENTS = 512

_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_UNDEFINED = 0xFFFFFFFF
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_VRS = _LONG | frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())


@dataclass(frozen=True, slots=True)
class Glance:
    """What the first bytes say. None is "not there, or not clear"."""

    readable: bool  # False: no element begins here, this is no dataset at all
    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None


def glance(head: bytes, size_bytes: int, transfer_syntax: str) -> Glance:
    """Look at `head`, the first bytes of a dataset of `size_bytes` (PS3.5 section 7.1)."""
    if transfer_syntax == DEFLATED:
        return Glance(readable=size_bytes > 0)
    order = ">" if transfer_syntax == BIG_ENDIAN else "<"
    implicit = transfer_syntax == IMPLICIT_LITTLE_ENDIAN
    for reading in (implicit, not implicit):  # some senders write the other VR than they said
        if _begins(head, size_bytes, order, reading):
            found = _find(head, order, reading)
            return Glance(True, found.get(_SOP_CLASS), found.get(_SOP_INSTANCE))
    return Glance(readable=False)


def _begins(head: bytes, size_bytes: int, order: str, implicit: bool) -> bool:
    """Whether an element begins here: a group that datasets have, a VR that exists, a value that fits."""
    if len(head) < 8 or not _vr_exists(head, 0, implicit):
        return False
    tag, value, length = _header(head, 0, order, implicit)
    return tag >= 0x00020000 and (length == _UNDEFINED or value + length <= size_bytes)


def _find(head: bytes, order: str, implicit: bool) -> dict[int, str]:
    found: dict[int, str] = {}
    at, last = 0, 0
    for _ in range(MOST_ELEMENTS):
        if at + 8 > len(head) or not _vr_exists(head, at, implicit):
            break
        tag, value, length = _header(head, at, order, implicit)
        at = value + length
        if not last < tag <= _SOP_INSTANCE or length == _UNDEFINED or at > len(head):
            break
        if tag in (_SOP_CLASS, _SOP_INSTANCE):
            found[tag] = uid(head[value:at])
        last = tag
    return found


def _vr_exists(head: bytes, at: int, implicit: bool) -> bool:
    return implicit or head[at + 4 : at + 6] in _VRS


def _header(head: bytes, at: int, order: str, implicit: bool) -> tuple[int, int, int]:
    """Tag, where the value begins, its length."""
    group, element = struct.unpack_from(f"{order}HH", head, at)
    first, size = at + 4, 4
    if not implicit:
        first, size = (at + 8, 4) if head[at + 4 : at + 6] in _LONG else (at + 6, 2)
    length = int.from_bytes(head[first : first + size], "little" if order == "<" else "big")
    return group << 16 | element, first + size, length
