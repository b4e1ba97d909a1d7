"""Trains one classifier. Read it from top to bottom: settings, data, network, optimiser, loop.

First the head alone on a frozen trunk, then everything. What happens at a step depends on the seed, the step
and the weights alone, so a run that was stopped goes on bit for bit, on the same kind of processor with the
same number of threads. The same code runs on a GPU, in mixed precision.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.classifiers import nets
from models.classifiers.inputs import prepared
from pipelines.lab.films.augmentation import AUGMENTATIONS
from pipelines.lab.films.labels import Task
from pipelines.lab.films.samples import Index, Samples, SamplesError, split
from pipelines.lab.measure.ranking import by_label, macro_auc
from pipelines.lab.train.imbalance import IMBALANCES, Plan, plan
from pipelines.lab.train.live import Live

# --- settings -----------------------------------------------------------------------------------------

WARM = 0.15  # share of a phase in which the rate rises; then it falls as a cosine
LAST_RATE = 0.01  # of the highest, at the end
CLIP = 1.0  # longest gradient: one odd batch must not undo an epoch
EMA_DECAY = 0.998  # averages about the last 500 steps
SAVE_EVERY_S = 60.0  # between checkpoints
MODEL, TOLD, CHECKPOINT = "model.safetensors", "train.json", "checkpoint.pt"


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


# --- data ---------------------------------------------------------------------------------------------


def sides(samples: Samples, settings: Settings, rows: tuple[Index, Index] | None) -> tuple[Index, Index]:
    """The films to learn from and those to validate on, no patient on both sides.

    Raises:
        SamplesError: a film is set aside, or a patient is on both sides, or nothing is left to learn from.
    """
    if rows is None:
        whole = samples.training
        rows = (
            split(samples, settings.valid_share, settings.seed, whole)
            if settings.valid_share
            else (whole, whole[:0])
        )
    learn, check = rows
    if settings.films and settings.films < len(learn):
        learn = _some_patients(samples, learn, settings.films, settings.seed)
    if aside := {samples.rows[n].split for n in learn} - {""}:
        raise SamplesError(f"films set aside as {', '.join(sorted(aside))} are never trained with")
    if both := set(samples.patients(learn)) & set(samples.patients(check)):
        raise SamplesError(f"{len(both)} patients are on both sides of the split")
    if not len(learn):
        raise SamplesError("no film is left to train with")
    return learn, check


def _some_patients(samples: Samples, rows: Index, films: int, seed: int) -> Index:
    few, _ = split(samples, 1 - films / len(rows), seed, rows)
    return few


def seen(samples: Samples, rows: Index, px: int, device: torch.device) -> Tensor:
    """What the network sees of these films, (B, 1, px, px) in [0, 1]."""
    return prepared(torch.from_numpy(np.ascontiguousarray(samples.greys[rows])).to(device), px)


# --- network ------------------------------------------------------------------------------------------


def network(settings: Settings, classes: int) -> nn.Module:
    """A network with fresh weights, or with those of `settings.init` where names and shapes agree."""
    torch.manual_seed(settings.seed)
    net = nets.KINDS[settings.network](classes)
    if settings.init:
        begin_with(net, Path(settings.init))
    out: nn.Module = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return out


def begin_with(net: nn.Module, path: Path) -> int:
    """Takes the weights of a file over where name and shape agree; how many tensors that were.

    Raises:
        ValueError: hardly any of the trunk's tensors agrees, so the file is of another network.
    """
    own = net.state_dict()
    if path.suffix == ".pth" and isinstance(net, nets.Lite):
        found = nets.from_imagenet(path, net.head.out_features).state_dict()
        found = {key: value for key, value in found.items() if not key.startswith("head.")}
    else:
        found = load_file(path)
    agree = {key: value for key, value in found.items() if key in own and own[key].shape == value.shape}
    trunk = [key for key in own if not key.startswith("head.")]
    if sum(key in agree for key in trunk) < len(trunk) / 2:
        raise ValueError(f"{path} is of another network: {len(agree)} of {len(own)} tensors agree")
    net.load_state_dict(agree, strict=False)
    return len(agree)


def frozen(net: nn.Module, trunk: bool) -> nn.Module:
    """The network in training mode; with `trunk` only the head learns, and batch norms keep their numbers."""
    net.train()
    for name, part in net.named_children():
        if name != "head":
            part.requires_grad_(not trunk)
            part.train(not trunk or isinstance(part, nn.Dropout))
    return net


class Average:
    """The exponential moving average of a network's weights (Polyak and Juditsky 1992)."""

    def __init__(self, net: nn.Module) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Moves a little towards the network; more at the beginning, which is soon forgotten."""
        decay = min(EMA_DECAY, (1 + step) / (10 + step))
        mine, theirs = self.net.state_dict(), net.state_dict()
        floats = [key for key, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[key] for key in floats], [theirs[key] for key in floats], 1 - decay)
        for key in mine.keys() - set(floats):
            mine[key].copy_(theirs[key])


@torch.no_grad()
def predict(
    net: nn.Module, samples: Samples, rows: Index, px: int, batch: int = 64
) -> NDArray[np.float32]:  # (N, L)
    """The logits of these films, in the order of the labels that the network was made for."""
    was, device = net.training, next(net.parameters()).device
    net.eval()
    answers = [np.zeros((0, head_of(net).out_features), dtype=np.float32)]
    for start in range(0, len(rows), batch):
        x = seen(samples, rows[start : start + batch], px, device).contiguous(
            memory_format=torch.channels_last
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            answers.append(net(x).float().cpu().numpy())
    net.train(was)
    return np.concatenate(answers)


def head_of(net: nn.Module) -> nn.Linear:
    """The last layer of a classifier."""
    head = net.head
    assert isinstance(head, nn.Linear)
    return head


def probabilities(logits: NDArray[np.float32], exclusive: bool) -> NDArray[np.float64]:  # (N, L)
    """Softmax where a film has one of the labels, else a sigmoid for each."""
    x = torch.from_numpy(logits).double()
    out: NDArray[np.float64] = (torch.softmax(x, dim=1) if exclusive else torch.sigmoid(x)).numpy()
    return out


# --- optimiser and loop -------------------------------------------------------------------------------


def train(
    samples: Samples,
    task: Task,
    settings: Settings,
    out: Path,
    *,
    rows: tuple[Index, Index] | None = None,
    resume: bool = False,
    until: int | None = None,
    picture: bool = True,
    quiet: bool = False,
) -> Path:
    """Trains a classifier and keeps in `out` the weights that were best on the validation side.

    `rows` are the films to learn from and to validate on; else the films are split by patient. `resume`
    goes on from the checkpoint in `out`. `until` stops after that step with a checkpoint, for machines that
    are lent for a while. Labels without a film of each kind on the learning side are not trained.
    Returns the file of the weights; `train.json` beside it says how they came about.

    Raises:
        SamplesError: the films cannot be trained with.
    """
    torch.set_num_threads(settings.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    learn, check = sides(samples, settings, rows)
    labels = tuple(label for label in samples.carried(learn) if label in task.labels)
    if not labels:
        raise SamplesError("no label has films of both kinds, so there is nothing to learn")
    samples = samples.only(labels)
    todo = plan(
        settings.imbalance,
        learn,
        samples.targets[learn],
        samples.task,
        settings.seed,
        settings.label_smoothing,
    )
    net = network(settings, len(labels)).to(device)
    average = Average(net)
    judged = average.net if settings.ema else net
    optimiser = optimiser_of(net, settings)
    batch = min(settings.batch, len(learn))
    steps = -(-len(learn) // batch)  # an epoch has as many films as the learning side, whatever the plan
    augment = AUGMENTATIONS[settings.augmentation]

    out.mkdir(parents=True, exist_ok=True)
    checkpoint = Checkpoint(out / CHECKPOINT, net, average, optimiser, Standing())
    done = checkpoint.restore() if resume else 0
    standing = checkpoint.standing
    live = Live(out, f"{task.name}: {settings.network}, {settings.px} px", picture)
    live.begin(done)
    total = (settings.epochs_head + settings.epochs_all) * steps
    last = min(total, until or total)
    with _bar(task.name, total, done, quiet) as advance:
        while done < last and not standing.stopped(settings.patience):
            epoch = done // steps
            frozen(net, trunk=epoch < settings.epochs_head)
            order = todo.order(steps * batch, seeded(settings.seed, -1 - epoch))
            for step in range(done, min(last, (epoch + 1) * steps)):
                at = step % steps
                chosen = order[at * batch : (at + 1) * batch]
                generator = seeded(settings.seed, step)
                x = augment(seen(samples, chosen, settings.px, device), generator)
                target = torch.from_numpy(samples.targets[chosen]).to(device)  # (B, L)
                rate = set_rate(optimiser, settings, step / steps)
                loss = one_step(net, optimiser, todo, x, target)
                average.update(net, step)
                standing.losses.append(loss)
                live.step({"step": step, "loss": round(loss, 5), "rate": rate})
                advance(loss, standing.best)
                done = step + 1
                if done % steps:
                    checkpoint.save_now_and_then(done)
            if done == (epoch + 1) * steps:
                finish_epoch(judged, samples, check, todo, settings, standing, live, epoch, done, out)
                checkpoint.save_now_and_then(done)
    checkpoint.save(done)
    if not len(check) or standing.best_epoch < 0:
        keep(judged, out / MODEL)
    live.end()
    write_how(out, samples, task, settings, learn, check, standing, done, device)
    return out / MODEL


def one_step(
    net: nn.Module, optimiser: torch.optim.Optimizer, todo: Plan, x: Tensor, target: Tensor
) -> float:
    """One batch forwards and backwards; its loss."""
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=x.device.type == "cuda"):
        answer = net(x)
    loss = todo.loss(answer.float(), target)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(net.parameters(), CLIP)
    optimiser.step()
    return float(loss.item())


def optimiser_of(net: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """AdamW with the trunk and the head as two groups."""
    trunk = [parameter for name, parameter in net.named_parameters() if not name.startswith("head.")]
    groups = [{"params": trunk}, {"params": list(head_of(net).parameters())}]
    return torch.optim.AdamW(groups, lr=settings.rate, weight_decay=settings.weight_decay, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, settings: Settings, epochs: float) -> float:
    """Sets both groups' rates for this moment, in epochs since the beginning; the head's rate."""
    head = settings.epochs_head
    if epochs < head:
        rate = settings.rate_head * cycle(epochs / head)
        trunk = 0.0
    else:
        rate = settings.rate * cycle((epochs - head) / settings.epochs_all)
        trunk = rate * settings.trunk_share
    for group, value in zip(optimiser.param_groups, (trunk, rate), strict=True):
        group["lr"] = value
    return rate


def cycle(done: float) -> float:
    """The share of the highest rate when a share `done` of a phase is over (one cycle, Smith 2018)."""
    if done < WARM:
        return 0.04 + 0.96 * done / WARM
    fall = (1 + math.cos(math.pi * (done - WARM) / (1 - WARM))) / 2
    return LAST_RATE + (1 - LAST_RATE) * fall


def seeded(seed: int, step: int) -> torch.Generator:
    """The generator of one step; sets dropout's too, so that a step needs to know nothing of others."""
    mixed = (seed * 1_000_003 + step) % 2**63
    torch.manual_seed(mixed)
    return torch.Generator().manual_seed(mixed + 1)


def finish_epoch(
    net: nn.Module,
    samples: Samples,
    check: Index,
    todo: Plan,
    settings: Settings,
    standing: Standing,
    live: Live,
    epoch: int,
    done: int,
    out: Path,
) -> None:
    """Validates, keeps the weights when they are the best so far, and writes it down."""
    loss = auc = None
    if len(check):
        logits = predict(net, samples, check, settings.px)
        targets = samples.targets[check]
        value = float(todo.loss(torch.from_numpy(logits), torch.from_numpy(targets)))
        loss, auc = round(value, 5), macro_auc(targets, logits)
        auc = None if math.isnan(auc) else round(auc, 5)
    if standing.heard(auc, epoch, settings.epochs_head):
        keep(net, out / MODEL)
        standing.by_label = dict(
            zip(samples.task.labels, by_label(samples.targets[check], logits), strict=True)
        )
    live.epoch(
        {
            "epoch": epoch,
            "step": done,
            "loss": round(float(np.mean(standing.losses)), 5),
            "valid_loss": loss,
            "valid_auc": auc,
            "at": round(time.time(), 1),
        }
    )
    standing.losses.clear()


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
    average: Average
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
            "average": self.average.net.state_dict(),
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
        self.average.net.load_state_dict(state["average"])
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
    told = json.loads((out / TOLD).read_text())
    settings = Settings(**told["settings"])
    task = Task(told["task"], tuple(told["labels"]), told["exclusive"])
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
    told: dict[str, Any] = {
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
    (out / TOLD).write_text(json.dumps(told, indent=1) + "\n")


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


@contextmanager
def _bar(name: str, total: int, done: int, quiet: bool) -> Iterator[Any]:
    """A progress bar on standard error; gives the function that moves it a step."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task(name, total=total, completed=done)

        def advance(loss: float, best: float) -> None:
            so_far = f"  best AUC {best:.3f}" if best > 0 else ""
            bar.update(task, advance=1, description=f"{name}  loss {loss:.3f}{so_far}")

        yield advance
