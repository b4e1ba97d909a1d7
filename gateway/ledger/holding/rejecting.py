"""HOLD, by others: what a room or the archive rejected goes to no AI, now or when it comes again.

IHE IOCM: a Key Object Selection names the instances. What is on the wire already cannot be called back. A
person who gates such a film again, knowing that it was rejected, takes the rejection back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, exists, insert, select, update

from gateway.ledger.holding.taking_back import standing, take_back
from gateway.ledger.moves import FROM_THE_START, allowed, inserted, note
from gateway.ledger.records import HoldState, JobState, Judged, Said
from gateway.ledger.searching.keeping import keep_reasons, keep_unread
from gateway.ledger.tables import copies, decisions, events, holds, instances, jobs, rejections, versions
from pipelines.film import REASON_TEXT, REJECTION_TITLES, Act, Decision, Reason

RULE = "rejected"
TAKEN_BACK = "rejection taken back"
WHO = "worker"
_CHUNK = 400  # UIDs of one look, and as many originals of copies: SQLite takes 999 in one IN (...)


def reject_named(db: Connection, film_id: int, said: Said, *, withdraw: bool, now: datetime) -> int:
    """Note what the document `film_id` rejects and, with `withdraw`, keep it from AI; how many that were.

    To reject a corrected copy is to reject the film that it shows. Where a person took this very document
    back, it stays taken back, in whatever version it comes again.
    """
    named, count = said.rejected.instances, 0
    for start in range(0, len(named), _CHUNK):
        chunk = _with_originals(db, named[start : start + _CHUNK])
        chunk -= _taken_back(db, film_id, chunk)
        known = select(rejections.c.sop_instance_uid).where(rejections.c.sop_instance_uid.in_(chunk))
        seen = set(db.scalars(known))
        rows = [_row(uid, film_id, said, now) for uid in sorted(chunk - seen)]
        if rows:
            db.execute(insert(rejections), rows)
        if withdraw:
            of_others = instances.c.sop_instance_uid.in_(chunk) & ~instances.c.ours
            for film in db.scalars(select(instances.c.id).where(of_others)).all():
                _withdraw(db, film, said, now)
                count += 1
    detail = {"code": said.rejected.code, "instances": len(named), "films": count, "sender": said.sender}
    note(db, now, "rejects", film_id=film_id, who=WHO, **detail)
    return count


def overruled(judged: Judged, rejection: Any) -> Judged:
    """An examination whose film was rejected meanwhile: of it only the findings are left."""
    return replace(
        judged,
        decision=withheld(rejection, judged.decision),
        copy=None,
        copy_findings=(),
        send_original_to=(),
        send_copy_to=(),
        hold=False,
        grounds=None,
    )


def withheld(rejection: Any, decision: Decision | None = None) -> Decision:
    """The decision on a film that was rejected; `decision` is what it would have been."""
    why = f"{REASON_TEXT[Reason.REJECTED]}: {in_words(rejection)}"
    return replace(
        decision or Decision(Act.WITHHOLD),
        act=Act.WITHHOLD,
        reasons=(Reason.REJECTED,),
        rule=RULE,
        why=why,
        destinations=(),
        words=(),
    )


def in_words(rejection: Any) -> str:
    """Who said it, when, and what."""
    by = f" by {rejection.sender}" if rejection.sender else ""
    title = REJECTION_TITLES.get(rejection.code, rejection.code)
    return f"{title}{by} on {rejection.said_at:%Y-%m-%d %H:%M} UTC"


def lift(db: Connection, film_id: int, by: str, now: datetime) -> None:
    """A person gates the film again, knowing that it was rejected; so are versions that came since."""
    rejection = standing(db, film_id)
    if rejection is None:
        return
    db.execute(delete(rejections).where(rejections.c.sop_instance_uid == rejection.sop_instance_uid))
    note(db, now, TAKEN_BACK, film_id=film_id, who=by, document=rejection.film_id)
    allowed(jobs, JobState.DONE, JobState.READY)
    judged = exists().where(decisions.c.film_id == film_id, decisions.c.version_id == jobs.c.version_id)
    passed_over = (jobs.c.film_id == film_id) & jobs.c.delivery_id.is_(None) & ~judged
    done = update(jobs).where(passed_over, jobs.c.state == JobState.DONE)
    db.execute(done.values(state=JobState.READY, **FROM_THE_START))


def write_withheld(db: Connection, film_id: int, version_id: int, decision: Decision, now: datetime) -> None:
    """The row of a decision that needed no look at the pixels."""
    row = {
        "film_id": film_id,
        "version_id": version_id,
        "act": decision.act,
        "mode": "enforce",
        "rule": decision.rule,
        "why": decision.why,
        "reasons": list(decision.reasons),
        "flags": list(decision.flags),
        "trace": list(decision.trace),
        "digests": {},
        "decided_at": now,
    }
    keep_reasons(db, film_id, inserted(db, decisions, row), decision)
    keep_unread(db, film_id, version_id)


def _with_originals(db: Connection, uids: Sequence[str]) -> set[str]:
    """These, and of corrected copies among them the films that they were made of."""
    made_of = select(instances.c.sop_instance_uid).join(copies, copies.c.film_id == instances.c.id)
    return {*uids, *db.scalars(made_of.where(copies.c.sop_instance_uid.in_(uids)))}


def _taken_back(db: Connection, document: int, uids: set[str]) -> set[str]:
    """Those of these instances that a person gated again, knowing that this document rejects them."""
    taken_back = (
        select(instances.c.sop_instance_uid, events.c.detail)
        .join(events, events.c.film_id == instances.c.id)
        .where(instances.c.sop_instance_uid.in_(uids), events.c.what == TAKEN_BACK)
    )
    return {row.sop_instance_uid for row in db.execute(taken_back) if row.detail["document"] == document}


def _row(uid: str, film_id: int, said: Said, now: datetime) -> dict[str, Any]:
    sender, code = said.sender, said.rejected.code
    return {"sop_instance_uid": uid, "code": code, "sender": sender, "film_id": film_id, "said_at": now}


def _withdraw(db: Connection, film_id: int, said: Said, now: datetime) -> None:
    """No AI gets the film; the newest decision on it is superseded, its holds are closed."""
    by = said.sender or "a Key Object"
    rejection = standing(db, film_id)
    its = (holds.c.film_id == film_id) & (holds.c.state == HoldState.OPEN)
    allowed(holds, HoldState.OPEN, HoldState.REJECTED)
    closed = {"state": HoldState.REJECTED, "closed_at": now, "closed_by": by, "note": in_words(rejection)}
    db.execute(update(holds).where(its).values(**closed))
    for version_id in _ids(db, film_id):
        take_back(db, film_id, version_id, now)
    current = (decisions.c.film_id == film_id) & ~decisions.c.superseded
    decided = db.execute(select(decisions).where(current)).first()
    if decided is not None and decided.rule != RULE:
        db.execute(update(decisions).where(current).values(superseded=True))
        write_withheld(db, film_id, decided.version_id, withheld(rejection), now)
    note(db, now, "rejected", film_id=film_id, who=by, code=said.rejected.code)


def _ids(db: Connection, film_id: int) -> Sequence[int]:
    return db.scalars(select(versions.c.id).where(versions.c.film_id == film_id)).all()
