"""Milliseconds from a file through decode and every gate to a decision, on one core.

    python bench/gates.py [--repeat 30]

The film is a frontal phantom of 2500 x 2048, 12 bits in 16, uncompressed. `decode` is the way through the
decoder's child process; then each gate, then the policy. Medians, and the 95th percentile of the whole. The
second column is the processor's time of this process: what counts where others work beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import torch
from rig import big_films, cpu_model

from gateway.sandbox.decoder import Decoder
from pipelines.gates import load
from pipelines.policy import Acceptance, Policy, decide


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--repeat", type=int, default=30)
    args = options.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    gates, policy = load(), Policy.default()
    runs: list[dict[str, float]] = []
    own: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder, Decoder() as decoder:
        (path,) = big_films(Path(folder), 1)
        for _ in range(args.repeat + 3):
            marks = {"start": _now()}
            film = decoder.film(path)
            marks["decode"] = _now()
            findings = []
            for gate in gates.gates:
                findings += gate(film)
                marks[gate.name] = _now()
            ai = {"chest-ai": Acceptance()}
            decision = decide(policy, film.header, findings, destinations=ai, today=date.today())
            marks["policy"] = _now()
            for clock, kept in enumerate((runs, own)):
                kept.append(
                    _steps(
                        {name: at[clock] for name, at in marks.items()}, [gate.name for gate in gates.gates]
                    )
                )
    runs, own = runs[3:], own[3:]  # the first ones warm caches and the allocator
    whole = sorted(run["all"] for run in runs)
    print(f"{cpu_model()}; pinned to one; decision: {decision.act}, {decision.rule}")
    for name in runs[0]:
        wall, processor = (statistics.median(run[name] for run in kept) for kept in (runs, own))
        print(f"{name:12}{wall:8.1f} ms{processor:8.1f} ms")
    print(f"p95 of all  {whole[int(len(whole) * 0.95)]:8.1f} ms")


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _steps(marks: dict[str, float], gates: Iterable[str]) -> dict[str, float]:
    """Milliseconds of each step, of all gates together, and of everything."""
    at = list(marks.values())
    steps = {
        name: (after - before) * 1e3
        for name, before, after in zip(list(marks)[1:], at[:-1], at[1:], strict=True)
    }
    return steps | {"gates": sum(steps[name] for name in gates), "all": sum(steps.values())}


if __name__ == "__main__":
    main()
