"""RECEIVE: associations, and the transaction behind every 0x0000."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from gateway.ledger.engine import Database
from gateway.ledger.moves import allowed, inserted, note
from gateway.ledger.records import (
    CAN_WAIT,
    ORDINARY,
    URGENT,
    DeliveryState,
    JobState,
    Outcome,
    Received,
    Recorded,
)
from gateway.ledger.tables import (
    associations,
    copies,
    decisions,
    deliveries,
    instances,
    jobs,
    objects,
    versions,
)
from pipelines.film import REASON_TEXT, Act, Reason

WHO = "listener"


class Receiving(Database):
    """What the listener writes."""

    def associate(self, *, calling: str, called: str, address: str, now: datetime) -> int:
        """Note that an association was accepted; its id."""
        with self.writing() as db:
            row = {"calling": calling, "called": called, "address": address, "started_at": now}
            return inserted(db, associations, row)

    def dissociate(
        self, association_id: int, *, outcome: str, objects: int, size_bytes: int, now: datetime
    ) -> None:
        """Note how an association ended ("released", "aborted", ...) and what it brought."""
        with self.writing() as db:
            db.execute(
                update(associations)
                .where(associations.c.id == association_id)
                .values(outcome=outcome, objects=objects, size_bytes=size_bytes, ended_at=now)
            )

    def refuse(self, *, calling: str, called: str, address: str, reason: str, now: datetime) -> None:
        """The audit row of an association that was not accepted."""
        with self.writing() as db:
            row = {
                "calling": calling,
                "called": called,
                "address": address,
                "started_at": now,
                "ended_at": now,
            }
            db.execute(insert(associations).values(outcome="refused", reason=reason, **row))

    def record(self, batch: Sequence[Received], *, always: Sequence[str] = ()) -> list[Recorded]:
        """Write the objects of `batch` with their jobs and always-deliveries in one synced transaction.

        When this returns, 0x0000 may be answered. The same UID and digest again changes nothing.
        """
        with self.writing() as db:
            return [_record(db, received, always) for received in batch]


def _record(db: Connection, received: Received, always: Sequence[str]) -> Recorded:
    found = db.execute(
        select(instances.c.id, instances.c.ours, versions.c.id)
        .outerjoin(versions, (versions.c.film_id == instances.c.id) & (versions.c.digest == received.digest))
        .where(instances.c.sop_instance_uid == received.sop_instance_uid)
    ).one_or_none()
    if found is None:
        return _first(db, received, always)
    film_id, ours, version_id = found
    if version_id is not None:
        _owe_again(db, film_id, received)
        return Recorded(film_id, version_id, Outcome.SAME)
    version_id = _version(db, film_id, received)
    if ours:
        return Recorded(film_id, version_id, Outcome.OURS)
    # An archive that changes what it reflects would otherwise get every change back, without end.
    others = [name for name in always if name not in received.came_from]
    _queue(db, film_id, version_id, received, others, "version received")
    hurried = (deliveries.c.film_id == film_id) & (deliveries.c.rank > _rank(received))
    db.execute(update(deliveries).where(hurried).values(rank=_rank(received)))
    return Recorded(film_id, version_id, Outcome.VERSION)


def _first(db: Connection, received: Received, always: Sequence[str]) -> Recorded:
    ours = _made_here(db, received.sop_instance_uid)
    film = {
        "sop_instance_uid": received.sop_instance_uid,
        "sop_class_uid": received.sop_class_uid,
        "received_at": received.received_at,
        "ours": ours,
    }
    film_id = inserted(db, instances, film)
    version_id = _version(db, film_id, received)
    if ours:
        _withhold_ours(db, film_id, version_id, received.received_at)
        return Recorded(film_id, version_id, Outcome.OURS)
    _queue(db, film_id, version_id, received, always, "received")
    return Recorded(film_id, version_id, Outcome.NEW)


def _made_here(db: Connection, sop_instance_uid: str) -> bool:
    """Whether this gateway made the instance: a corrected copy, or a result."""
    return any(
        db.scalar(select(table.c.id).where(table.c.sop_instance_uid == sop_instance_uid).limit(1))
        for table in (copies, objects)
    )


def _owe_again(db: Connection, film_id: int, received: Received) -> None:
    """Somebody sends an object again: what had failed for good, or was lost with its file, is owed anew."""
    ended = (DeliveryState.FAILED, DeliveryState.CANCELLED)
    for state in ended:
        allowed(deliveries, state, DeliveryState.PENDING)
    now = received.received_at
    lost = deliveries.c.state.in_(ended) & (deliveries.c.kind == "always")
    db.execute(
        update(deliveries)
        .where(deliveries.c.film_id == film_id, deliveries.c.digest == received.digest, lost)
        .values(state=DeliveryState.PENDING, next_at=now, created_at=now, ended_at=None)
    )


def _version(db: Connection, film_id: int, received: Received) -> int:
    row = {
        "film_id": film_id,
        "digest": received.digest,
        "sop_class_uid": received.sop_class_uid,
        "transfer_syntax_uid": received.transfer_syntax_uid,
        "size_bytes": received.size_bytes,
        "association_id": received.association_id,
        "received_at": received.received_at,
    }
    return inserted(db, versions, row)


def _queue(
    db: Connection, film_id: int, version_id: int, received: Received, always: Sequence[str], what: str
) -> None:
    now = received.received_at
    db.execute(
        insert(jobs).values(
            film_id=film_id,
            version_id=version_id,
            state=JobState.READY,
            rank=_rank(received),
            created_at=now,
        )
    )
    if always:
        rows = [
            {
                "film_id": film_id,
                "destination": name,
                "kind": "always",
                "digest": received.digest,
                "sop_class_uid": received.sop_class_uid,
                "sop_instance_uid": received.sop_instance_uid,
                "transfer_syntax_uid": received.transfer_syntax_uid,
                "state": DeliveryState.PENDING,
                "next_at": now,
                "created_at": now,
                "rank": _rank(received),
            }
            for name in always
        ]
        db.execute(insert(deliveries), rows)
    note(db, now, what, film_id=film_id, who=WHO, association=received.association_id)


def _rank(received: Received) -> int:
    if received.urgent:
        return URGENT
    return CAN_WAIT if received.can_wait else ORDINARY


def _withhold_ours(db: Connection, film_id: int, version_id: int, now: datetime) -> None:
    """What we made and somebody sent back is kept and decided at once: no job, no delivery, no loop."""
    db.execute(
        insert(decisions).values(
            film_id=film_id,
            version_id=version_id,
            act=Act.WITHHOLD,
            mode="enforce",
            rule="ours",
            why=REASON_TEXT[Reason.OURS],
            reasons=[Reason.OURS],
            flags=[],
            trace=[],
            digests={},
            decided_at=now,
        )
    )
    note(db, now, "came back", film_id=film_id, who=WHO)
