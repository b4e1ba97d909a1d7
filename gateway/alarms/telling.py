"""Word of alarms to people, by webhook and by mail, on a thread of its own: nobody waits for either.

A notice is owed from the commit of its alarm on, and done when the other side has taken it. What is cut off
in between is said once more, under the same Message-ID and Idempotency-Key: whoever got it twice can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from threading import Event
from typing import Protocol

import structlog

from gateway.alarms.hook import Hook
from gateway.alarms.mail import Mail
from gateway.alarms.thumbnail import picture_of
from gateway.errors import DeliveryError, SettingsError
from gateway.ledger import Ledger
from gateway.ledger.watching.records import Notice
from gateway.process import loops
from gateway.process.health import HERE, Health
from gateway.settings import Settings
from gateway.settings.alarms import AlarmSettings
from gateway.store.thumbs import Thumbs

log = structlog.get_logger()

LOOK_S = 2.0
FIRST_RETRY_S, LONGEST_RETRY_S = 15.0, 3600.0
MOST_TRIES = 30  # about a day
CLAIMED_S = 300.0  # longer than a try takes; after a crash it is tried again then


class Way(Protocol):
    """How a notice is sent."""

    def send(self, notice: Notice) -> None:
        """
        Raises:
            DeliveryError: it was not taken.
        """


def ways(settings: AlarmSettings) -> tuple[str, ...]:
    """The ways that are set up."""
    said = (("webhook", settings.webhook.url), ("mail", settings.mail.server))
    return tuple(way for way, address in said if address)


def makers(settings: Settings, ledger: Ledger) -> dict[str, Callable[[], Way]]:
    """The ways that are set up, each made when there is something to say: what it needs may come later."""
    picture = partial(picture_of, ledger=ledger, thumbs=Thumbs(settings.state))
    known: dict[str, Callable[[], Way]] = {
        "webhook": partial(Hook, settings),
        "mail": partial(Mail, settings, picture),
    }
    return {way: known[way] for way in ways(settings.alarms)}


class Telling:
    """Sends what is owed until it is stopped."""

    def __init__(
        self,
        ledger: Ledger,
        ways: Mapping[str, Callable[[], Way]],
        clock: Callable[[], datetime],
        health: Health = HERE,
    ) -> None:
        self._ledger = ledger
        self._ways = ways
        self._clock = clock
        self._health = health

    def run(self, stop: Event) -> None:
        """Look again and again until `stop` is set; nothing is looked for where no way is set up."""
        if not self._ways:
            return
        guard = loops.Guard("alarm notices", failing="word of alarms not sent")
        guard.until(stop, lambda: self.look(stop), every_s=LOOK_S)

    def look(self, stop: Event) -> None:
        """Send what is due; where one was not taken, the others of its way wait for the next look."""
        failing = set[str]()
        for notice in self._ledger.notices_due(self._clock()):
            if stop.is_set():
                return
            if notice.way not in failing and not self._said(notice):
                failing.add(notice.way)

    def tell(self, alarm_id: int) -> None:
        """Send what is due of one alarm."""
        for notice in self._ledger.notices_due(self._clock(), alarm_id):
            self._said(notice)

    def _said(self, notice: Notice) -> bool:
        """Whether it was not refused: taken, or somebody else's to send."""
        now = self._clock()
        until = now + timedelta(seconds=CLAIMED_S)
        if notice.way not in self._ways or not self._ledger.claim_notice(notice.id, now, until):
            return True
        name = f"word of alarms by {notice.way}"
        try:
            self._ways[notice.way]().send(notice)
        except (DeliveryError, SettingsError) as error:
            tries = notice.attempts + 1
            again = self._clock() + timedelta(seconds=delay_s(tries)) if tries < MOST_TRIES else None
            self._ledger.notice_failed(notice.id, str(error), self._clock(), again)
            self._health.failed(name, str(error), tries)
            log.warning("word of an alarm not taken", alarm=notice.alarm.id, way=notice.way, error=str(error))
            return False
        self._ledger.notice_sent(notice.id, self._clock())
        self._health.well(name)
        return True


def delay_s(tries: int) -> float:
    """Until the next try, after so many."""
    return min(FIRST_RETRY_S * 2.0 ** min(tries - 1, 20), LONGEST_RETRY_S)
