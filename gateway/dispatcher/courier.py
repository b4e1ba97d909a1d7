"""Carries what the ledger owes to destinations, each on threads of its own.

It runs in the dispatcher's process and needs neither workers nor Redis: originals reach the archive without
them. One thread looks at the ledger every LOOK_S and wakes the lanes that have something due; a lane claims,
sends and reports. A slow or dead destination holds up nobody but itself.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import structlog

from gateway.destinations import Destination
from gateway.destinations.retry import FEW, next_delay_s, tries_within
from gateway.errors import BadTransition, Blame, DeliveryError, LedgerError, Missing, StoreError, Trouble
from gateway.ledger import Ledger
from gateway.ledger.records import Delivery
from gateway.ledger.routing import GO_LAST
from gateway.process import loops
from gateway.settings import RetrySettings
from gateway.store import Store

log = structlog.get_logger()

LOOK_S = 0.05  # between two looks at the ledger
REST_S = 1.0  # a lane without work for so long lets its destination rest
BATCH = 8  # claimed at a time from a destination that is well
PROBE_S = 30.0  # a failing destination is tried at least so often, whatever single films wait for
LEDGER_S = 0.5  # until the next try when the ledger does not answer
TELL_H = 1.0  # an object that was refused for so long, while others were taken, is told of
_LATER = 5  # doublings that the first delay of a declined object skips: it is not tried in seconds
_MOST_FAILING = 10_000  # objects of one destination whose failures are remembered
_CLOSING_S = 2.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


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
        self._trouble: Trouble | None = None  # what was told of last
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


class Courier:
    """Sends what is due until it is stopped.

    Args:
        retry: by destination's name; the defaults for one that is missing.
        clock: aware UTC.
        rng: for jitter.
        not_sent: destinations that others look after: classifiers, with which workers read.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        destinations: Mapping[str, Destination],
        retry: Mapping[str, RetrySettings],
        clock: Callable[[], datetime] = _utc_now,
        rng: Random | None = None,
        not_sent: Collection[str] = (),
    ) -> None:
        self._ledger = ledger
        self._not_sent = frozenset(not_sent)
        self._store = store
        self._clock = clock
        self._rng = rng or Random()  # noqa: S311 # jitter, not a secret
        self._lanes = {
            name: Lane(destination, retry.get(name, RetrySettings()), self._rng)
            for name, destination in destinations.items()
        }
        self._unknown: set[str] = set()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Put back what a predecessor had in hand, and begin."""
        self._report(self._put_back)
        self._begin("courier look", self._look_on)
        for name, lane in self._lanes.items():
            for number in range(lane.destination.associations):
                thread = f"courier {name} {number + 1}"
                self._begin(thread, partial(self._carry_on, lane, thread))

    def stop(self, drain_s: float) -> None:
        """End: deliveries under way have `drain_s` to finish, then they break off; the ledger keeps them."""
        self._stopping.set()
        for lane in self._lanes.values():
            lane.wake()
        self._join(drain_s)
        for lane in self._lanes.values():
            lane.destination.close()
        self._join(_CLOSING_S)

    def health(self) -> dict[str, dict[str, Any]]:
        """Each destination's state, in words for people."""
        found = {name: lane.health() for name, lane in self._lanes.items()}
        for name in sorted(self._unknown):
            text = "films are owed to it, but it is no longer in the settings; they wait"
            found[name] = {"state": "unknown", "text": text}
        return found

    def _begin(self, name: str, run: Callable[[], None]) -> None:
        self._threads.append(loops.start(name, run))

    def _join(self, within_s: float) -> None:
        until = time.monotonic() + within_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _put_back(self) -> None:
        if count := self._ledger.requeue_sending(now=self._clock()):
            log.info(
                "deliveries put back", count=count, meaning="they were under way when the last courier ended"
            )

    def _look_on(self) -> None:
        guard = loops.Guard("courier look", failing="ledger not readable", first_s=LEDGER_S)
        while not self._stopping.wait(guard(self._look) or LOOK_S):
            pass

    def _look(self) -> None:
        for name in self._ledger.due_destinations(self._clock(), most=1):
            if lane := self._lanes.get(name):
                if not lane.pause_left_s():
                    lane.wake()
            elif name not in self._unknown and name not in self._not_sent:
                self._unknown.add(name)
                log.warning(
                    "destination not in the settings", destination=name, meaning="its films are kept and wait"
                )

    def _carry_on(self, lane: Lane, thread: str) -> None:
        """What one thread of a lane does; nothing that goes wrong ends it."""
        # One object may be to blame, and waits longer each time by itself; the others shall not.
        guard = loops.Guard(
            thread, failing="delivery failed inside filmgate", first_s=LEDGER_S, longest_s=LEDGER_S
        )
        while not self._stopping.wait(guard(partial(self._turn, lane))):
            pass

    def _turn(self, lane: Lane) -> None:
        if not lane.await_work():
            lane.destination.rest()
        elif not self._stopping.is_set():
            self._round(lane)

    def _round(self, lane: Lane) -> None:
        """Claim what may go now, and carry it until the destination fails or the courier stops."""
        limit = lane.allowance()
        if not limit:
            lane.calm()
            return
        hand: deque[Delivery] = deque()
        try:
            hand.extend(self._ledger.claim_deliveries(lane.name, limit, self._clock()))
            if not hand:
                lane.calm()
            while hand and not self._stopping.is_set():
                if lane.failing and limit > 1:
                    break
                self._carry(lane, hand[0])
                hand.popleft()
        except Exception:
            if hand:  # not first in the line again
                self._not_now(lane, hand.popleft(), "filmgate failed over it; see the log")
            raise
        finally:
            lane.probe_over()
            for delivery in hand:
                self._put_back_one(delivery)

    def _carry(self, lane: Lane, delivery: Delivery) -> None:
        try:
            lane.destination.deliver(self._store.path(delivery.digest), delivery)
        except DeliveryError as error:
            self._not_delivered(lane, delivery, error)
        except (Missing, FileNotFoundError):
            text = "its file is not in the store; run `filmgate fsck`, and have it sent again"
            self._fail(lane, delivery, text, Trouble.NOT_IN_STORE)
        except StoreError as error:
            text = f"its file in the store cannot be used: {error}; run `filmgate fsck --deep`"
            self._fail(lane, delivery, text, Trouble.NOT_IN_STORE)
        except OSError as error:
            why = error.strerror or error
            self._not_now(lane, delivery, f"it cannot be read or prepared here now: {why}")
        else:
            self._report(lambda: self._ledger.delivered(delivery.id, self._clock()))
            lane.takes(delivery.id, self._clock())

    def _not_delivered(self, lane: Lane, delivery: Delivery, error: DeliveryError) -> None:
        now = self._clock()
        if error.unanswered:
            self._report(lambda: self._ledger.unanswered(delivery, now))
        if error.blame is Blame.OBJECT:
            self._fail(lane, delivery, str(error), error.trouble)
            lane.answers(now)
        elif self._stopping.is_set():  # we broke it off ourselves
            self._retry(delivery, "filmgate stopped while it was sent", 0.0, Trouble.OURS)
        elif error.blame is Blame.DESTINATION:
            self._retry(delivery, str(error), lane.fails(error, now), error.trouble)
        else:
            # What is refused again and again says nothing about the destination.
            fails = delivery.tries < GO_LAST and lane.suspects(delivery.id)
            self._doubted(lane, delivery, error, lane.fails(error, now) if fails else 0.0)

    def _doubted(self, lane: Lane, delivery: Delivery, error: DeliveryError, pause_s: float) -> None:
        """It may be this object's doing: others go first, and it is given up when they are taken."""
        counted = lane.counts(delivery.id)
        tries = delivery.tries + counted
        if counted and tries >= (FEW if error.few else tries_within(lane.retry.give_up_h, lane.retry)):
            text = f"given up after {tries} tries of its own, while others were taken: {error}"
            self._fail(lane, delivery, text, error.trouble)
            return
        if counted and tries == (FEW // 2 if error.few else tries_within(TELL_H, lane.retry)):
            log.warning(
                "object refused again and again",
                destination=lane.name,
                film=delivery.film_id,
                delivery=delivery.id,
                tries=tries,
                error=str(error),
                meaning="others are taken meanwhile; it is tried on, after them",
            )
        attempts = delivery.attempts + (_LATER if error.few else 0)
        delay_s = max(pause_s + next_delay_s(attempts, lane.retry, self._rng), error.after_s)
        self._retry(delivery, str(error), delay_s, error.trouble, counted=counted)

    def _not_now(self, lane: Lane, delivery: Delivery, error: str) -> None:
        """This machine could not do it, no fault of object or destination; tried on, but not for ever."""
        tries = delivery.tries + 1
        if tries >= tries_within(lane.retry.give_up_h, lane.retry):
            self._fail(lane, delivery, f"given up after {tries} tries: {error}", Trouble.OURS)
            return
        delay_s = next_delay_s(delivery.attempts, lane.retry, self._rng)
        self._retry(delivery, error, delay_s, Trouble.OURS, counted=True)

    def _retry(
        self,
        delivery: Delivery,
        error: str,
        delay_s: float,
        trouble: Trouble,
        *,
        counted: bool = False,
    ) -> None:
        now = self._clock()
        at = now + timedelta(seconds=delay_s)
        self._report(
            lambda: self._ledger.retry_delivery(
                delivery.id, error=error, at=at, now=now, trouble=trouble, counted=counted
            )
        )

    def _put_back_one(self, delivery: Delivery) -> None:
        self._report(lambda: self._ledger.put_back(delivery.id, self._clock()))

    def _fail(self, lane: Lane, delivery: Delivery, error: str, trouble: Trouble) -> None:
        log.error(
            "delivery parked",
            destination=lane.name,
            film=delivery.film_id,
            delivery=delivery.id,
            reason=trouble.value,
            error=error,
        )
        now = self._clock()
        self._report(lambda: self._ledger.fail_delivery(delivery.id, error=error, trouble=trouble, now=now))

    def _report(self, write: Callable[[], None]) -> None:
        """Write to the ledger; again and again while it is busy: what happened at the peer has happened.

        What cannot be written before the courier stops is sent once more by its successor.
        """
        while True:
            try:
                write()
            except BadTransition as error:
                log.error("delivery changed meanwhile", error=str(error))
                return
            except LedgerError as error:
                log.warning("ledger not usable", error=str(error), meaning="tried again soon")
                if self._stopping.wait(LEDGER_S):
                    return
            else:
                return
