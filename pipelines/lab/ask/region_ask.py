"""Asks the gates of another region, each about the patients that its network never saw.

Three folds by patient give the thresholds and the figures; the network that ships is trained on all films,
and the sources that are `test_only` are asked of that one: nothing was trained on them.

    work/cache/region-NAME/fold0/seen.json   what the bundle beside it made of its third of the patients
    OUT/                                     the bundle that ships, with its card
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from models import bundle
from models.pictures import read_pixels
from pipelines.film import Film as Shown
from pipelines.film import Header
from pipelines.gates.pose import Eyes
from pipelines.gates.region import RegionGate
from pipelines.lab.films.data import Row
from pipelines.lab.films.region_data import NO, YES, Film, Span, fraction
from pipelines.lab.train.region_train import Run, boxed, fold_of, not_in, trained_bundle

MOST_ASKED = 300  # patients of other regions a source: enough for the bounds, and a person waits for it
CURVE = (0.25, 0.5, 1.0)
LEAST_BOX = 0.05  # probability of a box that is kept in the table of what was seen
# The gate tells its score and every box: no score is high enough for good, nor low enough for bad.
TELL_ALL = {"low": 0.0, "high": 2.0, "box": LEAST_BOX}
PARTS = ("x0", "y0", "x1", "y1", "p")  # of a box in the facts of a finding

Found = tuple[float, float, float, float, float]  # x0, y0, x1, y1, probability


@dataclass(frozen=True, slots=True)
class Seen:
    """What a network made of one film, shown in one way."""

    name: str  # the film's path in the folder of films
    source: str
    patient: str
    label: str
    case: str
    score: float  # probability of the region
    boxes: tuple[Found, ...]
    drawn: tuple[Span, ...]  # the true ones


def cross_checked(run: Run) -> list[Seen]:
    """Trains the folds and asks each about its own third of the patients."""
    seen: list[Seen] = []
    for fold in range(run.folds):
        out = run.folder / f"fold{fold}"
        trained_bundle(run, out, keep=partial(not_in, fold))
        seen += asked(run, out, [film for film in run.region.trained if fold_of(film.row) == fold])
    return seen


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
        trained_bundle(run, folder, keep=partial(not_in, 0), boxes=share)
        drawn = sum(len(film.boxes) for film in trained if boxed(film, share))
        gate = gate_of(folder, run.region.most)
        seen = [one for film in held_out for one in shown(gate, film)]
        out.append((share, drawn, seen))
    return out


def asked(run: Run, folder: Path, films: Sequence[Film], name: str = "seen") -> list[Seen]:
    """What the bundle in `folder` makes of these films (sampled), kept in `folder/NAME.json`."""
    path = folder / f"{name}.json"
    weights = bundle.read_card(folder).weights_sha256
    if path.exists() and (kept := json.loads(path.read_text()))["weights"] == weights:
        return [_seen(one) for one in kept["seen"]]
    torch.set_num_threads(run.threads)
    gate = gate_of(folder, run.region.most)
    asking = track(sampled(films), f"asking {folder.name}")
    seen = [one for film in asking for one in shown(gate, film)]
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


def gate_of(folder: Path, most: int) -> RegionGate:
    """The gate of a bundle, which need not have thresholds yet, made to tell its score and every box."""
    model = bundle.load(folder)
    card = replace(model.card, thresholds={**TELL_ALL, "most": float(most)})
    return RegionGate(Eyes(), replace(model, card=card))


def shown(gate: RegionGate, film: Film) -> Iterator[Seen]:
    """One film as it is published and, if it shows the region, in each turn and as a negative."""
    pixels = read_pixels(film.row.file, film.row.known)
    cases = {"as it is": pixels}
    if film.row.view == YES:
        cases |= {f"turned {90 * k}": np.ascontiguousarray(np.rot90(pixels, -k)) for k in (1, 2, 3)}
        cases["negative"] = 1 - pixels
    for case, altered in cases.items():
        (finding,) = gate(Shown(Header(), altered))
        assert finding.score is not None
        yield Seen(
            film.name,
            film.row.source,
            film.row.group,
            film.row.view,
            case,
            round(finding.score, 5),
            _boxes(dict(finding.facts)),
            film.boxes if case == "as it is" else (),
        )


def _boxes(facts: dict[str, float]) -> tuple[Found, ...]:
    """The boxes that a region gate tells in its facts, the surest first."""
    count = len(facts) // len(PARTS)
    numbers = ([facts[f"box{n}_{part}"] for part in PARTS] for n in range(1, count + 1))
    return tuple((x0, y0, x1, y1, p) for x0, y0, x1, y1, p in numbers)


def _seen(line: dict[str, object]) -> Seen:
    boxes, drawn = (tuple(tuple(box) for box in line[key]) for key in ("boxes", "drawn"))  # type: ignore[attr-defined]
    return Seen(**{**line, "boxes": boxes, "drawn": drawn})  # type: ignore[arg-type]
