"""Films as people see them, read for many at once: their state, and the hold and decision that stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, select

from gateway.ledger.acting.records import Meant, Standing
from gateway.ledger.acting.table import FilmState
from gateway.ledger.records import DeliveryState, Hold, HoldState
from gateway.ledger.reviewing import HOLDS, hold_of
from gateway.ledger.tables import decisions, deliveries, holds, instances, rejections
from pipelines.film import Act, Reason

CHUNK = 500  # films of one transaction, and ids in one IN (...): SQLite takes 999 at least

_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_FILMS = (
    select(instances.c.id, instances.c.ours, rejections.c.code)
    .outerjoin(rejections, rejections.c.sop_instance_uid == instances.c.sop_instance_uid)
    .where(instances.c.id.in_(_IDS))
)
_DECISIONS = (
    select(decisions.c.id, decisions.c.film_id, decisions.c.version_id, decisions.c.act)
    .add_columns(decisions.c.mode, decisions.c.superseded)
    .where(decisions.c.film_id.in_(_IDS))
    .order_by(decisions.c.id)
)
_HOLDS_OF = HOLDS.where(holds.c.film_id.in_(_IDS)).order_by(holds.c.id)
_TO_AI = select(
    deliveries.c.film_id, deliveries.c.kind, deliveries.c.state, deliveries.c.attempts, deliveries.c.digest
).where(deliveries.c.film_id.in_(_IDS), deliveries.c.kind.in_(("ai", "copy")))

_STALE = (
    "it is no longer held as you saw it: somebody else decided, or it was examined again. "
    "Look at it once more"
)
_BY_POLICY = {
    Act.PASS: FilmState.PASSED,
    Act.CORRECT: FilmState.CORRECTED,
    Act.WITHHOLD: FilmState.WITHHELD,
    Act.QUARANTINE: FilmState.WITHHELD,  # it was held, and nobody holds it any more
}
_BY_PERSON = {
    HoldState.RELEASED: FilmState.RELEASED,
    HoldState.CORRECTED: FilmState.CORRECTED_BY_PERSON,
    HoldState.REJECTED: FilmState.REJECTED,
}


def standings(db: Connection, meant: Sequence[Meant]) -> list[Standing]:
    """How each of these films stands, in their order; at most CHUNK films."""
    ids = {"ids": sorted({one.film for one in meant})}
    films = {row.id: row for row in db.execute(_FILMS, ids)}
    decided = _by_film(db.execute(_DECISIONS, ids))
    held = _by_film(db.execute(_HOLDS_OF, ids))
    to_ai = _by_film(db.execute(_TO_AI, ids))
    return [
        _standing(
            one, films.get(one.film), decided[one.film], list(map(hold_of, held[one.film])), to_ai[one.film]
        )
        for one in meant
    ]


def _by_film(rows: Iterable[Any]) -> defaultdict[int, list[Any]]:
    grouped: defaultdict[int, list[Any]] = defaultdict(list)
    for row in rows:
        grouped[row.film_id].append(row)
    return grouped


def _standing(meant: Meant, film: Any, decided: list[Any], held: list[Hold], to_ai: list[Any]) -> Standing:
    """One film, of its rows."""
    if film is None:
        return _impossible(meant, "there is no such film")
    current = next((row for row in decided if not row.superseded), None)
    last_of = {row.version_id: row.id for row in decided}  # the last decision on each version
    if film.ours:
        return Standing(meant, film.id, FilmState.OURS)
    opened = [hold for hold in held if hold.state is HoldState.OPEN]
    by_people = [hold for hold in held if hold.state in _BY_PERSON]
    standing = [hold for hold in by_people if last_of.get(hold.version_id) == hold.decision_id]
    hold: Hold | None
    if meant.hold is not None:
        hold = next((hold for hold in held if hold.id == meant.hold), None)
        if hold is None:
            return _impossible(meant, f"hold h{meant.hold} is not of this film")
        if hold not in opened and hold not in standing:
            return _impossible(meant, _STALE)
    elif len(opened) > 1:
        names = ", ".join(f"h{hold.id}" for hold in opened)
        return _impossible(
            meant, f"it is held in {len(opened)} versions with different pixels: name one of {names}"
        )
    else:
        hold = next(iter(opened or standing[-1:]), None)
    decision_id = hold.decision_id if hold else current.id if current else None
    if meant.decision is not None and meant.decision != decision_id:
        return _impossible(meant, _STALE)
    version_id = hold.version_id if hold else current.version_id if current else None
    state = _state(film, current, hold, to_ai)
    return Standing(meant, film.id, state, decision_id, version_id, hold)


def _state(film: Any, current: Any, hold: Hold | None, to_ai: list[Any]) -> FilmState:
    if film.code is not None:
        return FilmState.REJECTED_ELSEWHERE
    if hold is not None and hold.state is HoldState.OPEN:
        if Reason.ATTEMPTS_EXHAUSTED in hold.reasons:
            return FilmState.FAILED
        return FilmState.PROPOSED if hold.proposal else FilmState.HELD
    if hold is not None:
        state = _BY_PERSON[hold.state]
        out = {HoldState.RELEASED: "ai", HoldState.CORRECTED: "copy"}.get(hold.state)
        return FilmState.GOING_OUT if out and _nobody_was_sent_it(out, to_ai) else state
    if current is None:
        return FilmState.UNDECIDED
    return FilmState.OBSERVED if current.mode == "observe" else _BY_POLICY[Act(current.act)]


def _nobody_was_sent_it(kind: str, to_ai: list[Any]) -> bool:
    """Whether a release can still be taken back whole: it is owed, and all of it waits untried."""
    owed = [row for row in to_ai if row.kind == kind and row.state != DeliveryState.CANCELLED]
    return bool(owed) and all(untried(row.state, row.attempts) for row in owed)


def untried(state: str, attempts: int, before: int = 0) -> bool:
    """Whether nobody took a delivery in hand since its attempts were `before`."""
    return state == DeliveryState.LEAVING or (state == DeliveryState.PENDING and attempts == before)


def _impossible(meant: Meant, why: str) -> Standing:
    return Standing(
        meant, meant.film, FilmState.UNDECIDED, error=f"film {meant.film}: {why}. Nothing was changed."
    )
