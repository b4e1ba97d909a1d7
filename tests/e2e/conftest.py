"""One whole gateway, `filmgate up` with DCMTK around it, for all end-to-end tests of a module."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import DCMSEND, NO_CONSOLE, STORESCP, Gateway, gateway


@pytest.fixture(scope="module")
def line() -> Iterator[Gateway]:
    """A running gateway with `correct: auto`, an AI and an archive (storescp)."""
    for program in (DCMSEND, STORESCP):
        if not os.access(program, os.X_OK):
            pytest.skip(f"{program} is missing: apt-get install dcmtk")
    with gateway(console=NO_CONSOLE) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
