"""Which films: each wish as a condition, and the one that leads.

SQLite keeps no statistics of ours, so it cannot know that a room has sent five films and another half of all.
So the wishes that an index answers are counted first, a few thousand rows at most, and the one with the
fewest leads: its index is read, and the others are asked of each film that it names.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    exists,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.sql.util import ClauseAdapter

from gateway.ledger.moves import stands
from gateway.ledger.records import DeliveryState, JobState, Wanted
from gateway.ledger.searching.paging import Key, beyond
from gateway.ledger.searching.tables import headers, reasons
from gateway.ledger.tables import associations, decisions, deliveries, instances, jobs, versions

COUNTED = 4000  # rows of an index that are counted at most
_HIGHEST = "\U0010ffff"  # behind every text that begins alike
# Those with an index of their own: the few deliveries that are not done.
_ENDED = (DeliveryState.DELIVERED, DeliveryState.CANCELLED)
_OPEN = tuple(state for state in DeliveryState if state not in _ENDED)
_OF_HEADER = ("accession", "patient_id", "study_uid", "series_uid", "device", "modality")
_standing = decisions.c.superseded == literal_column("0")  # in literals, as the partial indices have it
_current = reasons.c.current == literal_column("1")


@dataclass(frozen=True, slots=True)
class Wish:
    """A condition on films that the rows of one table answer."""

    film: ColumnElement[int]  # the column that names the film
    where: ColumnElement[bool]
    leads: bool = True  # each film is one row of its index at most; else it is only asked of films

    def films(self) -> Select[Any]:
        return select(self.film).where(self.where)

    def of(self, film: ColumnElement[int]) -> ColumnElement[bool]:
        """The same, asked of one film; under a name of its own, for the list may be of the same table."""
        named = self.film.table.alias()
        own = ClauseAdapter(named)
        its_film = own.traverse(self.film)
        return (
            select(named.c[0])
            .where(its_film == film, own.traverse(self.where))
            .correlate_except(named)
            .exists()
        )

    def count(self, db: Connection) -> int:
        """How many rows there are, COUNTED at most."""
        few = self.films().limit(COUNTED).subquery()
        return db.scalar(select(func.count()).select_from(few)) or 0


def film_ids(db: Connection, wanted: Wanted, limit: int | None = None) -> array[int]:
    """The ids of these films in the order that is wanted, after the film `wanted.after`.

    Eight bytes each, so that millions can be held.
    """
    wishes = list(_wishes(db, wanted))
    if wanted.sort == "uncertain":
        if wanted.sender is not None:
            wishes.append(_of_sender(wanted.sender))
        return array("q", db.scalars(_most_uncertain(db, wanted, wishes).limit(limit)))
    if wanted.sender is None:
        return array("q", db.scalars(_in_order(db, wanted, wishes).limit(limit)))
    known, waiting = _of_sender(wanted.sender), _waiting_of_sender(wanted.sender)
    lists = (db.scalars(_in_order(db, wanted, [*wishes, one]).limit(limit)).all() for one in (known, waiting))
    return array("q", sorted(chain(*lists), reverse=wanted.sort == "newest")[:limit])


def conditions(db: Connection, wanted: Wanted, film: ColumnElement[int]) -> Iterator[ColumnElement[bool]]:
    """The same wishes for a list that leads itself, asked of the films in its column `film`."""
    for wish in _wishes(db, wanted):
        few = wish.count(db) < COUNTED
        yield film.in_(wish.films()) if few else wish.of(film)
    yield from _besides(wanted, film)


def _in_order(db: Connection, wanted: Wanted, wishes: Sequence[Wish]) -> Select[Any]:
    """The newest or oldest first, read off the index of the wish that leads."""
    leaders = [wish for wish in wishes if wish.leads]
    leader = min(leaders, key=lambda wish: wish.count(db)) if len(leaders) > 1 else next(iter(leaders), None)
    film = leader.film if leader else instances.c.id
    key = Key(film, falling=wanted.sort == "newest")
    query = select(film).order_by(key.order()).where(*_besides(wanted, film))
    if leader:
        query = query.where(leader.where)
    if wanted.after is not None:
        query = query.where(key.beyond(wanted.after))
    return query.where(*(wish.of(film) for wish in wishes if wish is not leader))


def _most_uncertain(db: Connection, wanted: Wanted, wishes: Sequence[Wish]) -> Select[Any]:
    """Decided films, the least sure first."""
    doubt, film = decisions.c.uncertainty, decisions.c.film_id
    keys = (Key(doubt, falling=True), Key(film, falling=True))
    query = select(film).where(_standing, doubt.is_not(None)).order_by(*(key.order() for key in keys))
    if wanted.after is not None:
        its = select(doubt).where(film == wanted.after, _standing)
        query = query.where(beyond(keys, (db.scalar(its) or 0.0, wanted.after)))
    return query.where(*(wish.of(film) for wish in wishes), *_besides(wanted, film))


def _of_sender(sender: str) -> Wish:
    return Wish(headers.c.film_id, headers.c.sender == sender)


def _waiting_of_sender(sender: str) -> Wish:
    """Films that no worker has seen yet have no row among the headers."""
    sent = exists().where(
        versions.c.id == jobs.c.version_id,
        associations.c.id == versions.c.association_id,
        associations.c.calling == sender,
    )
    return _to_gate(sent, ~exists().where(headers.c.film_id == jobs.c.film_id))


def _to_gate(*where: ColumnElement[bool]) -> Wish:
    """Films that wait for the gates, or are in a worker's hand: an index of the few there are for each."""
    own = jobs.c.delivery_id.is_(None)
    states = (JobState.READY, JobState.LEASED)
    ready, leased = (select(jobs.c.film_id).where(stands(jobs, one), own, *where) for one in states)
    return Wish(instances.c.id, instances.c.id.in_(ready.union_all(leased)))


def _wishes(db: Connection, wanted: Wanted) -> Iterator[Wish]:
    """Those that an index answers."""
    for name in _OF_HEADER:
        if (value := getattr(wanted, name)) is not None:
            yield Wish(headers.c.film_id, matches(headers.c[name], value))
    if wanted.sop_instance_uid is not None:
        yield Wish(instances.c.id, instances.c.sop_instance_uid == wanted.sop_instance_uid)
    if wanted.study_date is not None:
        yield Wish(headers.c.film_id, in_range(headers.c.study_date, wanted.study_date))
    if wanted.accession_of is not None:
        own = select(headers.c.accession).where(headers.c.film_id == wanted.accession_of)
        accession = db.scalar(own) or ""
        yield Wish(headers.c.film_id, headers.c.accession == accession if accession else false())
    if wanted.decision == "undecided":
        yield _to_gate(~exists().where(decisions.c.film_id == jobs.c.film_id, _standing))
    elif wanted.decision is not None:
        yield Wish(decisions.c.film_id, _standing & (decisions.c.act == wanted.decision))
    if wanted.reason is not None:
        yield Wish(reasons.c.film_id, _current & (reasons.c.code == wanted.reason))
    if wanted.text is not None:
        yield _worded(db, wanted.text)
    if wanted.destination is not None or wanted.delivery is not None:
        yield _few(db, Wish(deliveries.c.film_id, _owed(wanted), leads=False), wanted.delivery in _OPEN)


def _besides(wanted: Wanted, film: ColumnElement[int]) -> Iterator[ColumnElement[bool]]:
    """Those that are asked of one film after the other."""
    if wanted.films is not None:
        yield film.in_(wanted.films)
    times = [instances.c.received_at >= wanted.since] if wanted.since is not None else []
    if wanted.until is not None:
        times.append(instances.c.received_at < wanted.until)
    if times and film.table is instances:
        yield and_(*times)
    elif times:
        yield exists().where(instances.c.id == film, *times)


def _owed(wanted: Wanted) -> ColumnElement[bool]:
    leaving = (DeliveryState.LEAVING,) if wanted.delivery == DeliveryState.PENDING else ()
    state = true() if wanted.delivery is None else stands(deliveries, wanted.delivery, *leaving)
    return state if wanted.destination is None else state & (deliveries.c.destination == wanted.destination)


def matches(column: ColumnElement[str], value: str) -> ColumnElement[bool]:
    """Single value matching, or with a trailing * wild card matching (PS3.4 C.2.2.2.1 and C.2.2.2.4)."""
    if not value.endswith("*"):
        return column == value
    beginning = value.rstrip("*")
    return (column >= beginning) & (column < beginning + _HIGHEST) if beginning else column != ""


def in_range(column: ColumnElement[str], value: str) -> ColumnElement[bool]:
    """A day, or days from, to or between (PS3.4 C.2.2.2.5)."""
    first, dash, last = value.partition("-")
    if not dash:
        return column == first
    return and_(column >= (first or "0"), column <= last if last else true())


def _few(db: Connection, wish: Wish, indexed: bool) -> Wish:
    """A wish that cannot lead, as one that does where it has few rows."""
    if indexed and wish.count(db) < COUNTED:
        return Wish(instances.c.id, instances.c.id.in_(wish.films()))
    return wish


def _worded(db: Connection, value: str) -> Wish:
    """Films that have this word somewhere."""
    if value.endswith("*"):
        begins = [matches(headers.c[name], value) for name in ("accession", "patient_id")]
        looks = [Wish(headers.c.film_id, one) for one in begins]
        if any(look.count(db) >= COUNTED for look in looks):
            return Wish(headers.c.film_id, or_(*begins), leads=False)
    else:
        looks = [Wish(headers.c.film_id, headers.c[name] == value) for name in (*_OF_HEADER, "sender")]
        frequent = next((look for look in looks if look.count(db) >= COUNTED), None)
        if frequent:  # a room or a device: nobody has so many films of one patient
            return frequent
        looks.append(Wish(instances.c.id, instances.c.sop_instance_uid == value))
        if value.isdigit() and len(value) < 19:
            looks.append(Wish(instances.c.id, instances.c.id == int(value)))
    first, *rest = (look.films() for look in looks)
    return Wish(instances.c.id, instances.c.id.in_(first.union(*rest)))
