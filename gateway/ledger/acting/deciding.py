"""DECIDE: release, accept, correct, reject. Many films in a few transactions, an answer for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from gateway.errors import NotFound
from gateway.ledger.acting.leaving import Owed, ids_of, owe_many
from gateway.ledger.acting.records import Acted, Before, Meant, Standing, Wish
from gateway.ledger.acting.repeating import done_before, same_answer
from gateway.ledger.acting.standing import CHUNK, standings
from gateway.ledger.acting.table import DECIDES, HELD_STATES, DoneBy, FilmState, may
from gateway.ledger.acting.tables import acts
from gateway.ledger.engine import Database
from gateway.ledger.holding.taking_back import IN_HAND, NOT_GONE, TO_AI, take_back
from gateway.ledger.labelling.derived import said_by
from gateway.ledger.labelling.saying import say_labels
from gateway.ledger.labelling.words import Said
from gateway.ledger.moves import allowed, insert_rows
from gateway.ledger.records import CopyMade, CopyState, DeliveryState, Hold, HoldState, JobState, Made
from gateway.ledger.tables import UtcDateTime, copies, deliveries, events, holds, jobs, versions
from gateway.ledger.working import keep_copy, keep_object
from pipelines.film import Operations
from pipelines.json_values import from_plain

_ENDS = {
    DoneBy.RELEASE: HoldState.RELEASED,
    DoneBy.ACCEPT: HoldState.CORRECTED,
    DoneBy.CORRECT: HoldState.CORRECTED,
    DoneBy.REJECT: HoldState.REJECTED,
}
_STATES = {
    DoneBy.RELEASE: FilmState.RELEASED,
    DoneBy.ACCEPT: FilmState.CORRECTED_BY_PERSON,
    DoneBy.CORRECT: FilmState.CORRECTED_BY_PERSON,
    DoneBy.REJECT: FilmState.REJECTED,
}
EVENTS = {
    DoneBy.RELEASE: "hold released",
    DoneBy.ACCEPT: "hold corrected",
    DoneBy.CORRECT: "hold corrected",
    DoneBy.REJECT: "hold rejected",
}
_INSTEAD = {
    FilmState.UNDECIDED: "It is being examined; wait for its decision.",
    FilmState.GOING_OUT: "Undo that first; then it is held again.",
    FilmState.RELEASED: "It cannot be called back. Reject it, and no AI is sent it a second time.",
    FilmState.CORRECTED_BY_PERSON: "It cannot be called back. Reject it, and no AI is sent it a second time.",
    FilmState.REJECTED: "Undo the rejection first; then it is held again.",
    FilmState.REJECTED_ELSEWHERE: "Gate it again to take that rejection back.",
    FilmState.PASSED: "AI has it already. Gate it again for another decision.",
    FilmState.CORRECTED: "AI has it already. Gate it again for another decision.",
    FilmState.WITHHELD: "Gate it again for another decision.",
}


class Deciding(Database):
    """What becomes of held films."""

    def standings(self, meant: Sequence[Meant]) -> list[Standing]:
        """How films stand, as people see them."""
        with self.reading() as db:
            chunks = (meant[start : start + CHUNK] for start in range(0, len(meant), CHUNK))
            return [standing for chunk in chunks for standing in standings(db, chunk)]

    def done_before(self, wish: Wish) -> set[int]:
        """The films with which this very request was done before."""
        with self.reading() as db:
            return {row.film_id for row in done_before(db, wish.request, wish.by, wish.act)}

    def decide(self, wish: Wish, meant: Sequence[Meant]) -> list[Acted]:
        """Release, accept, correct or reject films; an answer for each, in their order.

        A film that cannot be decided on as the person saw it is left as it is, with words why. A crash in
        between leaves whole chunks decided and the others as they were.
        """
        assert wish.act in DECIDES
        answers: list[Acted] = []
        for start in range(0, len(meant), CHUNK):
            with self.writing() as db:
                answers += _decide(db, wish, standings(db, meant[start : start + CHUNK]))
        return answers

    def release(self, hold: Hold, to: tuple[str, ...], *, by: str, note_text: str, now: datetime) -> None:
        """Close one hold and owe the film, as it was received, to `to` at once.

        Raises:
            NotFound: it is no longer held as that person saw it.
        """
        self._decide_one(Wish(DoneBy.RELEASE, by, now, note_text, to=to), hold)

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
        """Close one hold and owe the corrected copy at once: `copy`, or the proposal that lies ready.

        Raises:
            NotFound: there is neither, or it is no longer held as that person saw it.
        """
        made = {} if copy is None else {hold.film_id: copy}
        act = DoneBy.ACCEPT if copy is None else DoneBy.CORRECT
        self._decide_one(Wish(act, by, now, note_text, to=to, made=made), hold)

    def reject(self, hold: Hold, *, by: str, note_text: str, now: datetime, made: Made | None = None) -> None:
        """Close one hold: no AI gets the film. `made` is the rejection note, where one is sent.

        Raises:
            NotFound: it is no longer held as that person saw it.
        """
        notes = {} if made is None else {hold.film_id: made}
        self._decide_one(Wish(DoneBy.REJECT, by, now, note_text, notes=notes), hold)

    def _decide_one(self, wish: Wish, hold: Hold) -> None:
        (acted,) = self.decide(wish, [Meant(hold.film_id, hold.id, hold.decision_id)])
        if not acted.ok:
            raise NotFound(acted.error)


def refused(standing: Standing, act: DoneBy) -> Acted | None:
    """Why this cannot be done with the film; None when the table has it."""
    film = standing.film_id
    if standing.error:
        return Acted(film, ok=False, error=standing.error)
    if act is DoneBy.ACCEPT and standing.state in HELD_STATES - {FilmState.PROPOSED}:
        words = f"film {film} has no corrected copy ready. It stays held. Say how it is to be corrected."
        return Acted(film, ok=False, state=standing.state, error=words)
    if may(standing.state, act):
        return None
    instead = _INSTEAD.get(standing.state, "")
    words = f"film {film} is {standing.words}: {act} is not possible. {instead}".strip()
    return Acted(film, ok=False, state=standing.state, error=f"{words} Nothing was changed.")


@dataclass(slots=True)
class _Chosen:
    """One film of a chunk that is decided on, and what that changes."""

    standing: Standing
    hold: Hold
    owed: list[Owed]
    copy_id: int | None = None
    before: Before = Before()  # noqa: RUF009 - frozen


def _decide(db: Connection, wish: Wish, stands: Sequence[Standing]) -> list[Acted]:
    """One chunk: all that is asked is asked before anything is written, so no film is left half decided."""
    answers: dict[int, Acted] = {}
    chosen: dict[int, _Chosen] = {}
    seen: set[int] = set()
    before = {row.film_id: row for row in done_before(db, wish.request, wish.by, wish.act)}
    for index, standing in enumerate(stands):
        row = before.get(standing.film_id)
        if row is not None and standing.meant.hold in (None, row.hold_id) and standing.film_id not in seen:
            seen.add(standing.film_id)
            answers[index] = same_answer(row, standing)
            continue
        answer = refused(standing, wish.act)
        if answer is None and standing.film_id in seen:
            answer = Acted(standing.film_id, ok=False, error=f"film {standing.film_id} is named twice.")
        seen.add(standing.film_id)
        if answer is None:
            assert standing.hold is not None
            answer = _nowhere(wish, standing.hold)
        if answer is not None:
            answers[index] = answer
        else:
            assert standing.hold is not None
            chosen[index] = _Chosen(standing, standing.hold, [])
    if chosen:
        _write(db, wish, list(chosen.values()))
        answers |= dict(zip(chosen, _recorded(db, wish, list(chosen.values())), strict=True))
    return [answers[index] for index in range(len(stands))]


def _nowhere(wish: Wish, hold: Hold) -> Acted | None:
    """Why this would send the film nowhere."""
    if wish.act is DoneBy.REJECT or wish.to or hold.takers:
        return None
    return Acted(
        hold.film_id,
        ok=False,
        error=f"film {hold.film_id}: no AI destination takes such a film (its age, view or modality; or "
        "routes.pass is empty): this would send it nowhere. It stays held. Name a destination, or reject it.",
    )


def _write(db: Connection, wish: Wish, chosen: Sequence[_Chosen]) -> None:
    match wish.act:
        case DoneBy.RELEASE:
            _owe_originals(db, wish, chosen)
            _settle_copies(db, chosen, CopyState.DISCARDED)
        case DoneBy.REJECT:
            _settle_copies(db, chosen, CopyState.DISCARDED)
            for one in chosen:
                _withdraw(db, wish, one)
        case _:
            _owe_copies(db, wish, chosen)
    _close(db, wish, chosen)
    _not_examined_again(db, [one.hold for one in chosen], wish.at)
    owing = owe_many(db, [owed for one in chosen for owed in one.owed], wish.at, wish.until)
    for one in chosen:
        its = ids_of(owing[owed.key] for owed in one.owed)
        if wish.act is DoneBy.REJECT:
            one.before = replace(one.before, notes=tuple(row[0] for row in its))
        else:
            one.before = replace(one.before, deliveries=its)


def _close(db: Connection, wish: Wish, chosen: Sequence[_Chosen]) -> None:
    """Close the holds that were read in this very transaction: nobody came between."""
    end = _ENDS[wish.act]
    for one in chosen:
        allowed(holds, one.hold.state, end)
        old = one.hold
        closed = (
            (old.closed_at.isoformat(), old.closed_by or "", old.note or "") if old.closed_at else ("",) * 3
        )
        one.before = replace(one.before, hold=str(old.state), closed=closed)
    ids = [one.hold.id for one in chosen]
    closing = update(holds).where(holds.c.id.in_(ids))
    db.execute(closing.values(state=end, closed_at=wish.at, closed_by=wish.by, note=wish.note))


_DONE = (
    update(jobs)
    .where(jobs.c.film_id.in_(bindparam("films", expanding=True)))
    .where(jobs.c.version_id.in_(bindparam("seen", expanding=True)))
    .where(jobs.c.delivery_id.is_(None), jobs.c.state.in_(IN_HAND))
    .values(state=JobState.DONE, done_at=bindparam("now", type_=UtcDateTime), owner=None)
)


def _not_examined_again(db: Connection, closed: Sequence[Hold], now: datetime) -> None:
    """An examination that was asked for before a person decided must not undo what the person decided."""
    for state in IN_HAND:
        allowed(jobs, state, JobState.DONE)
    films, seen = ([hold.film_id for hold in closed], [hold.version_id for hold in closed])
    db.execute(_DONE, {"films": films, "seen": seen, "now": now})


def _owe_originals(db: Connection, wish: Wish, chosen: Sequence[_Chosen]) -> None:
    ids = [one.hold.version_id for one in chosen]
    rows = {row.id: row for row in db.execute(select(versions).where(versions.c.id.in_(ids)))}
    for one in chosen:
        row, hold = rows[one.hold.version_id], one.hold
        one.owed = [
            _owed(hold.film_id, to, "ai", row, hold.sop_instance_uid) for to in wish.to or hold.takers
        ]


def _owe_copies(db: Connection, wish: Wish, chosen: Sequence[_Chosen]) -> None:
    """The copy made for this, or the proposal that lies ready."""
    for one in chosen:
        if (made := wish.made.get(one.hold.film_id)) is not None:
            one.copy_id = keep_copy(db, one.hold.film_id, one.hold.decision_id, made, wish.at)
    proposals = _proposals(db, [one.hold for one in chosen if one.copy_id is None])
    for one in chosen:
        one.copy_id = one.copy_id or proposals[one.hold.id]
    ids = [one.copy_id for one in chosen]
    rows = {row.id: row for row in db.execute(select(copies).where(copies.c.id.in_(ids)))}
    for one in chosen:
        assert one.copy_id is not None
        row, film_id = rows[one.copy_id], one.hold.film_id
        receivers = dict.fromkeys((wish.to or one.hold.takers) + wish.copies_to)
        one.owed = [_owed(film_id, to, "copy", row, row.sop_instance_uid) for to in receivers]
        if row.state == CopyState.PROPOSED:
            one.before = replace(one.before, copies=((row.id, row.state),))
    allowed(copies, CopyState.PROPOSED, CopyState.ACCEPTED)
    proposed = update(copies).where(copies.c.id.in_(ids), copies.c.state == CopyState.PROPOSED)
    db.execute(proposed.values(state=CopyState.ACCEPTED))


def _proposals(db: Connection, of: Sequence[Hold]) -> dict[int, int]:
    """Hold -> the copy that lies ready."""
    ids = [hold.id for hold in of]
    return {
        row.id: row.copy_id
        for row in db.execute(select(holds.c.id, holds.c.copy_id).where(holds.c.id.in_(ids)))
    }


def _settle_copies(db: Connection, chosen: Sequence[_Chosen], state: CopyState) -> None:
    """The proposals of these holds are not sent."""
    allowed(copies, CopyState.PROPOSED, state)
    proposals = _proposals(db, [one.hold for one in chosen if one.hold.proposal])
    ready = copies.c.id.in_(list(proposals.values())) & (copies.c.state == CopyState.PROPOSED)
    found = set(db.scalars(select(copies.c.id).where(ready)))
    db.execute(update(copies).where(ready).values(state=state))
    for one in chosen:
        copy_id = proposals.get(one.hold.id)
        if copy_id is not None and copy_id in found:
            one.before = replace(one.before, copies=((copy_id, CopyState.PROPOSED),))


def _withdraw(db: Connection, wish: Wish, one: _Chosen) -> None:
    """What is owed of a film that went out and is not gone yet; and the note for the archive."""
    hold, made = one.hold, wish.notes.get(one.hold.film_id)
    if hold.state is not HoldState.OPEN:
        one.before = replace(one.before, deliveries=_taken_back(db, hold, wish.at))
    if made is not None:
        keep_object(db, hold.film_id, None, replace(made, to=()), wish.at)
        one.owed = [_owed(hold.film_id, to, "result", made, made.sop_instance_uid) for to in made.to]


def _taken_back(db: Connection, hold: Hold, now: datetime) -> tuple[tuple[int, str, int], ...]:
    stoppable = (*NOT_GONE, DeliveryState.SENDING)
    its = (deliveries.c.film_id == hold.film_id) & deliveries.c.kind.in_(TO_AI)
    rows = db.execute(select(deliveries).where(its, deliveries.c.state.in_(stoppable))).all()
    take_back(db, hold.film_id, hold.version_id, now)
    stopped = set(
        db.scalars(select(deliveries.c.id).where(its, deliveries.c.state == DeliveryState.CANCELLED))
    )
    return tuple((row.id, row.state, row.attempts) for row in rows if row.id in stopped)


def _owed(film_id: int, to: str, kind: str, row: Any, uid: str) -> Owed:
    return Owed(film_id, to, kind, row.digest, row.sop_class_uid, uid, row.transfer_syntax_uid)


def _recorded(db: Connection, wish: Wish, chosen: Sequence[_Chosen]) -> list[Acted]:
    """The rows of the acts and their events, and what people are told."""
    detail: dict[str, Any] = {}
    if wish.reason:
        detail["reason"] = wish.reason
    if wish.operations:
        detail["operations"] = wish.operations
    rows: list[dict[str, Any]] = []
    for one in chosen:
        leaves = bool(one.before.deliveries) and wish.act is not DoneBy.REJECT
        to = sorted({owed.destination for owed in one.owed})
        rows.append(
            {
                "film_id": one.hold.film_id,
                "act": wish.act,
                "hold_id": one.hold.id,
                "decision_id": one.hold.decision_id,
                "detail": detail | ({"to": to} if to else {}),
                "until": wish.until if leaves or one.before.notes else None,
                "undo": asdict(one.before),
            }
        )
    ids = record(db, wish.by, wish.at, wish.note, rows, EVENTS[wish.act], wish.request)
    say_labels(db, _labels(db, wish, chosen, ids), by=wish.by, now=wish.at)
    return [
        Acted(row["film_id"], ok=True, act_id=act_id, state=_now_is(wish, row), until=row["until"])
        for act_id, row in zip(ids, rows, strict=True)
    ]


def _labels(db: Connection, wish: Wish, chosen: Sequence[_Chosen], ids: Sequence[int]) -> list[Said]:
    """What the decisions say of the films: each verdict of a person teaches."""
    made = {one.copy_id for one in chosen if one.copy_id is not None}
    rows = db.execute(select(copies.c.id, copies.c.operations).where(copies.c.id.in_(made))) if made else ()
    operations = {row.id: from_plain(Operations, row.operations) for row in rows}
    said = []
    for one, act_id in zip(chosen, ids, strict=True):
        its = operations.get(one.copy_id) if one.copy_id is not None else None
        flip = its is not None and its.flip
        labels = said_by(wish.act, reasons=one.hold.reasons, operations=its, flip=flip, reason=wish.reason)
        said.append(Said(one.hold.film_id, labels, wish.act, act_id))
    return said


def _now_is(wish: Wish, row: dict[str, Any]) -> FilmState:
    if wish.act is not DoneBy.REJECT and row["until"] is not None and row["until"] > wish.at:
        return FilmState.GOING_OUT
    return _STATES[wish.act]


def record(
    db: Connection,
    by: str,
    at: datetime,
    note_text: str,
    rows: Sequence[dict[str, Any]],
    what: str,
    request: str,
) -> list[int]:
    """Write acts, each with its event; their ids. This transaction has the ledger's lock, so ids follow."""
    if not rows:
        return []
    first = int(db.scalar(select(func.max(acts.c.id))) or 0) + 1
    signed = {"who": by, "at": at, "note": note_text, "undone_by": None, "undone_at": None}
    signed["request"] = request or None
    insert_rows(db, acts, *({"id": first + n, **signed, **row} for n, row in enumerate(rows)))
    insert_rows(
        db,
        events,
        *(
            {
                "film_id": row["film_id"],
                "at": at,
                "what": what,
                "who": by,
                "detail": {"act": first + n, "note": note_text, **row["detail"]},
            }
            for n, row in enumerate(rows)
        ),
    )
    return [first + n for n in range(len(rows))]
