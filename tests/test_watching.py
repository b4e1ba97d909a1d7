"""The charts: their promise is checked by other computations than the one that they are made by."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipelines.json_values import from_plain, plain
from pipelines.watching import Judgement, Phase, Watch, design, follow, silence
from pipelines.watching.charts import (
    Chart,
    average_run_lengths,
    belief,
    delays,
    promised,
    signals_per_film,
)

FILMS_PER_FALSE = 36_000.0  # one false alarm in 9,000 films, over four rates


def by_matrix(rate: float, up: int, limit: int) -> float:
    """The same average by the Markov chain's linear equations, as Reynolds and Stoumbos had it."""
    equations = np.eye(limit)
    for place in range(limit):
        equations[place, max(0, place - 1)] -= 1.0 - rate
        if place + up < limit:
            equations[place, place + up] -= rate
    return float(np.linalg.solve(equations, np.ones(limit))[0])


@pytest.mark.parametrize(
    ("rate", "up", "limit"),
    [
        (0.005, 51, 143),
        (0.05, 51, 143),
        (0.01, 20, 70),
        (0.3, 1, 12),
        (0.49, 1, 30),
        (0.2, 4, 40),
        (0.001, 99, 99),
    ],
)
def test_the_average_to_a_signal_is_that_of_the_markov_chain(rate: float, up: int, limit: int) -> None:
    """Two exact ways to one number."""
    ours = list(average_run_lengths(rate, up, limit))[-1]
    assert ours == pytest.approx(by_matrix(rate, up, limit), rel=1e-7)


@given(st.floats(0.001, 0.999), st.integers(1, 60), st.integers(1, 200))
def test_the_average_is_never_said_to_be_longer_than_it_is(rate: float, up: int, limit: int) -> None:
    """Where a bound stands in for the number, it is on the safe side; and it grows with the limit."""
    averages = list(average_run_lengths(rate, up, limit))
    assert len(averages) == limit
    assume(averages[-1] < 1e8)  # there the equations themselves are not solved exactly
    assert averages[-1] <= by_matrix(rate, up, limit) * (1 + 1e-6)


@pytest.mark.parametrize("films", [50, 200, 800])
@pytest.mark.parametrize("rate", [0.0005, 0.005, 0.02, 0.05, 0.1, 0.26, 0.5, 0.9])
def test_the_promise_holds_whatever_the_true_rate_is(rate: float, films: int) -> None:
    """Over every past of so many films, each with the charts that follow from it: a sum, not a simulation."""
    assert promised(rate, films, FILMS_PER_FALSE) * FILMS_PER_FALSE <= 1.0


def test_a_past_without_any_is_not_taken_for_never() -> None:
    """0 of 200: were the rate taken for 0, one film would do. It takes three in a row, 0 of 50 five."""
    for past, in_a_row in ((200, 3), (50, 5)):
        charts = design(0, past, FILMS_PER_FALSE)
        assert delays(1.0, charts, in_a_row)[-1] == 1.0
        assert delays(1.0, charts, in_a_row - 1)[-1] == 0.0


@pytest.mark.parametrize("past", [(0, 100), (1, 200), (10, 200), (2, 400), (8, 1600), (80, 1600), (32, 6400)])
def test_a_room_that_turns_every_film_is_told_of_within_five(past: tuple[int, int]) -> None:
    """From a hundred films of its past on, and for a usual rate of up to one in twenty."""
    assert delays(1.0, design(*past, FILMS_PER_FALSE), 5)[-1] == 1.0


def test_the_delay_is_that_of_a_simulation() -> None:
    """8 of 1,600 and then 5 %: the exact chance to have told within 60 and 200 films, against 4,000 runs."""
    charts = design(8, 1600, FILMS_PER_FALSE)
    exact = delays(0.05, charts, 200)
    draw = Random(7)
    runs = 4000
    told = Counter[int]()
    for _ in range(runs):
        sudden = gradual = 0
        for film in range(200):
            event = draw.random() < 0.05
            sudden = max(0, sudden + (charts.sudden.up if event else -1))
            gradual = max(0, gradual + (charts.gradual.up if event else -1))
            if sudden >= charts.sudden.limit or gradual >= charts.gradual.limit:
                told[film] += 1
                break
    for films in (60, 200):
        share = sum(count for film, count in told.items() if film < films) / runs
        spread = math.sqrt(exact[films - 1] * (1 - exact[films - 1]) / runs)
        assert abs(share - exact[films - 1]) < 4 * spread


def test_no_test_could_tell_of_five_per_cent_within_sixty_films() -> None:
    """.5 % that is *known*, and one false alarm in 36,000 films: the least mean delay of any test, which is a
    CUSUM's (Moustakides 1986), is 88; ours, which learns the rate, is near it."""
    least = math.inf
    for up in range(20, 90, 2):
        averages = list(average_run_lengths(0.005, up, 400))
        limit = next(place + 1 for place, average in enumerate(averages) if average >= FILMS_PER_FALSE)
        least = min(least, list(average_run_lengths(0.05, up, limit))[-1])
    assert 85 < least < 92
    charts = design(32, 6400, FILMS_PER_FALSE)
    by_film = delays(0.05, charts, 2000)
    mean = sum(1.0 - share for share in [0.0, *by_film])
    assert least < mean < 1.06 * least


def test_the_rarer_of_both_is_watched() -> None:
    """A sender of hands, nine of ten withheld: what is news is that they are not."""
    charts = design(900, 1000, FILMS_PER_FALSE)
    assert charts.falls
    assert delays(0.0, charts, 12)[-1] == 1.0
    assert signals_per_film(0.9, charts) <= 1 / FILMS_PER_FALSE


def test_a_belief_sums_to_one_and_has_the_mean_of_its_beta() -> None:
    weights = belief(8, 1600)
    assert sum(weight for _, weight in weights) == pytest.approx(1.0)
    assert sum(rate * weight for rate, weight in weights) == pytest.approx(9 / 1601, rel=1e-3)


def followed(events: list[bool], watch: Watch | None = None) -> tuple[Watch, list[tuple[int, Judgement]]]:
    """Where a watch stands after these films, and what each changed."""
    watch = watch or Watch()
    news = []
    for film, event in enumerate(events):
        watch, judgement = follow(watch, event, FILMS_PER_FALSE)
        if judgement:
            news.append((film, judgement))
    return watch, news


def test_a_room_breaks_and_is_mended() -> None:
    """400 good films, a broken holder, and good ones again: one alarm, one end, and the same past."""
    watch, news = followed([False] * 400 + [True] * 40 + [False] * 60)
    assert [judgement for _, judgement in news] == [Judgement.ALARM, Judgement.OVER]
    assert 400 <= news[0][0] < 405
    assert 440 < news[1][0] < 470
    assert watch.phase is Phase.WATCHING
    assert watch.events == 0


def test_a_film_in_between_ends_no_alarm() -> None:
    """Two rooms behind one AE title, of which one is broken: half of the films are turned."""
    _, news = followed([False] * 400 + [True] * 5 + [False, True] * 100)
    assert [judgement for _, judgement in news] == [Judgement.ALARM]


def test_what_stays_is_the_new_past() -> None:
    """After a thousand films the sender's rate is what it is now, and leaving that is news again."""
    watch, news = followed([False] * 400 + [True] * 1100)
    assert [judgement for _, judgement in news] == [Judgement.ALARM, Judgement.NEW_PAST]
    assert watch.usual > 0.99
    assert watch.charts.falls


def test_nothing_is_said_while_the_past_is_learned() -> None:
    assert followed([True] * 49)[1] == []


def test_a_watch_survives_its_way_through_the_ledger() -> None:
    """As JSON and back, in the midst of counting."""
    watch, _ = followed([False] * 200 + [True, True])
    assert watch.sudden.place == 2
    assert from_plain(Watch, plain(watch)) == watch
    assert isinstance(from_plain(Watch, plain(watch)).charts.sudden, Chart)


def test_false_alarms_of_a_whole_sender_are_as_rare_as_promised() -> None:
    """A quarter of 9,000 films, learning included, for four rates, six times: no more than what one in
    a quarter allows with 99.9 % (Poisson)."""
    draw = Random(3)
    quarters, alarms = 6, 0
    for _ in range(quarters):
        for rate in (0.005, 0.005, 0.06, 0.3):
            events = [draw.random() < rate for _ in range(9000)]
            alarms += sum(judgement is Judgement.ALARM for _, judgement in followed(events)[1])
    assert alarms <= 14  # the 99.9 % point of Poisson(6)


NOW = datetime(2026, 11, 26, 15, 20, tzinfo=UTC)


def hours(films: int) -> dict[datetime, int]:
    """So many films in each hour from 8 to 18 of the last five weeks."""
    midnight = NOW.replace(hour=0, minute=0)
    return {
        midnight - timedelta(days=day) + timedelta(hours=hour): films
        for day in range(1, 36)
        for hour in range(8, 18)
    }


def test_a_sender_is_silent_when_it_used_to_send_at_this_time() -> None:
    """Nothing since 9:41; from 10 to 15 o'clock it sent four an hour in each of the last weeks."""
    last = NOW.replace(hour=9, minute=41)
    unusual = silence(last, NOW, hours(4))
    assert unusual is not None
    assert unusual.usual == 20
    assert silence(last, NOW, hours(1)) is None  # five films are too few to say so
    assert silence(NOW - timedelta(minutes=70), NOW, hours(4)) is None


def test_a_night_is_no_silence() -> None:
    """The whole night through, and the hour after it that the sender has just begun."""
    evening = NOW.replace(hour=17, minute=55)
    assert silence(evening, evening + timedelta(hours=14), hours(4)) is None


def test_one_week_without_films_makes_no_time_usual() -> None:
    """A holiday three weeks ago: the sender is known to be silent at that time."""
    by_hour = {at: n for at, n in hours(4).items() if at.date() != (NOW - timedelta(weeks=3)).date()}
    assert silence(NOW.replace(hour=8, minute=5), NOW, by_hour) is None
