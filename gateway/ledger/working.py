"""WORK: claims under a lease, heartbeats, and the one transaction that ends an examination."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime
from math import isfinite
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, insert, select, update

from gateway.errors import StaleLease
from gateway.ledger.engine import Database
from gateway.ledger.holding import Owed, put_back_readings, take_back, waits
from gateway.ledger.moves import allowed, inserted, move, note
from gateway.ledger.records import (
    ORDINARY,
    CopyMade,
    Delivery,
    DeliveryState,
    HoldState,
    Job,
    JobState,
    Judged,
    Made,
    Read,
)
from gateway.ledger.rejecting import overruled, reject_named, standing
from gateway.ledger.routing import delivery_of
from gateway.ledger.ruling import examine_again_if_answered
from gateway.ledger.tables import (
    copies,
    decisions,
    deliveries,
    findings,
    holds,
    instances,
    jobs,
    objects,
    results,
    versions,
)
from pipelines.film import REASON_TEXT, Act, Box, Decision, Finding, Operations, Reason, Ruling, Verdict

WHO = "worker"


class Working(Database):
    """What workers and the dispatcher write."""

    def ready_jobs(self, classifiers: Collection[str] = ()) -> int:
        """How many jobs wait for a worker; what is owed to one of `classifiers` is work of theirs, too."""
        ready = select(func.count()).where(jobs.c.state == JobState.READY)
        owed = select(func.count()).where(_owed_to(classifiers))
        with self.reading() as db:
            count = int(db.scalar(ready) or 0)
            return count + int(db.scalar(owed) or 0) if classifiers else count

    def claim(
        self, owner: str, classifiers: Collection[str] = (), *, passing_over: Collection[int] = ()
    ) -> Job | None:
        """Lease the next job, urgent ones first, then the oldest, low priority last; None when none is ready.

        One at a time, so that a film that kills its worker costs no other film an attempt. A later
        version waits until the earlier ones of its film are through. What is owed to one of `classifiers`
        becomes a job here. It goes before films of the same urgency that wait for the gates: its film was
        judged already, so it is the older one, and its result is not late however many wait. The jobs in
        `passing_over` are left for another time.
        """
        earlier = jobs.alias("earlier")
        waits = exists().where(
            earlier.c.film_id == jobs.c.film_id,
            earlier.c.id < jobs.c.id,
            earlier.c.state.in_((JobState.READY, JobState.LEASED)),
            earlier.c.delivery_id.is_(None),
            jobs.c.delivery_id.is_(None),
        )
        following = (
            select(jobs.c.id, jobs.c.rank)
            .where(jobs.c.state == JobState.READY, ~waits, jobs.c.id.not_in(passing_over))
            .order_by(jobs.c.rank, jobs.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)  # PostgreSQL; SQLite has one writer at a time anyway
        )
        allowed(jobs, JobState.READY, JobState.LEASED)
        with self.leasing() as db:
            job = db.execute(following).one_or_none()
            due = _next_reading(db, classifiers) if classifiers else None
            if due is not None and (job is None or due.rank <= job.rank):
                job_id = _begin_reading(db, due)
            elif job is not None:
                job_id = job.id
            else:
                return None
            db.execute(
                update(jobs)
                .where(jobs.c.id == job_id)
                .values(
                    state=JobState.LEASED,
                    owner=owner,
                    token=jobs.c.token + 1,
                    attempts=jobs.c.attempts + 1,
                    beat=0,
                )
            )
            return _job(db, job_id)

    def beat(self, owner: str) -> None:
        """Say that the worker `owner` still works on what it holds."""
        with self.leasing() as db:
            leased = (jobs.c.owner == owner) & (jobs.c.state == JobState.LEASED)
            db.execute(update(jobs).where(leased).values(beat=jobs.c.beat + 1))

    def leases(self) -> dict[int, tuple[int, int]]:
        """Job id -> (token, heartbeat counter) of every lease that is held."""
        with self.reading() as db:
            held = select(jobs.c.id, jobs.c.token, jobs.c.beat).where(jobs.c.state == JobState.LEASED)
            return {row.id: (row.token, row.beat) for row in db.execute(held)}

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
                theirs = (jobs.c.owner == owner) & (jobs.c.state == JobState.LEASED)
                db.execute(update(jobs).where(theirs).values(attempts=jobs.c.attempts - 1))
            held = select(jobs.c.id, jobs.c.token).where(
                jobs.c.owner == owner, jobs.c.state == JobState.LEASED
            )
            rows = db.execute(held).all()
            return sum(_give_back(db, row.id, row.token, max_attempts, error, now, mode) for row in rows)

    def postpone(self, job: Job, *, error: str) -> None:
        """Give a job back without counting the attempt: what went wrong was not the film's doing.

        Raises:
            StaleLease: somebody else holds the job by now.
        """
        with self.writing() as db:
            held = (jobs.c.id == job.id) & (jobs.c.token == job.token) & (jobs.c.state == JobState.LEASED)
            allowed(jobs, JobState.LEASED, JobState.READY)
            back = {"state": JobState.READY, "owner": None, "error": error, "attempts": jobs.c.attempts - 1}
            if db.execute(update(jobs).where(held).values(**back)).rowcount != 1:
                raise StaleLease(f"job {job.id} is no longer held under token {job.token}")

    def fail(self, job: Job, *, error: str, max_attempts: int, now: datetime, mode: str = "enforce") -> None:
        """Report that an attempt failed: the job is ready again, or parked for a person.

        Raises:
            StaleLease: somebody else holds the job by now.
        """
        with self.writing() as db:
            if not _give_back(db, job.id, job.token, max_attempts, error, now, mode):
                raise StaleLease(f"job {job.id} is no longer held under token {job.token}")

    def findings_of(self, version_id: int) -> tuple[Finding, ...]:
        """What the gates found last in one version of a film, as it was received."""
        latest = select(func.max(decisions.c.id)).where(decisions.c.version_id == version_id)
        of_it = (findings.c.decision_id == latest.scalar_subquery()) & ~findings.c.of_copy
        with self.reading() as db:
            return tuple(
                _found(row) for row in db.execute(select(findings).where(of_it).order_by(findings.c.id))
            )

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

    def same_pixels(self, job: Job, *, now: datetime) -> None:
        """End a job whose version shows the pixels that were judged before: nothing new for the AI.

        Raises:
            StaleLease: somebody else holds the job by now.
        """
        with self.writing() as db:
            _finish(db, job, now)
            note(db, now, "same pixels", film_id=job.film_id, who=WHO, version=job.version_id)


def _job(db: Connection, job_id: int) -> Job:
    row = db.execute(
        select(jobs, versions.c.digest, versions.c.received_at, instances.c.sop_instance_uid)
        .join(versions, versions.c.id == jobs.c.version_id)
        .join(instances, instances.c.id == jobs.c.film_id)
        .where(jobs.c.id == job_id)
    ).one()
    before = db.scalar(
        select(versions.c.digest)
        .where(versions.c.film_id == row.film_id, versions.c.id < row.version_id)
        .order_by(versions.c.id)
        .limit(1)
    )
    reading, operations = _what_to_read(db, row) if row.delivery_id is not None else (None, Operations())
    return Job(
        id=row.id,
        film_id=row.film_id,
        version_id=row.version_id,
        digest=row.digest,
        sop_instance_uid=row.sop_instance_uid,
        attempts=row.attempts,
        token=row.token,
        received_at=row.received_at,
        first_digest=before,
        reading=reading,
        operations=operations,
    )


def _what_to_read(db: Connection, job: Any) -> tuple[Delivery, Operations]:
    """What was handed to the classifier; when that is a corrected copy, what made it."""
    row = db.execute(select(deliveries).where(deliveries.c.id == job.delivery_id)).one()
    same = (copies.c.film_id == row.film_id) & (copies.c.digest == row.digest)
    told = db.scalar(select(copies.c.operations).where(same)) or {}
    crop = Box(**told["crop"]) if told.get("crop") else None
    operations = Operations(crop, told.get("turn", 0), told.get("invert", False), told.get("relabel", False))
    return delivery_of(row, attempts=row.attempts), operations


def _owed_to(classifiers: Collection[str]) -> ColumnElement[bool]:
    waiting = deliveries.c.state.in_((DeliveryState.PENDING, DeliveryState.RETRY))
    return waiting & deliveries.c.destination.in_(classifiers) & ~waits()


def _next_reading(db: Connection, classifiers: Collection[str]) -> Any:
    """The next delivery that is owed to a classifier, with the rank of its film."""
    ranks = select(func.min(jobs.c.rank)).where(
        jobs.c.film_id == deliveries.c.film_id, jobs.c.delivery_id.is_(None)
    )
    rank = func.coalesce(ranks.scalar_subquery(), ORDINARY).label("rank")
    owed = (
        select(deliveries, rank)
        .where(_owed_to(classifiers))
        .order_by(rank, deliveries.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=deliveries)
    )
    return db.execute(owed).one_or_none()


def _begin_reading(db: Connection, due: Any) -> int:
    """The job that a delivery to a classifier becomes; the delivery is `sending` while it lives."""
    counted = {"attempts": due.attempts + 1}
    move(db, deliveries, due.id, due.state, DeliveryState.SENDING, **counted)
    row = {
        "film_id": due.film_id,
        "version_id": _version_read(db, due),
        "delivery_id": due.id,
        "state": JobState.READY,
        "rank": due.rank,
        "created_at": due.created_at,
    }
    return inserted(db, jobs, row)


def _version_read(db: Connection, delivery: Any) -> int:
    """The version that is read, or that the copy which is read was made of."""
    its = (versions.c.film_id == delivery.film_id) & (versions.c.digest == delivery.digest)
    of_copy = (
        select(decisions.c.version_id)
        .join(copies, copies.c.decision_id == decisions.c.id)
        .where(copies.c.film_id == delivery.film_id, copies.c.digest == delivery.digest)
    )
    latest = select(func.max(versions.c.id)).where(versions.c.film_id == delivery.film_id)
    found = db.scalar(select(versions.c.id).where(its)) or db.scalar(of_copy) or db.scalar(latest)
    assert found is not None
    return int(found)


def _finish(db: Connection, job: Job, now: datetime) -> None:
    allowed(jobs, JobState.LEASED, JobState.DONE)
    held = (jobs.c.id == job.id) & (jobs.c.token == job.token) & (jobs.c.state == JobState.LEASED)
    done = db.execute(update(jobs).where(held).values(state=JobState.DONE, done_at=now, error=None))
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
    move(db, jobs, job_id, JobState.LEASED, JobState.PARKED, error=error, done_at=now)
    if row.delivery_id is None:
        _park(db, row, error, now, mode)
    else:
        ended = {"ended_at": now, "error": error}
        move(db, deliveries, row.delivery_id, DeliveryState.SENDING, DeliveryState.FAILED, **ended)
        note(db, now, "reading failed", film_id=row.film_id, who=WHO, error=error)
    return True


def _park(db: Connection, row: Any, error: str, now: datetime, mode: str) -> None:
    """A film that cannot be examined is held like any other, with its error as the why."""
    reason = Reason.ATTEMPTS_EXHAUSTED
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
    decision_id = _decide(db, job, judged, now)
    copy_id = keep_copy(db, job.film_id, decision_id, judged.copy, now) if judged.copy else None
    if enforced:  # observing, all was owed when it arrived
        take_back(db, job.film_id, job.version_id, now, keep=_stands(judged, job.digest))
    if judged.hold:
        if Reason.OTHER_PIXELS in judged.decision.reasons:
            put_back_readings(db, job.film_id, now)
        _hold(db, job, decision_id, copy_id, judged, now)
        examine_again_if_answered(db, job.version_id, judged.decision.words)
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
    of_film = decisions.c.film_id == job.film_id
    db.execute(update(decisions).where(of_film, ~decisions.c.superseded).values(superseded=True))
    made = judged.decision
    row = {
        "film_id": job.film_id,
        "version_id": job.version_id,
        "act": made.act,
        "mode": judged.mode,
        "rule": made.rule,
        "why": made.why,
        "reasons": list(made.reasons),
        "flags": list(made.flags),
        "trace": list(made.trace),
        "digests": judged.digests,
        "decided_at": now,
    }
    decision_id = inserted(db, decisions, row)
    rows = [_finding(decision_id, f, of_copy=False) for f in judged.findings]
    rows += [_finding(decision_id, f, of_copy=True) for f in judged.copy_findings]
    if rows:
        db.execute(insert(findings), rows)
    return decision_id


def _finding(decision_id: int, found: Finding, *, of_copy: bool) -> dict[str, Any]:
    measured = {name: float(value) for name, value in found.facts if isfinite(value)}
    body = asdict(found) | {"facts": measured}
    gate, verdict = body.pop("gate"), body.pop("verdict")
    return {"decision_id": decision_id, "of_copy": of_copy, "gate": gate, "verdict": verdict, "body": body}


def _found(row: Any) -> Finding:
    """A finding as it was kept."""
    body = {"facts": {}, **row.body}
    box, reason = body["box"], body["reason"]
    kept = {name: body[name] for name in ("score", "low", "high", "detail", "model_digest")}
    return Finding(
        row.gate,
        Verdict(row.verdict),
        reason=Reason(reason) if reason else None,
        box=Box(**box) if box else None,
        facts=tuple(body["facts"].items()),
        **kept,
    )


def keep_copy(db: Connection, film_id: int, decision_id: int, copy: CopyMade, now: datetime) -> int:
    """The copy's row; who makes the same copy a second time finds it."""
    same = (copies.c.film_id == film_id) & (copies.c.digest == copy.digest)
    found = db.scalar(select(copies.c.id).where(same))
    if found is not None:
        return int(found)
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
    }
    if db.execute(update(holds).where(_open_of(job)).values(**values)).rowcount == 0:
        row = {"film_id": job.film_id, "version_id": job.version_id, "state": HoldState.OPEN}
        db.execute(insert(holds).values(**row, **values))


def _no_longer_held(db: Connection, job: Job, rulings: Collection[Ruling], now: datetime) -> None:
    """Examined again, by itself or because people said once for all what words of its header mean."""
    allowed(holds, HoldState.OPEN, HoldState.SUPERSEDED)
    closed = {"state": HoldState.SUPERSEDED, "closed_at": now, "closed_by": WHO}
    if rulings:
        closed["closed_by"] = ", ".join(dict.fromkeys(ruling.by for ruling in rulings))[:128]
        closed["note"] = "; ".join(f"{one.answer}: {one.word}. {one.note}".strip() for one in rulings)
    db.execute(update(holds).where(_open_of(job)).values(**closed))


def _open_of(job: Job) -> ColumnElement[bool]:
    return (holds.c.version_id == job.version_id) & (holds.c.state == HoldState.OPEN)


def _stands(judged: Judged, digest: str) -> set[Owed]:
    """What this decision owes to AI; the rest of what earlier ones owed is taken back."""
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
        _owe(db, made, film_id, name, "result", now)


def owe_original(
    db: Connection, film_id: int, version_id: int, destinations: tuple[str, ...], now: datetime
) -> None:
    """Owe one version of a film, as it was received, to AI destinations."""
    row = db.execute(
        select(versions, instances.c.sop_instance_uid)
        .join(instances, instances.c.id == versions.c.film_id)
        .where(versions.c.id == version_id)
    ).one()
    for name in destinations:
        _owe(db, row, film_id, name, "ai", now)


def owe_copy(db: Connection, copy_id: int, destinations: tuple[str, ...], now: datetime) -> None:
    """Owe a corrected copy to AI destinations."""
    row = db.execute(select(copies).where(copies.c.id == copy_id)).one()
    for name in destinations:
        _owe(db, row, row.film_id, name, "copy", now)


def _owe(db: Connection, row: Any, film_id: int, destination: str, kind: str, now: datetime) -> None:
    same = (deliveries.c.film_id == film_id) & (deliveries.c.destination == destination)
    found = db.execute(select(deliveries).where(same, deliveries.c.digest == row.digest)).one_or_none()
    if found is not None:
        if found.state in (DeliveryState.FAILED, DeliveryState.CANCELLED):
            again = {"next_at": now, "created_at": now, "ended_at": None, "tries": 0}
            move(db, deliveries, found.id, found.state, DeliveryState.PENDING, **again)
        return
    db.execute(
        insert(deliveries).values(
            film_id=film_id,
            destination=destination,
            kind=kind,
            digest=row.digest,
            sop_class_uid=row.sop_class_uid,
            sop_instance_uid=row.sop_instance_uid,
            transfer_syntax_uid=row.transfer_syntax_uid,
            state=DeliveryState.PENDING,
            next_at=now,
            created_at=now,
        )
    )
