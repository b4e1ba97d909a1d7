"""The worker: claims, leases, the heartbeat, and what a failure means for the film and those behind it."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from busy import CPU, busy
from test_tasks import Says, examine, receive, shell

from gateway import tasks, worker
from gateway.errors import LedgerBusy, NoRoom, NoTime
from gateway.process import loops
from gateway.process.priority import LOWEST, LedgerThread, give_way
from gateway.sandbox.decoder import Decoder
from gateway.worker import Worker
from pipelines.film import Film, Finding, Reason
from pipelines.lab.films.phantom_dx import phantom_dx
from pipelines.policy import Policy


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as one:
        yield one


def test_a_worker_is_heard_while_a_film_is_in_its_hand(
    tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes: its supervisor must not take it for one that hangs."""
    monkeypatch.setattr(worker, "BEAT_S", 0.01)
    beats: queue.SimpleQueue[None] = queue.SimpleQueue()

    class Slow(Says):
        def look(self, film: Film) -> tuple[Finding, ...]:
            for _ in range(3):
                beats.get(timeout=60)
            return super().look(film)

    one = shell(tmp_path)
    receive(one, phantom_dx("frontal", 1), tmp_path)
    ledger_thread, rules = LedgerThread(), Policy.default()
    Worker(one, decoder, Slow(), rules, "w", ledger_thread, beat=lambda: beats.put(None)).work()  # type: ignore[arg-type]
    assert one.ledger.film(1).decision == "pass"


def test_a_full_disk_costs_the_film_no_attempt(
    tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy cannot be kept now: the film waits, and is corrected when there is room."""
    one = shell(tmp_path, correct="auto")
    receive(one, phantom_dx("frontal", 1, turn=90), tmp_path)
    turned = Says(("rotation", Reason.ROTATED_90))
    its_worker = Worker(one, decoder, turned, Policy.default(), "w", LedgerThread())  # type: ignore[arg-type]

    def full(*_: object, **__: object) -> None:
        its_worker.stopping.set()
        raise NoRoom("full")

    with monkeypatch.context() as patched:
        patched.setattr(tasks, "make_copy", full)
        its_worker.work()
    assert one.ledger.ready_jobs() == 1
    job = one.ledger.claim("next")
    assert job is not None
    assert job.attempts == 1


def test_a_film_that_waits_for_room_lets_the_others_go_on(
    tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest film cannot be examined now: the one behind it is, and the first one later."""
    one = shell(tmp_path)
    for number in (1, 2):
        receive(one, phantom_dx("frontal", number), tmp_path)
    its_worker = Worker(one, decoder, Says(), Policy.default(), "w", LedgerThread())  # type: ignore[arg-type]
    tries: list[str] = []
    film = decoder.film

    def no_room_for_the_first(path: Path, **options: int) -> Film:
        tries.append(path.name)
        if len(tries) > 4:
            its_worker.stopping.set()  # the first one again and again
        if path.name == tries[0]:
            raise NoTime("others use the machine")
        return film(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(worker, "LOOK_S", 60.0)  # longer than the second film takes on any machine
        patched.setattr(decoder, "film", no_room_for_the_first)
        its_worker.work()
    assert (one.ledger.film(1).decision, one.ledger.film(2).decision) == (None, "pass")
    assert len(tries) == 2
    job = one.ledger.claim("next")
    assert job is not None
    assert (job.film_id, job.attempts) == (1, 1)


def test_a_locked_ledger_is_told_again_how_an_attempt_ended(
    tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the lease would run out, and cost the film an attempt."""
    one = shell(tmp_path)
    receive(one, phantom_dx("frontal", 1), tmp_path)
    postpone, judge, locked = one.ledger.postpone, one.ledger.judge, [1, 1, 1]

    def locked_at_first(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            if locked:
                locked.pop()
                raise LedgerBusy("locked")
            return call(*args, **options)

        return called

    monkeypatch.setattr(worker, "LOOK_S", 0.01)
    monkeypatch.setattr(one.ledger, "judge", locked_at_first(judge))
    monkeypatch.setattr(one.ledger, "postpone", locked_at_first(postpone))
    its_worker = examine(one, decoder, Says())
    assert (one.ledger.ready_jobs(), one.ledger.leases(), locked) == (1, {}, [])
    while one.ledger.ready_jobs():
        its_worker.stopping.wait(0.01)
        its_worker.work()
    assert one.ledger.film(1).decision == "pass"


HEART = """
import hashlib, os, sys, time
from gateway import worker
worker.BEAT_S, worker.LONGEST_JOB_S = 0.2, 1.0
with worker.Heartbeat(lambda: None):
    print("begun", flush=True)
    if sys.argv[1] == "sleeps":
        time.sleep(60)
    else:
        end = time.monotonic() + 3
        while time.monotonic() < end:  # without Python's lock, as networks work
            hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000)
os._exit(0)
"""


def heart(does: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", HEART, does]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"begun\n"
    return child


def test_a_worker_that_hangs_ends_itself() -> None:
    """No heartbeat beyond LONGEST_JOB_S: its film goes to another."""
    child = heart("sleeps")
    try:
        assert child.wait(30) == 1
    finally:
        child.kill()
        child.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and SCHED_IDLE")
def test_a_worker_that_others_keep_from_the_processor_goes_on() -> None:
    """Three seconds on the clock, hardly any of its own: its heartbeat goes on."""
    child = heart("works")
    try:
        os.sched_setaffinity(child.pid, {CPU})  # of its first thread, which has the job
        os.sched_setscheduler(child.pid, os.SCHED_IDLE, os.sched_param(0))
        with busy(8):
            assert child.wait(60) == 0
    finally:
        child.kill()
        child.communicate()


def test_a_gate_that_breaks_the_worker_parks_the_film(tmp_path: Path, decoder: Decoder) -> None:
    class Broken(Says):
        def look(self, film: Film) -> tuple[Finding, ...]:
            raise RuntimeError("boom")

    one = shell(tmp_path)
    receive(one, phantom_dx("frontal", 1), tmp_path)
    examine(one, decoder, Broken())
    assert one.ledger.film(1).reasons == ("ATTEMPTS_EXHAUSTED",)
    assert "boom" in one.ledger.open_hold(1).why


def test_the_thread_that_writes_does_not_give_way() -> None:
    """A worker put aside amid a transaction would keep the listener from the ledger."""

    def lowered() -> tuple[int, int, int]:
        ledger_thread = LedgerThread()
        give_way(LOWEST)
        return (
            os.sched_getscheduler(0),
            ledger_thread.ask(lambda: os.sched_getscheduler(0)),
            ledger_thread.ask(lambda: os.nice(0)),
        )

    before = os.nice(0)
    with ThreadPoolExecutor(1) as thread:  # its priority goes with it
        mine, ledgers, nice = thread.submit(lowered).result()
    assert (mine, ledgers, nice) == (os.SCHED_IDLE, os.SCHED_OTHER, before)


def test_a_heart_goes_on_beating_after_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the lease is lost in the middle of a film, and nobody ends a worker that hangs."""
    monkeypatch.setattr(worker, "BEAT_S", 0.01)
    again, beats = threading.Event(), []

    def beat() -> None:
        beats.append(1)
        if len(beats) == 1:
            raise RuntimeError("cannot schedule new futures")
        again.set()

    with worker.Heartbeat(beat):
        assert again.wait(30)


def test_a_worker_looks_again_after_a_fault(
    tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Redis away its own look is all that finds films."""
    one = shell(tmp_path)
    receive(one, phantom_dx("frontal", 3), tmp_path)
    monkeypatch.setattr(worker, "LOOK_S", 0.01)
    claim, faults = one.ledger.claim, [RuntimeError("a bug"), KeyError("another")]

    def fails_at_first(*args: Any, **named: Any) -> Any:
        if faults:
            raise faults.pop()
        return claim(*args, **named)

    monkeypatch.setattr(one.ledger, "claim", fails_at_first)
    its_worker = Worker(one, decoder, Says(), Policy.default(), "w", LedgerThread())  # type: ignore[arg-type]
    look = partial(loops.Guard("worker look", first_s=0.01), its_worker.work)
    alone = loops.start("worker look", partial(its_worker.look_alone, look))
    end = time.monotonic() + 60
    while one.ledger.film(1).decision != "pass":
        assert alone.is_alive()
        assert time.monotonic() < end
        its_worker.stopping.wait(0.01)
    its_worker.stopping.set()
    alone.join()


def test_the_heart_does_not_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside busy programs it would miss beats, and the lease be lost."""
    monkeypatch.setattr(worker, "BEAT_S", 0.01)
    beaten, policies = threading.Event(), []

    def beat() -> None:
        policies.append(os.sched_getscheduler(0))
        beaten.set()

    def lowered() -> None:
        ledger_thread = LedgerThread()
        give_way(LOWEST)
        with worker.Heartbeat(beat, start=ledger_thread.ask):
            assert beaten.wait(30)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(lowered).result()
    assert set(policies) == {os.SCHED_OTHER}
