"""A destination that is a storage SCP: C-STORE (PS3.4 Annex B) over associations kept open for a while."""

from __future__ import annotations

import re
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

import structlog
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from gateway.destinations.transcode import CannotTranscode, Transcoder
from gateway.errors import (
    Blame,
    Busy,
    Declined,
    DeliveryError,
    Refused,
    Rejected,
    SettingsError,
    Trouble,
    Unreachable,
)
from gateway.ledger.records import Delivery
from gateway.settings import DicomDestination as DicomSettings
from gateway.store import Meta, Outgoing
from gateway.upper_layer.association import Association, Interrupted, Target, TimedOut
from gateway.upper_layer.dimse import Response
from gateway.upper_layer.requestor import MAX_CONTEXTS, Answer, Proposal

log = structlog.get_logger()

DUPLICATE = 0x0111  # an object of this SOP Instance UID is there already (PS3.7 annex C.5.8)
IDLE_S = 5.0  # an association unused for so long is released
DECODER_IDLE_S = 60.0  # a decoder that made datasets for the peer, and is unused for so long, ends
FALLBACK = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))

_MOST_ANSWERS = 3  # to the question which transfer syntax the peer takes
_MOST_KINDS = MAX_CONTEXTS // 2  # each kind of object needs two contexts at most
_CLOSING_S = 0.5
_UID = re.compile(r"[0-9.]{1,64}")
_PRIVATE = re.compile(r"\S*(?:\d[\d.]{4,}|\^)\S*")

Kind = tuple[str, str]  # SOP class UID, transfer syntax UID


class OutOfResources(Busy):
    """Raised when the peer answers this object with a status that may pass (0xA7xx, 0x0110, 0x0213)."""

    blame = Blame.UNSURE
    trouble = Trouble.OUT_OF_RESOURCES


class NotAccepted(Rejected):
    """Raised when the peer takes no presentation context for such an object (any more, or not yet)."""

    blame = Blame.UNSURE
    trouble = Trouble.NOT_ACCEPTED
    few = True


class Duplicate(Refused):
    """Raised when the peer has an object of this UID already, and it may be another version."""

    trouble = Trouble.DUPLICATE


class DicomDestination:
    """Sends objects as they are; decoded only when the peer accepts nothing else.

    Each kind of object (SOP class and transfer syntax) that came by lately is proposed on every new
    association, so that the next one finds its context: one context with the object's own transfer syntax
    alone, and one with the two uncompressed ones to fall back to. `deliver` may be called from many threads.
    """

    def __init__(self, name: str, settings: DicomSettings, calling: str) -> None:
        """
        Raises:
            SettingsError: an AE title that PS3.5 does not allow.
        """
        self.name = name
        self.associations = settings.associations
        self._target = Target(settings.ae_title, settings.host, settings.port)
        self._calling = settings.calling_ae_title or calling
        if not (settings.ae_title + self._calling).isascii():
            raise SettingsError(f"destinations.{name}: an AE title has ASCII characters only")
        self._timeout_s = settings.timeout_s
        self._lock = threading.Lock()
        self._idle: list[Association] = []
        self._busy: set[Association] = set()
        self._kinds: dict[Kind, None] = {}  # the last one used is at the end
        self._wanted: dict[Kind, str] = {}  # the transfer syntax that the peer takes instead of a kind's own
        self._transcoders: list[Transcoder] = []  # those at rest
        self._closed = False

    def deliver(self, path: Path, delivery: Delivery) -> None:
        """C-STORE one object.

        That the peer has it already is no failure of an original that every version of goes there, nor when
        an earlier try sent it and got no answer. Where it was sent another version under the same UID it may
        be that one, and this is a failure.

        Raises:
            Unreachable: no association; Interrupted, TimedOut: it broke or hung with the object on its way.
            Busy: the association is rejected for now; OutOfResources: no room for this object now.
            Declined, NotAccepted: the peer takes no such object, or is set up wrongly.
            Rejected: what the peer accepts cannot be made of the object; Unwelcome: we are not accepted.
            Refused, Duplicate: the peer refuses this object, or its UIDs are none.
            StoreError, OSError: the file is damaged or cannot be read, or not be transcoded for want of room.
        """
        unanswered = delivery.unanswered
        with closing(_Load(path, delivery.digest)) as load:
            kind = _kind(load.meta)
            association, context, used_before = self._prepared(kind, load)
            try:
                response = self._store(association, context, load)
            except TimedOut:
                raise
            except Interrupted as error:
                if not used_before:
                    raise
                unanswered = unanswered or error.unanswered
                # The peer may have ended it while it was idle; that says nothing about the peer as it is now.
                try:
                    association, context, _ = self._prepared(kind, load, fresh=True)
                    response = self._store(association, context, load)
                except DeliveryError as again:
                    again.unanswered = again.unanswered or error.unanswered
                    raise
        if response.status == DUPLICATE and delivery.sole and (unanswered or delivery.kind == "always"):
            log.warning(
                "the peer had it already",
                destination=self.name,
                delivery=delivery.id,
                status=status_text(response),
                meaning="no other version of it was ever sent there: it is delivered",
            )
            return
        judge(response)
        if response.status:
            log.warning(
                "delivered with a warning",
                destination=self.name,
                delivery=delivery.id,
                status=status_text(response),
            )

    def rest(self) -> None:
        """Release what was idle for IDLE_S, or was ended by the peer."""
        now = time.monotonic()
        with self._lock:
            idle, self._idle = self._idle, []
            unused = [one for one in self._transcoders if now - one.used_at >= DECODER_IDLE_S]
            self._transcoders = [one for one in self._transcoders if one not in unused]
        for transcoder in unused:
            transcoder.close()
        for association in idle:
            if association.alive():
                if now - association.used_at < IDLE_S:
                    self._give_back(association)
                else:
                    association.release()

    def close(self) -> None:
        """Release what is idle; what is under way breaks off."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
            transcoders, self._transcoders = self._transcoders, []
        for transcoder in transcoders:
            transcoder.close()
        for association in busy:
            association.sever()
        for association in idle:
            association.release(_CLOSING_S)

    def _store(self, association: Association, context: Answer, load: _Load) -> Response:
        meta = load.meta
        try:
            file = load.dataset(context.transfer_syntax)
            return association.store(file, context.context_id, meta.sop_class_uid, meta.sop_instance_uid)
        finally:
            self._give_back(association)

    def _prepared(self, kind: Kind, load: _Load, *, fresh: bool = False) -> tuple[Association, Answer, bool]:
        """An association, a context on it for what the load holds by then, and whether it was used before.

        Transcoding takes up to a minute, and peers end associations that are idle for less: it is done before
        one is opened, or with none in hand.
        """
        wanted = self._wanted.get(kind)
        if wanted and wanted not in load.syntaxes:
            with suppress(Rejected):  # the peer may take it as it is by now
                self._transcode(load, wanted)
        for _ in range(_MOST_ANSWERS):
            association, used_before = (self._open(kind), False) if fresh else self._take(kind)
            fresh = False
            context = association.accepted(_own(*kind)) or association.accepted(_fallback(kind[0]))
            if context and context.transfer_syntax == kind[1]:
                self._wanted.pop(kind, None)
            if context and context.transfer_syntax in load.syntaxes:
                return association, context, used_before
            self._give_back(association)
            if not context:
                raise NotAccepted(_not_taken(load.meta))
            self._wanted[kind] = context.transfer_syntax
            self._transcode(load, context.transfer_syntax)
        raise Interrupted("the peer accepts another transfer syntax each time it is asked")

    def _transcode(self, load: _Load, transfer_syntax: str) -> None:
        with self._lock:
            transcoder = self._transcoders.pop() if self._transcoders else Transcoder()
        try:
            load.transcode(transcoder, transfer_syntax)
        finally:
            with self._lock:
                closed = self._closed
                if not closed:
                    self._transcoders.append(transcoder)
            if closed:
                transcoder.close()

    def _take(self, kind: Kind) -> tuple[Association, bool]:
        """An association on which this kind was proposed, and whether it was used before."""
        while association := self._next_idle():
            if not association.alive():
                self._forget(association)
            elif association.knows(_own(*kind)):
                return association, True
            else:
                association.release()
                self._forget(association)
        return self._open(kind), False

    def _next_idle(self) -> Association | None:
        with self._lock:
            if not self._idle:
                return None
            association = self._idle.pop()
            self._busy.add(association)
            return association

    def _open(self, kind: Kind) -> Association:
        with self._lock:
            if self._closed:
                raise Unreachable("filmgate is stopping")
            self._kinds.pop(kind, None)
            self._kinds[kind] = None
            while len(self._kinds) > _MOST_KINDS:
                del self._kinds[next(iter(self._kinds))]
            kinds = list(self._kinds)
        try:
            association = Association.request(self._target, self._calling, _proposals(kinds), self._timeout_s)
        except (Unreachable, Busy, Rejected):
            with self._lock:
                self._kinds.clear()  # in case it is what we propose that the peer cannot stand
            raise
        with self._lock:
            self._busy.add(association)
        return association

    def _give_back(self, association: Association) -> None:
        with self._lock:
            self._busy.discard(association)
            if association.is_open and not self._closed:
                self._idle.append(association)
                return
        association.close()

    def _forget(self, association: Association) -> None:
        with self._lock:
            self._busy.discard(association)


class _Load:
    """One object on its way out: its dataset as it was kept, and what was made of it for this peer."""

    def __init__(self, path: Path, digest: str) -> None:
        self._kept = Outgoing(path, digest)
        self._path = path
        self._transcoded: dict[str, BinaryIO] = {}  # by transfer syntax
        self.meta = self._kept.meta

    @property
    def syntaxes(self) -> set[str]:
        """The transfer syntaxes in which it could go now."""
        return {self.meta.transfer_syntax_uid, *self._transcoded}

    def dataset(self, transfer_syntax: str) -> BinaryIO:
        """At its first byte."""
        transcoded = self._transcoded.get(transfer_syntax)
        if transcoded:
            transcoded.seek(0)
            return transcoded
        self._kept.rewind()
        return self._kept

    def transcode(self, transcoder: Transcoder, transfer_syntax: str) -> None:
        """
        Raises:
            Rejected: it cannot be decoded.
            Damaged: it is not what was kept; the pixels could be somebody's who was never there.
            NotTranscodedNow: this machine could not do it.
        """
        self._kept.verify()
        try:
            self._transcoded[transfer_syntax] = transcoder.transcode(self._path, transfer_syntax)
        except CannotTranscode as error:
            raise Rejected(f"{_not_taken(self.meta, 'as it is')}, and {error}") from error

    def close(self) -> None:
        for dataset in self._transcoded.values():
            dataset.close()
        self._kept.close()


def _kind(meta: Meta) -> Kind:
    for uid in (meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid):
        if not _UID.fullmatch(uid):
            raise Refused("one of the object's UIDs is not a UID, so it cannot be sent; it is kept as it is")
    return meta.sop_class_uid, meta.transfer_syntax_uid


def _own(sop_class: str, transfer_syntax: str) -> Proposal:
    return Proposal(sop_class, (transfer_syntax,))


def _fallback(sop_class: str) -> Proposal:
    return Proposal(sop_class, FALLBACK)


def _proposals(kinds: list[Kind]) -> list[Proposal]:
    fallbacks = dict.fromkeys(_fallback(sop_class) for sop_class, _ in kinds)
    return [*(_own(*kind) for kind in kinds), *fallbacks]


def _not_taken(meta: Meta, how: str = "in any transfer syntax") -> str:
    sop_class, syntax = UID(meta.sop_class_uid).name, UID(meta.transfer_syntax_uid).name
    return f"the peer takes no {sop_class} {how} ({syntax})"


def judge(response: Response) -> None:
    """Status codes of C-STORE (PS3.4 table B.2-1, PS3.7 section 9.1.1.1.9 and Annex C).

    Raises:
        OutOfResources: it may pass.
        Refused, Duplicate: it will not, as this object is.
        Declined: the peer does not say whose fault it is; one that is set up wrongly says so of everything.
    """
    status = response.status
    if status == 0x0000 or status & 0xF000 == 0xB000:  # success, or stored with a warning
        return
    # 0x0110 (processing failure) says only that something failed over there; mostly it passes.
    if status & 0xFF00 == 0xA700 or status in (0x0110, 0x0213):
        raise OutOfResources(f"the peer cannot store it now: {status_text(response)}")
    if status == DUPLICATE:
        raise Duplicate(f"the peer refuses it: {status_text(response)}")
    if status & 0xFF00 == 0xA900 or status in _OF_THE_OBJECT:
        raise Refused(f"the peer refuses it: {status_text(response)}")
    raise Declined(f"the peer refuses it: {status_text(response)}")


# Statuses that speak of values in this object (PS3.7 Annex C.5).
_OF_THE_OBJECT = frozenset({0x0105, 0x0106, 0x0117, 0x0119, 0x0120, 0x0121})
_MEANINGS = {
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0110: "processing failure",
    DUPLICATE: "an object of this UID is there already",
    0x0117: "not a valid UID",
    0x0119: "class and instance do not agree",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0211: "unrecognised operation",
    0x0213: "resource limit",
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "dataset does not match SOP class",
    0xFE00: "cancelled by the peer",
}
_RANGES = {0xA7: "out of resources", 0xA9: "dataset does not match SOP class"}


def status_text(response: Response) -> str:
    """Status, meaning and comment; what looks like a patient's number or name in the comment is left out."""
    status = response.status
    meaning = _MEANINGS.get(status) or _RANGES.get(
        status >> 8, "cannot understand" if status >> 12 == 0xC else ""
    )
    comment = _PRIVATE.sub("…", response.comment)
    return " ".join(part for part in (f"0x{status:04X}", meaning, f"({comment})" if comment else "") if part)
