"""Trains the networks of a gate for another region from the region's manifest alone.

A run that was stopped goes on where it was. `lab.ask.region_ask` asks them about the patients that they did
not see.

    work/cache/region-NAME/fold0/            a bundle trained without a third of the patients
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.lab.films.data import Row
from pipelines.lab.films.region_data import Film, Region, fraction, stage
from pipelines.lab.train import gate_train
from pipelines.lab.train.recipes.region import region_recipe

FOLDS = 3
STEPS = 200  # of 48 films: a minute of one free core


@dataclass(frozen=True, slots=True)
class Run:
    """Where a run works, and with what."""

    region: Region
    cache: Path
    seed: int = 0
    steps: int = STEPS
    threads: int = 1
    folds: int = FOLDS  # thirds that are tested; with 1 the network that was tested is the one that ships

    @property
    def folder(self) -> Path:
        """Everything of this run but the bundle that ships."""
        return self.cache / f"region-{self.region.name}"


def fold_of(row: Row) -> int:
    """The fold of a patient."""
    return int(fraction(row.group) * FOLDS)


def not_in(fold: int, row: Row) -> bool:
    """Whether a patient may be trained on when this fold is left out."""
    return fold_of(row) != fold


def trained_bundle(run: Run, out: Path, keep: Callable[[Row], bool], boxes: float = 1.0) -> Path:
    """Trains on the films that `keep` allows, if `out` is not that already; returns `out`.

    `boxes` is the share of the region's films whose boxes are used; the others teach the label alone.
    """
    run_json = {"region": run.region.digest, "seed": run.seed, "steps": run.steps, "boxes": boxes}
    done = out / "region.json"
    if done.exists() and json.loads(done.read_text()) == run_json:
        return out
    begun = out / "begun.json"
    if not begun.exists() or json.loads(begun.read_text()) != run_json:
        shutil.rmtree(out, ignore_errors=True)  # a checkpoint of other films or settings is not gone on from
        out.mkdir(parents=True)
        begun.write_text(json.dumps(run_json) + "\n")
    used = {film.row.file: film.boxes for film in run.region.films if film.boxes and boxed(film, boxes)}
    recipe = region_recipe(used, run.region.most, keep, alike=run.region.alike, steps=run.steps)
    films = stage(run.region, run.folder / "films")
    gate_train.train(
        run.region.name,
        films,
        out,
        run.cache,
        recipe=recipe,
        seed=run.seed,
        threads=run.threads,
        resume=True,
    )
    (out / "checkpoint.pt").unlink(missing_ok=True)
    done.write_text(json.dumps(run_json) + "\n")
    return out


def boxed(film: Film, share: float) -> bool:
    """Whether a film's boxes are among this share of all."""
    return fraction("boxes of " + film.name) < share
