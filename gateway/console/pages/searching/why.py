"""Why has this accession no AI result? One box, a sentence and a picture for each film."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from gateway.console.doors import Things, Viewer
from gateway.console.pages.searching.becoming import became
from gateway.console.rendering import page
from gateway.ledger.searching.records import masked

MOST = 20  # films of one answer

router = APIRouter()


@router.get("/why", response_class=HTMLResponse)
def why(
    request: Request, person: Viewer, shell: Things, q: Annotated[str, Query(max_length=64)] = ""
) -> HTMLResponse:
    """What became of the films that an accession number, a patient id, a UID or a film's number names."""
    asked = q.strip()
    found = shell.ledger.why(asked, limit=MOST + 1) if asked else ()
    films = [(one, tuple(became(one)), masked(one.header.accession)) for one in found[:MOST]]
    last = shell.ledger.search(limit=1) if asked and not found else ()
    return page(
        request,
        "searching/why.html",
        person,
        asked=asked,
        films=films,
        more=len(found) > MOST,
        last=last[0] if last else None,
        unread=shell.ledger.unread_headers() if asked and not found else 0,
    )
