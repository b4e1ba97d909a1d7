"""How much of the time that passes is a process's own, and how much the machine makes it wait.

A deadline on the clock blames a process for what others do to it: beside two busy programs one at the lowest
priority gets three thousandths of a processor. So deadlines count what a process has in its own hands.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

_TICKS_S = os.sysconf("SC_CLK_TCK")  # of proc(5): ticks a second, mostly 100
_WAITING = frozenset("RD")  # runnable, or in an uninterruptible wait: mostly for a disk
_PROC = Path("/proc")


class OwnTime:
    """Adds up the time that some processes spend on the processor or asleep, look by look.

    While one of their threads is ready to run and gets no processor, or waits for a disk, nothing is added
    but what they do run. Without a /proc, on other systems than Linux, all time is their own.

    Args:
        processes: their ids, asked for at each look.
        most_s: of sleep, added by one look: who looks late, because nobody let him, has not seen them asleep.
    """

    def __init__(self, processes: Callable[[], Iterable[int]], *, most_s: float) -> None:
        self._processes = processes
        self._most_s = most_s
        self._spent_s = 0.0
        self._looked_at = time.monotonic()
        self._ran_s = {pid: _ran_s(pid) for pid in processes()}

    def look(self) -> float:
        """Seconds of their own so far."""
        now = time.monotonic()
        passed_s, self._looked_at = now - self._looked_at, now
        before, self._ran_s = self._ran_s, {pid: _ran_s(pid) for pid in self._processes()}
        ran_s = sum(ran_s - before.get(pid, 0.0) for pid, ran_s in self._ran_s.items())
        waits = any(_waits(pid) for pid in self._ran_s)
        asleep_s = 0.0 if waits else min(passed_s, self._most_s)
        self._spent_s += max(asleep_s, min(ran_s, passed_s))  # many threads at once are not more time
        return self._spent_s


def _ran_s(pid: int) -> float:
    """Seconds on a processor, of all threads together (proc(5): utime and stime); 0 when it is gone."""
    with suppress(OSError):
        fields = _fields(_PROC / str(pid))
        return (int(fields[11]) + int(fields[12])) / _TICKS_S
    return 0.0


def _waits(pid: int) -> bool:
    """Whether one of its threads, but for the one that asks, waits for a processor or a disk, or runs."""
    me = threading.get_native_id()
    with suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            with suppress(OSError):  # that thread has just ended
                if int(task.name) != me and _fields(task)[0] in _WAITING:
                    return True
    return False


def _fields(folder: Path) -> list[str]:
    """proc(5) `stat` from its third field, the state, on; the name before it may hold anything."""
    return (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
