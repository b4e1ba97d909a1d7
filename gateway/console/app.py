"""The application: rooms in a visible order, doors around all of them."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI
from starlette.staticfiles import StaticFiles

from gateway.bootstrap import Shell
from gateway.console.pages import console, door, doors, film, from, gateway, import, pulse, quarantine, refusals, today, upload
from gateway.console.pictures import routes as pictures

STATIC = Path(__file__).parent / "static"

# Each page is one file in pages/ and one word here.
ROUTERS: tuple[APIRouter, ...] = (today.router, pulse.router, pictures.router, upload.router, quarantine.router, film.router, sign_in.router, users.router,)


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
