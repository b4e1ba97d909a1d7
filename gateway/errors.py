"""Everything filmgate raises on purpose, and what is said of errors that nobody thought of.

FilmgateError
├── SettingsError           the configuration cannot be used
├── StoreError              an object could not be kept
│   ├── NoRoom              the disk is above its watermark, or full
│   ├── Missing             a file that the ledger names is not in the store
│   └── Damaged             a file in the store is not what was received
├── LedgerError             the ledger could not be read or written
│   ├── LedgerBusy          locked for longer than the timeout
│   ├── SchemaTooNew        written by a newer filmgate
│   ├── SchemaTooOld        not migrated yet
│   ├── PolicyDamaged       the rules in force are not what was put in force: no film is decided
│   ├── StaleLease          the lease was given to somebody else meanwhile
│   └── BadTransition       a state change that TRANSITIONS does not allow
├── NoTime                  others use the machine: a child did not get to its work, or was killed
├── DecodeError             pixels could not be had; carries a pipelines.film.Reason
│   └── TookTooLong         the child had all its time for them
├── DeliveryError           a destination did not take an object
│   ├── Unreachable         no connection, no association, or it broke: try again
│   ├── Busy                out of resources (0xA7xx) or local limit: try again, later
│   ├── Rejected            the peer rejects us, or takes no such object: try again, or for a person
│   └── Refused             the object itself was refused (0xA9xx, 0x0117): for a person
│       └── Declined        it is not said whose fault it is (0xCxxx, 0x0122, 0x0124): try again, a few times
├── BackupError             a backup could not be made, or cannot be restored
├── PersonDecided           what is asked would undo a person's decision unsaid
└── NotFound                what a person named does not exist
"""

from __future__ import annotations

import traceback
from enum import Enum, StrEnum
from types import TracebackType

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
    """Raised when a file in the store is not what was received."""


class LedgerError(FilmgateError):
    """Raised when the ledger could not be read or written."""


class LedgerBusy(LedgerError):
    """Raised when the ledger stayed locked for longer than the timeout."""


class SchemaTooNew(LedgerError):
    """Raised when the ledger was written by a newer filmgate."""


class SchemaTooOld(LedgerError):
    """Raised when the ledger has not been migrated to this filmgate's schema."""


class PolicyDamaged(LedgerError):
    """Raised when the rules in force cannot be used: films wait, and AI gets none that the gates must see."""


class StaleLease(LedgerError):
    """Raised when work is reported under a lease that somebody else holds by now."""


class BadTransition(LedgerError):
    """Raised when a state change is not in TRANSITIONS."""


class NoTime(FilmgateError):
    """Raised when others used the machine for so long that a child did not get to its work, or killed it:
    for later."""


class DecodeError(FilmgateError):
    """Raised when pixels could not be had from an object. `reason` is what the person is shown.

    `header` is the object's header where that could be read: an SR has no pixels, but it has a header.
    """

    def __init__(self, reason: Reason, text: str = "", header: Header | None = None) -> None:
        super().__init__(text or reason.value)
        self.reason = reason
        self.header = header


class TookTooLong(DecodeError):
    """Raised when the child had all its time for a film, asleep or at work, and did not answer."""


class Trouble(StrEnum):
    """Why a delivery has not arrived, in one word: docs/deliveries.md explains each."""

    UNREACHABLE = "unreachable"
    ASSOCIATION_REJECTED = "association-rejected"
    BUSY = "busy"
    INTERRUPTED = "interrupted"
    TIMED_OUT = "timed-out"
    OUT_OF_RESOURCES = "out-of-resources"
    DECLINED = "declined"
    NOT_ACCEPTED = "not-accepted"
    CANNOT_TRANSCODE = "cannot-transcode"
    REFUSED = "refused"
    DUPLICATE = "duplicate"
    NOT_IN_STORE = "not-in-store"
    OURS = "ours"


class Blame(Enum):
    """Whose condition a failed delivery shows."""

    DESTINATION = "destination"  # whatever is sent would fail: all of it waits
    UNSURE = "unsure"  # the destination's if it takes nothing else either, else the object's
    OBJECT = "object"  # trying again cannot help


class DeliveryError(FilmgateError):
    """Raised when a destination did not take an object. `retry` says whether trying again can help.

    By its `trouble` failures are listed and revived together. `few`: tried a dozen times alone. `after_s`:
    the peer asks to be left alone for so long. `unanswered`: all of the object was sent and only the answer
    is missing, so the peer may have it.
    """

    blame: Blame = Blame.OBJECT
    trouble: Trouble = Trouble.REFUSED
    few: bool = False
    unanswered = False

    @property
    def retry(self) -> bool:
        return self.blame is not Blame.OBJECT

    def __init__(self, text: str = "", *, after_s: float = 0.0) -> None:
        super().__init__(text)
        self.after_s = after_s


class Unreachable(DeliveryError):
    """Raised when there is no connection or association, or it broke off."""

    blame = Blame.DESTINATION
    trouble = Trouble.UNREACHABLE


class Busy(DeliveryError):
    """Raised when the peer is out of resources for now."""

    blame = Blame.DESTINATION
    trouble = Trouble.BUSY


class Rejected(DeliveryError):
    """Raised when the peer rejects us, or takes no presentation context for this object."""

    trouble = Trouble.CANNOT_TRANSCODE


class Refused(DeliveryError):
    """Raised when the peer refuses this object."""


class Declined(Refused):
    """Raised when the peer refuses with an answer that a peer set up wrongly gives to everything."""

    blame = Blame.UNSURE
    trouble = Trouble.DECLINED
    few = True


class BackupError(FilmgateError):
    """Raised when a backup could not be made, or cannot be restored."""


class PersonDecided(FilmgateError):
    """Raised when what is asked would undo what a person decided, and nobody said that this is meant."""


class NotFound(FilmgateError):
    """Raised when a film, hold or destination that a person named does not exist."""


# What is said of any error: where it was, and no words that may quote a film. Messages of other libraries
# repeat what they could not use, and that may be a patient's name ("could not convert string to float: ...").
# Lines of code hold none.

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_SAY_NAMES_OF_CODE = (AttributeError, NameError, ImportError)  # their words are names in the program
_MOST_CAUSES = 8


def traceback_text(exc_info: ExcInfo) -> str:
    """The traceback as Python prints it, causes first, with the messages of others left out."""
    parts: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None and len(parts) < _MOST_CAUSES:
        frames = "".join(traceback.format_tb(error.__traceback__))
        head = "Traceback (most recent call last):\n" if frames else ""
        parts.append(f"{head}{frames}{in_words(error)}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\nAfter this, which led to it:\n\n".join(reversed(parts))


def in_words(error: BaseException) -> str:
    """Its kind, and its message where that cannot quote a film."""
    kind = type(error).__name__
    if isinstance(error, OSError):
        return f"{kind}: {error.strerror}" if error.strerror else kind
    ours = isinstance(error, FilmgateError) or type(error) in _SAY_NAMES_OF_CODE
    return f"{kind}: {error}" if ours else f"{kind} (its words are left out: they may quote a film)"


def in_a_line(error: BaseException) -> str:
    """In one line: its kind, and the line of code."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or isinstance(error, FilmgateError):
        return in_words(error)
    at = frames[-1]
    return f"{in_words(error)}, in {at.name} ({'/'.join(at.filename.split('/')[-2:])}:{at.lineno})"
