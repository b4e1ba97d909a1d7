"""REVIEW: what people list, and what they decide about held films."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
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
from gateway.ledger.holding import IN_HAND, TO_AI, WAITING, take_back_unowed
from gateway.ledger.moves import allowed, move, note
from gateway.ledger.records import (
    CopyMade,
    CopyState,
    DeliveryState,
    FilmRow,
    Hold,
    HoldState,
    JobState,
    Made,
    Undelivered,
    Undone,
)
from gateway.ledger.rejecting import in_words, lift, standing
from gateway.ledger.tables import (
    UtcDateTime,
    associations,
    copies,
    decisions,
    deliveries,
    events,
    findings,
    holds,
    instances,
    jobs,
    objects,
    results,
    versions,
)
from gateway.ledger.working import keep_copy, keep_object, owe_copy, owe_original

_AT_ONCE = 200  # deliveries that are queued again in one transaction
_CHUNK = 500  # ids in one IN (...): SQLite takes 999 at least


class Reviewing(Database):
    """What the command line and the console read and write."""

    def films(
        self,
        *,
        limit: int | None = None,
        decision: str | None = None,
        reason: str | None = None,
        since: datetime | None = None,
        uid: str | None = None,
    ) -> list[FilmRow]:
        """Films, newest first, with findings and deliveries.

        `decision` may be "undecided"; `reason` may be a flag of the film as well.
        """
        current = (decisions.c.film_id == instances.c.id) & ~decisions.c.superseded
        query = (
            select(instances, decisions.c.id.label("decision_id"), decisions.c.act, decisions.c.rule)
            .add_columns(decisions.c.why, decisions.c.reasons, decisions.c.flags)
            .outerjoin(decisions, current)
            .order_by(instances.c.id.desc())
        )
        if decision is not None:
            undecided = decision == "undecided"
            query = query.where(decisions.c.act.is_(None) if undecided else decisions.c.act == decision)
        if since is not None:
            query = query.where(instances.c.received_at >= since)
        if uid is not None:
            query = query.where(instances.c.sop_instance_uid == uid)
        with self.reading() as db:
            rows = [row for row in db.execute(query) if reason is None or reason in _noted(row)]
            return _film_rows(db, rows[:limit])

    def film(self, film: str | int) -> FilmRow:
        """One film by SOP Instance UID or by film id.

        Raises:
            NotFound: there is no such film.
        """
        with self.reading() as db:
            uid = _film_uid(db, film)
        return self.films(uid=uid)[0]

    def events(self, film_id: int) -> list[dict[str, Any]]:
        """What happened to a film, oldest first."""
        with self.reading() as db:
            rows = db.execute(select(events).where(events.c.film_id == film_id).order_by(events.c.id))
            return [dict(at=r.at, what=r.what, who=r.who, **r.detail) for r in rows]

    def trace(self, film_id: int) -> list[dict[str, Any]]:
        """The policy, rule by rule, as it was applied to a film; empty while undecided."""
        current = (decisions.c.film_id == film_id) & ~decisions.c.superseded
        with self.reading() as db:
            return list(db.scalar(select(decisions.c.trace).where(current)) or ())

    def counts(self) -> dict[str, int]:
        """How many films, open holds, ready jobs and unfinished deliveries there are."""
        waiting = deliveries.c.state.in_((DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.RETRY))
        asked = {
            "films": select(func.count()).select_from(instances),
            "held": select(func.count()).where(holds.c.state == HoldState.OPEN),
            "ready": select(func.count()).where(jobs.c.state == JobState.READY),
            "owed": select(func.count()).where(waiting),
            "failed": select(func.count()).where(deliveries.c.state == DeliveryState.FAILED),
        }
        with self.reading() as db:
            return {name: int(db.scalar(query) or 0) for name, query in asked.items()}

    def refusals(self, limit: int = 100) -> list[dict[str, Any]]:
        """The latest associations that were not accepted."""
        query = select(associations).where(associations.c.outcome == "refused")
        with self.reading() as db:
            rows = db.execute(query.order_by(associations.c.id.desc()).limit(limit)).mappings()
            return [dict(row) for row in rows]

    def holds(self, state: HoldState | None = HoldState.OPEN) -> list[Hold]:
        """Held films, oldest first; all states when `state` is None."""
        query = _HOLDS.order_by(holds.c.id)
        if state is not None:
            query = query.where(holds.c.state == state)
        with self.reading() as db:
            return [_hold(row) for row in db.execute(query)]

    def open_hold(self, film: str | int) -> Hold:
        """The open hold of a film; "h7" names a hold by itself, for films that are held in two versions.

        Raises:
            NotFound: no such film, it is not held, or it is held twice.
        """
        with self.reading() as db:
            if _HOLD_NAME.fullmatch(str(film)):
                which = holds.c.id == int(str(film)[1:])
            else:
                which = instances.c.sop_instance_uid == _film_uid(db, film)
            rows = db.execute(_HOLDS.where(which, holds.c.state == HoldState.OPEN)).all()
        if not rows:
            raise NotFound(f"film {film} is not held. Nothing was changed. See `filmgate quarantine list`.")
        if len(rows) > 1:
            names = ", ".join(f"h{row.id}" for row in rows)
            raise NotFound(
                f"film {film} is held in {len(rows)} versions with different pixels. Nothing was changed. "
                f"Name one of them: {names}."
            )
        return _hold(rows[0])

    def release(self, hold: Hold, to: tuple[str, ...], *, by: str, note_text: str, now: datetime) -> None:
        """Close a hold and owe the film, as it was received, to `to`."""
        with self.writing() as db:
            _close(db, hold, HoldState.RELEASED, by, note_text, now, to=list(to))
            _discard(db, hold)
            owe_original(db, hold.film_id, hold.version_id, to, now)

    def correct(
        self,
        hold: Hold,
        copy: CopyMade | None,
        to: tuple[str, ...],
        *,
        by: str,
        note_text: str,
        now: datetime,
    ) -> None:
        """Close a hold and owe the corrected copy: `copy`, or the proposal that lies ready.

        Raises:
            NotFound: there is neither.
        """
        with self.writing() as db:
            copy_id = _person_copy(db, hold, copy, now)
            _close(db, hold, HoldState.CORRECTED, by, note_text, now, to=list(to))
            move(db, copies, copy_id, CopyState.PROPOSED, CopyState.ACCEPTED)
            owe_copy(db, copy_id, to, now)

    def reject(self, hold: Hold, *, by: str, note_text: str, now: datetime, made: Made | None = None) -> None:
        """Close a hold for good: no AI gets the film. `made` is the rejection note, where one is sent."""
        with self.writing() as db:
            _close(db, hold, HoldState.REJECTED, by, note_text, now)
            _discard(db, hold)
            if made:
                keep_object(db, hold.film_id, None, made, now)

    def gate_again(self, film_id: int, *, by: str, now: datetime, rejected: bool = False) -> bool:
        """Ask for a film to be examined again; the new decision supersedes the old one.

        Raises:
            PersonDecided: a person rejected it, and `rejected` does not say that this is known: AI could
                get it after all, while the archive was told that it is rejected.
        """
        judged = (
            select(jobs)
            .join(decisions, decisions.c.version_id == jobs.c.version_id)
            .where(decisions.c.film_id == film_id, ~decisions.c.superseded, jobs.c.delivery_id.is_(None))
        )
        with self.writing() as db:
            job = db.execute(judged).one_or_none()
            if job is None or job.state not in (JobState.DONE, JobState.PARKED):
                return False
            before = _rejection(db, job.version_id)
            if before and not rejected:
                raise PersonDecided(
                    f"film {film_id} was {before}. It was not examined again: that could hold it anew, or "
                    "send it to AI. If that is meant, say --rejected."
                )
            lift(db, film_id)
            note(db, now, "gate again", film_id=film_id, who=by, **({"after": before} if before else {}))
            return move(db, jobs, job.id, job.state, JobState.READY, attempts=0, error=None)

    def rejection(self, film_id: int) -> str:
        """Who rejected a film, when, and who was told; "" when nobody did, or it was decided on since."""
        current = (decisions.c.film_id == film_id) & ~decisions.c.superseded
        with self.reading() as db:
            version_id = db.scalar(select(decisions.c.version_id).where(current))
            return _rejection(db, version_id) if version_id is not None else ""

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
        those = _those(destination, trouble) & (deliveries.c.state == DeliveryState.FAILED)
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
        those = _those(destination, trouble) & deliveries.c.state.in_(states)
        kind = select(objects.c.kind).where(
            objects.c.film_id == deliveries.c.film_id, objects.c.digest == deliveries.c.digest
        )
        query = select(deliveries, kind.limit(1).scalar_subquery().label("object_kind")).where(those)
        with self.reading() as db:
            rows = db.execute(query.order_by(deliveries.c.id).limit(limit))
            return [_undelivered(row) for row in rows]

    def undone(self, destination: str | None = None, trouble: str | None = None) -> list[Undone]:
        """How many objects have not arrived where, and why."""
        own = deliveries.c
        states = (*WAITING, DeliveryState.FAILED)
        grouped = (own.destination, own.state, own.trouble)
        counted = (func.count(), func.min(own.created_at), func.max(own.tries))
        query = select(*grouped, *counted).where(_those(destination, trouble), own.state.in_(states))
        with self.reading() as db:
            rows = db.execute(query.group_by(*grouped).order_by(*grouped)).all()
        return [Undone(row[0], DeliveryState(row[1]), row[2] or "", *row[3:]) for row in rows]

    def last_taken(self, destination: str) -> datetime | None:
        """When a destination took something last."""
        its = (deliveries.c.destination == destination) & (deliveries.c.state == DeliveryState.DELIVERED)
        with self.reading() as db:
            taken: datetime | None = db.scalar(select(func.max(deliveries.c.ended_at)).where(its))
            return taken

    def lose(self, digest: str, *, now: datetime) -> int:
        """Stop the deliveries of an object whose file is gone; how many there were."""
        waiting = deliveries.c.state.in_((DeliveryState.PENDING, DeliveryState.RETRY))
        allowed(deliveries, DeliveryState.PENDING, DeliveryState.CANCELLED)
        allowed(deliveries, DeliveryState.RETRY, DeliveryState.CANCELLED)
        lost = update(deliveries).where(waiting, deliveries.c.digest == digest)
        with self.writing() as db:
            owners = (db.scalar(select(t.c.film_id).where(t.c.digest == digest)) for t in (versions, objects))
            film_id = next((owner for owner in owners if owner is not None), None)
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


_HOLDS = (
    select(holds, instances.c.sop_instance_uid, versions.c.digest, copies.c.digest.label("proposal"))
    .add_columns(associations.c.calling)
    .join(instances, instances.c.id == holds.c.film_id)
    .join(versions, versions.c.id == holds.c.version_id)
    .outerjoin(associations, associations.c.id == versions.c.association_id)
    .outerjoin(copies, copies.c.id == holds.c.copy_id)
)
_HOLD_NAME = re.compile(r"h[0-9]{1,18}")


def _those(destination: str | None, trouble: str | None) -> ColumnElement[bool]:
    """Deliveries to one destination, or all; of one trouble, or any."""
    named = ((deliveries.c.destination, destination), (deliveries.c.trouble, trouble))
    return and_(true(), *(column == value for column, value in named if value is not None))


def _send_again(db: Connection, to_ai: Sequence[int], which: ColumnElement[bool], now: datetime) -> int:
    """How many there were; of the films `to_ai` what AI shall not have any more is left out."""
    allowed(deliveries, DeliveryState.FAILED, DeliveryState.PENDING)
    reading = exists().where(jobs.c.delivery_id == deliveries.c.id)
    since = case((reading, deliveries.c.created_at), else_=literal(now, UtcDateTime))
    again = {"next_at": now, "created_at": since, "ended_at": None, "tries": 0}
    failed = update(deliveries).where(which, deliveries.c.state == DeliveryState.FAILED)
    count = db.execute(failed.values(state=DeliveryState.PENDING, **again)).rowcount
    return count - take_back_unowed(db, to_ai, now)


def _undelivered(row: Any) -> Undelivered:
    return Undelivered(
        id=row.id,
        film_id=row.film_id,
        destination=row.destination,
        what=_what(row.kind, row.object_kind),
        sop_instance_uid=row.sop_instance_uid,
        state=DeliveryState(row.state),
        trouble=row.trouble or "",
        error=row.error or "",
        tries=row.tries,
        attempts=row.attempts,
        since=row.created_at,
        next_at=row.next_at,
    )


def _what(kind: str, object_kind: str | None) -> str:
    """What a delivery carries, in one word."""
    if object_kind:
        return object_kind
    return "copy" if kind == "copy" else "original"


def _hold(row: Any) -> Hold:
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


def _film_uid(db: Connection, film: str | int) -> str:
    by_uid = instances.c.sop_instance_uid == str(film)
    uid = db.scalar(select(instances.c.sop_instance_uid).where(by_uid))
    if uid is None and str(film).isdigit() and len(str(film)) < 19:
        uid = db.scalar(select(instances.c.sop_instance_uid).where(instances.c.id == int(film)))
    if uid is None:
        raise NotFound(f"there is no film {film}. Nothing was changed. See `filmgate films list`.")
    return str(uid)


def _close(
    db: Connection, hold: Hold, state: HoldState, by: str, text: str, now: datetime, **detail: Any
) -> None:
    """Close what the person saw: not a hold that stands for another decision by now."""
    allowed(holds, HoldState.OPEN, state)
    seen = (holds.c.id == hold.id) & (holds.c.decision_id == hold.decision_id)
    closed = {"state": state, "closed_at": now, "closed_by": by, "note": text}
    if db.execute(update(holds).where(seen, holds.c.state == HoldState.OPEN).values(**closed)).rowcount != 1:
        raise NotFound(
            f"film {hold.film_id} is no longer held as you saw it: somebody else decided, or it was examined "
            "again. Nothing was changed. Look at it once more."
        )
    _not_examined_again(db, hold.version_id, now)
    note(db, now, f"hold {state}", film_id=hold.film_id, who=by, note=text, **detail)


def _not_examined_again(db: Connection, version_id: int, now: datetime) -> None:
    """An examination that was asked for before a person decided must not undo what the person decided."""
    asked = (jobs.c.version_id == version_id) & jobs.c.delivery_id.is_(None) & jobs.c.state.in_(IN_HAND)
    for job in db.execute(select(jobs.c.id, jobs.c.state).where(asked)).all():
        move(db, jobs, job.id, job.state, JobState.DONE, done_at=now, owner=None)


def _rejection(db: Connection, version_id: int) -> str:
    """In words, when the last word on a version is a rejection, by a person or by a Key Object; else ""."""
    film_id = db.scalar(select(versions.c.film_id).where(versions.c.id == version_id))
    if film_id is not None and (said := standing(db, film_id)) is not None:
        return f"rejected: {in_words(said)}"
    last = select(holds).where(holds.c.version_id == version_id).order_by(holds.c.id.desc()).limit(1)
    hold = db.execute(last).one_or_none()
    if hold is None or hold.state != HoldState.REJECTED:
        return ""
    notes = select(objects.c.digest).where(objects.c.film_id == hold.film_id, objects.c.kind == "rejection")
    its = (deliveries.c.film_id == hold.film_id) & deliveries.c.digest.in_(notes)
    names = ", ".join(sorted(set(db.scalars(select(deliveries.c.destination).where(its)))))
    word = f"; the rejection note for {names} stands" if names else ""
    return f"rejected by {hold.closed_by} on {hold.closed_at:%Y-%m-%d %H:%M} UTC{word}"


def _discard(db: Connection, hold: Hold) -> None:
    allowed(copies, CopyState.PROPOSED, CopyState.DISCARDED)
    its_copy = (copies.c.film_id == hold.film_id) & (copies.c.digest == hold.proposal)
    proposed = its_copy & (copies.c.state == CopyState.PROPOSED)
    db.execute(update(copies).where(proposed).values(state=CopyState.DISCARDED))


def _person_copy(db: Connection, hold: Hold, copy: CopyMade | None, now: datetime) -> int:
    if copy is not None:
        return keep_copy(db, hold.film_id, hold.decision_id, copy, now)
    ready = (copies.c.film_id == hold.film_id) & (copies.c.digest == hold.proposal)
    found = db.scalar(select(copies.c.id).where(ready))
    if found is None:
        raise NotFound(
            f"film {hold.film_id} has no corrected copy ready. It stays held. "
            "Say what to do with it: --turn 90|180|270, --invert."
        )
    return int(found)


def _film_rows(db: Connection, rows: Sequence[Any]) -> list[FilmRow]:
    film_ids = [row.id for row in rows]
    decision_ids = [row.decision_id for row in rows if row.decision_id is not None]
    found = _grouped(db, decision_ids, "decision_id", _findings_of)
    owed = _grouped(db, film_ids, "film_id", _deliveries_of)
    work = _grouped(db, film_ids, "film_id", _jobs_of)
    read = _grouped(db, film_ids, "film_id", _results_of)
    made = _grouped(db, film_ids, "film_id", _objects_of)
    return [
        _film_row(row, found[row.decision_id], owed[row.id], work[row.id], read[row.id], made[row.id])
        for row in rows
    ]


def _findings_of(ids: Iterable[int]) -> Select[Any]:
    return select(findings).where(findings.c.decision_id.in_(ids)).order_by(findings.c.id)


def _deliveries_of(ids: Iterable[int]) -> Select[Any]:
    return select(deliveries).where(deliveries.c.film_id.in_(ids)).order_by(deliveries.c.id)


def _jobs_of(ids: Iterable[int]) -> Select[Any]:
    gating = jobs.c.delivery_id.is_(None)
    return select(jobs).where(jobs.c.film_id.in_(ids), gating).order_by(jobs.c.id)


def _results_of(ids: Iterable[int]) -> Select[Any]:
    stand = results.c.film_id.in_(ids) & ~results.c.superseded
    return select(results).where(stand).order_by(results.c.id)


def _objects_of(ids: Iterable[int]) -> Select[Any]:
    return select(objects).where(objects.c.film_id.in_(ids)).order_by(objects.c.id)


def _grouped(
    db: Connection, ids: Sequence[int], key: str, query: Callable[[Sequence[int]], Select[Any]]
) -> defaultdict[int | None, list[Any]]:
    grouped: defaultdict[int | None, list[Any]] = defaultdict(list)
    for start in range(0, len(ids), _CHUNK):
        for row in db.execute(query(ids[start : start + _CHUNK])):
            grouped[getattr(row, key)].append(row)
    return grouped


def _noted(row: Any) -> tuple[str, ...]:
    return (*(row.reasons or ()), *(row.flags or ()))


def _finding(row: Any) -> dict[str, Any]:
    """What one gate found; rows that were written before there were `facts` have none."""
    return {"gate": row.gate, "verdict": row.verdict, "of_copy": row.of_copy, "facts": {}, **row.body}


def _result(row: Any, made: list[Any]) -> dict[str, Any]:
    """What one classifier said, and the objects that were made of it."""
    its = [
        {"kind": one.kind, "sop_instance_uid": one.sop_instance_uid, "digest": one.digest}
        for one in made
        if one.result_id == row.id
    ]
    told = {"version": row.version, "model_digest": row.model_digest, "made_at": row.made_at}
    return {"classifier": row.classifier, **row.body, **told, "objects": its}


def _film_row(
    row: Any, found: list[Any], owed: list[Any], work: list[Any], read: list[Any], made: list[Any]
) -> FilmRow:
    kinds = {one.digest: one.kind for one in made}
    return FilmRow(
        film_id=row.id,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        received_at=row.received_at,
        decision=row.act,
        rule=row.rule,
        why=row.why,
        reasons=tuple(row.reasons or ()),
        flags=tuple(row.flags or ()),
        findings=tuple(map(_finding, found)),
        deliveries=tuple(
            {
                "destination": d.destination,
                "state": d.state,
                "kind": d.kind,
                "object": _what(d.kind, kinds.get(d.digest)),
                "sop_instance_uid": d.sop_instance_uid,
                "attempts": d.attempts,
                "tries": d.tries,
                "trouble": d.trouble,
                "error": d.error,
            }
            for d in owed
        ),
        results=tuple(_result(one, made) for one in read),
        job=work[-1].state if work else None,
        error=work[-1].error if work else None,
    )
