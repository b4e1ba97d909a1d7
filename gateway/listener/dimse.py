"""Command sets (PS3.7 section 6.3 and annex E): the few that a storage SCP reads and writes.

A command set is implicit VR little endian, whatever the presentation context's transfer syntax.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from gateway.listener.pdu import AbortReason, BadPdu

NO_DATASET = 0x0101
RESPONSE = 0x8000  # the bit that makes a response of a request's command field
HIGH = 0x0001
MOST_COMMENT = 64  # characters of an Error Comment, VR LO

_HEADER = struct.Struct("<HHL")
_SOP_CLASS, _FIELD, _MESSAGE_ID, _RESPONDED_TO = 0x0002, 0x0100, 0x0110, 0x0120
_PRIORITY, _DATASET_TYPE, _STATUS, _COMMENT, _SOP_INSTANCE = 0x0700, 0x0800, 0x0900, 0x0902, 0x1000
_REQUESTED_SOP_CLASS = 0x0003


class CommandField(IntEnum):
    """PS3.7 table E.1-1."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    C_CANCEL_RQ = 0x0FFF


class Status(IntEnum):
    """What we answer: PS3.7 annex C, PS3.4 table B.2-1."""

    SUCCESS = 0x0000
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NOT_AUTHORIZED = 0x0124
    UNRECOGNIZED_OPERATION = 0x0211
    OUT_OF_RESOURCES = 0xA700
    DATASET_DOES_NOT_MATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, slots=True)
class Command:
    """What we need to know of a command set."""

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    priority: int
    has_dataset: bool


def decode_command(data: bytes | bytearray) -> Command:
    """Read a command set.

    Raises:
        BadPdu: it is not one.
    """
    elements = _elements(bytes(data))
    field = _number(elements, _FIELD)
    if field is None:
        raise BadPdu(AbortReason.INVALID_PARAMETER, "a command set without a command field")
    return Command(
        field=field,
        message_id=_number(elements, _MESSAGE_ID) or 0,
        sop_class_uid=uid(elements.get(_SOP_CLASS, elements.get(_REQUESTED_SOP_CLASS, b""))),
        sop_instance_uid=uid(elements.get(_SOP_INSTANCE, b"")),
        priority=_number(elements, _PRIORITY) or 0,
        has_dataset=_number(elements, _DATASET_TYPE) not in (None, NO_DATASET),
    )


def encode_response(command: Command, status: int, comment: str = "") -> bytes:
    """The response to `command`; `comment` is cut to what an Error Comment may hold."""
    elements = [
        _element(_SOP_CLASS, command.sop_class_uid.encode("ascii", "replace")),
        _short(_FIELD, command.field | RESPONSE),
        _short(_RESPONDED_TO, command.message_id),
        _short(_DATASET_TYPE, NO_DATASET),
        _short(_STATUS, status),
    ]
    if comment:
        elements.append(_element(_COMMENT, comment[:MOST_COMMENT].encode("ascii", "replace"), b" "))
    if command.field == CommandField.C_STORE_RQ:
        elements.append(_element(_SOP_INSTANCE, command.sop_instance_uid.encode("ascii", "replace")))
    body = b"".join(elements)
    return _HEADER.pack(0, 0, 4) + struct.pack("<L", len(body)) + body


def uid(value: bytes) -> str:
    """A UID as text, without the NULs or blanks that pad it (PS3.5 section 9.1)."""
    return value.decode("ascii", "replace").strip("\0 ")


def _elements(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise BadPdu(AbortReason.INVALID_PARAMETER, "a command set breaks off")
        group, element, length = _HEADER.unpack_from(data, at)
        at += 8
        if group != 0 or at + length > len(data):
            raise BadPdu(AbortReason.INVALID_PARAMETER, "a command set holds what is no command element")
        found[element] = data[at : at + length]
        at += length
    return found


def _number(elements: dict[int, bytes], element: int) -> int | None:
    value = elements.get(element)
    return int.from_bytes(value, "little") if value is not None and len(value) == 2 else None


def _short(element: int, value: int) -> bytes:
    return _HEADER.pack(0, element, 2) + struct.pack("<H", value)


def _element(element: int, value: bytes, pad: bytes = b"\0") -> bytes:
    value += pad * (len(value) % 2)
    return _HEADER.pack(0, element, len(value)) + value
