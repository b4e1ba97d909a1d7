"""ASK: what people want done that decides nothing: sent again, examined again, remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, select

from gateway.ledger.acting.deciding import record, refused
from gateway.ledger.acting.records import Acted, Before, Meant, Standing, Wish
from gateway.ledger.acting.repeating import done_before, same_answer
from gateway.ledger.acting.standing import CHUNK, standings
from gateway.ledger.acting.table import DoneBy, FilmState
from gateway.ledger.engine import Database
from gateway.ledger.holding.rejecting import lift
from gateway.ledger.holding.taking_back import TO_AI
from gateway.ledger.labelling.saying import say_labels
from gateway.ledger.labelling.words import Said, What
from gateway.ledger.moves import FROM_THE_START, move, owed_anew
from gateway.ledger.records import DeliveryState, JobState
from gateway.ledger.reviewing import job_judged
from gateway.ledger.tables import deliveries, jobs

_EVENTS = {
    DoneBy.RESEND: "send again",
    DoneBy.GATE_AGAIN: "gate again",
    DoneBy.NOTE: "note",
    DoneBy.RELABEL: "relabel",
}
_AGAIN = (DeliveryState.FAILED, DeliveryState.DELIVERED)


class _Refused(Exception):
    """Raised when something cannot be done with one film, before anything was changed."""


class Asking(Database):
    """Acts that leave the decision as it is."""

    def ask(
        self, wish: Wish, meant: Sequence[Meant], labels: Mapping[What, str] | None = None
    ) -> list[Acted]:
        """Send again, gate again, note or relabel; an answer for each film, in their order."""
        do = _DO[wish.act]
        answers: list[Acted] = []
        for start in range(0, len(meant), CHUNK):
            with self.writing() as db:
                its = standings(db, meant[start : start + CHUNK])
                answers += _ask(db, wish, its, do, labels or {})
        return answers


def _ask(
    db: Connection,
    wish: Wish,
    stands: Sequence[Standing],
    do: Callable[[Connection, Wish, Standing], dict[str, Any]],
    labels: Mapping[What, str],
) -> list[Acted]:
    answers: dict[int, Acted] = {}
    rows: dict[int, dict[str, Any]] = {}
    before = {row.film_id: row for row in done_before(db, wish.request, wish.by, wish.act)}
    for index, standing in enumerate(stands):
        if (row := before.get(standing.film_id)) is not None:
            answers[index] = same_answer(row, standing)
            continue
        if (answer := refused(standing, wish.act)) is not None:
            answers[index] = answer
            continue
        try:
            detail = do(db, wish, standing)
        except _Refused as refusal:
            words = f"film {standing.film_id}: {refusal} Nothing was changed."
            answers[index] = Acted(standing.film_id, ok=False, state=standing.state, error=words)
            continue
        rows[index] = {
            "film_id": standing.film_id,
            "act": wish.act,
            "hold_id": standing.hold.id if standing.hold else None,
            "decision_id": standing.decision_id,
            "detail": detail | {what.value: value for what, value in labels.items()},
            "until": None,
            "undo": asdict(Before()),
        }
    ids = record(db, wish.by, wish.at, wish.note, list(rows.values()), _EVENTS[wish.act], wish.request)
    said = [
        Said(row["film_id"], labels, wish.act, act_id) for row, act_id in zip(rows.values(), ids, strict=True)
    ]
    say_labels(db, said, by=wish.by, now=wish.at)
    for act_id, index in zip(ids, rows, strict=True):
        state = FilmState.UNDECIDED if wish.act is DoneBy.GATE_AGAIN else stands[index].state
        answers[index] = Acted(stands[index].film_id, ok=True, act_id=act_id, state=state)
    return [answers[index] for index in range(len(stands))]


def _note(_db: Connection, wish: Wish, _standing: Standing) -> dict[str, Any]:
    if not wish.note.strip():
        raise _Refused("a note needs words.")
    return {}


def _relabel(_db: Connection, _wish: Wish, _standing: Standing) -> dict[str, Any]:
    """The labels themselves are written with the number of the act."""
    return {}


def _gate_again(db: Connection, wish: Wish, standing: Standing) -> dict[str, Any]:
    job = job_judged(db, standing.film_id)
    if job is None:
        raise _Refused("it is being examined already.")
    lift(db, standing.film_id, wish.by, wish.at)
    move(db, jobs, job.id, job.state, JobState.READY, **FROM_THE_START)
    return {"after": str(standing.state)}


def _resend(db: Connection, wish: Wish, standing: Standing) -> dict[str, Any]:
    """What failed; or, with destinations named, what these got or should have got, once more."""
    states = _AGAIN if wish.to else (DeliveryState.FAILED,)
    its = (deliveries.c.film_id == standing.film_id) & deliveries.c.state.in_(states)
    if wish.to:
        its &= deliveries.c.destination.in_(wish.to)
    found = db.execute(select(deliveries).where(its)).all()
    where = f"for {', '.join(wish.to)}" if wish.to else "that failed"
    if not found:
        raise _Refused(f"there is nothing {where} to send again.")
    meant_for_ai = _FOR_AI.get(standing.state, frozenset())
    found = [row for row in found if row.kind not in TO_AI or row.kind in meant_for_ai]
    if not found:
        raise _Refused(f"it is {standing.words}: what is {where} is not for AI any more.")
    for row in found:
        again = owed_anew(wish.at)
        if db.scalar(select(jobs.c.id).where(jobs.c.delivery_id == row.id).limit(1)) is not None:
            again.pop("created_at")  # a reading keeps its time, which its results state
        move(db, deliveries, row.id, row.state, DeliveryState.PENDING, **again)
    return {"to": sorted({row.destination for row in found}), "deliveries": len(found)}


# The kinds of deliveries to AI that stand in a state of the film; in all others AI is sent nothing.
_FOR_AI = {
    FilmState.PASSED: frozenset({"ai"}),
    FilmState.RELEASED: frozenset({"ai"}),
    FilmState.CORRECTED: frozenset({"copy"}),
    FilmState.CORRECTED_BY_PERSON: frozenset({"copy"}),
    FilmState.OBSERVED: TO_AI,
}
_DO: dict[DoneBy, Callable[[Connection, Wish, Standing], dict[str, Any]]] = {
    DoneBy.NOTE: _note,
    DoneBy.RELABEL: _relabel,
    DoneBy.GATE_AGAIN: _gate_again,
    DoneBy.RESEND: _resend,
}
