"""One destination of the courier: whether it takes objects, and when it is tried again."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from datetime import datetime
from random import Random
from typing import Any

import structlog

from gateway.destinations import Destination
from gateway.destinations.retry import next_delay_s
from gateway.errors import DeliveryError, Trouble
from gateway.settings import RetrySettings

log = structlog.get_logger()

REST_S = 1.0  # a lane without work for so long lets its destination rest
BATCH = 8  # claimed at a time from a destination that is well
PROBE_S = 30.0  # a failing destination is tried at least so often, whatever single films wait for
_MOST_FAILING = 10_000  # objects of one destination whose failures are remembered


class Lane:
    """One destination: whether it takes objects, and who waits to bring it some.

    After a failure that is the destination's it is paused as a whole, longer after each further one; then one
    object is the probe, and the end of an outage is noticed at once. A failure of which nobody knows whose it
    is, is the object's as long as the destination takes others. Two in a row are the destination's.
    """

    def __init__(self, destination: Destination, retry: RetrySettings, rng: Random) -> None:
        self.destination = destination
        self.retry = retry
        self.delivered = 0
        self.error = ""
        self.since: datetime | None = None  # failing since
        self._trouble: Trouble | None = None  # of which people were told last
        self._rng = rng
        self._taken = 0  # objects, by this process
        self._taken_then: OrderedDict[int, int] = OrderedDict()  # delivery: `_taken` when it failed last
        self._suspects: set[int] = set()  # deliveries that failed since the last one was taken; two at most
        self._failures = 0
        self._paused_until = 0.0  # monotonic
        self._probing = False
        self._work = False
        self._changed = threading.Condition()

    @property
    def name(self) -> str:
        return self.destination.name

    @property
    def failing(self) -> bool:
        return self._failures > 0

    def pause_left_s(self) -> float:
        return max(0.0, self._paused_until - time.monotonic()) if self._failures else 0.0

    def wake(self) -> None:
        """There is something to do, or the courier stops."""
        with self._changed:
            self._work = True
            self._changed.notify_all()

    def await_work(self) -> bool:
        """Wait up to REST_S; whether there is something to do."""
        with self._changed:
            return self._changed.wait_for(lambda: self._work, REST_S)

    def calm(self) -> None:
        """Nothing more is due, or may be sent now; the next `wake` says when."""
        with self._changed:
            self._work = False

    def allowance(self) -> int:
        """How many to claim now: a batch, one as a probe, or none."""
        with self._changed:
            if not self._failures:
                return BATCH
            if self._probing or self.pause_left_s():
                return 0
            self._probing = True
            return 1

    def probe_over(self) -> None:
        with self._changed:
            self._probing = False

    def takes(self, delivery_id: int, now: datetime) -> None:
        """The destination took an object."""
        with self._changed:
            self._taken += 1
            self._taken_then.pop(delivery_id, None)
            self.delivered += 1
        self.answers(now)

    def answers(self, now: datetime) -> None:
        """The destination answered as it should, be it that it refuses an object for what it is."""
        with self._changed:
            since, self.since = self.since, None
            self._suspects.clear()
            self._failures = 0
            self._probing = False
        if since:
            seconds = round((now - since).total_seconds())
            log.info("destination takes films again", destination=self.name, was_failing_for_s=seconds)

    def counts(self, delivery_id: int) -> bool:
        """Whether this failed try is held against the object: others were taken since its last one failed."""
        with self._changed:
            before = self._taken_then.pop(delivery_id, self._taken)
            self._taken_then[delivery_id] = self._taken
            if len(self._taken_then) > _MOST_FAILING:
                self._taken_then.popitem(last=False)
            return self._taken > before

    def suspects(self, delivery_id: int) -> bool:
        """Whether it looks as if the destination takes nothing, not just not this object."""
        with self._changed:
            if len(self._suspects) < 2:
                self._suspects.add(delivery_id)
            self._probing = False
            return len(self._suspects) > 1 or self.failing

    def fails(self, error: DeliveryError, now: datetime) -> float:
        """The destination failed as such; the seconds until it is tried again."""
        with self._changed:
            # Others who failed at the same time tell nothing new.
            if not self.pause_left_s():
                self._failures += 1
                pause_s = next_delay_s(self._failures, self.retry, self._rng)
                self._paused_until = time.monotonic() + max(min(pause_s, PROBE_S), error.after_s)
            self._probing = False
            self.error = str(error)
            news = self.since is None or error.trouble != self._trouble
            self._trouble = error.trouble
            self.since = self.since or now
            left_s = self.pause_left_s()
        if news:  # whoever mended one thing must read that it is another one now
            log.warning(
                "destination takes no films",
                destination=self.name,
                error=self.error,
                next_try_in_s=round(left_s, 1),
                meaning="its films are kept and wait; other destinations go on",
            )
        return left_s

    def health(self) -> dict[str, Any]:
        """State in words, for people."""
        if self.since is None:
            return {"state": "ok", "delivered": self.delivered, "text": "takes films"}
        text = (
            f"takes no films since {self.since:%Y-%m-%d %H:%M:%S} UTC: {self.error}. They are kept and wait"
        )
        return {
            "state": "failing",
            "delivered": self.delivered,
            "text": f"{text}; next try in {self.pause_left_s():.0f} s",
            "error": self.error,
            "since": self.since.isoformat(),
        }
