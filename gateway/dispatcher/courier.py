"""Carries what the ledger owes to destinations, each on threads of its own.

It runs in the dispatcher's process and needs neither workers nor Redis: originals reach the archive without
them. One thread looks at the ledger when it is told to, and every LOOK_S, and wakes the lanes that have
something due; a lane claims, sends and reports. A slow or dead destination holds up nobody but itself.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import structlog

from gateway.destinations import Destination
from gateway.destinations.retry import FEW, next_delay_s, tries_within
from gateway.dispatcher.lane import Lane
from gateway.errors import BadTransition, Blame, DeliveryError, LedgerError, Missing, StoreError, Trouble
from gateway.ledger import Ledger
from gateway.ledger.records import Delivery
from gateway.ledger.routing import GO_LAST
from gateway.process import loops
from gateway.process.wake import rest_s
from gateway.settings import RetrySettings
from gateway.store import Store

log = structlog.get_logger()

LOOK_S = 0.5  # between two looks at the ledger when nobody says that something is due
LEDGER_S = 0.5  # until the next try when the ledger does not answer
TELL_H = 1.0  # after so long the log names an object that is refused while others are taken
_LATER = 5  # doublings that the first delay of a declined object skips: it is not tried in seconds
_CLOSING_S = 2.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


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
        self._look_due = threading.Event()
        self._retry_at_s = math.inf  # monotonic: when the next of those that failed is due
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Put back what a predecessor had in hand, and begin."""
        self._report(self._put_back)
        self._begin("courier look", self._look_on)
        for name, lane in self._lanes.items():
            for number in range(lane.destination.associations):
                thread = f"courier {name} {number + 1}"
                self._begin(thread, partial(self._carry_on, lane, thread))

    def look_now(self) -> None:
        """Look at the ledger without waiting for the time of the next look: something may be due."""
        self._look_due.set()

    def stop(self, drain_s: float) -> None:
        """End: deliveries under way have `drain_s` to finish, then they break off; the ledger keeps them."""
        self._stopping.set()
        self._look_due.set()
        for lane in self._lanes.values():
            lane.wake()
        self._join(drain_s)
        for lane in self._lanes.values():
            lane.destination.close()
        self._join(_CLOSING_S)

    def health(self) -> dict[str, dict[str, Any]]:
        """Each destination's state, in words for people."""
        states = {name: lane.health() for name, lane in self._lanes.items()}
        for name in sorted(self._unknown):
            text = "films are owed to it, but it is no longer in the settings; they wait"
            states[name] = {"state": "unknown", "text": text}
        return states

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
        while not self._stopping.is_set():
            self._look_due.clear()
            began_s = time.monotonic()
            if self._retry_at_s <= began_s:
                self._retry_at_s = math.inf
            pause_s = guard(self._look)
            if pause_s or not self._stopping.wait(rest_s(time.monotonic() - began_s)):
                self._look_due.wait(pause_s or max(0.0, min(LOOK_S, self._retry_at_s - time.monotonic())))

    def _look(self) -> None:
        paused = self._ledger.steered().paused
        self._ledger.let_go(self._clock())
        for name in self._ledger.due_destinations(self._clock(), most=1):
            if lane := self._lanes.get(name):
                if name not in paused and not lane.pause_left_s():
                    lane.wake()
            elif name not in self._unknown and name not in self._not_sent:
                self._unknown.add(name)
                log.warning(
                    "destination not in the settings", destination=name, meaning="its films are kept and wait"
                )

    def _carry_on(self, lane: Lane, thread: str) -> None:
        """The work of one thread of a lane; no error ends it."""
        # One object may be to blame, and waits longer each time by itself; the others shall not.
        guard = loops.Guard(
            thread, failing="delivery failed inside filmgate", first_s=LEDGER_S, longest_s=LEDGER_S
        )
        guard.until(self._stopping, partial(self._turn, lane))

    def _turn(self, lane: Lane) -> None:
        if not lane.await_work():
            lane.destination.rest()
        elif not self._stopping.is_set():
            self._round(lane)

    def _round(self, lane: Lane) -> None:
        """Claim what may go now, and carry it until the destination fails or the courier stops."""
        limit = 0 if self._is_paused(lane) else lane.allowance()
        if not limit:
            lane.calm()
            return
        hand: deque[Delivery] = deque()
        try:
            hand.extend(self._ledger.claim_deliveries(lane.name, limit, self._clock()))
            if not hand:
                lane.calm()
            while hand and not self._stopping.is_set():
                if (lane.failing and limit > 1) or self._is_paused(lane):
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

    def _is_paused(self, lane: Lane) -> bool:
        """Whether a person said that nothing is sent there; asked before each object."""
        return lane.name in self._ledger.steered().paused

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
            # An object that is refused again and again says nothing about the destination.
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
        self._retry_at_s = min(self._retry_at_s, time.monotonic() + delay_s)
        self.look_now()  # it waits no longer than until then

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

        An object whose end cannot be written before the courier stops is sent once more by its successor.
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
