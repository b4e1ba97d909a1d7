"""The values that acts take and give."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gateway.ledger.acting.table import DoneBy, FilmState
from gateway.ledger.records import CopyMade, Hold, Made


@dataclass(frozen=True, slots=True)
class Meant:
    """One film as a person saw it: what changed since is not decided on unseen. None: whatever stands."""

    film: int
    hold: int | None = None
    decision: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """One film as it stands, for the act that is meant."""

    meant: Meant
    film_id: int
    state: FilmState
    decision_id: int | None = None
    version_id: int | None = None
    hold: Hold | None = None
    error: str = ""  # why nothing can be done with it, whatever the act

    @property
    def words(self) -> str:
        """The state as a sentence has it, with who brought it about."""
        by_person = {FilmState.RELEASED, FilmState.REJECTED, FilmState.GOING_OUT}
        if self.hold is None or self.hold.closed_at is None or self.state not in by_person:
            return str(self.state)
        return f"{self.state} (by {self.hold.closed_by}, {self.hold.closed_at:%Y-%m-%d %H:%M} UTC)"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants done, with all of the films named."""

    act: DoneBy
    by: str
    at: datetime
    note: str = ""
    request: str = ""  # an id by which who asks may ask for the answer again
    reason: str = ""  # code of PS3.16 CID 7011, or 113037; of a reject
    until: datetime | None = None  # nothing leaves before; None: at once
    to: tuple[str, ...] = ()  # destinations; empty: those that take such films
    copies_to: tuple[str, ...] = ()  # destinations that get every corrected copy
    operations: dict[str, Any] = field(default_factory=dict)  # of a copy made for this
    made: dict[int, CopyMade] = field(default_factory=dict)  # film id -> the copy
    notes: dict[int, Made] = field(default_factory=dict)  # film id -> its rejection note


@dataclass(frozen=True, slots=True)
class Acted:
    """What became of one film."""

    film: int
    ok: bool
    act_id: int | None = None
    state: FilmState | None = None
    until: datetime | None = None  # when it leaves; undone before, nobody ever gets it
    error: str = ""


@dataclass(frozen=True, slots=True)
class PersonsAct:
    """One act as lists show it."""

    id: int
    film: int
    act: DoneBy
    who: str
    at: datetime
    hold: int | None
    decision: int | None
    note: str
    detail: dict[str, Any]
    until: datetime | None
    undone_by: str | None
    undone_at: datetime | None


@dataclass(frozen=True, slots=True)
class Before:
    """What an act changed, so that it can be put back; JSON in the row of the act."""

    hold: str = ""  # its state
    closed: tuple[str, str, str] = ("", "", "")  # at, by, note; of a hold that was closed before
    copies: tuple[tuple[int, str], ...] = ()  # id, state
    deliveries: tuple[tuple[int, str, int], ...] = ()  # id, state ("" of a new one), attempts
    notes: tuple[int, ...] = ()  # deliveries of the rejection note
    labels: tuple[int, ...] = ()
