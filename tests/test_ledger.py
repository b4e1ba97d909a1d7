"""The ledger: what one transaction promises, and what it refuses."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, select, text, update

from gateway.errors import (
    BadTransition,
    LedgerBusy,
    LedgerError,
    NotFound,
    PersonDecided,
    SchemaTooNew,
    SchemaTooOld,
    StaleLease,
)
from gateway.ledger import Ledger
from gateway.ledger.moves import allowed
from gateway.ledger.records import (
    CopyMade,
    CopyState,
    HoldState,
    Job,
    Judged,
    Made,
    Outcome,
    Read,
    Received,
    Tally,
)
from gateway.ledger.routing import GO_LAST
from gateway.ledger.tables import SCHEMA, TRANSITIONS, deliveries, events, findings, holds, instances, jobs
from pipelines.film import Act, Answer, Box, Decision, Finding, Operations, Reason, Verdict

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PASS = Judged(Decision(Act.PASS, rule="pass"), (), "enforce", {}, send_original_to=("ai",))
HELD = Judged(Decision(Act.QUARANTINE, (Reason.BLANK,), "blank", "blank"), (), "enforce", {}, hold=True)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", busy_timeout_s=0.2, migrate_first=True)


def received(uid: str = "1.2.3", digest: str = "a", **values: object) -> Received:
    fixed = {"sop_class_uid": "1.2", "transfer_syntax_uid": "1.2.840.10008.1.2.1", "size_bytes": 10}
    row = fixed | {"association_id": None, "received_at": NOW} | values
    return Received(sop_instance_uid=uid, digest=digest * 64, **row)  # type: ignore[arg-type]


def claimed(ledger: Ledger, owner: str = "w") -> Job:
    job = ledger.claim(owner)
    assert job is not None
    return job


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


def test_what_failed_for_good_is_owed_anew_when_it_is_sent_again(ledger: Ledger) -> None:
    """0x0000 for a resend means safe: the archive gets it after all."""
    ledger.record([received()], always=("archive",))
    (one,) = ledger.claim_deliveries("archive", 5, NOW)
    ledger.retry_delivery(one.id, error="refused", at=NOW, now=NOW, counted=True)
    (one,) = ledger.claim_deliveries("archive", 5, NOW)
    ledger.fail_delivery(one.id, error="refused", now=NOW)
    ledger.record([received(received_at=NOW + timedelta(days=9))], always=("archive",))
    (again,) = ledger.claim_deliveries("archive", 5, NOW)
    assert (one.tries, again.tries, again.created_at) == (1, 0, NOW + timedelta(days=9))


def test_a_person_sends_failed_deliveries_again(ledger: Ledger) -> None:
    """Their time to give up starts anew, whatever zone the person's clock is in."""
    ledger.record([received()], always=("archive",))
    (one,) = ledger.claim_deliveries("archive", 5, NOW)
    ledger.fail_delivery(one.id, error="refused", now=NOW)
    later = (NOW + timedelta(days=9)).astimezone(timezone(timedelta(hours=9)))
    assert ledger.send_again(1, by="ann", now=later) == 1
    assert ledger.send_again(1, by="ann", now=later) == 0
    (again,) = ledger.claim_deliveries("archive", 5, NOW)
    assert again.created_at == later


def test_a_clock_set_back_delays_no_new_delivery(ledger: Ledger) -> None:
    ledger.record([received()], always=("archive",))
    assert ledger.due_destinations(NOW - timedelta(hours=3)) == {"archive": 1}


def test_a_version_is_not_sent_back_to_where_it_came_from(ledger: Ledger) -> None:
    """An archive that changes what it reflects would otherwise be sent its changes without end."""
    ledger.record([received()], always=("archive",))
    ledger.record([received(digest="b", came_from=("archive",))], always=("archive", "backup"))
    assert ledger.due_destinations(NOW) == {"archive": 1, "backup": 1}


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


def test_errors_hold_no_uid(ledger: Ledger) -> None:
    """What SQLAlchemy says of a failed statement is logged: without its parameters."""
    uid = ".".join(("1", "2", "99"))  # not a literal: tracebacks quote the source
    with pytest.raises(LedgerError) as caught, ledger.writing() as db:
        db.execute(insert(instances).values(sop_instance_uid=uid, sop_class_uid=None, received_at=NOW))
    assert uid not in "".join(traceback.format_exception(caught.value))


def test_many_threads_on_a_locked_ledger_are_all_told_it_is_busy(ledger: Ledger, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def record(number: int) -> str:
        try:
            ledger.record([received(f"1.{number}", f"{number % 16:x}")])
        except LedgerError as error:
            return type(error).__name__
        return ""

    with ThreadPoolExecutor(40) as pool:
        assert set(pool.map(record, range(40))) == {"LedgerBusy"}
    other.execute("ROLLBACK")
    other.close()


def test_a_delivery_goes_through_its_states(ledger: Ledger) -> None:
    """Pending, sending, retry at its time, delivered; what a dead courier held goes back."""
    ledger.record([received()], always=("archive",))
    (one,) = ledger.claim_deliveries("archive", 5, NOW)
    ledger.retry_delivery(one.id, error="away", at=NOW + timedelta(minutes=1))
    assert ledger.claim_deliveries("archive", 5, NOW) == []
    (again,) = ledger.claim_deliveries("archive", 5, NOW + timedelta(minutes=2))
    assert again.attempts == 2
    assert ledger.requeue_sending() == 1
    (last,) = ledger.claim_deliveries("archive", 5, NOW + timedelta(minutes=2))
    ledger.delivered(last.id, NOW)
    assert ledger.film(1).deliveries[0]["state"] == "delivered"


def test_a_clock_set_back_by_a_day_delays_no_retry(ledger: Ledger) -> None:
    ledger.record([received()], always=("archive",))
    (one,) = ledger.claim_deliveries("archive", 5, NOW)
    ledger.retry_delivery(one.id, error="away", at=NOW + timedelta(minutes=1))
    assert ledger.due_destinations(NOW - timedelta(days=1)) == {"archive": 1}


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


def test_a_locked_ledger_is_busy_and_recovers(ledger: Ledger, tmp_path: Path) -> None:
    """A lock held by somebody else is LedgerBusy after the timeout, without a partial row."""
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerBusy):
        ledger.record([received()])
    other.execute("ROLLBACK")
    other.close()
    assert ledger.films() == []
    assert ledger.record([received()])[0].outcome is Outcome.NEW


def test_who_only_reads_is_not_kept_by_a_writer_that_was_halted(ledger: Ledger, tmp_path: Path) -> None:
    """Lists and `doctor` open the ledger and read it while somebody holds the lock of all commits."""
    ledger.record([received()])
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", busy_timeout_s=0.2)
    assert len(opened.films()) == 1
    opened.close()
    other.execute("ROLLBACK")
    other.close()


def test_a_newer_schema_refuses_and_an_empty_one_asks_for_migration(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    with pytest.raises(SchemaTooOld):
        Ledger.open(url)
    assert not (tmp_path / "ledger.sqlite").exists()  # who only looks puts nothing in its place
    ledger = Ledger.open(url, migrate_first=True)
    with ledger.writing() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    ledger.close()
    with pytest.raises(SchemaTooNew):
        Ledger.open(url, migrate_first=True)


def test_an_older_ledger_is_backed_up_before_it_is_migrated(tmp_path: Path) -> None:
    """The copy beside the file is a whole ledger of the old schema."""
    path = tmp_path / "ledger.sqlite"
    old = sqlite3.connect(path)
    old.executescript(
        "CREATE TABLE alembic_version (version_num VARCHAR(32)); CREATE TABLE old (x);"
        "INSERT INTO old VALUES (7); INSERT INTO alembic_version VALUES ('0000');"
    )
    old.close()
    with pytest.raises(LedgerError, match="cannot be migrated"):  # no release ever wrote 0000
        Ledger.open(f"sqlite:///{path}", migrate_first=True)
    kept = sqlite3.connect(next(tmp_path.glob("ledger.sqlite.before-*")))
    assert kept.execute("SELECT x FROM old").fetchone() == (7,)
    kept.close()


def test_the_migrations_make_the_tables_that_the_code_uses(ledger: Ledger) -> None:
    """Alembic's own comparison finds no difference between migrations and tables.py."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from gateway.ledger.tables import metadata

    with ledger.reading() as db:
        assert compare_metadata(MigrationContext.configure(db), metadata) == []


def test_every_commit_is_synced(ledger: Ledger) -> None:
    """WAL with synchronous FULL (2), so that a commit survives a power cut."""
    with ledger.reading() as db:
        assert db.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert db.execute(text("PRAGMA synchronous")).scalar() == 2


# --- readings -------------------------------------------------------------------------------------

CHEST = ("chest14",)
FOR_CHEST14 = replace(PASS, send_original_to=("ai", "chest14"))
SR = Made("sr", "5" * 64, ("archive",), "1.2.840.10008.5.1.4.1.1.88.33", "2.25.5", "1.2.840.10008.1.2.1")
PAYLOAD = Made("json", "6" * 64, ("hook",), transfer_syntax_uid="application/json")
ANSWER = Read("chest14", "1", "d" * 64, {"conditions": [{"name": "Mass", "probability": 0.7}]}, (SR, PAYLOAD))


def handed_over(ledger: Ledger, judged: Judged = FOR_CHEST14) -> None:
    """One film, judged, and owed to the classifier."""
    ledger.record([received()])
    ledger.judge(claimed(ledger), judged, now=NOW)


def reading(ledger: Ledger, owner: str = "w") -> Job:
    job = ledger.claim(owner, CHEST)
    assert job is not None
    assert job.reading is not None
    return job


def state_at(ledger: Ledger, destination: str) -> str:
    return next(d["state"] for d in ledger.film(1).deliveries if d["destination"] == destination)


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


WITHHELD = Judged(Decision(Act.WITHHOLD, (Reason.OTHER_PART,), "part", "a hand"), (), "enforce", {})
OTHER = Judged(
    Decision(Act.QUARANTINE, (Reason.OTHER_PIXELS,), "other-pixels", "other"), (), "enforce", {}, hold=True
)


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


@pytest.mark.parametrize("word", ["held", "withheld", "rejected", "corrected"])
@pytest.mark.parametrize("end", ["retry", "requeue", "failed"])
def test_what_was_on_the_wire_when_ai_lost_its_film_is_not_tried_again(
    ledger: Ledger, end: str, word: str
) -> None:
    """Neither by the courier, nor by its successor, nor by a person's send-again."""
    ledger.record([received()])
    ledger.judge(claimed(ledger), PASS, now=NOW)
    (sending,) = ledger.claim_deliveries("ai", 5, NOW)
    ledger.gate_again(1, by="ann", now=NOW)
    ledger.judge(claimed(ledger), WITHHELD if word == "withheld" else HELD, now=NOW)
    by: dict[str, Any] = {"by": "ann", "note_text": "", "now": NOW}
    if word == "rejected":
        ledger.reject(ledger.open_hold(1), **by)
    elif word == "corrected":
        copy = CopyMade("2.25.7", "1.2", "1.2.840.10008.1.2.1", "c" * 64, {"turn": 90}, CopyState.PROPOSED)
        ledger.correct(ledger.open_hold(1), copy, ("other",), **by)
    if end == "retry":
        ledger.retry_delivery(sending.id, error="away", at=NOW)
    elif end == "requeue":
        ledger.requeue_sending()
    else:
        ledger.fail_delivery(sending.id, error="no", now=NOW)
        assert ledger.send_again(1, by="ann", now=NOW) == 0
    due = {"other": 1} if word == "corrected" else {}
    assert (state_at(ledger, "ai"), ledger.due_destinations(NOW)) == ("cancelled", due)


def test_what_a_person_released_is_tried_again(ledger: Ledger) -> None:
    """Also while the decision on it is that it be held."""
    ledger.record([received()])
    ledger.judge(claimed(ledger), HELD, now=NOW)
    ledger.release(ledger.open_hold(1), ("ai",), by="ann", note_text="", now=NOW)
    (sending,) = ledger.claim_deliveries("ai", 5, NOW)
    ledger.retry_delivery(sending.id, error="away", at=NOW)
    (sending,) = ledger.claim_deliveries("ai", 5, NOW)
    ledger.fail_delivery(sending.id, error="no", now=NOW)
    assert ledger.send_again(1, by="ann", now=NOW) == 1
    assert ledger.due_destinations(NOW) == {"ai": 1}


def test_a_delivery_knows_whether_its_peer_was_sent_another_version(ledger: Ledger) -> None:
    """Under one UID: what the peer says that it has may be either."""
    ledger.record([received()], always=("archive", "backup"))
    (first,) = ledger.claim_deliveries("archive", 5, NOW)
    ledger.delivered(first.id, NOW)
    ledger.record([received(digest="b"), received("1.2.9", "9")], always=("archive", "backup"))
    corrected, other = ledger.claim_deliveries("archive", 5, NOW)
    assert (first.sole, corrected.sole, other.sole) == (True, False, True)
    assert ledger.claim_deliveries("backup", 1, NOW)[0].sole


def test_one_version_under_a_uid_is_in_hand_at_a_time(ledger: Ledger) -> None:
    """What the archive has already could be either; whoever else claims meanwhile gets neither."""
    ledger.record([received(), received(digest="b"), received("1.2.9", "9")], always=("archive",))
    first, other = ledger.claim_deliveries("archive", 5, NOW)
    assert (first.digest[0], other.digest[0], first.sole) == ("a", "9", True)
    assert ledger.claim_deliveries("archive", 5, NOW) == []
    ledger.delivered(first.id, NOW)
    (second,) = ledger.claim_deliveries("archive", 5, NOW)
    assert (second.digest[0], second.sole) == ("b", False)


@pytest.mark.parametrize("end", ["put back", "courier died"])
def test_what_goes_last_goes_last_again(ledger: Ledger, end: str) -> None:
    """It was claimed and not tried, or nobody knows."""
    ledger.record([received()], always=("archive",))
    for _ in range(GO_LAST):
        (one,) = ledger.claim_deliveries("archive", 5, NOW)
        ledger.retry_delivery(one.id, error="no", at=NOW, now=NOW, counted=True)
    (last,) = ledger.claim_deliveries("archive", 5, NOW)
    ledger.put_back(last.id, NOW) if end == "put back" else ledger.requeue_sending(now=NOW)
    ledger.record([received("1.2.9", "9")], always=("archive",))
    claims = [ledger.claim_deliveries("archive", 5, NOW) for _ in range(2)]
    assert [one.digest[0] for claim in claims for one in claim] == ["9", "a"]


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


def test_a_rejection_note_is_owed_with_the_rejection(ledger: Ledger) -> None:
    ledger.record([received()])
    ledger.judge(claimed(ledger), HELD, now=NOW)
    note = replace(SR, kind="rejection")
    ledger.reject(ledger.open_hold(1), by="ann", note_text="", now=NOW, made=note)
    assert ledger.due_destinations(NOW) == {"archive": 1}


def older(tmp_path: Path, schema: str) -> Ledger:
    """A ledger that a filmgate of this schema wrote, opened by today's."""
    old = sqlite3.connect(tmp_path / "ledger.sqlite")
    old.executescript((Path(__file__).parent / f"ledger_{schema}.sql").read_text())
    old.close()
    return Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", migrate_first=True)


@pytest.mark.parametrize("schema", ["0001", "0002", "0003"])
def test_an_older_ledger_keeps_all_it_held(tmp_path: Path, schema: str) -> None:
    """Jobs, deliveries and holds go on, and what is owed to a classifier can be read."""
    ledger = older(tmp_path, schema)
    ready, held = ledger.films()
    assert (ready.job, held.decision, held.job) == ("ready", "quarantine", "done")
    assert [(d["destination"], d["tries"], d["trouble"]) for d in held.deliveries] == [("archive", 0, None)]
    assert claimed(ledger).sop_instance_uid == ready.sop_instance_uid
    hold = ledger.open_hold(held.film_id)
    assert hold.words == ()
    ledger.release(hold, CHEST, by="ann", note_text="", now=NOW)
    ledger.read(reading(ledger), ANSWER, now=NOW)
    assert len(ledger.film(held.film_id).results) == 1
    kept = sqlite3.connect(tmp_path / f"ledger.sqlite.before-{schema}-to-{SCHEMA}")
    assert kept.execute("SELECT version_num FROM alembic_version").fetchone() == (schema,)
    kept.close()
    ledger.close()


def test_what_an_older_ledger_owes_goes_in_the_order_of_its_films(tmp_path: Path) -> None:
    """0003 to 0004: the first film was sent as urgent, and what is owed of it is."""
    ledger = older(tmp_path, "0003")
    with ledger.reading() as db:
        ranks = db.execute(select(deliveries.c.film_id, deliveries.c.rank).order_by(deliveries.c.id)).all()
    assert ranks == [(1, 0), (2, 1)]
    ledger.close()


def test_an_older_ledger_can_be_asked_and_answered(tmp_path: Path) -> None:
    """0002 to 0003: nothing that was held before waits for an answer; what is held now does."""
    ledger = older(tmp_path, "0002")
    assert (ledger.questions(), ledger.rulings()) == ([], [])
    ledger.judge(claimed(ledger), WAITS, now=NOW)
    (question,) = ledger.questions()
    assert (question.sender, question.word, len(question.films)) == ("ROOM3", "BONE", 1)
    ledger.close()


# --- words of the header, said once for all ---------------------------------------------------------

WAITS = Judged(
    Decision(Act.QUARANTINE, (Reason.HEADER_WORD,), "word of a special picture", "x", words=("BONE",)),
    (),
    "enforce",
    {},
    hold=True,
)


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


def test_opening_a_ledger_anew_keeps_the_locks_on_it(tmp_path: Path) -> None:
    """A ledger is open twice in each process, and again for a look: whoever closes last elsewhere must not
    take itself for the last of all, and remove the log that others write to."""
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    ledger = Ledger.open(url, migrate_first=True)
    ledger.record([received()])
    Ledger.open(url).close()
    look = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM instances').fetchall()"
    subprocess.run([sys.executable, "-c", look, str(tmp_path / "ledger.sqlite")], check=True)
    log = (tmp_path / "ledger.sqlite-wal").stat().st_ino
    ledger.record([received("1.2.4")])
    assert (tmp_path / "ledger.sqlite-wal").stat().st_ino == log
    assert len(ledger.films()) == 2
    ledger.close()
