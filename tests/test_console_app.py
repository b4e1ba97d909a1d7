"""The application as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from console_client import signed_in

from gateway.bootstrap import Shell
from gateway.settings import Settings


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell.open(Settings(state=tmp_path / "state"), migrate_first=True)
    yield shell
    shell.close()


def test_today_has_the_counts_of_the_ledger(shell: Shell) -> None:
    """The first page that people see."""
    with signed_in(shell) as client:
        answer = client.get("/")
    assert answer.status_code == 200
    assert "Today" in answer.text
