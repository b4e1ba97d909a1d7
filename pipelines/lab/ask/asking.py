"""Where training meets the gates' own input chain; the commands for models call this.

A round of leave-site-out lives in one folder of runs:

    runs/<round>/<gate>/              a bundle trained without the round's sites (lab.films.data.ROUNDS)
    runs/<round>/<gate>/scores.csv    what it made of the films it never saw (pipelines.lab.measure.scores)
    runs/<round>/lungs/boxes.csv      and where it found their lungs

A gate is asked with the pose networks of its own round, so nothing that it relies on has seen the site.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from models import bundle
from pipelines.gates import anatomy, lungs, mirror, rotation
from pipelines.gates.eyes import Eyes
from pipelines.lab.ask import evaluate
from pipelines.lab.ask.evaluate import Ask, FindBox, Pixels, Span
from pipelines.lab.ask.rounds import BOXES, SCORES
from pipelines.lab.films.data import Row, left_out, read_rows
from pipelines.lab.measure import calibrate
from pipelines.lab.train import gate_train
from pipelines.transforms import as_batch, gate_input

NEEDS = {  # the networks that a gate is asked with
    "rotation": ("rotation",),
    "inversion": ("inversion",),
    "anatomy": ("rotation", "inversion", "anatomy"),
    "mirror": ("rotation", "inversion", "mirror"),
    "lungs": ("rotation", "inversion", "lungs"),
}


def train_gate(
    name: str,
    films: Path,
    out: Path,
    cache: Path,
    *,
    without: str = "",
    terms: str = "all",
    resume: bool = False,
    seed: int = 0,
    steps: int | None = None,
    threads: int = 1,
) -> Path:
    """Trains the gate `name` on what it will see at work and writes a bundle, without thresholds."""
    return gate_train.train(
        name,
        films,
        out,
        cache,
        as_batch,
        without=without,
        terms=terms,
        resume=resume,
        seed=seed,
        steps=steps,
        threads=threads,
    )


def train_round(name: str, films: Path, runs: Path, round_: str, cache: Path) -> Path:
    """Trains `name` without the sites of the round, if that is not done; goes on where it was stopped."""
    out = runs / round_ / name
    if not (out / bundle.METADATA).exists():
        train_gate(name, films, out, cache, without=round_, resume=True)
    return out


def score_round(name: str, films: Path, runs: Path, round_: str) -> Path:
    """Asks the round's gate about the films it never saw; returns the table of scores.

    Of a children's site one film a patient is asked about: its patients have up to thirty. Raises
    BundleError when a network of the round is missing.
    """
    folder = runs / round_
    rows = unseen_rows(films, round_)
    if name == "lungs":
        find = box_finder(folder)
        evaluate.box_scores(find, films, [row for row in rows if row.box], round_, folder / name / BOXES)
    out = folder / name / SCORES
    evaluate.score_films(name, asks(name, folder), films, rows, round_, out=out)
    return out


def unseen_rows(films: Path, round_: str) -> list[Row]:
    """The films that the round leaves out."""
    rows = read_rows(films)
    seen: set[str] = set()
    out = []
    for row, wanted in zip(rows, left_out(rows, round_), strict=True):
        if wanted and not (row.source == "kermany" and row.group in seen):
            seen.add(row.group)
            out.append(row)
    return out


def asks(name: str, bundles: Path) -> Ask:
    """The gate of the bundles in this folder as a question: pixels -> (score, reason if it is bad).

    It needs no thresholds. Raises BundleError when a network is missing.
    """
    nets = {need: bundle.load(bundles / need).net for need in NEEDS[name]}
    return ASKS[name](nets)


def box_finder(bundles: Path) -> FindBox:
    """The lung gate as a question: pixels -> box in fractions of the film, or None."""
    nets = {need: bundle.load(bundles / need).net for need in NEEDS["lungs"]}
    eyes = Eyes(nets["rotation"], nets["inversion"])

    def find(pixels: Pixels) -> Span | None:
        found = _lung_field(eyes, nets["lungs"], pixels)
        if found is None:
            return None
        box = found.box.turned(eyes.pose(pixels).turn)
        return box.x0, box.y0, box.x1, box.y1

    return find


def features(name: str, bundles: Path) -> Callable[[Tensor], Tensor]:
    """What the network `name` has before its last layer: (B, S, S) -> (B, F). For probes."""
    net = bundle.load(bundles / name).net
    inner = next(getattr(net, part) for part in ("one_way", "one_side", "body") if hasattr(net, part))

    def ask(x: Tensor) -> Tensor:
        with torch.inference_mode():
            out: Tensor = inner.features(x[:, None])
        return out

    return ask


def _rotation(nets: dict[str, nn.Module]) -> Ask:
    def ask(pixels: Pixels) -> tuple[float, str]:
        with torch.inference_mode():
            shares = torch.softmax(nets["rotation"](gate_input(pixels)[None])[0, :4], dim=0).tolist()
        score, reason = rotation.judged(shares)
        return score, reason.value

    return ask


def _inversion(nets: dict[str, nn.Module]) -> Ask:
    def ask(pixels: Pixels) -> tuple[float, str]:
        with torch.inference_mode():
            return float(torch.sigmoid(-nets["inversion"](gate_input(pixels)[None])[0, 0])), "INVERTED"

    return ask


def _anatomy(nets: dict[str, nn.Module]) -> Ask:
    eyes = Eyes(nets["rotation"], nets["inversion"])

    def ask(pixels: Pixels) -> tuple[float, str]:
        pose = eyes.pose(pixels)
        score, reason = anatomy.judged(anatomy.looked(nets["anatomy"], pose), pose)
        return score, reason.value

    return ask


def _mirror(nets: dict[str, nn.Module]) -> Ask:
    eyes = Eyes(nets["rotation"], nets["inversion"])

    def ask(pixels: Pixels) -> tuple[float, str]:
        return mirror.looked(nets["mirror"], eyes.pose(pixels)), "MIRROR_SUSPECTED"

    return ask


def _lungs(nets: dict[str, nn.Module]) -> Ask:
    eyes = Eyes(nets["rotation"], nets["inversion"])

    def ask(pixels: Pixels) -> tuple[float, str]:
        found = _lung_field(eyes, nets["lungs"], pixels)
        return (found.area if found else 0.0), "LUNGS_NOT_FOUND"

    return ask


ASKS: dict[str, Callable[[dict[str, nn.Module]], Ask]] = {
    "rotation": _rotation,
    "inversion": _inversion,
    "anatomy": _anatomy,
    "mirror": _mirror,
    "lungs": _lungs,
}


def _lung_field(eyes: Eyes, net: nn.Module, pixels: Pixels) -> lungs.Field | None:
    return lungs.field_of(lungs.mask_of(net, eyes.pose(pixels)), calibrate.ALSO["lungs"]["touching"])
