"""PDUs as bytes (PS3.8 section 9.3): what both sides of an association need of them.

What we say of an association is encoded by pynetdicom. What a peer says of one is read item by item:
pynetdicom's codecs raise on every item that they do not know, and the Standard wants such items skipped.
P-DATA-TF is taken apart and put together by its users: a film's fragments go between socket and disk without
a codec.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import TypeVar

import pynetdicom
from pydicom import config
from pynetdicom.pdu import A_ABORT_RQ, A_RELEASE_RP, A_RELEASE_RQ, PDU
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)

from gateway.store import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

if not pynetdicom.__version__.startswith("3.0."):  # its codecs are used below their public surface
    raise ImportError(f"filmgate needs pynetdicom 3.0.x, not {pynetdicom.__version__}")

# Whatever a stranger sends, pynetdicom writes a page about it: what matters is logged by us, once.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
config.settings.reading_validation_mode = config.IGNORE  # pydicom warns of every UID that is none, likewise

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 annex A.2.1
HEADER = struct.Struct(">BxI")  # type, length of what follows
ITEM = struct.Struct(">BxH")  # type, length of what follows (PS3.8 section 9.3.2)
PDV = struct.Struct(">IBB")  # length, presentation context id, message control header (PS3.8 annex E.2)
COMMAND, LAST = 0x01, 0x02  # bits of the message control header

MOST_UID = 64  # characters (PS3.5 section 9.1)
NOT_A_UID = "?"  # stands for what is none: no SOP class, no instance, no transfer syntax that anybody accepts
FIXED_BYTES = 68  # of an A-ASSOCIATE-RQ or -AC before its items: version, AE titles, reserved bytes
MOST_ITEMS = 160  # of an A-ASSOCIATE-RQ or -AC; 128 of them can be presentation contexts
MOST_SYNTAXES = 128  # items in one presentation context; the Standard has some 60 transfer syntaxes
MOST_USER_ITEMS = 1024  # items of user information; some peers send three a SOP class

P = TypeVar("P", bound=PDU)


class PduType(IntEnum):
    """PS3.8 section 9.3."""

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


class ItemType(IntEnum):
    """The items of an A-ASSOCIATE-RQ and -AC that we use: PS3.8 sections 9.3.2 and 9.3.3, annex D.1.

    All others are skipped, as section 9.3.1 wants it. To leave those of PS3.7 annex D.3.3 (role selection,
    extended negotiation, user identity and so on) unanswered is to say that we do without them.
    """

    APPLICATION_CONTEXT = 0x10
    CONTEXT_RQ = 0x20
    CONTEXT_AC = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51


class BadPdu(Exception):
    """Raised when a peer breaks the protocol; `reason` is what an A-ABORT tells it."""

    def __init__(self, reason: AbortReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def parsed(pdu: P, kind: PduType, body: bytes) -> P:
    """`pdu` filled from what follows the six bytes of type and length.

    Raises:
        BadPdu: the bytes are not such a PDU.
    """
    try:
        pdu.decode(HEADER.pack(kind, len(body)) + body)
    except Exception as error:  # pynetdicom promises no exception type for bytes that make no sense
        raise BadPdu(AbortReason.INVALID_PARAMETER, f"an unreadable {kind.name} PDU") from error
    return pdu


def items(data: bytes, most: int) -> Iterator[tuple[int, bytes]]:
    """Type and value of each item, or sub-item, that `data` consists of; known or not.

    Raises:
        BadPdu: an item is longer than what holds it, or there are more than `most`.
    """
    at = 0
    for _ in range(most):
        if at == len(data):
            return
        if at + ITEM.size > len(data):
            break
        kind, length = ITEM.unpack_from(data, at)
        at += ITEM.size + length
        if at > len(data):
            break
        yield kind, data[at - length : at]
    if at != len(data):
        raise BadPdu(AbortReason.INVALID_PARAMETER, "the items of an A-ASSOCIATE PDU do not fit")


def max_length(user_information: bytes) -> int:
    """The largest P-DATA-TF that the peer takes (PS3.8 annex D.1); 0, no limit, where it says nothing of it.

    Raises:
        BadPdu: the sub-items do not fit.
    """
    lengths = [
        value for kind, value in items(user_information, MOST_USER_ITEMS) if kind == ItemType.MAXIMUM_LENGTH
    ]
    return int.from_bytes(lengths[0], "big") if lengths and len(lengths[0]) == 4 else 0


def uid(value: bytes) -> str:
    """A UID as text, without the NULs or blanks that pad it (PS3.5 section 9.1)."""
    return value.decode("ascii", "replace").strip("\0 ")


def associate(calling: str, called: str, max_pdu: int) -> A_ASSOCIATE:
    """An A-ASSOCIATE primitive (PS3.8 section 7.1) with who we are in it; contexts are for the caller to add.

    Raises:
        ValueError: not an AE title.
    """
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = max_pdu
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    name = ImplementationVersionNameNotification()
    name.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    primitive.user_information = [length, implementation, name]
    return primitive


def encoded(pdu: PDU) -> bytes:
    """The bytes of a PDU that we made."""
    return bytes(pdu.encode())


def abort(reason: AbortReason | None = None) -> bytes:
    """An A-ABORT (PS3.8 section 9.3.8): of the provider for `reason`, of the service user without one."""
    pdu = A_ABORT_RQ()
    pdu.source = 0 if reason is None else 2
    pdu.reason_diagnostic = reason or 0
    return encoded(pdu)


RELEASE_RQ = encoded(A_RELEASE_RQ())
RELEASE_RP = encoded(A_RELEASE_RP())


def p_data(context_id: int, length: int, *, command: bool, last: bool) -> bytes:
    """What stands before `length` bytes of one fragment: P-DATA-TF and PDV headers (PS3.8 9.3.5, E.2)."""
    control = (COMMAND if command else 0) | (LAST if last else 0)
    return HEADER.pack(PduType.P_DATA, length + 6) + PDV.pack(length + 2, context_id, control)
