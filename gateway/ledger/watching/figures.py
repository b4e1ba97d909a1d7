"""Numbers for monitoring, each by an index: what was ever delivered is counted, what is open is looked up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text

from gateway.ledger.engine import Database
from gateway.ledger.moves import stands
from gateway.ledger.records import DeliveryState, HoldState, JobState
from gateway.ledger.tables import deliveries, holds, instances, jobs
from gateway.ledger.watching.tables import alarms, tallies

_OWED = (DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.RETRY, DeliveryState.FAILED)


@dataclass(frozen=True, slots=True)
class Figures:
    """What monitoring is told of a ledger."""

    films: int
    tallies: dict[tuple[str, str], int]  # (figure, label)
    holds_open: int
    oldest_hold: datetime | None
    jobs: dict[str, int]  # by state: ready, leased, parked
    owed: dict[tuple[str, str], int]  # (destination, state)
    oldest_owed: dict[str, datetime]  # by destination
    delivered: dict[str, int]  # by destination
    alarms: dict[str, int]  # by kind, on now


class Figuring(Database):
    """Numbers for monitoring."""

    def figures(self) -> Figures:
        """All of them, as of one moment."""
        own = deliveries.c
        owed: dict[tuple[str, str], int] = {}
        oldest: dict[str, datetime] = {}
        with self.reading() as db:
            for state in _OWED:
                rows = select(own.destination, func.count(), func.min(own.id))
                its = rows.where(stands(deliveries, state)).group_by(own.destination)
                for name, count, first in db.execute(its).all():  # all of it is in the state's own index
                    owed[name, state] = count
                    since: datetime | None = db.scalar(select(own.created_at).where(own.id == first))
                    if since is not None:
                        oldest[name] = min(since, oldest.get(name, since))
            open_, oldest_hold = db.execute(
                select(func.count(), func.min(holds.c.opened_at)).where(stands(holds, HoldState.OPEN))
            ).one()
            sent = select(own.destination, func.count()).where(stands(deliveries, DeliveryState.DELIVERED))
            on = select(alarms.c.kind, func.count()).where(alarms.c.over_at.is_(None))
            in_hand = (JobState.READY, JobState.LEASED, JobState.PARKED)
            return Figures(
                films=db.scalar(select(func.count()).select_from(instances)) or 0,
                tallies={(f, label): n for f, label, n in db.execute(select(tallies))},
                holds_open=open_,
                oldest_hold=oldest_hold,
                jobs={
                    state: db.scalar(select(func.count()).where(stands(jobs, state))) or 0
                    for state in in_hand
                },
                owed=owed,
                oldest_owed=oldest,
                delivered={row[0]: row[1] for row in db.execute(sent.group_by(own.destination))},
                alarms={row[0]: row[1] for row in db.execute(on.group_by(alarms.c.kind))},
            )

    def answers(self) -> None:
        """Read one row.

        Raises:
            LedgerError: it cannot be read.
        """
        with self.reading() as db:
            db.execute(text("SELECT 1")).scalar()
            db.execute(select(instances.c.id).limit(1)).scalar()
