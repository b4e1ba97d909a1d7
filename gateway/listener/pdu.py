"""Association control (PS3.8 sections 7.1-7.3) as an acceptor reads and writes it.

These are the first bytes that a stranger sends: their number is bounded before pynetdicom's codecs see them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.presentation import PresentationContext

from gateway.upper_layer import AbortReason, BadPdu, PduType, associate, encoded, parsed

MOST_ITEMS = 160  # of an A-ASSOCIATE-RQ; 128 of them can be presentation contexts

_FIXED_BYTES = 68  # protocol version, AE titles and reserved bytes before the items
_ITEM_HEADER = 4  # type, reserved, length


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


def titles(body: bytes | bytearray) -> tuple[str, str]:
    """Called and calling AE title of an A-ASSOCIATE-RQ, the rest unread; empty where there is none."""
    return _title(bytes(body[4:20])), _title(bytes(body[20:36]))


def decode_associate_rq(body: bytes) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ; `body` is what follows the six bytes of type and length.

    Raises:
        BadPdu: it is not one.
    """
    _bound_items(body)
    pdu = parsed(A_ASSOCIATE_RQ(), PduType.ASSOCIATE_RQ, body)
    try:
        proposed = [item.to_primitive() for item in pdu.presentation_context]
        contexts = tuple({context.context_id: context for context in reversed(proposed)}.values())
        max_pdu = pdu.user_information.maximum_length if pdu.user_information else 0
        application_context = str(pdu.application_context_name or "")
    except Exception as error:  # pynetdicom promises no exception type for bytes that make no sense
        raise BadPdu(AbortReason.INVALID_PARAMETER, "an unreadable A-ASSOCIATE-RQ") from error
    if not contexts or not all(c.context_id and c.abstract_syntax and c.transfer_syntax for c in contexts):
        raise BadPdu(AbortReason.INVALID_PARAMETER, "A-ASSOCIATE-RQ without whole presentation contexts")
    called, calling = titles(body)
    return AssociateRequest(
        pdu.protocol_version, called, calling, application_context, contexts, max_pdu or 0
    )


def encode_associate_ac(
    request: AssociateRequest, answers: Sequence[PresentationContext], max_pdu: int
) -> bytes:
    """An A-ASSOCIATE-AC (PS3.8 section 9.3.3) to `request`.

    Raises:
        BadPdu: the request has AE titles that no answer can repeat.
    """
    try:
        primitive = associate(request.calling, request.called, max_pdu)
        primitive.result = 0
        primitive.presentation_context_definition_results_list = list(answers)
        pdu = A_ASSOCIATE_AC()
        pdu.from_primitive(primitive)
        return encoded(pdu)
    except ValueError as error:
        raise BadPdu(AbortReason.INVALID_PARAMETER, "an AE title that is none") from error


def _bound_items(body: bytes) -> None:
    """Refuse a request of too many or of ill-fitting items before anything is made of them."""
    at = _FIXED_BYTES
    for _ in range(MOST_ITEMS):
        if at == len(body):
            return
        at += _ITEM_HEADER + int.from_bytes(body[at + 2 : at + _ITEM_HEADER], "big")
        if at > len(body):
            break
    raise BadPdu(AbortReason.INVALID_PARAMETER, "the items of an A-ASSOCIATE-RQ do not fit")


def _title(value: bytes) -> str:
    text = value.decode("ascii", "replace").strip("\0 ")
    return "".join(letter if letter.isprintable() else "?" for letter in text)
