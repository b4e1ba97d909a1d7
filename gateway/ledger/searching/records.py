"""The frozen rows of searching."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from gateway.ledger.records import HoldState

SheetSort = Literal["oldest", "newest", "uncertain"]
Grouping = Literal["reason", "sender", "device", "accession", "room"]


@dataclass(frozen=True, slots=True)
class Searched:
    """What the ledger keeps of a film's header. Accession number and patient id are a patient's: lists show
    them `masked`."""

    study_uid: str = ""
    series_uid: str = ""
    accession: str = field(default="", repr=False)
    patient_id: str = field(default="", repr=False)
    study_date: str = ""  # YYYYMMDD
    device: str = ""
    modality: str = ""
    sender: str = ""  # calling AE title
    read: bool = False  # the header was read; before, the sender alone is known


@dataclass(frozen=True, slots=True)
class Found:
    """One film in a page of a list."""

    film_id: int
    sop_instance_uid: str
    digest: str  # of its last version
    received_at: datetime
    decision: str | None  # an act; None: undecided
    rule: str
    why: str
    reasons: tuple[str, ...]
    flags: tuple[str, ...]
    uncertainty: float | None
    decided_at: datetime | None
    job: str | None  # of the gates
    error: str
    holds: tuple[Mapping[str, Any], ...]  # id, state, opened_at, closed_at, closed_by; oldest first
    deliveries: tuple[Mapping[str, Any], ...]  # destination, state, kind, trouble, error, times
    results: tuple[Mapping[str, Any], ...]  # of classifiers: classifier, made_at; not_read and why, or None
    header: Searched


@dataclass(frozen=True, slots=True)
class Card:
    """One open hold, with all that a thumbnail on the sheet shows."""

    hold_id: int
    film_id: int
    version_id: int
    decision_id: int
    sop_instance_uid: str
    digest: str  # of the object that is held
    proposal: str | None  # digest of the corrected copy that lies ready
    operations: Mapping[str, Any]  # that made the proposal; {} without one
    takers: tuple[str, ...]
    reasons: tuple[str, ...]
    why: str
    words: tuple[str, ...]
    findings: tuple[Mapping[str, Any], ...]  # of the original: gate, verdict, score, low, high, reason, box
    uncertainty: float
    opened_at: datetime
    received_at: datetime
    header: Searched


@dataclass(frozen=True, slots=True)
class HeldFilm:
    """An open hold as an act names it."""

    hold: int
    film: int
    decision: int


@dataclass(frozen=True, slots=True)
class ClosedHold:
    """A hold that is not open any more."""

    hold: int
    state: HoldState
    closed_by: str


@dataclass(frozen=True, slots=True)
class Group:
    """Open holds that have something in common."""

    wishes: Mapping[str, str | int]  # what `Wanted` asks for them by
    words: tuple[str, ...]  # what they have in common; an accession number is masked
    count: int
    since: datetime  # the oldest of them is held


@dataclass(frozen=True, slots=True)
class Day:
    """The figures of the films that were received since a time, and of what waits now."""

    received: int
    undecided: int
    passed: int
    corrected: int
    withheld: int
    quarantined: int
    held_for: Mapping[str, int]  # open holds by their first reason, most first
    delivered: Mapping[str, int]  # by destination, ended since that time
    failed: Mapping[str, int]  # by destination, all that stand
    owed: int  # deliveries that are still to go
    oldest_wait: datetime | None  # the oldest open hold was opened
    ready: int  # films that wait for the gates
    unread: int  # films of an older ledger whose headers are still to be read


def masked(value: str) -> str:
    """A number of a patient as lists show it: its last three characters at most, and never all of them."""
    return "•••" + value[-3:] if len(value) > 3 else "•••" if value else ""
