"""The queue: what is asked all the time stays quick, and what cannot be done keeps nobody waiting."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from gateway.dispatcher.dispatcher import Dispatcher, LeaseWatch
from gateway.errors import StaleLease
from gateway.ledger import Ledger
from gateway.ledger.claiming import LONGEST_DELAY_S
from gateway.ledger.records import CopyMade, CopyState, Job, Judged, Made, Read, Received
from pipelines.film import Act, Answer, Decision, Finding, Reason, Verdict

EXPLICIT = "1.2.840.10008.1.2.1"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CHEST = ("chest14",)
FOUND = (Finding("rotation", Verdict.GOOD, 0.9, 0.1, 0.8),)
PASS = Judged(Decision(Act.PASS, rule="pass"), FOUND, "enforce", {}, send_original_to=("ai", "chest14"))
WORD = Decision(Act.QUARANTINE, (Reason.HEADER_WORD,), "word", "a word", words=("BONE",))
COPY = CopyMade("2.25.1", "1.2", EXPLICIT, "e" * 64, {"turn": 90}, CopyState.PROPOSED)
HELD = Judged(WORD, FOUND, "enforce", {}, copy=COPY, hold=True, takers=("ai",))
SR = Made("sr", "5" * 64, ("archive",), "1.2.840.10008.5.1.4.1.1.88.33", "2.25.5", EXPLICIT)
ANSWER = Read("chest14", "1", "d" * 64, {"conditions": [{"name": "Mass", "probability": 0.7}]}, (SR,))
HIGH, LOW = {"urgent": True}, {"can_wait": True}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", migrate_first=True)
    yield opened
    opened.close()


def receive(ledger: Ledger, *numbers: int, association: int | None = None, **values: bool) -> None:
    for number in numbers:
        film = Received("1.2", f"1.2.{number}", EXPLICIT, f"{number:064x}", 10, association, NOW, **values)
        ledger.record([film], always=("archive",))


def claimed(ledger: Ledger, now: datetime = NOW) -> Job:
    job = ledger.claim("w", CHEST, now=now)
    assert job is not None
    return job


# --- what is asked all the time -------------------------------------------------------------------

# Indices of the few rows that wait for something: to go through one is to go through no more than those.
SHORT = {"ix_jobs_ready", "ix_jobs_leased", "ix_holds_words"} | {
    f"ix_deliveries_{state}" for state in ("pending", "retry", "sending", "failed")
}
TABLES = (
    "jobs|earlier|deliveries|other|instances|versions|decisions|findings|holds|events|copies|results|objects"
)


@contextmanager
def plans(ledger: Ledger) -> Iterator[dict[str, list[str]]]:
    """The plan of each statement that is executed meanwhile."""
    asked: dict[str, Any] = {}
    engines = (ledger._engine, ledger._leases)

    def remember(
        _conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        asked.setdefault(statement, parameters[0] if many else parameters)

    for engine in engines:
        event.listen(engine, "before_cursor_execute", remember)
    found: dict[str, list[str]] = {}
    yield found
    for engine in engines:
        event.remove(engine, "before_cursor_execute", remember)
    with ledger.reading() as db:
        for statement, parameters in asked.items():
            if statement.split()[0] in ("SELECT", "UPDATE", "WITH", "INSERT"):
                plan = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                found[statement] = [row[3] for row in plan]


def walks(plan: list[str]) -> list[str]:
    """The steps that go through a whole table, or through all that was ever held open."""
    bad = []
    for step in plan:
        whole = re.match(rf"SCAN (?:{TABLES})\b(?: USING (?:COVERING )?INDEX (\w+))?", step)
        if (whole and whole[1] not in SHORT) or "ix_holds_state" in step:
            bad.append(step)
    return bad


def all_that_a_gateway_does(ledger: Ledger) -> None:
    """Every call that listener, workers, dispatcher, courier and people make for one film."""
    row = ledger.associate(calling="ROOM3", called="FILMGATE", address="127.0.0.1", now=NOW)
    receive(ledger, 1, 2, 3, 4, association=row)
    ledger.record([Received("1.2", "1.2.1", EXPLICIT, "f" * 64, 10, row, NOW)], always=("archive",))
    ledger.dissociate(row, outcome="released", objects=4, size_bytes=40, now=NOW)
    ledger.postpone(claimed(ledger), error="no room", now=NOW)
    ledger.judge(claimed(ledger), HELD, now=NOW)
    ledger.sender_of(2)
    ledger.fail(claimed(ledger), error="boom", max_attempts=1, now=NOW)
    ledger.beat("w")
    for job, (token, _) in ledger.leases().items():
        ledger.free_lease(job, token, max_attempts=3, error="silent", now=NOW)
    ledger.judge(claimed(ledger), PASS, now=NOW)
    reading = claimed(ledger)
    assert reading.reading is not None
    ledger.findings_of(reading.version_id)
    ledger.read(reading, ANSWER, now=NOW)
    ledger.same_pixels(claimed(ledger, NOW + timedelta(minutes=1)), now=NOW)
    ledger.free_owner("w", max_attempts=3, error="died", now=NOW)
    ledger.ready_jobs(CHEST, now=NOW, most=1)
    ledger.due_destinations(NOW, most=1)
    first, second, third, *_ = ledger.claim_deliveries("archive", 8, NOW)
    ledger.unanswered(first, NOW)
    ledger.retry_delivery(first.id, error="away", at=NOW, now=NOW)
    ledger.fail_delivery(second.id, error="refused", now=NOW)
    ledger.delivered(third.id, NOW)
    ledger.requeue_sending(now=NOW)
    ledger.claim_deliveries("archive", 8, NOW)
    ledger.send_again(2, by="ann", now=NOW)
    ledger.rule("ROOM3", "BONE", Answer.NEVER, by="ann", note_text="", now=NOW)
    ledger.judge(claimed(ledger, NOW + timedelta(minutes=1)), HELD, now=NOW)
    ledger.open_hold(2)
    ledger.release(ledger.open_hold("h1"), ("ai",), by="ann", note_text="", now=NOW)
    ledger.reject(ledger.open_hold(3), by="ann", note_text="", now=NOW)
    ledger.rejection(3)
    ledger.gate_again(3, by="ann", now=NOW, rejected=True)
    ledger.film("1.2.1"), ledger.events(1), ledger.trace(1)
    ledger.lose("f" * 64, now=NOW)


def test_nothing_that_a_gateway_does_for_a_film_walks_through_the_others(ledger: Ledger) -> None:
    """Each statement finds its rows by an index, however many films were decided, sent or held before."""
    with plans(ledger) as found:
        all_that_a_gateway_does(ledger)
    assert {statement: walks(plan) for statement, plan in found.items() if walks(plan)} == {}
    assert len(found) > 60


def test_a_look_at_what_is_owed_sorts_nothing(ledger: Ledger) -> None:
    """What comes first is the first in the index: thousands that are owed to one who is away cost nothing."""
    receive(ledger, 1)
    with plans(ledger) as found:
        ledger.ready_jobs(CHEST, now=NOW, most=1), ledger.due_destinations(NOW, most=1)
        ledger.leases(), ledger.claim("w", CHEST, now=NOW), ledger.claim_deliveries("archive", 8, NOW)
    sorts = [step for plan in found.values() for step in plan if "ORDER BY" in step]
    assert (sorts, len(found) > 8) == ([], True)


def test_a_look_counts_no_further_than_it_is_asked(ledger: Ledger) -> None:
    receive(ledger, 1, 2, 3)
    assert ledger.due_destinations(NOW, most=1) == {"archive": 1}
    assert (ledger.ready_jobs(now=NOW, most=2), ledger.ready_jobs()) == (2, 3)
    while job := ledger.claim("w", now=NOW):
        ledger.judge(job, PASS, now=NOW)
    assert (ledger.ready_jobs(CHEST, now=NOW, most=1), ledger.ready_jobs(CHEST)) == (1, 3)


def test_nobody_who_finds_nothing_to_do_locks_the_ledger(ledger: Ledger) -> None:
    """Idle workers and lanes look all the time."""
    locks: list[object] = []
    event.listen(ledger._leases, "begin", locks.append)
    assert ledger.claim("w", CHEST, now=NOW) is None
    assert ledger.claim_deliveries("archive", 8, NOW) == []
    assert locks == []


def test_two_who_want_the_same_get_one_each(ledger: Ledger) -> None:
    """Somebody else takes what a claim has looked up, before it has the lock: it takes the next."""
    receive(ledger, 1, 2)
    following, taken = ledger._following, []

    def overtaken(*args: Any) -> Any:
        found = following(*args)
        if not taken:
            taken.append(None)
            taken.append(ledger.claim("other", now=NOW))
        return found

    ledger._following = overtaken  # type: ignore[method-assign]
    assert claimed(ledger).film_id == 2
    assert taken[1] is not None
    assert taken[1].film_id == 1


def test_what_is_urgent_goes_first_to_its_destinations_too(ledger: Ledger) -> None:
    """After an outage of a destination nobody waits with an emergency behind thousands."""
    receive(ledger, 1)
    receive(ledger, 2, **LOW)
    receive(ledger, 3, **HIGH)
    assert [one.film_id for one in ledger.claim_deliveries("archive", 8, NOW)] == [3, 1, 2]


def test_a_film_that_is_sent_again_as_urgent_hurries_what_is_owed_of_it(ledger: Ledger) -> None:
    receive(ledger, 1, 2)
    ledger.record([Received("1.2", "1.2.2", EXPLICIT, "f" * 64, 10, None, NOW, urgent=True)])
    assert [one.film_id for one in ledger.claim_deliveries("archive", 1, NOW)] == [2]


# --- what cannot be done now ----------------------------------------------------------------------

IN_ANOTHER_PROCESS = """
import sys
from datetime import datetime
from gateway.ledger import Ledger
job = Ledger.open(sys.argv[1]).claim("another", now=datetime.fromisoformat(sys.argv[2]))
print(job.film_id if job else "none")
"""


def another_claims(ledger: Ledger, now: datetime) -> str:
    """What a worker that is another process is given."""
    told = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(ledger._engine.url), now.isoformat()]
    return subprocess.run(told, check=True, capture_output=True, text=True, timeout=120).stdout.strip()


def test_a_film_that_cannot_be_examined_heads_the_queue_of_no_worker(ledger: Ledger) -> None:
    """One worker put it off: those behind it go on with every other worker, too; then it is tried again."""
    receive(ledger, 1, 2)
    ledger.postpone(claimed(ledger), error="no room", now=NOW)
    assert another_claims(ledger, NOW) == "2"
    assert another_claims(ledger, NOW) == "none"
    assert another_claims(ledger, NOW + timedelta(seconds=4)) == "1"


def test_an_urgent_film_that_was_put_off_goes_first_when_its_time_has_come(ledger: Ledger) -> None:
    receive(ledger, 1)
    receive(ledger, 2, **HIGH)
    receive(ledger, 3)
    ledger.postpone(claimed(ledger), error="no room", now=NOW)
    assert claimed(ledger).film_id == 1
    assert claimed(ledger, NOW + timedelta(seconds=5)).film_id == 2


def test_what_is_put_off_waits_longer_each_time_within_bounds(ledger: Ledger) -> None:
    receive(ledger, 1)
    now, delays = NOW, []
    for _ in range(7):
        ledger.postpone(claimed(ledger, now), error="no room", now=now)
        waited = next(s for s in range(1, 99) if ledger.ready_jobs(now=now + timedelta(seconds=s)))
        delays.append(waited)
        now += timedelta(seconds=waited)
    assert delays == [4, 8, 16, 32, 60, 60, 60]
    assert claimed(ledger, now).attempts == 1


class Bell:
    rung = 0

    def ring(self) -> None:
        self.rung += 1


def test_nobody_is_woken_for_a_film_whose_time_has_not_come(ledger: Ledger) -> None:
    receive(ledger, 1)
    ledger.postpone(claimed(ledger), error="no room", now=NOW)
    bell = Bell()
    dispatcher = Dispatcher(ledger, bell, LeaseWatch(ledger, lease_s=60, attempts=3))  # type: ignore[arg-type]
    dispatcher.look(0.0, NOW)
    assert bell.rung == 0
    dispatcher.look(1.0, NOW + timedelta(seconds=4))
    assert bell.rung == 1


@pytest.mark.parametrize("days", [-9, 9])
def test_a_clock_that_steps_makes_no_film_wait(ledger: Ledger, days: int) -> None:
    """Put off while the clock was days ahead, or behind: it is due now, not in days, and is not parked."""
    receive(ledger, 1)
    for _ in range(3):
        assert not ledger.postpone(claimed(ledger), error="no room", now=NOW + timedelta(days=days))
    assert ledger.ready_jobs(now=NOW, most=1) == 1
    assert claimed(ledger).film_id == 1


def test_a_film_is_parked_after_hours_of_tries_not_of_the_clock(ledger: Ledger) -> None:
    """Its own delays are added up: 4 + 8 + 16 + 32 s, then minutes. It is held, and says why in words."""
    receive(ledger, 1)
    now, tries = NOW, 0
    while not ledger.postpone(claimed(ledger, now), error="no room", now=now, give_up_h=0.1):
        tries += 1
        now += timedelta(days=9) if tries == 2 else timedelta(seconds=LONGEST_DELAY_S)
    assert tries == 9  # 60 s with the first four, 300 s with the five that follow
    (hold,) = ledger.holds()
    assert hold.reasons == (Reason.ATTEMPTS_EXHAUSTED.value,)
    assert "not possible for 0.1 hours, 10 tries: no room" in hold.why
    assert (ledger.ready_jobs(), ledger.film(1).job) == (0, "parked")
    assert ledger.gate_again(1, by="ann", now=now)
    assert not ledger.postpone(claimed(ledger, now), error="no room", now=now, give_up_h=0.1)  # anew


def test_a_reading_that_cannot_be_done_for_hours_fails_for_a_person(ledger: Ledger) -> None:
    receive(ledger, 1)
    ledger.judge(claimed(ledger), PASS, now=NOW)
    now = NOW
    while not ledger.postpone(claimed(ledger, now), error="no room", now=now, give_up_h=0.1):
        now += timedelta(seconds=LONGEST_DELAY_S)
    owed = {one["destination"]: one["state"] for one in ledger.film(1).deliveries}
    assert owed["chest14"] == "failed"
    assert ledger.holds() == []


def test_only_who_holds_a_film_can_put_it_off(ledger: Ledger) -> None:
    receive(ledger, 1)
    job = claimed(ledger)
    ledger.postpone(job, error="no room", now=NOW)
    with pytest.raises(StaleLease):
        ledger.postpone(job, error="no room", now=NOW)
