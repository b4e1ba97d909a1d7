"""A worker gives way to the listener; its calls of the ledger do not, so that no lock is held long."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

LOWEST = 19  # niceness

T = TypeVar("T")


class LedgerThread:
    """Calls the ledger from one thread that keeps the priority it was made with.

    A worker that is put aside in the middle of a transaction would hold the ledger's one write lock while
    the listener waits for it. So the thread that writes is not the one that gives way.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "ledger")
        self._executor.submit(int).result()  # its thread exists from now on

    def ask(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises."""
        return self._executor.submit(call).result()


def give_way(nice: int) -> None:
    """Lower this thread, and those and the processes that it starts: Linux keeps priorities by thread.

    At LOWEST it runs only when nobody else wants the processor (SCHED_IDLE): even at niceness 19 a busy
    worker keeps the listener waiting for a time slice.
    """
    os.nice(nice)
    if nice == LOWEST:
        with suppress(PermissionError):  # a container may forbid it; then niceness has to do
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
