"""A run that trains a classifier: its settings, how it stands, what it keeps, the bundle it becomes."""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from models import card as cards
from models.classifiers import bundle, nets
from models.classifiers.accepts import Accepts
from models.classifiers.bundle import ClassifierCard, Input
from pipelines.lab.films.labels import Task
from pipelines.lab.films.samples import Index, Samples
from pipelines.lab.train.augmentation import AUGMENTATIONS
from pipelines.lab.train.imbalance import IMBALANCES

SAVE_EVERY_S = 60.0  # between checkpoints
MODEL, TRAIN, CHECKPOINT = "model.safetensors", "train.json", "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a classifier is trained; the defaults fit a few thousand films on two cores."""

    network: str = "lite"  # of nets.KINDS
    px: int = 224  # side of what the network sees; the films' cache should have the same
    augmentation: str = "complex"  # none, basic, complex
    imbalance: str = "none"  # none, weighted, undersample, oversample, focal, asymmetric
    epochs_head: int = 2  # on a frozen trunk; only of use where the trunk has learned something
    epochs_all: int = 20
    rate_head: float = 3e-3
    rate: float = 1e-3  # highest of the second phase; --find-rate looks for one
    trunk_share: float = 1.0  # of the rate, for the trunk: below 1 it is changed more slowly than the head
    batch: int = 32
    weight_decay: float = 0.03
    label_smoothing: float = 0.0
    ema: bool = True  # judge and keep the average of the weights over the last steps
    valid_share: float = 0.15  # of the patients; 0 trains on all and keeps the last weights
    patience: int = 8  # epochs without a better validation; 0 never stops early
    seed: int = 0
    threads: int = 1
    init: str = ""  # file of weights to begin with
    films: int = 0  # train on at most so many films; 0 is all: for learning curves

    def __post_init__(self) -> None:
        for value, known in (
            (self.network, tuple(nets.KINDS)),
            (self.augmentation, tuple(AUGMENTATIONS)),
            (self.imbalance, IMBALANCES),
        ):
            if value not in known:
                raise ValueError(f"{value!r} is none of {', '.join(known)}")
        if self.epochs_head + self.epochs_all < 1 or min(self.epochs_head, self.epochs_all) < 0:
            raise ValueError("train for one epoch at least")


# --- how it stands ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Standing:
    """How a run stands: its best epoch, how long nothing was better, the losses of this epoch."""

    best: float = float("-inf")
    best_epoch: int = -1
    worse: int = 0
    losses: list[float] = None  # type: ignore[assignment]
    by_label: dict[str, float] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.losses = self.losses or []
        self.by_label = self.by_label or {}

    def heard(self, auc: float | None, epoch: int, epochs_head: int) -> bool:
        """Takes an epoch's validation; whether it is the best so far. Patience is for the second phase."""
        if auc is not None and auc > self.best:
            self.best, self.best_epoch, self.worse = auc, epoch, 0
            return True
        self.worse += auc is not None and epoch >= epochs_head
        return False

    def stopped(self, patience: int) -> bool:
        """Whether nothing has been better for `patience` epochs."""
        return 0 < patience <= self.worse


@dataclass(slots=True)
class Checkpoint:
    """Everything a run needs to go on where it stopped; randomness follows from the step."""

    path: Path
    net: nn.Module
    average: AveragedModel  # its `module` has the averaged weights
    optimiser: torch.optim.Optimizer
    standing: Standing
    saved: float = 0.0

    def save_now_and_then(self, step: int) -> None:
        """Saves when the last time is long enough ago."""
        if not self.saved:
            self.saved = time.monotonic()
        if time.monotonic() - self.saved > SAVE_EVERY_S:
            self.save(step)

    def save(self, step: int) -> None:
        """Writes beside and renames, so that a stop in the middle leaves the old one."""
        state = {
            "step": step,
            "net": self.net.state_dict(),
            "average": self.average.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "standing": asdict(self.standing),
        }
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.path)
        self.saved = time.monotonic()

    def restore(self) -> int:
        """The step to go on from; 0 when there is no checkpoint."""
        if not self.path.exists():
            return 0
        state = torch.load(self.path, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.average.module.load_state_dict(state["average"])
        self.average.n_averaged.fill_(1 + int(state["step"]))
        self.optimiser.load_state_dict(state["optimiser"])
        self.standing = Standing(**state["standing"])
        return int(state["step"])


# --- what is kept -------------------------------------------------------------------------------------


def keep(net: nn.Module, path: Path) -> None:
    """Writes the weights, beside first."""
    part = path.with_suffix(".part")
    save_file({key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}, part)
    part.replace(path)


def restored(out: Path) -> tuple[nn.Module, Task, Settings]:
    """The network that a run kept, in eval mode on the CPU, with its task and settings."""
    train_json = json.loads((out / TRAIN).read_text())
    settings = Settings(**train_json["settings"])
    task = Task(train_json["task"], tuple(train_json["labels"]), train_json["exclusive"])
    net = nets.KINDS[settings.network](len(task.labels))
    net.load_state_dict(load_file(out / MODEL))
    return net.eval(), task, settings


def write_how(
    out: Path,
    samples: Samples,
    task: Task,
    settings: Settings,
    learn: Index,
    check: Index,
    standing: Standing,
    steps: int,
    device: torch.device,
) -> None:
    """`train.json`: settings, labels, films, versions, and what validation said."""
    train_json: dict[str, Any] = {
        "task": task.name,
        "labels": list(samples.task.labels),
        "exclusive": task.exclusive,
        "not_trained": [label for label in task.labels if label not in samples.task.labels],
        "settings": asdict(settings),
        "steps": steps,
        "best_epoch": standing.best_epoch if len(check) else None,
        "valid_auc": standing.best if standing.best_epoch >= 0 else None,
        "valid_auc_by_label": {
            label: None if math.isnan(value) else round(value, 4)
            for label, value in standing.by_label.items()
        },
        "data": {"learned": counted(samples, learn), "validated": counted(samples, check)},
        "weights_sha256": hashlib.sha256((out / MODEL).read_bytes()).hexdigest(),
        "versions": {"torch": torch.__version__, "monai": monai.__version__, "numpy": np.__version__},
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
    }
    (out / TRAIN).write_text(json.dumps(train_json, indent=1) + "\n")


def counted(samples: Samples, rows: Index) -> dict[str, Any]:
    """How many films and patients, and films with each label."""
    shown = (samples.targets[rows] == 1).sum(axis=0)
    sources = [samples.rows[n].source for n in rows]
    return {
        "films": len(rows),
        "patients": len(set(samples.patients(rows))),
        "films_with": {label: int(n) for label, n in zip(samples.task.labels, shown, strict=True)},
        "sources": {source: sources.count(source) for source in sorted(set(sources))},
    }


# --- the bundle ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scope:
    """The films that a task's classifiers are made for."""

    accepts: Accepts = field(default_factory=Accepts)
    off: bool = False


SCOPES: dict[str, Scope] = {
    "chest14": Scope(),  # ten years and over: what the films of adults can answer for
    # The children of Kermany et al. 2018 are one to five years old; a child of five is one until it is six.
    "pneumonia3": Scope(Accepts(min_age=1.0, max_age=5.99), off=True),
}


def bundled(run: Path, folder: Path, name: str = "", *, half: bool = False) -> ClassifierCard:
    """Writes the network that the run kept as a bundle in `folder`; returns its card.

    `half` stores the weights in float16.

    Raises:
        OSError: the run is not finished.
        BundleError: its weights hold NaN or infinity.
    """
    net, task, settings = restored(run)
    train_json = published(json.loads((run / TRAIN).read_text()))
    scope = SCOPES[task.name]
    card = ClassifierCard(
        name=name or task.name,
        network=settings.network,
        classes=task.labels,
        exclusive=task.exclusive,
        input=Input(px=settings.px),
        accepts=scope.accepts,
        off=scope.off,
    )
    card = bundle.save(folder, card, net, training=train_json, half=half)
    cards.write_part(folder, "data", data_part(train_json))
    return card


def published(train_json: dict[str, Any]) -> dict[str, Any]:
    """What a run says of itself, without where things lay on the machine that it ran on."""
    begun_with = Path(train_json["settings"]["init"])
    if not begun_with.name:
        return train_json
    digest = hashlib.sha256(begun_with.read_bytes()).hexdigest() if begun_with.exists() else ""
    return train_json | {
        "settings": train_json["settings"] | {"init": begun_with.name},
        "begun_with": {"file": begun_with.name, "sha256": digest},
    }


def data_part(train_json: dict[str, Any]) -> str:
    """What the run learned from, for the model card, in Markdown."""
    learned, checked = train_json["data"]["learned"], train_json["data"]["validated"]
    rows = [(what, learned[what], checked[what]) for what in ("films", "patients")]
    rows += [(f"with {label}", n, checked["films_with"][label]) for label, n in learned["films_with"].items()]
    rows += [
        (f"from {source}", n, checked["sources"].get(source, 0)) for source, n in learned["sources"].items()
    ]
    lines = ["## Data", "", "| | learned from | to stop by |", "|---|---|---|"]
    lines += [f"| {what} | {n} | {other} |" for what, n, other in rows]
    if train_json["not_trained"]:
        lines += [
            "",
            f"Not trained, and so absent from every answer: {', '.join(train_json['not_trained'])}.",
        ]
    return "\n".join(lines) + "\n"
