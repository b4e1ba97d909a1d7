"""Today: how it goes, in numbers that are links, and one sentence of health."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from gateway.console.doors import Things, Viewer
from gateway.console.rendering import page

router = APIRouter()


@router.get("/")
def today(request: Request, person: Viewer, shell: Things) -> HTMLResponse:
    return page(request, "today.html", person, counts=shell.ledger.counts())
