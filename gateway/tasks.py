"""THE FLOW: claim -> decode -> gate -> decide -> record -> act, for one film after the other.

What qualified for a classifier of our own is claimed once more: decode -> read -> record. This and
`gateway.read_jobs` are the only modules of the gateway that load networks.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date
from functools import partial
from importlib.metadata import version

import structlog
from pydicom.uid import KeyObjectSelectionDocumentStorage

from gateway.bootstrap import Shell, now
from gateway.errors import (
    DecodeError,
    FilmgateError,
    LedgerError,
    Missing,
    NoTime,
    StaleLease,
    StoreError,
)
from gateway.ledger.records import CopyMade, Job, Judged, Said
from gateway.process import crash, loops, outlet
from gateway.process.own_time import OwnTime
from gateway.process.priority import Clerk
from gateway.read_jobs import ReadJobs
from gateway.sandbox.copies import make_copy
from gateway.sandbox.decoder import Decoder, LastFilm
from gateway.sandbox.reporter import Reporter, Systems
from gateway.settings import WebhookDestination
from pipelines.film import Act, Decision, Film, Finding, Header, Reason, Sender
from pipelines.gates import GATES, Gates, load
from pipelines.policy import NOBODY, Policy, decide, decide_unreadable, sent_at_once, would_take
from pipelines.words.kinds import is_film

log = structlog.get_logger()

BEAT_S = 5.0  # heartbeats of a lease; a worker that beats no more loses it after work.lease_s
LONGEST_JOB_S = 300.0  # no heartbeat beyond this: a job that hangs must not keep its lease for ever
LONGEST_LATE_S = 3600.0  # the same for a job that others keep from the processor
LOOK_S = 2.0  # how often an idle worker looks by itself, in case nobody can ring
PARKED = "it waits for a person; the films behind it go on"
REPORT_S = 120.0  # how long a ledger that does not listen is told again how an attempt ended


class Examiner:
    """One worker: examines what the ledger gives it, one film at a time."""

    def __init__(
        self,
        shell: Shell,
        decoder: Decoder,
        gates: Gates,
        policy: Policy,
        owner: str,
        clerk: Clerk,
        reporter: Reporter | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`beat` is called as long as the worker goes on: between films, and while one is in hand."""
        self._shell = shell
        self._beat = beat
        self._ask = clerk.ask
        self._ledger = shell.ledger
        self._decoder = decoder
        self._gates = gates
        self._policy = policy
        self._owner = owner
        self._mode = shell.settings.policy.mode
        self._destinations = shell.acceptances()
        self._film = LastFilm(shell.store, decoder)
        self.readings = readings(shell, self._film, gates, reporter) if reporter else None
        self._region_gates = region_gates(gates)
        self._digests = {"policy": policy.digest, "code": version("filmgate"), **gates.models()}
        self._one_at_a_time = threading.Lock()
        children = (decoder, reporter) if reporter else (decoder,)
        self._heart = Heart(
            self._show_life,
            lambda: [child.pid for child in children if child.pid],
            start=clerk.ask,
        )
        self._postponed = 0  # jobs that could not be done, one after the other
        self.stopping = threading.Event()

    def work(self) -> None:
        """Examine films until none is ready."""
        with self._one_at_a_time:
            while not self.stopping.is_set() and (job := self._claim()):
                self._beat()
                crash.at("claim")
                with self._heart:
                    self._attempt(job)

    def look_alone(self, look: Callable[[], float]) -> None:
        """The worker's own look at the ledger: with Redis away it is late by LOOK_S, not by hours."""
        while not self.stopping.wait(LOOK_S):
            self._beat()
            look()

    def _show_life(self) -> None:
        self._beat()
        self._ask(lambda: self._ledger.beat(self._owner))

    def _claim(self) -> Job | None:
        classifiers = self.readings.names if self.readings else ()
        return self._ask(lambda: self._ledger.claim(self._owner, classifiers, now=now()))

    def _attempt(self, job: Job) -> None:
        try:
            if job.reading:
                self._read(job)
            else:
                self._examine(job)
            self._postponed = 0
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
        attempts = self._shell.settings.work.attempts
        text = f"{type(error).__name__}: {error}"[:500]

        def fail() -> None:
            if self._ledger.fail(job, error=text, max_attempts=attempts, now=now(), mode=self._mode):
                log.error("job parked", job=job.id, film=job.film_id, error=text, meaning=PARKED)

        self._report(fail)

    def _postpone(self, job: Job, error: str) -> None:
        """The films behind it go on; where one after the other cannot be examined, none is hurried."""
        log.warning("examination postponed", job=job.id, film=job.film_id, error=error)
        most_h = self._shell.settings.work.give_up_h

        def put_off() -> None:
            if self._ledger.postpone(job, error=error, now=now(), give_up_h=most_h, mode=self._mode):
                log.error("job parked", job=job.id, film=job.film_id, error=error, meaning=PARKED)

        self._report(put_off)
        self._postponed += 1
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

    def _examine(self, job: Job) -> None:
        same = self._shows_the_same(job.first_digest, job.digest) if job.first_digest else False
        if same:
            self._ask(lambda: self._ledger.same_pixels(job, now=now()))
            return
        today = self._shell.today()
        judged = self._look(job, today)  # decode, gate, decide
        if job.first_digest and judged.decision.act is not Act.WITHHOLD:
            judged = _other_pixels(judged, compared=same is not None)
        if self.readings:
            judged = replace(judged, unread=self.readings.passed_over(job, judged, today))
        crash.at("record")
        self._ask(lambda: self._ledger.judge(job, judged, now=now()))  # record and act, in one transaction
        crash.at("act")
        log.info("decided", film=job.film_id, act=judged.decision.act.value, rule=judged.decision.rule)

    def _read(self, job: Job) -> None:
        """What qualified is read by a classifier of our own."""
        if self.readings is None:
            raise FilmgateError("this worker has no classifiers")
        read = self.readings.read(job)  # decode, read, make the results
        crash.at("results")
        self._ask(lambda: self._ledger.read(job, read, now=now()))  # record and act, in one transaction
        log.info("read", film=job.film_id, classifier=read.classifier, not_read=read.body.get("not_read"))

    def _look(self, job: Job, today: date) -> Judged:
        try:
            film = self._film(job.digest)
        except DecodeError as error:
            sender = self._sender(job, error.header)
            decision = decide_unreadable(
                self._policy, error.header, error.reason, str(error), mode=self._mode, sender=sender
            )
            judged = self._judged(error.header, decision, (), today)
            return replace(judged, said=self._said(job, error.header))
        crash.at("decode")
        findings = self._gates.look(film)
        crash.at("gate")
        sender = self._sender(job, film.header)
        decision = self._decide(film.header, findings, sender, today)
        crash.at("decide")
        if decision.act is Act.CORRECT and self._mode == "enforce":
            return self._corrected(job, film, findings, decision, sender, today)
        return self._judged(film.header, decision, findings, today)

    def _said(self, job: Job, header: Header | None) -> Said | None:
        """What the object rejects, where it is a Key Object of a room or an archive."""
        if header is None or header.sop_class_uid != KeyObjectSelectionDocumentStorage:
            return None
        rejected = self._decoder.rejected(self._shell.store.path(job.digest))
        if rejected is None:
            return None
        sender = self._ask(lambda: self._ledger.sender_of(job.version_id))
        log.info("key object rejects", film=job.film_id, code=rejected.code, count=len(rejected.instances))
        return Said(rejected, sender.ae_title)

    def _sender(self, job: Job, header: Header | None) -> Sender:
        """Who sent the film, where that matters: what people said of words is about one sender."""
        if header is None or not header.words:
            return NOBODY
        return self._ask(lambda: self._ledger.sender_of(job.version_id))

    def _decide(self, header: Header, findings: tuple[Finding, ...], sender: Sender, today: date) -> Decision:
        words = self._shell.settings.policy
        return decide(
            self._policy,
            header,
            findings,
            destinations=self._destinations,
            today=today,
            mode=words.mode,
            correct=words.correct,
            region_gates=self._region_gates,
            sender=sender,
        )

    def _corrected(
        self,
        job: Job,
        film: Film,
        findings: tuple[Finding, ...],
        decision: Decision,
        sender: Sender,
        today: date,
    ) -> Judged:
        """Make the corrected copy and gate it in full; `propose` holds it, `auto` sends it if it passes.

        One that changes no pixel is always sent if it passes: there is nothing for a person to compare.
        """
        models = self._gates.models()
        try:
            store = self._shell.store
            copy = make_copy(
                store, self._decoder, job.digest, decision.operations, models=models, at=job.received_at
            )
            again = self._decoder.film(store.path(copy.digest))
        except DecodeError as error:
            return self._judged(film.header, _copy_failed(decision, str(error)), findings, today, hold=True)
        # The copy says of itself that it is derived and ours; it is judged by the claims of its source.
        copy_findings = self._gates.look(again.claiming(film.header))
        second = self._decide(film.header, copy_findings, sender, today)
        if second.act is not Act.PASS:
            decision = _copy_failed(decision, f"the corrected copy was not clean: {second.why}")
        at_once = sent_at_once(decision.operations, self._shell.settings.policy.correct)
        send = decision.act is Act.CORRECT and at_once
        return self._judged(
            film.header, decision, findings, today, copy, copy_findings, hold=not send, send_copy=send
        )

    def _judged(
        self,
        header: Header | None,
        decision: Decision,
        findings: tuple[Finding, ...],
        today: date,
        copy: CopyMade | None = None,
        copy_findings: tuple[Finding, ...] = (),
        *,
        hold: bool = False,
        send_copy: bool = False,
    ) -> Judged:
        enforce = self._mode == "enforce"  # in observe mode everything went to the AI when it arrived
        to_ai = decision.destinations if decision.act is Act.PASS else ()
        copies_to = decision.destinations + self._shell.settings.routes.copies
        return Judged(
            decision=decision,
            findings=findings,
            mode=self._mode,
            digests=self._digests,
            copy=copy,
            copy_findings=copy_findings,
            # Observing, the AI was owed it when it arrived; or is now, if the mode changed meanwhile.
            send_original_to=to_ai if enforce else self._observers(header),
            send_copy_to=tuple(dict.fromkeys(copies_to)) if send_copy else (),
            hold=enforce and (hold or decision.act is Act.QUARANTINE),
            takers=self._takers(header, findings, today),
            header=header,
        )

    def _observers(self, header: Header | None) -> tuple[str, ...]:
        """Whom everything goes to as before; to classifiers of our own every film."""
        settings = self._shell.settings
        return settings.routes.pass_ if header is not None and is_film(header) else settings.ai

    def _takers(self, header: Header | None, findings: tuple[Finding, ...], today: date) -> tuple[str, ...]:
        """The AI destinations that accept such a film: where a person's release or correction sends it."""
        if header is None:
            return ()
        return would_take(
            header,
            findings,
            destinations=self._destinations,
            today=today,
            region_gates=self._region_gates,
        )

    def _shows_the_same(self, first: str, second: str) -> bool | None:
        """Whether two versions of one instance have the same pixels; None when that cannot be said."""
        store = self._shell.store
        try:
            digests = {self._decoder.pixel_digest(store.path(digest)) for digest in (first, second)}
        except DecodeError:
            return None
        return len(digests) == 1


class Heart:
    """Beats every BEAT_S while a job is in hand, for LONGEST_JOB_S of the worker's own time at most.

    Time for which others keep it, or its children, from the processor is not its own (`OwnTime`).

    Args:
        beat: tells the ledger.
        children: the processes that work for it now.
        start: calls what starts the heart's thread. A thread has the priority of the one that started it, and
            a heart that gives way to busy programs may stand still for longer than a lease.
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
        self._guard = loops.Guard("heart", failing="heartbeat not written", longest_s=0.0)
        self._done = threading.Event()

    def __enter__(self) -> None:
        self._done = threading.Event()
        self._start(partial(loops.start, "heart", partial(self._run, self._done)))

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
        outlet.settle()
        os._exit(1)  # nothing else gets a thread out of a call that does not return


def _copy_failed(decision: Decision, why: str) -> Decision:
    reasons = (*decision.reasons, Reason.COPY_FAILED)
    return replace(
        decision, act=Act.QUARANTINE, reasons=reasons, why=f"{decision.why}; {why}", destinations=()
    )


def _other_pixels(judged: Judged, *, compared: bool) -> Judged:
    """The same SOP Instance UID with another picture: both are kept, a person decides."""
    what = "with other pixels" if compared else "and the pixels of the two cannot be compared"
    why = f"this SOP Instance UID was received before {what}; both objects are kept"
    decision = replace(
        judged.decision,
        act=Act.QUARANTINE,
        reasons=(Reason.OTHER_PIXELS, *judged.decision.reasons),
        rule="other-pixels",
        why=why,
        destinations=(),
    )
    hold = judged.mode == "enforce"
    return replace(judged, decision=decision, send_original_to=(), send_copy_to=(), hold=hold)


def readings(shell: Shell, films: LastFilm, gates: Gates, reporter: Reporter) -> ReadJobs:
    """The classifiers that the settings name."""
    webhooks = {
        name: block
        for name, block in shell.settings.destinations.items()
        if isinstance(block, WebhookDestination)
    }
    return ReadJobs(
        shell.settings.classifiers,
        shell.acceptances(),
        {name: _systems(block) for name, block in webhooks.items()},
        store=shell.store,
        films=films,
        reporter=reporter,
        look=gates.look,
        findings=shell.ledger.findings_of,
        observing=shell.settings.policy.mode == "observe",
        engines=shell.settings.state / "engines",
    )


def _systems(block: WebhookDestination) -> Systems:
    return Systems(block.fhir.patient_system or None, block.fhir.accession_system or None)


def region_gates(gates: Gates) -> tuple[str, ...]:
    """The names of the gates that `work.regions` added to those for chests."""
    for_chests = {getattr(kind, "name", "") for kind in GATES}
    return tuple(gate.name for gate in gates.gates if gate.name not in for_chests)


def run_worker(
    shell: Shell,
    clerk: Clerk,
    *,
    ready: Callable[[], None],
    beat: Callable[[], None],
    hear_stop: Callable[[threading.Event], None],
) -> None:
    """Be one worker until SIGTERM: answer the doorbell, and look by oneself now and then.

    Until there is something to do a signal ends the process; from `hear_stop` on it sets the event.
    """
    owner = f"{socket.gethostname()}:{os.getpid()}"
    with shell.decoder() as decoder, shell.reporter() as reporter:
        gates = load(**shell.models())
        for problem in gates.problems():
            log.error("gate not usable", problem=problem, meaning="films it should judge are held")
        examiner = Examiner(shell, decoder, gates, shell.policy(), owner, clerk, reporter, beat)
        decoder.warm_up(shell.store.incoming)
        if examiner.readings:
            examiner.readings.prepare()
        look = partial(loops.Guard("worker look", failing="ledger not readable"), examiner.work)
        hear_stop(examiner.stopping)
        alone = loops.start("worker look", partial(examiner.look_alone, look))
        shell.doorbell().answer(look, name=owner, ready=ready, stopping=examiner.stopping)
        examiner.stopping.set()
        alone.join()  # it may have a film in hand
