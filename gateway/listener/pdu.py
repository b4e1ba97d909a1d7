"""The PDUs of the DICOM Upper Layer (PS3.8 section 9.3) as an association acceptor reads and writes them.

Written here rather than taken from a library, because these are the first bytes that a stranger sends: every
length is checked against what is there, the numbers of items are bounded, and what does not fit is a
`BadPdu`. P-DATA-TF has no codec: `receive` takes its fragments straight from the socket to the disk.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from gateway.store import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
MOST_ITEMS = 160  # of an A-ASSOCIATE-RQ; 128 of them can be presentation contexts
MOST_SYNTAXES = 128  # of one presentation context

RELEASE_RP = struct.pack(">BxL4x", 0x06, 4)

_FIXED = struct.Struct(">H2x16s16s32x")  # protocol version, called, calling AE title
_ITEM = struct.Struct(">BxH")


class PduType(IntEnum):
    """PS3.8 table 9-11 and the following."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class AbortReason(IntEnum):
    """Why the provider aborts: PS3.8 table 9-26."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class ContextResult(IntEnum):
    """PS3.8 table 9-18."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class Rejection:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    result: int  # 1 permanent, 2 transient
    source: int  # 1 service user, 2 provider (ACSE), 3 provider (presentation)
    reason: int
    text: str

    def encode(self) -> bytes:
        return struct.pack(">BxLxBBB", PduType.ASSOCIATE_RJ, 4, self.result, self.source, self.reason)


NOT_ALLOWED = Rejection(1, 1, 1, "this address may not send here")
CALLING_UNKNOWN = Rejection(1, 1, 3, "calling AE title not recognised")
CALLED_UNKNOWN = Rejection(1, 1, 7, "called AE title not recognised")
APPLICATION_CONTEXT_UNKNOWN = Rejection(1, 1, 2, "application context name not supported")
VERSION_UNKNOWN = Rejection(1, 2, 2, "protocol version not supported")
NO_ROOM = Rejection(2, 3, 1, "no room on disk: temporary congestion")
TOO_MANY = Rejection(2, 3, 2, "as many associations as allowed: local limit exceeded")


class BadPdu(Exception):
    """Raised when a peer breaks the protocol; `reason` is what the A-ABORT tells it."""

    def __init__(self, reason: AbortReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as the requestor proposes it."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """Our answer to a proposed context."""

    id: int
    result: ContextResult
    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ (PS3.8 section 9.3.2)."""

    protocol_version: int
    called: str
    calling: str
    application_context: str
    contexts: tuple[ProposedContext, ...]
    max_pdu: int  # the largest P-DATA-TF the requestor takes; 0 is no limit


def titles(body: bytes | bytearray) -> tuple[str, str]:
    """Called and calling AE title of an A-ASSOCIATE-RQ, without reading the rest; empty if there is none."""
    return _title(bytes(body[4:20])), _title(bytes(body[20:36]))


def decode_associate_rq(body: bytes) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ; `body` is what follows the six bytes of type and length.

    Raises:
        BadPdu: it is not one.
    """
    if len(body) < _FIXED.size:
        raise BadPdu(AbortReason.INVALID_PARAMETER, "A-ASSOCIATE-RQ too short")
    version, called, calling = _FIXED.unpack_from(body)
    application_context = ""
    contexts: dict[int, ProposedContext] = {}
    max_pdu = 0
    for kind, value in _items(memoryview(body)[_FIXED.size :], MOST_ITEMS):
        if kind == 0x10:
            application_context = _uid(value)
        elif kind == 0x20:
            context = _proposed(value)
            contexts.setdefault(context.id, context)
        elif kind == 0x50:
            max_pdu = _max_pdu(value)
    if not contexts:
        raise BadPdu(AbortReason.INVALID_PARAMETER, "A-ASSOCIATE-RQ without a presentation context")
    return AssociateRequest(
        version, _title(called), _title(calling), application_context, tuple(contexts.values()), max_pdu
    )


def encode_associate_ac(request: bytes, contexts: Sequence[AcceptedContext], max_pdu: int) -> bytes:
    """An A-ASSOCIATE-AC (PS3.8 section 9.3.3) to the request whose body is `request`."""
    items = [_item(0x10, APPLICATION_CONTEXT.encode())]
    for context in contexts:
        syntax = _item(0x40, context.transfer_syntax.encode())
        items.append(_item(0x21, struct.pack(">BxBx", context.id, context.result) + syntax))
    user = (
        _item(0x51, struct.pack(">L", max_pdu)),
        _item(0x52, IMPLEMENTATION_CLASS_UID.encode()),
        _item(0x55, IMPLEMENTATION_VERSION_NAME.encode()),
    )
    items.append(_item(0x50, b"".join(user)))
    body = struct.pack(">H2x", 1) + request[4:36] + bytes(32) + b"".join(items)
    return struct.pack(">BxL", PduType.ASSOCIATE_AC, len(body)) + body


def encode_abort(reason: AbortReason | None) -> bytes:
    """An A-ABORT (PS3.8 section 9.3.8): of the provider for `reason`, of the service user without one."""
    source = 0 if reason is None else 2
    return struct.pack(">BxLxxBB", PduType.ABORT, 4, source, reason or 0)


def encode_command(context_id: int, command: bytes, max_pdu: int) -> bytes:
    """The P-DATA-TF PDUs of one command set (PS3.8 section 9.3.5), for a peer that takes `max_pdu`."""
    most = max(max_pdu - 6, 16) if max_pdu else len(command)
    pieces = [command[at : at + most] for at in range(0, len(command), most)]
    return b"".join(
        struct.pack(
            ">BxLLBB",
            PduType.P_DATA,
            len(piece) + 6,
            len(piece) + 2,
            context_id,
            0x03 if number == len(pieces) else 0x01,
        )
        + piece
        for number, piece in enumerate(pieces, 1)
    )


def _items(data: memoryview, most: int) -> Iterator[tuple[int, memoryview]]:
    at = 0
    for _ in range(most):
        if at == len(data):
            return
        if at + 4 > len(data):
            break
        kind, length = _ITEM.unpack_from(data, at)
        at += 4
        if at + length > len(data):
            break
        yield kind, data[at : at + length]
        at += length
    raise BadPdu(AbortReason.INVALID_PARAMETER, "the items of an A-ASSOCIATE-RQ do not fit")


def _proposed(value: memoryview) -> ProposedContext:
    if len(value) < 4 or value[0] % 2 == 0:
        raise BadPdu(AbortReason.INVALID_PARAMETER, "a presentation context without an odd id")
    abstract_syntax = ""
    syntaxes: list[str] = []
    for kind, item in _items(value[4:], MOST_SYNTAXES):
        if kind == 0x30:
            abstract_syntax = _uid(item)
        elif kind == 0x40:
            syntaxes.append(_uid(item))
    return ProposedContext(value[0], abstract_syntax, tuple(syntaxes))


def _max_pdu(user_information: memoryview) -> int:
    for kind, item in _items(user_information, MOST_ITEMS):
        if kind == 0x51 and len(item) == 4:
            return int.from_bytes(item, "big")
    return 0


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _uid(value: memoryview) -> str:
    return bytes(value[:64]).decode("ascii", "replace").rstrip("\0 ")


def _title(value: bytes) -> str:
    text = value.decode("ascii", "replace").strip("\0 ")
    return "".join(letter if letter.isprintable() else "?" for letter in text)
