"""The table of commands is true, complete and light; every command is documented and has --json."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from gateway.cli import app
from gateway.cli.commands import COMMANDS
from gateway.cli.lazy import Command, Group, Lazy, attribute

ROOT = Path(__file__).parent.parent


def commands(entries: tuple[Command | Group, ...], before: str = "") -> Iterator[tuple[str, Command]]:
    """Each command with its whole name."""
    for entry in entries:
        name = f"{before} {entry.name}".strip()
        if isinstance(entry, Group):
            yield from commands(entry.commands, name)
        else:
            yield name, entry


EVERY = dict(commands(COMMANDS))


@pytest.mark.parametrize("name", EVERY)
def test_a_command_is_what_the_table_says(name: str) -> None:
    """It is there, its help begins as the table has it, and it takes --json, --config and --state."""
    entry = EVERY[name]
    said = (inspect.getdoc(attribute(entry.target)) or "").partition("\n\n")[0].replace("\n", " ")
    assert entry.first is not None or said == entry.help
    command: Any = Lazy(entry).loaded()
    assert command.help.startswith(entry.help)
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--config", "--state"} <= options


def test_help_shows_every_command_in_the_order_of_the_table() -> None:
    """Names and helps, without a module of theirs."""
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout
    lines = [entry.help for entry in COMMANDS]
    places = [shown.find(line) for line in lines]
    assert -1 not in places
    assert places == sorted(places)
    assert list(get_command(app).commands) == [entry.name for entry in COMMANDS]  # type: ignore[attr-defined]


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one() -> None:
    """A typing error is told what was meant, in a group as well."""
    told = CliRunner().invoke(app, ["films", "lst"], env={"COLUMNS": "200"})
    assert told.exit_code == 2
    assert "Did you mean 'list'" in told.stderr


@pytest.mark.parametrize("name", EVERY)
def test_every_command_is_in_the_manual(name: str) -> None:
    """docs/commands.md names each command; a new one is not forgotten."""
    text = (ROOT / "docs" / "commands.md").read_text()
    assert re.search(rf"`filmgate {re.escape(name)}[ `]", text)


def test_no_command_of_the_manual_is_gone() -> None:
    """A row for each command and group, and none for one that is no more."""
    groups = {name.rpartition(" ")[0] for name in EVERY}
    text = (ROOT / "docs" / "commands.md").read_text()
    rows = re.findall(r"^\| `filmgate ([^`]+)`", text, re.MULTILINE)
    assert len(rows) > 30
    for row in rows:
        words = re.match(r"[a-z -]*[a-z]", row)
        assert words is not None
        assert words[0].split(" --")[0] in EVERY | dict.fromkeys(groups), row


def test_only_the_group_loads_by_name() -> None:
    """Modules are imported at the top of a file, or by `gateway.cli.lazy`, which is the one place to look."""
    late = []
    for path in sorted((ROOT / "gateway" / "cli").rglob("*.py")):
        if path.name == "lazy.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "importlib":
                late += [f"{path}: {alias.name}" for alias in node.names if alias.name == "import_module"]
            if isinstance(node, ast.Name) and node.id == "__import__":
                late.append(str(path))
    assert late == []
