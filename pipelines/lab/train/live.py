"""How a training goes: its log, a line a step and an epoch, and a picture that is drawn anew meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from matplotlib.figure import Figure

REDRAW_S = 4.0
REDRAW_SHARE = 0.05  # of the time goes into pictures at most: one costs 0.2 s, on a busy machine more
SMOOTH = 20  # steps over which the loss of the training side is averaged in the picture

Line = Mapping[str, Any]


@dataclass(slots=True)
class Live:
    """The log `train.jsonl` and the picture `progress.png` of one run, both in `out`."""

    out: Path
    title: str
    with_picture: bool = True
    steps: list[Line] = field(default_factory=list)
    epochs: list[Line] = field(default_factory=list)
    next_draw: float = 0.0
    log: TextIO | None = None

    def begin(self, done: int) -> None:
        """Opens the log anew, or goes on after `done` steps of it."""
        path = self.out / "train.jsonl"
        if done and path.exists():
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            kept = [
                line for line in lines if line["step"] < done or ("epoch" in line and line["step"] == done)
            ]
            self.steps = [line for line in kept if "epoch" not in line]
            self.epochs = [line for line in kept if "epoch" in line]
            path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self.log = path.open("a" if done else "w")

    def step(self, line: Line) -> None:
        """`step` (from 0), `loss` and `rate` of one step."""
        self._write(line)
        self.steps.append(line)
        self.draw(force=False)

    def epoch(self, line: Line) -> None:
        """`epoch`, `step` (how many are done), `loss`, `valid_loss`, `valid_auc` of one epoch."""
        self._write(line)
        self.epochs.append(line)
        if self.log:
            self.log.flush()
        self.draw(force=False)

    def end(self) -> None:
        """Draws what was not drawn yet, and closes the log."""
        self.draw(force=True)
        if self.log:
            self.log.close()

    def draw(self, force: bool) -> None:
        """Draws the picture unless it was drawn a moment ago."""
        now = time.monotonic()
        if self.with_picture and self.steps and (force or now > self.next_draw):
            draw(self.out / "progress.png", self.title, self.steps, self.epochs)
            took = time.monotonic() - now
            self.next_draw = now + max(REDRAW_S, took / REDRAW_SHARE)

    def _write(self, line: Line) -> None:
        if self.log:
            self.log.write(json.dumps(line) + "\n")


def draw(path: Path, title: str, steps: list[Line], epochs: list[Line]) -> None:
    """Left the losses of training and validation, right the macro AUC of validation, over the steps."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    losses = np.array([line["loss"] for line in steps])
    width = min(SMOOTH, len(losses))
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    left.plot(losses, color="#bbbbbb", lw=0.6)
    left.plot(np.arange(len(smooth)) + width - 1, smooth, color="#1f5fa8", label="training")
    checked = [line for line in epochs if line["valid_loss"] is not None]
    at = [line["step"] for line in checked]
    left.plot(at, [line["valid_loss"] for line in checked], "o-", ms=3, color="#c0392b", label="validation")
    left.set(
        xlabel="step", ylabel="loss", title=title, ylim=(0, float(np.quantile(losses, 0.98)) * 1.15 + 1e-6)
    )
    left.legend()
    scores = [line["valid_auc"] if line["valid_auc"] is not None else np.nan for line in checked]
    right.plot(at, scores, "o-", ms=3, color="#c0392b")
    right.axhline(0.5, color="#bbbbbb", lw=0.8)
    best = np.nanmax(scores) if np.isfinite(scores).any() else float("nan")
    right.set(xlabel="step", ylabel="macro AUC of validation", title=f"best {best:.3f}")
    part = path.with_suffix(".part.png")
    figure.savefig(part, dpi=90)
    part.replace(path)


def draw_rates(path: Path, rates: Sequence[float], losses: Sequence[float], suggestion: float) -> None:
    """The loss over the learning rate, with the rate that is suggested."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(rates, losses, color="#1f5fa8")
    axes.axvline(suggestion, color="#c0392b", lw=0.9)
    axes.set(xlabel="learning rate", ylabel="loss, running mean", title=f"suggested: {suggestion:.1e}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
