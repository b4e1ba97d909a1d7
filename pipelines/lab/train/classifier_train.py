"""Trains one classifier. Read it from top to bottom: settings, data, network, optimiser, loop.

First the head alone on a frozen trunk, then everything. What happens at a step depends on the seed, the step
and the weights alone, so a run that was stopped goes on bit for bit, on the same kind of processor with the
same number of threads. The same code runs on a GPU, in mixed precision.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from models.classifiers import nets
from models.classifiers.inputs import prepared
from pipelines.lab.films.labels import Task
from pipelines.lab.films.samples import Index, Samples, SamplesError, split
from pipelines.lab.measure.areas import by_label, macro_auc
from pipelines.lab.train.augmentation import AUGMENTATIONS
from pipelines.lab.train.classifier_run import (
    CHECKPOINT,
    MODEL,
    Checkpoint,
    Settings,
    Standing,
    keep,
    write_how,
)
from pipelines.lab.train.imbalance import Plan, plan
from pipelines.lab.train.live import Live

# --- settings (those of a run are classifier_run.Settings) ----------------------------------------------

WARM = 0.15  # share of a phase in which the rate rises; then it falls as a cosine
LAST_RATE = 0.01  # of the highest, at the end
CLIP = 1.0  # longest gradient: one odd batch must not undo an epoch
EMA_DECAY = 0.998  # averages about the last 500 steps

Tensors = tuple[Tensor, ...] | list[Tensor]


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
        tensors = nets.from_imagenet(path, net.head.out_features).state_dict()
        tensors = {key: value for key, value in tensors.items() if not key.startswith("head.")}
    else:
        tensors = load_file(path)
    agree = {key: value for key, value in tensors.items() if key in own and own[key].shape == value.shape}
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


def averaged(net: nn.Module) -> AveragedModel:
    """The exponential moving average of the network's weights (Polyak and Juditsky 1992), in eval mode."""
    average = AveragedModel(net, multi_avg_fn=towards, use_buffers=True)
    average.module.eval().requires_grad_(False)
    average.n_averaged.fill_(1)  # the weights it begins with: they are moved from, not thrown away
    return average


@torch.no_grad()
def towards(average: Tensors, net: Tensors, count: Tensor | int) -> None:
    """Moves a little towards the network; more at the beginning, which is soon forgotten."""
    if average[0].is_floating_point():
        decay = min(EMA_DECAY, int(count) / (9 + int(count)))
        torch._foreach_lerp_(average, net, 1 - decay)
    else:
        torch._foreach_copy_(average, net)


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
    average = averaged(net)
    judged = average.module if settings.ema else net
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
                average.update_parameters(net)
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


# --- looking for a rate: it rises from step to step until the loss does, too (Smith 2015) --------------

LOWEST, HIGHEST = 1e-6, 1.0  # of the rates that are tried
RATE_STEPS = 80
RATE_SMOOTH = 0.9  # share of the past in the running mean of the loss
BURST = 3.0  # times the lowest loss: it has diverged
BELOW = 10.0  # the rate that is suggested lies so many times below that of the lowest loss


@dataclass(frozen=True, slots=True)
class RateCurve:
    """Smoothed losses over rates, and the highest rate that a run should use."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the loss was lowest: the loss still falls there, surely."""
        return self.rates[int(np.argmin(self.losses))] / BELOW


def find_rate(samples: Samples, settings: Settings, steps: int = RATE_STEPS) -> RateCurve:
    """Trains everything for some steps from the beginning that `settings` names; keeps nothing."""
    torch.set_num_threads(settings.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    learn, _ = sides(samples, settings, None)
    samples = samples.only(samples.carried(learn))
    todo = plan(settings.imbalance, learn, samples.targets[learn], samples.task, settings.seed)
    net = frozen(network(settings, len(samples.task.labels)).to(device), trunk=False)
    optimiser = optimiser_of(net, settings)
    batch = min(settings.batch, len(learn))
    order = todo.order(steps * batch, seeded(settings.seed, -1))
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for step in range(steps):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / max(steps - 1, 1))
        for group, share in zip(optimiser.param_groups, (settings.trunk_share, 1.0), strict=True):
            group["lr"] = rate * share
        chosen = order[step * batch : (step + 1) * batch]
        x = AUGMENTATIONS[settings.augmentation](
            seen(samples, chosen, settings.px, device),
            seeded(settings.seed, step),
        )
        loss = one_step(net, optimiser, todo, x, torch.from_numpy(samples.targets[chosen]).to(device))
        mean = RATE_SMOOTH * mean + (1 - RATE_SMOOTH) * loss
        smooth = mean / (1 - RATE_SMOOTH ** (step + 1))
        if not math.isfinite(loss) or (losses and smooth > BURST * min(losses)):
            break
        rates.append(rate)
        losses.append(smooth)
    return RateCurve(tuple(rates), tuple(losses))


# --- what is seen of it -------------------------------------------------------------------------------


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
