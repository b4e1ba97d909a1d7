"""One rate of one sender, followed film by film: learning its past, watching it, and an alarm's end.

    LEARNING ──▶ WATCHING ──▶ ALARMED ──▶ WATCHING       the old rate is back
                                      └──▶ WATCHING      so many films stayed so that this is its past now

What is learned are films outside of alarms. The charts are made anew when the past has doubled, and begin at
zero then: the films that they count are never those from which they were made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from pipelines.watching.charts import Chart, Design, design

FIRST_DESIGN = 50  # films; before, nothing is watched
MOST_FILMS = 12_800  # of the past: then half of it is forgotten, so that it is the sender's nearer one
NEW_PAST = 1_000  # films in alarm after which the alarm's rate is taken for the sender's own
_HIGH_RATE = 0.3  # an alarm's end is asked about no higher rate: one good film among bad ones ends nothing
_SURE = math.log(1000.0)  # at the alarm's rate its end is told wrongly once in a thousand films at most


class Rate(StrEnum):
    """What is counted of each film."""

    TURNED = "turned"
    INVERTED = "inverted"
    HELD = "held"
    WITHHELD = "withheld"


NO_CHARTS = Design(Chart(1, 0), Chart(1, 0))


class Phase(StrEnum):
    """What is done with the next film."""

    LEARNING = "learning"
    WATCHING = "watching"
    ALARMED = "alarmed"


class Judgement(StrEnum):
    """What one film changed."""

    NOTHING = ""
    ALARM = "alarm"
    OVER = "over"  # the usual rate is back
    NEW_PAST = "new past"  # the alarm's rate is the usual one from now on


@dataclass(frozen=True, slots=True)
class Count:
    """Where a chart stands, and how many films, and films that show it, there were since it was at zero."""

    place: int = 0
    films: int = 0
    events: int = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """All that is known of one rate of one sender."""

    phase: Phase = Phase.LEARNING
    films: int = 0  # of its past
    events: int = 0  # of these
    designed: int = 0  # films when the charts were made
    charts: Design = NO_CHARTS
    sudden: Count = Count()
    gradual: Count = Count()
    seen: Count = Count()  # in alarm: films since it began, those that led to it included
    calm: float = 0.0  # in alarm: the log likelihood ratio of the usual rate against the alarm's

    @property
    def usual(self) -> float:
        """The rate of its past; half an event more, so that it is never 0."""
        return (self.events + 0.5) / (self.films + 1.0)


def follow(watch: Watch, event: bool, films_per_false: float) -> tuple[Watch, Judgement]:
    """One film more: whether it shows what is counted."""
    match watch.phase:
        case Phase.ALARMED:
            return _end(watch, event, films_per_false)
        case Phase.WATCHING:
            shown = event != watch.charts.falls
            sudden = _counted(watch.sudden, watch.charts.sudden, event, shown)
            gradual = _counted(watch.gradual, watch.charts.gradual, event, shown)
            for chart, count in ((watch.charts.sudden, sudden), (watch.charts.gradual, gradual)):
                if 0 < chart.limit <= count.place:
                    return _alarmed(watch, count), Judgement.ALARM
            watch = replace(watch, sudden=sudden, gradual=gradual)
    watch = replace(watch, films=watch.films + 1, events=watch.events + event)
    if watch.films >= max(FIRST_DESIGN, min(2 * watch.designed, MOST_FILMS)):
        watch = _designed(watch, films_per_false)
    return watch, Judgement.NOTHING


def _counted(count: Count, chart: Chart, event: bool, shown: bool) -> Count:
    place = count.place + (chart.up if shown else -1)
    return Count(place, count.films + 1, count.events + event) if place > 0 else Count()


def _alarmed(watch: Watch, count: Count) -> Watch:
    """The films that led to it are not its past: all but the last were counted as such."""
    return replace(
        watch,
        phase=Phase.ALARMED,
        films=max(0, watch.films - (count.films - 1)),
        events=max(0, watch.events - (count.events - (not watch.charts.falls))),
        sudden=Count(),
        gradual=Count(),
        seen=count,
        calm=0.0,
    )


def _end(watch: Watch, event: bool, films_per_false: float) -> tuple[Watch, Judgement]:
    seen = Count(0, watch.seen.films + 1, watch.seen.events + event)
    if seen.films >= NEW_PAST:
        anew = Watch(films=seen.films, events=seen.events)
        return _designed(anew, films_per_false), Judgement.NEW_PAST
    calm = max(0.0, watch.calm + _evidence_of_calm(watch, event))
    if calm >= _SURE:
        return replace(watch, phase=Phase.WATCHING, seen=Count(), calm=0.0), Judgement.OVER
    return replace(watch, seen=seen, calm=calm), Judgement.NOTHING


def _evidence_of_calm(watch: Watch, event: bool) -> float:
    usual = 1.0 - watch.usual if watch.charts.falls else watch.usual
    shown = watch.seen.films - watch.seen.events if watch.charts.falls else watch.seen.events
    odds = 3.0 * usual / (1.0 - usual)
    alarm = min((shown + 0.5) / (watch.seen.films + 1.0), max(_HIGH_RATE, odds / (1.0 + odds)))
    alarm = max(alarm, 1.5 * usual / (1.0 + 0.5 * usual))  # above the usual one, whatever came since
    if event != watch.charts.falls:
        return math.log(usual / alarm)
    return math.log((1.0 - usual) / (1.0 - alarm))


def _designed(watch: Watch, films_per_false: float) -> Watch:
    """Charts by all of the past; of a very long one the older half is forgotten afterwards."""
    charts = design(watch.events, watch.films, films_per_false)
    films, events = watch.films, watch.events
    if films >= MOST_FILMS:
        films, events = films // 2, -(-events // 2)
    return Watch(Phase.WATCHING, films, events, films, charts)
