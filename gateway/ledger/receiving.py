"""RECEIVE: associations, and the transaction behind every 0x0000."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import BindParameter, Connection, Dialect, String, bindparam, exists, or_, select, update

from gateway.ledger.holding.rejecting import withheld, write_withheld
from gateway.ledger.moves import Prepared, allowed, insert_rows, inserted, note, owed_anew
from gateway.ledger.records import (
    CAN_WAIT,
    ORDINARY,
    URGENT,
    DeliveryState,
    JobState,
    Outcome,
    Received,
    Recorded,
    Tally,
)
from gateway.ledger.steering.flow import Steering
from gateway.ledger.tables import (
    associations,
    copies,
    deliveries,
    instances,
    jobs,
    objects,
    rejections,
    versions,
)
from pipelines.film import REASON_TEXT, Act, Decision, Reason

WHO = "listener"


class Receiving(Steering):
    """What the listener writes."""

    def associate(self, *, calling: str, called: str, address: str, now: datetime) -> int:
        """Note that an association was accepted; its id."""
        with self.writing(quiet=True) as db:
            row = {"calling": calling, "called": called, "address": address, "started_at": now}
            return inserted(db, associations, row)

    def dissociate(
        self, association_id: int, *, outcome: str, objects: int, size_bytes: int, now: datetime
    ) -> None:
        """Note how an association ended ("released", "aborted", ...) and what it brought."""
        with self.writing(quiet=True) as db:
            db.execute(
                update(associations)
                .where(associations.c.id == association_id)
                .values(outcome=outcome, objects=objects, size_bytes=size_bytes, ended_at=now)
            )

    def tally(self, tallies: Sequence[Tally]) -> list[int]:
        """The audit rows of associations that are counted: new ones, or what they say by now; their ids."""
        with self.writing(quiet=True) as db:
            return [_tally(db, one) for one in tallies]

    def record(
        self,
        batch: Sequence[Received],
        *,
        always: Sequence[str] = (),
        ai: Sequence[str] = (),
        observing: bool = False,
    ) -> list[Recorded]:
        """Write the objects of `batch` with their jobs and always-deliveries in one synced transaction.

        When this returns, 0x0000 may be answered. The same UID and digest again changes nothing. Where films
        of a sender are only observed (`observing`, unless people said otherwise of it, or bypass the gates)
        `ai` gets them as well; what was rejected before is a film like any other then.
        """
        usual = "observe" if observing else "enforce"
        with self.writing() as db:
            steered, rows = self.steered_in(db), list[Recorded]()
            for received in batch:
                observed = steered.mode(received.sender, usual, received.received_at) == "observe"
                to = tuple(dict.fromkeys((*always, *ai))) if observed else always
                rows.append(_record(db, received, to, observed))
            return rows


def _tally(db: Connection, one: Tally) -> int:
    now = {"reason": one.reason, "times": one.times, "ended_at": one.last_at}
    if one.row is not None:
        db.execute(update(associations).where(associations.c.id == one.row).values(**now))
        return one.row
    who = {"calling": one.calling, "called": one.called, "address": one.address}
    return inserted(db, associations, who | now | {"started_at": one.first_at, "outcome": one.outcome})


_UID: BindParameter[Any] = bindparam("uid", type_=String)
_DIGEST: BindParameter[Any] = bindparam("digest", type_=String)
_SEEN = select(  # one row, whatever is known: the film, this version of it, whose it is, who rejected it
    instances.c.id,
    instances.c.ours,
    select(versions.c.id)
    .where(versions.c.film_id == instances.c.id, versions.c.digest == _DIGEST)
    .scalar_subquery(),
    or_(*(exists().where(table.c.sop_instance_uid == _UID) for table in (copies, objects))),
    select(rejections.c.code).where(rejections.c.sop_instance_uid == _UID).scalar_subquery(),
).select_from(
    select(_UID.label("uid")).subquery("asked").outerjoin(instances, instances.c.sop_instance_uid == _UID)
)


@lru_cache(maxsize=8)
def _seen(dialect: Dialect) -> Prepared:
    return Prepared(_SEEN, dialect)


def _record(db: Connection, received: Received, always: Sequence[str], observing: bool) -> Recorded:
    row = {"uid": received.sop_instance_uid, "digest": received.digest}
    seen: Sequence[Any] = _seen(db.dialect).run(db, row).one()
    film_id, ours, version_id, made_here, code = seen
    if film_id is None:
        return _first(db, received, always, observing, ours=bool(made_here), code=code)
    rejected = "" if observing else code or ""
    if version_id is not None:
        _owe_again(db, film_id, received)
        return Recorded(film_id, version_id, Outcome.SAME, rejected)
    version_id = _version(db, film_id, received)
    if ours:
        return Recorded(film_id, version_id, Outcome.OURS)
    # An archive that changes what it reflects would otherwise get every change back, without end.
    others = [name for name in always if name not in received.came_from]
    state = JobState.DONE if rejected else JobState.READY
    _queue(db, film_id, version_id, received, others, "version received", state)
    hurried = (deliveries.c.film_id == film_id) & (deliveries.c.rank > _rank(received))
    db.execute(update(deliveries).where(hurried).values(rank=_rank(received)))
    return Recorded(film_id, version_id, Outcome.VERSION, rejected)


def _first(
    db: Connection,
    received: Received,
    always: Sequence[str],
    observing: bool,
    *,
    ours: bool,
    code: str | None,
) -> Recorded:
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
    if code and not observing:
        _queue(db, film_id, version_id, received, always, "received", JobState.DONE)
        _withhold_rejected(db, film_id, version_id, received)
        return Recorded(film_id, version_id, Outcome.NEW, code)
    _queue(db, film_id, version_id, received, always, "received")
    return Recorded(film_id, version_id, Outcome.NEW)


def _owe_again(db: Connection, film_id: int, received: Received) -> None:
    """Somebody sends an object again: what had failed for good, or was lost with its file, is owed anew."""
    ended = (DeliveryState.FAILED, DeliveryState.CANCELLED)
    for state in ended:
        allowed(deliveries, state, DeliveryState.PENDING)
    lost = deliveries.c.state.in_(ended) & (deliveries.c.kind == "always")
    db.execute(
        update(deliveries)
        .where(deliveries.c.film_id == film_id, deliveries.c.digest == received.digest, lost)
        .values(state=DeliveryState.PENDING, **owed_anew(received.received_at))
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
    db: Connection,
    film_id: int,
    version_id: int,
    received: Received,
    always: Sequence[str],
    what: str,
    state: JobState = JobState.READY,
) -> None:
    now = received.received_at
    job = {
        "film_id": film_id,
        "version_id": version_id,
        "state": state,
        "rank": _rank(received),
        "created_at": now,
    }
    insert_rows(db, jobs, job)
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
        insert_rows(db, deliveries, *rows)
    note(db, now, what, film_id=film_id, who=WHO, association=received.association_id)


def _rank(received: Received) -> int:
    if received.urgent:
        return URGENT
    return CAN_WAIT if received.can_wait else ORDINARY


def _withhold_ours(db: Connection, film_id: int, version_id: int, now: datetime) -> None:
    """What we made and somebody sent back is kept and decided at once: no job, no delivery, no loop."""
    ours = Decision(Act.WITHHOLD, (Reason.OURS,), "ours", REASON_TEXT[Reason.OURS])
    write_withheld(db, film_id, version_id, ours, now)
    note(db, now, "came back", film_id=film_id, who=WHO)


def _withhold_rejected(db: Connection, film_id: int, version_id: int, received: Received) -> None:
    """It was rejected before it came, or came back, to us."""
    of_it = select(rejections).where(rejections.c.sop_instance_uid == received.sop_instance_uid)
    write_withheld(db, film_id, version_id, withheld(db.execute(of_it).one()), received.received_at)
    note(db, received.received_at, "rejected", film_id=film_id, who=WHO)
