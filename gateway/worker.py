"""WORK: claims under a lease, one film after the other, the heartbeat, and what a failure means.

What is done with a film is `gateway.tasks`. This module and `gateway.read_jobs` are the only ones of the
gateway that load networks.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial

import structlog

from gateway.bootstrap import Shell, now
from gateway.errors import LedgerError, Missing, NoTime, StaleLease, StoreError
from gateway.ledger.records import Job
from gateway.process import crash, loops, standard_streams
from gateway.process.health import HERE
from gateway.process.own_time import OwnTime
from gateway.process.priority import LedgerThread
from gateway.read_jobs import OpenReader, classifiers_of
from gateway.sandbox.decoder import Decoder, LastFilm
from gateway.sandbox.headers import HeaderReader
from gateway.sandbox.reporter import Reporter
from gateway.tasks import Examiner
from pipelines.gates import Gates, load
from pipelines.policy import Policy

log = structlog.get_logger()

BEAT_S = 5.0  # heartbeats of a lease; a worker that beats no more loses it after work.lease_s
LONGEST_JOB_S = 300.0  # no heartbeat beyond this: a job that hangs must not keep its lease for ever
LONGEST_LATE_S = 3600.0  # the same for a job that others keep from the processor
LOOK_S = 2.0  # how often an idle worker looks by itself, in case nobody can ring
EXAMINING = "examining films"  # as `doctor` and /readyz name what is postponed again and again
PARKED = "it waits for a person; the films behind it go on"
REPORT_S = 120.0  # how long a ledger that does not listen is told again how an attempt ended


class Worker:
    """Does what the ledger gives it, one film at a time."""

    def __init__(
        self,
        shell: Shell,
        decoder: Decoder,
        gates: Gates,
        policy: Policy,
        owner: str,
        ledger_thread: LedgerThread,
        reporter: Reporter | None = None,
        beat: Callable[[], None] = lambda: None,
        open_reader: OpenReader | None = None,
    ) -> None:
        """`beat` is called as long as the worker goes on: between films, and while one is in hand.

        With a `reporter` and `open_reader` it reads for classifiers, too.
        """
        self._beat = beat
        self._ask = ledger_thread.ask
        self._ledger = shell.ledger
        self._owner = owner
        self._limits = shell.settings.work
        self._mode = shell.settings.policy.mode
        films = LastFilm(shell.store, decoder)
        self.readings = (
            classifiers_of(shell, films, gates, reporter, open_reader) if reporter and open_reader else None
        )
        self._examiner = Examiner(shell, decoder, films, gates, policy, ledger_thread, self.readings)
        self._headers = HeaderReader(shell.ledger, shell.store, decoder, ledger_thread, now)
        self._one_at_a_time = threading.Lock()
        children = (decoder, reporter) if reporter else (decoder,)
        self._heartbeat = Heartbeat(
            self._show_life,
            lambda: [child.pid for child in children if child.pid],
            start=ledger_thread.ask,
        )
        self._postponed = 0  # jobs that could not be done, one after the other
        self.stopping = threading.Event()

    def work(self) -> None:
        """Examine films until none is ready."""
        with self._one_at_a_time:
            while not self.stopping.is_set() and (job := self._claim()):
                self._beat()
                crash.at("claim")
                with self._heartbeat:
                    self._attempt(job)

    def catch_up(self) -> None:
        """Read the headers of an older ledger's films while no film waits; a ring goes first."""

        def needed() -> bool:
            self._beat()
            return self.stopping.is_set() or self._one_at_a_time.locked()

        self._headers.catch_up(needed)

    def look_alone(self, look: Callable[[], float], catch_up: Callable[[], object] = lambda: None) -> None:
        """The worker's own looks at the ledger: with Redis away it is late by LOOK_S, not by hours."""
        while not self.stopping.is_set():
            self._beat()
            look()
            catch_up()
            self.stopping.wait(LOOK_S)

    def _show_life(self) -> None:
        self._beat()
        self._ask(lambda: self._ledger.beat(self._owner))

    def _claim(self) -> Job | None:
        return self._ask(lambda: self._ledger.claim(self._owner, self._classifiers(), now=now()))

    def _classifiers(self) -> tuple[str, ...]:
        """Those that read now: what is owed to one that a person paused waits."""
        names = self.readings.names if self.readings else ()
        paused = self._ledger.steered().paused if names else ()
        return tuple(name for name in names if name not in paused)

    def _attempt(self, job: Job) -> None:
        try:
            if job.reading:
                self._examiner.read(job)
            else:
                self._examiner.examine(job)
            self._postponed = 0
            HERE.well(EXAMINING)
        except StaleLease as error:
            log.warning("lease lost", job=job.id, film=job.film_id, error=str(error))
        except (Missing, FileNotFoundError) as error:
            self._failed(job, error)
        except (NoTime, StoreError, LedgerError, OSError) as error:  # not the film's doing: costs no attempt
            self._postpone(job, str(error))
        except Exception as error:  # whatever happens to one film, the queue goes on
            log.exception("examination failed", job=job.id, film=job.film_id)
            self._failed(job, error)

    def _failed(self, job: Job, error: Exception) -> None:
        attempts = self._limits.attempts
        text = f"{type(error).__name__}: {error}"[:500]

        def fail() -> None:
            if self._ledger.fail(job, error=text, max_attempts=attempts, now=now(), mode=self._mode):
                log.error("job parked", job=job.id, film=job.film_id, error=text, meaning=PARKED)

        self._report(fail)

    def _postpone(self, job: Job, error: str) -> None:
        """The films behind it go on; where one after the other cannot be examined, none is hurried."""
        log.warning("examination postponed", job=job.id, film=job.film_id, error=error)
        most_h = self._limits.give_up_h

        def put_off() -> None:
            if self._ledger.postpone(job, error=error, now=now(), give_up_h=most_h, mode=self._mode):
                log.error("job parked", job=job.id, film=job.film_id, error=error, meaning=PARKED)

        self._report(put_off)
        self._postponed += 1
        HERE.failed(EXAMINING, error, self._postponed)
        if self._postponed > 1:
            self.stopping.wait(LOOK_S)

    def _report(self, tell: Callable[[], None]) -> None:
        """Tell the ledger how an attempt ended, again and again for a while: it may be locked.

        If it does not listen the lease runs out by itself, once this worker has nothing else to do.
        """
        until = time.monotonic() + REPORT_S
        while True:
            try:
                self._ask(tell)
            except StaleLease as error:
                log.warning("lease lost", error=str(error))
            except LedgerError as error:
                log.warning("attempt not in the ledger", error=str(error), meaning="told again for a while")
                if time.monotonic() < until and not self.stopping.wait(LOOK_S):
                    continue
            return


class Heartbeat:
    """Beats every BEAT_S while a job is in hand, for LONGEST_JOB_S of the worker's own time at most.

    Time for which others keep it, or its children, from the processor is not its own (`OwnTime`).

    Args:
        beat: tells the ledger.
        children: the processes that work for it now.
        start: calls what starts the thread. A thread has the priority of the one that started it, and
            a heartbeat that gives way to busy programs may stand still for longer than a lease.
    """

    def __init__(
        self,
        beat: Callable[[], None],
        children: Callable[[], Iterable[int]] = tuple,
        *,
        start: Callable[[Callable[[], object]], object] = lambda call: call(),
    ) -> None:
        self._beat = beat
        self._children = children
        self._start = start
        self._guard = loops.Guard("heartbeat", failing="heartbeat not written", longest_s=0.0)
        self._done = threading.Event()

    def __enter__(self) -> None:
        self._done = threading.Event()
        self._start(partial(loops.start, "heartbeat", partial(self._run, self._done)))

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _run(self, done: threading.Event) -> None:
        own = OwnTime(lambda: (os.getpid(), *self._children()), most_s=2 * BEAT_S)
        until = time.monotonic() + LONGEST_LATE_S
        while own.look() < LONGEST_JOB_S and time.monotonic() < until:
            if done.wait(BEAT_S):
                return
            self._guard(self._beat)
        log.error("worker hangs", meaning="it ends itself; its film is tried again by another")
        standard_streams.settle()
        os._exit(1)  # nothing else gets a thread out of a call that does not return


def _give_back_memory() -> None:
    """What loading took and does not need any more; other C libraries than glibc do so by themselves."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def run_worker(
    shell: Shell,
    decoder: Decoder,
    ledger_thread: LedgerThread,
    *,
    ready: Callable[[], None],
    beat: Callable[[], None],
    hear_stop: Callable[[threading.Event], None],
    open_reader: OpenReader | None = None,
) -> None:
    """Be one worker until SIGTERM: answer the doorbell, and look by oneself now and then.

    Until there is something to do a signal ends the process; from `hear_stop` on it sets the event.
    """
    owner = f"{socket.gethostname()}:{os.getpid()}"
    with shell.reporter() as reporter:
        gates = load(**shell.models())
        for problem in gates.problems():
            log.error("gate not usable", problem=problem, meaning="films it should judge are held")
            name, _, why = problem.partition(": ")
            HERE.failed(f"gate {name}", why)
        worker = Worker(
            shell, decoder, gates, shell.policy(), owner, ledger_thread, reporter, beat, open_reader
        )
        decoder.warm_up(shell.store.incoming)
        if worker.readings:
            worker.readings.prepare()
        _give_back_memory()
        look = partial(loops.Guard("worker look", failing="ledger not readable"), worker.work)
        hear_stop(worker.stopping)
        headers = loops.Guard("headers", failing="headers of older films not read")
        catch_up = partial(headers, worker.catch_up)
        alone = loops.start("worker look", partial(worker.look_alone, look, catch_up))
        shell.doorbell().answer(look, name=owner, ready=ready, stopping=worker.stopping)
        worker.stopping.set()
        alone.join()  # it may have a film in hand
