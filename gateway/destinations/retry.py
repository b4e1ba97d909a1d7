"""When to try again: growing, jittered, bounded."""

from __future__ import annotations

from math import ceil
from random import Random

from gateway.settings import RetrySettings

FEW = 12  # tries of an object that the peer declines: some two hours by default
HORIZON_S = 5 * 3600.0  # the ledger takes a retry more than six hours ahead for a clock set back


_MEAN = 0.75  # of the full delay, which the jitter leaves


def next_delay_s(attempt: int, settings: RetrySettings, rng: Random) -> float:
    """Seconds until the next try after failed try number `attempt` (1, 2, ...).

    Doubles from `first_s` up to `longest_s`; the upper half of it is jitter, so that what failed together
    does not come back together.
    """
    longest_s = min(settings.longest_s, HORIZON_S)
    full_s = min(longest_s, settings.first_s * 2.0 ** min(max(attempt, 1) - 1, 62))
    return full_s * rng.uniform(0.5, 1.0)


def tries_within(hours: float, settings: RetrySettings) -> int:
    """How many tries fill so many hours at these delays: what is counted instead of time, as clocks step.

    By default 904 for the 168 hours of `give_up_h`.
    """
    left_s, tries = hours * 3600, 0
    longest_s = min(settings.longest_s, HORIZON_S)
    full_s = min(settings.first_s, longest_s)
    while full_s < longest_s and left_s > 0:
        left_s -= full_s * _MEAN
        full_s = min(full_s * 2, longest_s)
        tries += 1
    return max(1, tries + ceil(max(0.0, left_s) / (longest_s * _MEAN)))
