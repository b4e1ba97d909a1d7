"""WORK: how a claim ends: put off, failed, or in the one transaction that ends an examination."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    bindparam,
    exists,
    func,
    insert,
    select,
    update,
)

from gateway.errors import StaleLease
from gateway.ledger.claiming import LONGEST_DELAY_S
from gateway.ledger.engine import Database
from gateway.ledger.holding.rejecting import overruled, reject_named
from gateway.ledger.holding.ruling import examine_again_if_answered
from gateway.ledger.holding.taking_back import Owed, put_back_readings, standing, take_back
from gateway.ledger.moves import allowed, inserted, move, note, stands
from gateway.ledger.picturing.features import keep_features
from gateway.ledger.records import (
    CopyMade,
    DeliveryState,
    HoldState,
    Job,
    JobState,
    Judged,
    Made,
    Read,
)
from gateway.ledger.routing import owe, owe_copy, owe_original
from gateway.ledger.searching.keeping import keep_header, keep_reasons, sorted_by
from gateway.ledger.searching.uncertainty import uncertainty
from gateway.ledger.steering.flow import mode_of_version
from gateway.ledger.tables import (
    UtcDateTime,
    copies,
    decisions,
    deliveries,
    findings,
    holds,
    jobs,
    objects,
    results,
    versions,
)
from pipelines.film import REASON_TEXT, Act, Decision, Finding, Header, Reason, Ruling
from pipelines.json_values import from_plain, plain, sparse

WHO = "worker"
FIRST_DELAY_S = 4.0  # after a job was put off; each further time it waits twice as long


class Working(Database):
    """How work ends: what workers and the dispatcher write."""

    def free_lease(
        self, job_id: int, token: int, *, max_attempts: int, error: str, now: datetime, mode: str = "enforce"
    ) -> bool:
        """Take a lease back that stands still; True when it was still held under `token`."""
        with self.writing() as db:
            return _give_back(db, job_id, token, max_attempts, error, now, mode)

    def free_owner(
        self,
        owner: str,
        *,
        max_attempts: int,
        error: str,
        now: datetime,
        mode: str = "enforce",
        counted: bool = True,
    ) -> int:
        """Take back all leases of a worker that is known to be dead; how many there were.

        The attempt is not `counted` where we ended the worker for no doing of the film.
        """
        with self.writing() as db:
            if not counted:
                theirs = (jobs.c.owner == owner) & stands(jobs, JobState.LEASED)
                db.execute(update(jobs).where(theirs).values(attempts=jobs.c.attempts - 1))
            held = select(jobs.c.id, jobs.c.token).where(jobs.c.owner == owner, stands(jobs, JobState.LEASED))
            rows = db.execute(held).all()
            return sum(_give_back(db, row.id, row.token, max_attempts, error, now, mode) for row in rows)

    def postpone(
        self, job: Job, *, error: str, now: datetime, give_up_h: float = 24.0, mode: str = "enforce"
    ) -> bool:
        """Give a job back without counting the attempt: what went wrong was not the film's doing.

        The next claims pass it over for a while, longer after each time. Once these whiles are more
        than `give_up_h` hours together, it is parked for a person: True. They are counted, not measured, so
        that a clock that steps parks no film.

        Raises:
            StaleLease: somebody else holds the job by now.
        """
        with self.writing() as db:
            row = db.execute(select(jobs).where(_held_by(job))).one_or_none()
            if row is None:
                raise StaleLease(f"job {job.id} is no longer held under token {job.token}")
            if _put_off_s(row.postponed) >= 3600 * give_up_h:
                tried = f"not possible for {give_up_h:g} hours, {row.postponed + 1} tries: {error}"
                _set_aside(db, row, tried, now, mode)
                return True
            delay = timedelta(seconds=_delay_s(row.postponed))
            later = {"postponed": row.postponed + 1, "not_before": now + delay}
            back = {"attempts": row.attempts - 1, "owner": None, "error": error}
            move(db, jobs, job.id, JobState.LEASED, JobState.READY, **back, **later)
            return False

    def fail(self, job: Job, *, error: str, max_attempts: int, now: datetime, mode: str = "enforce") -> bool:
        """Report that an attempt failed: the job is ready again, or parked for a person: True.

        Raises:
            StaleLease: somebody else holds the job by now.
        """
        with self.writing() as db:
            if not _give_back(db, job.id, job.token, max_attempts, error, now, mode):
                raise StaleLease(f"job {job.id} is no longer held under token {job.token}")
            return db.scalar(select(jobs.c.state).where(jobs.c.id == job.id)) == JobState.PARKED

    def findings_of(self, version_id: int) -> tuple[Finding, ...]:
        """The last findings of the gates in one version of a film, as it was received."""
        its_film = select(versions.c.film_id).where(versions.c.id == version_id).scalar_subquery()
        of_version = (decisions.c.film_id == its_film) & (decisions.c.version_id == version_id)
        latest = select(func.max(decisions.c.id)).where(of_version)
        of_it = (findings.c.decision_id == latest.scalar_subquery()) & ~findings.c.of_copy
        with self.reading() as db:
            return tuple(
                found_of(row) for row in db.execute(select(findings).where(of_it).order_by(findings.c.id))
            )

    def was_observed(self, version_id: int) -> bool:
        """Whether the last decision on a version kept nothing from AI."""
        last = select(decisions.c.mode).where(decisions.c.version_id == version_id)
        its_film = select(versions.c.film_id).where(versions.c.id == version_id).scalar_subquery()
        last = last.where(decisions.c.film_id == its_film).order_by(decisions.c.id.desc()).limit(1)
        with self.reading() as db:
            return db.scalar(last) == "observe"

    def went_unseen(self, version_id: int, ai: Collection[str]) -> bool:
        """Whether one of `ai` was owed a version when it came, before any gate saw it."""
        owed = deliveries.c.destination.in_(ai) & (deliveries.c.kind == "always")
        of_it = (versions.c.film_id == deliveries.c.film_id) & (versions.c.digest == deliveries.c.digest)
        stands = deliveries.c.state != DeliveryState.CANCELLED
        query = select(exists().where(versions.c.id == version_id, of_it, owed, stands))
        with self.reading() as db:
            return bool(db.scalar(query))

    def judge(self, job: Job, judged: Judged, *, now: datetime) -> int:
        """End a job: findings, decision, copy, hold and deliveries, all or nothing; the decision's id.

        Raises:
            StaleLease: somebody else holds the job by now; nothing was written.
        """
        with self.writing() as db:
            _finish(db, job, now)
            return _judge(db, job, judged, now)

    def read(self, job: Job, read: Read, *, now: datetime) -> int:
        """End a reading: the result, what was made of it, and its deliveries, all or nothing; its id.

        Raises:
            StaleLease: somebody else holds the job by now; nothing was written.
        """
        assert job.reading is not None
        with self.writing() as db:
            _finish(db, job, now)
            end = DeliveryState.FAILED if read.error else DeliveryState.DELIVERED
            ended = {"ended_at": now, "error": read.error or None}
            move(db, deliveries, job.reading.id, DeliveryState.SENDING, end, **ended)
            what = "reading failed" if read.error else "read"
            trouble = {"error": read.error} if read.error else {}
            note(db, now, what, film_id=job.film_id, who=WHO, classifier=read.classifier, **trouble)
            return _keep_result(db, job.film_id, job.reading.id, read, now)

    def same_pixels(self, job: Job, *, header: Header | None = None, now: datetime) -> None:
        """End a job whose version shows the pixels that were judged before: nothing new for the AI.

        Its `header` may say something new of the patient: films are found by the latest one.

        Raises:
            StaleLease: somebody else holds the job by now.
        """
        with self.writing() as db:
            _finish(db, job, now)
            keep_header(db, job.film_id, job.version_id, header, now)
            note(db, now, "same pixels", film_id=job.film_id, who=WHO, version=job.version_id)


def _held_by(job: Job) -> ColumnElement[bool]:
    """Whether the worker that was given `job` still holds it."""
    return (jobs.c.id == job.id) & (jobs.c.token == job.token) & (jobs.c.state == JobState.LEASED)


def _delay_s(postponed: int) -> float:
    """How long a job that was put off so often before is left alone."""
    return min(FIRST_DELAY_S * 2.0 ** min(postponed, 30), LONGEST_DELAY_S)


def _put_off_s(postponed: int) -> float:
    """How long a job that was put off so often was left alone in all."""
    return sum(map(_delay_s, range(postponed)))


def _finish(db: Connection, job: Job, now: datetime) -> None:
    allowed(jobs, JobState.LEASED, JobState.DONE)
    done = db.execute(_FINISH, {"job_id": job.id, "its_token": job.token, "now": now})
    if done.rowcount != 1:
        raise StaleLease(f"job {job.id} is no longer held under token {job.token}")


def _give_back(
    db: Connection, job_id: int, token: int, max_attempts: int, error: str, now: datetime, mode: str
) -> bool:
    row = db.execute(select(jobs).where(jobs.c.id == job_id, jobs.c.token == token)).one_or_none()
    if row is None or row.state != JobState.LEASED:
        return False
    if row.attempts < max_attempts:
        return move(db, jobs, job_id, JobState.LEASED, JobState.READY, error=error, owner=None)
    _set_aside(db, row, error, now, mode)
    return True


def _set_aside(db: Connection, row: Any, error: str, now: datetime, mode: str) -> None:
    """Park a job for a person: a film is held, a reading has failed."""
    move(db, jobs, row.id, JobState.LEASED, JobState.PARKED, error=error, done_at=now)
    if row.delivery_id is None:
        _park(db, row, error, now, mode)
    else:
        ended = {"ended_at": now, "error": error}
        move(db, deliveries, row.delivery_id, DeliveryState.SENDING, DeliveryState.FAILED, **ended)
        note(db, now, "reading failed", film_id=row.film_id, who=WHO, error=error)


def _park(db: Connection, row: Any, error: str, now: datetime, mode: str) -> None:
    """A film that cannot be examined is held like any other, with its error as the why."""
    mode, reason = mode_of_version(db, row.version_id, mode, now), Reason.ATTEMPTS_EXHAUSTED
    decision = Decision(
        act=Act.QUARANTINE, reasons=(reason,), rule="parked", why=f"{REASON_TEXT[reason]}: {error}"
    )
    job = Job(row.id, row.film_id, row.version_id, "", "", row.attempts, row.token, now, None)
    _judge(db, job, Judged(decision, (), mode=mode, digests={}, hold=mode == "enforce"), now)


def _judge(db: Connection, job: Job, judged: Judged, now: datetime) -> int:
    enforced = judged.mode == "enforce"
    if enforced and (rejection := standing(db, job.film_id)) is not None:
        judged = overruled(judged, rejection)
    if judged.said is not None:
        reject_named(db, job.film_id, judged.said, withdraw=enforced, now=now)
    keep_header(db, job.film_id, job.version_id, judged.header, now)
    decision_id = _decide(db, job, judged, now)
    copy_id = keep_copy(db, job.film_id, decision_id, judged.copy, now) if judged.copy else None
    if enforced:  # observing, all was owed when it arrived
        take_back(db, job.film_id, job.version_id, now, keep=_stands(judged, job.digest))
    if judged.hold:
        if Reason.OTHER_PIXELS in judged.decision.reasons:
            put_back_readings(db, job.film_id, now)
        _hold(db, job, decision_id, copy_id, judged, now)
        keep_features(db, job.version_id, judged.findings)
        examine_again_if_answered(db, job.film_id, job.version_id, judged.decision.words)
    else:
        _no_longer_held(db, job, judged.decision.rulings, now)
    owe_original(db, job.film_id, job.version_id, judged.send_original_to, now)
    if judged.copy and copy_id is not None:
        owe_copy(db, copy_id, judged.send_copy_to, now)
    for read in judged.unread:
        _keep_result(db, job.film_id, None, read, now)
    detail = {"act": judged.decision.act, "rule": judged.decision.rule}
    note(db, now, "decided", film_id=job.film_id, who=WHO, **detail)
    return decision_id


def _decide(db: Connection, job: Job, judged: Judged, now: datetime) -> int:
    db.execute(_SUPERSEDE, {"its_film": job.film_id})
    decision = judged.decision
    row = {
        "film_id": job.film_id,
        "version_id": job.version_id,
        "act": decision.act,
        "mode": judged.mode,
        "rule": decision.rule,
        "why": decision.why,
        "reasons": list(decision.reasons),
        "flags": list(decision.flags),
        "trace": list(decision.trace),
        "digests": judged.digests,
        "decided_at": now,
        "grounds": sparse(judged.grounds) if judged.grounds else None,
        "uncertainty": uncertainty(judged.findings),
    }
    decision_id = inserted(db, decisions, row)
    keep_reasons(db, job.film_id, decision_id, decision)
    rows = [_finding(decision_id, f, of_copy=False) for f in judged.findings]
    rows += [_finding(decision_id, f, of_copy=True) for f in judged.copy_findings]
    if rows:
        db.execute(insert(findings), rows)
    return decision_id


def _finding(decision_id: int, found: Finding, *, of_copy: bool) -> dict[str, Any]:
    measured = {name: float(value) for name, value in found.facts if isfinite(value)}
    body = plain(found) | {"facts": measured}
    del body["place"]  # of a held film it has a row of its own
    gate, verdict = body.pop("gate"), body.pop("verdict")
    return {"decision_id": decision_id, "of_copy": of_copy, "gate": gate, "verdict": verdict, "body": body}


def found_of(row: Any) -> Finding:
    """A finding as it was kept: a row of the table."""
    facts = tuple(row.body.get("facts", {}).items())
    return from_plain(Finding, {**row.body, "gate": row.gate, "verdict": row.verdict, "facts": facts})


def keep_copy(db: Connection, film_id: int, decision_id: int, copy: CopyMade, now: datetime) -> int:
    """The copy's row; who makes the same copy a second time finds it."""
    same = (copies.c.film_id == film_id) & (copies.c.digest == copy.digest)
    copy_id = db.scalar(select(copies.c.id).where(same))
    if copy_id is not None:
        return int(copy_id)
    row = {
        "film_id": film_id,
        "decision_id": decision_id,
        "sop_instance_uid": copy.sop_instance_uid,
        "sop_class_uid": copy.sop_class_uid,
        "transfer_syntax_uid": copy.transfer_syntax_uid,
        "digest": copy.digest,
        "operations": copy.operations,
        "state": copy.state,
        "made_at": now,
    }
    return inserted(db, copies, row)


def _hold(
    db: Connection, job: Job, decision_id: int, copy_id: int | None, judged: Judged, now: datetime
) -> None:
    """Open a hold for this version; one that is still open for it is replaced, not doubled."""
    values = {
        "decision_id": decision_id,
        "copy_id": copy_id,
        "takers": list(judged.takers),
        "reasons": list(judged.decision.reasons),
        "why": judged.decision.why,
        "words": list(judged.decision.words) or None,
        "opened_at": now,
        **sorted_by(db, job.film_id, job.version_id, judged.decision.reasons, uncertainty(judged.findings)),
    }
    if db.execute(update(holds).where(_open_of(job)).values(**values)).rowcount == 0:
        row = {"film_id": job.film_id, "version_id": job.version_id, "state": HoldState.OPEN}
        db.execute(insert(holds).values(**row, **values))


def _no_longer_held(db: Connection, job: Job, rulings: Collection[Ruling], now: datetime) -> None:
    """Examined again, by itself or because people said once for all what words of its header mean."""
    allowed(holds, HoldState.OPEN, HoldState.SUPERSEDED)
    closing, who = _NO_LONGER_HELD, WHO
    if rulings:
        who = ", ".join(dict.fromkeys(ruling.by for ruling in rulings))[:128]
        note_text = "; ".join(f"{one.answer}: {one.word}. {one.note}".strip() for one in rulings)
        closing = closing.values(note=note_text)
    db.execute(closing, {"its_film": job.film_id, "its_version": job.version_id, "now": now, "who": who})


def _open_of(job: Job) -> ColumnElement[bool]:
    of_version = (holds.c.film_id == job.film_id) & (holds.c.version_id == job.version_id)
    return of_version & (holds.c.state == HoldState.OPEN)


def _stands(judged: Judged, digest: str) -> set[Owed]:
    """Deliveries that this decision owes to AI; the others that earlier ones owed are taken back."""
    if judged.hold:
        return set()
    originals = {(name, digest) for name in judged.send_original_to}
    return originals | {(name, judged.copy.digest) for name in judged.send_copy_to if judged.copy}


def _keep_result(db: Connection, film_id: int, delivery_id: int | None, read: Read, now: datetime) -> int:
    """A classifier's result takes the place of its last one on this film; its objects are owed."""
    same = (results.c.film_id == film_id) & (results.c.classifier == read.classifier)
    db.execute(update(results).where(same, ~results.c.superseded).values(superseded=True))
    row = {
        "film_id": film_id,
        "delivery_id": delivery_id,
        "classifier": read.classifier,
        "version": read.version,
        "model_digest": read.model_digest,
        "body": read.body,
        "made_at": now,
    }
    result_id = inserted(db, results, row)
    for made in read.made:
        keep_object(db, film_id, result_id, made, now)
    return result_id


def keep_object(db: Connection, film_id: int, result_id: int | None, made: Made, now: datetime) -> None:
    """The row of an object that we made, and its deliveries; the same bytes again are the same object."""
    same = (objects.c.film_id == film_id) & (objects.c.digest == made.digest)
    if db.execute(update(objects).where(same).values(result_id=result_id)).rowcount == 0:
        row = {
            "film_id": film_id,
            "result_id": result_id,
            "kind": made.kind,
            "sop_class_uid": made.sop_class_uid,
            "sop_instance_uid": made.sop_instance_uid,
            "transfer_syntax_uid": made.transfer_syntax_uid,
            "digest": made.digest,
            "made_at": now,
        }
        db.execute(insert(objects).values(**row))
    for name in made.to:
        owe(db, made, film_id, name, "result", now)


# Built once: to build them anew costs more than the ledger takes to answer.
_ITS_FILM: BindParameter[int] = bindparam("its_film")
_ITS_VERSION: BindParameter[int] = bindparam("its_version")
_NOW = bindparam("now", type_=UtcDateTime)
_FINISH = (
    update(jobs)
    .where(jobs.c.id == bindparam("job_id"), jobs.c.token == bindparam("its_token"))
    .where(jobs.c.state == JobState.LEASED)
    .values(state=JobState.DONE, done_at=_NOW, error=None)
)
_SUPERSEDE = (
    update(decisions).where(decisions.c.film_id == _ITS_FILM, ~decisions.c.superseded).values(superseded=True)
)
_NO_LONGER_HELD = (
    update(holds)
    .where(holds.c.film_id == _ITS_FILM, holds.c.version_id == _ITS_VERSION)
    .where(holds.c.state == HoldState.OPEN)
    .values(state=HoldState.SUPERSEDED, closed_at=_NOW, closed_by=bindparam("who"))
)
