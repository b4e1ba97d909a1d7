"""Everything filmgate raises on purpose.

FilmgateError
├── SettingsError           the configuration cannot be used
├── StoreError              an object could not be kept
│   ├── NoRoom              the disk is above its watermark, or full
│   ├── Missing             a file that the ledger names is not in the store
│   └── Damaged             its content no longer has the digest that names it
├── LedgerError             the ledger could not be read or written
│   ├── LedgerBusy          locked for longer than the timeout
│   ├── SchemaTooNew        written by a newer filmgate
│   ├── SchemaTooOld        not migrated yet
│   ├── StaleLease          the lease was given to somebody else meanwhile
│   └── BadTransition       a state change that TRANSITIONS does not allow
├── NoTime                  others use the machine: a child did not get to its work
├── DecodeError             pixels could not be had; carries a pipelines.film.Reason
├── DeliveryError           a destination did not take an object
│   ├── Unreachable         no connection, no association, or it broke: try again
│   ├── Busy                out of resources (0xA7xx) or local limit: try again, later
│   ├── Rejected            no presentation context for this object is accepted: for a person
│   └── Refused             the object itself was refused (0xA9xx, 0xCxxx, 0x01xx): for a person
├── BackupError             a backup could not be made, or cannot be restored
├── PersonDecided           what is asked would undo a person's decision unsaid
└── NotFound                what a person named does not exist
"""

from __future__ import annotations

from pipelines.film import Header, Reason


class FilmgateError(Exception):
    """Base of the tree. The text says what happened, what it means for the films, what to do."""


class SettingsError(FilmgateError):
    """Raised when the configuration cannot be used; names file, line and key."""


class StoreError(FilmgateError):
    """Raised when an object could not be kept."""


class NoRoom(StoreError):
    """Raised when the disk is above its watermark or full."""


class Missing(StoreError):
    """Raised when a file that the ledger names is not in the store."""


class Damaged(StoreError):
    """Raised when a stored file's content no longer has the digest that names it."""


class LedgerError(FilmgateError):
    """Raised when the ledger could not be read or written."""


class LedgerBusy(LedgerError):
    """Raised when the ledger stayed locked for longer than the timeout."""


class SchemaTooNew(LedgerError):
    """Raised when the ledger was written by a newer filmgate."""


class SchemaTooOld(LedgerError):
    """Raised when the ledger has not been migrated to this filmgate's schema."""


class StaleLease(LedgerError):
    """Raised when work is reported under a lease that somebody else holds by now."""


class BadTransition(LedgerError):
    """Raised when a state change is not in TRANSITIONS."""


class NoTime(FilmgateError):
    """Raised when others used the machine for so long that a child did not get to its work: for later."""


class DecodeError(FilmgateError):
    """Raised when pixels could not be had from an object. `reason` is what the person is shown.

    `header` is the object's header where that could be read: an SR has no pixels, but it has a header.
    """

    def __init__(self, reason: Reason, text: str = "", header: Header | None = None) -> None:
        super().__init__(text or reason.value)
        self.reason = reason
        self.header = header


class DeliveryError(FilmgateError):
    """Raised when a destination did not take an object. `retry` says whether trying again can help.

    `after_s`: the peer asks to be left alone for so long. `unanswered`: all of the object was sent and only
    the answer is missing, so the peer may have it.
    """

    retry = False
    unanswered = False

    def __init__(self, text: str = "", *, after_s: float = 0.0) -> None:
        super().__init__(text)
        self.after_s = after_s


class Unreachable(DeliveryError):
    """Raised when there is no connection or association, or it broke off."""

    retry = True


class Busy(DeliveryError):
    """Raised when the peer is out of resources for now."""

    retry = True


class Rejected(DeliveryError):
    """Raised when the peer rejects us, or takes no presentation context for this object."""


class Refused(DeliveryError):
    """Raised when the peer refuses this object."""


class BackupError(FilmgateError):
    """Raised when a backup could not be made, or cannot be restored."""


class PersonDecided(FilmgateError):
    """Raised when what is asked would undo what a person decided, and nobody said that this is meant."""


class NotFound(FilmgateError):
    """Raised when a film, hold or destination that a person named does not exist."""
