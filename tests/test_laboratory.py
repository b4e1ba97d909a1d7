"""Production and laboratory apart: what ships loads nothing of pipelines.lab, and no room grows too large."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("films", "measure", "train", "ask", "report")


@pytest.mark.parametrize(
    "statement",
    [
        "import gateway.tasks",
        "import gateway.listener",
        "import gateway.dispatcher.dispatcher",
        "import gateway.cli.review.films",
        "from gateway.cli import app, commands",
    ],
)
def test_what_ships_loads_nothing_of_the_laboratory(statement: str) -> None:
    """A worker begins sooner, and nothing of a training run can reach a film."""
    code = f"{statement}\nimport sys; print(*(name for name in sys.modules if 'pipelines.lab' in name))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == []


@pytest.mark.parametrize("folder", [*(f"pipelines/lab/{room}" for room in ROOMS), "gateway/cli/lab"])
def test_no_room_of_the_laboratory_grows_too_large(folder: str) -> None:
    """At most twelve files in a folder and 450 lines in a file; its `__init__` only says what the room is."""
    files = sorted((ROOT / folder).glob("*.py"))
    assert 1 < len(files) <= 12
    assert {path.name: lines for path in files if (lines := path.read_text().count("\n")) > 450} == {}
    assert (ROOT / folder / "__init__.py").read_text().count("\n") == 1
