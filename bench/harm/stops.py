"""SIGTERM and SIGHUP of a whole gateway while films are under way: is a film cut, is a sender turned away?

Senders of all speeds push films by C-STORE, some slower than a listener drains. After each signal a film that
was under way ends with 0x0000, or with an abort after the drain time; anything else is a cut. While new
settings are taken whoever connects is served. At the end the books must balance, as in survive.py.

    python bench/harm/stops.py [--sigterm 50] [--sighup 50] [--films 200] [--seed 0]
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from os import kill
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all of bench/ shares

from harm.sending import send
from harm.survive import films, report
from rig import Gateway, cpu_model, gateway, wait_for

from gateway.cli.run.serving import LISTENER_DRAIN_S
from gateway.store import read_meta
from gateway.upper_layer.association import Target

FILM_S = (0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 2 * LISTENER_DRAIN_S)  # a sender each: how long it takes
PAUSE_S = 0.3  # between two films of one sender
ROLL_S = 180.0


@dataclass(frozen=True, slots=True)
class Try:
    """One film, sent once; times are monotonic."""

    began: float
    ended: float
    outcome: str  # the words of sending.send


class Senders:
    """Push films, round and round, until told to stop."""

    def __init__(self, port: int, paths: dict[str, Path], seed: int) -> None:
        self.tries: list[Try] = []
        self.acknowledged: set[str] = set()
        self._target = Target("FILMGATE", "127.0.0.1", port)
        order = list(paths.items())
        random.Random(seed).shuffle(order)
        self._films = itertools.cycle(order)
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._push, args=(film_s,)) for film_s in FILM_S]

    def __enter__(self) -> Senders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _push(self, film_s: float) -> None:
        while not self._done.wait(PAUSE_S):
            with self._lock:
                uid, path = next(self._films)
            began = time.monotonic()
            outcome = self._send(path, film_s)
            with self._lock:
                self.tries.append(Try(began, time.monotonic(), outcome))
                if outcome == "answered":
                    self.acknowledged.add(uid)

    def _send(self, path: Path, film_s: float) -> str:
        with path.open("rb") as file:
            return send(self._target, "SENDER", read_meta(file), file, film_s=film_s)


def judged(tries: list[Try], signalled_at: list[float]) -> dict[str, Any]:
    """What became of the films that were under way at each signal; of each cut, how it ended and when."""
    ends = ("under way", "answered 0x0000", "aborted after the drain", "cut")
    counts: dict[str, Any] = dict.fromkeys(ends, 0)
    cuts = []
    for at in signalled_at:
        for one in tries:
            if one.began < at < one.ended and one.outcome != "turned away":
                counts["under way"] += 1
                counts[end := _end(one, at)] += 1
                if end == "cut":
                    cuts.append(f"{one.outcome}; {one.ended - at:.1f} s after the signal")
    return counts | ({"cuts": cuts} if cuts else {})


def _end(one: Try, signalled_at: float) -> str:
    if one.outcome == "answered":
        return "answered 0x0000"
    late = one.outcome.startswith("broken") and one.ended - signalled_at >= LISTENER_DRAIN_S
    return "aborted after the drain" if late else "cut"


def terminate(running: Gateway) -> float:
    """SIGTERM and a new start; the seconds that the stop took."""
    took_s = running.stop()
    assert running.process.returncode == 0, running.process.returncode
    running.start()
    return took_s


def roll(running: Gateway) -> float:
    """SIGHUP; the seconds until every process but Redis has been replaced."""
    began = time.monotonic()
    words = (" listen ", " dispatch ", " work ", " console ")
    old = {pid for pid, line in running.pids().items() if any(word in line for word in words)}
    kill(running.process.pid, signal.SIGHUP)
    wait_for(lambda: not old & running.pids().keys(), ROLL_S, "the processes were not replaced")
    return time.monotonic() - began


def signals(running: Gateway, how: dict[str, int], senders: Senders, rng: random.Random) -> dict[str, Any]:
    """So many of each signal; what they did to the films."""
    acts = {"SIGTERM": terminate, "SIGHUP": roll}
    results = {}
    for name, count in how.items():
        at, took, first = [], [], len(senders.tries)
        for _ in range(count):
            time.sleep(rng.uniform(1.0, 4.0))
            at.append(time.monotonic())
            took.append(acts[name](running))
        time.sleep(max(FILM_S) + 2)  # the slowest film that was under way ends
        results[name] = {"signals": count, "slowest_s": round(max(took, default=0.0), 1)}
        results[name] |= judged(senders.tries[first:], at)
        if name == "SIGHUP":
            turned_away = sum(one.outcome == "turned away" for one in senders.tries[first:])
            results[name]["turned away"] = turned_away
    return results


def balance(running: Gateway, senders: Senders, sent: dict[str, Path]) -> dict[str, Any]:
    """The books of survive.py, as far as a stop can upset them."""
    listed = {f["sop_instance_uid"]: f for f in running.settled(senders.acknowledged, 300)}
    books = report(running, {uid: sent[uid] for uid in senders.acknowledged}, listed, [])
    return {name: count for name, count in books.items() if name not in ("killed", "decisions", "reasons")}


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--sigterm", type=int, default=50)
    options.add_argument("--sighup", type=int, default=50)
    options.add_argument("--films", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, gateway(work={"workers": 1}) as running:
        sent = films(Path(folder), args.films, salt=f"stops-{time.time_ns()}")
        with Senders(running.port, sent, args.seed) as senders:
            how = {"SIGTERM": args.sigterm, "SIGHUP": args.sighup}
            results = signals(running, how, senders, random.Random(args.seed))
        books = balance(running, senders, sent)
    print(json.dumps({"machine": cpu_model(), **results, "films": books}, indent=1))


if __name__ == "__main__":
    main()
