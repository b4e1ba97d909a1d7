"""A browser's stand-in for tests of the console that need no JavaScript."""

from __future__ import annotations

from starlette.testclient import TestClient

from gateway.bootstrap import Shell
from gateway.console.app import create_app
from gateway.console.doors import Role


def signed_in(shell: Shell, role: Role = Role.REVIEWER) -> TestClient:
    """A client whose person has signed in with this role, and that sends the CSRF token."""
    return TestClient(create_app(shell), base_url="http://127.0.0.1")
