"""RULE: rulings of people on words in the headers of one sender, and the films that wait for one."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, cast, func, insert, select, update

from gateway.errors import NotFound
from gateway.ledger.engine import Database
from gateway.ledger.moves import FROM_THE_START, allowed, inserted, note, stands
from gateway.ledger.records import HoldState, JobState, Question
from gateway.ledger.tables import associations, events, holds, jobs, rulings, versions
from pipelines.film import Answer, Ruling, Sender


class Answering(Database):
    """Rulings as the command line writes and workers read them."""

    def sender_of(self, version_id: int) -> Sender:
        """Who sent one version of a film, with the rulings in force."""
        with self.reading() as db:
            ae_title = sender_title(db, version_id)
            return Sender(ae_title, tuple(map(_ruling, db.execute(_in_force(ae_title)))))

    def rulings(self, *, ended: bool = False) -> list[Ruling]:
        """The rulings in force, oldest first; with `ended` also those that were taken back or replaced."""
        query = select(rulings).order_by(rulings.c.id)
        with self.reading() as db:
            return [_ruling(row) for row in db.execute(query if ended else query.where(_STANDS))]

    def questions(self) -> list[Question]:
        """The questions that wait for an answer, oldest first: one for each sender and word."""
        waiting: dict[tuple[str, str], list[Any]] = {}
        with self.reading() as db:
            for row in db.execute(_WAITING):
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
            waiting = db.execute(_WAITING.where(_CALLING.in_((sender,)), named))
            films = tuple(dict.fromkeys(row.film_id for row in waiting))
            for start in range(0, len(films), _CHUNK):
                _examine_again(db, films[start : start + _CHUNK])
            event = {"at": now, "what": "gate again", "who": by, "detail": {"ruling": f"{answer}: {word}"}}
            if films:
                db.execute(insert(events), [event | {"film_id": film_id} for film_id in films])
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


_CHUNK = 500  # ids in one IN (...): SQLite takes 999 at least
_STANDS = rulings.c.ended_at.is_(None)
_CALLING: ColumnElement[str] = func.coalesce(associations.c.calling, "")
_SENDER = _CALLING.label("sender")
_WAITING = (
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
    return select(rulings).where(_STANDS, rulings.c.sender == sender).order_by(rulings.c.id)


def _end(db: Connection, sender: str, word: str, by: str, now: datetime) -> bool:
    stands = _STANDS & (rulings.c.sender == sender) & (rulings.c.word == word)
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
