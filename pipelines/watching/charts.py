"""Two Bernoulli CUSUM charts for a rate whose usual height is estimated, and exactly how often they are
wrong.

A chart counts: a film that shows it (turned, say) adds `up`, any other takes one off, and it never falls
below zero. At `limit` it signals. That is the Bernoulli CUSUM of Reynolds and Stoumbos ("A CUSUM chart for
monitoring a proportion when inspecting continuously", J. Quality Technology 31:87, 1999), whose steps they
made whole numbers so that the chart is a Markov chain; of all tests with as few false signals the CUSUM has
the shortest worst mean delay for the rise it is made for (Moustakides, Annals of Statistics 14:1379, 1986).

The average number of films to a signal, without a change, is exact (`average_run_lengths`). A chart starts
anew after a signal, and from no place is its next signal further away on average than from zero; so by
Wald's identity at most n / average are expected among n films.

The usual rate is not known: k of n earlier films showed it. Believed is then Beta(k + 1, n - k), by which a
rate is at most q as surely as the upper bound of Clopper and Pearson says. The limit is the least one by
which the signals that are expected, over that belief, are as rare as promised. Whatever the true rate is,
they are so on average over n films and those that follow: `promised` computes that, and
tests/test_watching.py goes through n and rates. Whoever has seen few films gets a higher limit, and
nobody's 0 of 200 is taken for never.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

RATIO = 10.0  # odds of the rise that the gradual chart is made for: .5 % to 4.8 %
HIGHEST_UP = 99  # a reference of 1 in 100: below that one film more or less says nothing
SUDDEN_UP = 1  # the other chart is for a room that shows it on every film: more than half of them add up
SUDDEN_SHARE = 0.1  # of the false signals, for that chart
HIGHEST_LIMIT = 600  # no chart is worth its while beyond
_POINTS = 41  # of the belief, on a scale of log odds
_LONGEST = 1e9  # films; longer averages are not told apart
_EXACT_UNTIL = 1e9  # beyond, the difference of two large numbers is not: a lower bound takes its place


@dataclass(frozen=True, slots=True)
class Chart:
    """What a film that shows it adds, and where the chart signals; 0: it never does."""

    up: int
    limit: int


@dataclass(frozen=True, slots=True)
class Design:
    """Both charts of one rate. With `falls` they count the films that do *not* show it: it is the rule."""

    sudden: Chart
    gradual: Chart
    falls: bool = False


def average_run_lengths(rate: float, up: int, most: int) -> Iterator[float]:
    """The average number of films to a signal, from zero, for the limits 1, 2, ... up to `most`.

    From y below the limit the chart goes to y + 1 (another film) or y - up (a film that shows it), and
    signals below zero. So the average b(y) = 1 + (1 - rate) b(y + 1) + rate b(y - up), which grows from
    b(0) by b(y) = b(0) W(y) - Z(y); the chart rests at its zero, b(limit) = b(limit - 1), which gives b(0).
    W and Z do not depend on the limit, and their differences are sums of positive terms: nothing cancels.
    Where W has grown so large that their difference would, the rate is so high that a signal is near, and a
    bound stands there that is never too high: no signal comes before limit / up films showed it.

    Args:
        rate: in (0, 1).
    """
    other = 1.0 - rate
    steps_w, steps_z = list[float](), list[float]()
    w, z, sum_w, sum_z = 1.0, 0.0, 0.0, 0.0
    for y in range(most):
        step_w = rate * (sum_w + (1.0 if y < up else 0.0)) / other
        step_z = (rate * sum_z + 1.0) / other
        if w > _EXACT_UNTIL:
            yield -(-(y + 1) // up) / rate
            continue
        average = step_z / step_w * w - z if step_w > 0.0 else math.inf
        if not average < _LONGEST:
            yield from (_LONGEST for _ in range(y, most))
            return
        yield average
        steps_w.append(step_w)
        steps_z.append(step_z)
        w, z = w + step_w, z + step_z
        sum_w += step_w - (steps_w[y - up] if y >= up else 0.0)
        sum_z += step_z - (steps_z[y - up] if y >= up else 0.0)


@lru_cache(4096)
def design(events: int, films: int, films_per_false: float) -> Design:
    """The charts of a rate of which `events` of `films` earlier films are known.

    Args:
        films_per_false: both charts together signal falsely at most once in so many films, on average.
    """
    falls = 2 * events > films
    known = films - events if falls else events
    if 4 * known > films:  # which of both is the rarer is then itself a guess: each side gets half
        films_per_false *= 2.0
    gradual = Chart(_reference((known + 1) / (films + 1)), 0)
    return Design(
        _limited(SUDDEN_UP, known, films, films_per_false / SUDDEN_SHARE),
        _limited(gradual.up, known, films, films_per_false / (1.0 - SUDDEN_SHARE)),
        falls,
    )


def _reference(rate: float) -> int:
    """How much a film that shows it adds, so that the chart rises beyond a rate of 1 in `up` + 1.

    The log likelihood ratio of `rate` and of RATIO times its odds, by its step down, in whole numbers.
    """
    odds = RATIO * rate / (1.0 - rate)
    down = math.log((1.0 - rate) * (1.0 + odds))
    return min(HIGHEST_UP, max(1, round(math.log(RATIO) / down) - 1))


def _limited(up: int, events: int, films: int, films_per_false: float) -> Chart:
    """The chart with the least limit that keeps the promise; one that never signals where none does."""
    signals_per_film = [0.0] * HIGHEST_LIMIT
    for rate, weight in belief(events, films):
        for place, average in enumerate(average_run_lengths(rate, up, HIGHEST_LIMIT)):
            signals_per_film[place] += weight / average
    limits = (place + 1 for place, often in enumerate(signals_per_film) if often <= 1.0 / films_per_false)
    return Chart(up, next(limits, 0))


def belief(events: int, films: int) -> list[tuple[float, float]]:
    """Rates and their weights, which sum to 1: Beta(events + 1, films - events)."""
    a, b = events + 1.0, max(films - events, 1.0)
    mean = a / (a + b)
    spread = 1.0 / math.sqrt(mean * (1.0 - mean) * (a + b + 1.0))  # of the log odds, about
    low, high = (math.log(mean / (1.0 - mean)) + sigmas * spread for sigmas in (-8.0, 6.0))
    places = [low + (high - low) * index / (_POINTS - 1) for index in range(_POINTS)]
    rates = [1.0 / (1.0 + math.exp(-place)) for place in places]
    logs = [a * math.log(rate) + b * math.log1p(-rate) for rate in rates]  # a density over log odds
    weights = [math.exp(value - max(logs)) for value in logs]
    whole = sum(weights)
    return [(rate, weight / whole) for rate, weight in zip(rates, weights, strict=True) if weight > 1e-12]


def promised(rate: float, films: int, films_per_false: float) -> float:
    """False signals per film that follow, on average over all pasts of `films` films with this true rate.

    Exact: a sum over every count of events, each with its charts; an upper bound in so far as a film on which
    both charts signal counts twice.
    """
    middle, spread = films * rate, math.sqrt(films * rate * (1.0 - rate))
    first = max(0, math.floor(middle - 8.0 * spread - 8.0))
    last = min(films, math.ceil(middle + 9.0 * spread + 12.0))
    return sum(
        _binomial(events, films, rate) * signals_per_film(rate, design(events, films, films_per_false))
        for events in range(first, last + 1)
    )


def signals_per_film(rate: float, charts: Design) -> float:
    """How often both charts signal in the long run, at this rate."""
    shown = 1.0 - rate if charts.falls else rate
    return sum(
        1.0 / list(average_run_lengths(shown, chart.up, chart.limit))[-1]
        for chart in (charts.sudden, charts.gradual)
        if chart.limit
    )


def delays(rate: float, charts: Design, most: int) -> list[float]:
    """The probability that a signal has come by the 1st, 2nd, ... film at `rate`, both charts from zero.

    Exact: the chain of both charts' places, film by film.
    """
    shown = 1.0 - rate if charts.falls else rate
    places = {(0, 0): 1.0}
    signalled, by_film = 0.0, list[float]()
    for _ in range(most):
        following = dict[tuple[int, int], float]()
        for (sudden, gradual), weight in places.items():
            if weight < 1e-15:
                continue
            calm = (max(0, sudden - 1), max(0, gradual - 1))
            following[calm] = following.get(calm, 0.0) + weight * (1.0 - shown)
            raised = (sudden + charts.sudden.up, gradual + charts.gradual.up)
            if any(0 < c.limit <= at for c, at in zip((charts.sudden, charts.gradual), raised, strict=True)):
                signalled += weight * shown
            else:
                following[raised] = following.get(raised, 0.0) + weight * shown
        places = following
        by_film.append(signalled)
    return by_film


def _binomial(events: int, films: int, rate: float) -> float:
    ways = math.lgamma(films + 1) - math.lgamma(events + 1) - math.lgamma(films - events + 1)
    return math.exp(ways + events * math.log(rate) + (films - events) * math.log1p(-rate))
