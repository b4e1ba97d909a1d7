"""The ledger: what one transaction promises of films, jobs, decisions and holds, and what it refuses."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from itertools import product

import numpy as np
import pytest
from ledger_films import CHEST, FOR_CHEST14, HELD, NOW, PASS, SR, claimed, ledger, received
from sqlalchemy import text, update

from gateway.errors import (
    BadTransition,
    NotFound,
    PersonDecided,
    StaleLease,
)
from gateway.ledger import Ledger
from gateway.ledger.moves import allowed
from gateway.ledger.records import (
    CopyMade,
    CopyState,
    HoldState,
    Judged,
    Outcome,
    Tally,
)
from gateway.ledger.tables import TRANSITIONS, deliveries, findings, holds, jobs
from pipelines.film import Act, Decision, Finding, Verdict

__all__ = ["ledger"]


def test_a_new_object_gets_a_job_and_its_always_deliveries(ledger: Ledger) -> None:
    """One transaction writes all that 0x0000 promises."""
    (recorded,) = ledger.record([received()], always=("archive", "backup"))
    assert recorded.outcome is Outcome.NEW
    assert ledger.ready_jobs() == 1
    assert ledger.due_destinations(NOW) == {"archive": 1, "backup": 1}
    assert ledger.film("1.2.3").decision is None


def test_the_same_object_twice_is_no_new_work(ledger: Ledger) -> None:
    """The same UID and digest, in one batch and later, make one job."""
    outcomes = [r.outcome for r in ledger.record([received(), received()], always=("archive",))]
    again = ledger.record([received()], always=("archive",))
    assert [*outcomes, again[0].outcome] == [Outcome.NEW, Outcome.SAME, Outcome.SAME]
    assert ledger.ready_jobs() == 1
    assert ledger.due_destinations(NOW) == {"archive": 1}


def test_another_version_goes_to_the_archive_and_waits_for_the_first(ledger: Ledger) -> None:
    """A later version is a job of its own, claimed only when the first one is through."""
    ledger.record([received()], always=("archive",))
    (second,) = ledger.record([received(digest="b")], always=("archive",))
    first = claimed(ledger)
    assert second.outcome is Outcome.VERSION
    assert ledger.due_destinations(NOW) == {"archive": 2}
    assert ledger.claim("w2") is None
    ledger.judge(first, PASS, now=NOW)
    later = claimed(ledger)
    assert (later.version_id, later.first_digest) == (second.version_id, "a" * 64)


def test_a_version_with_the_same_pixels_leaves_the_decision_alone(ledger: Ledger) -> None:
    """Corrected demographics bring no second delivery to the AI."""
    ledger.record([received(), received(digest="b")])
    ledger.judge(claimed(ledger), PASS, now=NOW)
    ledger.same_pixels(claimed(ledger), now=NOW)
    film = ledger.film("1.2.3")
    assert film.decision == "pass"
    assert [d["destination"] for d in film.deliveries] == ["ai"]


def test_a_copy_that_comes_back_is_kept_and_never_queued(ledger: Ledger) -> None:
    """What we made is decided when it arrives: no job, no delivery, so no loop."""
    ledger.record([received()])
    copy = CopyMade("2.25.7", "1.2", "1.2.840.10008.1.2.1", "c" * 64, {"turn": 90}, CopyState.PROPOSED)
    correct = Judged(Decision(Act.CORRECT), (), "enforce", {}, copy=copy, send_copy_to=("ai",))
    ledger.judge(claimed(ledger), correct, now=NOW)
    (back,) = ledger.record([received(uid="2.25.7", digest="d")], always=("archive",))
    assert back.outcome is Outcome.OURS
    assert ledger.ready_jobs() == 0
    assert "archive" not in ledger.due_destinations(NOW)
    assert ledger.film("2.25.7").reasons == ("OURS",)


def test_urgent_films_are_claimed_first_then_the_oldest(ledger: Ledger) -> None:
    ledger.record([received("1.1", "a"), received("1.2", "b"), received("1.3", "c", urgent=True)])
    assert [claimed(ledger).sop_instance_uid for _ in range(3)] == ["1.3", "1.1", "1.2"]


def test_films_of_low_priority_are_claimed_last(ledger: Ledger) -> None:
    """Gated last, and what qualified of them is read last, too."""
    low = {"can_wait": True}
    ledger.record([received("1.1", "a", **low), received("1.2", "b"), received("1.3", "c", urgent=True)])
    assert [claimed(ledger).sop_instance_uid for _ in range(3)] == ["1.3", "1.2", "1.1"]


def test_a_reading_of_low_priority_waits_for_the_films_of_no_priority(ledger: Ledger) -> None:
    ledger.record([received("1.1", "a", can_wait=True)])
    ledger.judge(claimed(ledger), FOR_CHEST14, now=NOW)
    ledger.record([received("1.2", "b")])
    got = [ledger.claim("w", CHEST) for _ in range(2)]
    assert [(j.sop_instance_uid, j.reading is not None) for j in got if j] == [("1.2", False), ("1.1", True)]


def test_two_workers_never_hold_the_same_job(ledger: Ledger) -> None:
    """Claims race in eight threads; every job is claimed once."""
    ledger.record([received(f"1.{n}", f"{n:x}") for n in range(16)])
    got: list[int] = []

    def work(name: str) -> None:
        while job := ledger.claim(name):
            got.append(job.id)

    patient = Ledger.open(str(ledger._engine.url), busy_timeout_s=10)
    ledger = patient
    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(set(got))
    assert len(got) == 16
    patient.close()


def test_a_decision_writes_findings_and_deliveries_together(ledger: Ledger) -> None:
    ledger.record([received()])
    seen = Finding("rotation", Verdict.GOOD, 0.99, model_digest="f" * 64)
    judged = Judged(PASS.decision, (seen,), "enforce", {"policy": "p"}, send_original_to=("ai", "ai2"))
    ledger.judge(claimed(ledger), judged, now=NOW)
    film = ledger.film("1.2.3")
    assert film.findings[0]["gate"] == "rotation"
    assert film.findings[0]["score"] == 0.99
    assert {d["destination"]: d["state"] for d in film.deliveries} == {"ai": "pending", "ai2": "pending"}


def test_what_a_gate_measured_is_kept_with_its_finding(ledger: Ledger) -> None:
    """As numbers by name; what is no number is left out: JSON knows none of the kind."""
    ledger.record([received()])
    facts = (("tilt_deg", np.float32(3.5)), ("ap", 0.97), ("child", float("nan")))
    seen = Finding("rotation", Verdict.GOOD, 0.99, facts=facts)  # type: ignore[arg-type]
    ledger.judge(claimed(ledger), replace(PASS, findings=(seen,)), now=NOW)
    assert ledger.film(1).findings[0]["facts"] == {"tilt_deg": 3.5, "ap": 0.97}


def test_findings_that_were_kept_before_gates_measured_anything_can_be_read(ledger: Ledger) -> None:
    ledger.record([received()])
    ledger.judge(claimed(ledger), replace(PASS, findings=(Finding("rotation", Verdict.GOOD, 0.9),)), now=NOW)
    with ledger.writing() as db:
        body = {"score": 0.9, "low": 0.1, "high": 0.8, "reason": None, "detail": "upright", "box": None}
        db.execute(update(findings).values(body=body | {"model_digest": ""}))
    (found,) = ledger.film(1).findings
    assert (found["gate"], found["score"], found["facts"]) == ("rotation", 0.9, {})


def test_a_stale_lease_writes_nothing(ledger: Ledger) -> None:
    """The fencing token of a freed lease is refused: one decision, whoever comes late."""
    ledger.record([received()])
    late = claimed(ledger, "slow")
    assert ledger.free_owner("slow", max_attempts=3, error="died", now=NOW) == 1
    ledger.judge(claimed(ledger, "quick"), PASS, now=NOW)
    with pytest.raises(StaleLease):
        ledger.judge(late, HELD, now=NOW)
    assert ledger.film("1.2.3").decision == "pass"
    assert ledger.holds() == []


def test_a_worker_that_was_stopped_costs_its_film_no_attempt(ledger: Ledger) -> None:
    """However often we stop while a film is in hand: it is examined in the end, and never parked for that."""
    ledger.record([received("1.1", "a")])
    for _ in range(4):
        claimed(ledger, "w")
        assert ledger.free_owner("w", max_attempts=3, error="stopped", now=NOW, counted=False) == 1
    assert ledger.holds() == []
    assert claimed(ledger).sop_instance_uid == "1.1"


def test_three_failed_attempts_park_the_film_with_its_error(ledger: Ledger) -> None:
    """A poison film ends held, with the error as the why; the queue goes on."""
    ledger.record([received("1.1", "a"), received("1.2", "b")])
    for _ in range(3):
        job = claimed(ledger)
        assert job.sop_instance_uid == "1.1"
        ledger.fail(job, error="boom", max_attempts=3, now=NOW)
    (hold,) = ledger.holds()
    assert (hold.sop_instance_uid, hold.reasons) == ("1.1", ("ATTEMPTS_EXHAUSTED",))
    assert "boom" in hold.why
    assert claimed(ledger).sop_instance_uid == "1.2"


def test_gating_again_supersedes_and_never_edits(ledger: Ledger) -> None:
    """The old decision stays in the ledger; the film shows the new one and one open hold."""
    ledger.record([received()])
    ledger.judge(claimed(ledger), HELD, now=NOW)
    assert ledger.gate_again(1, by="ann", now=NOW)
    ledger.judge(claimed(ledger), HELD, now=NOW + timedelta(hours=1))
    with ledger.reading() as db:
        rows = db.execute(text("SELECT superseded FROM decisions ORDER BY id")).scalars().all()
    assert rows == [1, 0]
    assert len(ledger.holds()) == 1


def test_releasing_owes_the_original_once(ledger: Ledger) -> None:
    ledger.record([received()])
    ledger.judge(claimed(ledger), HELD, now=NOW)
    hold = ledger.open_hold("1.2.3")
    ledger.release(hold, ("ai",), by="ann", note_text="fine", now=NOW)
    with pytest.raises(NotFound):
        ledger.release(hold, ("ai",), by="bob", note_text="", now=NOW)
    assert ledger.due_destinations(NOW) == {"ai": 1}
    assert ledger.holds(HoldState.RELEASED)[0].closed_by == "ann"


def test_correcting_without_a_copy_keeps_the_hold(ledger: Ledger) -> None:
    """All or nothing: when there is no copy to send, the film stays held."""
    ledger.record([received()])
    ledger.judge(claimed(ledger), HELD, now=NOW)
    with pytest.raises(NotFound, match="no corrected copy"):
        ledger.correct(ledger.open_hold(1), None, ("ai",), by="ann", note_text="", now=NOW)
    assert len(ledger.holds()) == 1


def test_each_version_is_held_by_itself(ledger: Ledger) -> None:
    """Other pixels under the same UID: two holds, and a person says which of them they mean."""
    ledger.record([received(), received(digest="b")])
    for _ in range(2):
        ledger.judge(claimed(ledger), HELD, now=NOW)
    with pytest.raises(NotFound, match="h1, h2"):
        ledger.open_hold(1)
    hold = ledger.open_hold("h2")
    ledger.release(hold, ("ai",), by="ann", note_text="", now=NOW)
    assert [d.digest for d in ledger.claim_deliveries("ai", 5, NOW)] == ["b" * 64]


def test_a_person_decides_only_on_what_they_saw(ledger: Ledger) -> None:
    """The film was examined again while they looked: nothing is sent, the hold stays."""
    ledger.record([received()])
    ledger.judge(claimed(ledger), HELD, now=NOW)
    seen = ledger.open_hold(1)
    ledger.gate_again(1, by="bob", now=NOW)
    ledger.judge(claimed(ledger), HELD, now=NOW)
    with pytest.raises(NotFound, match="no longer held as you saw it"):
        ledger.release(seen, ("ai",), by="ann", note_text="", now=NOW)
    assert len(ledger.holds()) == 1
    assert ledger.due_destinations(NOW) == {}


def test_gating_again_settles_what_the_old_decision_left(ledger: Ledger) -> None:
    """Held, then passed: the hold ends. Passed, then held: what was not sent yet is not sent."""
    ledger.record([received()])
    ledger.judge(claimed(ledger), HELD, now=NOW)
    ledger.gate_again(1, by="ann", now=NOW)
    ledger.judge(claimed(ledger), PASS, now=NOW)
    assert ledger.holds() == []
    assert ledger.due_destinations(NOW) == {"ai": 1}
    ledger.gate_again(1, by="ann", now=NOW)
    ledger.judge(claimed(ledger), HELD, now=NOW)
    assert ledger.due_destinations(NOW) == {}
    ledger.release(ledger.open_hold(1), ("ai",), by="ann", note_text="", now=NOW)
    assert ledger.due_destinations(NOW) == {"ai": 1}


def test_a_postponed_job_costs_no_attempt(ledger: Ledger) -> None:
    """A full disk is not the film's doing: five times do not park it."""
    ledger.record([received()])
    for _ in range(5):
        job = claimed(ledger)
        ledger.postpone(job, error="no room", now=NOW)
        with pytest.raises(StaleLease):
            ledger.postpone(job, error="no room", now=NOW)
    assert claimed(ledger).attempts == 1


def test_a_film_parked_while_observing_is_not_held(ledger: Ledger) -> None:
    ledger.record([received()])
    ledger.fail(claimed(ledger), error="boom", max_attempts=1, now=NOW, mode="observe")
    assert ledger.film(1).reasons == ("ATTEMPTS_EXHAUSTED",)
    assert ledger.holds() == []


def test_refused_associations_are_listed_newest_first(ledger: Ledger) -> None:
    """Who was not let in, and why; those that were let in are not among them."""
    ledger.associate(calling="ROOM_1", called="FILMGATE", address="10.0.0.1", now=NOW)
    tallies = [
        Tally(None, calling, "FILMGATE", "10.0.0.2", "refused", "not allowed", 1, NOW, NOW)
        for calling in ("ROOM_2", "ROOM_3")
    ]
    first, _ = ledger.tally(tallies)
    later = NOW + timedelta(seconds=50)
    assert ledger.tally([replace(tallies[0], row=first, times=70_000, last_at=later)]) == [first]
    rows = ledger.refusals()
    assert [(row["calling"], row["reason"], row["times"]) for row in rows] == [
        ("ROOM_3", "not allowed", 1),
        ("ROOM_2", "not allowed", 70_000),
    ]
    assert (rows[1]["started_at"], rows[1]["ended_at"]) == (NOW, later)


@pytest.mark.parametrize("table", [jobs, deliveries, holds], ids=str)
def test_only_the_named_transitions_are_allowed(table: object) -> None:
    """Every pair of states that TRANSITIONS does not name is refused."""
    what = {jobs: "job", deliveries: "delivery", holds: "hold"}[table]  # type: ignore[index]
    states = {s for w, a, b in TRANSITIONS if w == what for s in (a, b)}
    for start, end in product(states, states):
        if (what, start, end) in TRANSITIONS:
            allowed(table, start, end)  # type: ignore[arg-type]
        else:
            with pytest.raises(BadTransition):
                allowed(table, start, end)  # type: ignore[arg-type]


def test_what_a_person_rejected_is_not_gated_again_unsaid(ledger: Ledger) -> None:
    """The archive was told; and AI could get it after all."""
    ledger.record([received()])
    ledger.judge(claimed(ledger), HELD, now=NOW)
    made = replace(SR, kind="rejection")
    ledger.reject(ledger.open_hold(1), by="ann", note_text="", now=NOW, made=made)
    told = "rejected by ann on 2026-11-20 12:00 UTC; the rejection note for archive stands"
    with pytest.raises(PersonDecided, match=told):
        ledger.gate_again(1, by="bob", now=NOW)
    assert ledger.ready_jobs() == 0
    assert ledger.gate_again(1, by="bob", now=NOW, rejected=True)
    assert ledger.events(1)[-1]["after"] == told
