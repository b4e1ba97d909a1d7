"""One look after the other: films are taken in, the rates of their senders followed, and alarms set.

It keeps no state that the ledger lacks: a look that is cut off is made again from where the last one ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from threading import Event

import structlog

from gateway.alarms import conditions, words
from gateway.alarms.telling import ways
from gateway.ledger import Ledger
from gateway.ledger.watching.films import TakenIn
from gateway.ledger.watching.records import AlarmKind, JudgedFilm, Signal
from gateway.process import loops
from gateway.settings import Settings
from pipelines.film import Act, Reason
from pipelines.watching import Phase, Rate, Watch, follow

log = structlog.get_logger()

LOOK_S = 5.0  # between two looks for films
SLOW_S = 30.0  # between two looks at everything else
CATCH_UP_S = 0.2  # between two batches while the ledger has more: others work meanwhile
BATCH = 500
# What never was a film to be gated says nothing about the room: protocols change.
_NO_FILM = frozenset(
    {
        Reason.NOT_A_FILM,
        Reason.FOR_PROCESSING,
        Reason.DERIVED,
        Reason.SECONDARY,
        Reason.COMPANION,
        Reason.OURS,
    }
)


class Looker:
    """Follows the rates of all senders and sets alarms."""

    def __init__(self, ledger: Ledger, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        self._watches: dict[tuple[str, Rate], Watch] | None = None
        self._slow_at: datetime | None = None

    def run(self, stop: Event) -> None:
        """Look again and again until `stop` is set."""
        guard = loops.Guard(
            "alarms", failing="alarms not looked for", meaning="films go on; tried again soon"
        )
        behind = False

        def step() -> None:
            nonlocal behind
            behind = self.look()

        while not stop.wait(guard(step) or (CATCH_UP_S if behind else LOOK_S)):
            pass

    def look(self) -> bool:
        """Take in a batch; once all is taken in, set the alarms. Whether there is more to take in at once."""
        if self._take_in():
            return True
        now = self._clock()
        self._set(self._rates(), (AlarmKind.RATE,), now)
        if self._slow_at is None or abs(now - self._slow_at) >= timedelta(seconds=SLOW_S):
            self._slow_at = now
            self._set(conditions.all_signals(self._ledger, self._settings, now), conditions.KINDS, now)
        return False

    def _take_in(self) -> bool:
        version_id, decision_id = self._ledger.watch_places()
        taken = TakenIn(received=self._ledger.received_after(version_id, BATCH))
        judged = self._ledger.judged_after(decision_id, BATCH)
        if not taken.received and not judged:
            return False
        watches = self._watches if self._watches is not None else self._ledger.watches()
        self._watches = None  # read again, should what follows not be kept
        per_false = films_per_false(self._settings)
        for film in judged:
            taken.last_decision = film.id
            tally(taken, film)
            if film.sender and is_film(film):
                for key, event in events_of(film):
                    watch, _ = follow(taken.watches.get(key) or watches.get(key) or Watch(), event, per_false)
                    taken.watches[key] = watch
        self._ledger.take_in(taken)
        self._watches = watches | taken.watches
        return len(judged) == BATCH or len(taken.received) == BATCH

    def _rates(self) -> Iterable[Signal]:
        if self._watches is None:
            self._watches = self._ledger.watches()
        for (sender, rate), watch in self._watches.items():
            if watch.phase is Phase.ALARMED:
                link = words.films_of(sender)
                yield Signal(AlarmKind.RATE, sender, words.rate(sender, rate, watch), link, rate)

    def _set(self, signals: Iterable[Signal], kinds: tuple[AlarmKind, ...], now: datetime) -> None:
        begun, over = self._ledger.set_alarms(tuple(signals), kinds, ways(self._settings.alarms), now)
        for alarm in begun:
            log.warning("alarm", alarm=alarm.id, kind=alarm.kind.value, words=alarm.words)
        for alarm in over:
            log.info("alarm over", alarm=alarm.id, kind=alarm.kind.value)


def films_per_false(settings: Settings) -> float:
    """Films of a sender between two false alarms of one of its rates."""
    return float(settings.alarms.films_per_false_alarm * len(Rate))


def is_film(film: JudgedFilm) -> bool:
    """Whether it counts: a film, and not gated again."""
    return film.first and not (film.act == Act.WITHHOLD and _NO_FILM.intersection(film.reasons))


def events_of(film: JudgedFilm) -> Iterable[tuple[tuple[str, Rate], bool]]:
    """What the film says of each rate of its sender."""
    yield (film.sender, Rate.TURNED), film.turned
    yield (film.sender, Rate.INVERTED), film.inverted
    yield (film.sender, Rate.HELD), film.held
    yield (film.sender, Rate.WITHHELD), film.act == Act.WITHHOLD


def tally(taken: TakenIn, film: JudgedFilm) -> None:
    """Add a decision to the counters of monitoring."""
    taken.tallied["decided", film.act] += 1
    for reason in film.reasons:
        taken.tallied["reason", reason] += 1
