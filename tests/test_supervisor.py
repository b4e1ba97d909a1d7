"""The supervisor: it starts, hears, restarts and stops the processes of one machine."""

from __future__ import annotations

import os
import queue
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from supervisor_stand_ins import ROLES, WAIT_S, Events, events, no_waits, settings, stand_ins, supervise

from gateway.ledger import Ledger
from gateway.ledger.records import Received
from gateway.process import health
from gateway.settings import (
    ClassifierDestination,
    FolderDestination,
    Settings,
)
from gateway.supervisor import supervisor
from gateway.supervisor.processes import FIRST_BACKOFF_S, Child, Spec

__all__ = ["events", "no_waits", "settings"]


def test_it_says_ready_when_all_are_and_stops_them_in_order(settings: Settings, events: Events) -> None:
    """Listener first, Redis last; the line on standard output has the word that scripts wait for."""
    order = []

    def act(said: queue.Queue[str]) -> None:
        text = said.get(timeout=WAIT_S)
        assert text.startswith(f"filmgate is ready: FILMGATE listens on 127.0.0.1:{settings.gateway.port}")

    supervise(settings, act, stand_ins(events))
    while len(order) < len(ROLES):
        words = events.next()
        if "stopped" in words:
            order.append(words[0])
    assert order[0] == "listener"
    assert order[-1] == "redis"


def test_ready_counts_what_is_closed(settings: Settings, events: Events, tmp_path: Path) -> None:
    """It takes films in, and some of them get nowhere."""
    blocks = {"x": FolderDestination(path=tmp_path / "none"), "y": ClassifierDestination(bundle="./none")}
    half = settings.model_copy(update={"destinations": blocks})

    def act(said: queue.Queue[str]) -> None:
        assert "; closed: 1 classifier, 1 destination (`filmgate doctor`" in said.get(timeout=WAIT_S)

    supervise(half, act, stand_ins(events))


def test_children_write_with_their_name_in_front(
    settings: Settings, events: Events, capfd: pytest.CaptureFixture[str]
) -> None:
    """One stream for all, and it can be told who wrote what."""

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        events.next("worker 1 started")

    supervise(settings, act, stand_ins(events))
    assert "worker 1   | a line of worker 1\n" in capfd.readouterr().err


def test_a_worker_that_dies_is_started_again_and_its_film_is_free_at_once(
    settings: Settings, events: Events
) -> None:
    """kill -9 costs a film a fraction of a second, not the time of its lease."""
    now = datetime.now(UTC)

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        pid = int(events.next("worker 1 started")[3])
        ledger = Ledger.open(settings.ledger_url)
        ledger.record([Received("1.2", "1.2.3", "1.2.840.10008.1.2.1", "0" * 64, 10, None, now)])
        assert ledger.claim(f"{socket.gethostname()}:{pid}") is not None
        assert ledger.ready_jobs() == 0
        os.kill(pid, signal.SIGKILL)
        again = int(events.next("worker 1 started")[3])
        assert again != pid
        (told,) = health.reports(settings.state)
        assert ("process worker 1", "killed by SIGKILL") in [(one.what, one.error) for one in told.troubles]
        assert ledger.ready_jobs() == 1
        ledger.close()

    supervise(settings, act, stand_ins(events))


def test_restarts_wait_longer_and_longer() -> None:
    """A process that cannot run does not eat the machine."""
    child = Child(Spec("worker", 1, ("/no/such/program",)))
    waits = []
    for _ in range(8):
        assert not child.start({})
        waits.append(child.next_start_s)
    assert waits[:3] == pytest.approx([FIRST_BACKOFF_S, 1.0, 2.0], abs=0.1)
    assert waits[-1] == pytest.approx(30.0, abs=0.1)
    assert not child.due


def test_the_last_line_of_a_crash_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    """Also one that was cut short: it may say why."""
    command = (sys.executable, "-S", "-c", "import os; os.write(2, b'whole\\nFatal Python err'); os._exit(9)")
    child = Child(Spec("worker", 1, command))
    assert child.start({})
    end = time.monotonic() + 20
    while not (how := child.ended()):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert how == "exit code 9"
    assert capfd.readouterr().err == "worker 1   | whole\nworker 1   | Fatal Python err\n"


def test_a_child_has_its_group_and_our_session() -> None:
    """Ctrl-C passes it by; and it gives way to the others, for Linux shares the processor out by session."""
    child = Child(Spec("worker", 1, (sys.executable, "-S", "-c", "import signal; signal.pause()")))
    assert child.start({})
    try:
        assert (os.getpgid(child.pid), os.getsid(child.pid)) == (child.pid, os.getsid(0))
    finally:
        child.kill()
        child.ended()


def test_any_signal_that_ends_a_child_is_told() -> None:
    """Those for real time have no name."""
    child = Child(Spec("worker", 1, (sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 40)")))
    assert child.start({})
    end = time.monotonic() + WAIT_S
    while not (how := child.ended()):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert how == "killed by signal 40"


def test_two_signals_at_the_same_moment_are_one(
    settings: Settings, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """timeout(1) tells a process, and then its group: what is in hand is finished all the same."""
    monkeypatch.setattr(supervisor, "AGAIN_S", WAIT_S)  # a moment may be long on a busy machine

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        os.kill(os.getpid(), signal.SIGINT)  # and `supervise` sends SIGTERM

    supervise(settings, act, stand_ins(events))
    told = [" ".join(events.next()[:-1]) for _ in (*ROLES, *ROLES)]
    assert told[-1] == "redis stopped"


def test_a_child_that_will_not_stop_is_killed(
    settings: Settings, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole stop has an end, whatever a child does."""
    stages = ((("listener", "worker", "dispatcher", "redis"), 0.0, 0.3),)
    monkeypatch.setattr(supervisor, "STOP_STAGES", stages)
    pids = []

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        pids.extend(int(events.next()[-1]) for _ in ROLES)

    supervise(settings, act, stand_ins(events, "stubborn"))
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
