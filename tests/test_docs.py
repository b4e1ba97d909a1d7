"""What can be set or can happen is documented, and the examples are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.errors import Trouble
from gateway.settings import Settings, keys, load
from pipelines.film import REASON_TEXT, Reason
from pipelines.reading import UNREAD_TEXT, Unread

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def documented(page: str) -> set[str]:
    """The first cells of the page's tables that are code."""
    return set(re.findall(r"^\| `([^`]+)` \|", (DOCS / page).read_text(), re.MULTILINE))


def test_every_setting_is_documented_and_nothing_else() -> None:
    """docs/configuration.md has a row for each key of the schema, and none for a key that is gone."""
    assert documented("configuration.md") == {path for path, _ in keys()}


def test_every_documented_default_is_the_default() -> None:
    """A table that says 30 where the code says 60 misleads people for years."""
    text = (DOCS / "configuration.md").read_text()
    wrong = []
    for path, info in keys():
        told = re.search(rf"^\| `{re.escape(path)}` \| (`?)(.*?)\1 \|", text, re.MULTILINE)
        assert told is not None, path
        if told[1] and not path.endswith(".kind") and not isinstance(info.default, (tuple, Path)):
            plain = str(info.default).lower() if isinstance(info.default, bool) else str(info.default)
            if plain.removesuffix(".0") != told[2].strip('"'):
                wrong.append((path, plain, told[2]))
    assert wrong == []


def test_every_reason_is_documented_and_has_a_text() -> None:
    """Nobody is shown a code that the manual does not know."""
    assert {reason.value for reason in REASON_TEXT} == set(Reason.__members__)
    assert {code.value for code in UNREAD_TEXT} == set(Unread.__members__)
    assert documented("reasons.md") == set(Reason.__members__) | set(Unread.__members__)


def test_every_trouble_of_a_delivery_is_documented() -> None:
    """The words of `filmgate deliveries`, and none that is gone."""
    assert documented("deliveries.md") == set(Trouble)


def test_the_file_of_config_init_says_the_defaults(tmp_path: Path) -> None:
    """Writing it changes nothing; the comments in it can be believed."""
    target = tmp_path / "filmgate.yaml"
    result = CliRunner().invoke(app, ["config", "init", str(target)])
    assert result.exit_code == 0, result.output
    assert load(target, env={}) == Settings(state=tmp_path / "state")
    assert target.read_text() == (ROOT / "config" / "filmgate.yaml").read_text()


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "config").glob("*.yaml")))
def test_the_examples_can_be_used(example: str, tmp_path: Path) -> None:
    """Each file in config/ is one that a gateway starts with."""
    if example == "policy.yaml":
        (tmp_path / "filmgate.yaml").write_text(f"policy: {{file: {ROOT / 'config' / example}}}")
        path = tmp_path / "filmgate.yaml"
    else:
        path = ROOT / "config" / example
    result = CliRunner().invoke(app, ["config", "check", "--config", str(path), "--state", str(tmp_path)])
    assert result.exit_code == 0, result.output


def test_the_schema_for_editors_is_current() -> None:
    """`make docs` writes it."""
    shown = CliRunner().invoke(app, ["config", "schema"])
    assert shown.stdout == (DOCS / "settings.schema.json").read_text()


@pytest.mark.parametrize("page", ["real-world.md", "faults.md"])
def test_every_test_that_the_docs_name_is_there(page: str) -> None:
    """These pages hold each row to a test; one that is gone or renamed holds nothing."""
    files = {path.name: path.read_text() for path in Path(__file__).parent.rglob("test_*.py")}
    named = list[tuple[str, str]]()
    for row in (DOCS / page).read_text().splitlines():
        file, tests = "", list[tuple[str, str]]()
        for told, test in re.findall(r"`(?:e2e/)?(test_\w+\.py)?(?:::(test_\w+))?`", row):
            file = told or file
            tests += [(file, test)] if file else []
        assert tests or not re.match(r"\| \d", row), f"no test: {row}"
        named += tests
    assert len(named) > 40
    assert [f"{file}::{test}" for file, test in named if f"def {test}" not in files.get(file, "")] == []


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{path.name}" for path in DOCS.glob("*.md"))])
def test_every_file_of_ours_that_a_page_names_is_there(page: str) -> None:
    """Files move; what a reader is sent to must not be gone."""
    parts = r"(?:gateway|pipelines|models|bench|tests|config|docker)"
    named = re.findall(rf"`({parts}/[\w/-]+\.(?:py|yaml|md))", (ROOT / page).read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []
