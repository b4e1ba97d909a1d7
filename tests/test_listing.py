"""Lists: what is asked of the database, page by page, and printed as it comes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text, update
from typer.testing import CliRunner

from gateway.cli import app
from gateway.ledger import Ledger
from gateway.ledger.records import HoldState, Wanted
from gateway.ledger.tables import deliveries, findings

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from ledger import START, fill

FILMS = 1203  # two pages of films, and a few more


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    fill(folder / "ledger.sqlite", FILMS)
    return folder


@pytest.fixture
def ledger(state: Path) -> Iterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{state}/ledger.sqlite")
    yield opened
    opened.close()


def run(state: Path, *words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--state", str(state)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_list_for_programs_is_one_array_of_all_films(state: Path, ledger: Ledger) -> None:
    """Newest first, each once, across pages; a line has all that `films show` has of a film."""
    told = json.loads(run(state, "films", "list", "--json"))
    assert [film["film_id"] for film in told] == list(range(FILMS, 0, -1))
    (shown,) = json.loads(run(state, "films", "show", "600", "--json"))
    assert {key: shown[key] for key in told[0]} == told[FILMS - 600]
    assert [one["gate"] for one in shown["findings"]][:2] == ["header", "exposure"]
    assert ledger.film(600).findings[0]["facts"] == {}


def test_a_list_for_programs_holds_no_more_than_a_page(ledger: Ledger) -> None:
    """The first films are printed before the last ones were read, and no transaction stays open for them."""
    transactions: list[object] = []
    event.listen(ledger._engine, "begin", transactions.append)
    lines = ledger.film_lines()
    json.loads(next(lines))
    assert len(transactions) == 2  # one for the ids, one for the first page
    assert ledger._engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert sum(1 for _ in lines) == FILMS - 1
    assert len(transactions) == 4


def test_text_of_others_stays_text(ledger: Ledger, state: Path) -> None:
    """An error with quotes and line ends, a finding that speaks of facts: still one array."""
    odd = 'it said "no"\n\\ and \u2028 "facts": {}, \x07'
    body = {"score": 0.5, "low": 0.0, "high": 1.0, "reason": None, "detail": odd, "box": None}
    with ledger.writing() as db:
        db.execute(update(deliveries).where(deliveries.c.film_id == 7).values(error=odd))
        db.execute(update(findings).where(findings.c.decision_id == 7).values(body=body))
    (film,) = json.loads(run(state, "films", "list", "--json", "--film", "7"))
    assert {one["error"] for one in film["deliveries"]} == {odd}
    assert {(one["detail"], json.dumps(one["facts"])) for one in film["findings"]} == {(odd, "{}")}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(decision="quarantine"), lambda n: n % 10 in (1, 4, 6, 9)),
        (Wanted(decision="undecided"), lambda n: False),
        (Wanted(reason="BLANK"), lambda n: n % 10 in (1, 6)),
        (Wanted(reason="INCOMPLETE_CHEST"), lambda n: n % 50 == 0),
        (Wanted(reason="BLANK", since=START + timedelta(hours=10)), lambda n: n % 10 in (1, 6) and n >= 600),
        (Wanted(until=START + timedelta(hours=10)), lambda n: n < 600),
        (Wanted(sender="ROOM1"), lambda n: (1 + n // 10) % 5 == 0),
        (Wanted(sender="ROOM%"), lambda n: False),
        (Wanted(destination="chest14"), lambda n: n % 4 == 0),
        (Wanted(destination="archive", delivery="pending"), lambda n: n % 10 not in (0, 5)),
        (Wanted(destination="archive", delivery="delivered"), lambda n: n % 10 in (0, 5)),
        (Wanted(delivery="failed"), lambda n: False),
        (
            Wanted(decision="pass", destination="chest14", after=500),
            lambda n: n % 20 in (0, 8, 12) and n < 500,
        ),
        (Wanted(films=(3, 900)), lambda n: n in (3, 900)),
    ],
)
def test_each_wish_is_asked_of_the_database(ledger: Ledger, wanted: Wanted, expected: Any) -> None:
    assert list(ledger.film_ids(wanted)) == [n for n in range(FILMS, 0, -1) if expected(n)]
    assert [row.film_id for row in ledger.films(wanted, limit=2)] == list(ledger.film_ids(wanted))[:2]


def test_people_are_shown_a_page_and_told_how_to_see_more(state: Path) -> None:
    shown = run(state, "films", "list", "--limit", "3")
    assert f"--after {FILMS - 2} shows the next ones" in shown
    assert f"3 of {FILMS} films" in shown
    following = run(state, "films", "list", "--limit", "3", "--after", str(FILMS - 2))
    assert str(FILMS - 3) in following
    assert str(FILMS - 2) not in following.split("--after")[0]
    last = run(state, "films", "list", "--after", "4")
    assert "--after" not in last


def test_a_long_quarantine_is_shown_by_pages(state: Path, ledger: Ledger) -> None:
    """Oldest first, fifty at once; with what is left and how to see it."""
    held = len(ledger.holds())
    shown = run(state, "quarantine", "list")
    assert f"{held - 50} more. --after h50 shows the next ones" in shown
    assert "One answer settles" in shown
    two = json.loads(run(state, "quarantine", "list", "--after", "h50", "--limit", "2", "--json"))
    assert [hold["hold"] for hold in two] == ["h51", "h52"]
    assert len(json.loads(run(state, "quarantine", "list", "--json"))) == held
    assert [hold.id for hold in ledger.each_hold(None, after=held - 2)] == [held - 1, held]
    assert ledger.count_holds(HoldState.OPEN, after=held) == 0


@pytest.mark.parametrize(
    "words", [("films", "list", "--delivery", "lost"), ("quarantine", "list", "--after", "film 7")]
)
def test_a_wish_that_makes_no_sense_is_a_usage_error(state: Path, words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, [*words, "--state", str(state)]).exit_code == 2


def test_a_reader_that_goes_away_ends_a_list(state: Path) -> None:
    """`filmgate films list --json | head -2`: no traceback."""
    command = [sys.executable, "-m", "gateway.cli", "films", "list", "--json", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        process.wait(60)


def test_a_word_is_ruled_on_for_many_films_at_once(state: Path, ledger: Ledger) -> None:
    """As many statements for hundreds of films as for a few: nobody else waits for the ledger meanwhile."""
    statements: list[str] = []

    def count(_db: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(ledger._engine, "before_cursor_execute", count)
    waiting = {question.sender: question.films for question in ledger.questions()}
    statements.clear()
    sender = next(iter(waiting))
    now = datetime.now(UTC)
    films = ledger.rule(sender, "PORTABLE", "never", by="ann", note_text="", now=now)  # type: ignore[arg-type]
    assert films == waiting[sender]
    assert len(statements) < 10
    assert ledger.ready_jobs() == len(films)
    with ledger.reading() as db:
        asked = db.execute(text("SELECT count(*) FROM events WHERE what = 'gate again'")).scalar()
    assert asked == len(films)
