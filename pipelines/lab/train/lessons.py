"""The lessons of augmentation and imbalance, measured: three by six ways, three seeds each, one subset.

Every run learns from the same films with the same network for the same number of steps; only the
augmentation, what is done about imbalance, and the seed differ. Thresholds are chosen on films apart, and
every number is from films that neither saw. A run that is done is not done again.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.lab.films.samples import Index, Listing, Samples, SamplesError, load, split
from pipelines.lab.measure import areas, rules
from pipelines.lab.train import classifier_run, classifier_train
from pipelines.lab.train.augmentation import AUGMENTATIONS
from pipelines.lab.train.classifier_run import Settings
from pipelines.lab.train.imbalance import IMBALANCES

FILMS = 600  # to learn from
VALID_SHARE = 0.3  # of the patients that are left: for thresholds
SUBSET_SEED = 2026  # one subset for all runs
SEEDS = (0, 1, 2)
DRAWS = 1000  # of patients with replacement
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # t of 95 % by number of seeds
QUICK = Settings(
    network="small",
    px=96,
    epochs_head=0,
    epochs_all=10,
    rate=3e-3,
    valid_share=0.0,
    patience=0,
    threads=1,
)
RESULTS, TABLE_CSV, TABLE_JSON = "runs.jsonl", "lessons.csv", "lessons.json"
MARKS = ("auc", "ap", "f1_half", "f1_best")
HEADS = ("macro AUC", "macro average precision", "macro F1 at 0.5", "macro F1, threshold of validation")
PLAIN = ("none", "none")

Cell = tuple[str, str, int]  # augmentation, imbalance, seed
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sides:
    """The one subset: films to learn from, to choose thresholds on, and to judge by; no patient on two."""

    learn: Index
    valid: Index
    judge: Index


def sides_of(samples: Samples, films: int = FILMS) -> Sides:
    """Cuts the films that may be trained with into the three sides.

    Raises:
        SamplesError: there are not enough films to leave any to judge by.
    """
    whole = samples.training
    if films > 0.8 * len(whole):
        raise SamplesError(
            f"{len(whole)} films do not leave a fifth to judge by when {films} are learned from"
        )
    learn, rest = split(samples, 1 - films / len(whole), SUBSET_SEED, whole)
    judge, valid = split(samples, VALID_SHARE, SUBSET_SEED, rest)
    return Sides(learn, valid, judge)


def run(
    listing: Listing,
    cache: Path,
    out: Path,
    *,
    settings: Settings = QUICK,
    films: int = FILMS,
    seeds: Sequence[int] = SEEDS,
    processes: int = 2,
    augmentations: Sequence[str] = tuple(AUGMENTATIONS),
    imbalances: Sequence[str] = IMBALANCES,
    told: Callable[[Mapping[str, Any]], None] | None = None,
) -> Path:
    """Makes every run that is not in `out/runs.jsonl` yet, `processes` at a time, and writes the tables.

    With one process it runs in this one.

    `told` hears each result. Started from a script it needs the usual `if __name__ == "__main__"`.
    """
    out.mkdir(parents=True, exist_ok=True)
    samples = load(listing, settings.px, cache)  # once, before the processes ask for it
    _same_as_before(out, settings, films, samples)
    done = {(line["augmentation"], line["imbalance"], line["seed"]) for line in results(out)}
    # seeds outermost: a stopped table has every way once before any twice
    wanted = [(a, i, seed) for seed, a, i in product(seeds, augmentations, imbalances)]
    missing = [cell for cell in wanted if cell not in done]
    one = partial(one_run, listing=listing, cache=cache, out=out, settings=settings, films=films)
    for line in _as_they_end(one, missing, processes):
        with (out / RESULTS).open("a") as handle:
            handle.write(json.dumps(line) + "\n")
        if told:
            told(line)
    summary = summarised(out)
    (out / TABLE_JSON).write_text(json.dumps(summary, indent=1) + "\n")
    heads = ",".join(("augmentation", "imbalance", "seed", *MARKS, "seconds"))
    rows = [
        ",".join(str(line[name]) for name in heads.split(","))
        for line in sorted(
            results(out), key=lambda line: (line["augmentation"], line["imbalance"], line["seed"])
        )
    ]
    (out / TABLE_CSV).write_text("\n".join([heads, *rows]) + "\n")
    return out / TABLE_JSON


def _as_they_end(
    one: Callable[[Cell], dict[str, Any]], cells: Sequence[Cell], processes: int
) -> Iterator[dict[str, Any]]:
    if processes == 1:
        yield from map(one, cells)
        return
    spawn = multiprocessing.get_context("spawn")  # a fork after torch has run hangs
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        for future in as_completed([pool.submit(one, cell) for cell in cells]):
            yield future.result()


def one_run(
    cell: Cell, listing: Listing, cache: Path, out: Path, settings: Settings, films: int
) -> dict[str, Any]:
    """Trains one network and judges it; what it said of the films to judge by is kept beside."""
    augmentation, imbalance, seed = cell
    began = time.monotonic()
    samples = load(listing, settings.px, cache)
    sides = sides_of(samples, films)
    samples = samples.only(samples.carried(sides.learn))
    mine = replace(settings, augmentation=augmentation, imbalance=imbalance, seed=seed, valid_share=0.0)
    with TemporaryDirectory(dir=out) as folder:
        nothing = sides.learn[:0]
        classifier_train.train(
            samples, samples.task, mine, Path(folder), rows=(sides.learn, nothing), picture=False, quiet=True
        )
        net, task, _ = classifier_run.restored(Path(folder))
    said = {
        name: classifier_train.probabilities(
            classifier_train.predict(net, samples, rows, mine.px), task.exclusive
        )
        for name, rows in (("valid", sides.valid), ("judge", sides.judge))
    }
    targets = {name: samples.targets[rows] for name, rows in (("valid", sides.valid), ("judge", sides.judge))}
    np.savez(out / f"{'-'.join(map(str, cell))}.npz", said=said["judge"], truth=targets["judge"])
    marks = marked(targets["valid"], said["valid"], targets["judge"], said["judge"])
    seconds = round(time.monotonic() - began, 1)
    return {"augmentation": augmentation, "imbalance": imbalance, "seed": seed, **marks, "seconds": seconds}


def marked(
    valid: Floats, said_valid: NDArray[np.float64], judge: Floats, said: NDArray[np.float64]
) -> dict[str, Any]:
    """The macro averages over the labels that can be judged, and each label's AUC by its place."""
    each: list[tuple[float, ...]] = []
    for n in range(judge.shape[1]):
        known, chosen_on = ~np.isnan(judge[:, n]), ~np.isnan(valid[:, n])
        truth, p = judge[known, n] == 1, said[known, n]
        threshold = rules.best_f1_threshold(valid[chosen_on, n] == 1, said_valid[chosen_on, n])
        if truth.any() and not truth.all():
            marks = (areas.auc(truth, p), areas.average_precision(truth, p))
            each.append((*marks, rules.f1(truth, p >= 0.5), rules.f1(truth, p >= threshold)))
    means = np.mean(each, axis=0)
    return {name: round(float(value), 5) for name, value in zip(MARKS, means, strict=True)}


# --- tables -------------------------------------------------------------------------------------------


def results(out: Path) -> list[dict[str, Any]]:
    """The runs that are done."""
    path = out / RESULTS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def summarised(out: Path) -> list[dict[str, Any]]:
    """For each way: the mean of each mark over the seeds, half its 95 % interval, and against none/none.

    The difference in macro AUC against none/none is of the same films and the same seeds, over the seeds'
    mean, with an interval from drawing patients.
    """
    lines = results(out)
    patients = json.loads((out / "subset.json").read_text())["patients"]
    weights = _drawn(patients)
    ways = sorted({(line["augmentation"], line["imbalance"]) for line in lines}, key=_place)
    summary = []
    for way in ways:
        mine = [line for line in lines if (line["augmentation"], line["imbalance"]) == way]
        row: dict[str, Any] = {"augmentation": way[0], "imbalance": way[1], "seeds": len(mine)}
        for mark in MARKS:
            values = np.array([line[mark] for line in mine])
            row[mark] = round(float(values.mean()), 4)
            row[f"{mark}_half"] = _half_interval(values)
        shared = sorted({line["seed"] for line in mine} & _seeds(lines, PLAIN))
        if way != PLAIN and shared:
            row["gain"], row["gain_low"], row["gain_high"] = _gain(out, way, shared, weights)
        summary.append(row)
    return summary


def table(out: Path) -> str:
    """The summary as Markdown."""
    heads = ("augmentation", "imbalance", *HEADS, "macro AUC against none/none, paired by patient")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in summarised(out):
        cells = [row["augmentation"], row["imbalance"]]
        for mark in MARKS:
            half = row[f"{mark}_half"]
            cells.append(f"{row[mark]:.3f}" + ("" if half is None else f" ± {half:.3f}"))
        gain = (
            f"{row['gain']:+.3f} ({row['gain_low']:+.3f} to {row['gain_high']:+.3f})"
            if "gain" in row
            else "–"
        )
        lines.append("| " + " | ".join([*cells, gain]) + " |")
    return "\n".join(lines) + "\n"


def in_a_line(run: Mapping[str, Any]) -> str:
    """One run for people who wait."""
    way = f"{run['augmentation']} / {run['imbalance']}, seed {run['seed']}"
    return f"{way}: macro AUC {run['auc']:.3f}, average precision {run['ap']:.3f}, {run['seconds']:.0f} s"


def _gain(
    out: Path, way: tuple[str, str], seeds: Sequence[int], weights: NDArray[np.float64]
) -> tuple[float, ...]:
    """The mean gain and its 95 % interval."""
    gains = [_macro(out, way, seed, weights) - _macro(out, PLAIN, seed, weights) for seed in seeds]
    each = np.mean(gains, axis=0)  # the first draw is every film once
    low, high = np.nanquantile(each[1:], (0.025, 0.975))
    return round(float(each[0]), 4), round(float(low), 4), round(float(high), 4)


def _macro(out: Path, way: tuple[str, str], seed: int, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The macro AUC of a run for each draw of patients, (1 + DRAWS,)."""
    with np.load(out / f"{way[0]}-{way[1]}-{seed}.npz") as stored:
        said, truth = stored["said"], stored["truth"]
    each = []
    for n in range(truth.shape[1]):
        known = ~np.isnan(truth[:, n])
        positive = truth[known, n] == 1
        if positive.any() and not positive.all():
            each.append(areas.aucs(positive, said[known, n], weights[:, known]))
    out_: NDArray[np.float64] = np.nanmean(each, axis=0)
    return out_


def _drawn(patients: Sequence[str]) -> NDArray[np.float64]:
    """How often each film is drawn with its patient: once, and then DRAWS times at random, (1 + DRAWS, N)."""
    everything = np.ones(len(patients), dtype=bool)
    return np.vstack(
        [np.ones(len(patients)), areas.Draws(np.array(patients), DRAWS, SUBSET_SEED).weights(everything)]
    )


def _half_interval(values: NDArray[np.float64]) -> float | None:
    """Half of the 95 % interval of a mean over seeds (Student's t); None where seeds are too few or many."""
    t = STUDENT.get(len(values))
    return round(float(t * values.std(ddof=1) / math.sqrt(len(values))), 4) if t else None


def _seeds(lines: Sequence[Mapping[str, Any]], way: tuple[str, str]) -> set[int]:
    return {line["seed"] for line in lines if (line["augmentation"], line["imbalance"]) == way}


def _place(way: tuple[str, str]) -> tuple[int, int]:
    return list(AUGMENTATIONS).index(way[0]), IMBALANCES.index(way[1])


def _same_as_before(out: Path, settings: Settings, films: int, samples: Samples) -> None:
    """Writes down which films and settings the table is about.

    Raises:
        SamplesError: the runs in `out` had others.
    """
    sides = sides_of(samples, films)
    told = {
        "settings": asdict(settings),
        "task": samples.task.name,
        "films": {name: len(getattr(sides, name)) for name in ("learn", "valid", "judge")},
        "patients": samples.patients(sides.judge),
    }
    path = out / "subset.json"
    if path.exists() and json.loads(path.read_text()) != told:
        raise SamplesError(f"{out} holds runs with other settings or films; name another folder")
    path.write_text(json.dumps(told) + "\n")
