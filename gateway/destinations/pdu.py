"""The PDUs of PS3.8 section 9.3 and the command sets of PS3.7 that a sender needs: pure functions on bytes.

A dataset is no part of this: its bytes go out as they lie on disk, and nothing here looks at them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.store import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

A_ASSOCIATE_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, P_DATA_TF, A_RELEASE_RQ, A_RELEASE_RP, A_ABORT = range(1, 8)
HEADER = struct.Struct(">BxI")  # type, length of what follows
MAX_CONTEXTS = 128  # odd identifiers of one byte
RELEASE_RQ = HEADER.pack(A_RELEASE_RQ, 4) + bytes(4)
RELEASE_RP = HEADER.pack(A_RELEASE_RP, 4) + bytes(4)
ABORT = HEADER.pack(A_ABORT, 4) + bytes(4)  # by the service user

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_COMMAND, _LAST = 1, 2  # bits of the message control header (PS3.8 E.2)
_C_STORE_RQ, _C_ECHO_RQ = 0x0001, 0x0030
_MAX_UID = 64


class Malformed(ValueError):
    """Raised when a peer's bytes are not what PS3.8 or PS3.7 says."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One presentation context to propose: an abstract syntax (SOP class) and transfer syntaxes."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the A-ASSOCIATE-AC says of one proposal: `transfer_syntax` is empty when it was not accepted."""

    context_id: int
    result: int  # 0 acceptance, 1 user rejection, 2 no reason, 3 abstract syntax, 4 transfer syntaxes
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """An A-ASSOCIATE-AC (PS3.8 section 9.3.3)."""

    answers: Mapping[int, Answer]  # context id -> answer
    max_pdu: int  # largest P-DATA-TF variable field that the peer takes; 0: any


@dataclass(frozen=True, slots=True)
class Response:
    """A C-STORE-RSP or C-ECHO-RSP (PS3.7 sections 9.3.1.2, 9.3.5.2)."""

    status: int
    comment: str
    message_id: int


# Association


def associate_rq(calling: str, called: str, proposals: Sequence[Proposal], max_pdu: int) -> bytes:
    """A-ASSOCIATE-RQ (PS3.8 section 9.3.2); proposal number n gets context id 2n+1.

    Raises:
        ValueError: too many proposals, or a UID or AE title that is none.
    """
    if not 1 <= len(proposals) <= MAX_CONTEXTS:
        raise ValueError(f"{len(proposals)} presentation contexts; one association takes 1 to {MAX_CONTEXTS}")
    items = [_item(0x10, _uid(_APPLICATION_CONTEXT))]
    for number, proposal in enumerate(proposals):
        syntaxes = b"".join(_item(0x40, _uid(uid)) for uid in proposal.transfer_syntaxes)
        head = bytes((2 * number + 1, 0, 0, 0))
        items.append(_item(0x20, head + _item(0x30, _uid(proposal.abstract_syntax)) + syntaxes))
    user = _item(0x51, struct.pack(">I", max_pdu)) + _item(0x52, _uid(IMPLEMENTATION_CLASS_UID))
    items.append(_item(0x50, user + _item(0x55, IMPLEMENTATION_VERSION_NAME.encode("ascii"))))
    body = struct.pack(">H2x16s16s32x", 1, _ae_title(called), _ae_title(calling)) + b"".join(items)
    return HEADER.pack(A_ASSOCIATE_RQ, len(body)) + body


def associate_ac(body: bytes) -> Accepted:
    """Read an A-ASSOCIATE-AC without its six bytes of header.

    Raises:
        Malformed: items do not fit into each other.
    """
    answers: dict[int, Answer] = {}
    max_pdu = 0
    for kind, value in _items(body[68:]):
        if kind == 0x21 and len(value) >= 4:
            accepted = value[2] == 0
            syntax = next((v for k, v in _items(value[4:]) if k == 0x40), b"") if accepted else b""
            answers[value[0]] = Answer(value[0], value[2], syntax.decode("ascii", "replace").strip("\0 "))
        elif kind == 0x50:
            sizes = [v for k, v in _items(value) if k == 0x51 and len(v) == 4]
            max_pdu = struct.unpack(">I", sizes[0])[0] if sizes else 0
    return Accepted(answers, max_pdu)


_REJECTED = {  # PS3.8 table 9-21: (source, reason)
    (1, 1): "no reason given",
    (1, 2): "it does not support our application context",
    (1, 3): "it does not know our AE title (calling AE title not recognised)",
    (1, 7): "it does not answer to this AE title (called AE title not recognised)",
    (2, 1): "no reason given (ACSE)",
    (2, 2): "it does not support our protocol version",
    (3, 1): "temporary congestion",
    (3, 2): "its limit of associations is reached",
}


def associate_rj(body: bytes) -> tuple[bool, str]:
    """Whether an A-ASSOCIATE-RJ is for good, and its reason in words (PS3.8 section 9.3.4)."""
    _, result, source, reason = body[:4].ljust(4, b"\0")
    told = _REJECTED.get((source, reason), f"source {source}, reason {reason}")
    # A limit or congestion passes, whatever the result field claims.
    return result == 1 and source != 3, told


# Messages


def c_store_rq(message_id: int, sop_class: str, sop_instance: str) -> bytes:
    """The command set of a C-STORE-RQ (PS3.7 section 9.3.1.1), Implicit VR Little Endian.

    Raises:
        ValueError: a UID that is none.
    """
    return _command(
        (0x0002, _uid(sop_class)),
        (0x0100, struct.pack("<H", _C_STORE_RQ)),
        (0x0110, struct.pack("<H", message_id)),
        (0x0700, struct.pack("<H", 0)),  # priority: medium
        (0x0800, struct.pack("<H", 1)),  # a dataset follows
        (0x1000, _uid(sop_instance)),
    )


def c_echo_rq(message_id: int) -> bytes:
    """The command set of a C-ECHO-RQ (PS3.7 section 9.3.5.1)."""
    return _command(
        (0x0002, _uid("1.2.840.10008.1.1")),
        (0x0100, struct.pack("<H", _C_ECHO_RQ)),
        (0x0110, struct.pack("<H", message_id)),
        (0x0800, struct.pack("<H", 0x0101)),  # none follows
    )


def response(command: bytes) -> Response:
    """Read a response's command set.

    Raises:
        Malformed: elements do not fit, or there is no status.
    """
    found: dict[int, bytes] = {}
    at = 0
    while at < len(command):
        if at + 8 > len(command):
            raise Malformed("a command element is cut off")
        group, element, length = struct.unpack_from("<HHI", command, at)
        at += 8
        if group != 0 or at + length > len(command):
            raise Malformed("a command element does not fit")
        found[element] = command[at : at + length]
        at += length
    if len(found.get(0x0900, b"")) != 2 or len(found.get(0x0120, b"")) != 2:
        raise Malformed("a response without status or message id")
    comment = found.get(0x0902, b"").decode("ascii", "replace").strip("\0 ")
    return Response(
        int.from_bytes(found[0x0900], "little"),
        "".join(c if c.isprintable() else " " for c in comment)[:_MAX_UID],
        int.from_bytes(found[0x0120], "little"),
    )


def p_data(context_id: int, length: int, *, command: bool, last: bool) -> bytes:
    """What stands before a fragment of `length` bytes: P-DATA-TF and PDV headers (PS3.8 9.3.5, E.2)."""
    control = (_COMMAND if command else 0) | (_LAST if last else 0)
    return struct.pack(">BxIIBB", P_DATA_TF, length + 6, length + 2, context_id, control)


def command_fragments(body: bytes) -> tuple[bytes, bool]:
    """The command bytes in one P-DATA-TF's variable field, and whether the last fragment was among them.

    Raises:
        Malformed: PDVs do not fit, or hold a dataset, which no response to a sender does.
    """
    pieces: list[bytes] = []
    last = False
    at = 0
    while at < len(body):
        length = int.from_bytes(body[at : at + 4], "big")
        if length < 2 or at + 4 + length > len(body):
            raise Malformed("a presentation data value does not fit its PDU")
        control = body[at + 5]
        if not control & _COMMAND:
            raise Malformed("a dataset where a response was expected")
        pieces.append(body[at + 6 : at + 4 + length])
        last = last or bool(control & _LAST)
        at += 4 + length
    return b"".join(pieces), last


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _items(data: bytes) -> list[tuple[int, bytes]]:
    items: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if at + 4 + length > len(data):
            raise Malformed("an item does not fit its PDU")
        items.append((data[at], data[at + 4 : at + 4 + length]))
        at += 4 + length
    return items


def _command(*elements: tuple[int, bytes]) -> bytes:
    body = b"".join(
        struct.pack("<HHI", 0, element, len(value) + len(value) % 2) + value + b"\0" * (len(value) % 2)
        for element, value in elements
    )
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _uid(uid: str) -> bytes:
    if not uid or len(uid) > _MAX_UID or not uid.isascii():
        raise ValueError("a UID is missing, longer than 64 characters, or not ASCII")
    return uid.encode("ascii")


def _ae_title(title: str) -> bytes:
    if not title.strip() or len(title) > 16 or not title.isascii():
        raise ValueError(f"{title!r} is not an AE title: 1 to 16 ASCII characters")
    return title.encode("ascii").ljust(16)
