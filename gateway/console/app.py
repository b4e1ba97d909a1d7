"""The application: rooms in a visible order, doors around all of them."""

from __future__ import annotations

from importlib import import_module
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
from gateway.console.pages.searching import films, why
from gateway.console.pages.steering import Tries, destinations, policy, senders
from gateway.console.pictures import routes as pictures
from gateway.console.watch import figures
from gateway.console.watch import routes as watch

STATIC = Path(__file__).parent / "static"

# Each page is one file in pages/ and one word here.
ROUTERS: tuple[APIRouter, ...] = (
    sign_in.router,
    today.router,
    quarantine.router,
    films.router,
    film.router,
    why.router,
    upload.router,
    policy.router,
    destinations.router,
    senders.router,
    labels.router,
    models.router,
    users.router,
    audit.router,
    acts.router,
    pictures.router,
    pulse.router,
    watch.router,
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
    app.state.tries = Tries()
    app.state.figures = figures.registry(shell)
    refusals.install(app)
    app.add_middleware(Guard, shell=shell)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for router in ROUTERS:
        app.include_router(router)
    if shell.settings.console.oidc is not None:  # Authlib takes 11 MB, and most do without
        app.include_router(import_module("gateway.console.pages.provider").router)
    return app
