"""Who may come in. Every route but the sign-in page and the probes takes one of the three below.

@router.get("/films")
def films(request: Request, person: Viewer, shell: Things) -> HTMLResponse: ...

A request passes, in this order: `visit` (from where, by what name), `guard` (limits, headers, and nothing
without a session), `who` (session, or a proxy's word), `forms` (that the page itself asks, not another
site), and at last the role that the route names here. `refusals` says no, in words.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from gateway.bootstrap import Shell
from gateway.console.doors.forms import need_form_token
from gateway.console.doors.who import Person
from gateway.ledger.people.records import Role

__all__ = ["Admin", "Person", "Reviewer", "Role", "Things", "Viewer", "door"]

_MAY_NOT = {
    Role.REVIEWER: "You may look, but not decide about films. An admin can make you a reviewer.",
    Role.ADMIN: "This is for admins.",
}


async def door(request: Request) -> None:
    """For every route there is, also one that names no role: see `forms`."""
    await need_form_token(request)


def _viewer(request: Request) -> Person:
    person: Person = request.state.person  # `guard` lets nobody else come so far
    return person


def _reviewer(request: Request) -> Person:
    return _with_role(request, Role.REVIEWER)


def _admin(request: Request) -> Person:
    return _with_role(request, Role.ADMIN)


def _with_role(request: Request, role: Role) -> Person:
    person = _viewer(request)
    if not person.may(role):
        raise HTTPException(403, _MAY_NOT[role])
    return person


def _shell(request: Request) -> Shell:
    shell: Shell = request.app.state.shell
    return shell


Viewer = Annotated[Person, Depends(_viewer)]
Reviewer = Annotated[Person, Depends(_reviewer)]
Admin = Annotated[Person, Depends(_admin)]
Things = Annotated[Shell, Depends(_shell)]
