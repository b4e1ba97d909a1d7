"""Looks for a learning rate: the rate rises from step to step until the loss does, too (Smith 2015)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from pipelines.lab.films.augmentation import AUGMENTATIONS
from pipelines.lab.films.samples import Samples
from pipelines.lab.train import classifier_train
from pipelines.lab.train.classifier_train import Settings
from pipelines.lab.train.imbalance import plan

LOWEST, HIGHEST = 1e-6, 1.0
STEPS = 80
SMOOTH = 0.9  # share of the past in the running mean of the loss
BURST = 3.0  # times the lowest loss: it has diverged
BELOW = 10.0  # the rate that is suggested lies so many times below that of the lowest loss


@dataclass(frozen=True, slots=True)
class Curve:
    """Smoothed losses over rates, and the highest rate that a run should use."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the loss was lowest: the loss still falls there, surely."""
        return self.rates[int(np.argmin(self.losses))] / BELOW


def find_rate(samples: Samples, settings: Settings, steps: int = STEPS) -> Curve:
    """Trains everything for some steps from the beginning that `settings` names; keeps nothing."""
    torch.set_num_threads(settings.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    learn, _ = classifier_train.sides(samples, settings, None)
    samples = samples.only(samples.carried(learn))
    todo = plan(settings.imbalance, learn, samples.targets[learn], samples.task, settings.seed)
    net = classifier_train.frozen(
        classifier_train.network(settings, len(samples.task.labels)).to(device), trunk=False
    )
    optimiser = classifier_train.optimiser_of(net, settings)
    batch = min(settings.batch, len(learn))
    order = todo.order(steps * batch, classifier_train.seeded(settings.seed, -1))
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for step in range(steps):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / max(steps - 1, 1))
        for group, share in zip(optimiser.param_groups, (settings.trunk_share, 1.0), strict=True):
            group["lr"] = rate * share
        chosen = order[step * batch : (step + 1) * batch]
        x = AUGMENTATIONS[settings.augmentation](
            classifier_train.seen(samples, chosen, settings.px, device),
            classifier_train.seeded(settings.seed, step),
        )
        loss = classifier_train.one_step(
            net, optimiser, todo, x, torch.from_numpy(samples.targets[chosen]).to(device)
        )
        mean = SMOOTH * mean + (1 - SMOOTH) * loss
        smooth = mean / (1 - SMOOTH ** (step + 1))
        if not math.isfinite(loss) or (losses and smooth > BURST * min(losses)):
            break
        rates.append(rate)
        losses.append(smooth)
    return Curve(tuple(rates), tuple(losses))


def draw(path: Path, curve: Curve) -> None:
    """The loss over the rate, with the suggestion."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(curve.rates, curve.losses, color="#1f5fa8")
    axes.axvline(curve.suggestion, color="#c0392b", lw=0.9)
    axes.set(xlabel="learning rate", ylabel="loss, running mean", title=f"suggested: {curve.suggestion:.1e}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
