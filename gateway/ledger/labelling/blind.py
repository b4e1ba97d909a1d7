"""The blind check: passed films that come up for a person who does not know that they passed.

Which films are drawn is a keyed hash of the film: nobody can foresee it, a restart changes nothing, and the
share of all passed films is drawn whatever people do. Some films that were held are drawn as well, so that
who looks does not know what a film is; they count for nothing.
"""

from __future__ import annotations

import hmac
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    case,
    exists,
    func,
    literal,
    select,
    update,
)

from gateway.errors import NotFound
from gateway.ledger.engine import Database
from gateway.ledger.labelling.derived import ALL_RIGHT
from gateway.ledger.labelling.saying import say_labels
from gateway.ledger.labelling.tables import blind_checks, blind_counts, labelling, labels
from gateway.ledger.labelling.words import Said, What
from gateway.ledger.moves import note, upsert
from gateway.ledger.tables import associations, decisions, findings, instances, versions
from pipelines.film import Act

PPM = 1_000_000
AT_ONCE = 2_000  # decisions that are looked through in one transaction
HELD_TIMES = 5  # of held films so many times the share is drawn: about a third of what comes up


@dataclass(frozen=True, slots=True)
class BlindFilm:
    """A film that comes up. Whether it passed is not told before the answer."""

    id: int
    film_id: int
    digest: str
    waiting: int  # films that wait, this one included


@dataclass(frozen=True, slots=True)
class BlindAnswer:
    """What came of an answer."""

    film_id: int
    passed: bool  # whether the gates had let it through
    good: bool
    labels: tuple[int, ...]  # ids


@dataclass(frozen=True, slots=True)
class Sampled:
    """What was seen of passed films, of one sender or all, of which one share was drawn."""

    sender: str | None  # None: all of them
    share_ppm: int
    passed: int  # films that passed
    drawn: int
    answered: int
    bad: int


class BlindChecking(Database):
    """Draws films, asks for the next, keeps answers, counts."""

    def draw_blind(self, share: float, *, most: int = AT_ONCE) -> int:
        """Look through the next decisions and draw from them; how many were looked through.

        Nothing waits for this: films are on their way already.
        """
        share_ppm = round(share * PPM)
        with self.reading() as db:
            state = db.execute(select(labelling)).one()
            rows = db.execute(_DECIDED, {"after": state.last_decision_id, "most": most}).all()
        if not rows:
            return 0
        secret = bytes.fromhex(state.secret)
        drawn = [row for row in rows if row.counts and _is_drawn(secret, row, share_ppm)]
        counted = Counter(_day_and_sender(row) for row in rows if row.counts and row.act == Act.PASS)
        taken = Counter(_day_and_sender(row) for row in drawn if row.act == Act.PASS)
        with self.writing(quiet=True) as db:
            its = labelling.c.last_decision_id == state.last_decision_id  # else another console was faster
            moved = update(labelling).where(its).values(last_decision_id=rows[-1].decision_id)
            if db.execute(moved).rowcount == 1:
                _keep(db, drawn, share_ppm)
                for (day, sender), count in counted.items():
                    _count(db, day, sender, share_ppm, count, taken[day, sender])
        return len(rows)

    def next_blind(self, by: str) -> BlindFilm | None:
        """The film that comes up next for this person: none that they spoke of before."""
        its_own = (labels.c.film_id == blind_checks.c.film_id) & (labels.c.said_by == by)
        spoken = exists().where(its_own, labels.c.ended_at.is_(None))
        waiting = _WAITING & ~spoken
        query = (
            select(blind_checks).where(waiting).order_by(blind_checks.c.put_off, blind_checks.c.id).limit(1)
        )
        with self.reading() as db:
            row = db.execute(query).one_or_none()
            if row is None:
                return None
            count = db.scalar(select(func.count()).select_from(blind_checks).where(waiting)) or 0
            return BlindFilm(row.id, row.film_id, row.digest, count)

    def put_off_blind(self, check_id: int) -> None:
        """Let another film come first."""
        later = update(blind_checks).where(blind_checks.c.id == check_id, _WAITING)
        with self.writing(quiet=True) as db:
            db.execute(later.values(put_off=blind_checks.c.put_off + 1))

    def answer_blind(
        self, check_id: int, *, good: bool, said: dict[What, str], by: str, now: datetime
    ) -> BlindAnswer:
        """Keep what a person says of a film that came up: an answer, labels and an event.

        Raises:
            NotFound: there is no such film, or somebody else answered.
        """
        answer = {"good": good, "answered_by": by, "answered_at": now}
        with self.writing(quiet=True) as db:
            row = db.execute(select(blind_checks).where(blind_checks.c.id == check_id)).one_or_none()
            answered = update(blind_checks).where(blind_checks.c.id == check_id, _WAITING).values(**answer)
            if row is None or db.execute(answered).rowcount != 1:
                raise NotFound(
                    "somebody else has answered for this film. Nothing was written. Take the next one."
                )
            words = {what.value: value for what, value in said.items()}
            note(db, now, "blind check", film_id=row.film_id, who=by, good=good, passed=row.passed, **words)
            spoken = Said(row.film_id, (ALL_RIGHT if good else {}) | said, "blind")
            ids = say_labels(db, [spoken], by=by, now=now)
            return BlindAnswer(row.film_id, row.passed, good, tuple(ids))

    def take_back_blind(self, check_id: int, *, by: str, now: datetime) -> int:
        """Take back one's own answer: the film comes up again. Its id.

        Raises:
            NotFound: this person gave none.
        """
        its = (blind_checks.c.id == check_id) & (blind_checks.c.answered_by == by)
        with self.writing(quiet=True) as db:
            film_id = db.scalar(select(blind_checks.c.film_id).where(its))
            if film_id is None:
                raise NotFound("you gave no answer for this film. Nothing was changed.")
            db.execute(update(blind_checks).where(its).values(good=None, answered_by=None, answered_at=None))
            own = (labels.c.film_id == film_id) & (labels.c.said_by == by) & (labels.c.source == "blind")
            ended = update(labels).where(own, labels.c.ended_at.is_(None))
            db.execute(ended.values(ended_at=now, ended_by=by))
            note(db, now, "blind check taken back", film_id=film_id, who=by)
            return int(film_id)

    def sampled(self, *, days: int | None = None, now: datetime, by_sender: bool = False) -> list[Sampled]:
        """What was drawn and answered, a row for each share of films that was in force, and for each sender.

        `days` back from now; the whole past where it is None.
        """
        since = now - timedelta(days=days) if days is not None else None
        with self.reading() as db:
            frame = db.execute(_framed(since, by_sender=by_sender)).all()
            answers = {
                (row.sender, row.share_ppm): row for row in db.execute(_answered(since, by_sender=by_sender))
            }
        return [
            Sampled(
                sender=row.sender if by_sender else None,
                share_ppm=row.share_ppm,
                passed=int(row.passed),
                drawn=int(row.drawn),
                answered=int(its.answered) if its else 0,
                bad=int(its.bad or 0) if its else 0,
            )
            for row in frame
            for its in (answers.get((row.sender, row.share_ppm)),)
        ]


_WAITING = blind_checks.c.good.is_(None)
_EARLIER = decisions.alias("earlier")
_SENDER = func.coalesce(associations.c.calling, "").label("sender")
_FIRST_PASS = ~exists().where(
    _EARLIER.c.film_id == decisions.c.film_id,
    _EARLIER.c.id < decisions.c.id,
    _EARLIER.c.act == Act.PASS,
)
_LOOKED_AT = exists().where(findings.c.decision_id == decisions.c.id, findings.c.gate == "anatomy")


def _decided() -> Select[Any]:
    """Decisions after one, in their order: which act, of which film and sender.

    `counts` is whether a film is drawn from: the first time it passed as a chest, or held and looked at.
    """
    as_chest = (decisions.c.act == Act.PASS) & ~decisions.c.rule.like("region%")
    counts = case((as_chest, _FIRST_PASS), (decisions.c.act.in_((Act.QUARANTINE, Act.CORRECT)), _LOOKED_AT))
    return (
        select(decisions.c.id.label("decision_id"), decisions.c.film_id, decisions.c.act)
        .add_columns(decisions.c.decided_at, versions.c.digest, _SENDER, instances.c.sop_instance_uid)
        .add_columns(func.coalesce(counts, False).label("counts"))
        .join(instances, instances.c.id == decisions.c.film_id)
        .join(versions, versions.c.id == decisions.c.version_id)
        .outerjoin(associations, associations.c.id == versions.c.association_id)
        .where(decisions.c.id > bindparam("after"))
        .order_by(decisions.c.id)
        .limit(bindparam("most"))
    )


_DECIDED = _decided()


def _day_and_sender(row: Any) -> tuple[str, str]:
    return f"{row.decided_at:%Y-%m-%d}", row.sender


def _is_drawn(secret: bytes, row: Any, share_ppm: int) -> bool:
    """By the film alone: whatever is decided of it later, it was drawn or not."""
    named = f"blind {row.sop_instance_uid}".encode()
    place = int.from_bytes(hmac.digest(secret, named, "sha256")[:8], "big")
    times = 1 if row.act == Act.PASS else HELD_TIMES
    return place * PPM < times * share_ppm << 64


def _keep(db: Connection, drawn: list[Any], share_ppm: int) -> None:
    rows = [
        {
            "film_id": row.film_id,
            "decision_id": row.decision_id,
            "digest": row.digest,
            "passed": row.act == Act.PASS,
            "sender": row.sender,
            "share_ppm": share_ppm,
            "decided_at": row.decided_at,
        }
        for row in drawn
    ]
    if rows:  # one that was drawn when it was held, and passed since, is not drawn again
        db.execute(upsert(db, blind_checks).on_conflict_do_nothing(), rows)


def _count(db: Connection, day: str, sender: str, share_ppm: int, passed: int, drawn: int) -> None:
    row = {"day": day, "sender": sender, "share_ppm": share_ppm, "passed": passed, "drawn": drawn}
    more = {"passed": blind_counts.c.passed + passed, "drawn": blind_counts.c.drawn + drawn}
    key = ("day", "sender", "share_ppm")
    db.execute(upsert(db, blind_counts).values(row).on_conflict_do_update(index_elements=key, set_=more))


def _framed(since: datetime | None, *, by_sender: bool) -> Select[Any]:
    sender: ColumnElement[str] = blind_counts.c.sender if by_sender else literal("")
    sums = (func.sum(blind_counts.c.passed).label("passed"), func.sum(blind_counts.c.drawn).label("drawn"))
    query = select(sender.label("sender"), blind_counts.c.share_ppm, *sums)
    if since is not None:
        query = query.where(blind_counts.c.day >= f"{since:%Y-%m-%d}")
    grouped = (blind_counts.c.sender, blind_counts.c.share_ppm) if by_sender else (blind_counts.c.share_ppm,)
    return query.group_by(*grouped).order_by(*grouped)


def _answered(since: datetime | None, *, by_sender: bool) -> Select[Any]:
    own = blind_checks.c
    sender: ColumnElement[str] = own.sender if by_sender else literal("")
    bad = func.sum(case((own.good.is_(False), 1), else_=0)).label("bad")
    query = select(sender.label("sender"), own.share_ppm, func.count().label("answered"), bad)
    query = query.where(own.passed, own.good.is_not(None))
    if since is not None:
        midnight = since.replace(hour=0, minute=0, second=0, microsecond=0)
        query = query.where(own.decided_at >= midnight)
    return query.group_by(*((own.sender, own.share_ppm) if by_sender else (own.share_ppm,)))
