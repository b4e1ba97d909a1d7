"""The guarded loop of every thread that works again and again: none of them dies in silence.

An error that nobody thought of is logged, remembered for `filmgate doctor` and waited out, longer each time;
then the thread goes on. Where it cannot (no memory left, or the thread itself ends) the process ends, and the
supervisor starts another one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import NoReturn

import structlog

from gateway.errors import FilmgateError
from gateway.process import standard_streams
from gateway.process.health import HERE, Health

log = structlog.get_logger()

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
END_CODE = 70  # EX_SOFTWARE of sysexits.h


class Guard:
    """Does one thing after the other, in whichever thread calls it, and outlives what goes wrong.

    Args:
        name: of the thread or what it does, as `filmgate doctor` shows it.
        failing: the log's event when one fails.
        meaning: what that means for the films.
        first_s: the pause after a failure; the next ones are longer each time, ...
        longest_s: ... up to this. 0 where the caller has a rhythm of its own.
        health: where failures are noted.
    """

    def __init__(
        self,
        name: str,
        *,
        failing: str = "a thread failed",
        meaning: str = "tried again soon",
        first_s: float = FIRST_PAUSE_S,
        longest_s: float = LONGEST_PAUSE_S,
        health: Health = HERE,
    ) -> None:
        self._name = name
        self._failing = failing
        self._meaning = meaning
        self._first_s = first_s
        self._longest_s = longest_s
        self._health = health
        self._again_at = 0.0  # monotonic
        self._failures = 0  # in a row

    def __call__(self, step: Callable[[], object]) -> float:
        """Do `step`, unless a pause lasts; how long the pause is, in seconds, 0.0 when all went well."""
        if (left_s := self._again_at - time.monotonic()) > 0:
            return left_s
        try:
            step()
        except MemoryError as error:
            end_process(self._name, error)
        except Exception as error:  # noqa: BLE001  the edge of each thread
            return self._failed(error)
        if self._failures:
            log.info("a thread goes on", thread=self._name, failures=self._failures)
            self._failures = 0
            self._health.well(self._name)
        return 0.0

    def until(self, stopping: threading.Event, step: Callable[[], object], *, every_s: float = 0.0) -> None:
        """Do `step` every `every_s`, or when the pause after a failure is over, until `stopping` is set."""
        while not stopping.wait(self(step) or every_s):
            pass

    def _failed(self, error: Exception) -> float:
        self._failures = failures = self._failures + 1
        self._health.failed(self._name, error, failures)
        pause_s = min(self._first_s * 2.0 ** min(failures - 1, 20), self._longest_s)
        self._again_at = time.monotonic() + pause_s
        if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th ... in a row
            details = {"thread": self._name, "failures": failures, "meaning": self._meaning}
            if isinstance(error, FilmgateError):
                log.warning(self._failing, error=str(error), **details)
            else:
                log.error(self._failing, exc_info=error, **details)
        return pause_s


def start(name: str, run: Callable[[], object]) -> threading.Thread:
    """A thread that the process cannot do without: should it end by an error, so does the process.

    Raises:
        RuntimeError: the system has no thread left.
    """

    def whole() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001  nothing is above a thread that would do something
            end_process(name, error)

    thread = threading.Thread(target=whole, name=name, daemon=True)
    thread.start()
    return thread


def end_process(name: str, error: BaseException) -> NoReturn:
    """End at once, as a crash would, which nothing that was kept minds; the supervisor starts another one."""
    meaning = "no film is lost; it is started again"
    try:
        log.critical("the process ends itself", thread=name, exc_info=error, meaning=meaning)
        standard_streams.settle()
    finally:
        os._exit(END_CODE)
