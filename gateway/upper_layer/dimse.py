"""DIMSE messages (PS3.7 chapter 9 and annex E): C-STORE and C-ECHO, as SCP and as SCU.

Of C-STORE the dataset is no part of this: its bytes go between socket and disk as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from gateway.upper_layer.command_set import command_elements, command_set, text, us
from gateway.upper_layer.pdu import COMMAND, LAST, MOST_UID, NOT_A_UID, PDV, AbortReason, BadPdu, p_data

VERIFICATION = "1.2.840.10008.1.1"  # SOP class (PS3.4 annex A)
A_DATASET, NO_DATASET = 0x0001, 0x0101  # Command Data Set Type (0000,0800)
RESPONSE = 0x8000  # the bit that makes a response of a request's command field
HIGH, LOW = 0x0001, 0x0002  # Priority (0000,0700); MEDIUM is 0x0000: PS3.7 section 9.1.1.1
MOST_COMMENT = 64  # characters of an Error Comment, VR LO

_SOP_CLASS, _REQUESTED_SOP_CLASS, _FIELD, _MESSAGE_ID = 0x0002, 0x0003, 0x0100, 0x0110
_PRIORITY, _DATASET_TYPE, _SOP_INSTANCE = 0x0700, 0x0800, 0x1000
_ANSWERED_MESSAGE_ID, _STATUS, _COMMENT = 0x0120, 0x0900, 0x0902


class CommandField(IntEnum):
    """PS3.7 table E.1-1."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    C_CANCEL_RQ = 0x0FFF


class Status(IntEnum):
    """What we answer: PS3.7 annex C, PS3.4 table B.2-1."""

    SUCCESS = 0x0000
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    UNRECOGNIZED_OPERATION = 0x0211
    OUT_OF_RESOURCES = 0xA700
    DATASET_DOES_NOT_MATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000
    KEPT_BUT_REJECTED = 0xB000  # a warning: stored, and an IOCM document rejected it before


KEPT = frozenset({Status.SUCCESS, Status.KEPT_BUT_REJECTED})  # what they answer is safe


@dataclass(frozen=True, slots=True)
class Command:
    """What we need to know of a command set."""

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    priority: int
    has_dataset: bool


@dataclass(frozen=True, slots=True)
class Response:
    """A C-STORE-RSP or C-ECHO-RSP (PS3.7 sections 9.3.1.2, 9.3.5.2)."""

    status: int
    comment: str
    message_id: int


# As SCP: requests are read, responses written


def decode_command(data: bytes | bytearray) -> Command:
    """Read a command set.

    Raises:
        BadPdu: it is not one.
    """
    elements = command_elements(bytes(data))
    field = us(elements, _FIELD)
    if field is None:
        raise BadPdu(AbortReason.INVALID_PARAMETER, "a command set without a command field")
    return Command(
        field=field,
        message_id=us(elements, _MESSAGE_ID) or 0,
        sop_class_uid=_uid(elements, _SOP_CLASS) or _uid(elements, _REQUESTED_SOP_CLASS),
        sop_instance_uid=_uid(elements, _SOP_INSTANCE),
        priority=us(elements, _PRIORITY) or 0,
        has_dataset=us(elements, _DATASET_TYPE) not in (None, NO_DATASET),
    )


def _uid(elements: Mapping[int, bytes], element: int) -> str:
    """A UID, or what stands there for one; NOT_A_UID for what is longer: it is neither kept nor repeated."""
    value = text(elements, element)
    return value if len(value) <= MOST_UID else NOT_A_UID


def encode_response(command: Command, status: int, comment: str = "") -> bytes:
    """The response to `command`; `comment` is cut to what an Error Comment may hold."""
    elements: dict[str, str | int] = {
        "AffectedSOPClassUID": command.sop_class_uid,
        "CommandField": command.field | RESPONSE,
        "MessageIDBeingRespondedTo": command.message_id,
        "CommandDataSetType": NO_DATASET,
        "Status": int(status),
    }
    if comment:
        elements["ErrorComment"] = comment[:MOST_COMMENT]
    if command.field == CommandField.C_STORE_RQ:
        elements["AffectedSOPInstanceUID"] = command.sop_instance_uid
    return command_set(elements)


def encode_command(context_id: int, command: bytes, max_pdu: int) -> bytes:
    """The P-DATA-TF PDUs that carry one command set (PS3.8 section 9.3.5), for a peer of `max_pdu`."""
    most = max(max_pdu - 6, 16) if max_pdu else len(command)
    pieces = [command[at : at + most] for at in range(0, len(command), most)]
    return b"".join(
        p_data(context_id, len(piece), command=True, last=number == len(pieces)) + piece
        for number, piece in enumerate(pieces, 1)
    )


# As SCU: requests are written, responses read


def c_store_rq(message_id: int, sop_class: str, sop_instance: str) -> bytes:
    """The command set of a C-STORE-RQ (PS3.7 section 9.3.1.1).

    Raises:
        ValueError: a UID that is none.
    """
    return command_set(
        {
            "AffectedSOPClassUID": sendable_uid(sop_class),
            "CommandField": CommandField.C_STORE_RQ,
            "MessageID": message_id,
            "Priority": 0,  # medium
            "CommandDataSetType": A_DATASET,
            "AffectedSOPInstanceUID": sendable_uid(sop_instance),
        }
    )


def c_echo_rq(message_id: int) -> bytes:
    """The command set of a C-ECHO-RQ (PS3.7 section 9.3.5.1)."""
    return command_set(
        {
            "AffectedSOPClassUID": VERIFICATION,
            "CommandField": CommandField.C_ECHO_RQ,
            "MessageID": message_id,
            "CommandDataSetType": NO_DATASET,
        }
    )


def response(command: bytes) -> Response:
    """Read a response's command set.

    Raises:
        BadPdu: it is not one, or there is no status.
    """
    elements = command_elements(command)
    status, message_id = us(elements, _STATUS), us(elements, _ANSWERED_MESSAGE_ID)
    if status is None or message_id is None:
        raise BadPdu(AbortReason.INVALID_PARAMETER, "a response without status or message id")
    comment = "".join(c if c.isprintable() else " " for c in text(elements, _COMMENT))
    return Response(status, comment[:MOST_COMMENT], message_id)


def command_fragments(body: bytes) -> tuple[bytes, bool]:
    """The command bytes in one P-DATA-TF's variable field, and whether the last fragment was among them.

    Raises:
        BadPdu: PDVs do not fit, or hold a dataset, which no response to a sender does.
    """
    pieces: list[bytes] = []
    last = False
    at = 0
    while at < len(body):
        if at + PDV.size > len(body):
            raise BadPdu(AbortReason.INVALID_PARAMETER, "a presentation data value is cut off")
        length, _, control = PDV.unpack_from(body, at)
        end = at + 4 + length
        if length < 2 or end > len(body):
            raise BadPdu(AbortReason.INVALID_PARAMETER, "a presentation data value does not fit its PDU")
        if not control & COMMAND:
            raise BadPdu(AbortReason.UNEXPECTED_PARAMETER, "a dataset where a response was expected")
        pieces.append(body[at + PDV.size : end])
        last = last or bool(control & LAST)
        at = end
    return b"".join(pieces), last


def sendable_uid(uid: str) -> str:
    """`uid`, when it can be one.

    Raises:
        ValueError: a UID that is none.
    """
    if not uid or len(uid) > MOST_UID or not uid.isascii():
        raise ValueError("a UID is missing, longer than 64 characters, or not ASCII")
    return uid
