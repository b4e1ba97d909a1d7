"""The figures of a day: what came since a time and what became of it, and what waits now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, func, select

from gateway.ledger.engine import Database
from gateway.ledger.moves import stands
from gateway.ledger.records import DeliveryState, HoldState, JobState
from gateway.ledger.searching.records import Day
from gateway.ledger.searching.tables import headers
from gateway.ledger.tables import UtcDateTime, decisions, deliveries, holds, instances, jobs
from pipelines.film import Act

_WAITING = (DeliveryState.LEAVING, DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.RETRY)


class Figures(Database):
    """What the page Today asks."""

    def today(self, since: datetime) -> Day:
        """The figures of the films that were received since then."""
        own = {"since": since}
        with self.reading() as db:
            acts: dict[Any, int] = dict(db.execute(_ACTS, own).tuples().all())
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
                held_for=dict(db.execute(_HELD_FOR).tuples().all()),
                delivered=dict(_delivered_since(db, since)),
                failed=dict(db.execute(_FAILED).tuples().all()),
                owed=owed,
                oldest_wait=db.scalar(_OLDEST),
                ready=db.scalar(_READY) or 0,
                unread=db.scalar(_UNREAD) or 0,
            )


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
_HELD_FOR = (
    select(holds.c.reason, func.count())
    .where(stands(holds, HoldState.OPEN))
    .group_by(holds.c.reason)
    .order_by(func.count().desc(), holds.c.reason)
)
_OLDEST = select(func.min(holds.c.opened_at)).where(stands(holds, HoldState.OPEN))
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
