"""Preamble and group 2 of a stored file (PS3.10 section 7.1), and the digest that names it."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import BinaryIO

from gateway.errors import StoreError

IMPLEMENTATION_CLASS_UID = "2.25.90830521677406739298854848985053473188"
IMPLEMENTATION_VERSION_NAME = "FILMGATE_0_1"
COPY_VERSION_NAME = "FILMGATE_COPY"  # of objects that we made ourselves


@dataclass(frozen=True, slots=True)
class Meta:
    """What group 2 of a stored file says (PS3.10 section 7.1), and where its dataset begins."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int  # of the dataset, in bytes
    copy: bool = False  # made by this gateway, not received


def file_meta(sop_class: str, sop_instance: str, transfer_syntax: str, *, copy: bool = False) -> bytes:
    """Preamble and File Meta Information (PS3.10 section 7.1), as we write them; `copy` marks what we made.

    Raises:
        StoreError: a UID is not ASCII.
    """
    try:
        elements = b"".join(
            (
                struct.pack("<HH2sHL2s", 2, 0x01, b"OB", 0, 2, b"\0\1"),
                _element(0x02, b"UI", sop_class),
                _element(0x03, b"UI", sop_instance),
                _element(0x10, b"UI", transfer_syntax),
                _element(0x12, b"UI", IMPLEMENTATION_CLASS_UID),
                _element(0x13, b"SH", COPY_VERSION_NAME if copy else IMPLEMENTATION_VERSION_NAME),
            )
        )
    except UnicodeEncodeError as error:
        raise StoreError("a UID holds characters that no UID has") from error
    return bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(elements)) + elements


def read_meta(file: BinaryIO) -> Meta:
    """Read group 2 and leave `file` at the first byte of the dataset.

    Raises:
        StoreError: this is not a Part 10 file with a File Meta group length.
    """
    start = file.read(144)
    if start[128:132] != b"DICM" or start[132:138] != b"\2\0\0\0UL":
        raise StoreError("not a Part 10 file")
    group = file.read(int.from_bytes(start[140:144], "little"))
    found: dict[int, str] = {}
    at = 0
    while at + 8 <= len(group):
        element, vr, length = struct.unpack_from("<2xH2sH", group, at)
        at += 8
        if vr in (b"OB", b"UN"):
            length = int.from_bytes(group[at : at + 4], "little")
            at += 4
        found[element] = group[at : at + length].decode("ascii", "replace").rstrip("\0 ")
        at += length
    if not {0x02, 0x03, 0x10} <= found.keys():
        raise StoreError("the File Meta group of a Part 10 file is not complete")
    copy = found.get(0x13) == COPY_VERSION_NAME
    return Meta(found[0x02], found[0x03], found[0x10], 144 + len(group), copy)


def _element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    value += b"" if len(value) % 2 == 0 else b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def hasher(transfer_syntax: str) -> hashlib._Hash:
    return hashlib.sha256(transfer_syntax.encode("ascii", "replace") + b"\0")
