"""`filmgate films`: what is listed and shown, and what is done again."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from command_line import EXPLICIT, NOW, Run, commands_on, items, three_films
from sqlalchemy import insert

from gateway.ledger import Ledger
from gateway.ledger.records import Judged, Received
from gateway.ledger.tables import results
from pipelines.film import Act, Decision, Finding, Reason, Verdict


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A command on a small gateway."""
    return commands_on(tmp_path)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Three films: one passed, one held, one undecided."""
    with three_films(tmp_path / "state") as opened:
        yield opened


def test_films_list_gives_programs_what_the_contract_says(run: Run, ledger: Ledger) -> None:
    """One JSON array, newest first; acceptance reads these keys."""
    undecided, held, passed = items(run("films", "list", "--json"))
    contract = {"sop_instance_uid", "received_at", "decision", "reasons", "findings", "deliveries"}
    assert contract <= set(passed)
    assert (passed["sop_instance_uid"], passed["decision"]) == ("1.2.1", "pass")
    assert datetime.fromisoformat(passed["received_at"]) == NOW + timedelta(hours=1)
    assert [(d["destination"], d["state"]) for d in passed["deliveries"]] == [
        ("archive", "pending"),
        ("chest-ai", "pending"),
    ]
    assert (held["decision"], held["reasons"]) == ("quarantine", ["ROTATION_UNSURE"])
    assert held["findings"][0]["gate"] == "rotation"
    assert undecided["decision"] is None


@pytest.mark.parametrize(
    ("words", "uids"),
    [
        (("--decision", "quarantine"), ["1.2.2"]),
        (("--decision", "undecided"), ["1.2.3"]),
        (("--reason", "rotation_unsure"), ["1.2.2"]),
        (("--since", "2026-03-02T10:15:00+00:00"), ["1.2.3", "1.2.2"]),
        (("--since", "1d"), []),
        (("--limit", "1"), ["1.2.3"]),
    ],
)
def test_films_list_can_be_narrowed(
    run: Run, ledger: Ledger, words: tuple[str, ...], uids: list[str]
) -> None:
    """By decision, reason, time and number."""
    found = items(run("films", "list", "--json", *words))
    assert [film["sop_instance_uid"] for film in found] == uids


@pytest.mark.parametrize("words", [("--decision", "maybe"), ("--reason", "ODD"), ("--since", "yesterday")])
def test_a_filter_that_makes_no_sense_is_a_usage_error(
    run: Run, ledger: Ledger, words: tuple[str, ...]
) -> None:
    """Exit code 2, as for every command line that cannot be used."""
    assert run("films", "list", *words).exit_code == 2


def test_films_list_for_people_is_a_table(run: Run, ledger: Ledger) -> None:
    """A row a film; whoever reads it sees decision, reason and whereabouts."""
    shown = run("films", "list").stdout
    (row,) = (line for line in shown.splitlines() if "1.2.2" in line)
    assert "quarantine" in row
    assert "ROTATION_UNSURE" in row
    assert "archive pending" in row
    assert "undecided" in shown


def test_films_show_explains_one_film(run: Run, ledger: Ledger) -> None:
    """By id or by UID: rule, reason in words, the gate's score between its thresholds, history."""
    shown = run("films", "show", "2").stdout
    assert shown == run("films", "show", "1.2.2").stdout
    assert "rule not sure: a gate is not sure" in shown
    assert "ROTATION_UNSURE: the rotation gate is not sure" in shown
    assert "0.600" in shown
    (one,) = items(run("films", "show", "2", "--json"))
    assert one["events"]


def test_films_show_tells_what_classifiers_said(run: Run, ledger: Ledger) -> None:
    """Ranked, with thresholds, and which condition is over its own; or why the film was not read."""
    told = [{"name": "Mass", "probability": 0.71, "threshold": 0.4, "positive": True}]
    told += [
        {"name": f"Other {n}", "probability": 0.1, "threshold": None, "positive": None} for n in range(6)
    ]
    unread = {"not_read": "OUTSIDE_CARD", "why": "age 3 is under 10"}
    with ledger.writing() as db:
        for name, body in (("chest14", {"conditions": told}), ("pneumonia3", unread)):
            row = {"film_id": 2, "version": "1", "model_digest": "d", "made_at": NOW, "superseded": False}
            db.execute(insert(results).values(classifier=name, body=body, **row))
    shown = " ".join(run("films", "show", "2").stdout.split())
    assert "read by chest14 1" in shown
    assert "Mass 0.710 0.400 yes" in shown
    assert "Other 0 0.100 none" in shown
    assert "and 2 less likely ones" in shown
    assert "not read by pneumonia3 1: OUTSIDE_CARD: age 3 is under 10" in shown
    (one,) = items(run("films", "show", "2", "--json"))
    assert [result["classifier"] for result in one["results"]] == ["chest14", "pneumonia3"]
    assert one["results"][0]["objects"] == []


def test_films_are_sent_and_gated_again(run: Run, ledger: Ledger) -> None:
    (one, *_) = ledger.claim_deliveries("archive", 1, NOW + timedelta(days=1))
    ledger.fail_delivery(one.id, error="refused", now=NOW)
    assert run("films", "send-again", "1").stdout == "film 1: 1 delivery queued\n"
    assert run("films", "send-again", "1").exit_code == 1
    assert run("films", "gate-again", "2").stdout == "film 2: queued\n"
    assert run("films", "gate-again", "3").exit_code == 1  # it waits for its first decision


def test_programs_are_told_what_was_done_again(run: Run, ledger: Ledger) -> None:
    """An item a film, also for one where nothing was to be done."""
    (one, *_) = ledger.claim_deliveries("archive", 1, NOW + timedelta(days=1))
    ledger.fail_delivery(one.id, error="refused", now=NOW)
    assert items(run("films", "send-again", "1", "--json")) == [{"film_id": 1, "queued": 1}]
    done = run("films", "gate-again", "2", "3", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == [
        {"film_id": 2, "queued": 1, "rejection": None},
        {"film_id": 3, "queued": 0, "rejection": None},
    ]


def test_a_rejected_film_is_gated_again_only_when_that_is_said(run: Run, ledger: Ledger) -> None:
    """It does not stop the others; and AI may get it after all."""
    assert run("quarantine", "reject", "2", "--by", "ann").exit_code == 0
    done = run("films", "gate-again", "2", "3")
    assert done.exit_code == 1
    assert "film 2 was rejected by ann" in done.output
    assert "film 3: nothing to do" in done.output
    assert (
        "film 2: queued, although it was rejected by ann"
        in run("films", "gate-again", "2", "--rejected").stdout
    )


@pytest.fixture
def turned(ledger: Ledger) -> Ledger:
    """One more film: turned, all else good, with a UID of 64 characters, to be corrected."""
    ledger.claim("me:1")  # the undecided one
    findings = (
        Finding("exposure", Verdict.GOOD, 0.8, 0.1, 0.2),
        Finding("exposure", Verdict.GOOD, 0.9, 0.1, 0.2),
        Finding("rotation", Verdict.BAD, 0.1, 0.2, 0.5, Reason.ROTATED_90, "turned 90 degrees"),
        Finding("mirror", Verdict.GOOD, 0.9, 0.3, 0.3, None, "not mirrored"),
    )
    decision = Decision(Act.CORRECT, (Reason.ROTATED_90,), "can be put right", "the film is turned")
    ledger.record([Received("1.2", LONG_UID, EXPLICIT, "4" * 64, 10, None, NOW)], always=("archive",))
    job = ledger.claim("me:1")
    assert job is not None
    ledger.judge(job, Judged(decision, findings, "enforce", {}, hold=True), now=NOW)
    return ledger


LONG_UID = "2.25." + "9" * 59


def on_a_terminal(*words: str | Path, columns: int = 80) -> list[str]:
    """The lines that a command prints on a terminal of this width, without colours."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gateway.cli", *map(str, words)]
    env = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    with subprocess.Popen(command, stdout=theirs, env=env) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # the terminal has nobody left at its other end
            pass
    os.close(ours)
    assert process.returncode == 0, shown
    return shown.decode().replace("\r", "").splitlines()


def test_a_list_fits_a_terminal_with_every_uid_whole(tmp_path: Path, turned: Ledger) -> None:
    """80 columns; a UID has a line of its own and can be copied."""
    for group in ("films", "quarantine"):
        lines = on_a_terminal(group, "list", "--state", tmp_path / "state")
        assert max(map(len, lines)) <= 80
        assert LONG_UID in [line.strip() for line in lines]


def test_a_list_in_a_file_is_a_line_a_film(run: Run, turned: Ledger) -> None:
    """Nothing is cut off or wrapped, so that it can be searched."""
    (line,) = [line for line in run("films", "list").stdout.splitlines() if LONG_UID in line]
    assert line.startswith("4 ")
    assert line.endswith(LONG_UID)
    assert "to correct" in line  # `correct` alone would read as "right"
    (item, *_) = items(run("films", "list", "--json", "--decision", "correct"))
    assert item["decision"] == "correct"


def test_films_show_folds_what_is_good(run: Run, turned: Ledger) -> None:
    """One line for all good findings; --all shows each of them."""
    shown = run("films", "show", "4").stdout
    assert "good: exposure (2), mirror" in shown
    assert "not mirrored" not in shown
    assert "ROTATED_90: turned 90 degrees" in shown
    assert "decision: to correct" in shown
    whole = run("films", "show", "4", "--all").stdout
    assert "not mirrored" in whole
    assert whole.count("exposure") == 2
    assert len(shown.splitlines()) < len(whole.splitlines())
