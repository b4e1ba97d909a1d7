"""RECEIVE: one association from its request to its end, in one thread.

The way of the bytes: socket → one buffer → (sha256, part file). A dataset is never assembled in memory, and
no second thread, queue or poll lies between two PDUs. The states are those of an acceptor in PS3.8 section
9.2: Sta3 (`_negotiate`), Sta6 (`_serve`), Sta8 and Sta13 (the last word, then `Door.await_close`).
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv6Address

import structlog

from gateway.errors import LedgerError, StoreError
from gateway.ledger.records import Received
from gateway.listener.arrival import Arrival, Context, Refusal, TooLarge, out_of_resources
from gateway.listener.audit import Audit, Ended
from gateway.listener.negotiate import is_uid, negotiate
from gateway.listener.recorder import ReceiveLedger, Recorder
from gateway.listener.wire import Closed, Late, Wire
from gateway.logs.limiter import LogLimiter
from gateway.process import crash
from gateway.settings import GatewaySettings
from gateway.store import Incoming, Store
from gateway.upper_layer.acceptor import (
    APPLICATION_CONTEXT_UNKNOWN,
    VERSION_UNKNOWN,
    AssociateRequest,
    Rejection,
    decode_associate_rq,
    encode_associate_ac,
)
from gateway.upper_layer.dimse import (
    HIGH,
    KEPT,
    LOW,
    VERIFICATION,
    Command,
    CommandField,
    Status,
    decode_command,
    encode_command,
    encode_response,
)
from gateway.upper_layer.pdu import (
    APPLICATION_CONTEXT,
    COMMAND,
    LAST,
    PDV,
    RELEASE_RP,
    AbortReason,
    BadPdu,
    PduType,
    abort,
)

MOST_COMMAND_BYTES = 64 << 10
PROGRESS_BYTES = 64 << 10  # of a dataset, in each `idle_timeout_s` that we wait: 1 KB/s
MOST_EMPTY = 4096  # fragments without a byte, and messages that need no answer, from one progress to the next
PATIENCE = 10  # times `idle_timeout_s`: how long an association may verify, and bring nothing

_PDU_TYPES = frozenset(map(int, PduType))
_NO_MEMORY = abort(AbortReason.NOT_SPECIFIED)  # made while there is some

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all associations of a listener share."""

    store: Store
    ledger: ReceiveLedger
    recorder: Recorder
    log_limiter: LogLimiter
    settings: GatewaySettings
    admit: Callable[[AssociateRequest, str], Rejection | None]
    audit: Audit
    await_close: Callable[[socket.socket, str], None]
    destinations_of: Callable[[str], tuple[str, ...]]  # AE title -> names of destinations that have it


class Association:
    """One peer, served by `run` in a thread of its own.

    Args:
        shared: what it shares with the others.
        connection: a blocking socket.
        address: of the peer.
        request: the body of its A-ASSOCIATE-RQ.
    """

    def __init__(self, shared: Shared, connection: socket.socket, address: str, request: bytes) -> None:
        self._shared = shared
        self._socket = connection
        self._address = address
        self._request_body = request
        self._settings = shared.settings
        self._max_pdu = self._settings.max_pdu_kb << 10
        self._wire = Wire(
            connection,
            idle_timeout_s=self._settings.idle_timeout_s,
            pdu_timeout_s=self._settings.pdu_timeout_s,
            before_fill=self._flush,
        )
        self._request: AssociateRequest | None = None
        self._came_from: tuple[str, ...] = ()
        self._contexts: dict[int, Context] = {}
        self._command = bytearray()
        self._arrival: Arrival | None = None
        self._began_at = datetime.now(UTC)
        self._row: int | None = None
        self._objects = 0
        self._bytes = 0
        self._stopping = threading.Event()
        self._quiet_since: float | None = time.monotonic()
        self._useful_at = time.monotonic()  # when an object, or a good part of one, came last
        self._counted_bytes = 0  # of the arriving dataset: what progress was seen for
        self._empty = 0
        self._echoes = 0
        self.neighbourhood = neighbourhood(address)

    def run(self) -> None:
        """Serve the peer until it is done, breaks the protocol, or goes away."""
        outcome, last_word = "lost", b""
        try:
            self._wire.take_buffer()
            outcome = self._serve() if self._negotiate() else ""
        except BadPdu as bad:
            outcome, last_word = "protocol error", abort(bad.reason)
            self._shared.log_limiter.warning("protocol error", address=self._address, what=str(bad))
        except Late as late:
            outcome, last_word = "timed out", abort(AbortReason.NOT_SPECIFIED)
            self._shared.log_limiter.warning("association timed out", address=self._address, what=str(late))
        except Closed:
            if self._stopping.is_set():
                outcome, last_word = "stopped", abort()
        except MemoryError:
            outcome, last_word = "no memory", _NO_MEMORY
            self._shared.log_limiter.warning("no memory for an association", address=self._address)
        finally:
            if self._arrival is not None:
                self._arrival.abandon()
            self._say(last_word)
            self._wire.release()
            self._shared.await_close(self._socket, self._address)
            if outcome:
                self._note_end(outcome)

    def quiet_s(self) -> float:
        """For how long nothing was on its way; 0 while something is."""
        since = self._quiet_since
        return 0.0 if since is None else time.monotonic() - since

    def stop(self) -> None:
        """End from another thread: the peer gets an A-ABORT."""
        self._stopping.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    # Sta3: the request

    def _negotiate(self) -> bool:
        request = decode_associate_rq(self._request_body)
        rejection = self._rejection(request)
        if rejection is not None:
            self._shared.audit.refused(request.calling, request.called, self._address, rejection)
            self._say(rejection.encode())
            return False
        answers = negotiate(request.contexts, self._settings)
        self._contexts = {one.id: one for one in map(Context.accepted, answers) if one}
        self._request = request
        self._came_from = self._shared.destinations_of(request.calling)
        self._wire.send(encode_associate_ac(request, answers, self._max_pdu))
        self._request_body = b""
        return True

    def _rejection(self, request: AssociateRequest) -> Rejection | None:
        if not request.protocol_version & 1:
            return VERSION_UNKNOWN
        if request.application_context != APPLICATION_CONTEXT:
            return APPLICATION_CONTEXT_UNKNOWN
        return self._shared.admit(request, self._address)

    # Sta6: data transfer

    def _serve(self) -> str:
        while True:
            kind, length = self._wire.next_pdu()
            if kind == PduType.P_DATA:
                self._quiet_since = None
                self._p_data(length)
                self._see_progress()
            elif kind == PduType.RELEASE_RQ:
                self._say(RELEASE_RP)
                return "released"
            elif kind == PduType.ABORT:
                return "aborted"
            elif kind in _PDU_TYPES:
                raise BadPdu(AbortReason.UNEXPECTED_PDU, "unexpected PDU")
            else:
                raise BadPdu(AbortReason.UNRECOGNIZED_PDU, "unknown PDU type")

    def _see_progress(self) -> None:
        """After a PDU: whether it was of use, or one more that only holds the line.

        Raises:
            Late: this peer has brought nothing for too long. BadPdu: it sends much that carries nothing.
        """
        arrival = self._arrival
        if arrival is not None and arrival.size_bytes - self._counted_bytes >= PROGRESS_BYTES:
            self._counted_bytes = arrival.size_bytes
            self._useful()
        if arrival is not None or self._command:
            return
        now = self._quiet_since = time.monotonic()
        if now - self._useful_at > PATIENCE * self._settings.idle_timeout_s:
            raise Late("no object came for too long")

    def _useful(self) -> None:
        self._useful_at = time.monotonic()
        self._empty = 0
        self._wire.progress()

    def _nothing_came(self) -> None:
        self._empty += 1
        if self._empty > MOST_EMPTY:
            raise BadPdu(AbortReason.NOT_SPECIFIED, "fragments and messages that carry nothing, without end")

    def _p_data(self, length: int) -> None:
        """A P-DATA-TF PDU: its presentation data values, as they come (PS3.8 section 9.3.5, annex E)."""
        crash.at("pdu")
        if length > self._max_pdu + 6:
            raise BadPdu(AbortReason.INVALID_PARAMETER, "a P-DATA-TF PDU longer than we take")
        if length == 0:
            self._nothing_came()
        while length > 0:
            if length < PDV.size:
                raise BadPdu(AbortReason.INVALID_PARAMETER, "a P-DATA-TF PDU breaks off")
            pdv_length, context_id, control = PDV.unpack(self._wire.exactly(PDV.size))
            length -= pdv_length + 4
            if pdv_length < 2 or length < 0:
                raise BadPdu(AbortReason.INVALID_PARAMETER, "a presentation data value does not fit its PDU")
            if context_id not in self._contexts:
                raise BadPdu(AbortReason.INVALID_PARAMETER, "a presentation context that was not accepted")
            if pdv_length == 2:
                self._nothing_came()
            if control & COMMAND:
                self._command_fragment(context_id, pdv_length - 2, last=bool(control & LAST))
            else:
                self._dataset_fragment(context_id, pdv_length - 2, last=bool(control & LAST))

    def _command_fragment(self, context_id: int, size: int, *, last: bool) -> None:
        if self._arrival is not None:
            raise BadPdu(AbortReason.UNEXPECTED_PARAMETER, "a command where a dataset is due")
        if len(self._command) + size > MOST_COMMAND_BYTES:
            raise BadPdu(AbortReason.INVALID_PARAMETER, "a command set that is too long")
        while size:
            piece = self._wire.some(size)
            self._command += piece
            size -= len(piece)
        if last:
            command, self._command = decode_command(self._command), bytearray()
            self._begin(command, self._contexts[context_id])

    def _dataset_fragment(self, context_id: int, size: int, *, last: bool) -> None:
        arrival = self._arrival
        if arrival is None or arrival.context.id != context_id:
            raise BadPdu(AbortReason.UNEXPECTED_PARAMETER, "a dataset where a command is due")
        try:
            while size:
                piece = self._wire.some(size)
                arrival.take(piece)
                size -= len(piece)
        except TooLarge as refusal:
            self._respond(arrival.command, arrival.context, refusal.status, str(refusal))
            raise BadPdu(AbortReason.NOT_SPECIFIED, str(refusal)) from refusal
        if last:
            self._complete(arrival)
            self._arrival = None

    def _flush(self) -> None:
        if self._arrival is not None:
            self._arrival.flush()

    # The services

    def _begin(self, command: Command, context: Context) -> None:
        """A whole command set is here: answer it, or make ready for its dataset."""
        if command.field & 0x8000 or command.field == CommandField.C_CANCEL_RQ:
            if command.has_dataset:
                raise BadPdu(AbortReason.UNEXPECTED_PARAMETER, "a response to a question nobody asked")
            self._nothing_came()
            return
        self._wire.progress()
        if command.has_dataset:
            most_bytes = self._settings.max_object_mb << 20
            try:
                incoming = self._open(command, context)
                self._arrival = Arrival(command, context, incoming=incoming, most_bytes=most_bytes)
            except Refusal as refusal:
                self._arrival = Arrival(command, context, refusal=refusal, most_bytes=most_bytes)
        elif command.field == CommandField.C_ECHO_RQ and context.abstract_syntax == VERIFICATION:
            self._echoes += 1
            self._respond(command, context, Status.SUCCESS, "")
        elif command.field == CommandField.C_STORE_RQ:
            self._respond(command, context, Status.CANNOT_UNDERSTAND, "C-STORE without a dataset")
        else:
            self._respond(command, context, Status.UNRECOGNIZED_OPERATION, "not a service of this gateway")

    def _open(self, command: Command, context: Context) -> Incoming:
        if command.field != CommandField.C_STORE_RQ:
            raise Refusal(Status.UNRECOGNIZED_OPERATION, "not a service of this gateway")
        if context.abstract_syntax == VERIFICATION:
            raise Refusal(Status.SOP_CLASS_NOT_SUPPORTED, "nothing is stored in a Verification context")
        if not is_uid(command.sop_class_uid):
            raise Refusal(Status.DATASET_DOES_NOT_MATCH, "Affected SOP Class UID is not a UID")
        if not is_uid(command.sop_instance_uid):
            raise Refusal(Status.DATASET_DOES_NOT_MATCH, "Affected SOP Instance UID is not a UID")
        try:
            return self._shared.store.begin(
                command.sop_class_uid, command.sop_instance_uid, context.transfer_syntax
            )
        except StoreError as error:
            raise out_of_resources(error) from error

    def _complete(self, arrival: Arrival) -> None:
        """The dataset is whole: keep it, and only then answer 0x0000 (PS3.4 section B.2.3)."""
        status, comment = Status.SUCCESS, ""
        try:
            if rejected := self._keep(arrival):
                status, comment = (
                    Status.KEPT_BUT_REJECTED,
                    f"stored; rejected before ({rejected}), not for AI",
                )
        except Refusal as refusal:
            status, comment = refusal.status, str(refusal)
            why = {"error": str(refusal.__cause__)} if refusal.__cause__ is not None else {}
            self._shared.log_limiter.warning(
                "object refused",
                calling=self._request.calling if self._request else "",
                address=self._address,
                association=self._row,
                status=f"{status:#06x}",
                comment=comment,
                **why,
            )
        except Exception:
            status, comment = Status.OUT_OF_RESOURCES, "the gateway could not keep the object"
            if self._shared.log_limiter.allows("object not kept")[0]:
                log.exception("object not kept", association=self._row)
        if status not in KEPT:
            arrival.abandon()
        else:
            self._useful()
        self._counted_bytes = 0
        self._respond(arrival.command, arrival.context, status, comment)

    def _keep(self, arrival: Arrival) -> str:
        """The code of the Key Object that rejected the instance before, or ""."""
        kept = arrival.finish()
        crash.at("renamed")
        try:
            self._note_start()
            recorded = self._shared.recorder.record(
                Received(
                    sop_class_uid=arrival.command.sop_class_uid,
                    sop_instance_uid=arrival.command.sop_instance_uid,
                    transfer_syntax_uid=arrival.context.transfer_syntax,
                    digest=kept.digest,
                    size_bytes=kept.size_bytes,
                    association_id=self._row,
                    received_at=datetime.now(UTC),
                    urgent=arrival.command.priority == HIGH,
                    can_wait=arrival.command.priority == LOW,
                    sender=self._request.calling if self._request else "",
                    came_from=self._came_from,
                )
            )
        except LedgerError as error:
            raise out_of_resources(error) from error
        self._objects += 1
        self._bytes += arrival.size_bytes
        log.debug("received", film=recorded.film_id, outcome=recorded.outcome, association=self._row)
        return recorded.rejected

    def _respond(self, command: Command, context: Context, status: Status, comment: str) -> None:
        response = encode_response(command, status, comment)
        max_pdu = self._request.max_pdu if self._request is not None else 0
        self._wire.send(encode_command(context.id, response, max_pdu))

    def _say(self, last_word: bytes) -> None:
        if last_word:
            with suppress(Closed, Late):
                self._wire.send(last_word)

    # The ledger's row of this association: written with its first object, or by `Audit` at its end

    def _note_start(self) -> None:
        if self._row is None and self._request is not None:
            self._row = self._shared.ledger.associate(
                calling=self._request.calling,
                called=self._request.called,
                address=self._address,
                now=self._began_at,
            )

    def _note_end(self, outcome: str) -> None:
        if self._request is not None:
            self._shared.audit.ended(
                Ended(
                    row=self._row,
                    calling=self._request.calling,
                    called=self._request.called,
                    address=self._address,
                    began_at=self._began_at,
                    ended_at=datetime.now(UTC),
                    outcome=outcome,
                    objects=self._objects,
                    size_bytes=self._bytes,
                    echoes=self._echoes,
                )
            )


def neighbourhood(address: str) -> str:
    """What counts as one address: an IPv6 peer has its whole /64 (RFC 4291 section 2.5.4)."""
    if ":" not in address:
        return address
    here = IPv6Address(address.partition("%")[0])
    return str(here.ipv4_mapped or int(here) >> 64)
