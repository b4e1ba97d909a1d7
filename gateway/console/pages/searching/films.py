"""Films: every film that was received, found by what people know of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from gateway.bootstrap import Shell, now
from gateway.console.doors import Person, Reviewer, Things, Viewer
from gateway.console.pages.searching.asked import DECISIONS, LARGEST_ID, WITHIN, Filters
from gateway.console.pages.searching.columns import (
    COLUMNS,
    Column,
    chosen,
    deliveries_text,
    plain_cells,
    reason_words,
)
from gateway.console.rendering import page
from gateway.console.spreadsheets import Csv, lines
from gateway.errors import NotFound
from gateway.ledger.records import DeliveryState, Wanted
from gateway.ledger.searching.records import Found, masked
from pipelines.film import REASON_TEXT

MOST_ROWS = 10_000  # of one CSV file
_PAGE = 500
_KEPT_S = 365 * 24 * 3600

router = APIRouter()


@router.get("/films", response_class=HTMLResponse)
def films(request: Request, person: Viewer, shell: Things, asked: Filters) -> HTMLResponse:
    """One page of films."""
    found = shell.ledger.search(asked.wanted(now()), limit=asked.limit + 1)
    shown = found[: asked.limit]
    cookie = _cookie(person)
    answer = page(
        request,
        "searching/films.html",
        person,
        asked=asked,
        rows=shown,
        columns=chosen(asked.column or request.cookies.get(cookie, "").split(".")),
        every_column=COLUMNS,
        further=asked.address("/films", after=shown[-1].film_id) if len(found) > len(shown) else None,
        first=asked.address("/films") if asked.after else None,
        table=asked.address("/films.csv", limit=None),
        unread=shell.ledger.unread_headers(),
        reasons=REASON_TEXT,
        reason_words=reason_words,
        decisions=DECISIONS,
        states=[(state.value, state.value) for state in DeliveryState],
        within=list(WITHIN),
    )
    if asked.column:  # one's choice is remembered in this browser, for this person
        kept = ".".join(column.name for column in chosen(asked.column))
        answer.set_cookie(cookie, kept, max_age=_KEPT_S, path="/films", httponly=True, samesite="strict")
    return answer


def _cookie(person: Person) -> str:
    return f"columns-{hashlib.sha256(person.name.encode()).hexdigest()[:12]}"


@router.get("/films.csv", response_class=Csv)
def table(person: Viewer, shell: Things, asked: Filters) -> Response:
    """The whole list as a file for spreadsheets, masked as the page is."""
    del person
    wished = chosen(asked.column) if asked.column else COLUMNS
    headers = {"Content-Disposition": 'attachment; filename="films.csv"', "Cache-Control": "no-store"}
    rows = _rows(shell, asked.wanted(now()), wished)
    return StreamingResponse(rows, media_type="text/csv; charset=utf-8", headers=headers)


def _rows(shell: Shell, wanted: Wanted, columns: Sequence[Column]) -> Iterator[str]:
    """Page by page: no transaction stays open while somebody reads."""
    yield lines([[column.title for column in columns]])
    left = MOST_ROWS
    while left > 0:
        found = shell.ledger.search(wanted, limit=min(_PAGE, left))
        yield lines(plain_cells(one, columns) for one in found)
        if len(found) < _PAGE:
            return
        left -= len(found)
        wanted = replace(wanted, after=found[-1].film_id)


@router.get("/api/films")
def listed(person: Viewer, shell: Things, asked: Filters) -> dict[str, Any]:
    """The same page as JSON; `after` asks for the next one, null where there is none."""
    del person
    found = shell.ledger.search(asked.wanted(now()), limit=asked.limit + 1)
    shown = found[: asked.limit]
    after = shown[-1].film_id if len(found) > len(shown) else None
    return {"films": [_item(one) for one in shown], "after": after}


def _item(found: Found) -> dict[str, Any]:
    header = found.header
    return {
        "film": found.film_id,
        "digest": found.digest,
        "sop_instance_uid": found.sop_instance_uid,
        "received_at": found.received_at,
        "decision": found.decision,
        "decided_at": found.decided_at,
        "rule": found.rule,
        "why": found.why,
        "reasons": found.reasons,
        "flags": found.flags,
        "uncertainty": found.uncertainty,
        "job": found.job,
        "holds": found.holds,
        "deliveries": deliveries_text(found),
        "results": found.results,
        "accession": masked(header.accession),
        "patient_id": masked(header.patient_id),
        "study_uid": header.study_uid,
        "series_uid": header.series_uid,
        "study_date": header.study_date,
        "device": header.device,
        "modality": header.modality,
        "sender": header.sender,
    }


@router.post("/api/reveal")
def reveal(
    person: Reviewer,
    shell: Things,
    film: Annotated[int, Body(embed=True, ge=1, le=LARGEST_ID)],
    response: Response,
) -> dict[str, str]:
    """A film's accession number and patient id in full. That they were shown, and to whom, is kept."""
    try:
        header = shell.ledger.reveal(film, by=person.name, now=now())
    except NotFound as error:
        raise HTTPException(404, str(error)) from error
    response.headers["Cache-Control"] = "no-store"
    return {"accession": header.accession, "patient": header.patient_id}
