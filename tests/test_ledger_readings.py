"""What is owed to a classifier of our own: read under a lease, and in one transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from ledger_films import (
    ANSWER,
    CHEST,
    FOR_CHEST14,
    HELD,
    NOW,
    OTHER,
    PAYLOAD,
    SR,
    WITHHELD,
    claimed,
    handed_over,
    ledger,
    reading,
    received,
    state_at,
)

from gateway.errors import (
    StaleLease,
)
from gateway.ledger import Ledger
from gateway.ledger.records import (
    CopyMade,
    CopyState,
    Judged,
    Outcome,
    Read,
)
from pipelines.film import Act, Box, Decision, Operations

__all__ = ["ledger"]


def test_what_is_owed_to_a_classifier_becomes_a_job_of_its_own(ledger: Ledger) -> None:
    """Only for those who know the classifier: the delivery is under way while the job is held."""
    handed_over(ledger)
    assert (ledger.ready_jobs(), ledger.ready_jobs(CHEST)) == (0, 1)
    assert ledger.claim("w") is None
    job = reading(ledger)
    assert (job.digest, job.reading and job.reading.digest, job.attempts) == ("a" * 64, "a" * 64, 1)
    assert state_at(ledger, "chest14") == "sending"
    assert ledger.claim("w2", CHEST) is None
    assert ledger.ready_jobs(CHEST) == 0


def test_a_result_and_all_that_follows_from_it_are_one_transaction(ledger: Ledger) -> None:
    handed_over(ledger)
    ledger.read(reading(ledger), ANSWER, now=NOW)
    film = ledger.film(1)
    (result,) = film.results
    assert (result["classifier"], result["conditions"][0]["name"]) == ("chest14", "Mass")
    assert [made["kind"] for made in result["objects"]] == ["sr", "json"]
    assert state_at(ledger, "chest14") == "delivered"
    assert (film.job, film.decision) == ("done", "pass")
    (sr,), (payload,) = ledger.claim_deliveries("archive", 5, NOW), ledger.claim_deliveries("hook", 5, NOW)
    assert (sr.kind, sr.sop_instance_uid, sr.digest) == ("result", "2.25.5", "5" * 64)
    assert (payload.digest, payload.transfer_syntax_uid) == ("6" * 64, "application/json")
    assert {SR.digest, PAYLOAD.digest} <= ledger.digests()


def test_a_reader_that_comes_late_writes_nothing(ledger: Ledger) -> None:
    """Its worker was taken for dead: one result, by whoever holds the lease."""
    handed_over(ledger)
    late = reading(ledger, "slow")
    assert ledger.free_owner("slow", max_attempts=3, error="died", now=NOW) == 1
    ledger.read(reading(ledger, "quick"), ANSWER, now=NOW)
    with pytest.raises(StaleLease):
        ledger.read(late, ANSWER, now=NOW)
    assert len(ledger.film(1).results) == 1


def test_a_reading_that_always_fails_is_parked_and_the_film_is_not_held(ledger: Ledger) -> None:
    """A classifier's trouble is no fault of the film; a person has it tried again."""
    handed_over(ledger)
    for _ in range(3):
        ledger.fail(reading(ledger), error="boom", max_attempts=3, now=NOW)
    film = ledger.film(1)
    (owed,) = (d for d in film.deliveries if d["destination"] == "chest14")
    assert (owed["state"], owed["error"], film.decision) == ("failed", "boom", "pass")
    assert (ledger.holds(), ledger.claim("w", CHEST)) == ([], None)
    assert ledger.send_again(1, by="ann", now=NOW + timedelta(days=9)) == 1
    job = reading(ledger)
    assert job.reading is not None
    assert job.reading.created_at == NOW  # which its results state
    ledger.read(job, ANSWER, now=NOW)
    assert state_at(ledger, "chest14") == "delivered"


def test_a_result_that_cannot_be_had_fails_its_delivery(ledger: Ledger) -> None:
    """The model is not usable: the result says so, and `films send-again` finds something to do."""
    handed_over(ledger)
    unread = Read("chest14", "", "", {"not_read": "MODEL_NOT_USABLE"}, (), error="no such bundle")
    ledger.read(reading(ledger), unread, now=NOW)
    assert state_at(ledger, "chest14") == "failed"
    ledger.send_again(1, by="ann", now=NOW)
    ledger.read(reading(ledger), ANSWER, now=NOW)
    assert [r.get("not_read") for r in ledger.film(1).results] == [None]


def test_urgent_films_first_then_readings_then_the_oldest(ledger: Ledger) -> None:
    """A film just judged is read before others of its urgency are gated."""
    ledger.record([received("1.1", "a"), received("1.2", "b")])
    ledger.judge(claimed(ledger), FOR_CHEST14, now=NOW)
    ledger.record([received("1.3", "c", urgent=True)])
    urgent = ledger.claim("w", CHEST)
    assert urgent is not None
    assert urgent.sop_instance_uid == "1.3"
    ledger.judge(urgent, FOR_CHEST14, now=NOW)
    got = [ledger.claim("w", CHEST) for _ in range(3)]
    assert [(j.sop_instance_uid, j.reading is not None) for j in got if j] == [
        ("1.3", True),
        ("1.1", True),
        ("1.2", False),
    ]


def test_a_copy_is_read_with_what_made_it(ledger: Ledger) -> None:
    """The report is about the original: the job names both, and the operations between them."""
    ledger.record([received(), received("1.4", "e")])
    made = {"crop": {"x0": 0.1, "y0": 0.0, "x1": 1.0, "y1": 1.0}, "turn": 90, "invert": True}
    copy = CopyMade("2.25.7", "1.2", "1.2.840.10008.1.2.1", "c" * 64, made, CopyState.PROPOSED)
    correct = Judged(Decision(Act.CORRECT), (), "enforce", {}, copy=copy, send_copy_to=CHEST)
    ledger.judge(claimed(ledger), correct, now=NOW)
    job = reading(ledger)
    assert job.reading is not None
    assert (job.digest, job.reading.digest) == ("a" * 64, "c" * 64)
    assert job.operations == Operations(Box(0.1, 0.0, 1.0, 1.0), 90, True)


def test_a_film_that_is_held_after_all_is_not_read_again(ledger: Ledger) -> None:
    """The first attempt failed, then the film was gated again and held."""
    handed_over(ledger)
    ledger.fail(reading(ledger), error="boom", max_attempts=3, now=NOW)
    assert ledger.gate_again(1, by="ann", now=NOW)
    again = ledger.claim("w", CHEST)
    assert again is not None
    assert again.reading is None
    ledger.judge(again, HELD, now=NOW)
    assert state_at(ledger, "chest14") == "cancelled"
    assert ledger.claim("w", CHEST) is None


@pytest.mark.parametrize("judged", [HELD, WITHHELD], ids=["held", "withheld"])
def test_a_reading_in_hand_is_taken_back_when_its_film_is_held(ledger: Ledger, judged: Judged) -> None:
    """A worker reads it while it is gated again: the result comes too late, and nothing is kept or owed."""
    handed_over(ledger)
    job = reading(ledger)
    ledger.gate_again(1, by="ann", now=NOW)
    ledger.judge(claimed(ledger, "w2"), judged, now=NOW)
    with pytest.raises(StaleLease):
        ledger.read(job, ANSWER, now=NOW)
    with pytest.raises(StaleLease):
        ledger.fail(job, error="boom", max_attempts=3, now=NOW)
    assert (state_at(ledger, "chest14"), ledger.film(1).results) == ("cancelled", ())
    assert ledger.due_destinations(NOW) == {}
    assert ledger.free_owner("w", max_attempts=3, error="died", now=NOW) == 0
    assert ledger.claim("w", CHEST) is None


def test_a_release_has_the_film_read_that_was_taken_back(ledger: Ledger) -> None:
    handed_over(ledger)
    reading(ledger)
    ledger.gate_again(1, by="ann", now=NOW)
    ledger.judge(claimed(ledger, "w2"), HELD, now=NOW)
    ledger.release(ledger.open_hold(1), CHEST, by="ann", note_text="", now=NOW)
    ledger.read(reading(ledger), ANSWER, now=NOW)
    assert state_at(ledger, "chest14") == "delivered"


def test_gating_again_with_the_same_end_leaves_a_reading_in_hand(ledger: Ledger) -> None:
    handed_over(ledger)
    job = reading(ledger)
    ledger.gate_again(1, by="ann", now=NOW)
    ledger.judge(claimed(ledger, "w2"), FOR_CHEST14, now=NOW)
    ledger.read(job, ANSWER, now=NOW)
    assert state_at(ledger, "chest14") == "delivered"


@pytest.mark.parametrize("others", ["0", "f"])
def test_versions_of_other_films_say_nothing_of_what_waits(ledger: Ledger, others: str) -> None:
    """Whichever film the database looks at first: the earlier picture waits, and a later one does not."""
    ledger.record([received("9.0", others)], always=("archive",))
    ledger.judge(claimed(ledger), WITHHELD, now=NOW)
    ledger.record([received(digest="a"), received(digest="b"), received(digest="c")])
    ledger.record([received("9.1", others)], always=("archive",))
    ledger.judge(claimed(ledger), FOR_CHEST14, now=NOW)
    first = reading(ledger)
    ledger.judge(claimed(ledger, "w2"), OTHER, now=NOW)
    with pytest.raises(StaleLease):
        ledger.read(first, ANSWER, now=NOW)
    ledger.judge(claimed(ledger), FOR_CHEST14, now=NOW)  # the third picture
    ledger.judge(claimed(ledger), WITHHELD, now=NOW)
    third = reading(ledger)
    assert third.reading is not None
    assert third.reading.digest[0] == "c"
    assert ledger.claim("w3", CHEST) is None


@pytest.mark.parametrize("end", ["reject", "release"])
def test_readings_of_a_first_picture_wait_while_a_second_one_is_held(ledger: Ledger, end: str) -> None:
    """Which of them is the patient's is not known: neither is read until a person says so."""
    ledger.record([received(), received(digest="b")])
    ledger.judge(claimed(ledger), FOR_CHEST14, now=NOW)
    first = reading(ledger)
    ledger.judge(claimed(ledger, "w2"), OTHER, now=NOW)
    with pytest.raises(StaleLease):
        ledger.read(first, ANSWER, now=NOW)
    assert (ledger.ready_jobs(CHEST), ledger.claim("w", CHEST), ledger.film(1).results) == (0, None, ())
    hold, by = ledger.open_hold(1), {"by": "ann", "note_text": "", "now": NOW}
    if end == "reject":
        ledger.reject(hold, **by)  # type: ignore[arg-type]
    else:
        ledger.release(hold, CHEST, **by)  # type: ignore[arg-type]
    digests = []
    while job := ledger.claim("w", CHEST):
        assert job.reading is not None
        digests.append(job.reading.digest[0])
        ledger.read(job, ANSWER, now=NOW)
    assert digests == (["a"] if end == "reject" else ["a", "b"])


def test_a_new_courier_leaves_readings_to_their_workers(ledger: Ledger) -> None:
    handed_over(ledger)
    reading(ledger)
    ledger.claim_deliveries("ai", 1, NOW)
    assert ledger.requeue_sending() == 1
    assert (state_at(ledger, "ai"), state_at(ledger, "chest14")) == ("pending", "sending")


def test_our_own_result_that_comes_back_is_kept_and_never_queued(ledger: Ledger) -> None:
    handed_over(ledger)
    ledger.read(reading(ledger), ANSWER, now=NOW)
    (back,) = ledger.record([received("2.25.5", "5")], always=("archive",))
    assert back.outcome is Outcome.OURS
    assert ledger.ready_jobs(CHEST) == 0
    assert ledger.film("2.25.5").reasons == ("OURS",)


def test_word_of_a_film_that_no_classifier_got_is_part_of_the_decision(ledger: Ledger) -> None:
    unread = Read("chest14", "1", "d" * 64, {"not_read": "NOT_QUALIFIED", "why": "held"}, (SR,))
    ledger.record([received()])
    ledger.judge(claimed(ledger), replace(HELD, unread=(unread,)), now=NOW)
    assert ledger.film(1).results[0]["not_read"] == "NOT_QUALIFIED"
    assert ledger.due_destinations(NOW) == {"archive": 1}
