"""The console's own description of its API, tried with whatever fits it and with much that does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from console_client import signed_in
from console_films import judged, received
from dicom_files import dx, part10, ramp
from hypothesis import given, settings
from pydicom import dcmread
from schemathesis import Case
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from gateway.bootstrap import Shell
from gateway.console.doors import Role
from gateway.settings import Settings

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "3"))  # of each operation and role; by hand hundreds
FILMS = 3
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Films that are held, in ledger and store."""
    model = {"state": tmp_path / "state", "store": {"min_free_mb": 0}}
    one = Shell.open(Settings.model_validate(model), migrate_first=True)
    for number in range(FILMS):
        film = dx(ramp(40, 30))
        film.SOPInstanceUID = f"1.2.3.{number}"
        received(one, dcmread(BytesIO(part10(film))), tmp_path)
        judged(one)
    yield one
    one.close()


@pytest.mark.parametrize("role", list(Role))
def test_the_api_is_as_it_says_and_makes_no_mistake(shell: Shell, role: Role) -> None:
    """No 500, only answers that are described, and of the described form; whoever asks."""
    tried = 0
    with signed_in(shell, role) as client:
        client.follow_redirects = False
        schema = schemathesis.openapi.from_dict(client.app.openapi())  # type: ignore[attr-defined]
        known = sorted(shell.ledger.digests())
        for found in schema.get_all_operations():
            operation = found.ok()
            assert operation is not None, found.err()

            @settings(max_examples=EXAMPLES, derandomize=True, database=None)
            @given(case=operation.as_strategy())
            def answers(case: Case) -> None:
                _to_what_there_is(case, known)
                asked = case.as_transport_kwargs(base_url="http://127.0.0.1")
                answer = _answered(client, asked)
                if case.path == "/readyz" and answer.status_code == 503:
                    return  # there is no gateway around this console
                case.validate_response(answer, checks=CHECKS)

            answers()
            tried += 1
    assert tried > 40


def _answered(client: TestClient, asked: dict[str, Any]) -> Any:
    """The request as the browser would send it, with the session and its token."""
    for own in ("cookies", "timeout", "verify", "cert"):
        asked.pop(own, None)
    headers = {name: value.encode("latin-1", "replace") for name, value in dict(asked.pop("headers")).items()}
    return client.request(**asked, headers=headers)


def _to_what_there_is(case: Case, known: list[str]) -> None:
    """Every second number is that of a film, every second digest one that is in the store."""
    parameters = case.path_parameters
    for name, value in parameters.items():
        if isinstance(value, int) and value % 2:
            parameters[name] = 1 + value % FILMS
        elif name == "digest" and isinstance(value, str) and len(value) == 64 and int(value[-1], 16) % 2:
            parameters[name] = known[0]
