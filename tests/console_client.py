"""A browser's stand-in for tests of the console that need no JavaScript."""

from __future__ import annotations

import re
from functools import cache

from starlette.testclient import TestClient

from gateway.bootstrap import Shell, now
from gateway.console.app import create_app
from gateway.console.doors import Role
from gateway.ledger.people import passwords

PASSWORD = "correct horse battery staple"


def signed_in(shell: Shell, role: Role = Role.REVIEWER) -> TestClient:
    """A client whose person has signed in with this role, and that sends the CSRF token.

    The person's name, which audit rows have, is that of the role.
    """
    add_person(shell, role.value, role)
    client = stranger(shell)
    sign_in(client, role.value)
    return client


def stranger(shell: Shell) -> TestClient:
    """A client that has not signed in."""
    return TestClient(create_app(shell), base_url="http://127.0.0.1", follow_redirects=False)


def add_person(shell: Shell, name: str, role: Role) -> None:
    """Somebody who signs in with PASSWORD, unless they are there already."""
    if shell.ledger.credentials(name) is None:
        shell.ledger.add_user(name, role, by="tests", now=now(), password_hash=_password_hash())


def sign_in(client: TestClient, name: str, password: str = PASSWORD) -> None:
    """Through the page, as a browser does it; from now on the client sends the CSRF token."""
    answer = client.post("/sign-in", data={"name": name, "password": password}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    client.headers["X-CSRF-Token"] = csrf_token(client)
    client.follow_redirects = True


def csrf_token(client: TestClient) -> str:
    """The one in the page of one's account."""
    found = re.search(r'name="csrf-token" content="(\w+)"', client.get("/password").text)
    assert found
    return found[1]


@cache
def _password_hash() -> str:
    return passwords.hashed(PASSWORD)
