"""A running gateway is steered without a restart: policy, pause, bypass, a sender that was refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from rig import DCMSEND, NO_CONSOLE, STORESCP, Gateway, gateway, wait_for
from test_faults import film, saved, sent
from test_line import at

from gateway.ledger import Ledger
from pipelines.policy import DEFAULT_RULES

pytestmark = [pytest.mark.dcmtk, pytest.mark.redis, pytest.mark.slow]

ECHOSCU = "/usr/bin/echoscu"
WAIT_S = 60


@pytest.fixture(scope="module")
def line() -> Iterator[Gateway]:
    for program in (DCMSEND, STORESCP, ECHOSCU):
        if not os.access(program, os.X_OK):
            pytest.skip(f"{program} is missing: apt-get install dcmtk")
    allow = [{"ae_title": "DCMSEND", "from": "127.0.0.0/8"}, {"ae_title": "FILMGATE", "from": "127.0.0.0/8"}]
    options: dict[str, Any] = {"gateway": {"allow": allow, "processes": 2}, "work": {"workers": 1}}
    with gateway(console=NO_CONSOLE, **options) as running:
        yield running


@pytest.fixture
def ledger(line: Gateway) -> Iterator[Ledger]:
    one = Ledger.open(f"sqlite:///{line.state}/ledger.sqlite")
    yield one
    one.close()


def said(line: Gateway, *words: str) -> None:
    done = line.cli(*words)
    assert done.returncode == 0, done.stderr


def arrived(line: Gateway, ds: Dataset) -> None:
    wait_for(lambda: at(line.ai, ds.SOPInstanceUID), WAIT_S, "the AI did not get the film")


def test_rules_that_are_put_in_force_decide_the_next_film(line: Gateway, tmp_path: Path) -> None:
    """And those of the settings the one after that."""
    strict = tmp_path / "strict.yaml"
    rules = DEFAULT_RULES.read_text(encoding="utf-8")
    strict.write_text(
        rules.replace("  - name: qualified\n", "  - name: not any more\n").replace(
            "    act: pass\n", "    act: quarantine\n    reason: OTHER_PIXELS\n"
        ),
        encoding="utf-8",
    )
    assert sent(line, film(), tmp_path)["rule"] == "qualified"
    said(line, "policy", "use", str(strict), "--note", "x")
    assert sent(line, film(), tmp_path)["rule"] == "not any more"
    tried = line.cli("policy", "try", "--films", "50").stdout
    assert "0 films of 2 would be decided otherwise" in tried
    said(line, "policy", "revert", "settings")
    assert sent(line, film(), tmp_path)["rule"] == "qualified"
    assert "nobody can say" not in tried


def test_a_paused_ai_gets_its_films_when_it_is_resumed(line: Gateway, tmp_path: Path) -> None:
    """The archive goes on meanwhile; by DCMTK's storescp."""
    said(line, "destinations", "pause", "chest-ai", "--note", "reboot")
    ds = film()
    line.send(saved(ds, tmp_path))
    wait_for(lambda: at(line.archive, ds.SOPInstanceUID), WAIT_S, "the archive did not get the film")

    def owed() -> bool:
        rows = [row for row in line.films() if row["sop_instance_uid"] == str(ds.SOPInstanceUID)]
        return any(d == {**d, "destination": "chest-ai", "state": "pending"} for d in rows[0]["deliveries"])

    wait_for(owed, WAIT_S, "the film is not owed to the AI")
    assert at(line.ai, ds.SOPInstanceUID) == []
    said(line, "destinations", "resume", "chest-ai")
    arrived(line, ds)


def test_the_bypass_lets_a_hand_go_to_the_ai_and_holds_nothing(line: Gateway, tmp_path: Path) -> None:
    """Its verdict is recorded; once it is over a hand is held again, or withheld."""
    said(line, "bypass", "on", "--note", "x", "--hours", "1")
    ds, after = film("hand"), film("hand")
    row = sent(line, ds, tmp_path)
    assert row["decision"] in ("quarantine", "withhold")
    arrived(line, ds)
    said(line, "bypass", "off")
    sent(line, after, tmp_path)
    assert at(line.ai, after.SOPInstanceUID) == []


def test_a_refused_title_is_allowed_in_every_listener(line: Gateway, ledger: Ledger) -> None:
    """Two processes share the port; each of a dozen associations is accepted at once."""

    def echo() -> bool:
        words = [ECHOSCU, "-aet", "ROOM9", "-aec", "FILMGATE", "127.0.0.1", str(line.port)]
        return subprocess.run(words, capture_output=True).returncode == 0

    assert not echo()
    said(line, "senders", "allow", "ROOM9", "--from", "127.0.0.1")
    assert all(echo() for _ in range(12))
    said(line, "senders", "disallow", "ROOM9")
    assert not any(echo() for _ in range(6))
    assert ledger.allowed() == ()


def test_nothing_is_left_undone(line: Gateway) -> None:
    """After all that every film has a decision, and whatever is owed has gone."""
    rows = line.settled({row["sop_instance_uid"] for row in line.films()}, WAIT_S)
    assert len(rows) == 6
    assert all(row["decision"] for row in rows)
