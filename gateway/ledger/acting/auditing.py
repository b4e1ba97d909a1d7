"""AUDIT: who did what when to which film."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text

from gateway.ledger.acting.records import PersonsAct
from gateway.ledger.acting.table import DoneBy
from gateway.ledger.acting.tables import acts
from gateway.ledger.engine import Database
from gateway.ledger.tables import BY_PEOPLE, events


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


class Auditing(Database):
    """Lists of acts."""

    def audit(self, wanted: Audited, *, limit: int) -> list[AuditRow]:
        """What people did, newest first; what machines wrote is not among it."""
        query = select(events).where(text(BY_PEOPLE)).order_by(events.c.id.desc()).limit(limit)
        wishes = (
            (wanted.who, events.c.who == wanted.who),
            (wanted.what, events.c.what == wanted.what),
            (wanted.film, events.c.film_id == wanted.film),
            (wanted.since, events.c.at >= wanted.since),
            (wanted.until, events.c.at < wanted.until),
            (wanted.before, events.c.id < wanted.before),
        )
        for wish, which in wishes:
            if wish not in (None, ""):
                query = query.where(which)
        with self.reading() as db:
            return [AuditRow(r.id, r.at, r.who, r.what, r.film_id, r.detail) for r in db.execute(query)]

    def acts_by(self, who: str, *, before: int | None = None, limit: int = 50) -> list[PersonsAct]:
        """One person's acts, newest first."""
        query = select(acts).where(acts.c.who == who).order_by(acts.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(acts.c.id < before)
        with self.reading() as db:
            return [_act(row) for row in db.execute(query)]

    def acts_on(self, film_id: int) -> list[PersonsAct]:
        """What people did with one film, oldest first."""
        with self.reading() as db:
            query = select(acts).where(acts.c.film_id == film_id).order_by(acts.c.id)
            return [_act(row) for row in db.execute(query)]


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
