"""One destination of the courier: delays, probes and what counts as its failure."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

from courier_gateway import Fake
from structlog.testing import capture_logs

from gateway.destinations.retry import HORIZON_S, next_delay_s, tries_within
from gateway.dispatcher import lane as lane_module
from gateway.dispatcher.lane import Lane
from gateway.errors import Unreachable
from gateway.settings import RetrySettings
from gateway.upper_layer.association import Unwelcome


def test_delays_grow_within_bounds_and_differ() -> None:
    """Half to whole of first x 2^n, never above the longest."""
    settings = RetrySettings(first_s=2, longest_s=100)
    rng = Random(1)
    for attempt in range(1, 200):
        full_s = min(100, 2 * 2 ** min(attempt - 1, 20))
        delays = [next_delay_s(attempt, settings, rng) for _ in range(50)]
        assert all(full_s / 2 <= delay_s <= full_s for delay_s in delays)
        assert len(set(delays)) > 40


def test_no_delay_reaches_beyond_the_ledgers_horizon() -> None:
    """Further ahead the ledger takes for a clock that was set back."""
    settings = RetrySettings(first_s=2, longest_s=10**9)
    assert next_delay_s(10**6, settings, Random(1)) <= HORIZON_S < 6 * 3600


def test_hours_are_counted_in_tries() -> None:
    """As many as fill them at the mean of the jittered delays."""
    assert tries_within(168, RetrySettings()) == 904
    assert tries_within(1, RetrySettings()) == 14
    assert tries_within(1e-9, RetrySettings()) == 1
    assert tries_within(10**6, RetrySettings(first_s=1e-3, longest_s=1e-3)) == 4_800_000_000_000


def test_failures_at_the_same_time_count_once() -> None:
    """Eight associations that break together are one outage."""
    lane = Lane(Fake("archive"), RetrySettings(first_s=4, longest_s=1000), Random(1))
    now = datetime.now(UTC)
    for _ in range(8):
        left_s = lane.fails(Unreachable("dead"), now)
    assert 1.9 <= left_s <= 4
    assert lane.allowance() == 0


def test_another_reason_is_told_again() -> None:
    """Whoever started the archive again reads in the log that it does not know our AE title now."""
    lane = Lane(Fake("archive"), RetrySettings(first_s=1e-9, longest_s=1e-9), Random(1))
    now = datetime.now(UTC)
    with capture_logs() as logs:
        for error in (Unreachable("dead"), Unreachable("dead still"), Unwelcome("who are you?")):
            lane.fails(error, now)
            lane.fails(error, now)
        lane.takes(1, now)
        lane.fails(Unwelcome("who are you?"), now)
    said = [entry["error"] for entry in logs if entry["event"] == "destination takes no films"]
    assert said == ["dead", "who are you?", "who are you?"]


def test_a_long_delay_does_not_hide_that_it_is_back() -> None:
    """A film may wait for fifteen minutes; the destination is tried every PROBE_S."""
    lane = Lane(Fake("archive"), RetrySettings(first_s=900, longest_s=900), Random(1))
    assert lane.fails(Unreachable("dead"), datetime.now(UTC)) <= lane_module.PROBE_S


def test_one_probe_at_a_time() -> None:
    """When the pause ends, one of many threads tries one object."""
    lane = Lane(Fake("archive"), RetrySettings(first_s=1e-9, longest_s=1e-9), Random(1))
    lane.fails(Unreachable("dead"), datetime.now(UTC))
    assert [lane.allowance() for _ in range(3)] == [1, 0, 0]
    lane.probe_over()
    assert lane.allowance() == 1
    lane.takes(1, datetime.now(UTC))
    assert lane.allowance() == lane_module.BATCH
