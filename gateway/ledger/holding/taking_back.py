"""HOLD, for those who send and read: a held film is neither sent to AI nor read, whoever has it in hand.

Nor is one that was withheld or rejected meanwhile, nor the original of one that was corrected. What is
taken back is `cancelled`: a release owes it anew. What is on the wire already cannot be called back; it is
not tried a second time. While a second picture under one UID is held, readings of the first one wait: which
of them is the patient's is not known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    Text,
    bindparam,
    cast,
    exists,
    func,
    select,
)

from gateway.ledger.moves import move, note
from gateway.ledger.records import DeliveryState, HoldState, JobState
from gateway.ledger.tables import copies, decisions, deliveries, holds, instances, jobs, rejections, versions
from pipelines.film import Act, Reason

TO_AI = frozenset({"ai", "copy"})  # kinds of deliveries
WAITING = (DeliveryState.PENDING, DeliveryState.RETRY)
NOT_GONE = (DeliveryState.LEAVING, *WAITING)  # nobody has it in hand
IN_HAND = (JobState.READY, JobState.LEASED)
Owed = tuple[str, str]  # destination, digest

WHO = "worker"


def take_back(
    db: Connection,
    film_id: int,
    version_id: int,
    now: datetime,
    *,
    kinds: Collection[str] = TO_AI,
    keep: Collection[Owed] = (),
) -> int:
    """Stop what is owed to AI of one version and is not gone yet; how much that was.

    A reading that a worker has in hand is parked: its result finds no lease any more, and is not kept.
    """
    asked = {"its_film": film_id, "its_version": version_id, "kinds": list(kinds)}
    stopped = [
        row.destination
        for row in db.execute(_OWED_OF_VERSION, asked).all()
        if (row.destination, row.digest) not in keep and _stopped(db, row, now)
    ]
    if stopped:
        note(db, now, "taken back", film_id=film_id, who=WHO, version=version_id, destinations=stopped)
    return len(stopped)


def take_back_unowed(db: Connection, film_ids: Iterable[int], now: datetime | None = None) -> int:
    """The same for all of these films of which the last word is another by now: what was on its way, or had
    failed, goes no second time. `now`: else the time of that word."""
    count = 0
    for film_id in set(film_ids):
        rejected = standing(db, film_id) is not None  # all its versions are, whatever was said of each
        enforced = (decisions.c.film_id == film_id) & (decisions.c.mode == "enforce")
        latest = select(func.max(decisions.c.id)).where(decisions.c.film_id == film_id)
        last = enforced & decisions.c.id.in_(latest.group_by(decisions.c.version_id))
        for decision in db.execute(select(decisions).where(last)).all():
            if kinds := TO_AI if rejected else TO_AI - _owed_by(db, decision):
                at = now or decision.decided_at
                count += take_back(db, film_id, decision.version_id, at, kinds=kinds)
    return count


def _owed_by(db: Connection, decision: Any) -> frozenset[str]:
    """The kinds of deliveries that stand by the last word on a version: a decision, or a person's on it."""
    of_it = (holds.c.film_id == decision.film_id) & (holds.c.decision_id == decision.id)
    state = db.scalar(select(holds.c.state).where(of_it))
    if state == HoldState.RELEASED or (state is None and decision.act == Act.PASS):
        return frozenset({"ai"})
    if state == HoldState.CORRECTED or (state is None and decision.act == Act.CORRECT):
        return frozenset({"copy"})
    return frozenset()


def standing(db: Connection, film_id: int) -> Any | None:
    """The rejection by a Key Object that stands for a film, or None."""
    return db.execute(_STANDING, {"its_film": film_id}).one_or_none()


def put_back_readings(db: Connection, film_id: int, now: datetime) -> None:
    """Readings of a film that workers have in hand wait again, `waits` says for how long."""
    in_hand = (jobs.c.film_id == film_id) & jobs.c.delivery_id.is_not(None) & jobs.c.state.in_(IN_HAND)
    for job in db.execute(select(jobs).where(in_hand)).all():
        move(db, jobs, job.id, job.state, JobState.PARKED, done_at=now, owner=None)
        back = {"next_at": now}
        move(db, deliveries, job.delivery_id, DeliveryState.SENDING, DeliveryState.PENDING, **back)


def waits() -> ColumnElement[bool]:
    """Whether a reading waits for a person: another picture, later than the one that is read, is held."""
    its_film = versions.c.film_id == deliveries.c.film_id
    own = select(versions.c.id).where(its_film, versions.c.digest == deliveries.c.digest)
    made_of = (
        select(func.max(decisions.c.version_id))
        .join(copies, copies.c.decision_id == decisions.c.id)
        .where(copies.c.film_id == deliveries.c.film_id, copies.c.digest == deliveries.c.digest)
    )
    # two levels down nothing is correlated by itself: without it any film's version would come out
    of_it = (one.correlate(deliveries).scalar_subquery() for one in (own, made_of))
    version = func.coalesce(*of_it)
    return exists().where(
        holds.c.film_id == deliveries.c.film_id,
        holds.c.state == HoldState.OPEN,
        holds.c.version_id > version,
        cast(holds.c.reasons, Text).contains(Reason.OTHER_PIXELS.value),
    )


def _stopped(db: Connection, delivery: Any, now: datetime) -> bool:
    """Cancel one delivery unless it is on the wire; False when there was nothing to stop."""
    if delivery.state in NOT_GONE:
        return move(db, deliveries, delivery.id, delivery.state, DeliveryState.CANCELLED, ended_at=now)
    if delivery.state != DeliveryState.SENDING:
        return False
    reading = (jobs.c.delivery_id == delivery.id) & jobs.c.state.in_(IN_HAND)
    job = db.execute(select(jobs).where(reading)).one_or_none()
    if job is None:
        return False
    move(db, jobs, job.id, job.state, JobState.PARKED, done_at=now, owner=None)
    return move(db, deliveries, delivery.id, delivery.state, DeliveryState.CANCELLED, ended_at=now)


def _owed_of_version() -> Select[Any]:
    """Deliveries of one version of a film, and of the copies that were made of it."""
    its_film: BindParameter[int] = bindparam("its_film")
    its_version: BindParameter[int] = bindparam("its_version")
    made_of_it = (
        select(copies.c.digest)
        .join(decisions, decisions.c.id == copies.c.decision_id)
        .where(copies.c.film_id == its_film, decisions.c.version_id == its_version)
    )
    own = select(versions.c.digest).where(versions.c.id == its_version)
    of_kind = deliveries.c.kind.in_(bindparam("kinds", expanding=True))
    digests = own.union_all(made_of_it)
    return select(deliveries).where(
        deliveries.c.film_id == its_film, of_kind, deliveries.c.digest.in_(digests)
    )


# Built once: to build them anew costs more than the ledger takes to answer.
_OWED_OF_VERSION = _owed_of_version()
_STANDING = (
    select(rejections)
    .join(instances, instances.c.sop_instance_uid == rejections.c.sop_instance_uid)
    .where(instances.c.id == bindparam("its_film"))
)
