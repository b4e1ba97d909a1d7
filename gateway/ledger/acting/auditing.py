"""AUDIT: who did what when to which film."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, func, select, text

from gateway.ledger.acting.records import PersonsAct
from gateway.ledger.acting.table import DoneBy
from gateway.ledger.acting.tables import acts
from gateway.ledger.engine import Database
from gateway.ledger.tables import BY_PEOPLE, events

_CHUNK = 500  # ids in one IN (...): SQLite takes 999 at least


@dataclass(frozen=True, slots=True)
class Audited:
    """Which rows of the audit are wanted, newest first."""

    who: str = ""
    what: str = ""
    film: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None  # the row after which the list goes on


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One thing that a person did."""

    id: int
    at: datetime
    who: str
    what: str
    film: int | None
    detail: dict[str, Any]
    act: PersonsAct | None = None  # whose event it is, where it is an act with a number


class Auditing(Database):
    """Lists of acts."""

    def audit(self, wanted: Audited, *, limit: int) -> list[AuditRow]:
        """What people did, newest first; what machines wrote is not among it."""
        query = select(events).where(text(BY_PEOPLE), *_wishes(wanted)).order_by(events.c.id.desc())
        with self.reading() as db:
            rows = db.execute(query.limit(limit)).all()
            numbers = {row.id: number for row in rows if isinstance(number := row.detail.get("act"), int)}
            ids = list(numbers.values())
            its: dict[object, PersonsAct] = {}
            for start in range(0, len(ids), _CHUNK):
                some = select(acts).where(acts.c.id.in_(ids[start : start + _CHUNK]))
                its |= {row.id: _act(row) for row in db.execute(some)}
        return [
            AuditRow(row.id, row.at, row.who, row.what, row.film_id, row.detail, its.get(numbers.get(row.id)))
            for row in rows
        ]

    def audited_words(self) -> tuple[list[str], list[str]]:
        """The people who did something, and what they did: the answers to choose from."""
        with self.reading() as db:
            return _distinct(db, events.c.who), _distinct(db, events.c.what)

    def acts_by(self, who: str, *, before: int | None = None, limit: int = 50) -> list[PersonsAct]:
        """One person's acts, newest first."""
        query = select(acts).where(acts.c.who == who).order_by(acts.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(acts.c.id < before)
        with self.reading() as db:
            return [_act(row) for row in db.execute(query)]

    def acts_of_request(self, request: str, who: str) -> list[PersonsAct]:
        """What came of one request of a person, in the order in which it was done."""
        query = select(acts).where(acts.c.request == request, acts.c.who == who).order_by(acts.c.id)
        with self.reading() as db:
            return [_act(row) for row in db.execute(query)]

    def acts_on(self, film_id: int) -> list[PersonsAct]:
        """What people did with one film, oldest first."""
        with self.reading() as db:
            query = select(acts).where(acts.c.film_id == film_id).order_by(acts.c.id)
            return [_act(row) for row in db.execute(query)]


def _wishes(wanted: Audited) -> Iterator[ColumnElement[bool]]:
    if wanted.who:
        yield events.c.who == wanted.who
    if wanted.what:
        yield events.c.what == wanted.what
    if wanted.film is not None:
        yield events.c.film_id == wanted.film
    if wanted.since is not None:
        yield events.c.at >= wanted.since
    if wanted.until is not None:
        yield events.c.at < wanted.until
    if wanted.before is not None:
        yield events.c.id < wanted.before


def _distinct(db: Connection, column: Column[str]) -> list[str]:
    """Its values, from one to the next in the index, however many rows have each."""
    people = text(BY_PEOPLE)
    least = select(func.min(column).label("word")).where(people)
    words = least.cte("words", recursive=True)
    following = select(func.min(column)).where(people, column > words.c.word).correlate(words)
    words = words.union_all(select(following.scalar_subquery()).where(words.c.word.is_not(None)))
    return [word for word in db.scalars(select(words.c.word)) if word is not None]


def _act(row: Any) -> PersonsAct:
    return PersonsAct(
        id=row.id,
        film=row.film_id,
        act=DoneBy(row.act),
        who=row.who,
        at=row.at,
        hold=row.hold_id,
        decision=row.decision_id,
        note=row.note,
        detail=row.detail,
        until=row.until,
        undone_by=row.undone_by,
        undone_at=row.undone_at,
    )
