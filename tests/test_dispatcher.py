"""The dispatcher: rings when there is work, frees leases that stand still."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.dispatcher.dispatcher import Dispatcher, LeaseWatch, _alone
from gateway.errors import FilmgateError
from gateway.ledger import Ledger
from gateway.ledger.records import Judged, Received
from pipelines.film import Act, Decision

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Bell:
    """A doorbell that counts."""

    def __init__(self) -> None:
        self.rings = 0

    def ring(self) -> bool:
        self.rings += 1
        return True


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", migrate_first=True)
    ledger.record([Received("1.2", "1.2.3", "1.2.840.10008.1.2.1", "a" * 64, 10, None, NOW)])
    return ledger


def test_it_rings_only_while_a_job_waits(ledger: Ledger) -> None:
    bell = Bell()
    dispatcher = Dispatcher(ledger, bell, LeaseWatch(ledger, lease_s=60, attempts=3))  # type: ignore[arg-type]
    dispatcher.look(0.0, NOW)
    ledger.claim("w")
    dispatcher.look(0.1, NOW)
    assert bell.rings == 1


def test_it_rings_for_what_is_owed_to_a_classifier(ledger: Ledger) -> None:
    """No film waits for the gates; a reading does."""
    job = ledger.claim("w")
    assert job is not None
    passed = Judged(Decision(Act.PASS), (), "enforce", {}, send_original_to=("chest14",))
    ledger.judge(job, passed, now=NOW)
    bell = Bell()
    watch = LeaseWatch(ledger, lease_s=60, attempts=3)
    Dispatcher(ledger, bell, watch, ("chest14",)).look(0.0, NOW)  # type: ignore[arg-type]
    Dispatcher(ledger, bell, watch).look(0.0, NOW)  # type: ignore[arg-type]
    assert bell.rings == 1


def test_a_lease_without_heartbeat_is_freed_after_its_time(ledger: Ledger) -> None:
    """Sixty seconds of our own monotonic clock without a beat, and the job is ready again."""
    watch = LeaseWatch(ledger, lease_s=60, attempts=3)
    ledger.claim("w")
    assert watch.look(0.0, NOW) == 0
    assert watch.look(59.9, NOW) == 0
    assert watch.look(60.0, NOW) == 1
    assert ledger.ready_jobs() == 1


def test_a_lease_that_beats_is_kept_for_ever(ledger: Ledger) -> None:
    watch = LeaseWatch(ledger, lease_s=60, attempts=3)
    ledger.claim("w")
    for second in range(0, 600, 50):
        ledger.beat("w")
        assert watch.look(float(second), NOW) == 0


def test_a_wall_clock_that_steps_frees_nothing(ledger: Ledger) -> None:
    """A day forward or back on the wall clock is no reason to take a lease away."""
    watch = LeaseWatch(ledger, lease_s=60, attempts=3)
    ledger.claim("w")
    watch.look(0.0, NOW)
    assert watch.look(1.0, NOW + timedelta(days=1)) == 0
    assert watch.look(2.0, NOW - timedelta(days=1)) == 0


def test_a_lease_that_was_taken_again_starts_anew(ledger: Ledger) -> None:
    """The watch counts for one claim, not for one job."""
    watch = LeaseWatch(ledger, lease_s=60, attempts=3)
    ledger.claim("w")
    watch.look(0.0, NOW)
    ledger.free_owner("w", max_attempts=3, error="died", now=NOW)
    ledger.claim("w2")
    assert watch.look(60.0, NOW) == 0


def test_two_dispatchers_on_one_state_folder_are_refused(tmp_path: Path) -> None:
    lock = tmp_path / "dispatch.lock"
    with _alone(lock), pytest.raises(FilmgateError, match="another dispatcher"), _alone(lock):
        pass
    with _alone(lock):
        pass
