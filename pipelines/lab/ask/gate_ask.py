"""Shows films to a gate in every way that it is judged by, and keeps what it made of each.

A gate is asked as it ships and through itself: one film at a time, from the picture as it is published. Each
film is decoded once and shown in all its cases; the answers go into one table (`measure/scores.py`), from
which thresholds, cards and reports are made without looking at a film again. Nothing is counted here.

A round of leave-site-out lives in one folder of runs:

    runs/<round>/<gate>/              a bundle trained without the round's sites (lab.films.data.ROUNDS)
    runs/<round>/<gate>/scores.csv    what it made of the films it never saw (pipelines.lab.measure.scores)
    runs/<round>/lungs/boxes.csv      and where it found their lungs

A gate is asked with the pose networks of its own round, so nothing that it relies on has seen the site.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from models import bundle, nets
from models.pictures import read_pixels
from pipelines.film import Box, Film, Finding, Header
from pipelines.gates import GATES, Gate
from pipelines.gates.pose import Eyes
from pipelines.lab.ask.gate_cases import CASES, Case, Pixels, frontal
from pipelines.lab.films.data import Row, left_out, read_rows
from pipelines.lab.measure import scores
from pipelines.lab.measure.calibrate import ALSO
from pipelines.lab.measure.scores import BOXES, SCORES, BoxScore, Score

Ask = Callable[[Pixels], tuple[float, str]]  # a gate: its score, and the Reason it would give if bad
Span = tuple[float, float, float, float]  # x0, y0, x1, y1 in fractions of the film's width and height
FindBox = Callable[[Pixels], Span | None]  # a gate that boxes the lungs; None where it found none

CHUNK = 400  # films between two writings of the table: what a stopped run loses at most
NEEDS: dict[str, tuple[str, ...]] = {  # the networks that a learned gate is asked with
    str(getattr(kind, "name", "")): needs for kind in GATES if (needs := getattr(kind, "needs", ()))
}
# No score reaches 2: with these thresholds a gate calls every film bad, and tells its score and its reason.
ALL_BAD = {"low": 2.0, "high": 2.0, "least": 2.0}
ALL_GOOD = {"low": -1.0, "high": -1.0, "least": -1.0}

# --- a gate as a question -----------------------------------------------------------------------------------


def gate_of(name: str, bundles: Path, thresholds: Mapping[str, float]) -> Gate:
    """The gate that the bundles in this folder make, with these thresholds in place of the card's.

    Raises BundleError when a network is missing.
    """
    kind = next(kind for kind in GATES if getattr(kind, "name", "") == name)
    models = {need: bundle.load(bundles / need) for need in NEEDS[name]}
    eyes = Eyes(models["rotation"].net, models["inversion"].net)
    card = replace(models[name].card, thresholds={**ALSO.get(name, {}), **thresholds})
    return kind(eyes, replace(models[name], card=card))


def asks(name: str, bundles: Path) -> Ask:
    """The gate of the bundles in this folder as a question: pixels -> (score, reason if it is bad).

    It needs no thresholds. Raises BundleError when a network is missing.
    """
    gate = gate_of(name, bundles, ALL_BAD)

    def ask(pixels: Pixels) -> tuple[float, str]:
        finding = _first(gate, pixels)
        assert finding.score is not None
        return finding.score, finding.reason.value if finding.reason else scores.GOOD

    return ask


def box_finder(bundles: Path) -> FindBox:
    """The lung gate as a question: pixels -> box in fractions of the film, or None."""
    gate = gate_of("lungs", bundles, ALL_GOOD)

    def find(pixels: Pixels) -> Span | None:
        box = _first(gate, pixels).box
        return (box.x0, box.y0, box.x1, box.y1) if box else None

    return find


def _first(gate: Gate, pixels: Pixels) -> Finding:
    """What the gate finds in a film whose header claims nothing."""
    return gate(Film(Header(), pixels))[0]


def features(name: str, bundles: Path) -> Callable[[Tensor], Tensor]:
    """What the network `name` has before its last layer: (B, S, S) -> (B, F). For probes."""
    net = nets.load(bundles / name)
    inner = next(getattr(net, part) for part in ("one_way", "one_side", "body") if hasattr(net, part))

    def ask(x: Tensor) -> Tensor:
        with torch.inference_mode():
            out: Tensor = inner.features(x[:, None])
        return out

    return ask


# --- the rounds ---------------------------------------------------------------------------------------------


def score_round(name: str, films: Path, runs: Path, round_: str) -> Path:
    """Asks the round's gate about the films it never saw; returns the table of scores.

    Of a children's site one film a patient is asked about: its patients have up to thirty. Raises
    BundleError when a network of the round is missing.
    """
    folder = runs / round_
    rows = unseen_rows(films, round_)
    if name == "lungs":
        find = box_finder(folder)
        box_scores(find, films, [row for row in rows if row.box], round_, folder / name / BOXES)
    out = folder / name / SCORES
    score_films(name, asks(name, folder), films, rows, round_, out=out)
    return out


def unseen_rows(films: Path, round_: str) -> list[Row]:
    """The films that the round leaves out."""
    rows = read_rows(films)
    asked: set[str] = set()
    out = []
    for row, unseen in zip(rows, left_out(rows, round_), strict=True):
        if unseen and not (row.source == "kermany" and row.group in asked):
            asked.add(row.group)
            out.append(row)
    return out


# --- asking -------------------------------------------------------------------------------------------------


def score_films(
    gate: str,
    ask: Ask,
    films: Path,
    rows: Sequence[Row],
    left_out: str = "",
    cases: Sequence[Case] | None = None,
    out: Path | None = None,
    progress: bool = True,
) -> list[Score]:
    """What `gate` makes of these films in all its cases; each film is decoded once.

    With `out` the table is written there after every CHUNK films and at the end, and what it already holds
    of this gate and round is not asked again: remove it when the weights have changed. Raises OSError for a
    film that cannot be read and ValueError for a table that is none.
    """
    cases = CASES[gate] if cases is None else cases
    done = scores.read(out) if out and out.exists() else []
    known = {(score.file, score.case) for score in done if (score.gate, score.left_out) == (gate, left_out)}
    todo = [
        (row, missing)
        for row, wanted in _cases_of(rows, cases)
        if (missing := [case for case in wanted if (row.file, case.name) not in known])
    ]
    with _bar(progress) as bar:
        task = bar.add_task(f"{gate}, without {left_out}" if left_out else gate, total=len(todo))
        for count, (row, missing) in enumerate(todo, start=1):
            pixels = read_pixels(films / row.file, row.known)
            done.extend(_score(gate, left_out, row, case, ask, pixels) for case in missing)
            bar.advance(task)
            if out and count % CHUNK == 0:
                scores.write(out, done)
    if out and todo:
        scores.write(out, done)
    return done


def box_scores(
    find: FindBox,
    films: Path,
    rows: Sequence[Row],
    left_out: str = "",
    out: Path | None = None,
    progress: bool = True,
) -> list[BoxScore]:
    """The boxes of a gate against the true ones, for all rows that have one; written to `out` as CSV.

    Both boxes are compared in fractions of the film, so a squashed film counts as any other.
    """
    boxes = []
    with _bar(progress) as bar:
        boxed = [row for row in rows if row.box]
        task = bar.add_task("lung boxes", total=len(boxed))
        for row in boxed:
            boxes.append(_box_score(find, films, row, left_out))
            bar.advance(task)
    if out:
        scores.write_boxes(out, boxes)
    return boxes


def overlap(a: Span, b: Span) -> float:
    """Intersection over union of two boxes."""
    return Box(*a).iou(Box(*b))


def covered(mask: NDArray[np.bool_], box: Span) -> float:
    """The share of a mask (H, W) that lies inside of a box, by the centres of its pixels."""
    height, width = mask.shape
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    kept = mask[(y >= box[1]) & (y <= box[3])][:, (x >= box[0]) & (x <= box[2])]
    return float(kept.sum() / mask.sum())


def _cases_of(rows: Sequence[Row], cases: Sequence[Case]) -> Iterator[tuple[Row, list[Case]]]:
    """Each film with the cases that it is shown in."""
    some = {case.most: _one_film_each(rows, case.most) for case in cases if case.most}
    for row in rows:
        yield (
            row,
            [case for case in cases if case.fits(row) and (not case.most or row.file in some[case.most])],
        )


def _one_film_each(rows: Sequence[Row], most: int) -> set[str]:
    """One frontal film each of at most so many patients a site, chosen by the digest of their names."""
    first: dict[tuple[str, str], str] = {}
    for row in rows:
        if frontal(row):
            first.setdefault((row.site, row.group), row.file)
    sites: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for (site, group), file in first.items():
        sites[site].append((hashlib.sha256(group.encode()).hexdigest(), file))
    return {file for films in sites.values() for _, file in sorted(films)[:most]}


def _score(gate: str, left_out: str, row: Row, case: Case, ask: Ask, pixels: Pixels) -> Score:
    score, named = ask(np.ascontiguousarray(case.alter(pixels)))
    wanted = "|".join(case.wanted(row))
    return Score(
        gate,
        left_out,
        row.file,
        row.source,
        row.site,
        row.group,
        row.view,
        row.part,
        case.name,
        wanted,
        float(score),
        named,
    )


def _box_score(find: FindBox, films: Path, row: Row, left_out: str) -> BoxScore:
    pixels = read_pixels(films / row.file, row.known)
    height, width = pixels.shape
    x0, y0, x1, y1 = map(float, row.box.split())
    true = (x0 / width, y0 / height, x1 / width, y1 / height)
    box = find(pixels)
    inside = float("nan")
    if row.mask:
        inside = covered(read_pixels(films / row.mask) > 0.5, box) if box else 0.0
    return BoxScore(
        left_out,
        row.file,
        row.source,
        row.site,
        row.group,
        overlap(box, true) if box else 0.0,
        inside,
        _text(box) if box else "",
        _text(true),
    )


def _text(box: Span) -> str:
    return " ".join(f"{value:.4f}" for value in box)


def _bar(progress: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not progress)
