"""What holds nothing: measured values in plain words and flags, and where people and programs see them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.ledger import Ledger
from gateway.ledger.records import Judged, Received
from pipelines.film import Act, Decision, Finding, Reason, Verdict
from pipelines.words.facts import in_words

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ((), ""),
        ((("tilt_deg", 3.1),), "tilted 3 degrees clockwise"),
        ((("tilt_deg", -0.8),), "tilted 1 degree counter-clockwise"),
        ((("tilt_deg", 0.4),), "not tilted"),
        ((("ap", 0.97),), "AP, p .97"),
        ((("ap", 0.02),), "PA, p .98"),
        ((("child", 0.999),), "a child's chest, p 1.00"),
        ((("child", 0.1),), "an adult's chest, p .90"),
        ((("heart", 0.4567891),), "heart 0.4568"),
        (
            (("box1_x0", 0.2), ("box1_p", 0.98), ("box2_y1", 0.5), ("box2_p", 0.9)),
            "box 1, p .98; box 2, p .90",
        ),
        ((("tilt_deg", float("nan")), ("ap", 0.5)), "AP, p .50"),
        ((("tilt_deg", 12.0), ("ap", 0.97)), "tilted 12 degrees clockwise; AP, p .97"),
    ],
)
def test_a_measured_value_is_told_in_words(facts: tuple[tuple[str, float], ...], words: str) -> None:
    assert in_words(facts) == words


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A ledger with one film that passed and of which something was measured."""
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", migrate_first=True)
    ledger.record([Received("1.2", "1.2.1", "1.2.840.10008.1.2.1", "a" * 64, 10, None, NOW)])
    job = ledger.claim("w")
    assert job is not None
    found = (
        Finding("rotation", Verdict.GOOD, 0.99, facts=(("tilt_deg", 3.1),)),
        Finding("anatomy", Verdict.GOOD, 0.99, facts=(("ap", 0.97), ("child", 0.01))),
        Finding("mirror", Verdict.GOOD, 0.99),
    )
    passed = Decision(Act.PASS, rule="qualified", why="good", flags=(Reason.AGE_CONTRADICTS,))
    ledger.judge(job, Judged(passed, found, "enforce", {}), now=NOW)
    ledger.close()
    return tmp_path


def test_films_show_tells_what_was_measured(state: Path) -> None:
    shown = CliRunner().invoke(app, ["films", "show", "1", "--state", str(state)]).stdout
    assert "tilted 3 degrees clockwise" in shown
    assert "AP, p .97; an adult's chest, p .99" in shown


@pytest.mark.parametrize("command", [["list"], ["show", "1"]])
def test_programs_get_numbers(state: Path, command: list[str]) -> None:
    shown = CliRunner().invoke(app, ["films", *command, "--json", "--state", str(state)])
    (film,) = json.loads(shown.stdout)
    facts = {found["gate"]: found["facts"] for found in film["findings"]}
    assert facts == {"rotation": {"tilt_deg": 3.1}, "anatomy": {"ap": 0.97, "child": 0.01}, "mirror": {}}


def test_a_film_is_found_by_its_flag(state: Path) -> None:
    """What is noted of a film that passed must be seen somewhere."""
    command = ["films", "list", "--reason", "age_contradicts", "--json", "--state", str(state)]
    (film,) = json.loads(CliRunner().invoke(app, command).stdout)
    assert (film["decision"], film["flags"]) == ("pass", ["AGE_CONTRADICTS"])
    shown = CliRunner().invoke(app, ["films", "show", "1", "--state", str(state)]).stdout
    assert "AGE_CONTRADICTS: the picture shows a child" in shown
    assert "the film is not held for it" in " ".join(shown.split())
