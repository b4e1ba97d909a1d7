"""How often the alarm of a sender's rates is wrong, and how soon it is right: exactly, and by simulation.

Prints, with exact intervals (95 %, Garwood of a count):
- false alarms of a sender a quarter (9,000 films) over all four rates, from its first film on and later;
- how many films a change takes until it is told: median, mean and 95 % point, for pasts of several lengths;
- what no test with as few false alarms could do better: the CUSUM of a rate that is known (Moustakides 1986).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from random import Random

from pipelines.lab.measure.binomial import clopper_pearson
from pipelines.watching import Judgement, Watch, design, follow
from pipelines.watching.charts import average_run_lengths, delays, promised

QUARTER = 9_000
PER_FALSE = 4.0 * QUARTER  # a rate has a quarter of a sender's false alarms
SENDERS = {
    "a chest room": (0.005, 0.005, 0.06, 0.02),
    "a room of all parts": (0.005, 0.002, 0.1, 0.4),
    "a room that never errs": (0.0005, 0.0002, 0.02, 0.01),
}


def quarters_of(rates: tuple[float, ...], draw: Random, quarters: int) -> Iterator[int]:
    """False alarms in each quarter of one sender, the four rates together, beginning with nothing known."""
    watches = [Watch() for _ in rates]
    for _ in range(quarters):
        alarms = 0
        for _ in range(QUARTER):
            for place, rate in enumerate(rates):
                watches[place], judgement = follow(watches[place], draw.random() < rate, PER_FALSE)
                alarms += judgement is Judgement.ALARM
        yield alarms


def false_alarms(senders: int, draw: Random) -> None:
    print(f"false alarms a sender and quarter ({QUARTER:,} films, four rates; promised: at most 1)")
    for name, rates in SENDERS.items():
        first, later = 0, 0
        for _ in range(senders):
            counts = list(quarters_of(rates, draw, 2))
            first, later = first + counts[0], later + counts[1]
        for which, count in (("first", first), ("second", later)):
            low, high = garwood(count)
            each = f"{count / senders:.3f} [{low / senders:.3f}, {high / senders:.3f}]"
            print(f"  {name}, {which} quarter: {each} ({count} in {senders} simulated)")
    for films in (200, 800, 3200):
        worst = max((promised(rate, films, PER_FALSE) * PER_FALSE, rate) for rate in grid())
        print(f"  exact, a past of {films:,} films: at most {worst[0]:.2f}, at a rate of {worst[1]:g}")


def how_soon() -> None:
    print("films until it is told, exactly: median, mean, 95 % point; share within 5 and within 60 films")
    changes = ((0.005, 1.0), (0.005, 0.5), (0.005, 0.05), (0.001, 0.05), (0.02, 0.2), (0.06, 0.3), (0.3, 0.8))
    for usual, now in changes:
        for films in (200, 1600, 6400):
            by_film = delays(now, design(round(usual * films), films, PER_FALSE), 1500)
            mean = sum(1.0 - share for share in [0.0, *by_film])
            print(
                f"  {usual:.1%} -> {now:.0%}, past of {films:,}: {first(by_film, 0.5)}, {mean:.1f}, "
                f"{first(by_film, 0.95)}; {by_film[4]:.1%}, {by_film[59]:.1%}"
            )


def the_best() -> None:
    print(".5 % -> 5 % where the usual rate is known: the least mean delay that any test can have")
    for quarter_share in (0.25, 0.5, 0.75, 1.0, 2.0, 3.0, 4.5):
        least = (math.inf, 0, 0)
        for up in range(20, 90):
            averages = list(average_run_lengths(0.005, up, 500))
            place = next(
                (i for i, average in enumerate(averages) if average >= QUARTER / quarter_share), None
            )
            if place is not None:
                least = min(least, (list(average_run_lengths(0.05, up, place + 1))[-1], up, place + 1))
        print(f"  {quarter_share:g} false alarms of this rate a quarter: {least[0]:.1f} films on average")


def first(by_film: list[float], share: float) -> str:
    return str(next((film for film, told in enumerate(by_film, 1) if told >= share), f"> {len(by_film)}"))


def grid() -> Iterator[float]:
    yield from (0.0005, 0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.02, 0.03)
    yield from (0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


def garwood(count: int) -> tuple[float, float]:
    """The exact 95 % interval of a Poisson mean: that of Clopper and Pearson in very many trials."""
    trials = 10_000_000
    low, high = clopper_pearson(count, trials)
    return low * trials, high * trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--senders", type=int, default=60, help="simulated, of each kind")
    parser.add_argument("--seed", type=int, default=1)
    said = parser.parse_args()
    began = time.monotonic()
    false_alarms(said.senders, Random(said.seed))
    how_soon()
    the_best()
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
