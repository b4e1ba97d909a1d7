"""The one way in which a state changes, a row is added, and an event is written."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Table,
    Update,
    bindparam,
    insert,
    literal_column,
    update,
)

from gateway.errors import BadTransition
from gateway.ledger.tables import TRANSITIONS, copies, deliveries, events, holds, jobs

_WHAT: dict[Table, str] = {jobs: "job", deliveries: "delivery", holds: "hold", copies: "copy"}
FROM_THE_START: dict[str, Any] = {"attempts": 0, "postponed": 0, "not_before": None, "error": None}  # a job


def owed_anew(now: datetime) -> dict[str, Any]:
    """What a delivery that had ended begins with once more: its tries are counted from now on."""
    return {"next_at": now, "created_at": now, "ended_at": None, "tries": 0}


def allowed(table: Table, start: str, end: str) -> None:
    """
    Raises:
        BadTransition: TRANSITIONS does not name this change.
    """
    if (_WHAT[table], start, end) not in TRANSITIONS:
        raise BadTransition(f"a {_WHAT[table]} cannot go from {start} to {end}")


def stands(table: FromClause, *states: str) -> ColumnElement[bool]:
    """Whether a row is in one of these states, said in literals: so partial indices can be used."""
    literals: list[ColumnElement[str]] = [literal_column(f"'{state}'") for state in states]
    return table.c.state == literals[0] if len(literals) == 1 else table.c.state.in_(literals)


def move(db: Connection, table: Table, row_id: int, start: str, end: str, **values: Any) -> bool:
    """Change one row's state; False when the row was not in `start` (somebody else was faster)."""
    allowed(table, start, end)
    reckoned = {name: value for name, value in values.items() if isinstance(value, ColumnElement)}
    plain = {name: value for name, value in values.items() if name not in reckoned}
    statement = _move(table, tuple(plain))
    if reckoned:
        statement = statement.values(**reckoned)
    its = {"row_id": row_id, "start": start, "end": end} | {f"new_{name}": plain[name] for name in plain}
    return db.execute(statement, its).rowcount == 1


@cache
def _move(table: Table, columns: tuple[str, ...]) -> Update:
    """Built once for each: to build it anew costs more than the ledger takes to answer."""
    values = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in columns}
    its = (table.c.id == bindparam("row_id")) & (table.c.state == bindparam("start"))
    return update(table).where(its).values(state=bindparam("end"), **values)


def inserted(db: Connection, table: Table, row: dict[str, Any]) -> int:
    """Write one row; its id."""
    key = db.execute(insert(table), row).inserted_primary_key
    assert key is not None
    return int(key[0])


def note(db: Connection, now: datetime, what: str, *, film_id: int | None, who: str, **detail: Any) -> None:
    """Write one event row. `detail` never holds a patient's name or number."""
    db.execute(insert(events), {"film_id": film_id, "at": now, "what": what, "who": who, "detail": detail})
