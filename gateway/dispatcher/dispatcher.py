"""RING: looks at the ledger, wakes workers, frees dead leases, and runs the courier."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event

import structlog

from gateway.alarms import Looker, Telling
from gateway.alarms.telling import makers
from gateway.bootstrap import Shell
from gateway.bootstrap import now as utc_now
from gateway.destinations import build_or_wait
from gateway.dispatcher.courier import Courier
from gateway.doorbell import Doorbell
from gateway.errors import FilmgateError
from gateway.ledger import LONG_WAL_BYTES, Checkpoint, Ledger
from gateway.process import loops, private
from gateway.process.wake import Wake, Wakes, rest_s

log = structlog.get_logger()

LOOK_S = 0.5  # how often the ledger is looked at when nobody says that something is due
LEASES_S = 1.0  # how often leases are looked at
CHECKPOINT_S = 1.0  # how often the ledger's WAL is copied into it, when it is worth it
SMALL_WAL_BYTES = 4 << 20  # not worth it below: SQLite itself waits for a thousand pages of 4 KiB


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


class Checkpoints:
    """Copies the ledger's WAL into it, the only one that does so while others write: see `ledger.engine`.

    Nothing else stops a WAL from growing; a dispatcher that ended is started again within seconds.
    """

    def __init__(self, ledger: Ledger, small_bytes: int = SMALL_WAL_BYTES) -> None:
        self._ledger = ledger
        self._small_bytes = small_bytes
        self._long = False

    def look(self) -> Checkpoint | None:
        """Copy it unless it is small; say once when it stays long, and when that is over."""
        size = self._ledger.wal_bytes
        done = self._ledger.checkpoint() if size >= self._small_bytes else None
        held = done is not None and done.copied < done.frames and size >= LONG_WAL_BYTES
        if held and not self._long:
            log.warning(
                "ledger's WAL is long",
                mib=size >> 20,
                meaning="a program reads an old state of the ledger and keeps the WAL from starting anew; "
                "nothing is lost, but the disk fills: end that program",
            )
        self._long = held
        return done

    def run(self, stop: Event) -> None:
        """Look again and again until `stop` is set."""
        guard = loops.Guard("checkpoints", failing="ledger's WAL not copied")
        guard.until(stop, self.look, every_s=CHECKPOINT_S)


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
        paused = self._ledger.steered().paused if self._classifiers else ()
        reading = [name for name in self._classifiers if name not in paused]
        if self._ledger.ready_jobs(reading, now=now, most=1):
            self._doorbell.ring()
        if monotonic_s >= self._leases_at:
            self._leases_at = monotonic_s + LEASES_S
            self._leases.look(monotonic_s, now)


def run(
    shell: Shell,
    *,
    ready: Callable[[], None],
    stop: Event,
    beat: Callable[[], None] = lambda: None,
    drain_s: float = 10.0,
) -> None:
    """Dispatch until `stop` is set; `beat` is called at each look. Deliveries have `drain_s` to finish then.

    Raises:
        FilmgateError: another dispatcher works on the same state folder.
    """
    work, mode = shell.settings.work, shell.settings.policy.mode
    watch = LeaseWatch(shell.ledger, lease_s=work.lease_s, attempts=work.attempts, mode=mode)
    classifiers = tuple(shell.settings.classifiers)
    dispatcher = Dispatcher(shell.ledger, shell.doorbell(), watch, classifiers)
    with _alone(shell.settings.state / "dispatch.lock"), closing(Wakes(shell.settings.state)) as wakes:
        if wakes.deaf:
            meaning = "films are sent and examined up to a second later"
            log.warning("nobody can wake the dispatcher", why=wakes.deaf, meaning=meaning)
        courier = courier_of(shell)
        courier.start()
        copying = loops.start("checkpoints", partial(Checkpoints(shell.ledger).run, stop))
        telling = Telling(shell.ledger, makers(shell.settings, shell.ledger), utc_now)
        loops.start("alarms", partial(Looker(shell.ledger, shell.settings, utc_now).run, stop))
        loops.start("alarm notices", partial(telling.run, stop))
        loops.start("end of waiting", partial(_wake_at, stop, Wake(shell.settings.state)))
        ready()
        try:
            guard = loops.Guard("dispatcher look", failing="ledger not readable")
            while not stop.is_set():
                beat()
                began_s = time.monotonic()
                pause_s = guard(partial(_look, dispatcher))
                if not stop.wait(rest_s(time.monotonic() - began_s)):
                    wakes.wait(pause_s or LOOK_S)
                    courier.look_now()
        finally:
            courier.stop(drain_s)
        copying.join(2.0)  # a copy that is cut off is made again


def courier_of(shell: Shell) -> Courier:
    """The courier for all that things are sent to: a classifier reads where it is.

    A destination that cannot be built waits, and holds up no other.
    """
    settings = shell.settings
    calling, carried = settings.gateway.ae_title, settings.carried
    destinations = {name: build_or_wait(name, block, calling) for name, block in carried.items()}
    retry = {name: block.retry for name, block in carried.items()}
    return Courier(shell.ledger, shell.store, destinations, retry, not_sent=settings.classifiers)


def _wake_at(stop: Event, wake: Wake) -> None:
    stop.wait()
    wake()


def _look(dispatcher: Dispatcher) -> None:
    dispatcher.look(time.monotonic(), datetime.now(UTC))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock that makes this the one dispatcher of a state folder."""
    try:
        opened = private.lock_file(path)
    except OSError as error:
        raise FilmgateError(
            f"{path} cannot be used as a lock: {error.strerror}. Films are safe, and nothing was sent. "
            "Remove it, if it is not filmgate's."
        ) from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FilmgateError(
                f"another dispatcher works on {path.parent}. Films are safe and it goes on. "
                "Stop it first, or give this one another --state."
            ) from error
        yield
