"""A machine that others use: programs of ordinary priority that never rest, for a bounded time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CPU = min(os.sched_getaffinity(0)) if sys.platform == "linux" else 0

LOOP = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
end = time.monotonic() + float(sys.argv[2])
print("busy", flush=True)
while time.monotonic() < end: pass
"""


@contextmanager
def busy(for_s: float) -> Iterator[None]:
    """Two busy loops on one processor, `CPU`, for so many seconds at most."""
    command = [sys.executable, "-S", "-c", LOOP, str(CPU), str(for_s)]
    loops = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for loop in loops:
            assert loop.stdout is not None
            assert loop.stdout.readline() == b"busy\n"
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.communicate()


def starve() -> None:
    """This thread, and what it starts, runs on that processor when nobody else wants it."""
    os.sched_setaffinity(0, {CPU})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
