"""Association control (PS3.8 sections 7.1-7.3) as a requestor writes and reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pynetdicom.pdu import A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.presentation import build_context

from gateway.upper_layer.dimse import sendable_uid
from gateway.upper_layer.pdu import (
    FIXED_BYTES,
    MOST_ITEMS,
    MOST_SYNTAXES,
    AbortReason,
    BadPdu,
    ItemType,
    PduType,
    associate,
    encoded,
    items,
    max_length,
    parsed,
    uid,
)

MAX_CONTEXTS = 128  # odd identifiers of one byte


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
            sendable_uid(proposal.abstract_syntax), [sendable_uid(one) for one in proposal.transfer_syntaxes]
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
    reason_text = _REJECTED.get((source or 0, reason or 0), f"source {source}, reason {reason}")
    # A limit or congestion passes, whatever the result field claims.
    return pdu.result == 1 and source != 3, reason_text


def _ae_title(title: str) -> str:
    if not title.strip() or len(title) > 16 or not title.isascii():
        raise ValueError(f"{title!r} is not an AE title: 1 to 16 ASCII characters")
    return title
