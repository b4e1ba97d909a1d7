"""The one way in which a state changes, a row is added, and an event is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache, lru_cache
from importlib import import_module
from typing import Any

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    CursorResult,
    Dialect,
    FromClause,
    Table,
    Update,
    bindparam,
    insert,
    literal_column,
    update,
)
from sqlalchemy.schema import ColumnDefault
from sqlalchemy.sql.compiler import SQLCompiler

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


class Prepared:
    """A statement as the driver takes it, its text and the way of its values made once for a dialect.

    SQLAlchemy's way from a statement to the driver takes several times as long as SQLite's answer, and the
    listener asks five such questions a film.
    """

    def __init__(
        self, statement: ClauseElement, dialect: Dialect, columns: Sequence[str] | None = None
    ) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=columns)
        assert isinstance(compiled, SQLCompiler)
        self._text = str(compiled)
        self._positional = compiled.positiontup
        self._defaults = {
            column.key: column.default.arg
            for column in compiled.insert_prefetch
            if isinstance(column.default, ColumnDefault) and column.default.is_scalar
        }
        self._to_driver = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect)
            for name, bind in compiled.binds.items()
        }

    def run(self, db: Connection, *rows: Mapping[str, Any]) -> CursorResult[Any]:
        """Execute it with the values of one row, or of several at once."""
        values = [self._values(row) for row in rows]
        return db.exec_driver_sql(self._text, values[0] if len(values) == 1 else values)

    def _values(self, row: Mapping[str, Any]) -> Any:
        whole = {**self._defaults, **row} if self._defaults else row
        if self._positional is not None:
            return tuple(self._value(name, whole[name]) for name in self._positional)
        return {name: self._value(name, whole[name]) for name in self._to_driver}

    def _value(self, name: str, value: Any) -> Any:
        to_driver = self._to_driver[name]
        return value if to_driver is None else to_driver(value)


@lru_cache(maxsize=256)
def _insertion(dialect: Dialect, table: Table, columns: tuple[str, ...]) -> Prepared:
    return Prepared(insert(table), dialect, columns)


@lru_cache(maxsize=256)
def _insertion_with_id(dialect: Dialect, table: Table, columns: tuple[str, ...]) -> Prepared:
    return Prepared(insert(table).returning(table.c.id), dialect, columns)


def inserted(db: Connection, table: Table, row: dict[str, Any]) -> int:
    """Write one row; its id."""
    if db.dialect.name == "sqlite":  # with RETURNING it plans to scan the tables that refer to this one
        return int(_insertion(db.dialect, table, tuple(row)).run(db, row).lastrowid)
    return int(_insertion_with_id(db.dialect, table, tuple(row)).run(db, row).scalar_one())


def insert_rows(db: Connection, table: Table, *rows: dict[str, Any]) -> None:
    """Write rows that all name the same columns."""
    _insertion(db.dialect, table, tuple(rows[0])).run(db, *rows)


def upsert(db: Connection, table: Table) -> Any:
    """An INSERT that can say what becomes of a row that is there already: of the dialect of this ledger.

    The other dialect is not loaded: PostgreSQL's alone takes a tenth of the time of `films list`.
    """
    return import_module(f"sqlalchemy.dialects.{db.dialect.name}").insert(table)


def note(db: Connection, now: datetime, what: str, *, film_id: int | None, who: str, **detail: Any) -> None:
    """Write one event row. `detail` never holds a patient's name or number."""
    insert_rows(db, events, {"film_id": film_id, "at": now, "what": what, "who": who, "detail": detail})
