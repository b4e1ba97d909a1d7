"""Association control (PS3.8 sections 7.1-7.3) as an acceptor reads and writes it.

These are the first bytes that a stranger sends. What does not fit is refused; what fits and is odd is no
reason to lose a sender: an item that we do not know is skipped, a presentation context that nobody can read
is one that we do not accept, and an AE title is any 16 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ
from pynetdicom.presentation import PresentationContext, build_context

from gateway.upper_layer.pdu import (
    FIXED_BYTES,
    HEADER,
    MOST_ITEMS,
    MOST_SYNTAXES,
    MOST_UID,
    NOT_A_UID,
    AbortReason,
    BadPdu,
    ItemType,
    associate,
    encoded,
    items,
    max_length,
    uid,
)

_REPEATED = slice(4, FIXED_BYTES)  # AE titles and reserved bytes: an answer has those of its request


@dataclass(frozen=True, slots=True)
class Rejection:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    result: int  # 1 permanent, 2 transient
    source: int  # 1 service user, 2 provider (ACSE), 3 provider (presentation)
    reason: int
    text: str

    def encode(self) -> bytes:
        pdu = A_ASSOCIATE_RJ()
        pdu.result, pdu.source, pdu.reason_diagnostic = self.result, self.source, self.reason
        return encoded(pdu)


NOT_ALLOWED = Rejection(1, 1, 1, "this address may not send here")
CALLING_UNKNOWN = Rejection(1, 1, 3, "calling AE title not recognised")
CALLED_UNKNOWN = Rejection(1, 1, 7, "called AE title not recognised")
APPLICATION_CONTEXT_UNKNOWN = Rejection(1, 1, 2, "application context name not supported")
VERSION_UNKNOWN = Rejection(1, 2, 2, "protocol version not supported")
NO_ROOM = Rejection(2, 3, 1, "no room on disk: temporary congestion")
NO_MEMORY = Rejection(2, 3, 1, "no memory for another association: temporary congestion")
TOO_MANY_OF_ONE = Rejection(
    2, 3, 2, "as many associations from this address as allowed: local limit exceeded"
)
TOO_MANY = Rejection(2, 3, 2, "as many associations as allowed: local limit exceeded")


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ (PS3.8 section 9.3.2)."""

    protocol_version: int
    called: str
    calling: str
    application_context: str
    contexts: tuple[PresentationContext, ...]
    max_pdu: int  # the largest P-DATA-TF the requestor takes; 0 is no limit
    repeated: bytes  # AE titles and reserved bytes, as they came: 64 bytes


def titles(body: bytes | bytearray) -> tuple[str, str]:
    """Called and calling AE title of an A-ASSOCIATE-RQ, the rest unread; empty where there is none."""
    return _title(bytes(body[4:20])), _title(bytes(body[20:36]))


def decode_associate_rq(body: bytes) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ; `body` is what follows the six bytes of type and length.

    Raises:
        BadPdu: it is not one.
    """
    if len(body) < FIXED_BYTES:
        raise BadPdu(AbortReason.INVALID_PARAMETER, "an A-ASSOCIATE-RQ that breaks off")
    contexts: dict[int | None, PresentationContext] = {}
    application_context, max_pdu = "", 0
    for kind, value in items(body[FIXED_BYTES:], MOST_ITEMS):
        match kind:
            case ItemType.APPLICATION_CONTEXT:
                application_context = uid(value)
            case ItemType.CONTEXT_RQ:
                context = _proposed(value)
                contexts.setdefault(context.context_id, context)
            case ItemType.USER_INFORMATION:
                max_pdu = max_length(value)
            case _:
                pass  # shall be ignored and skipped (PS3.8 section 9.3.1)
    if not contexts:
        raise BadPdu(AbortReason.INVALID_PARAMETER, "an A-ASSOCIATE-RQ without presentation contexts")
    called, calling = titles(body)
    version = int.from_bytes(body[:2], "big")
    return AssociateRequest(
        version,
        called,
        calling,
        application_context,
        tuple(contexts.values()),
        max_pdu,
        bytes(body[_REPEATED]),
    )


def encode_associate_ac(
    request: AssociateRequest, answers: Sequence[PresentationContext], max_pdu: int
) -> bytes:
    """An A-ASSOCIATE-AC (PS3.8 section 9.3.3) to `request`, with its AE titles byte for byte (table 9-17)."""
    primitive = associate("-", "-", max_pdu)
    primitive.result = 0
    primitive.presentation_context_definition_results_list = list(answers)
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(primitive)
    data = bytearray(encoded(pdu))
    data[HEADER.size + _REPEATED.start : HEADER.size + _REPEATED.stop] = request.repeated
    return bytes(data)


def _proposed(value: bytes) -> PresentationContext:
    """A presentation context item (PS3.8 section 9.3.2.2).

    Raises:
        BadPdu: its sub-items do not fit, or its identifier is none.
    """
    if len(value) < 4 or not value[0] % 2:
        raise BadPdu(AbortReason.INVALID_PARAMETER, "a presentation context without an odd identifier")
    found = [(kind, _uid(name)) for kind, name in items(value[4:], MOST_SYNTAXES)]
    abstract = next((name for kind, name in found if kind == ItemType.ABSTRACT_SYNTAX), NOT_A_UID)
    # NOT_A_UID comes last: of a context that is not accepted, the answer repeats the first.
    syntaxes = dict.fromkeys(name for kind, name in found if kind == ItemType.TRANSFER_SYNTAX)
    usable = [name for name in syntaxes if name != NOT_A_UID]
    context = build_context(abstract, usable or [NOT_A_UID])
    context.context_id = value[0]
    return context


def _uid(value: bytes) -> str:
    text = uid(value)
    return text if text.isascii() and 0 < len(text) <= MOST_UID else NOT_A_UID


def _title(value: bytes) -> str:
    """An AE title for people and for comparison.

    Blanks do not count (PS3.5 section 6.2), NULs end it: many senders write C strings, with whatever lies
    behind them. Letters that are not ASCII are none of the Standard's, and are read as the sender meant them.
    """
    written = value.lstrip(b"\0 ").partition(b"\0")[0]
    try:
        text = written.decode("utf-8")
    except UnicodeDecodeError:
        text = written.decode("latin-1")
    return "".join(letter if letter.isprintable() else "?" for letter in text.strip())
