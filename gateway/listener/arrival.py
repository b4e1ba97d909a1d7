"""One object while its dataset arrives, and why it is refused."""

from __future__ import annotations

from dataclasses import dataclass

from pynetdicom.presentation import PresentationContext

from gateway.errors import FilmgateError, LedgerError, NoRoom, StoreError
from gateway.listener.glance import HEAD_BYTES, glance
from gateway.store import Incoming, Kept
from gateway.upper_layer.dimse import Command, Status


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context that we accepted."""

    id: int
    abstract_syntax: str
    transfer_syntax: str

    @classmethod
    def accepted(cls, answer: PresentationContext) -> Context | None:
        if answer.result != 0 or answer.context_id is None:
            return None
        return cls(answer.context_id, str(answer.abstract_syntax), str(answer.transfer_syntax[0]))


class Refusal(Exception):
    """Raised when an object is not taken: the status and the comment of the C-STORE response."""

    def __init__(self, status: Status, comment: str) -> None:
        super().__init__(comment)
        self.status = status


class TooLarge(Refusal):
    """Raised when an object is above the cap: after the response the association is aborted."""


class Arrival:
    """One DIMSE message whose dataset is arriving: on its way to the store, or read and thrown away.

    Args:
        command: its command set.
        context: the presentation context it came in.
        incoming: where the bytes go; None when it is refused already.
        refusal: why it will be refused.
        most_bytes: of a dataset.
    """

    def __init__(
        self,
        command: Command,
        context: Context,
        *,
        most_bytes: int,
        incoming: Incoming | None = None,
        refusal: Refusal | None = None,
    ) -> None:
        self.command = command
        self.context = context
        self.incoming = incoming
        self.refusal = refusal
        self.size_bytes = 0
        self._most_bytes = most_bytes
        self._head = bytearray()
        self._pieces: list[memoryview] = []

    def take(self, piece: memoryview) -> None:
        """Note a piece of the dataset; it must be flushed before its buffer is used again.

        Raises:
            Refusal: the object is above the cap.
        """
        self.size_bytes += len(piece)
        if self.size_bytes > self._most_bytes:
            raise TooLarge(Status.OUT_OF_RESOURCES, "object above the size this gateway takes")
        if self.incoming is None:
            return
        if len(self._head) < HEAD_BYTES:
            self._head += piece[: HEAD_BYTES - len(self._head)]
        self._pieces.append(piece)

    def flush(self) -> None:
        """Write and hash what was noted. When that fails the rest is read and thrown away, then refused."""
        pieces, self._pieces = self._pieces, []
        if not pieces or self.incoming is None:
            return
        try:
            self.incoming.write(*pieces)
        except StoreError as error:
            self.incoming = None
            self.refusal = out_of_resources(error)

    def finish(self) -> Kept:
        """Check the whole dataset, and move it safely into the store.

        Raises:
            Refusal: it is not kept; `abandon` removes what there is of it.
        """
        self.flush()
        if self.refusal is not None or self.incoming is None:
            raise self.refusal or Refusal(Status.CANNOT_UNDERSTAND, "no dataset")
        self._check_identity()
        try:
            return self.incoming.finish()
        except StoreError as error:
            raise out_of_resources(error) from error

    def abandon(self) -> None:
        """Remove what was kept so far; harmless after the object was published."""
        if self.incoming is not None:
            self.incoming.abandon()
            self.incoming = None

    def _check_identity(self) -> None:
        seen = glance(bytes(self._head), self.size_bytes, self.context.transfer_syntax)
        if not seen.readable:
            raise Refusal(Status.CANNOT_UNDERSTAND, "the dataset is not DICOM")
        if seen.sop_class_uid not in (None, "", self.command.sop_class_uid):
            raise Refusal(Status.DATASET_DOES_NOT_MATCH, "SOP Class UID of command and dataset differ")
        if seen.sop_instance_uid not in (None, "", self.command.sop_instance_uid):
            raise Refusal(Status.DATASET_DOES_NOT_MATCH, "SOP Instance UID of command and dataset differ")


def out_of_resources(error: FilmgateError) -> Refusal:
    """What a sender is told, who may keep the object and come again (PS3.4 table B.2-1)."""
    if isinstance(error, NoRoom):
        return Refusal(Status.OUT_OF_RESOURCES, "no room on disk")
    if isinstance(error, LedgerError):
        return Refusal(Status.OUT_OF_RESOURCES, "the ledger cannot be written")
    return Refusal(Status.OUT_OF_RESOURCES, "the object could not be written")
