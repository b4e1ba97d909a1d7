"""/livez, /readyz and /metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import generate_latest
from pydantic import BaseModel
from starlette.responses import JSONResponse, PlainTextResponse, Response

from gateway.console.doors import Things
from gateway.console.watch import ready
from gateway.errors import LedgerError

router = APIRouter()

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus text exposition format


class Alive(BaseModel):
    """The process answers."""

    alive: bool


class One(BaseModel):
    """One thing that was looked at."""

    what: str
    ok: bool
    why: str


class Ready(BaseModel):
    """Whether all is as it should be, and what is not."""

    ready: bool
    checks: list[One]


@router.get("/livez")
async def alive() -> Alive:
    """Whether this process answers; nothing else is asked, no thread either that waits for the ledger."""
    return Alive(alive=True)


@router.get("/readyz", responses={503: {"model": Ready, "description": "Something is not as it should be."}})
def is_ready(shell: Things) -> Response:
    """Whether films are received, gated and sent, and if not, which part is in the way and why."""
    looked = ready.look(shell)
    checks = [One(what=one.what, ok=one.ok, why=one.why) for one in looked]
    answer = Ready(ready=all(one.ok for one in looked), checks=checks)
    return JSONResponse(answer.model_dump(), 200 if answer.ready else 503)


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """The figures, for Prometheus."""
    try:
        return Response(generate_latest(request.app.state.figures), media_type=CONTENT_TYPE)
    except LedgerError as error:
        return PlainTextResponse(f"{error}\n", 503)
