"""Audit: who did what when to which film."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, BeforeValidator, Field
from starlette.responses import HTMLResponse, Response, StreamingResponse

from gateway.bootstrap import Shell
from gateway.console.doors import Things, Viewer
from gateway.console.rendering import page
from gateway.console.spreadsheets import Csv, lines
from gateway.ledger.acting.auditing import Audited, AuditRow
from gateway.ledger.acting.table import CAN_BE_UNDONE
from pipelines.film import REJECT_REASONS

router = APIRouter()

PAGE = 100  # rows of one page
MOST_ROWS = 100_000  # of one CSV file

# What an event is called on the page; one that is not here has its own name.
WORDS = {
    "hold released": "released",
    "hold corrected": "corrected",
    "hold rejected": "rejected",
    "gate again": "had it gated again",
    "send again": "sent it again",
    "note": "noted",
    "relabel": "labelled",
    "undone": "undid",
}
_NOT_SHOWN = frozenset({"act", "note"})  # they have columns of their own


Id = Annotated[int, Field(ge=1, le=2**62)]


def _or_none(value: object) -> object:
    """A form sends its empty fields, too."""
    return None if isinstance(value, str) and not value.strip() else value


class Asked(BaseModel):
    """The filter row; all of it stands in the address."""

    who: Annotated[Annotated[str, Field(max_length=128)] | None, BeforeValidator(_or_none)] = None
    what: Annotated[Annotated[str, Field(max_length=32)] | None, BeforeValidator(_or_none)] = None
    film: Annotated[Id | None, BeforeValidator(_or_none)] = None
    first_day: Annotated[date | None, BeforeValidator(_or_none)] = None
    last_day: Annotated[date | None, BeforeValidator(_or_none)] = None
    before: Annotated[Id | None, BeforeValidator(_or_none)] = None

    def audited(self) -> Audited:
        """Days are days in UTC, as the times of the list are given in the file."""
        return Audited(
            who=self.who or "",
            what=self.what or "",
            film=self.film,
            since=_midnight(self.first_day),
            until=_midnight(self.last_day, days=1),
            before=self.before,
        )

    def address(self, path: str, **changed: object) -> str:
        """The same list, changed so."""
        kept = {name: value for name, value in (self.model_dump() | changed).items() if value is not None}
        return f"{path}?{urlencode(kept)}" if kept else path

    @property
    def narrowed(self) -> bool:
        return any(value is not None for value in self.model_dump().values())


def _midnight(day: date | None, *, days: int = 0) -> datetime | None:
    if day is None or (days and day == date.max):
        return None
    return datetime.combine(day + timedelta(days=days), time(), UTC)


Filters = Annotated[Asked, Query()]


@router.get("/audit", response_class=HTMLResponse)
def audit(request: Request, person: Viewer, shell: Things, asked: Filters) -> HTMLResponse:
    """One page of what people did, newest first."""
    found = shell.ledger.audit(asked.audited(), limit=PAGE + 1)
    shown = found[:PAGE]
    people, acts = shell.ledger.audited_words()
    return page(
        request,
        "audit.html",
        person,
        asked=asked,
        rows=[_view(row) for row in shown],
        people=[(name, name) for name in people],
        acts=[(act, WORDS.get(act, act)) for act in acts],
        further=asked.address("/audit", before=shown[-1].id) if len(found) > PAGE else None,
        first=asked.address("/audit", before=None) if asked.before else None,
        table=asked.address("/audit.csv", before=None),
        mine=Asked(who=person.name).address("/audit"),
    )


@router.get("/audit.csv", response_class=Csv)
def table(person: Viewer, shell: Things, asked: Filters) -> Response:  # noqa: ARG001
    """The whole list as a file for spreadsheets."""
    headers = {"Content-Disposition": 'attachment; filename="audit.csv"', "Cache-Control": "no-store"}
    rows = _rows(shell, asked.audited())
    return StreamingResponse(rows, media_type="text/csv; charset=utf-8", headers=headers)


def _rows(shell: Shell, wanted: Audited) -> Iterator[str]:
    """Page by page: no transaction stays open while somebody reads."""
    yield lines([["at", "who", "what", "film", "act", "note", "detail", "undone by", "undone at"]])
    left = MOST_ROWS
    while left > 0:
        found = shell.ledger.audit(wanted, limit=min(1000, left))
        yield lines(_cells(row) for row in found)
        if len(found) < 1000:
            return
        left -= len(found)
        wanted = replace(wanted, before=found[-1].id)


def _cells(row: AuditRow) -> list[object]:
    view = _view(row)
    undone_at = view["undone_at"].isoformat() if view["undone_at"] else ""
    told = (row.who, row.what, row.film, view["act"], view["note"], view["detail"])
    return [row.at.isoformat(), *told, view["undone_by"], undone_at]


def _view(row: AuditRow) -> dict[str, Any]:
    """A row as it is shown."""
    act = row.act
    return {
        "id": row.id,
        "at": row.at,
        "who": row.who,
        "what": WORDS.get(row.what, row.what),
        "film": row.film,
        "act": act.id if act else None,
        "note": str(row.detail.get("note", "")),
        "detail": "; ".join(_details(row.detail)),
        "undone_by": act.undone_by if act else None,
        "undone_at": act.undone_at if act else None,
        "can_be_undone": act is not None and act.act in CAN_BE_UNDONE and act.undone_at is None,
    }


def _details(detail: Mapping[str, Any]) -> Iterator[str]:
    """The rest of a row in words."""
    for name, value in detail.items():
        if name in _NOT_SHOWN or value in (None, "", [], {}):
            continue
        if name == "reason" and value in REJECT_REASONS:
            yield REJECT_REASONS[value]
        elif isinstance(value, list):
            yield f"{name.replace('_', ' ')} {', '.join(map(str, value))}"
        elif isinstance(value, dict):
            yield ", ".join(
                key if inner is True else f"{key} {inner}" for key, inner in value.items() if inner
            )
        elif isinstance(value, bool):
            yield f"{name.replace('_', ' ')}: {'yes' if value else 'no'}"
        else:
            yield f"{name.replace('_', ' ')} {value}"
