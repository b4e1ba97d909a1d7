"""Milliseconds from a file through decode and every gate to a decision, on one core.

    python bench/gates.py [--repeat 30]

The film is a frontal phantom of 2500 x 2048, 12 bits in 16, uncompressed. `decode` is the way through the
decoder's child process; then each gate, then the policy. Medians, and the 95th percentile of the whole.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
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
    with tempfile.TemporaryDirectory() as folder, Decoder() as decoder:
        (path,) = big_films(Path(folder), 1)
        for _ in range(args.repeat + 3):
            marks = {"start": time.perf_counter()}
            film = decoder.film(path)
            marks["decode"] = time.perf_counter()
            findings = []
            for gate in gates.gates:
                findings += gate(film)
                marks[gate.name] = time.perf_counter()
            ai = {"chest-ai": Acceptance()}
            decision = decide(policy, film.header, findings, destinations=ai, today=date.today())
            marks["policy"] = time.perf_counter()
            at = list(marks.values())
            steps = zip(list(marks)[1:], at[:-1], at[1:], strict=True)
            runs.append({name: (after - before) * 1e3 for name, before, after in steps})
    runs = runs[3:]  # the first ones warm caches and the allocator
    whole = sorted(sum(run.values()) for run in runs)
    print(f"{cpu_model()}; pinned to one; decision: {decision.act}, {decision.rule}")
    for name in runs[0]:
        print(f"{name:12}{statistics.median(run[name] for run in runs):8.1f} ms")
    print(f"{'all':12}{statistics.median(whole):8.1f} ms   p95 {whole[int(len(whole) * 0.95)]:.1f} ms")


if __name__ == "__main__":
    main()
