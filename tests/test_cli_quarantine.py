"""`filmgate quarantine`: what people decide, and rule once for all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import EXPLICIT, NOW, Run, commands_on, items, three_films

from gateway.errors import FilmgateError
from gateway.ledger import Ledger
from gateway.ledger.records import Judged, Received
from pipelines.film import Act, Decision, Reason


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A command on a small gateway."""
    return commands_on(tmp_path)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Three films: one passed, one held, one undecided."""
    with three_films(tmp_path / "state") as opened:
        yield opened


def test_a_destination_that_does_not_exist_is_named(run: Run, ledger: Ledger) -> None:
    """A slip of the pen closes no hold."""
    done = run("quarantine", "release", "2", "--to", "chst-ai", "--by", "Dr. Ada")
    assert done.exit_code == 1
    assert "there is no destination 'chst-ai'" in done.output
    assert len(ledger.holds()) == 1


def test_quarantine_shows_and_releases_a_film_with_who_and_why(run: Run, ledger: Ledger) -> None:
    """The decision is kept with the person's name and note, and the film goes to the AI."""
    (held,) = items(run("quarantine", "list", "--json"))
    assert (held["film_id"], held["reasons"], held["copy_ready"]) == (2, ["ROTATION_UNSURE"], False)
    assert "quarantine correct h1 --turn 90" in run("quarantine", "show", "2").stdout
    done = run("quarantine", "release", "2", "--by", "Dr. Ada", "--note", "upright")
    assert done.stdout.startswith("film 2 released; it leaves at "), done.output
    assert done.stdout.endswith("Until then: filmgate quarantine undo 1\n")
    assert items(run("quarantine", "list", "--json")) == []
    (closed,) = items(run("quarantine", "list", "--all", "--json"))
    assert (closed["state"], closed["closed_by"], closed["note"]) == ("released", "Dr. Ada", "upright")
    assert [d["destination"] for d in ledger.film(2).deliveries] == ["archive", "chest-ai"]


def test_quarantine_reject_keeps_the_film_from_every_ai(run: Run, ledger: Ledger) -> None:
    """Without --by it is the name on this machine."""
    (done,) = items(run("quarantine", "reject", "1.2.2", "--json"))
    assert done == {
        "sop_instance_uid": "1.2.2",
        "film_id": 2,
        "done": "rejected",
        "act": 1,
        "state": "rejected",
        "leaves_at": None,
    }
    (hold,) = ledger.holds(None)
    assert hold.closed_by
    assert [d["destination"] for d in ledger.film(2).deliveries] == ["archive"]
    assert run("quarantine", "correct", "2", "--turn", "45").exit_code == 2


@pytest.fixture
def asked(ledger: Ledger) -> Ledger:
    """Two more films, of ROOM3, that are held for a word in their headers."""
    row = ledger.associate(calling="ROOM3", called="FILMGATE", address="127.0.0.1", now=NOW)
    held = Decision(Act.QUARANTINE, (Reason.HEADER_WORD,), "word of a special picture", "x", words=("BONE",))
    ledger.claim("me:1")  # the undecided one
    for number in (4, 5):
        ledger.record([Received("1.2", f"1.2.{number}", EXPLICIT, f"{number}" * 64, 10, row, NOW)])
        job = ledger.claim("me:1")
        assert job is not None
        ledger.judge(job, Judged(held, (), "enforce", {}, hold=True), now=NOW)
    return ledger


def test_films_that_wait_for_one_answer_are_one_line(run: Run, asked: Ledger) -> None:
    """With the command that answers; programs see sender and word of each film."""
    (line,) = (line for line in run("quarantine", "list").stdout.splitlines() if "One answer" in line)
    assert "settles 2 films since" in line
    assert "(sender ROOM3, word BONE)" in line
    assert "filmgate quarantine rule ROOM3 BONE always|never" in line
    held = items(run("quarantine", "list", "--json"))
    assert [(one["sender"], one["words"]) for one in held] == [
        ("", []),
        ("ROOM3", ["BONE"]),
        ("ROOM3", ["BONE"]),
    ]
    assert "filmgate quarantine rule ROOM3 BONE always|never" in run("quarantine", "show", "4").stdout


def test_a_word_is_ruled_on_listed_and_taken_back(run: Run, asked: Ledger) -> None:
    """Once for all films of a sender, with who and why."""
    rule = ("quarantine", "rule", "ROOM3", "bones", "never", "--by", "Dr. Ada", "--note", "dual energy")
    (done,) = items(run(*rule, "--json"))
    assert done == {"sender": "ROOM3", "word": "BONE", "answer": "never", "examined_again": [4, 5]}
    assert asked.ready_jobs() == 2
    (ruling,) = items(run("quarantine", "rulings", "--json"))
    assert (ruling["by"], ruling["note"], ruling["ended_by"]) == ("Dr. Ada", "dual energy", None)
    assert "One answer" not in run("quarantine", "rulings").stdout
    back = run("quarantine", "take-back", "ROOM3", "BONE", "--by", "Bob")
    assert back.exit_code == 0, back.output
    assert items(run("quarantine", "rulings", "--json")) == []
    (ended,) = items(run("quarantine", "rulings", "--all", "--json"))
    assert ended["ended_by"] == "Bob"
    assert run("quarantine", "rule", "ROOM3", "BONE", "always").stdout.startswith(
        "BONE from ROOM3: always, says"
    )


def test_a_ruling_on_a_sender_that_nothing_waits_from_says_who_waits(run: Run, asked: Ledger) -> None:
    """It holds for films to come, which may be meant, or not."""
    typed = run("quarantine", "rule", "room3", "BONE", "never").stdout
    assert "no film was waiting for this; it holds for those to come" in typed
    assert "films with this word are waiting from ROOM3 (upper and lower case differ)" in typed
    (back,) = items(run("quarantine", "take-back", "room3", "BONE", "--by", "Bob", "--json"))
    assert back == {"sender": "room3", "word": "BONE", "taken_back_by": "Bob"}
    meant = run("quarantine", "rule", "ROOM3", "BONE", "never").stdout
    assert "2 films were waiting for this and are examined again" in meant
    assert "waiting from" not in run("quarantine", "rule", "ROOM9", "CAD", "never").stdout


def test_a_word_or_answer_that_nobody_knows_changes_nothing(run: Run, asked: Ledger) -> None:
    """Words are of a closed list, so a typing error is told and not kept."""
    wrong = run("quarantine", "rule", "ROOM3", "KNEE", "always")
    assert wrong.exit_code == 1
    assert isinstance(wrong.exception, FilmgateError) or "is not a word" in wrong.stderr
    assert run("quarantine", "rule", "ROOM3", "BONE", "maybe").exit_code == 2
    assert run("quarantine", "take-back", "ROOM3", "BONE").exit_code == 1
    assert asked.rulings(ended=True) == []
    assert asked.ready_jobs() == 0


def test_one_film_that_cannot_be_decided_on_does_not_stop_the_rest(run: Run, ledger: Ledger) -> None:
    """What was done is told, what was not is told, and the exit code is 1."""
    shown = run("quarantine", "reject", "9.9", "2", "1", "--json")
    assert shown.exit_code == 1
    assert [one["film_id"] for one in json.loads(shown.stdout)] == [2]
    assert "there is no film 9.9" in shown.stderr
    assert "film 1 is not held" in shown.stderr
