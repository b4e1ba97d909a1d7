"""HOLD: what keeps a film from AI, and takes back what AI is owed of it already.

A held film is neither sent to AI nor read, whoever has it in hand. Nor is one that was withheld or rejected
meanwhile, nor the original of one that was corrected. What is taken back is `cancelled`: a release owes it
anew. What is on the wire already cannot be called back; it is not tried a second time. While a second picture
under one UID is held, readings of the first one wait: which of them is the patient's is not known.

A rejection comes from a room or the archive: a Key Object Selection names the instances (IHE IOCM), whether
they are here already or come later. A person who gates such a film again, knowing that it was rejected, takes
the rejection back.

A ruling is what a person said once for all of a word in the headers of one sender; the films that wait for it
are examined again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    cast,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from gateway.errors import NotFound
from gateway.ledger.engine import Database
from gateway.ledger.moves import FROM_THE_START, allowed, inserted, move, note, stands
from gateway.ledger.records import DeliveryState, HoldState, JobState, Judged, Question, Said
from gateway.ledger.tables import (
    associations,
    copies,
    decisions,
    deliveries,
    events,
    holds,
    instances,
    jobs,
    rejections,
    rulings,
    versions,
)
from pipelines.film import REASON_TEXT, REJECTION_TITLES, Act, Answer, Decision, Reason, Ruling, Sender

TO_AI = frozenset({"ai", "copy"})  # kinds of deliveries
WAITING = (DeliveryState.PENDING, DeliveryState.RETRY)
IN_HAND = (JobState.READY, JobState.LEASED)
Owed = tuple[str, str]  # destination, digest

WHO = "worker"
RULE = "rejected"
TAKEN_BACK = "rejection taken back"
_UIDS_AT_ONCE = 400  # UIDs of one look, and as many originals of copies: SQLite takes 999 in one IN (...)


# Deliveries and readings that are taken back


def take_back(
    db: Connection,
    film_id: int,
    version_id: int,
    now: datetime,
    *,
    kinds: Collection[str] = TO_AI,
    keep: Collection[Owed] = (),
) -> int:
    """Stop what is owed to AI of one version and is not gone yet; how much that was.

    A reading that a worker has in hand is parked: its result finds no lease any more, and is not kept.
    """
    its = _digests(db, film_id, version_id)
    to_ai = (deliveries.c.film_id == film_id) & deliveries.c.kind.in_(kinds)
    stopped = [
        row.destination
        for row in db.execute(select(deliveries).where(to_ai, deliveries.c.digest.in_(its)))
        if (row.destination, row.digest) not in keep and _stopped(db, row, now)
    ]
    if stopped:
        note(db, now, "taken back", film_id=film_id, who=WHO, version=version_id, destinations=stopped)
    return len(stopped)


def take_back_unowed(db: Connection, film_ids: Iterable[int], now: datetime | None = None) -> int:
    """The same for all of these films of which the last word is another by now: what was on its way, or had
    failed, goes no second time. `now`: else the time of that word."""
    count = 0
    for film_id in set(film_ids):
        rejected = standing(db, film_id) is not None  # all its versions are, whatever was said of each
        enforced = (decisions.c.film_id == film_id) & (decisions.c.mode == "enforce")
        latest = select(func.max(decisions.c.id)).where(decisions.c.film_id == film_id)
        last = enforced & decisions.c.id.in_(latest.group_by(decisions.c.version_id))
        for decision in db.execute(select(decisions).where(last)).all():
            if kinds := TO_AI if rejected else TO_AI - _owed_by(db, decision):
                at = now or decision.decided_at
                count += take_back(db, film_id, decision.version_id, at, kinds=kinds)
    return count


def _owed_by(db: Connection, decision: Any) -> frozenset[str]:
    """The kinds of deliveries that stand by the last word on a version: a decision, or a person's on it."""
    of_it = (holds.c.film_id == decision.film_id) & (holds.c.decision_id == decision.id)
    state = db.scalar(select(holds.c.state).where(of_it))
    if state == HoldState.RELEASED or (state is None and decision.act == Act.PASS):
        return frozenset({"ai"})
    if state == HoldState.CORRECTED or (state is None and decision.act == Act.CORRECT):
        return frozenset({"copy"})
    return frozenset()


def standing(db: Connection, film_id: int) -> Any | None:
    """The rejection by a Key Object that stands for a film, or None."""
    its = select(rejections).join(instances, instances.c.sop_instance_uid == rejections.c.sop_instance_uid)
    return db.execute(its.where(instances.c.id == film_id)).one_or_none()


def put_back_readings(db: Connection, film_id: int, now: datetime) -> None:
    """Readings of a film that workers have in hand wait again, `waits` says for how long."""
    in_hand = (jobs.c.film_id == film_id) & jobs.c.delivery_id.is_not(None) & jobs.c.state.in_(IN_HAND)
    for job in db.execute(select(jobs).where(in_hand)).all():
        move(db, jobs, job.id, job.state, JobState.PARKED, done_at=now, owner=None)
        back = {"next_at": now}
        move(db, deliveries, job.delivery_id, DeliveryState.SENDING, DeliveryState.PENDING, **back)


def _stopped(db: Connection, delivery: Any, now: datetime) -> bool:
    """Cancel one delivery unless it is on the wire; False when there was nothing to stop."""
    if delivery.state in WAITING:
        return move(db, deliveries, delivery.id, delivery.state, DeliveryState.CANCELLED, ended_at=now)
    if delivery.state != DeliveryState.SENDING:
        return False
    reading = (jobs.c.delivery_id == delivery.id) & jobs.c.state.in_(IN_HAND)
    job = db.execute(select(jobs).where(reading)).one_or_none()
    if job is None:
        return False
    move(db, jobs, job.id, job.state, JobState.PARKED, done_at=now, owner=None)
    return move(db, deliveries, delivery.id, delivery.state, DeliveryState.CANCELLED, ended_at=now)


def _digests(db: Connection, film_id: int, version_id: int) -> set[str]:
    """Of one version of a film, and of the copies that were made of it."""
    made_of_it = (
        select(copies.c.digest)
        .join(decisions, decisions.c.id == copies.c.decision_id)
        .where(copies.c.film_id == film_id, decisions.c.version_id == version_id)
    )
    own = select(versions.c.digest).where(versions.c.id == version_id)
    return {*db.scalars(own), *db.scalars(made_of_it)}


# Rejections


def reject_named(db: Connection, film_id: int, said: Said, *, withdraw: bool, now: datetime) -> int:
    """Note what the document `film_id` rejects and, with `withdraw`, keep it from AI; how many that were.

    Who rejects a corrected copy rejects the film that it shows. What a person took back of this very document
    stays taken back, in whatever version it comes again.
    """
    named, count = said.rejected.instances, 0
    for start in range(0, len(named), _UIDS_AT_ONCE):
        chunk = _with_originals(db, named[start : start + _UIDS_AT_ONCE])
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
    """What is left of an examination when the film was rejected meanwhile: the findings."""
    return replace(
        judged,
        decision=withheld(rejection, judged.decision),
        copy=None,
        copy_findings=(),
        send_original_to=(),
        send_copy_to=(),
        hold=False,
    )


def withheld(rejection: Any, made: Decision | None = None) -> Decision:
    """The decision on a film that was rejected; `made` is what it would have been."""
    why = f"{REASON_TEXT[Reason.REJECTED]}: {in_words(rejection)}"
    return replace(
        made or Decision(Act.WITHHOLD),
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


def write_withheld(db: Connection, film_id: int, version_id: int, made: Decision, now: datetime) -> None:
    """The row of a decision that needed no look at the pixels."""
    row = {
        "film_id": film_id,
        "version_id": version_id,
        "act": made.act,
        "mode": "enforce",
        "rule": made.rule,
        "why": made.why,
        "reasons": list(made.reasons),
        "flags": list(made.flags),
        "trace": list(made.trace),
        "digests": {},
        "decided_at": now,
    }
    db.execute(insert(decisions).values(**row))


def _with_originals(db: Connection, uids: Sequence[str]) -> set[str]:
    """These, and of corrected copies among them the films that they were made of."""
    made_of = select(instances.c.sop_instance_uid).join(copies, copies.c.film_id == instances.c.id)
    return {*uids, *db.scalars(made_of.where(copies.c.sop_instance_uid.in_(uids)))}


def _taken_back(db: Connection, document: int, uids: set[str]) -> set[str]:
    """Those of these instances that a person gated again, knowing that this document rejects them."""
    said = (
        select(instances.c.sop_instance_uid, events.c.detail)
        .join(events, events.c.film_id == instances.c.id)
        .where(instances.c.sop_instance_uid.in_(uids), events.c.what == TAKEN_BACK)
    )
    return {row.sop_instance_uid for row in db.execute(said) if row.detail["document"] == document}


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


# Rulings


class Answering(Database):
    """What the command line writes of words, and what workers read of it."""

    def sender_of(self, version_id: int) -> Sender:
        """Who sent one version of a film, with the rulings in force."""
        with self.reading() as db:
            ae_title = sender_title(db, version_id)
            return Sender(ae_title, tuple(map(_ruling, db.execute(_in_force(ae_title)))))

    def rulings(self, *, ended: bool = False) -> list[Ruling]:
        """The rulings in force, oldest first; with `ended` also those that were taken back or replaced."""
        query = select(rulings).order_by(rulings.c.id)
        with self.reading() as db:
            return [_ruling(row) for row in db.execute(query if ended else query.where(_IN_FORCE))]

    def questions(self) -> list[Question]:
        """What waits for an answer, the oldest first: a sender and a word an item."""
        waiting: dict[tuple[str, str], list[Any]] = {}
        with self.reading() as db:
            for row in db.execute(_WAITING_FOR_WORDS):
                for word in row.words:
                    waiting.setdefault((row.sender, word), []).append(row)
        return [
            Question(sender, word, tuple(dict.fromkeys(row.film_id for row in rows)), rows[0].opened_at)
            for (sender, word), rows in waiting.items()
        ]

    def rule(
        self, sender: str, word: str, answer: Answer, *, by: str, note_text: str, now: datetime
    ) -> tuple[int, ...]:
        """Keep what a person said; it takes the place of what was said before.

        The films that wait for it are examined again under it. Their ids.
        """
        row = {"sender": sender, "word": word, "answer": answer, "said_by": by, "said_at": now}
        with self.writing() as db:
            _end(db, sender, word, by, now)
            inserted(db, rulings, {**row, "note": note_text})
            note(
                db,
                now,
                "ruling",
                film_id=None,
                who=by,
                sender=sender,
                word=word,
                answer=answer,
                note=note_text,
            )
            named = cast(holds.c.words, Text).contains(f'"{word}"', autoescape=True)
            waiting = db.execute(_WAITING_FOR_WORDS.where(_CALLING.in_((sender,)), named))
            films = tuple(dict.fromkeys(row.film_id for row in waiting))
            for start in range(0, len(films), _FILMS_AT_ONCE):
                _examine_again(db, films[start : start + _FILMS_AT_ONCE])
            told = {"at": now, "what": "gate again", "who": by, "detail": {"ruling": f"{answer}: {word}"}}
            if films:
                db.execute(insert(events), [told | {"film_id": film_id} for film_id in films])
            return films

    def take_back(self, sender: str, word: str, *, by: str, note_text: str, now: datetime) -> None:
        """End the ruling in force: films that come from now on wait for a person again.

        Raises:
            NotFound: there is none.
        """
        with self.writing() as db:
            if not _end(db, sender, word, by, now):
                raise NotFound(
                    f"there is no ruling on {word} from {sender or 'unknown senders'}. Nothing was changed. "
                    "See `filmgate quarantine rulings`."
                )
            note(db, now, "ruling taken back", film_id=None, who=by, sender=sender, word=word, note=note_text)


_FILMS_AT_ONCE = 500  # ids in one IN (...): SQLite takes 999 at least
_IN_FORCE = rulings.c.ended_at.is_(None)
_CALLING: ColumnElement[str] = func.coalesce(associations.c.calling, "")
_SENDER = _CALLING.label("sender")
_WAITING_FOR_WORDS = (
    select(holds.c.film_id, holds.c.version_id, holds.c.words, holds.c.opened_at, _SENDER)
    .join(versions, versions.c.id == holds.c.version_id)
    .outerjoin(associations, associations.c.id == versions.c.association_id)
    .where(stands(holds, HoldState.OPEN), holds.c.words.is_not(None))
    .order_by(holds.c.id)
)


def examine_again_if_answered(db: Connection, film_id: int, version_id: int, words: Collection[str]) -> None:
    """Somebody spoke while the film was examined: it does not wait for what was answered by now."""
    given = db.execute(_in_force(sender_title(db, version_id))).all()
    if any(row.word in words for row in given):
        _ready(db, (jobs.c.film_id == film_id) & (jobs.c.version_id == version_id))


def sender_title(db: Connection, version_id: int) -> str:
    """The calling AE title of the association that brought a version; "" where nobody knows."""
    calling = (
        select(associations.c.calling)
        .join(versions, versions.c.association_id == associations.c.id)
        .where(versions.c.id == version_id)
    )
    return str(db.scalar(calling) or "")


def _in_force(sender: str) -> Select[Any]:
    return select(rulings).where(_IN_FORCE, rulings.c.sender == sender).order_by(rulings.c.id)


def _end(db: Connection, sender: str, word: str, by: str, now: datetime) -> bool:
    stands = _IN_FORCE & (rulings.c.sender == sender) & (rulings.c.word == word)
    return db.execute(update(rulings).where(stands).values(ended_by=by, ended_at=now)).rowcount > 0


def _examine_again(db: Connection, films: Collection[int]) -> None:
    """All versions of them that are held, in their order: the decision on the last one is the film's."""
    of_them = holds.c.film_id.in_(films) & (holds.c.state == HoldState.OPEN)
    held = select(holds.c.version_id).where(of_them)
    _ready(db, jobs.c.film_id.in_(films) & jobs.c.version_id.in_(held))


def _ready(db: Connection, which: ColumnElement[bool]) -> None:
    """Those that are ready or in hand are examined under the ruling anyway."""
    for state in (JobState.DONE, JobState.PARKED):
        allowed(jobs, state, JobState.READY)
    ended = jobs.c.state.in_((JobState.DONE, JobState.PARKED)) & jobs.c.delivery_id.is_(None)
    db.execute(update(jobs).where(which, ended).values(state=JobState.READY, **FROM_THE_START))


def _ruling(row: Any) -> Ruling:
    return Ruling(
        sender=row.sender,
        word=row.word,
        answer=Answer(row.answer),
        by=row.said_by,
        at=row.said_at,
        note=row.note,
        ended_by=row.ended_by,
        ended_at=row.ended_at,
    )
