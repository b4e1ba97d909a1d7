"""Whose time it is: a process's own, or the machine's."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from busy import busy, starve

from gateway.process.own_time import OwnTime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

SPIN = "print(flush=True)\nwhile True: pass"
SLEEP = "import time; print(flush=True); time.sleep(60)"


@contextmanager
def running(program: str, *, starved: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-S", "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=starve if starved else None)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def shares(process: subprocess.Popen[bytes], for_s: float = 1.5) -> float:
    """How much of some time was the process's own, between 0 and 1."""
    own, began = OwnTime(lambda: (process.pid,), most_s=0.2), time.monotonic()
    while time.monotonic() - began < for_s:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
        spent_s = own.look()
    return spent_s / (time.monotonic() - began)


def test_sleep_is_its_own_time() -> None:
    with running(SLEEP) as process:
        assert shares(process) > 0.5


def test_what_it_runs_is_its_own_time() -> None:
    """As long as it runs; on a machine that others use it may be much less than all time."""
    with running(SPIN) as process:
        own = OwnTime(lambda: (process.pid,), most_s=0.2)
        until = time.monotonic() + 60
        while own.look() < 0.5 and time.monotonic() < until:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        assert own.look() >= 0.5


def test_to_be_kept_from_the_processor_is_not() -> None:
    """The lowest priority beside two busy loops: it is ready to run all the time, and hardly does."""
    with running(SPIN, starved=True) as process, busy(30):
        assert shares(process) < 0.5


def test_who_looks_late_saw_no_sleep() -> None:
    """The one who waits was himself kept from looking: a long gap adds little."""
    with running(SLEEP) as process:
        own = OwnTime(lambda: (process.pid,), most_s=0.1)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert own.look() < 0.2


def test_a_process_that_is_gone_costs_nothing_but_time() -> None:
    with running(SLEEP) as process:
        own = OwnTime(lambda: (process.pid,), most_s=0.1)
        process.kill()
        process.wait()
        assert own.look() <= 0.1
