"""What a sender says and hears in an association (PS3.8 section 9.3, PS3.7 annex E).

Of C-STORE the dataset is no part of this: its bytes go out as they lie on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pynetdicom.pdu import A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.presentation import build_context

from gateway.upper_layer import (
    COMMAND,
    FIXED_BYTES,
    LAST,
    MOST_ITEMS,
    MOST_SYNTAXES,
    PDV,
    AbortReason,
    BadPdu,
    ItemType,
    PduType,
    associate,
    command_elements,
    command_set,
    encoded,
    items,
    max_length,
    parsed,
    text,
    uid,
    us,
)

MAX_CONTEXTS = 128  # odd identifiers of one byte
VERIFICATION = "1.2.840.10008.1.1"

_C_STORE_RQ, _C_ECHO_RQ = 0x0001, 0x0030
_A_DATASET, _NO_DATASET = 0x0001, 0x0101
_MESSAGE_ID, _STATUS, _COMMENT = 0x0120, 0x0900, 0x0902
_MAX_UID = 64
_MAX_COMMENT = 64


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
    contexts = []
    for number, proposal in enumerate(proposals):
        context = build_context(
            _uid(proposal.abstract_syntax), [_uid(one) for one in proposal.transfer_syntaxes]
        )
        context.context_id = 2 * number + 1
        contexts.append(context)
    primitive = associate(_ae_title(calling), _ae_title(called), max_pdu)
    primitive.presentation_context_definition_list = contexts
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return encoded(pdu)


def associate_ac(body: bytes) -> Accepted:
    """Read an A-ASSOCIATE-AC without its six bytes of header.

    Raises:
        BadPdu: it is not one.
    """
    if len(body) < FIXED_BYTES:  # of these nothing shall be tested: PS3.8 table 9-17
        raise BadPdu(AbortReason.INVALID_PARAMETER, "an A-ASSOCIATE-AC that breaks off")
    answers: dict[int, Answer] = {}
    max_pdu = 0
    for kind, value in items(body[FIXED_BYTES:], MOST_ITEMS):
        match kind:
            case ItemType.CONTEXT_AC:
                answer = _answer(value)
                answers[answer.context_id] = answer
            case ItemType.USER_INFORMATION:
                max_pdu = max_length(value)
            case _:
                pass  # shall be ignored and skipped (PS3.8 section 9.3.1)
    return Accepted(answers, max_pdu)


def _answer(value: bytes) -> Answer:
    """A presentation context item (PS3.8 section 9.3.3.2); what is not accepted may name any syntax, or none.

    Raises:
        BadPdu: its sub-items do not fit.
    """
    if len(value) < 4:
        raise BadPdu(AbortReason.INVALID_PARAMETER, "a presentation context without an identifier")
    context_id, result = value[0], value[2]
    found = [uid(name) for kind, name in items(value[4:], MOST_SYNTAXES) if kind == ItemType.TRANSFER_SYNTAX]
    return Answer(context_id, result, found[0] if found and result == 0 else "")


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
    """Whether an A-ASSOCIATE-RJ is for good, and its reason in words (PS3.8 section 9.3.4).

    Raises:
        BadPdu: it is not one.
    """
    pdu = parsed(A_ASSOCIATE_RJ(), PduType.ASSOCIATE_RJ, body)
    source, reason = pdu.source, pdu.reason_diagnostic
    told = _REJECTED.get((source or 0, reason or 0), f"source {source}, reason {reason}")
    # A limit or congestion passes, whatever the result field claims.
    return pdu.result == 1 and source != 3, told


# Messages


def c_store_rq(message_id: int, sop_class: str, sop_instance: str) -> bytes:
    """The command set of a C-STORE-RQ (PS3.7 section 9.3.1.1).

    Raises:
        ValueError: a UID that is none.
    """
    return command_set(
        {
            "AffectedSOPClassUID": _uid(sop_class),
            "CommandField": _C_STORE_RQ,
            "MessageID": message_id,
            "Priority": 0,  # medium
            "CommandDataSetType": _A_DATASET,
            "AffectedSOPInstanceUID": _uid(sop_instance),
        }
    )


def c_echo_rq(message_id: int) -> bytes:
    """The command set of a C-ECHO-RQ (PS3.7 section 9.3.5.1)."""
    return command_set(
        {
            "AffectedSOPClassUID": VERIFICATION,
            "CommandField": _C_ECHO_RQ,
            "MessageID": message_id,
            "CommandDataSetType": _NO_DATASET,
        }
    )


def response(command: bytes) -> Response:
    """Read a response's command set.

    Raises:
        BadPdu: it is not one, or there is no status.
    """
    found = command_elements(command)
    status, message_id = us(found, _STATUS), us(found, _MESSAGE_ID)
    if status is None or message_id is None:
        raise BadPdu(AbortReason.INVALID_PARAMETER, "a response without status or message id")
    comment = "".join(c if c.isprintable() else " " for c in text(found, _COMMENT))
    return Response(status, comment[:_MAX_COMMENT], message_id)


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


def _uid(uid: str) -> str:
    if not uid or len(uid) > _MAX_UID or not uid.isascii():
        raise ValueError("a UID is missing, longer than 64 characters, or not ASCII")
    return uid


def _ae_title(title: str) -> str:
    if not title.strip() or len(title) > 16 or not title.isascii():
        raise ValueError(f"{title!r} is not an AE title: 1 to 16 ASCII characters")
    return title
