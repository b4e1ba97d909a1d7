"""The application: rooms in a visible order, doors around all of them."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI
from starlette.staticfiles import StaticFiles

from gateway.bootstrap import Shell
from gateway.console.doors import door, refusals
from gateway.console.doors.guard import Guard
from gateway.console.pages import (
    acts,
    audit,
    film,
    labels,
    models,
    pulse,
    quarantine,
    sign_in,
    today,
    upload,
    users,
)
from gateway.console.pictures import routes as pictures

STATIC = Path(__file__).parent / "static"

# Each page is one file in pages/ and one word here.
ROUTERS: tuple[APIRouter, ...] = (
    sign_in.router,
    today.router,
    pulse.router,
    quarantine.router,
    pictures.router,
    film.router,
    labels.router,
    upload.router,
    models.router,
    users.router,
    acts.router,
    audit.router,
)


def create_app(shell: Shell) -> FastAPI:
    """The console over one gateway's ledger and store."""
    app = FastAPI(
        title="filmgate console",
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(door)],
        responses=refusals.RESPONSES,
    )
    app.state.shell = shell
    refusals.install(app)
    app.add_middleware(Guard, shell=shell)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for router in ROUTERS:
        app.include_router(router)
    return app
