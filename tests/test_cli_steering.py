"""`filmgate policy`, `senders`, `bypass` and `destinations`: what they print, change, and refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_line import Run, commands_on, items, three_films

from gateway.ledger import Ledger
from gateway.ledger.records import Tally
from pipelines.policy import DEFAULT_RULES, Policy

RULES = DEFAULT_RULES.read_text(encoding="utf-8")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return commands_on(tmp_path)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with three_films(tmp_path / "state") as opened:
        yield opened


def test_a_policy_is_checked_tried_used_and_reverted(run: Run, ledger: Ledger, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(RULES.replace("act: correct", "act: quarantine", 1), encoding="utf-8")
    (checked,) = items(run("policy", "check", own, "--json"))
    digest = Policy.load(own.read_text(encoding="utf-8")).digest
    assert (checked["usable"], checked["digest"], checked["lacks"]) == (True, digest, [])
    tried = run("policy", "try", own, "--films", "50")
    assert "0 films of 2 would be decided otherwise" in tried.stdout
    assert "of 2 films nobody can say" in tried.stdout  # they were written without what they rest on
    used = run("policy", "use", own, "--by", "ann", "--note", "no corrections")
    assert "version 1 decides from the next film on" in used.stdout
    (version,) = items(run("policy", "versions", "--json"))
    assert (version["by"], version["note"], version["digest"]) == ("ann", "no corrections", digest)
    assert run("policy", "show").stdout.rstrip("\n") == own.read_text(encoding="utf-8").rstrip("\n")
    assert items(run("policy", "revert", "settings", "--json"))[0]["of_settings"]
    assert items(run("policy", "revert", "1", "--json"))[0]["again"] == 1
    assert "version 1" in run("policy", "versions").stdout


def test_a_policy_that_cannot_be_used_is_named_by_line_and_not_saved(
    run: Run, ledger: Ledger, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(RULES.replace("act: correct", "act: corect", 1), encoding="utf-8")
    for words in (("check",), ("use",), ("try",)):
        told = run("policy", *words, bad)
        assert told.exit_code == 2
        assert "line 144: rule 'can be put right'" in told.stderr
    assert ledger.policy_versions() == []
    assert run("policy", "revert", "x").exit_code == 1
    assert "there is no version 7" in str(run("policy", "revert", "7").exception)
    assert run("policy", "use", tmp_path / "gone.yaml").exit_code == 1


def test_senders_are_listed_allowed_and_observed(run: Run, ledger: Ledger) -> None:
    now = datetime.now(UTC)
    ledger.tally(
        [
            Tally(
                None,
                "ROOM9",
                "FILMGATE",
                "10.1.2.3",
                "refused",
                "calling AE title not recognised",
                2,
                now,
                now,
            )
        ]
    )
    (refused,) = items(run("senders", "refused", "--json"))
    assert (refused["calling"], refused["times"]) == ("ROOM9", 2)
    assert "filmgate senders allow" in run("senders", "refused").stdout
    assert "no restart is needed" in run("senders", "allow", "ROOM9", "--from", "10.1.2.3").stdout
    allowed = items(run("senders", "allowed", "--json"))
    assert [(one["ae_title"], one["from"]) for one in allowed] == [
        ("*", "127.0.0.0/8"),
        ("ROOM9", "10.1.2.3/32"),
    ]
    assert "ROOM9" in run("senders", "allowed").stdout
    assert items(run("senders", "mode", "ROOM9", "observe", "--json")) == [
        {"ae_title": "ROOM9", "mode": "observe"}
    ]
    assert run("senders", "mode", "ROOM9", "maybe").exit_code == 2
    assert items(run("senders", "disallow", "ROOM9", "--json"))[0]["taken_back"] == 1
    assert run("senders", "disallow", "ROOM9").exit_code == 1
    assert run("senders", "list").exit_code == 0
    assert items(run("senders", "list", "--json")) == []  # nobody knows who sent these three


def test_the_bypass_needs_a_reason_and_is_ended(run: Run, ledger: Ledger) -> None:
    assert run("bypass", "on").exit_code == 2
    assert run("bypass", "on", "--note", " ").exit_code == 1
    assert run("bypass", "on", "--note", "x", "--hours", "25").exit_code == 2
    (begun,) = items(run("bypass", "on", "--note", "model broken", "--by", "ann", "--hours", "2", "--json"))
    assert (begun["bypassed"], begun["said_by"], begun["note"]) == (True, "ann", "model broken")
    assert "every film goes to AI" in run("bypass", "status").stdout
    assert items(run("bypass", "off", "--json")) == [{"bypassed": False, "ended": True}]
    assert "were not bypassed" in run("bypass", "off").stdout
    assert items(run("bypass", "status", "--json")) == [{"bypassed": False}]


def test_destinations_are_listed_tested_paused_and_resumed(run: Run, ledger: Ledger) -> None:
    rows = {row["name"]: row for row in items(run("destinations", "list", "--json"))}
    assert (rows["archive"]["owed"], rows["chest-ai"]["owed"]) == (3, 1)
    assert rows["archive"]["text"] == "takes what it is sent; 3 waiting"
    assert "paused; what is owed to it waits" in run("destinations", "pause", "archive", "--by", "ann").stdout
    assert "paused by ann" in run("destinations", "list").stdout
    assert "paused already" in run("destinations", "pause", "archive").stdout
    assert items(run("destinations", "resume", "archive", "--json"))[0]["changed"]
    assert run("destinations", "pause", "nowhere").exit_code == 1
    told = run("destinations", "test", "archive")
    assert told.exit_code == 1
    assert "cannot be written to" in told.stdout
    assert run("destinations", "test", "nowhere").exit_code == 1
    assert [one["ok"] for one in json.loads(run("destinations", "test", "--json").stdout)] == [False, False]
