"""ROUTE: what is owed to whom."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, or_, select, update

from gateway.errors import Trouble
from gateway.ledger.engine import Database
from gateway.ledger.holding import take_back_unowed
from gateway.ledger.moves import allowed, move, note
from gateway.ledger.records import Delivery, DeliveryState, JobState
from gateway.ledger.tables import deliveries, events, jobs

WHO = "courier"
UNANSWERED = "delivery unanswered"
GO_LAST = 2  # tries held against an object, after which all others go first
HORIZON = timedelta(
    hours=6
)  # no retry is planned further ahead: a later one means that the clock was set back


def _due(now: datetime) -> ColumnElement[bool]:
    """New ones at once, whatever the clock says; others at their time."""
    its_time = or_(deliveries.c.next_at <= now, deliveries.c.next_at > now + HORIZON)
    retry = (deliveries.c.state == DeliveryState.RETRY) & its_time
    return or_(deliveries.c.state == DeliveryState.PENDING, retry)


class Routing(Database):
    """What the courier writes."""

    def due_destinations(self, now: datetime) -> dict[str, int]:
        """Destination -> how many deliveries could go now."""
        counted = select(deliveries.c.destination, func.count()).where(_due(now))
        with self.reading() as db:
            return {row[0]: row[1] for row in db.execute(counted.group_by(deliveries.c.destination))}

    def claim_deliveries(self, destination: str, limit: int, now: datetime) -> list[Delivery]:
        """Take up to `limit` deliveries that are due; they are `sending` from now on.

        New ones first, the oldest of them before the others; then what failed, as it falls due; and what was
        refused again and again while others were taken when nothing else is to do.
        """
        allowed(deliveries, DeliveryState.PENDING, DeliveryState.SENDING)
        allowed(deliveries, DeliveryState.RETRY, DeliveryState.SENDING)
        new, often = deliveries.c.state == DeliveryState.PENDING, deliveries.c.tries >= GO_LAST
        due = (
            select(deliveries)
            .where(_due(now), deliveries.c.destination == destination)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        in_turn = (
            due.where(new).order_by(deliveries.c.id),
            due.where(~new, ~often).order_by(deliveries.c.next_at, deliveries.c.id),
            due.where(~new, often).order_by(deliveries.c.next_at, deliveries.c.id),
        )
        with self.leasing() as db:
            rows = next((rows for query in in_turn if (rows := db.execute(query).all())), [])
            db.execute(
                update(deliveries)
                .where(deliveries.c.id.in_([row.id for row in rows]))
                .values(state=DeliveryState.SENDING, attempts=deliveries.c.attempts + 1)
            )
            unanswered = _unanswered(db, [row.film_id for row in rows if row.attempts])
            rivals = _rivals(db, [row.id for row in rows])
        return [
            replace(
                delivery_of(row, attempts=row.attempts + 1),
                unanswered=row.id in unanswered,
                sole=row.id not in rivals,
            )
            for row in rows
        ]

    def unanswered(self, delivery: Delivery, now: datetime) -> None:
        """All of it was sent and no answer came: said once, and remembered for the tries that follow."""
        with self.writing() as db:
            _note_unanswered(db, delivery, now)

    def delivered(self, delivery_id: int, now: datetime) -> None:
        """The peer confirmed it."""
        with self.writing() as db:
            done = {"ended_at": now, "error": None, "trouble": None}
            if move(db, deliveries, delivery_id, DeliveryState.SENDING, DeliveryState.DELIVERED, **done):
                film_id, name = _whose(db, delivery_id)
                note(db, now, "delivered", film_id=film_id, who=WHO, destination=name)

    def retry_delivery(
        self,
        delivery_id: int,
        *,
        error: str,
        at: datetime,
        now: datetime | None = None,
        trouble: Trouble | None = None,
        counted: bool = False,
    ) -> None:
        """It failed and is tried again at `at`; unless it was for AI, which shall not have it any more.

        `counted`: this try is held against the object.
        """
        with self.writing() as db:
            again = {"next_at": at, "error": error, "trouble": trouble}
            if counted:
                again["tries"] = deliveries.c.tries + 1
            if move(db, deliveries, delivery_id, DeliveryState.SENDING, DeliveryState.RETRY, **again):
                film_id, _ = _whose(db, delivery_id)
                take_back_unowed(db, [film_id], now or at)

    def put_back(self, delivery_id: int, now: datetime) -> None:
        """It was claimed and not tried: owed as before, but for what AI shall not have any more."""
        with self.writing() as db:
            if move(db, deliveries, delivery_id, DeliveryState.SENDING, DeliveryState.PENDING):
                film_id, _ = _whose(db, delivery_id)
                take_back_unowed(db, [film_id], now)

    def fail_delivery(
        self, delivery_id: int, *, error: str, now: datetime, trouble: Trouble | None = None
    ) -> None:
        """It failed for good; a person looks at it."""
        with self.writing() as db:
            ended = {"ended_at": now, "error": error, "trouble": trouble}
            if move(db, deliveries, delivery_id, DeliveryState.SENDING, DeliveryState.FAILED, **ended):
                film_id, name = _whose(db, delivery_id)
                note(db, now, "delivery failed", film_id=film_id, who=WHO, destination=name, error=error)

    def requeue_sending(self, destination: str | None = None, *, now: datetime | None = None) -> int:
        """Put back what a dead courier had in hand; only its one successor may call this.

        What a worker reads with a classifier stays: its lease says what becomes of it. What was for AI,
        which shall not have it any more, is not sent again. All of it may have been sent: nobody is left who
        knows.
        """
        allowed(deliveries, DeliveryState.SENDING, DeliveryState.PENDING)
        working = jobs.c.state.in_((JobState.READY, JobState.LEASED))
        read = exists().where(jobs.c.delivery_id == deliveries.c.id, working)
        in_hand = select(deliveries.c.id, deliveries.c.film_id, deliveries.c.destination).where(
            deliveries.c.state == DeliveryState.SENDING, ~read
        )
        if destination is not None:
            in_hand = in_hand.where(deliveries.c.destination == destination)
        with self.writing() as db:
            rows = db.execute(in_hand).all()
            for row in rows:
                move(db, deliveries, row.id, DeliveryState.SENDING, DeliveryState.PENDING)
                if now is not None:
                    _note_unanswered(db, row, now)
            take_back_unowed(db, [row.film_id for row in rows], now)
            return len(rows)


def _note_unanswered(db: Connection, delivery: Any, now: datetime) -> None:
    if delivery.id not in _unanswered(db, [delivery.film_id]):
        its = {"destination": delivery.destination, "delivery": delivery.id}
        note(db, now, UNANSWERED, film_id=delivery.film_id, who=WHO, **its)


def _unanswered(db: Connection, films: list[int]) -> set[int]:
    """The deliveries of these films of which an earlier try got no answer."""
    said = select(events.c.detail).where(events.c.film_id.in_(films), events.c.what == UNANSWERED)
    return {detail["delivery"] for detail in db.scalars(said)} if films else set()


def _rivals(db: Connection, ids: list[int]) -> set[int]:
    """Those of these deliveries whose destination was sent another version under the same UID as well."""
    other = deliveries.alias("other")
    same = [deliveries.c[name] == other.c[name] for name in ("film_id", "destination", "sop_instance_uid")]
    sent = select(deliveries.c.id).where(*same, other.c.id != deliveries.c.id, other.c.attempts > 0)
    return set(db.scalars(sent.where(deliveries.c.id.in_(ids))))


def delivery_of(row: Any, *, attempts: int) -> Delivery:
    """A row of the table as others see it."""
    return Delivery(
        id=row.id,
        film_id=row.film_id,
        destination=row.destination,
        digest=row.digest,
        sop_class_uid=row.sop_class_uid,
        sop_instance_uid=row.sop_instance_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        attempts=attempts,
        tries=row.tries,
        created_at=row.created_at,
        kind=row.kind,
    )


def _whose(db: Connection, delivery_id: int) -> tuple[int, str]:
    row = db.execute(
        select(deliveries.c.film_id, deliveries.c.destination).where(deliveries.c.id == delivery_id)
    ).one()
    return row.film_id, row.destination
