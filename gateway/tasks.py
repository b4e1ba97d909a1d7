"""THE FLOW: decode -> gate -> decide -> record -> act, for one film that a worker claimed.

What qualified for a classifier of our own is claimed once more: decode -> read -> record. Claims, leases, and
what a failure means, are `gateway.worker`'s.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version

import structlog
from pydicom.uid import KeyObjectSelectionDocumentStorage

from gateway.bootstrap import Shell, now
from gateway.errors import DecodeError, FilmgateError
from gateway.ledger.records import CopyMade, Job, Judged, Said
from gateway.policies.in_force import Rulebook
from gateway.process import crash
from gateway.process.priority import LedgerThread
from gateway.read_jobs import ReadJobs
from gateway.sandbox.copies import make_copy
from gateway.sandbox.decoder import Decoder, LastFilm
from gateway.sandbox.headers import read_header
from gateway.store.thumbs import Thumbs
from pipelines.examine import (
    Corrected,
    Examination,
    NotCorrected,
    Rules,
    examine,
    unreadable,
    with_other_pixels,
)
from pipelines.film import Film, Finding, Header, Operations, Sender
from pipelines.gates import Gates
from pipelines.pixels.viewing import thumbnail
from pipelines.policy import NOBODY, Policy
from pipelines.policy.owing import Owing, Routes, owing

log = structlog.get_logger()


class Examiner:
    """What is done with one claim, from the store to the ledger."""

    def __init__(
        self,
        shell: Shell,
        decoder: Decoder,
        films: LastFilm,
        gates: Gates,
        policy: Policy,
        ledger_thread: LedgerThread,
        readings: ReadJobs | None = None,
    ) -> None:
        settings = shell.settings
        self._shell, self._store, self._ledger = shell, shell.store, shell.ledger
        self._decoder, self._films, self._gates = decoder, films, gates
        self._ask, self._readings = ledger_thread.ask, readings
        self._rulebook = Rulebook(shell.ledger, policy)
        self._rules = replace(shell.rules(policy), region_gates=gates.regions())
        self._thumbs = Thumbs(settings.state)
        self._routes = Routes(settings.ai, settings.routes.pass_, settings.routes.copies)
        self._digests = {"code": version("filmgate"), **gates.models()}

    def examine(self, job: Job) -> None:
        """Decode, gate, decide; record and act in one transaction."""
        shown_before = self._shows_the_same(job)
        if shown_before:
            header = read_header(self._decoder, self._store.path(job.digest))
            self._ask(lambda: self._ledger.same_pixels(job, header=header, now=now()))
            return
        rules = self._rules_now(job)
        examined = self._examined(job, rules)
        if job.first_digest:
            examined = with_other_pixels(examined, compared=shown_before is not None)
        crash.at("decide")
        judged = self._judged(job, examined, rules)
        crash.at("record")
        self._ask(lambda: self._ledger.judge(job, judged, now=now()))
        crash.at("act")
        log.info("decided", film=job.film_id, act=judged.decision.act.value, rule=judged.decision.rule)
        if judged.hold:
            self._keep_thumbs(job, examined.corrected)

    def _keep_thumbs(self, job: Job, corrected: Corrected[CopyMade] | None) -> None:
        """Somebody will look at the film soon, and what it shows is at hand now. It is judged already, and
        without a thumbnail it is as well: the console makes what is missing."""
        shown = [(job.digest, self._films.at_hand(job.digest))]
        if corrected:
            shown.append((corrected.copy.digest, corrected.film))
        for digest, film in shown:
            if film is not None:
                with suppress(OSError, ValueError, MemoryError):
                    self._thumbs.put(digest, thumbnail(film.pixels))

    def read(self, job: Job) -> None:
        """Decode, read, make the results; record and act in one transaction."""
        if self._readings is None:
            raise FilmgateError("this worker has no classifiers")
        read = self._readings.read(job)
        crash.at("results")
        self._ask(lambda: self._ledger.read(job, read, now=now()))
        log.info("read", film=job.film_id, classifier=read.classifier, not_read=read.body.get("not_read"))

    def _rules_now(self, job: Job) -> Rules:
        """The rules in force and the mode of its sender, as people steer them."""
        steered = self._ask(self._ledger.steered)
        policy = self._ask(lambda: self._rulebook.policy(steered.policy_id))
        mode = steered.mode(job.sender, self._rules.mode, now())
        return replace(self._rules, policy=policy, today=self._shell.today(), mode=mode)

    def _examined(self, job: Job, rules: Rules) -> Examination[CopyMade]:
        try:
            film = self._films(job.digest)
        except DecodeError as error:
            sender = self._sender(job, error.header)
            return unreadable(error.header, error.reason, str(error), rules, sender=sender)
        crash.at("decode")

        def copied(_: Film, operations: Operations) -> tuple[Film, CopyMade]:
            return self._copied(job, operations)

        correct = copied if rules.mode == "enforce" else None
        return examine(film, self._look, rules, sender=self._sender(job, film.header), correct=correct)

    def _look(self, film: Film) -> tuple[Finding, ...]:
        findings = self._gates.look(film)
        crash.at("gate")
        return findings

    def _copied(self, job: Job, operations: Operations) -> tuple[Film, CopyMade]:
        """The corrected copy, kept in the store, and what the gates are to see of it."""
        models = self._gates.models()
        try:
            copy = make_copy(
                self._store, self._decoder, job.digest, operations, models=models, at=job.received_at
            )
            return self._decoder.film(self._store.path(copy.digest)), copy
        except DecodeError as error:
            raise NotCorrected(str(error)) from error

    def _judged(self, job: Job, examined: Examination[CopyMade], rules: Rules) -> Judged:
        owed = owing(examined.decision, examined.header, rules.mode, rules.correct, self._routes)
        if owed.copy_to and self._went_unseen(job):
            owed = Owing(hold=True)  # AI has the film; a copy beside it would be a second one of one exposure
        judged = Judged(
            decision=examined.decision,
            findings=examined.findings,
            mode=rules.mode,
            digests={"policy": rules.policy.digest, **self._digests},
            copy=examined.corrected.copy if examined.corrected else None,
            copy_findings=examined.corrected.findings if examined.corrected else (),
            send_original_to=owed.original_to,
            send_copy_to=owed.copy_to,
            hold=owed.hold,
            takers=rules.takers(examined.header, examined.findings),
            header=examined.header,
            said=self._said(job, examined.header),
            grounds=examined.grounds(rules),
        )
        if self._readings is None:
            return judged
        return replace(judged, unread=self._readings.passed_over(job, judged, rules.today))

    def _went_unseen(self, job: Job) -> bool:
        """Whether AI has the film: its sender was observed, or the gates bypassed, when it came."""
        unseen = [name for name in self._routes.ai if name not in self._shell.settings.routes.always]
        return self._ask(lambda: self._ledger.went_unseen(job.version_id, unseen))

    def _said(self, job: Job, header: Header | None) -> Said | None:
        """What the object rejects, where it is a Key Object of a room or an archive."""
        if header is None or header.sop_class_uid != KeyObjectSelectionDocumentStorage:
            return None
        rejected = self._decoder.rejected(self._store.path(job.digest))
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

    def _shows_the_same(self, job: Job) -> bool | None:
        """Whether a later version of an instance has the pixels of the first; None where nobody can say."""
        if not job.first_digest:
            return False
        try:
            digests = {
                self._decoder.pixel_digest(self._store.path(d)) for d in (job.first_digest, job.digest)
            }
        except DecodeError:
            return None
        return len(digests) == 1
