"""The figures of a day: what came since a time and what became of it, and what waits now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, Select, bindparam, func, select

from gateway.ledger.moves import stands
from gateway.ledger.records import DeliveryState, JobState
from gateway.ledger.searching.records import Day
from gateway.ledger.searching.rooms import Counting, summed
from gateway.ledger.searching.tables import headers
from gateway.ledger.tables import UtcDateTime, decisions, deliveries, instances, jobs
from pipelines.film import Act

_WAITING = (DeliveryState.LEAVING, DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.RETRY)


class Figures(Counting):
    """What the page Today asks."""

    def today(self, since: datetime) -> Day:
        """The figures of the films that were received since then."""
        own, rooms = {"since": since}, self.rooms()
        with self.reading() as db:
            acts = _counts(db, _ACTS, own)
            owed = sum(
                db.scalar(select(func.count()).where(stands(deliveries, one))) or 0 for one in _WAITING
            )
            return Day(
                received=sum(acts.values()),
                undecided=acts.get(None, 0),
                passed=acts.get(Act.PASS, 0),
                corrected=acts.get(Act.CORRECT, 0),
                withheld=acts.get(Act.WITHHOLD, 0),
                quarantined=acts.get(Act.QUARANTINE, 0),
                held_for={key[0]: room.count for key, room in summed(rooms, ("reason",))},
                delivered=dict(_delivered_since(db, since)),
                failed=_counts(db, _FAILED),
                owed=owed,
                oldest_wait=min((room.since for room in rooms), default=None),
                ready=db.scalar(_READY) or 0,
                unread=db.scalar(_UNREAD) or 0,
            )


def _counts(db: Connection, query: Select[Any], values: dict[str, Any] | None = None) -> dict[Any, int]:
    return {row[0]: row[1] for row in db.execute(query, values or {})}


def _delivered_since(db: Connection, since: datetime) -> Iterator[tuple[str, int]]:
    """How much each destination took: one look a destination, not one at all that was ever delivered."""
    name = ""
    while (name := db.scalar(_NEXT, {"last": name})) is not None:
        if count := db.scalar(_DELIVERED, {"name": name, "since": since}):
            yield name, count


_SINCE: BindParameter[datetime] = bindparam("since", type_=UtcDateTime)
_ACTS = (
    select(decisions.c.act, func.count())
    .select_from(instances)
    .outerjoin(decisions, (decisions.c.film_id == instances.c.id) & ~decisions.c.superseded)
    .where(instances.c.received_at >= _SINCE)
    .group_by(decisions.c.act)
)
_delivered = stands(deliveries, DeliveryState.DELIVERED)
_NEXT = select(func.min(deliveries.c.destination)).where(
    _delivered, deliveries.c.destination > bindparam("last")
)
_DELIVERED = select(func.count()).where(
    _delivered, deliveries.c.destination == bindparam("name"), deliveries.c.ended_at >= _SINCE
)
_FAILED = (
    select(deliveries.c.destination, func.count())
    .where(stands(deliveries, DeliveryState.FAILED))
    .group_by(deliveries.c.destination)
)
_READY = select(func.count()).where(stands(jobs, JobState.READY), jobs.c.delivery_id.is_(None))
_UNREAD = select(func.count()).where(headers.c.read_at.is_(None))
