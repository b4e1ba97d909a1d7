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

from sqlalchemy import Connection, bindparam, select, update

from gateway.ledger.acting.deciding import record
from gateway.ledger.acting.leaving import Owed, owe_many
from gateway.ledger.acting.records import Acted, Before, Meant, Standing
from gateway.ledger.acting.repeating import done_before, same_answer
from gateway.ledger.acting.standing import CHUNK, standings, untried
from gateway.ledger.acting.table import CAN_BE_UNDONE, DECIDES, DoneBy, FilmState, may
from gateway.ledger.acting.tables import acts
from gateway.ledger.engine import Database
from gateway.ledger.labelling.saying import take_back_labels
from gateway.ledger.moves import move, owed_anew
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
        self,
        ids: Sequence[int],
        *,
        by: str,
        anybodys: bool,
        now: datetime,
        note_text: str = "",
        request: str = "",
    ) -> list[Acted]:
        """Undo acts, each as a whole or not at all; an answer for each, in their order.

        `anybodys`: also those of other people, which an admin may.
        """
        answers: list[Acted] = []
        for start in range(0, len(ids), CHUNK):
            with self.writing() as db:
                undoer = _Undoer(db, by, anybodys, now, note_text, request)
                answers += undoer.undo(ids[start : start + CHUNK])
        return answers


class _Refused(Exception):
    """Raised when an act cannot be undone, before anything was changed."""


class _Undoer:
    """One chunk of acts in one transaction: what is asked of all of them is asked once."""

    def __init__(
        self, db: Connection, by: str, anybodys: bool, now: datetime, note_text: str, request: str
    ) -> None:
        self._db = db
        self._request = request
        self._by, self._anybodys, self._now, self._note = by, anybodys, now, note_text

    def undo(self, ids: Sequence[int]) -> list[Acted]:
        """An answer for each, in their order."""
        db = self._db
        rows = {row.id: row for row in db.execute(select(acts).where(acts.c.id.in_(ids)))}
        stands = _standing_of(db, list(rows.values()))
        later = _later(db, list(rows.values()))
        owed = {one.id: one for one in _deliveries(db, [i for row in rows.values() for i in _named(row)])}
        answers: dict[int, Acted] = {}
        done: dict[int, dict[str, Any]] = {}
        touched: set[int] = set()
        asked = done_before(db, self._request, self._by, DoneBy.UNDO)
        before = {row.detail["undoes"]: row for row in asked}
        for index, act_id in enumerate(ids):
            if act_id in before:
                answers[index] = same_answer(before[act_id], stands.get(act_id))
                continue
            row = rows.pop(act_id, None)
            if row is None:
                words = f"there is no act {act_id}, or it is named twice."
                answers[index] = Acted(0, ok=False, act_id=act_id, error=words)
                continue
            if row.film_id in touched:  # by an act before it in this very chunk
                stands |= _standing_of(db, [row])
                later = _later(db, [row])
                owed |= {one.id: one for one in _deliveries(db, _named(row))}
            try:
                sent_again = self._undo_one(row, stands[row.id], later.get(row.hold_id, []), owed)
            except _Refused as refusal:
                words = f"film {row.film_id}: {refusal}"
                answers[index] = Acted(row.film_id, ok=False, act_id=act_id, error=words)
                continue
            touched.add(row.film_id)
            db.execute(_UNDONE, {"which": act_id, "its_person": self._by, "its_time": self._now})
            done[index] = _row(row, sent_again)
        take_back_labels(db, [ids[index] for index in done], by=self._by, now=self._now)
        new = record(db, self._by, self._now, self._note, list(done.values()), "undone", self._request)
        after = standings(db, [Meant(row["film_id"], row["hold_id"]) for row in done.values()])
        for index, act_id, standing in zip(done, new, after, strict=True):
            answers[index] = Acted(standing.film_id, ok=True, act_id=act_id, state=standing.state)
        return [answers[index] for index in range(len(ids))]

    def _undo_one(
        self, row: Any, standing: Standing, later: Sequence[Any], owed: dict[int, Any]
    ) -> tuple[str, ...]:
        """Undo one act; who is sent the object again."""
        _may_undo(row, self._by, self._anybodys)
        if row.act not in DECIDES:
            return ()
        _as_it_was_left(standing, row, [one for one in later if one.id > row.id], owed)
        before = _before(row.undo)
        undo = _undo_reject if row.act == DoneBy.REJECT else _undo_sending
        sent_again = undo(self._db, row, before, owed, self._now)
        _put_back(self._db, row, before, standing)
        return sent_again


_UNDONE = (
    update(acts)
    .where(acts.c.id == bindparam("which"))
    .values(undone_by=bindparam("its_person"), undone_at=bindparam("its_time", type_=acts.c.undone_at.type))
)


def _standing_of(db: Connection, rows: Sequence[Any]) -> dict[int, Standing]:
    """Act -> how its film stands by the hold that the act was about."""
    meant = [Meant(row.film_id, row.hold_id) for row in rows]
    return dict(zip((row.id for row in rows), standings(db, meant), strict=True))


def _later(db: Connection, rows: Sequence[Any]) -> dict[int, list[Any]]:
    """Hold -> the decisions of people on it that were not undone, oldest first."""
    ids = sorted({row.film_id for row in rows})
    decided = acts.c.film_id.in_(ids) & acts.c.act.in_(list(DECIDES)) & acts.c.undone_at.is_(None)
    found: dict[int, list[Any]] = {}
    for row in db.execute(select(acts).where(decided).order_by(acts.c.id)):
        found.setdefault(row.hold_id, []).append(row)
    return found


def _named(row: Any) -> list[int]:
    """The deliveries that an act changed."""
    return [one[0] for one in row.undo["deliveries"]] + list(row.undo["notes"])


def _row(row: Any, sent_again: tuple[str, ...]) -> dict[str, Any]:
    """The row of the undo itself."""
    detail = {"undoes": row.id, "undone": row.act} | ({"sent_again": list(sent_again)} if sent_again else {})
    return {
        "film_id": row.film_id,
        "act": DoneBy.UNDO,
        "hold_id": row.hold_id,
        "decision_id": row.decision_id,
        "detail": detail,
        "until": None,
        "undo": asdict(Before()),
    }


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


def _as_it_was_left(standing: Standing, row: Any, later: Sequence[Any], owed: dict[int, Any]) -> None:
    """Whether this act is still the last word on the film, and the table lets it be undone."""
    if standing.error or standing.hold is None or standing.decision_id != row.decision_id:
        raise _Refused("it was examined again since; that decision stands. Nothing was undone.")
    if later:
        after = later[0]
        raise _Refused(f"{after.who} {_WORDS[DoneBy(after.act)]} it after that; undo act {after.id} first.")
    if may(standing.state, DoneBy.UNDO):
        return
    if standing.state in (FilmState.RELEASED, FilmState.CORRECTED_BY_PERSON):
        raise _Refused(_left(row, owed))
    raise _Refused(f"it is {standing.words}: there is nothing to undo.")


def _left(row: Any, owed: dict[int, Any]) -> str:
    """Who got it."""
    gone = [owed[one[0]] for one in row.undo["deliveries"]]
    names = ", ".join(sorted({one.destination for one in gone if not untried(one.state, one.attempts)}))
    return (
        f"it left for {names or 'its destinations'} and cannot be called back. Nothing was undone. "
        "Reject the film, and no AI is sent it a second time."
    )


def _undo_sending(
    db: Connection, row: Any, before: Before, owed: dict[int, Any], now: datetime
) -> tuple[str, ...]:
    """All of it waits still, or none of it is undone."""
    its = [owed[delivery_id] for delivery_id, _, _ in before.deliveries]
    for one, (_, _, attempts) in zip(its, before.deliveries, strict=True):
        if one.state != DeliveryState.CANCELLED and not untried(one.state, one.attempts, attempts):
            raise _Refused(_left(row, owed))
    for one in its:
        if one.state != DeliveryState.CANCELLED:
            move(db, deliveries, one.id, one.state, DeliveryState.CANCELLED, ended_at=now)
    return ()


def _undo_reject(
    db: Connection, row: Any, before: Before, owed: dict[int, Any], now: datetime
) -> tuple[str, ...]:
    """The note is stopped where it has not left; where it has, the object goes there again: to whom."""
    notes = [owed[delivery_id] for delivery_id in before.notes]
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


def _put_back(db: Connection, row: Any, before: Before, standing: Standing) -> None:
    """The hold and its copies, as they were."""
    for copy_id, state in before.copies:
        current = db.scalar(select(copies.c.state).where(copies.c.id == copy_id))
        if current != state:
            move(db, copies, copy_id, str(current), state)
    assert standing.hold is not None
    values: dict[str, Any] = _OPEN_AGAIN
    if before.hold != HoldState.OPEN:
        at, by, note_text = before.closed
        values = {"closed_at": datetime.fromisoformat(at), "closed_by": by, "note": note_text}
    move(db, holds, row.hold_id, standing.hold.state, before.hold, **values)


def _deliveries(db: Connection, ids: Sequence[int]) -> list[Any]:
    chunks = (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
    return [row for some in chunks for row in db.execute(select(deliveries).where(deliveries.c.id.in_(some)))]
