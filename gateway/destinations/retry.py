"""When to try again: growing, jittered, bounded."""

from __future__ import annotations

from random import Random

from gateway.settings import RetrySettings

HORIZON_S = 5 * 3600.0  # the ledger takes a retry more than six hours ahead for a clock set back


def next_delay_s(attempt: int, settings: RetrySettings, rng: Random) -> float:
    """Seconds until the next try after failed try number `attempt` (1, 2, ...).

    Doubles from `first_s` up to `longest_s`; the upper half of it is jitter, so that what failed together
    does not come back together.
    """
    longest_s = min(settings.longest_s, HORIZON_S)
    full_s = min(longest_s, settings.first_s * 2.0 ** min(max(attempt, 1) - 1, 62))
    return full_s * rng.uniform(0.5, 1.0)
