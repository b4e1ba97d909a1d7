"""UNDO: what was before, put back. What left cannot be called back; then that is said, and nothing changes.

A rejection note that left is answered by the object itself: it is sent again, under its own UIDs, to whom the
note was sent. IHE's IOCM has no note that takes another back. It lets an archive take again what was rejected
for quality reasons (113001), and forbids that for patient safety (113037): RAD TF-3 4.66.4. A new SOP
Instance UID would make a second film of one exposure wherever a note is not heeded, so it is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from gateway.ledger.acting.deciding import record
from gateway.ledger.acting.leaving import Owed, owe_many
from gateway.ledger.acting.records import Acted, Before, Meant, Standing
from gateway.ledger.acting.standing import CHUNK, standings, untried
from gateway.ledger.acting.table import CAN_BE_UNDONE, DECIDES, DoneBy, FilmState, may
from gateway.ledger.acting.tables import acts
from gateway.ledger.engine import Database
from gateway.ledger.labelling.saying import take_back_labels
from gateway.ledger.moves import allowed, move, owed_anew
from gateway.ledger.records import DeliveryState, HoldState
from gateway.ledger.tables import copies, deliveries, holds, instances, versions

_WORDS = {
    DoneBy.RELEASE: "released",
    DoneBy.ACCEPT: "corrected",
    DoneBy.CORRECT: "corrected",
    DoneBy.REJECT: "rejected",
}
_OPEN_AGAIN = {"closed_at": None, "closed_by": None, "note": None}


class Undoing(Database):
    """The way back."""

    def undo(
        self, ids: Sequence[int], *, by: str, anybodys: bool, now: datetime, note_text: str = ""
    ) -> list[Acted]:
        """Undo acts, each as a whole or not at all; an answer for each, in their order.

        `anybodys`: also those of other people, which an admin may.
        """
        answers: list[Acted] = []
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            with self.writing() as db:
                rows = {row.id: row for row in db.execute(select(acts).where(acts.c.id.in_(chunk)))}
                seen: set[int] = set()
                for act_id in chunk:
                    row = None if act_id in seen else rows.get(act_id)
                    seen.add(act_id)
                    answers.append(_undo(db, act_id, row, by, anybodys, now, note_text))
        return answers


class _Refused(Exception):
    """Raised when an act cannot be undone, before anything was changed."""


def _undo(
    db: Connection, act_id: int, row: Any, by: str, anybodys: bool, now: datetime, note_text: str
) -> Acted:
    if row is None:
        return Acted(0, ok=False, act_id=act_id, error=f"there is no act {act_id}, or it is named twice.")
    try:
        _may_undo(row, by, anybodys)
        before = _before(row.undo)
        sent_again: tuple[str, ...] = ()
        (standing,) = standings(db, [Meant(row.film_id, row.hold_id)])
        if row.act in DECIDES:
            _as_it_was_left(standing, row, db)
            undo = _undo_reject if row.act == DoneBy.REJECT else _undo_sending
            sent_again = undo(db, row, before, now)
            _put_back(db, row, before)
    except _Refused as refusal:
        return Acted(row.film_id, ok=False, act_id=act_id, error=f"film {row.film_id}: {refusal}")
    take_back_labels(db, [act_id], by=by, now=now)
    db.execute(update(acts).where(acts.c.id == act_id).values(undone_by=by, undone_at=now))
    detail = {"undoes": act_id, "undone": row.act} | ({"sent_again": list(sent_again)} if sent_again else {})
    its = {"hold_id": row.hold_id, "decision_id": row.decision_id, "until": None, "undo": asdict(Before())}
    (new_id,) = record(
        db,
        by,
        now,
        note_text,
        [{"film_id": row.film_id, "act": DoneBy.UNDO, "detail": detail, **its}],
        "undone",
    )
    (after,) = standings(db, [Meant(row.film_id, row.hold_id)])
    return Acted(row.film_id, ok=True, act_id=new_id, state=after.state)


def _before(undo: dict[str, Any]) -> Before:
    return Before(
        hold=undo["hold"],
        closed=tuple(undo["closed"]),
        copies=tuple((i, s) for i, s in undo["copies"]),
        deliveries=tuple((i, s, n) for i, s, n in undo["deliveries"]),
        notes=tuple(undo["notes"]),
    )


def _may_undo(row: Any, by: str, anybodys: bool) -> None:
    if row.undone_at is not None:
        raise _Refused(f"{row.undone_by} undid this on {row.undone_at:%Y-%m-%d %H:%M} UTC already.")
    if row.act not in CAN_BE_UNDONE:
        raise _Refused(f"{row.act} cannot be undone.")
    if row.who != by and not anybodys:
        raise _Refused(f"{row.who} did this. Ask them, or an admin, to undo it.")


def _as_it_was_left(standing: Standing, row: Any, db: Connection) -> None:
    """Whether this act is still the last word on the film, and the table lets it be undone."""
    if standing.error or standing.hold is None or standing.decision_id != row.decision_id:
        raise _Refused("it was examined again since; that decision stands. Nothing was undone.")
    later = (acts.c.film_id == row.film_id) & (acts.c.id > row.id) & acts.c.act.in_(list(DECIDES))
    later &= (acts.c.hold_id == row.hold_id) & acts.c.undone_at.is_(None)
    if (after := db.execute(select(acts).where(later).order_by(acts.c.id)).first()) is not None:
        raise _Refused(f"{after.who} {_WORDS[DoneBy(after.act)]} it after that; undo act {after.id} first.")
    if may(standing.state, DoneBy.UNDO):
        return
    if standing.state in (FilmState.RELEASED, FilmState.CORRECTED_BY_PERSON):
        raise _Refused(_left(db, row))
    raise _Refused(f"it is {standing.words}: there is nothing to undo.")


def _left(db: Connection, row: Any) -> str:
    """Who got it."""
    ids = [one[0] for one in row.undo["deliveries"]]
    gone = db.execute(select(deliveries).where(deliveries.c.id.in_(ids))).all()
    names = ", ".join(sorted({one.destination for one in gone if not untried(one.state, one.attempts)}))
    return (
        f"it left for {names or 'its destinations'} and cannot be called back. Nothing was undone. "
        "Reject the film, and no AI is sent it a second time."
    )


def _undo_sending(db: Connection, row: Any, before: Before, now: datetime) -> tuple[str, ...]:
    """All of it waits still, or none of it is undone."""
    rows = {one.id: one for one in _deliveries(db, [one[0] for one in before.deliveries])}
    for delivery_id, _, attempts in before.deliveries:
        one = rows[delivery_id]
        if one.state != DeliveryState.CANCELLED and not untried(one.state, one.attempts, attempts):
            raise _Refused(_left(db, row))
    for one in rows.values():
        if one.state != DeliveryState.CANCELLED:
            move(db, deliveries, one.id, one.state, DeliveryState.CANCELLED, ended_at=now)
    return ()


def _undo_reject(db: Connection, row: Any, before: Before, now: datetime) -> tuple[str, ...]:
    """The note is stopped where it has not left; where it has, the object goes there again: to whom."""
    notes = _deliveries(db, before.notes)
    on_the_wire = [one.destination for one in notes if one.state == DeliveryState.SENDING]
    if on_the_wire:
        raise _Refused(
            f"its rejection note is on its way to {on_the_wire[0]} right now. Try again in a moment."
        )
    told = []
    for one in notes:
        if one.state == DeliveryState.DELIVERED or one.attempts:
            told.append(one.destination)
        if one.state in (DeliveryState.LEAVING, DeliveryState.PENDING, DeliveryState.RETRY):
            move(db, deliveries, one.id, one.state, DeliveryState.CANCELLED, ended_at=now)
    _send_object_again(db, row, told, now)
    for delivery_id, state, _ in before.deliveries:  # what a released film was still owed
        if state != DeliveryState.CANCELLED:
            again = owed_anew(now)
            move(db, deliveries, delivery_id, DeliveryState.CANCELLED, DeliveryState.PENDING, **again)
    return tuple(told)


def _send_object_again(db: Connection, row: Any, told: Sequence[str], now: datetime) -> None:
    """The object as it was received, to those whom its rejection note was sent to."""
    if not told:
        return
    query = select(versions, instances.c.sop_instance_uid).join(
        instances, instances.c.id == versions.c.film_id
    )
    held = select(holds.c.version_id).where(holds.c.id == row.hold_id).scalar_subquery()
    version = db.execute(query.where(versions.c.id == held)).one()
    owed = [
        Owed(
            film_id=row.film_id,
            destination=name,
            kind="always",
            digest=version.digest,
            sop_class_uid=version.sop_class_uid,
            sop_instance_uid=version.sop_instance_uid,
            transfer_syntax_uid=version.transfer_syntax_uid,
        )
        for name in told
    ]
    for owing in owe_many(db, owed, now, None).values():
        if owing.state == DeliveryState.DELIVERED:
            move(db, deliveries, owing.id, owing.state, DeliveryState.PENDING, **owed_anew(now))


def _put_back(db: Connection, row: Any, before: Before) -> None:
    """The hold and its copies, as they were."""
    for copy_id, state in before.copies:
        current = db.scalar(select(copies.c.state).where(copies.c.id == copy_id))
        if current != state:
            move(db, copies, copy_id, str(current), state)
    current = db.scalar(select(holds.c.state).where(holds.c.id == row.hold_id))
    allowed(holds, str(current), before.hold)
    values: dict[str, Any] = _OPEN_AGAIN
    if before.hold != HoldState.OPEN:
        at, by, note_text = before.closed
        values = {"closed_at": datetime.fromisoformat(at), "closed_by": by, "note": note_text}
    db.execute(update(holds).where(holds.c.id == row.hold_id).values(state=before.hold, **values))


def _deliveries(db: Connection, ids: Sequence[int]) -> Sequence[Any]:
    return db.execute(select(deliveries).where(deliveries.c.id.in_(ids))).all() if ids else []
