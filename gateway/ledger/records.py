"""The frozen rows that the ledger takes and gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pipelines.film import Decision, Finding, Header, Operations, Rejected
from pipelines.grounds import Grounds


class JobState(StrEnum):
    READY = "ready"
    LEASED = "leased"
    DONE = "done"
    PARKED = "parked"


class DeliveryState(StrEnum):
    LEAVING = "leaving"  # a person may still undo it: nobody takes it before its time. Shown as pending
    PENDING = "pending"
    SENDING = "sending"
    RETRY = "retry"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


def shown_state(state: str) -> str:
    """The state of a delivery as lists show it: what leaves in a few seconds is owed, and not tried yet."""
    return DeliveryState.PENDING if state == DeliveryState.LEAVING else state


class HoldState(StrEnum):
    OPEN = "open"
    RELEASED = "released"
    CORRECTED = "corrected"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"  # the film was examined again and is no longer held


class CopyState(StrEnum):
    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class Tally:
    """Associations of one address that brought no object and ended alike, refused ones mostly: one row."""

    row: int | None  # its id; None: it has none yet
    calling: str  # of the first one
    called: str
    address: str
    outcome: str
    reason: str | None
    times: int
    first_at: datetime
    last_at: datetime


URGENT, ORDINARY, CAN_WAIT = 0, 1, 2  # the rank of a job: lower ones are claimed first


@dataclass(frozen=True, slots=True)
class Received:
    """One object that lies safely in the store (file and folder synced) and waits for its row."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    digest: str  # sha256 hex over transfer syntax UID and dataset bytes; also the store's key
    size_bytes: int  # of the dataset
    association_id: int | None
    received_at: datetime
    urgent: bool = False  # priority HIGH
    can_wait: bool = False  # priority LOW
    sender: str = ""  # the calling AE title; "" where nobody knows
    came_from: tuple[str, ...] = ()  # names of destinations that sent it to us themselves


class Outcome(StrEnum):
    NEW = "new"  # first object of this SOP Instance UID
    SAME = "same"  # the same UID and bytes: no new work
    VERSION = "version"  # the same UID, other bytes; a worker compares the pixels
    OURS = "ours"  # an object that this gateway made itself and somebody sent back


@dataclass(frozen=True, slots=True)
class Recorded:
    film_id: int
    version_id: int
    outcome: Outcome
    rejected: str = ""  # code of the Key Object that rejected this instance before


@dataclass(frozen=True, slots=True)
class Job:
    """Work that a worker holds under a lease. `token` fences: it grows with every claim.

    With a `reading` it is not the film that is examined, but what was handed to a classifier that is read.
    """

    id: int
    film_id: int
    version_id: int
    digest: str
    sop_instance_uid: str
    attempts: int
    token: int
    received_at: datetime
    first_digest: str | None  # of the version that was gated before, when this is a later version
    reading: Delivery | None = None  # to a classifier
    operations: Operations = field(default_factory=Operations)  # what made the copy that is to be read
    sender: str = ""  # calling AE title of who sent this version; "" where nobody knows


@dataclass(frozen=True, slots=True)
class Delivery:
    """One object owed to one destination."""

    id: int
    film_id: int
    destination: str
    digest: str  # the store's key of what is to be sent (original or copy)
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str  # of a payload for a webhook: its media type
    attempts: int
    created_at: datetime
    kind: str  # "always", "ai", "copy" or "result"
    tries: int = 0  # of `attempts`, those that are held against the object
    unanswered: bool = False  # an earlier try sent it and got no answer: the peer may have it
    sole: bool = True  # no other version of it, under the same SOP Instance UID, was ever sent there


@dataclass(frozen=True, slots=True)
class Undelivered:
    """One object that has not arrived, as `deliveries list` prints it."""

    id: int
    film_id: int
    destination: str
    what: str  # "original", "copy", or a result's kind: sr, heatmap, ...
    sop_instance_uid: str
    state: DeliveryState
    trouble: str  # errors.Trouble; "" where it was not tried, or a worker failed to read it
    error: str
    tries: int  # held against it: it was refused so often while others were taken
    attempts: int
    since: datetime  # owed, or asked for again, since
    next_at: datetime


@dataclass(frozen=True, slots=True)
class Undone:
    """All objects that have not arrived at one destination for one reason."""

    destination: str
    state: DeliveryState
    trouble: str
    count: int
    since: datetime  # the oldest of them is owed
    most_tries: int  # held against one of them


@dataclass(frozen=True, slots=True)
class Hold:
    """One version of a film that waits for a person. A person decides on what they saw: `decision_id`."""

    id: int
    film_id: int
    version_id: int
    decision_id: int
    digest: str  # of the object that is held
    sop_instance_uid: str
    takers: tuple[str, ...]  # AI destinations that accept such a film, by its header
    reasons: tuple[str, ...]
    why: str
    state: HoldState
    opened_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    note: str | None
    proposal: str | None  # digest of the corrected copy that lies ready
    sender: str = ""  # calling AE title of who sent it; "" where nobody knows
    words: tuple[str, ...] = ()  # of its header, that a person must speak about


@dataclass(frozen=True, slots=True)
class Question:
    """One question to people: a word in the headers of one sender, and the films that wait for the answer."""

    sender: str
    word: str
    films: tuple[int, ...]  # film ids
    since: datetime  # the oldest of their holds


Sort = Literal["newest", "oldest", "uncertain"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which films are listed: those that meet each wish that is not None."""

    decision: str | None = None  # an act, or "undecided"
    reason: str | None = None  # a code; as a flag, too
    since: datetime | None = None
    until: datetime | None = None  # received before then
    sender: str | None = None  # calling AE title of any of its versions
    destination: str | None = None  # something was owed to it
    delivery: str | None = None  # the state of what is owed, to `destination` where that is named
    after: int | None = None  # the film id after which a list, newest first, goes on
    films: tuple[int, ...] | None = None  # film ids
    # Of the header, as it stands; a trailing * stands for any ending (PS3.4 C.2.2.2.4).
    accession: str | None = None
    patient_id: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    sop_instance_uid: str | None = None
    device: str | None = None
    modality: str | None = None
    study_date: str | None = None  # YYYYMMDD, or a range: 20260101-20260131, -20260131, 20260101-
    text: str | None = None  # an accession number, patient id, UID, device, sender or film id
    accession_of: int | None = None  # films with the accession number of this one: no number in a URL
    sort: Sort = "newest"


@dataclass(frozen=True, slots=True)
class FilmRow:
    """One received instance, as `films list` and `films show` print it."""

    film_id: int
    sop_instance_uid: str
    received_at: datetime
    decision: str | None
    rule: str | None
    why: str | None
    reasons: tuple[str, ...]
    flags: tuple[str, ...]  # noted, but not held for
    findings: tuple[dict[str, Any], ...]
    deliveries: tuple[dict[str, Any], ...]
    results: tuple[dict[str, Any], ...]  # of classifiers, those that stand
    job: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class CopyMade:
    """A corrected copy that lies in the store."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    digest: str
    operations: dict[str, Any]
    state: CopyState


@dataclass(frozen=True, slots=True)
class Made:
    """One result that lies in the store, and where it goes: a DICOM object, or a payload without UIDs, whose
    media type stands in the place of a transfer syntax."""

    kind: str  # sr, heatmap, gsps, json, fhir, not_analysed or rejection
    digest: str
    to: tuple[str, ...]
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    transfer_syntax_uid: str = ""


@dataclass(frozen=True, slots=True)
class Read:
    """The result of a classifier on a film, or why it did not read it, and the objects made of that."""

    classifier: str  # the destination's name
    version: str
    model_digest: str
    body: dict[str, Any]  # conditions, region, ...; or not_read and why
    made: tuple[Made, ...] = ()
    error: str = ""  # why the delivery to the classifier failed, for a person; "" when it did not


@dataclass(frozen=True, slots=True)
class Said:
    """The rejection in a Key Object, and who sent it: a calling AE title, or ""."""

    rejected: Rejected
    sender: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """All that one examination of a film brought: written in one transaction."""

    decision: Decision
    findings: tuple[Finding, ...]
    mode: str
    digests: dict[str, str]  # policy, code, one a model
    copy: CopyMade | None = None
    copy_findings: tuple[Finding, ...] = ()
    send_original_to: tuple[str, ...] = ()
    send_copy_to: tuple[str, ...] = ()
    hold: bool = False
    takers: tuple[str, ...] = ()
    header: Header | None = None  # what people search by is kept of it
    unread: tuple[Read, ...] = ()  # classifiers that were not given the film, where somebody asks for word
    said: Said | None = None  # when the object is no film, but rejects some
    grounds: Grounds | None = None  # what the decision rests on beside rules and findings
