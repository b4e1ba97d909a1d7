"""Users: who may sign in, what they may do, and where they are signed in. For admins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, Response

from gateway.bootstrap import Shell, now
from gateway.console.doors import Admin, Person, Role, Things
from gateway.console.rendering import page
from gateway.errors import NotFound
from gateway.ledger.people import passwords
from gateway.ledger.people.peopling import CannotChangePerson
from gateway.ledger.people.records import User

router = APIRouter(include_in_schema=False)

MAY = {
    Role.VIEWER: "looks",
    Role.REVIEWER: "looks and decides about films",
    Role.ADMIN: "also changes policy, senders, destinations and users",
}


@dataclass(frozen=True, slots=True)
class Secret:
    """A password that is shown once."""

    name: str
    password: str


@router.get("/users")
def users(request: Request, person: Admin, shell: Things) -> HTMLResponse:
    return _page(request, person, shell)


@router.post("/users")
def add(
    request: Request,
    person: Admin,
    shell: Things,
    name: Annotated[str, Form(max_length=64)],
    role: Annotated[Role, Form()],
) -> Response:
    """A new person, with a password that is made up and must be changed."""
    password = passwords.made_up()
    try:
        user = shell.ledger.add_user(
            name.strip(),
            role,
            by=person.name,
            now=now(),
            password_hash=passwords.hashed(password),
            must_change=True,
        )
    except CannotChangePerson as error:
        return _page(request, person, shell, str(error), status=409)
    return _page(
        request, person, shell, f"{user.name} was added.", done=True, secret=Secret(user.name, password)
    )


@router.post("/users/{user_id}/role")
def set_role(
    request: Request, person: Admin, shell: Things, user_id: int, role: Annotated[Role, Form()]
) -> Response:
    user = _user(shell, user_id)
    try:
        shell.ledger.set_role(user.name, role, by=person.name, now=now())
    except CannotChangePerson as error:
        return _page(request, person, shell, str(error), status=409)
    return _page(request, person, shell, f"{user.name} is {role.value} now.", done=True)


@router.post("/users/{user_id}/acts")
def act(
    request: Request,
    person: Admin,
    shell: Things,
    user_id: int,
    act: Annotated[Literal["enable", "disable", "password", "sign-out"], Form()],
) -> Response:
    user, at, by = _user(shell, user_id), now(), person.name
    try:
        match act:
            case "enable":
                shell.ledger.set_disabled(user.name, False, by=by, now=at)
                words = f"{user.name} may sign in again."
            case "disable":
                shell.ledger.set_disabled(user.name, True, by=by, now=at)
                words = f"{user.name} is signed out everywhere, and cannot sign in any more."
            case "sign-out":
                count = shell.ledger.end_sessions(user.name, by=by, now=at)
                words = f"{user.name} is signed out: {count} session{'' if count == 1 else 's'} ended."
            case "password":
                return _new_password(request, person, shell, user)
    except CannotChangePerson as error:
        return _page(request, person, shell, str(error), status=409)
    return _page(request, person, shell, words, done=True)


def _new_password(request: Request, person: Person, shell: Shell, user: User) -> Response:
    password = passwords.made_up()
    shell.ledger.set_password(
        user.name, passwords.hashed(password), by=person.name, now=now(), must_change=True
    )
    words = f"{user.name} has a new password, and is signed out everywhere."
    return _page(request, person, shell, words, done=True, secret=Secret(user.name, password))


def _user(shell: Shell, user_id: int) -> User:
    """
    Raises:
        NotFound: there is nobody with this id.
    """
    for user in _everybody(shell):
        if user.user_id == user_id:
            return user
    raise NotFound("There is no such person. Nothing was changed.")


def _everybody(shell: Shell) -> list[User]:
    at = now()
    return shell.ledger.users(now=at, open_since=at - timedelta(minutes=shell.settings.console.idle_min))


def _page(
    request: Request,
    person: Person,
    shell: Shell,
    words: str = "",
    *,
    done: bool = False,
    secret: Secret | None = None,
    status: int = 200,
) -> HTMLResponse:
    return page(
        request,
        "users.html",
        person,
        status_code=status,
        users=_everybody(shell),
        roles=tuple(Role),
        may=MAY,
        words=words,
        done=done,
        secret=secret,
    )
