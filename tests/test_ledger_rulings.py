"""Words of the header, said once for all of a sender: who waits for them, and what follows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from ledger_films import HELD, NOW, WAITS, claimed, ledger, received
from sqlalchemy import select

from gateway.errors import (
    NotFound,
)
from gateway.ledger import Ledger
from gateway.ledger.tables import events
from pipelines.film import Answer

__all__ = ["ledger"]


def waiting(ledger: Ledger, number: int, sender: str = "ROOM3") -> None:
    """A film of a sender that is held for a word."""
    row = ledger.associate(calling=sender, called="FILMGATE", address="127.0.0.1", now=NOW)
    ledger.record([received(f"1.2.{number}", str(number), association_id=row)])
    ledger.judge(claimed(ledger), WAITS, now=NOW)


def ruled(ledger: Ledger, answer: Answer = Answer.NEVER, sender: str = "ROOM3") -> tuple[int, ...]:
    return ledger.rule(sender, "BONE", answer, by="ann", note_text="bone images", now=NOW)


def test_films_of_one_sender_and_word_wait_for_one_answer(ledger: Ledger) -> None:
    waiting(ledger, 1)
    waiting(ledger, 2, "ROOM4")
    waiting(ledger, 3)
    assert [(q.sender, q.word, q.films) for q in ledger.questions()] == [
        ("ROOM3", "BONE", (1, 3)),
        ("ROOM4", "BONE", (2,)),
    ]
    assert ruled(ledger) == (1, 3)
    assert ledger.ready_jobs() == 2
    assert [hold.film_id for hold in ledger.holds()] == [1, 2, 3]  # until they were examined again


def test_a_ruling_is_kept_with_who_when_and_why_and_can_be_taken_back(ledger: Ledger) -> None:
    ruled(ledger, Answer.NEVER)
    later = NOW + timedelta(days=1)
    ledger.rule("ROOM3", "BONE", Answer.ALWAYS, by="bob", note_text="every film has it", now=later)
    (standing,) = ledger.rulings()
    assert (standing.answer, standing.by, standing.note) == (Answer.ALWAYS, "bob", "every film has it")
    ledger.take_back("ROOM3", "BONE", by="cem", note_text="", now=later)
    assert ledger.rulings() == []
    never, always = ledger.rulings(ended=True)
    assert (never.by, never.at, never.ended_by, never.ended_at) == ("ann", NOW, "bob", later)
    assert (always.answer, always.ended_by) == (Answer.ALWAYS, "cem")
    with pytest.raises(NotFound, match="no ruling on BONE from ROOM3"):
        ledger.take_back("ROOM3", "BONE", by="cem", note_text="", now=later)
    with ledger.reading() as db:
        said = [(row.what, row.who) for row in db.execute(select(events).order_by(events.c.id))]
    assert said == [("ruling", "ann"), ("ruling", "bob"), ("ruling taken back", "cem")]


def test_an_answer_that_comes_while_the_film_is_examined_is_not_missed(ledger: Ledger) -> None:
    """The worker did not know it; the film is examined once more, and does not wait for what was said."""
    row = ledger.associate(calling="ROOM3", called="FILMGATE", address="127.0.0.1", now=NOW)
    ledger.record([received(association_id=row)])
    job = claimed(ledger)
    assert ruled(ledger) == ()
    ledger.judge(job, WAITS, now=NOW)
    assert ledger.ready_jobs() == 1
    assert ledger.sender_of(claimed(ledger).version_id).ruling("BONE")


def test_every_held_version_of_a_film_is_examined_again_in_its_order(ledger: Ledger) -> None:
    """The decision on the last version stays the film's, and neither is lost."""
    waiting(ledger, 1)
    row = ledger.associate(calling="ROOM3", called="FILMGATE", address="127.0.0.1", now=NOW)
    ledger.record([received("1.2.1", "b", association_id=row)])
    ledger.judge(claimed(ledger), HELD, now=NOW)
    assert ruled(ledger) == (1,)
    first = claimed(ledger)
    assert ledger.claim("other") is None
    ledger.judge(first, HELD, now=NOW)
    assert claimed(ledger).digest != first.digest
    assert len(ledger.holds()) == 2


def test_nobody_knows_who_sent_what_fsck_found(ledger: Ledger) -> None:
    """It can be answered for all the same."""
    ledger.record([received()])
    ledger.judge(claimed(ledger), WAITS, now=NOW)
    assert ledger.questions()[0].sender == ""
    assert ruled(ledger, sender="") == (1,)
