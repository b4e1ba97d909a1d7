"""`filmgate users`: the same as the console's page, for whoever has the machine.

A password comes from a prompt or a file, never from the command line: other users of the machine see that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from gateway.bootstrap import now
from gateway.cli.options import Common, one_of, person
from gateway.cli.output import print_json, say, when
from gateway.cli.quiet import quiet_logs
from gateway.cli.tables import print_table
from gateway.errors import FilmgateError
from gateway.ledger import Ledger
from gateway.ledger.people import passwords
from gateway.ledger.people.records import Role, User
from gateway.process import private
from gateway.settings import Settings, load
from gateway.settings.lined_yaml import text_of

ROLES = tuple(role.value for role in Role)

Name = Annotated[str, typer.Argument(help="The name they sign in with.")]
RoleWord = Annotated[str, typer.Argument(metavar="ROLE", help="viewer, reviewer or admin.")]
RoleOption = Annotated[str, typer.Option("--role", help="viewer, reviewer or admin.")]
PasswordFile = Annotated[
    Path | None, typer.Option("--password-file", help="A file with the password; else you are asked for it.")
]
MustChange = Annotated[bool, typer.Option("--must-change", help="They choose another one when they sign in.")]
By = Annotated[str, typer.Option("--by", help="Who does it; else your user name on this machine.")]
Undo = Annotated[bool, typer.Option("--undo", help="Let them in again.")]


def list_users(common: Common) -> None:
    """List who may sign in to the console."""
    settings = load(common.config, common.state)
    with _ledger(settings) as ledger:
        at = now()
        users = ledger.users(now=at, open_since=at - timedelta(minutes=settings.console.idle_min))
    if common.json:
        print_json(map(_item, users))
    elif not users:
        say("Nobody can sign in yet. `filmgate users add NAME --role admin` lets the first one in.")
    else:
        rows = (
            (
                user.name,
                user.role.value,
                "disabled" if user.disabled else "",
                user.subject.partition(" ")[0] or "password",
                when(user.signed_in_at) or "never",
                str(user.sessions),
            )
            for user in users
        )
        print_table(("name", "role", "", "signs in by", "last sign-in", "sessions"), rows)


def add(
    common: Common,
    name: Name,
    role: RoleOption = "viewer",
    password_file: PasswordFile = None,
    must_change: MustChange = False,
    by: By = "",
) -> None:
    """Let somebody sign in to the console; the first one as admin."""
    kind = _role(role)
    with _ledger(load(common.config, common.state)) as ledger:
        if kind is not Role.ADMIN and not ledger.has_admin():
            raise FilmgateError(
                "there is no admin yet, and somebody has to be the first. Nobody was added. Say --role admin."
            )
        password_hash = _password_hash(name, password_file)
        user = ledger.add_user(
            name, kind, by=person(by), now=now(), password_hash=password_hash, must_change=must_change
        )
    _told(common, user, f"{user.name} may sign in as {user.role.value}")


def role(common: Common, name: Name, to: RoleWord, by: By = "") -> None:
    """Say what somebody may do: viewer, reviewer or admin."""
    kind = _role(to)
    with _ledger(load(common.config, common.state)) as ledger:
        ledger.set_role(name, kind, by=person(by), now=now())
        user = ledger.user(name)
    _told(common, user, f"{user.name} is {user.role.value} now")


def disable(common: Common, name: Name, undo: Undo = False, by: By = "") -> None:
    """Sign somebody out and keep them out; --undo lets them in again."""
    with _ledger(load(common.config, common.state)) as ledger:
        ledger.set_disabled(name, not undo, by=person(by), now=now())
        user = ledger.user(name)
    _told(common, user, f"{user.name} may sign in again" if undo else f"{user.name} cannot sign in any more")


def password(
    common: Common,
    name: Name,
    password_file: PasswordFile = None,
    must_change: MustChange = False,
    by: By = "",
) -> None:
    """Give somebody a new password; who had to wait after wrong ones may try at once."""
    with _ledger(load(common.config, common.state)) as ledger:
        user = ledger.user(name)
        password_hash = _password_hash(user.name, password_file)
        ledger.set_password(user.name, password_hash, by=person(by), now=now(), must_change=must_change)
        user = ledger.user(name)
    _told(common, user, f"{user.name} has a new password, and is signed out everywhere")


def sign_out(common: Common, name: Name, by: By = "") -> None:
    """End all sessions of somebody."""
    with _ledger(load(common.config, common.state)) as ledger:
        ledger.end_sessions(name, by=person(by), now=now())
        user = ledger.user(name)
    _told(common, user, f"{user.name} is signed out everywhere")


@contextmanager
def _ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger, made where there is none yet: the first admin may come before the first film."""
    quiet_logs()
    private.claim(settings.state)
    new = not settings.ledger.url and not (settings.state / "ledger.sqlite").exists()
    ledger = Ledger.open(
        settings.ledger_url, busy_timeout_s=settings.ledger.busy_timeout_s, migrate_first=new
    )
    try:
        yield ledger
    finally:
        ledger.close()


def _role(word: str) -> Role:
    return Role(one_of(word, ROLES) or "")


def _password_hash(name: str, file: Path | None) -> str:
    """
    Raises:
        FilmgateError: nobody can be asked.
        WeakPassword: it is too easily guessed.
    """
    if file is not None:
        text = text_of(file).rstrip("\r\n")
    elif not sys.stdin.isatty():
        raise FilmgateError(
            "there is no terminal to ask for the password. Nothing was changed. Name a file: --password-file."
        )
    else:
        text = typer.prompt(
            f"Password for {name}", hide_input=True, confirmation_prompt="Once more", err=True
        )
    passwords.need_strong(text, name)
    return passwords.hashed(text)


def _told(common: Common, user: User, words: str) -> None:
    if common.json:
        print_json([_item(user)])
    else:
        say(words)


def _item(user: User) -> dict[str, object]:
    return {
        "name": user.name,
        "role": user.role.value,
        "disabled": user.disabled,
        "must_change_password": user.must_change,
        "signs_in_by": user.subject.partition(" ")[0] or "password",
        "made_by": user.made_by,
        "made_at": user.made_at,
        "signed_in_at": user.signed_in_at,
        "sessions": user.sessions,
    }
