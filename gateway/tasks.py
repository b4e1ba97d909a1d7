"""THE FLOW: claim -> decode -> gate -> decide -> record -> act, for one film after the other.

What qualified for a classifier of our own is claimed once more: decode -> read -> record. This and
`gateway.readings` are the only modules of the gateway that load networks.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version

import structlog

from gateway import crash
from gateway.bootstrap import Shell, now
from gateway.copies import make_copy
from gateway.decoder import Decoder, LastFilm
from gateway.errors import DecodeError, FilmgateError, LedgerError, Missing, StaleLease, StoreError
from gateway.ledger.records import CopyMade, Job, Judged
from gateway.manners import Clerk
from gateway.readings import Readings
from gateway.reporter import Reporter
from pipelines.film import Act, Decision, Film, Finding, Header, Reason
from pipelines.gates import GATES, Gates, load
from pipelines.kinds import is_film
from pipelines.policy import Policy, decide, decide_unreadable, sent_at_once, would_take

log = structlog.get_logger()

BEAT_S = 5.0  # heartbeats of a lease; a worker that beats no more loses it after work.lease_s
LONGEST_JOB_S = 300.0  # no heartbeat beyond this: a job that hangs must not keep its lease for ever
LOOK_S = 2.0  # how often an idle worker looks by itself, in case nobody can ring


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
    ) -> None:
        self._shell = shell
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
        self._heart = Heart(lambda: self._ask(lambda: self._ledger.beat(owner)))
        self.stopping = threading.Event()

    def work(self) -> None:
        """Examine films until none is ready."""
        with self._one_at_a_time:
            while not self.stopping.is_set() and (job := self._claim()):
                crash.at("claim")
                with self._heart:
                    self._attempt(job)

    def _claim(self) -> Job | None:
        classifiers = self.readings.names if self.readings else ()
        return self._ask(lambda: self._ledger.claim(self._owner, classifiers))

    def _attempt(self, job: Job) -> None:
        try:
            if job.reading:
                self._read(job)
            else:
                self._examine(job)
        except StaleLease as error:
            log.warning("lease lost", job=job.id, film=job.film_id, error=str(error))
        except (Missing, FileNotFoundError) as error:
            self._failed(job, error)
        except (StoreError, LedgerError, OSError) as error:  # not the film's doing: it costs no attempt
            text = str(error)
            log.warning("examination postponed", job=job.id, film=job.film_id, error=text)
            self._report(lambda: self._ledger.postpone(job, error=text))
            self.stopping.wait(LOOK_S)
        except Exception as error:  # whatever happens to one film, the queue goes on
            log.exception("examination failed", job=job.id, film=job.film_id)
            self._failed(job, error)

    def _failed(self, job: Job, error: Exception) -> None:
        attempts = self._shell.settings.work.attempts
        text = f"{type(error).__name__}: {error}"[:500]
        self._report(
            lambda: self._ledger.fail(job, error=text, max_attempts=attempts, now=now(), mode=self._mode)
        )

    def _report(self, tell: Callable[[], None]) -> None:
        """Tell the ledger how an attempt ended; if it does not listen, the lease runs out by itself."""
        try:
            self._ask(tell)
        except LedgerError as error:
            log.warning("attempt not in the ledger", error=str(error), meaning="the lease will run out")

    def _examine(self, job: Job) -> None:
        same = self._shows_the_same(job.first_digest, job.digest) if job.first_digest else False
        if same:
            self._ask(lambda: self._ledger.same_pixels(job, now=now()))
            return
        judged = self._look(job)  # decode, gate, decide
        if job.first_digest and judged.decision.act is not Act.WITHHOLD:
            judged = _other_pixels(judged, compared=same is not None)
        if self.readings:
            judged = replace(judged, unread=self.readings.passed_over(job, judged, job.received_at))
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

    def _look(self, job: Job) -> Judged:
        try:
            film = self._film(job.digest)
        except DecodeError as error:
            decision = decide_unreadable(
                self._policy, error.header, error.reason, str(error), mode=self._mode
            )
            return self._judged(error.header, decision, ())
        crash.at("decode")
        findings = self._gates.look(film)
        crash.at("gate")
        decision = self._decide(film.header, findings, now())
        crash.at("decide")
        if decision.act is Act.CORRECT and self._mode == "enforce":
            return self._corrected(job, film, findings, decision)
        return self._judged(film.header, decision, findings)

    def _decide(self, header: Header, findings: tuple[Finding, ...], at: datetime) -> Decision:
        words = self._shell.settings.policy
        return decide(
            self._policy,
            header,
            findings,
            destinations=self._destinations,
            today=at.date(),
            mode=words.mode,
            correct=words.correct,
            region_gates=self._region_gates,
        )

    def _corrected(self, job: Job, film: Film, findings: tuple[Finding, ...], decision: Decision) -> Judged:
        """Make the corrected copy and gate it in full; `propose` holds it, `auto` sends it if it passes.

        One that changes no pixel is always sent if it passes: there is nothing for a person to compare."""
        models = self._gates.models()
        try:
            store = self._shell.store
            copy = make_copy(
                store, self._decoder, job.digest, decision.operations, models=models, at=job.received_at
            )
            again = self._decoder.film(store.path(copy.digest))
        except DecodeError as error:
            return self._judged(film.header, _copy_failed(decision, str(error)), findings, hold=True)
        # The copy says of itself that it is derived and ours; it is judged by the claims of its source.
        copy_findings = self._gates.look(again.claiming(film.header))
        second = self._decide(film.header, copy_findings, now())
        if second.act is not Act.PASS:
            decision = _copy_failed(decision, f"the corrected copy was not clean: {second.why}")
        at_once = sent_at_once(decision.operations, self._shell.settings.policy.correct)
        send = decision.act is Act.CORRECT and at_once
        return self._judged(
            film.header, decision, findings, copy, copy_findings, hold=not send, send_copy=send
        )

    def _judged(
        self,
        header: Header | None,
        decision: Decision,
        findings: tuple[Finding, ...],
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
            takers=self._takers(header, findings),
            header=header,
        )

    def _observers(self, header: Header | None) -> tuple[str, ...]:
        """Whom everything goes to as before; to classifiers of our own every film."""
        settings = self._shell.settings
        return settings.routes.pass_ if header is not None and is_film(header) else settings.ai

    def _takers(self, header: Header | None, findings: tuple[Finding, ...]) -> tuple[str, ...]:
        """The AI destinations that accept such a film: where a person's release or correction sends it."""
        if header is None:
            return ()
        return would_take(
            header,
            findings,
            destinations=self._destinations,
            today=now().date(),
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
    """Beats every BEAT_S while a job is in hand, for LONGEST_JOB_S at most."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._done = threading.Event()

    def __enter__(self) -> None:
        self._done = threading.Event()
        threading.Thread(target=self._run, args=(self._done,), daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _run(self, done: threading.Event) -> None:
        for _ in range(int(LONGEST_JOB_S / BEAT_S)):
            if done.wait(BEAT_S):
                return
            try:
                self._beat()
            except LedgerError as error:
                log.warning("heartbeat not written", error=str(error))
        log.error("worker hangs", meaning="it ends itself; its film is tried again by another")
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


def readings(shell: Shell, films: LastFilm, gates: Gates, reporter: Reporter) -> Readings:
    """The classifiers that the settings name."""
    return Readings(
        shell.settings.classifiers,
        shell.acceptances(),
        store=shell.store,
        films=films,
        reporter=reporter,
        look=gates.look,
        findings=shell.ledger.findings_of,
        observing=shell.settings.policy.mode == "observe",
        engines=shell.settings.state / "engines",
    )


def region_gates(gates: Gates) -> tuple[str, ...]:
    """The names of the gates that `work.regions` added to those for chests."""
    for_chests = {getattr(kind, "name", "") for kind in GATES}
    return tuple(gate.name for gate in gates.gates if gate.name not in for_chests)


def run_worker(shell: Shell, clerk: Clerk, *, ready: Callable[[], None]) -> None:
    """Be one worker until SIGTERM: answer the doorbell, and look by oneself now and then."""
    owner = f"{socket.gethostname()}:{os.getpid()}"
    with shell.decoder() as decoder, shell.reporter() as reporter:
        gates = load(**shell.models())
        for problem in gates.problems():
            log.error("gate not usable", problem=problem, meaning="films it should judge are held")
        examiner = Examiner(shell, decoder, gates, shell.policy(), owner, clerk, reporter)
        decoder.warm_up(shell.store.incoming)
        if examiner.readings:
            examiner.readings.prepare()
        alone = threading.Thread(target=_look_alone, args=(examiner,), daemon=True)
        alone.start()
        shell.doorbell().answer(examiner.work, name=owner, ready=ready, stopping=examiner.stopping)
        examiner.stopping.set()
        alone.join()  # it may have a film in hand


def _look_alone(examiner: Examiner) -> None:
    """The worker's own look at the ledger: with Redis away it is late by LOOK_S, not by hours."""
    while not examiner.stopping.wait(LOOK_S):
        try:
            examiner.work()
        except LedgerError as error:
            log.warning("ledger not readable", error=str(error), meaning="tried again soon")
