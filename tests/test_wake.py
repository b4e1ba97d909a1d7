"""Wakes: the dispatcher is woken at once by what becomes due, and by nothing else; a lost wake is no loss."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.ledger import Ledger
from gateway.ledger.records import Judged, Received
from gateway.process import wake
from gateway.process.wake import Wake, Wakes, rest_s
from pipelines.film import Act, Decision

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
FILM = Received("1.2", "1.2.3", "1.2.840.10008.1.2.1", "a" * 64, 10, None, NOW)
LONG_S = 60.0


@pytest.mark.parametrize("name", ["state", "s" * 120])
def test_who_waits_is_woken(tmp_path: Path, name: str) -> None:
    """Wherever the state folder lies: a path may be longer than a socket's address."""
    state = tmp_path / name
    with closing(Wakes(state)) as wakes:
        assert wakes.deaf == ""
        woken = threading.Thread(target=wakes.wait, args=(LONG_S,))
        woken.start()
        Wake(state)()
        woken.join(LONG_S / 2)
        assert not woken.is_alive()


def test_many_wakes_are_one(tmp_path: Path) -> None:
    """Those that came meanwhile are taken together; then it waits its time."""
    say = Wake(tmp_path)
    with closing(Wakes(tmp_path)) as wakes:
        for _ in range(wake._AT_ONCE):  # more than the kernel queues: the rest are dropped
            say()
        wakes.wait(LONG_S)
        began = time.monotonic()
        wakes.wait(0.01)
        assert time.monotonic() - began >= 0.01


def test_nobody_is_there_to_be_woken(tmp_path: Path) -> None:
    """Before the dispatcher's first start, and when it was killed and left its socket behind."""
    say = Wake(tmp_path / "state")
    say()
    first = Wakes(tmp_path / "state")
    first._socket.close()
    say()
    with closing(Wakes(tmp_path / "state")) as wakes:
        say()
        wakes.wait(LONG_S)


def test_a_socket_that_cannot_be_made_leaves_the_dispatcher_deaf_and_alive(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("no folder")
    with closing(Wakes(tmp_path)) as wakes:
        assert wakes.deaf
        wakes.wait(0.001)


def test_what_becomes_due_wakes_and_what_ended_does_not(tmp_path: Path) -> None:
    """A film that came, and a decision that owes it to somebody; not that it was delivered."""
    wakes: list[str] = []
    step = ""
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    ledger = Ledger.open(url, migrate_first=True, wake=lambda: wakes.append(step))
    step = "associated"
    association = ledger.associate(calling="ROOM1", called="FILMGATE", address="10.0.0.7", now=NOW)
    step = "received"
    ledger.record([FILM])
    job = ledger.claim("w")
    assert job is not None
    step = "judged"
    ledger.judge(job, Judged(Decision(Act.PASS), (), "enforce", {}, send_original_to=("ai",)), now=NOW)
    (delivery,) = ledger.claim_deliveries("ai", 1, NOW)
    step = "ended"
    ledger.delivered(delivery.id, NOW)
    ledger.dissociate(association, outcome="released", objects=1, size_bytes=10, now=NOW)
    assert wakes == ["received", "judged"]


def test_looks_take_a_small_share_of_the_time() -> None:
    """However many wakes come; a look that others held up for long is no reason to rest for long."""
    assert rest_s(0.001) == pytest.approx(0.019)
    assert rest_s(10.0) <= 0.05
