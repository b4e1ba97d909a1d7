"""REVIEW: what people list, and what they decide about held films."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    exists,
    func,
    literal,
    select,
    true,
    update,
)

from gateway.errors import NotFound, PersonDecided
from gateway.ledger.engine import Database
from gateway.ledger.holding.rejecting import in_words, lift
from gateway.ledger.holding.taking_back import NOT_GONE, TO_AI, standing, take_back_unowed
from gateway.ledger.listing import film_id_of, what_of
from gateway.ledger.moves import FROM_THE_START, allowed, move, note, owed_anew, stands
from gateway.ledger.records import (
    DeliveryState,
    Hold,
    HoldState,
    JobState,
    Undelivered,
    Undone,
    shown_state,
)
from gateway.ledger.tables import (
    UtcDateTime,
    associations,
    copies,
    decisions,
    deliveries,
    holds,
    instances,
    jobs,
    objects,
    versions,
)

_AT_ONCE = 200  # deliveries that are queued again in one transaction
_PAGE = 1000  # rows in one transaction of a long list


class Reviewing(Database):
    """Holds and deliveries as people list them, and their decisions."""

    def holds(
        self, state: HoldState | None = HoldState.OPEN, *, after: int = 0, limit: int | None = None
    ) -> list[Hold]:
        """Held films, oldest first, after the hold `after`; all states when `state` is None."""
        query = HOLDS.order_by(holds.c.id).where(holds.c.id > after).limit(limit)
        if state is not None:
            query = query.where(stands(holds, state))
        with self.reading() as db:
            return [hold_of(row) for row in db.execute(query)]

    def each_hold(
        self, state: HoldState | None = HoldState.OPEN, *, after: int = 0, limit: int | None = None
    ) -> Iterator[Hold]:
        """The same, page by page: no transaction stays open while somebody prints."""
        left = limit
        while left is None or left > 0:
            page = self.holds(state, after=after, limit=_PAGE if left is None else min(left, _PAGE))
            yield from page
            if len(page) < _PAGE:
                return
            after, left = page[-1].id, None if left is None else left - len(page)

    def count_holds(self, state: HoldState | None = HoldState.OPEN, *, after: int = 0) -> int:
        """How many these are."""
        which = (holds.c.id > after) if state is None else (holds.c.id > after) & stands(holds, state)
        with self.reading() as db:
            return int(db.scalar(select(func.count()).where(which)) or 0)

    def open_hold(self, film: str | int) -> Hold:
        """The open hold of a film; "h7" names a hold by itself, for films that are held in two versions.

        Raises:
            NotFound: no such film, it is not held, or it is held twice.
        """
        with self.reading() as db:
            if _HOLD_NAME.fullmatch(str(film)):
                which = holds.c.id == int(str(film)[1:])
            else:
                which = holds.c.film_id == film_id_of(db, film)
            rows = db.execute(HOLDS.where(which, holds.c.state == HoldState.OPEN)).all()
        if not rows:
            raise NotFound(f"film {film} is not held. Nothing was changed. See `filmgate quarantine list`.")
        if len(rows) > 1:
            names = ", ".join(f"h{row.id}" for row in rows)
            raise NotFound(
                f"film {film} is held in {len(rows)} versions with different pixels. Nothing was changed. "
                f"Name one of them: {names}."
            )
        return hold_of(rows[0])

    def gate_again(self, film_id: int, *, by: str, now: datetime, rejected: bool = False) -> bool:
        """Ask for a film to be examined again; the new decision supersedes the old one.

        Raises:
            PersonDecided: a person rejected it, and `rejected` does not say that this is known: AI could
                get it after all, while the archive was told that it is rejected.
        """
        with self.writing() as db:
            job = job_judged(db, film_id)
            if job is None:
                return False
            before = _rejection(db, film_id, job.version_id)
            if before and not rejected:
                raise PersonDecided(
                    f"film {film_id} was {before}. It was not examined again: that could hold it anew, or "
                    "send it to AI. If that is meant, say --rejected."
                )
            lift(db, film_id, by, now)
            note(db, now, "gate again", film_id=film_id, who=by, **({"after": before} if before else {}))
            return move(db, jobs, job.id, job.state, JobState.READY, **FROM_THE_START)

    def rejection(self, film_id: int) -> str:
        """Who rejected a film, when, and who got the note; "" when nobody did, or a decision followed."""
        current = (decisions.c.film_id == film_id) & ~decisions.c.superseded
        with self.reading() as db:
            version_id = db.scalar(select(decisions.c.version_id).where(current))
            return _rejection(db, film_id, version_id) if version_id is not None else ""

    def send_again(self, film_id: int, *, by: str, now: datetime) -> int:
        """Queue a film's failed deliveries once more; how many there were.

        Of a film that is held, withheld or rejected nothing goes to AI. A reading keeps its time, which its
        results state: those that were made before are made the same.
        """
        with self.writing() as db:
            count = _send_again(db, [film_id], deliveries.c.film_id == film_id, now)
            note(db, now, "send again", film_id=film_id, who=by, deliveries=count)
            return count

    def send_all_again(
        self, destination: str, trouble: str | None = None, *, by: str, note_text: str = "", now: datetime
    ) -> int:
        """Queue all failed deliveries to a destination once more, or those of one trouble; how many.

        A few hundred at a time: others write to the ledger meanwhile.
        """
        those = _those(destination, trouble) & stands(deliveries, DeliveryState.FAILED)
        count, last = 0, 0
        while True:
            with self.writing() as db:
                columns = (deliveries.c.id, deliveries.c.film_id, deliveries.c.kind)
                query = select(*columns).where(those, deliveries.c.id > last)
                rows = db.execute(query.order_by(deliveries.c.id).limit(_AT_ONCE)).all()
                if not rows:
                    return count
                last = rows[-1].id
                to_ai = sorted({row.film_id for row in rows if row.kind in TO_AI})
                count += _send_again(db, to_ai, deliveries.c.id.in_([row.id for row in rows]), now)
                for film_id in sorted({row.film_id for row in rows}):
                    detail = {"destination": destination} | ({"note": note_text} if note_text else {})
                    note(db, now, "send again", film_id=film_id, who=by, **detail)

    def undelivered(
        self,
        states: Sequence[DeliveryState],
        destination: str | None = None,
        trouble: str | None = None,
        limit: int | None = None,
    ) -> list[Undelivered]:
        """Objects that have not arrived, oldest first."""
        kind = select(objects.c.kind).where(
            objects.c.film_id == deliveries.c.film_id, objects.c.digest == deliveries.c.digest
        )
        query = select(deliveries, kind.limit(1).scalar_subquery().label("object_kind"))
        query = query.where(_those(destination, trouble)).order_by(deliveries.c.id).limit(limit)
        with self.reading() as db:  # an index for each state
            rows = [
                row
                for state in _with_leaving(states)
                for row in db.execute(query.where(stands(deliveries, state)))
            ]
        return [_undelivered(row) for row in sorted(rows, key=lambda row: row.id)[:limit]]

    def undone(self, destination: str | None = None, trouble: str | None = None) -> list[Undone]:
        """How many objects have not arrived where, and why."""
        own = deliveries.c
        grouped = (own.destination, own.trouble)
        counted = (func.count(), func.min(own.created_at), func.max(own.tries))
        query = select(*grouped, *counted).where(_those(destination, trouble)).group_by(*grouped)
        told: dict[tuple[str, DeliveryState, str], Undone] = {}
        with self.reading() as db:
            for state in (*NOT_GONE, DeliveryState.FAILED):  # an index for each: not two states at once
                for name, why, *numbers in db.execute(query.where(stands(deliveries, state))):
                    as_told = DeliveryState.PENDING if state is DeliveryState.LEAVING else state
                    one = Undone(name, as_told, why or "", *numbers)
                    key = (name, as_told, one.trouble)
                    told[key] = _together(told[key], one) if key in told else one
        counts = told.values()
        return sorted(counts, key=lambda one: (one.destination, one.state, one.trouble))

    def last_taken(self, destination: str) -> datetime | None:
        """When a destination took something last."""
        its = (deliveries.c.destination == destination) & stands(deliveries, DeliveryState.DELIVERED)
        with self.reading() as db:
            taken: datetime | None = db.scalar(select(func.max(deliveries.c.ended_at)).where(its))
            return taken

    def lose(self, digest: str, *, now: datetime) -> int:
        """Stop the deliveries of an object whose file is gone; how many there were."""
        waiting = deliveries.c.state.in_(NOT_GONE)
        for state in NOT_GONE:
            allowed(deliveries, state, DeliveryState.CANCELLED)
        with self.writing() as db:
            tables = (versions, objects, copies)
            owners = (db.scalars(select(t.c.film_id).where(t.c.digest == digest)) for t in tables)
            films = [film_id for its in owners for film_id in its]
            film_id = films[0] if films else None
            owed = deliveries.c.film_id.in_(films) & (deliveries.c.digest == digest)
            lost = update(deliveries).where(waiting, owed)
            stopped = db.execute(lost.values(state=DeliveryState.CANCELLED, ended_at=now)).rowcount
            note(db, now, "object lost", film_id=film_id, who="fsck", digest=digest, deliveries=stopped)
            return stopped

    def digests(self, prefix: str = "") -> set[str]:
        """Every digest that must lie in the store, or those that begin so."""
        with self.reading() as db:
            return {
                digest
                for column in (versions.c.digest, copies.c.digest, objects.c.digest)
                # Hex digits end with f; a range finds them by the index, LIKE does not.
                for digest in db.scalars(select(column).where(column >= prefix, column < prefix + "g"))
            }


HOLDS = (
    select(holds, instances.c.sop_instance_uid, versions.c.digest, copies.c.digest.label("proposal"))
    .add_columns(associations.c.calling)
    .join(instances, instances.c.id == holds.c.film_id)
    .join(versions, versions.c.id == holds.c.version_id)
    .outerjoin(associations, associations.c.id == versions.c.association_id)
    .outerjoin(copies, copies.c.id == holds.c.copy_id)
)
_HOLD_NAME = re.compile(r"h[0-9]{1,18}")


def job_judged(db: Connection, film_id: int) -> Any | None:
    """The job whose decision stands for a film, where it can be done once more."""
    judged = (
        select(jobs)
        .join(decisions, decisions.c.version_id == jobs.c.version_id)
        .where(decisions.c.film_id == film_id, ~decisions.c.superseded)
        .where(jobs.c.film_id == film_id, jobs.c.delivery_id.is_(None))
    )
    job = db.execute(judged).one_or_none()
    return job if job is not None and job.state in (JobState.DONE, JobState.PARKED) else None


def _those(destination: str | None, trouble: str | None) -> ColumnElement[bool]:
    """Deliveries to one destination, or all; of one trouble, or any."""
    named = ((deliveries.c.destination, destination), (deliveries.c.trouble, trouble))
    return and_(true(), *(column == value for column, value in named if value is not None))


def _send_again(db: Connection, to_ai: Sequence[int], which: ColumnElement[bool], now: datetime) -> int:
    """How many there were; of the films `to_ai` what AI shall not have any more is left out."""
    allowed(deliveries, DeliveryState.FAILED, DeliveryState.PENDING)
    reading = exists().where(jobs.c.delivery_id == deliveries.c.id)
    since = case((reading, deliveries.c.created_at), else_=literal(now, UtcDateTime))
    again = owed_anew(now) | {"created_at": since}
    failed = update(deliveries).where(which, deliveries.c.state == DeliveryState.FAILED)
    count = db.execute(failed.values(state=DeliveryState.PENDING, **again)).rowcount
    return count - take_back_unowed(db, to_ai, now)


def _with_leaving(states: Sequence[DeliveryState]) -> Sequence[DeliveryState]:
    return (*states, DeliveryState.LEAVING) if DeliveryState.PENDING in states else states


def _together(one: Undone, other: Undone) -> Undone:
    """The two as one group."""
    return replace(
        one,
        count=one.count + other.count,
        since=min(one.since, other.since),
        most_tries=max(one.most_tries, other.most_tries),
    )


def _undelivered(row: Any) -> Undelivered:
    return Undelivered(
        id=row.id,
        film_id=row.film_id,
        destination=row.destination,
        what=what_of(row.kind, row.object_kind),
        sop_instance_uid=row.sop_instance_uid,
        state=DeliveryState(shown_state(row.state)),
        trouble=row.trouble or "",
        error=row.error or "",
        tries=row.tries,
        attempts=row.attempts,
        since=row.created_at,
        next_at=row.next_at,
    )


def hold_of(row: Any) -> Hold:
    return Hold(
        id=row.id,
        film_id=row.film_id,
        version_id=row.version_id,
        decision_id=row.decision_id,
        digest=row.digest,
        sop_instance_uid=row.sop_instance_uid,
        takers=tuple(row.takers),
        reasons=tuple(row.reasons),
        why=row.why,
        state=HoldState(row.state),
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        closed_by=row.closed_by,
        note=row.note,
        proposal=row.proposal,
        sender=row.calling or "",
        words=tuple(row.words or ()),
    )


def _rejection(db: Connection, film_id: int, version_id: int) -> str:
    """In words, when the last word on a version is a rejection, by a person or by a Key Object; else ""."""
    if (rejection := standing(db, film_id)) is not None:
        return f"rejected: {in_words(rejection)}"
    of_version = (holds.c.film_id == film_id) & (holds.c.version_id == version_id)
    last = select(holds).where(of_version).order_by(holds.c.id.desc()).limit(1)
    hold = db.execute(last).one_or_none()
    if hold is None or hold.state != HoldState.REJECTED:
        return ""
    notes = select(objects.c.digest).where(objects.c.film_id == hold.film_id, objects.c.kind == "rejection")
    its = (deliveries.c.film_id == hold.film_id) & deliveries.c.digest.in_(notes)
    names = ", ".join(sorted(set(db.scalars(select(deliveries.c.destination).where(its)))))
    word = f"; the rejection note for {names} stands" if names else ""
    return f"rejected by {hold.closed_by} on {hold.closed_at:%Y-%m-%d %H:%M} UTC{word}"
