"""LEAVE: what a person let go waits a few seconds in the ledger before anybody may take it.

No timer runs in any process: the time stands in the row, so a kill -9 changes nothing. Until then the
delivery is `leaving`, which no courier and no worker looks for; the courier's look makes it `pending` when
its time has come. Undone before, it is cancelled, and nobody ever got it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, func, select, update

from gateway.ledger.engine import Database
from gateway.ledger.moves import allowed, insert_rows, owed_anew, stands
from gateway.ledger.records import ORDINARY, DeliveryState
from gateway.ledger.tables import UtcDateTime, deliveries, jobs

LONGEST_DELAY_S = 600.0  # quarantine.release_delay_s at most; a later time means that the clock was set back

_NOW, _AHEAD = bindparam("now", type_=UtcDateTime), bindparam("ahead", type_=UtcDateTime)
_ITS_TIME = (deliveries.c.next_at <= _NOW) | (deliveries.c.next_at > _AHEAD)
_DUE = select(deliveries.c.id).where(stands(deliveries, DeliveryState.LEAVING), _ITS_TIME)
_ANY_DUE = _DUE.limit(1)
_LET_GO = (
    update(deliveries)
    .where(stands(deliveries, DeliveryState.LEAVING), _ITS_TIME)
    .values(state=DeliveryState.PENDING)
)


class Leaving(Database):
    """What the courier asks at each look."""

    def let_go(self, now: datetime) -> int:
        """Make what may leave by now `pending`; how many that were. One look into a short index when none."""
        allowed(deliveries, DeliveryState.LEAVING, DeliveryState.PENDING)
        times = {"now": now, "ahead": now + timedelta(seconds=LONGEST_DELAY_S)}
        with self.reading() as db:
            if db.scalar(_ANY_DUE, times) is None:
                return 0
        with self.writing() as db:
            return db.execute(_LET_GO, times).rowcount


@dataclass(frozen=True, slots=True)
class Owed:
    """One object that a person wants to be at one destination."""

    film_id: int
    destination: str
    kind: str
    digest: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def key(self) -> tuple[int, str, str]:
        return self.film_id, self.destination, self.digest


@dataclass(frozen=True, slots=True)
class Owing:
    """The delivery by which it will be there, as it was before: state "" when it is new."""

    id: int
    state: str
    attempts: int
    leaves: bool  # whether something goes out by this


_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_OF_FILMS = select(
    deliveries.c.id,
    deliveries.c.film_id,
    deliveries.c.destination,
    deliveries.c.digest,
    deliveries.c.state,
    deliveries.c.attempts,
).where(deliveries.c.film_id.in_(_IDS))
_RANKS = (
    select(jobs.c.film_id, func.min(jobs.c.rank).label("rank"))
    .where(jobs.c.film_id.in_(_IDS), jobs.c.delivery_id.is_(None))
    .group_by(jobs.c.film_id)
)
_ANEW = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("which"))
    .values(
        state=bindparam("new_state"),
        next_at=bindparam("leaves_at", type_=UtcDateTime),
        created_at=_NOW,
        ended_at=None,
        tries=0,
    )
)
_ENDED = (DeliveryState.FAILED, DeliveryState.CANCELLED)


def owe_many(
    db: Connection, wanted: Sequence[Owed], now: datetime, until: datetime | None
) -> dict[tuple[int, str, str], Owing]:
    """Owe objects of many films, to leave at `until`; what had failed or was taken back is owed anew.

    What is owed already, or was delivered, stays as it is.
    """
    if not wanted:
        return {}
    state = DeliveryState.PENDING if until is None or until <= now else DeliveryState.LEAVING
    for ended in _ENDED:
        allowed(deliveries, ended, state)
    ids = {"ids": sorted({one.film_id for one in wanted})}
    before = {(row.film_id, row.destination, row.digest): row for row in db.execute(_OF_FILMS, ids)}
    ranks = {row.film_id: row.rank for row in db.execute(_RANKS, ids)}
    leaves_at = until or now
    new = {one.key: _row(one, state, ranks.get(one.film_id, ORDINARY), now, leaves_at) for one in wanted}
    new = {key: row for key, row in new.items() if key not in before}
    if new:
        insert_rows(db, deliveries, *new.values())
    anew = [before[one.key] for one in wanted if one.key in before and before[one.key].state in _ENDED]
    if anew:
        assert owed_anew(now).keys() == {"next_at", "created_at", "ended_at", "tries"}
        changed = {"new_state": state, "leaves_at": leaves_at, "now": now}
        db.execute(_ANEW, [{"which": row.id, **changed} for row in anew])
    after = {(row.film_id, row.destination, row.digest): row for row in db.execute(_OF_FILMS, ids)}
    goes = {row.id for row in anew}
    return {
        one.key: Owing(
            id=after[one.key].id,
            state="" if one.key in new else before[one.key].state,
            attempts=after[one.key].attempts,
            leaves=one.key in new or after[one.key].id in goes,
        )
        for one in wanted
    }


def _row(one: Owed, state: DeliveryState, rank: int, now: datetime, leaves_at: datetime) -> dict[str, object]:
    return {
        "film_id": one.film_id,
        "destination": one.destination,
        "kind": one.kind,
        "digest": one.digest,
        "sop_class_uid": one.sop_class_uid,
        "sop_instance_uid": one.sop_instance_uid,
        "transfer_syntax_uid": one.transfer_syntax_uid,
        "state": state,
        "rank": rank,
        "next_at": leaves_at,
        "created_at": now,
    }


def ids_of(owing: Iterable[Owing]) -> tuple[tuple[int, str, int], ...]:
    """As `records.Before` keeps those that something leaves by."""
    return tuple((one.id, one.state, one.attempts) for one in owing if one.leaves)
