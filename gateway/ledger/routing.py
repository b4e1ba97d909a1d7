"""ROUTE: what is owed to whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    exists,
    func,
    insert,
    select,
    union,
    update,
)

from gateway.errors import Trouble
from gateway.ledger.engine import Database
from gateway.ledger.holding.taking_back import WAITING, take_back_unowed
from gateway.ledger.moves import allowed, move, note, owed_anew, stands
from gateway.ledger.records import ORDINARY, Delivery, DeliveryState, JobState
from gateway.ledger.tables import UtcDateTime, copies, deliveries, events, instances, jobs, versions

WHO = "courier"
UNANSWERED = "delivery unanswered"
GO_LAST = 2  # tries held against an object, after which all others go first
ALL = 2**62
HORIZON = timedelta(
    hours=6
)  # no retry is planned further ahead: a later one means that the clock was set back


_PENDING = stands(deliveries, DeliveryState.PENDING)
_RETRY = stands(deliveries, DeliveryState.RETRY)


_NOW, _AHEAD = bindparam("now", type_=UtcDateTime), bindparam("ahead", type_=UtcDateTime)
_DUE = (  # new ones at once, whatever the clock says; others at their time. One a look into an index
    _PENDING,
    _RETRY & (deliveries.c.next_at <= _NOW),
    _RETRY & (deliveries.c.next_at > _AHEAD),
)


class Routing(Database):
    """Deliveries, as the courier claims and reports them."""

    def due_destinations(self, now: datetime, *, most: int = ALL) -> dict[str, int]:
        """Destination -> how many deliveries could go now, not counted further than to `most` of a kind.

        The courier asks often: it must not wait for a count of thousands owed to a peer that is away.
        """
        counted: dict[str, int] = {}
        with self.reading() as db:
            for name, *numbers in db.execute(_BY_DESTINATION, _times(now) | {"most": most}):
                if count := sum(numbers):
                    counted[name] = count
        return counted

    def claim_deliveries(self, destination: str, limit: int, now: datetime) -> list[Delivery]:
        """Take up to `limit` deliveries that are due; they are `sending` from now on.

        New ones first, urgent ones and then the oldest of them before the others; then what failed, as it
        falls due; and what was refused again and again while others were taken when nothing else is to do.

        Of several versions under one SOP Instance UID one is in hand at a time: what the peer says that
        it has already could be any of them.
        """
        allowed(deliveries, DeliveryState.PENDING, DeliveryState.SENDING)
        allowed(deliveries, DeliveryState.RETRY, DeliveryState.SENDING)
        parameters = _times(now) | {"name": destination, "most": limit}
        while True:
            with self.reading() as db:
                in_turn = (_first(db, queries, parameters) for queries in _IN_TURN)
                rows = next((rows[:limit] for rows in in_turn if rows), [])
                unanswered = _unanswered(db, [row.film_id for row in rows if row.attempts])
            taken = self._taken(rows) if rows else {}
            if taken is not None:  # else others of this destination were faster
                break
        return [
            replace(
                delivery_of(row, attempts=row.attempts + 1),
                unanswered=row.id in unanswered,
                sole=taken[row.id],
            )
            for row in rows
            if row.id in taken
        ]

    def _taken(self, rows: list[Any]) -> dict[int, bool] | None:
        """Those of these deliveries that go now: id -> whether its destination was sent no other version.

        None when others tried all of them since they were read.

        The ledger is locked for that alone.
        """
        with self.leasing() as db:
            waiting = {row.id: row for row in db.execute(_STILL_WAIT, {"ids": [row.id for row in rows]})}
            same = [row for row in rows if row.id in waiting and waiting[row.id].attempts == row.attempts]
            first: dict[tuple[int, str], int] = {}  # of each film and UID; a payload has none
            for row in same:
                if not waiting[row.id].beside:
                    first.setdefault((row.film_id, row.sop_instance_uid or row.digest), row.id)
            db.execute(_TAKE, {"ids": list(first.values())})
            return {one: not waiting[one].rival for one in first.values()} if same else None

    def unanswered(self, delivery: Delivery, now: datetime) -> None:
        """All of it was sent and no answer came: said once, and remembered for the tries that follow."""
        with self.writing(quiet=True) as db:
            _note_unanswered(db, delivery, now)

    def delivered(self, delivery_id: int, now: datetime) -> None:
        """The peer confirmed it."""
        with self.writing(quiet=True) as db:
            allowed(deliveries, DeliveryState.SENDING, DeliveryState.DELIVERED)
            done = db.execute(_DELIVERED, {"which": delivery_id, "now": now}).one_or_none()
            if done is not None:
                note(db, now, "delivered", film_id=done.film_id, who=WHO, destination=done.destination)

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
        with self.writing(quiet=True) as db:
            again = {"next_at": at, "error": error, "trouble": trouble}
            if counted:
                again["tries"] = deliveries.c.tries + 1
            if move(db, deliveries, delivery_id, DeliveryState.SENDING, DeliveryState.RETRY, **again):
                film_id, _ = _whose(db, delivery_id)
                take_back_unowed(db, [film_id], now or at)

    def put_back(self, delivery_id: int, now: datetime) -> None:
        """It was claimed and not tried: owed as before, but for what AI shall not have any more."""
        with self.writing() as db:
            row = db.execute(select(deliveries).where(deliveries.c.id == delivery_id)).one()
            if _waits_again(db, row):
                take_back_unowed(db, [row.film_id], now)

    def fail_delivery(
        self, delivery_id: int, *, error: str, now: datetime, trouble: Trouble | None = None
    ) -> None:
        """It failed for good; a person looks at it."""
        with self.writing(quiet=True) as db:
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
        working = jobs.c.state.in_((JobState.READY, JobState.LEASED))
        read = exists().where(jobs.c.delivery_id == deliveries.c.id, working)
        in_hand = select(deliveries).where(stands(deliveries, DeliveryState.SENDING), ~read)
        if destination is not None:
            in_hand = in_hand.where(deliveries.c.destination == destination)
        with self.writing() as db:
            rows = db.execute(in_hand).all()
            for row in rows:
                _waits_again(db, row)
                if now is not None:
                    _note_unanswered(db, row, now)
            take_back_unowed(db, [row.film_id for row in rows], now)
            return len(rows)


def _waits_again(db: Connection, delivery: Any) -> bool:
    """A delivery that goes last goes last again; False when it was not in hand any more."""
    waits = DeliveryState.RETRY if delivery.tries >= GO_LAST else DeliveryState.PENDING
    return move(db, deliveries, delivery.id, DeliveryState.SENDING, waits)


def _note_unanswered(db: Connection, delivery: Any, now: datetime) -> None:
    if delivery.id not in _unanswered(db, [delivery.film_id]):
        its = {"destination": delivery.destination, "delivery": delivery.id}
        note(db, now, UNANSWERED, film_id=delivery.film_id, who=WHO, **its)


def _times(now: datetime) -> dict[str, Any]:
    return {"now": now, "ahead": now + HORIZON}


def _names(which: ColumnElement[bool], word: str) -> Select[Any]:
    """The destinations of such deliveries: from one name to the next in the index, whatever lies between."""
    least = select(func.min(deliveries.c.destination).label("name")).where(which)
    names = least.cte(word, recursive=True)
    following = least.where(deliveries.c.destination > names.c.name).correlate(names).scalar_subquery()
    names = names.union_all(select(following).where(names.c.name.is_not(None)))
    return select(names.c.name).where(names.c.name.is_not(None))


def _by_destination() -> Select[Any]:
    """A row a destination that something waits for: its name, and how many are due of each kind."""
    names = union(_names(_PENDING, "new"), _names(_RETRY, "tried")).subquery("names")
    counts = []
    for due in _DUE:
        its = select(deliveries.c.id).where(due, deliveries.c.destination == names.c.name)
        few = its.limit(bindparam("most")).correlate(names).subquery()
        counts.append(select(func.count()).select_from(few).scalar_subquery())
    return select(names.c.name, *counts)


def _first(db: Connection, queries: tuple[Select[Any], ...], parameters: dict[str, Any]) -> list[Any]:
    """The first deliveries of one turn; each of its queries is in order itself."""
    return [row for query in queries for row in db.execute(query, parameters)]


def _in_turn() -> Iterator[tuple[Select[Any], ...]]:
    """The turns, in order: a later one only when the ones before have nothing."""
    its = select(deliveries).where(deliveries.c.destination == bindparam("name")).limit(bindparam("most"))
    yield (its.where(_PENDING).order_by(deliveries.c.rank, deliveries.c.id),)
    often = deliveries.c.tries >= GO_LAST
    for some in (~often, often):
        yield tuple(its.where(due, some).order_by(deliveries.c.next_at) for due in _DUE[1:])


_BY_DESTINATION = _by_destination()
_IN_TURN = tuple(_in_turn())
_THESE = deliveries.c.id.in_(bindparam("ids", expanding=True))
_OTHER = deliveries.alias("other")
_DELIVERED = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("which"), deliveries.c.state == DeliveryState.SENDING)
    .values(state=DeliveryState.DELIVERED, ended_at=_NOW, error=None, trouble=None)
    .returning(deliveries.c.film_id, deliveries.c.destination)
)
_RIVAL = (  # another version under the same UID, owed to the same destination
    (_OTHER.c.film_id == deliveries.c.film_id)
    & (_OTHER.c.destination == deliveries.c.destination)
    & (_OTHER.c.sop_instance_uid == deliveries.c.sop_instance_uid)
    & (_OTHER.c.id != deliveries.c.id)
    & (deliveries.c.sop_instance_uid != "")
)
_STILL_WAIT = (
    select(deliveries.c.id, deliveries.c.attempts)
    .add_columns(exists().where(_RIVAL, stands(_OTHER, DeliveryState.SENDING)).label("beside"))
    .add_columns(exists().where(_RIVAL, _OTHER.c.attempts > 0).label("rival"))
    .where(_THESE, stands(deliveries, *WAITING))
    .with_for_update(skip_locked=True)
)
_TAKE = (
    update(deliveries).where(_THESE).values(state=DeliveryState.SENDING, attempts=deliveries.c.attempts + 1)
)


def _unanswered(db: Connection, films: list[int]) -> set[int]:
    """The deliveries of these films of which an earlier try got no answer."""
    details = select(events.c.detail).where(events.c.film_id.in_(films), events.c.what == UNANSWERED)
    return {detail["delivery"] for detail in db.scalars(details)} if films else set()


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


# What becomes owed


def owe_original(
    db: Connection, film_id: int, version_id: int, destinations: tuple[str, ...], now: datetime
) -> None:
    """Owe one version of a film, as it was received, to AI destinations."""
    if not destinations:
        return
    row = db.execute(_VERSION, {"its_version": version_id}).one()
    for name in destinations:
        owe(db, row, film_id, name, "ai", now)


def owe_copy(db: Connection, copy_id: int, destinations: tuple[str, ...], now: datetime) -> None:
    """Owe a corrected copy to AI destinations."""
    row = db.execute(select(copies).where(copies.c.id == copy_id)).one()
    for name in destinations:
        owe(db, row, row.film_id, name, "copy", now)


def owe(db: Connection, row: Any, film_id: int, destination: str, kind: str, now: datetime) -> None:
    """Owe an object to one destination; one that had failed or was taken back is owed anew."""
    same = {"its_film": film_id, "its_destination": destination, "its_digest": row.digest}
    owed_already = db.execute(_OWED_ALREADY, same).one_or_none()
    if owed_already is not None:
        if owed_already.state in (DeliveryState.FAILED, DeliveryState.CANCELLED):
            move(db, deliveries, owed_already.id, owed_already.state, DeliveryState.PENDING, **owed_anew(now))
        return
    owed = {
        "film_id": film_id,
        "destination": destination,
        "kind": kind,
        "digest": row.digest,
        "sop_class_uid": row.sop_class_uid,
        "sop_instance_uid": row.sop_instance_uid,
        "transfer_syntax_uid": row.transfer_syntax_uid,
        "next_at": now,
        "created_at": now,
    }
    db.execute(_OWE, owed | {"its_film": film_id})


_ITS_FILM: BindParameter[int] = bindparam("its_film")
_VERSION = (
    select(versions, instances.c.sop_instance_uid)
    .join(instances, instances.c.id == versions.c.film_id)
    .where(versions.c.id == bindparam("its_version"))
)
_OWED_ALREADY = select(deliveries.c.id, deliveries.c.state).where(
    deliveries.c.film_id == _ITS_FILM,
    deliveries.c.destination == bindparam("its_destination"),
    deliveries.c.digest == bindparam("its_digest"),
)
_GATING = (jobs.c.film_id == _ITS_FILM) & jobs.c.delivery_id.is_(None)
_MOST_URGENT = select(func.min(jobs.c.rank)).where(_GATING).scalar_subquery()  # as any version was sent
_OWE = insert(deliveries).values(state=DeliveryState.PENDING, rank=func.coalesce(_MOST_URGENT, ORDINARY))
