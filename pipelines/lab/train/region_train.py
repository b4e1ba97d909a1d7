"""Trains a gate for another region, and finds out what it is worth, from the region's manifest alone.

Three folds by patient, each asked about the patients it never saw, give the thresholds and the figures; the
network that ships is trained on all films. The sources that are `test_only` are asked of that one: nothing
was trained on them. A run that was stopped goes on where it was.

    work/cache/region-NAME/fold0/            a bundle trained without a third of the patients
    work/cache/region-NAME/fold0/seen.json   what it made of them
    OUT/                                     the bundle that ships, with its card
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn

from models import bundle
from models.pictures import read_pixels
from models.region_net import objects
from pipelines.lab.films.data import Row
from pipelines.lab.films.region_data import NO, YES, Film, Region, Span, fraction, stage
from pipelines.lab.train import gate_train
from pipelines.lab.train.recipes.region import region_recipe

FOLDS = 3
STEPS = 200  # of 48 films: a minute of one free core
MOST_ASKED = 300  # patients of other regions a source: enough for the bounds, and a person waits for it
CURVE = (0.25, 0.5, 1.0)
LEAST_BOX = 0.05  # probability of a box that is kept in the table of what was seen

Pixels = NDArray[np.float32]  # (H, W) in [0, 1], as displayed
See = Callable[[Pixels], Tensor]  # the gates' own input chain -> (1, SIZE, SIZE)
Prepare = gate_train.Prepare


@dataclass(frozen=True, slots=True)
class Seen:
    """What a network made of one film, shown in one way."""

    name: str  # the film's path in the folder of films
    source: str
    patient: str
    label: str
    case: str
    score: float  # probability of the region
    boxes: tuple[tuple[float, float, float, float, float], ...]  # x0, y0, x1, y1, probability
    drawn: tuple[Span, ...]  # the true ones


@dataclass(frozen=True, slots=True)
class Run:
    """Where a run works, and with what."""

    region: Region
    cache: Path
    prepare: Prepare
    see: See
    seed: int = 0
    steps: int = STEPS
    threads: int = 1
    folds: int = FOLDS  # thirds that are tested; with 1 the network that was tested is the one that ships

    @property
    def folder(self) -> Path:
        """Everything of this run but the bundle that ships."""
        return self.cache / f"region-{self.region.name}"


def cross_checked(run: Run) -> list[Seen]:
    """Trains the folds and asks each about its own third of the patients."""
    seen: list[Seen] = []
    for fold in range(run.folds):
        out = run.folder / f"fold{fold}"
        trained_bundle(run, out, keep=partial(_not_in, fold))
        seen += asked(run, out, [film for film in run.region.trained if fold_of(film.row) == fold])
    return seen


def fold_of(row: Row) -> int:
    """The fold of a patient."""
    return int(fraction(row.group) * FOLDS)


def _not_in(fold: int, row: Row) -> bool:
    return fold_of(row) != fold


def trained_bundle(run: Run, out: Path, keep: Callable[[Row], bool], boxes: float = 1.0) -> Path:
    """Trains on the films that `keep` allows, if `out` is not that already; returns `out`.

    `boxes` is the share of the region's films whose boxes are used; the others teach the label alone.
    """
    told = {"region": run.region.digest, "seed": run.seed, "steps": run.steps, "boxes": boxes}
    done = out / "region.json"
    if done.exists() and json.loads(done.read_text()) == told:
        return out
    begun = out / "begun.json"
    if not begun.exists() or json.loads(begun.read_text()) != told:
        shutil.rmtree(out, ignore_errors=True)  # a checkpoint of other films or settings is not gone on from
        out.mkdir(parents=True)
        begun.write_text(json.dumps(told) + "\n")
    used = {film.row.file: film.boxes for film in run.region.films if film.boxes and _boxed(film, boxes)}
    recipe = region_recipe(used, run.region.most, keep, alike=run.region.alike, steps=run.steps)
    films = stage(run.region, run.folder / "films")
    gate_train.train(
        run.region.name,
        films,
        out,
        run.cache,
        run.prepare,
        recipe=recipe,
        seed=run.seed,
        threads=run.threads,
        resume=True,
    )
    (out / "checkpoint.pt").unlink(missing_ok=True)
    done.write_text(json.dumps(told) + "\n")
    return out


def shipped(run: Run, out: Path) -> list[Seen]:
    """Trains on all films, writes the bundle `out`, and asks it about the sources it saw nothing of.

    With a single fold nothing more is trained: that fold's network ships.
    """
    alone = run.folds == 1
    whole = run.folder / "fold0" if alone else trained_bundle(run, run.folder / "all", keep=_any)
    apart = [film for film in run.region.films if film.row.source in run.region.test_only]
    seen = asked(run, whole, apart, name="apart")
    for part in ("configs", "models", "docs"):
        shutil.copytree(whole / part, out / part, dirs_exist_ok=True)
    shutil.copy(whole / bundle.LICENSE, out / bundle.LICENSE)
    how = json.loads((out / bundle.TRAIN).read_text())
    how["run"] = (
        f"filmgate region train region.yaml --seed {run.seed} --steps {run.steps} --folds {run.folds}"
    )
    how["manifest_sha256"] = run.region.digest
    (out / bundle.TRAIN).write_text(json.dumps(how, indent=1) + "\n")
    return seen


def _any(_: Row) -> bool:
    return True


def learning_curve(run: Run) -> list[tuple[float, int, list[Seen]]]:
    """The first fold with a share of the boxes: (share, boxes trained with, what it made of its films)."""
    out = []
    held_out = [film for film in run.region.trained if fold_of(film.row) == 0 and film.boxes]
    trained = [film for film in run.region.trained if fold_of(film.row) != 0 and film.boxes]
    for share in CURVE:
        folder = run.folder / ("fold0" if share == 1 else f"fold0-boxes{share:.0%}")
        trained_bundle(run, folder, keep=partial(_not_in, 0), boxes=share)
        drawn = sum(len(film.boxes) for film in trained if _boxed(film, share))
        net = bundle.load(folder).net
        seen = [one for film in held_out for one in shown(net, run.see, film, run.region.most)]
        out.append((share, drawn, seen))
    return out


def _boxed(film: Film, share: float) -> bool:
    """Whether a film's boxes are among this share of all."""
    return fraction("boxes of " + film.name) < share


# --- asking a network ---------------------------------------------------------------------------------------


def asked(run: Run, folder: Path, films: Sequence[Film], name: str = "seen") -> list[Seen]:
    """What the bundle in `folder` makes of these films (sampled), kept in `folder/NAME.json`."""
    path = folder / f"{name}.json"
    weights = bundle.read_card(folder).weights_sha256
    if path.exists() and (kept := json.loads(path.read_text()))["weights"] == weights:
        return [_seen(one) for one in kept["seen"]]
    torch.set_num_threads(run.threads)
    net = bundle.load(folder).net
    seen = [
        one
        for film in track(sampled(films), f"asking {folder.name}")
        for one in shown(net, run.see, film, run.region.most)
    ]
    path.write_text(json.dumps({"weights": weights, "seen": [asdict(one) for one in seen]}) + "\n")
    return seen


def sampled(films: Iterable[Film]) -> list[Film]:
    """All films of the region, and of each source one film of the first MOST_ASKED other patients.

    The first by the patient's digest; how many of the folds' thirds are taken follows from it.
    """
    out: list[Film] = []
    patients: dict[str, set[str]] = defaultdict(set)
    for film in sorted(films, key=lambda film: (fraction("asked " + film.row.group), film.name)):
        others = patients[film.row.source]
        if film.row.view != NO:
            out.append(film)
        elif film.row.group not in others and len(others) < MOST_ASKED:
            others.add(film.row.group)
            out.append(film)
    return out


def shown(net: nn.Module, see: See, film: Film, most: int) -> Iterator[Seen]:
    """One film as it is published and, if it shows the region, in each turn and as a negative."""
    pixels = read_pixels(film.row.file, film.row.known)
    cases = {"as it is": pixels}
    if film.row.view == YES:
        cases |= {f"turned {90 * k}": np.ascontiguousarray(np.rot90(pixels, -k)) for k in (1, 2, 3)}
        cases["negative"] = 1 - pixels
    for case, shape in cases.items():
        with torch.inference_mode():
            maps = net(see(shape)[None])[0]
        yield Seen(
            film.name,
            film.row.source,
            film.row.group,
            film.row.view,
            case,
            round(float(maps[0, 0, 0].sigmoid()), 5),
            tuple(tuple(round(v, 4) for v in box) for box in objects(maps, LEAST_BOX, most).tolist()),
            film.boxes if case == "as it is" else (),
        )


def _seen(told: dict[str, object]) -> Seen:
    boxes, drawn = (tuple(tuple(box) for box in told[key]) for key in ("boxes", "drawn"))  # type: ignore[attr-defined]
    return Seen(**{**told, "boxes": boxes, "drawn": drawn})  # type: ignore[arg-type]
