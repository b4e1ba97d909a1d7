"""REPEAT: an answer that was lost is asked for again, and what it was about is done once.

Who asks gives the request an id of its own making, and each act keeps the id of the request that it came of.
The same request once more finds those acts: it changes nothing, and is answered as before. That holds after
the acts were undone, too.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from gateway.errors import FilmgateError
from gateway.ledger.acting.records import Acted, Standing
from gateway.ledger.acting.table import DoneBy
from gateway.ledger.acting.tables import acts


def done_before(db: Connection, request: str, by: str, act: DoneBy) -> list[Any]:
    """The rows of the acts that came of this request; none where it has no id.

    Raises:
        FilmgateError: the same person asked for another act by this id.
    """
    if not request:
        return []
    rows = list(db.execute(select(acts).where(acts.c.request == request, acts.c.who == by)))
    if rows and rows[0].act != act:
        raise FilmgateError(
            f"request {request} was {rows[0].act} before, and is {act} now: a new act needs a new id. "
            "Nothing was changed."
        )
    return rows


def same_answer(row: Any, standing: Standing | None) -> Acted:
    """What the request was answered for this film, with the state that the film is in by now."""
    state = standing.state if standing is not None and not standing.error else None
    return Acted(row.film_id, ok=True, act_id=row.id, state=state, until=row.until)
