"""CLAIM: what workers do next, under a lease, and the heartbeats that keep it.

What is asked many times a second is put together once, here, with names for its values; and is asked such
that an index answers, however much is waiting or was done.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from gateway.ledger.engine import Database
from gateway.ledger.holding.taking_back import WAITING, waits
from gateway.ledger.moves import allowed, stands
from gateway.ledger.records import Delivery, DeliveryState, Job, JobState
from gateway.ledger.routing import ALL, delivery_of
from gateway.ledger.tables import (
    UtcDateTime,
    associations,
    copies,
    decisions,
    deliveries,
    instances,
    jobs,
    versions,
)
from pipelines.film import Operations
from pipelines.json_values import from_plain

LONGEST_DELAY_S = 60.0  # a job that was put off waits no longer: a later time means that a clock was set back


class Claiming(Database):
    """Questions and claims of workers and of the dispatcher."""

    def ready_jobs(
        self, classifiers: Collection[str] = (), *, now: datetime | None = None, most: int = ALL
    ) -> int:
        """How many jobs wait for a worker; what is owed to one of `classifiers` is work of theirs, too.

        Not counted further than to `most`: who asks whether there are any must not wait for thousands.
        Without `now` those that were put off are among them.
        """
        with self.reading() as db:
            count = int(db.scalar(_READY_JOBS, _times(now) | {"most": most}) or 0)
            for name in classifiers:
                for query in _OWED_TO:
                    count += int(db.scalar(query, {"name": name, "most": most}) or 0) if count < most else 0
        return min(count, most)

    def claim(
        self, owner: str, classifiers: Collection[str] = (), *, now: datetime | None = None
    ) -> Job | None:
        """Lease the next job, urgent ones first, then the oldest, low priority last; None when none is ready.

        One at a time, so that a film that kills its worker costs no other film an attempt. A later
        version waits until the earlier ones of its film are through. What is owed to one of `classifiers`
        becomes a job here. It goes before films of the same urgency that wait for the gates: its film was
        judged already, so it is the older one, and its result is not late however many wait. A job that was
        put off is left for its time, unless there is no `now`.

        The next job is looked up before the ledger is locked, however long that takes; the lock is held for
        the one row that is taken.
        """
        allowed(jobs, JobState.READY, JobState.LEASED)
        for state in WAITING:
            allowed(deliveries, state, DeliveryState.SENDING)
        while (following := self._following(classifiers, now)) is not None:
            with self.leasing() as db:
                if "delivery_id" in following:
                    taken = _begin_reading(db, following | {"owner": owner})
                else:
                    taken = _lease(db, following["job_id"], owner, now)
            if taken is not None:
                with self.reading() as db:
                    return _job(db, *taken)
        return None

    def _following(self, classifiers: Collection[str], now: datetime | None) -> dict[str, Any] | None:
        """The next claim: of a job, or of a delivery that becomes a reading."""
        with self.reading() as db:
            job = db.execute(_FIRST_IN_LINE, _times(now)).one_or_none()
            first = [db.execute(query, {"name": name}) for name in classifiers for query in _FIRST_OWED]
            owed = [row for found in first for row in found]
            due = min(owed, key=lambda row: (row.rank, row.id), default=None)
            if due is None or (job is not None and job.rank < due.rank):
                return None if job is None else {"job_id": job.id}
            its = {name: getattr(due, name) for name in ("film_id", "rank", "created_at")}
            return {**its, "delivery_id": due.id, "version_id": _version_read(db, due)}

    def beat(self, owner: str) -> None:
        """Say that the worker `owner` still works on what it holds."""
        with self.leasing() as db:
            db.execute(_BEAT, {"its_owner": owner})

    def leases(self) -> dict[int, tuple[int, int]]:
        """Job id -> (token, heartbeat counter) of every lease that is held."""
        with self.reading() as db:
            return {row.id: (row.token, row.beat) for row in db.execute(_LEASES)}


def _times(now: datetime | None) -> dict[str, Any]:
    if now is None:
        return {"now": _LAST_DAY, "ahead": _LAST_DAY}
    return {"now": now, "ahead": now + timedelta(seconds=LONGEST_DELAY_S)}


_LAST_DAY = datetime.max.replace(tzinfo=UTC)
_NOW, _AHEAD = bindparam("now", type_=UtcDateTime), bindparam("ahead", type_=UtcDateTime)
_ITS_TIME = or_(jobs.c.not_before.is_(None), jobs.c.not_before <= _NOW, jobs.c.not_before > _AHEAD)
_READY = stands(jobs, JobState.READY) & _ITS_TIME
_EARLIER = jobs.alias("earlier")
_ITS_TURN = _READY & ~exists().where(  # no earlier version of its film is still to be examined
    _EARLIER.c.film_id == jobs.c.film_id,
    _EARLIER.c.id < jobs.c.id,
    stands(_EARLIER, JobState.READY, JobState.LEASED),
    _EARLIER.c.delivery_id.is_(None),
    jobs.c.delivery_id.is_(None),
)


def _counted(ids: Select[Any]) -> Select[Any]:
    return select(func.count()).select_from(ids.limit(bindparam("most")).subquery())


def _owed(state: DeliveryState) -> Select[Any]:
    """Deliveries to a classifier that may be read now."""
    to_it = deliveries.c.destination == bindparam("name")
    return select(deliveries).where(stands(deliveries, state), to_it, ~waits())


_READY_JOBS = _counted(select(jobs.c.id).where(_READY))
_OWED_TO = tuple(_counted(_owed(state).with_only_columns(deliveries.c.id)) for state in WAITING)
_FIRST_IN_LINE = select(jobs.c.id, jobs.c.rank).where(_ITS_TURN).order_by(jobs.c.rank, jobs.c.id).limit(1)
_FIRST_OWED = (
    _owed(DeliveryState.PENDING).order_by(deliveries.c.rank, deliveries.c.id).limit(1),
    _owed(DeliveryState.RETRY).order_by(deliveries.c.next_at).limit(1),
)
_LEASES = select(jobs.c.id, jobs.c.token, jobs.c.beat).where(stands(jobs, JobState.LEASED))
_BEAT = (
    update(jobs)
    .where(jobs.c.owner == bindparam("its_owner"), stands(jobs, JobState.LEASED))
    .values(beat=jobs.c.beat + 1)
)
_LEASE = (
    update(jobs)
    .where(jobs.c.id == bindparam("job_id"), _ITS_TURN)
    .values(state=JobState.LEASED, owner=bindparam("new_owner"), beat=0)
    .values(token=jobs.c.token + 1, attempts=jobs.c.attempts + 1)
    .returning(jobs.c.id, jobs.c.token)
)
_HAND_OVER = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("which"), stands(deliveries, *WAITING), ~waits())
    .values(state=DeliveryState.SENDING, attempts=deliveries.c.attempts + 1)
)
_FIRST_TOKEN = 1
_READING = insert(jobs).values(state=JobState.LEASED, token=_FIRST_TOKEN, attempts=1, beat=0)
_EARLIER_VERSION = versions.alias("earlier_version")
_FIRST_DIGEST = (  # of the first version of a film, where that is another one
    select(_EARLIER_VERSION.c.digest)
    .where(_EARLIER_VERSION.c.film_id == jobs.c.film_id, _EARLIER_VERSION.c.id < jobs.c.version_id)
    .order_by(_EARLIER_VERSION.c.id)
    .limit(1)
    .scalar_subquery()
)
_JOB = (
    select(jobs, versions.c.digest, versions.c.received_at, instances.c.sop_instance_uid)
    .add_columns(_FIRST_DIGEST.label("first_digest"), associations.c.calling)
    .join(versions, versions.c.id == jobs.c.version_id)
    .join(instances, instances.c.id == jobs.c.film_id)
    .outerjoin(associations, associations.c.id == versions.c.association_id)
    .where(jobs.c.id == bindparam("job_id"))
)


def _lease(db: Connection, job_id: int, owner: str, now: datetime | None) -> tuple[int, int] | None:
    """Take a job: its id and its token; None when somebody else was faster."""
    row = db.execute(_LEASE, {"job_id": job_id, "new_owner": owner, **_times(now)}).one_or_none()
    return None if row is None else (row.id, row.token)


def _begin_reading(db: Connection, reading: dict[str, Any]) -> tuple[int, int] | None:
    """The job that a delivery to a classifier becomes, as `_lease`; the delivery is `sending` while it lives.

    None when somebody else was faster, or it waits by now.
    """
    if db.execute(_HAND_OVER, {"which": reading["delivery_id"]}).rowcount != 1:
        return None
    key = db.execute(_READING, reading).inserted_primary_key
    assert key is not None
    return int(key[0]), _FIRST_TOKEN


def _version_read(db: Connection, delivery: Any) -> int:
    """The version that is read, or that the copy which is read was made of."""
    its = (versions.c.film_id == delivery.film_id) & (versions.c.digest == delivery.digest)
    of_copy = (
        select(decisions.c.version_id)
        .join(copies, copies.c.decision_id == decisions.c.id)
        .where(copies.c.film_id == delivery.film_id, copies.c.digest == delivery.digest)
    )
    latest = select(func.max(versions.c.id)).where(versions.c.film_id == delivery.film_id)
    found = db.scalar(select(versions.c.id).where(its)) or db.scalar(of_copy) or db.scalar(latest)
    assert found is not None
    return int(found)


def _job(db: Connection, job_id: int, token: int) -> Job:
    """The job that was taken, under the token of that claim."""
    row = db.execute(_JOB, {"job_id": job_id}).one()
    reading, operations = _what_to_read(db, row) if row.delivery_id is not None else (None, Operations())
    return Job(
        id=row.id,
        film_id=row.film_id,
        version_id=row.version_id,
        digest=row.digest,
        sop_instance_uid=row.sop_instance_uid,
        attempts=row.attempts,
        token=token,
        received_at=row.received_at,
        first_digest=row.first_digest,
        reading=reading,
        operations=operations,
        sender=row.calling or "",
    )


def _what_to_read(db: Connection, job: Any) -> tuple[Delivery, Operations]:
    """The delivery to the classifier; of a corrected copy also the operations that made it."""
    row = db.execute(select(deliveries).where(deliveries.c.id == job.delivery_id)).one()
    same = (copies.c.film_id == row.film_id) & (copies.c.digest == row.digest)
    operations = from_plain(Operations, db.scalar(select(copies.c.operations).where(same)) or {})
    return delivery_of(row, attempts=row.attempts), operations
