"""The figures of a day: what came since a time and what became of it, and what waits now."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, bindparam, func, select

from gateway.ledger.engine import Database
from gateway.ledger.moves import stands
from gateway.ledger.records import DeliveryState, HoldState, JobState
from gateway.ledger.searching.records import Day
from gateway.ledger.searching.tables import headers
from gateway.ledger.tables import UtcDateTime, decisions, deliveries, holds, instances, jobs
from pipelines.film import Act

_WAITING = (DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.RETRY)


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
                delivered=dict(db.execute(_DELIVERED, own).tuples().all()),
                failed=dict(db.execute(_FAILED).tuples().all()),
                owed=owed,
                oldest_wait=db.scalar(_OLDEST),
                ready=db.scalar(_READY) or 0,
                unread=db.scalar(_UNREAD) or 0,
            )


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
    .with_hint(holds, "INDEXED BY ix_holds_sheet", "sqlite")
    .where(stands(holds, HoldState.OPEN))
    .group_by(holds.c.reason)
    .order_by(func.count().desc(), holds.c.reason)
)
_OLDEST = (
    select(func.min(holds.c.opened_at))
    .with_hint(holds, "INDEXED BY ix_holds_sheet", "sqlite")
    .where(stands(holds, HoldState.OPEN))
)
_DELIVERED = (
    select(deliveries.c.destination, func.count())
    .where(stands(deliveries, DeliveryState.DELIVERED), deliveries.c.ended_at >= _SINCE)
    .group_by(deliveries.c.destination)
)
_FAILED = (
    select(deliveries.c.destination, func.count())
    .where(stands(deliveries, DeliveryState.FAILED))
    .group_by(deliveries.c.destination)
)
_READY = select(func.count()).where(stands(jobs, JobState.READY), jobs.c.delivery_id.is_(None))
_UNREAD = select(func.count()).where(headers.c.read_at.is_(None))
