"""The first elements of a file or a dataset (PS3.5 section 7.1, PS3.10 section 7), without parsing it.

Bounded and flat: no more than the bytes at hand, no more than MOST_ELEMENTS, no inflating, nothing behind a
sequence of undefined length. What is not clear here is not there. Neither pydicom nor NumPy: the listener and
the store ask, and everybody who only wants to know whether a file is DICOM.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PREAMBLE_BYTES = 128
PREFIX = b"DICM"
DIRECTORY = "DICOMDIR"  # PS3.10 section 8.6
GROUP_2_AT = PREAMBLE_BYTES + len(PREFIX)  # where File Meta Information begins
LAST_OF_GROUP_2 = 0x0002FFFF
MOST_ELEMENTS = 512
UNDEFINED_LENGTH = 0xFFFFFFFF

MEDIA_SOP_CLASS, MEDIA_SOP_INSTANCE, TRANSFER_SYNTAX = 0x00020002, 0x00020003, 0x00020010
IMPLEMENTATION_VERSION = 0x00020013
SOP_CLASS, SOP_INSTANCE = 0x00080016, 0x00080018

_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # VRs whose length has 32 bits
_VRS = _LONG | frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())


class Encoding(NamedTuple):
    """How the elements of a dataset are written."""

    implicit: bool = False
    big_endian: bool = False


EXPLICIT_LITTLE_ENDIAN = Encoding()  # of group 2 always
_ENCODINGS = {"1.2.840.10008.1.2": Encoding(implicit=True), "1.2.840.10008.1.2.2": Encoding(big_endian=True)}


def encoding_of(transfer_syntax: str) -> Encoding:
    """How the elements of a dataset in this transfer syntax are written, once inflated (PS3.5 Annex A)."""
    return _ENCODINGS.get(transfer_syntax, EXPLICIT_LITTLE_ENDIAN)


class Element(NamedTuple):
    """Where the value of an element is."""

    tag: int
    at: int
    length: int

    @property
    def end(self) -> int:
        """Where the next element begins; of undefined length nowhere that could be told."""
        return self.at + self.length

    def text(self, data: bytes) -> str:
        """The value as text without its padding (PS3.5 section 6.2); what is not ASCII is replaced."""
        return data[self.at : self.end].decode("ascii", "replace").strip("\0 ")


def files_below(folder: Path) -> Iterator[Path]:
    """Files below a folder in order, hidden ones left out, and DICOMDIR, which names objects and is none."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.name != DIRECTORY and not hidden and path.is_file():
            yield path


def has_prefix(head: bytes) -> bool:
    """Whether this is how a Part 10 file begins."""
    return head[PREAMBLE_BYTES:GROUP_2_AT] == PREFIX


def is_part10(path: Path) -> bool:
    """`has_prefix` of a file. Raises OSError."""
    with path.open("rb") as file:
        return has_prefix(file.read(GROUP_2_AT))


def first_element(data: bytes, at: int, encoding: Encoding) -> Element | None:
    """The element that begins at `at`, however long it says it is; None where none can begin."""
    if at + 8 > len(data):
        return None
    order = ">" if encoding.big_endian else "<"
    group, element = struct.unpack_from(f"{order}HH", data, at)
    begin, size = at + 4, 4
    if not encoding.implicit:
        vr = data[at + 4 : at + 6]
        if vr not in _VRS:
            return None
        begin, size = (at + 8, 4) if vr in _LONG else (at + 6, 2)
    length = int.from_bytes(data[begin : begin + size], "big" if encoding.big_endian else "little")
    return Element(group << 16 | element, begin + size, length)


def elements(data: bytes, at: int, encoding: Encoding, *, last: int) -> Iterator[Element]:
    """Elements up to the tag `last`, as long as tags rise and values are there whole."""
    before = 0
    for _ in range(MOST_ELEMENTS):
        element = first_element(data, at, encoding)
        if not element or not before < element.tag <= last or element.length == UNDEFINED_LENGTH:
            return
        if element.end > len(data):
            return
        yield element
        before, at = element.tag, element.end
