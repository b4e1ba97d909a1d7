"""Whether a sender has been silent longer than is usual for it, by the same hours of the weeks before.

A room has nights and weekends of its own, and no table of them is asked for: what it did in the same
stretch of each of the last WEEKS weeks is its usual. Silent for it is a stretch in which it sent at least
LEAST films in *each* of them. Were films to come by chance alone, as many as in the least of those weeks, a
silence would come by chance in e^-10 of such stretches, 1 in 22,000; holidays are no chance, and say so on
the first of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

WEEKS = 4
LEAST = 10  # films in the same stretch of each of the weeks before
_HOUR = timedelta(hours=1)
_WEEK = timedelta(weeks=1)


@dataclass(frozen=True, slots=True)
class Silence:
    """A silence that is longer than usual."""

    since: datetime
    usual: int  # the least that it sent in the same stretch of one of the weeks before


def silence(last: datetime, now: datetime, films_by_hour: Mapping[datetime, int]) -> Silence | None:
    """What is unusual about no film since `last`; None when nothing is.

    Args:
        last: aware UTC; when the sender's last film was received.
        films_by_hour: how many there were, by the beginning of the hour in UTC. Only whole hours of the
            stretch are counted, so that those before and after it say nothing.
    """
    first = last.replace(minute=0, second=0, microsecond=0) + _HOUR
    end = now.replace(minute=0, second=0, microsecond=0)
    hours = max(0, int((end - first) / _HOUR))
    counts = [
        sum(films_by_hour.get(first + hour * _HOUR - week * _WEEK, 0) for hour in range(hours))
        for week in range(1, WEEKS + 1)
    ]
    return Silence(last, min(counts)) if min(counts) >= LEAST else None
