"""RING: looks at the ledger, wakes workers, frees dead leases, and runs the courier."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import structlog

from gateway.bootstrap import Shell
from gateway.doorbell import Doorbell
from gateway.errors import FilmgateError, LedgerError
from gateway.ledger import Ledger

log = structlog.get_logger()

LOOK_S = 0.1  # how often the ledger is looked at
LEASES_S = 1.0  # how often leases are looked at


class LeaseWatch:
    """Frees leases whose heartbeat counter stood still for `lease_s` of our own monotonic clock.

    The counter, not a time of day, is compared: wall clocks step, and differ between machines.
    """

    def __init__(self, ledger: Ledger, *, lease_s: float, attempts: int, mode: str = "enforce") -> None:
        self._ledger = ledger
        self._lease_s = lease_s
        self._attempts = attempts
        self._mode = mode
        self._seen: dict[int, tuple[tuple[int, int], float]] = {}

    def look(self, monotonic_s: float, now: datetime) -> int:
        """Free what stood still; how many leases that were."""
        leases = self._ledger.leases()
        fresh = {job: (state, monotonic_s) for job, state in leases.items()}
        kept = {job: seen for job, seen in self._seen.items() if leases.get(job) == seen[0]}
        self._seen = fresh | kept
        still = [job for job, (_, since) in self._seen.items() if monotonic_s - since >= self._lease_s]
        return sum(self._free(job, now) for job in still)

    def _free(self, job: int, now: datetime) -> bool:
        (token, _), _ = self._seen[job]
        error = f"no heartbeat for {self._lease_s:g} s"
        freed = self._ledger.free_lease(
            job, token, max_attempts=self._attempts, error=error, now=now, mode=self._mode
        )
        del self._seen[job]
        if freed:
            log.warning("lease freed", job=job, error=error)
        return freed


class Dispatcher:
    """One look at the ledger after the other."""

    def __init__(
        self, ledger: Ledger, doorbell: Doorbell, leases: LeaseWatch, classifiers: Collection[str] = ()
    ) -> None:
        self._ledger = ledger
        self._classifiers = classifiers
        self._doorbell = doorbell
        self._leases = leases
        self._leases_at = 0.0

    def look(self, monotonic_s: float, now: datetime) -> None:
        """Ring when there is work for a worker; look after the leases once a second."""
        if self._ledger.ready_jobs(self._classifiers, now=now, most=1):
            self._doorbell.ring()
        if monotonic_s >= self._leases_at:
            self._leases_at = monotonic_s + LEASES_S
            self._leases.look(monotonic_s, now)


def run(shell: Shell, *, ready: Callable[[], None], stop: Event) -> None:
    """Dispatch until `stop` is set.

    Raises:
        FilmgateError: another dispatcher works on the same state folder.
    """
    work, mode = shell.settings.work, shell.settings.policy.mode
    watch = LeaseWatch(shell.ledger, lease_s=work.lease_s, attempts=work.attempts, mode=mode)
    classifiers = tuple(shell.settings.classifiers)
    dispatcher = Dispatcher(shell.ledger, shell.doorbell(), watch, classifiers)
    with _alone(shell.settings.state / "dispatch.lock"):
        courier = shell.courier()
        courier.start()
        ready()
        try:
            while not stop.wait(LOOK_S):
                _look(dispatcher)
        finally:
            courier.stop(drain_s=10.0)


def _look(dispatcher: Dispatcher) -> None:
    try:
        dispatcher.look(time.monotonic(), datetime.now(UTC))
    except LedgerError as error:
        log.warning("ledger not readable", error=str(error), meaning="tried again at the next look")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock that makes this the one dispatcher of a state folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FilmgateError(
                f"another dispatcher works on {path.parent}. Films are safe and it goes on. "
                "Stop it first, or give this one another --state."
            ) from error
        yield
