"""Acts over HTTP: what people do with films, an answer for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from console_client import signed_in
from ledger_films import NOW, claimed, received
from starlette.testclient import TestClient

from gateway.bootstrap import Shell, now
from gateway.ledger.records import Judged
from gateway.settings import Settings
from pipelines.film import Act, Decision, Reason

HELD = Judged(
    Decision(Act.QUARANTINE, (Reason.BLANK,), "blank", "blank"), (), "enforce", {}, hold=True, takers=("ai",)
)
SETTINGS = {
    "destinations": {
        "ai": {"kind": "folder", "path": "ai"},
        "archive": {"kind": "folder", "path": "archive"},
    },
    "routes": {"always": ["archive"], "pass": ["ai"]},
}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Three films that are held."""
    shell = Shell.open(Settings(state=tmp_path / "state", **SETTINGS), migrate_first=True)
    for number in range(3):
        shell.ledger.record([received(f"1.2.{number}", f"{number}")])
        shell.ledger.judge(claimed(shell.ledger), HELD, now=NOW)
    yield shell
    shell.close()


@pytest.fixture
def client(shell: Shell) -> Iterator[TestClient]:
    with signed_in(shell) as client:
        yield client


def act(client: TestClient, name: str, *films: int, **more: object) -> list[dict[str, object]]:
    answer = client.post("/api/acts", json={"act": name, "films": [{"film": film} for film in films], **more})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def test_a_release_waits_and_its_undo_is_as_if_it_had_never_been(client: TestClient, shell: Shell) -> None:
    """Ten seconds, in which no courier is given it."""
    (released,) = act(client, "release", 1)
    assert (released["ok"], released["state"]) == (True, "going out")
    assert released["until"]
    assert shell.ledger.let_go(now()) == 0
    undone = client.post("/api/acts", json={"act": "undo", "acts": [released["act_id"]]}).json()["results"]
    assert [(one["ok"], one["state"]) for one in undone] == [(True, "held")]
    assert shell.ledger.open_hold(1).closed_by is None
    assert shell.ledger.film(1).deliveries[0]["state"] == "cancelled"
