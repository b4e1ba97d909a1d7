"""Milliseconds a film for a classifier: torch as it stands against the engine that workers use.

    python bench/classify.py [--network densenet121] [--px 224] [--repeat 15]

Untrained weights, which cost the same. The two are asked in turns, so that what else the machine does hits
both alike; medians, and how far their logits are apart. With a GPU also batches on it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rig import cpu_model

from models.classifiers import bundle, nets
from models.classifiers.bundle import ClassifierCard, Input
from models.classifiers.engine import Eager, Engine, open_engine

BATCHES = (1, 8)
ON_GPU = (1, 16, 64)
WARM = 3


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--network", default="densenet121", choices=sorted(nets.KINDS))
    options.add_argument("--px", type=int, default=224)
    options.add_argument("--repeat", type=int, default=15)
    args = options.parse_args()
    torch.set_num_threads(1)
    print(f"{cpu_model()}; {args.network} at {args.px} px, 15 classes; ms a film, median of {args.repeat}")
    with tempfile.TemporaryDirectory() as folder:
        labels = tuple(f"label {n}" for n in range(15))
        card = ClassifierCard("bench", args.network, labels, input=Input(px=args.px))
        bundle.save(Path(folder) / "bench", card, bundle.network(args.network, 15))
        loaded = bundle.load(Path(folder) / "bench")
        assert loaded.net
        eager = Eager(loaded.card, loaded.net)
        started = time.perf_counter()
        open_engine(loaded, cache=Path(folder) / "cache", device="cpu")
        exported = time.perf_counter()
        open_engine(loaded, cache=Path(folder) / "cache", device="cpu")
        print(
            f"opened in {exported - started:.1f} s, from the cache in {time.perf_counter() - exported:.1f} s"
        )
        for threads in (1, 2):
            torch.set_num_threads(threads)
            quick = open_engine(loaded, cache=Path(folder) / "cache", threads=threads, device="cpu")
            for batch in BATCHES:
                films = np.random.default_rng(0).random((batch, 1, args.px, args.px), dtype=np.float32)
                one, other = _in_turns(eager, quick, films, args.repeat)
                apart = np.abs(eager.ask(films).logits - quick.ask(films).logits).max()
                print(
                    f"{threads} thread{'s' * (threads > 1)}, batch {batch}: torch {one:6.1f}   "
                    f"{quick.runs_on} {other:6.1f}   {one / other:.2f} times   logits {apart:.1e} apart"
                )
        if torch.cuda.is_available():
            _gpu(bundle.load(Path(folder) / "bench"), args.px, args.repeat)


def _in_turns(eager: Engine, quick: Engine, films: np.ndarray, repeat: int) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeat + WARM):
        for asked, into in zip((eager, quick), times, strict=True):
            into.append(_ms(lambda asked=asked: asked.ask(films)) / len(films))
    one, other = (statistics.median(into[WARM:]) for into in times)
    return one, other


def _gpu(loaded: bundle.Loaded, px: int, repeat: int) -> None:
    gpu = open_engine(loaded, device="cuda")
    for batch in ON_GPU:
        films = np.random.default_rng(0).random((batch, 1, px, px), dtype=np.float32)
        times = [_ms(lambda: gpu.ask(films)) / batch for _ in range(repeat + WARM)][WARM:]  # noqa: B023
        print(f"{torch.cuda.get_device_name()}, batch {batch}: {statistics.median(times):6.2f}")


def _ms(ask: Callable[[], object]) -> float:
    started = time.perf_counter()
    ask()
    return (time.perf_counter() - started) * 1e3


if __name__ == "__main__":
    main()
