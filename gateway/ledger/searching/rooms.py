"""How many films are held for which reason, of whom and of which device: counted once for all who ask.

One page asks for the groups by each of these. They are all sums of the finest ones, which are counted along
an index in its order; and until the ledger changes they are not counted again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select

from gateway.ledger.engine import Database
from gateway.ledger.moves import stands
from gateway.ledger.records import HoldState, Wanted
from gateway.ledger.tables import holds

FINEST = ("reason", "sender", "device")  # in the order of ix_holds_sheet


@dataclass(frozen=True, slots=True)
class Room:
    """The open holds of one sender and device for one reason."""

    reason: str
    sender: str
    device: str
    count: int
    since: datetime  # the oldest of them was opened
    film_id: int  # of one of them


class Counting(Database):
    """The rooms that have open holds."""

    _counted: tuple[int, tuple[Room, ...]] = (-1, ())

    def rooms(self) -> tuple[Room, ...]:
        """All of them, as the ledger is now."""
        seq = self.pulse()  # before they are counted: what changes meanwhile has another number
        counted_at, rooms = self._counted
        if counted_at != seq:
            with self.reading() as db:
                rooms = tuple(Room(*row) for row in db.execute(_ROOMS))
            self._counted = seq, rooms
        return rooms


def answers(wanted: Wanted) -> bool:
    """Whether the rooms alone can tell how many such films are held."""
    rest = replace(wanted, reason=None, sender=None, device=None, after=None, sort="newest")
    return rest == Wanted() and not (wanted.device or "").endswith("*")


def those(rooms: Sequence[Room], wanted: Wanted) -> Iterator[Room]:
    """The rooms of which `wanted` asks."""
    asked = [(name, getattr(wanted, name)) for name in FINEST if getattr(wanted, name) is not None]
    return (room for room in rooms if all(getattr(room, name) == value for name, value in asked))


def summed(rooms: Iterable[Room], names: Sequence[str]) -> list[tuple[tuple[str, ...], Room]]:
    """One sum for each value of these fields, the largest first."""
    sums: dict[tuple[str, ...], Room] = {}
    for room in rooms:
        key = tuple(getattr(room, name) for name in names)
        sums[key] = _sum(sums[key], room) if key in sums else room
    return sorted(sums.items(), key=lambda item: (-item[1].count, item[0]))


def _sum(one: Room, other: Room) -> Room:
    film_id, since = min(one.film_id, other.film_id), min(one.since, other.since)
    return replace(one, count=one.count + other.count, since=since, film_id=film_id)


_keys = tuple(holds.c[name] for name in FINEST)
_ROOMS: Select[Any] = (
    select(*_keys, func.count(), func.min(holds.c.opened_at), func.min(holds.c.film_id))
    .where(stands(holds, HoldState.OPEN))
    .group_by(*_keys)
)
