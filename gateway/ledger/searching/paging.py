"""How a sorted list goes on after one of its rows: by the row's own keys, never by counting rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_


@dataclass(frozen=True, slots=True)
class Key:
    """One of the columns that a list is sorted by."""

    column: ColumnElement[Any]
    falling: bool = False

    def order(self) -> ColumnElement[Any]:
        return self.column.desc() if self.falling else self.column.asc()

    def beyond(self, value: object) -> ColumnElement[bool]:
        later: ColumnElement[bool] = self.column < value if self.falling else self.column > value
        return later


def beyond(keys: Sequence[Key], values: Sequence[Any]) -> ColumnElement[bool]:
    """Whether a row comes after the one with these values of the keys."""
    if not keys:
        return false()
    first, *rest = keys
    last = first.beyond(values[0])
    if not rest:
        return last
    same = first.column == values[0]
    # The first condition bounds what is looked at; the second says it exactly.
    bound = first.column <= values[0] if first.falling else first.column >= values[0]
    return and_(bound, or_(last, and_(same, beyond(rest, values[1:]))))
