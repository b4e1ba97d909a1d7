"""HOLD, for those who send and read: a held film is neither sent to AI nor read, whoever has it in hand.

What a hold takes back is `cancelled`: a release owes it anew. What is on the wire already cannot be called
back; it is not tried a second time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from gateway.ledger.moves import move, note
from gateway.ledger.records import DeliveryState, HoldState, JobState
from gateway.ledger.tables import copies, decisions, deliveries, events, holds, jobs, versions
from pipelines.film import Reason

TAKEN_BACK = "taken back"  # the event; its `deliveries` are the ids
WAITING = (DeliveryState.PENDING, DeliveryState.RETRY)
IN_HAND = (JobState.READY, JobState.LEASED)
Owed = tuple[str, str]  # destination, digest

WHO = "worker"


def take_back(
    db: Connection,
    film_id: int,
    version_id: int,
    now: datetime,
    *,
    every_version: bool = False,
    keep: Collection[Owed] = (),
) -> int:
    """Stop what is owed to AI of one version (or of every version) and is not gone yet; how much that was.

    A reading that a worker has in hand is parked: its result finds no lease any more, and is not kept.
    """
    its = None if every_version else _digests(db, version_id)
    to_ai = (deliveries.c.film_id == film_id) & deliveries.c.kind.in_(("ai", "copy"))
    stopped = [
        row.id
        for row in db.execute(select(deliveries).where(to_ai))
        if (its is None or row.digest in its)
        and (row.destination, row.digest) not in keep
        and _stopped(db, row, now)
    ]
    if stopped:
        note(db, now, TAKEN_BACK, film_id=film_id, who=WHO, version=version_id, deliveries=stopped)
    return len(stopped)


def take_back_held(db: Connection, film_ids: Iterable[int], now: datetime | None = None) -> int:
    """The same for every open hold of these films: what was on its way when they were held goes no second
    time. `now`: else the time since when they are held."""
    count = 0
    for film_id in set(film_ids):
        for hold in db.execute(_holds_of(film_id, HoldState.OPEN)).all():
            every = of_every_version(hold.reasons)
            count += take_back(db, film_id, hold.version_id, now or hold.opened_at, every_version=every)
    return count


def stand_again(db: Connection, film_id: int, now: datetime) -> None:
    """Owe anew what holds of a second picture took back of the first, once all of those are rejected."""
    if db.execute(_holds_of(film_id, HoldState.OPEN)).first():
        return
    rejected = {hold.version_id for hold in db.execute(_holds_of(film_id, HoldState.REJECTED))}
    theirs = {digest for version_id in rejected for digest in _digests(db, version_id)}
    taken = select(events.c.detail).where(events.c.film_id == film_id, events.c.what == TAKEN_BACK)
    for detail in db.scalars(taken).all():
        for delivery_id in detail["deliveries"] if detail["version"] in rejected else ():
            row = db.execute(select(deliveries).where(deliveries.c.id == delivery_id)).one()
            if row.digest not in theirs:
                back = {"next_at": now, "ended_at": None}
                move(db, deliveries, row.id, DeliveryState.CANCELLED, DeliveryState.PENDING, **back)


def of_every_version(reasons: Collection[str]) -> bool:
    """Whether a hold is about the film as a whole: which of its pictures is the right one is not known."""
    return Reason.OTHER_PIXELS in reasons


def _stopped(db: Connection, delivery: Any, now: datetime) -> bool:
    """Cancel one delivery unless it is on the wire; False when there was nothing to stop."""
    if delivery.state in WAITING:
        return move(db, deliveries, delivery.id, delivery.state, DeliveryState.CANCELLED, ended_at=now)
    if delivery.state != DeliveryState.SENDING:
        return False
    reading = (jobs.c.delivery_id == delivery.id) & jobs.c.state.in_(IN_HAND)
    job = db.execute(select(jobs).where(reading)).one_or_none()
    if job is None:
        return False
    move(db, jobs, job.id, job.state, JobState.PARKED, done_at=now, owner=None)
    return move(db, deliveries, delivery.id, delivery.state, DeliveryState.CANCELLED, ended_at=now)


def _digests(db: Connection, version_id: int) -> set[str]:
    """Of one version of a film, and of the copies that were made of it."""
    made_of_it = (
        select(copies.c.digest)
        .join(decisions, decisions.c.id == copies.c.decision_id)
        .where(decisions.c.version_id == version_id)
    )
    own = select(versions.c.digest).where(versions.c.id == version_id)
    return {*db.scalars(own), *db.scalars(made_of_it)}


def _holds_of(film_id: int, state: HoldState) -> Any:
    return select(holds).where(holds.c.film_id == film_id, holds.c.state == state)
