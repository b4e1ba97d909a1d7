"""What to do about conditions that few films have: which rows a network sees how often, and its loss.

A plan is made after the split, from the rows and targets of the training side alone, which is all it is
given. It only says which row comes next; every row, and every copy of a row, then goes through the same
augmentation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor

from pipelines.lab.films.labels import Task
from pipelines.lab.films.samples import Index, Targets

IMBALANCES = ("none", "weighted", "undersample", "oversample", "focal", "asymmetric")
MOST_WEIGHT = 20.0  # a positive film counts at most this many times: of ten hernias none may rule alone
MOST_COPIES = 8  # a film is seen at most this often an epoch when oversampled: a tenth copy teaches nothing
FOCUS = 2.0  # gamma of the focal loss (Lin et al. 2017)
NEGATIVE_FOCUS = 4.0  # of the asymmetric loss, with no focus on positives (Ridnik et al. 2021) ...
MARGIN = 0.05  # ... and negatives said surer than this count nothing
SMOOTHING = 0.1  # of its single-label form, as its authors give it

Loss = Callable[[Tensor, Tensor], Tensor]  # logits (B, L), targets (B, L) with NaN -> a number


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of an epoch, some of them several times, and the loss."""

    rows: Index
    loss: Loss

    def order(self, films: int, generator: Generator) -> Index:
        """`films` rows at random: every row of the plan once before any comes again."""
        turns = -(-films // len(self.rows))
        orders = [torch.randperm(len(self.rows), generator=generator) for _ in range(turns)]
        chosen: Index = self.rows[torch.cat(orders)[:films].numpy()]
        return chosen


def plan(name: str, rows: Index, targets: Targets, task: Task, seed: int = 0, smoothing: float = 0.0) -> Plan:
    """The plan `name` of IMBALANCES for the training side: its rows (N,) and their targets (N, L).

    `smoothing` moves targets towards what knows nothing (Szegedy et al. 2016).
    """
    rng = np.random.default_rng(seed)
    if name == "undersample":
        rows = undersampled(rows, kinds_of(targets, task), rng, task.exclusive)
    elif name == "oversample":
        rows = oversampled(rows, kinds_of(targets, task), rng)
    return Plan(rows, _smoothed(loss_of(name, targets, task), task, smoothing))


# --- which rows ---------------------------------------------------------------------------------------


def kinds_of(targets: Targets, task: Task) -> NDArray[np.int64]:
    """The kind of each row (N,): its class, or the rarest label it has; -1 when it has none."""
    has = targets == 1
    if task.exclusive:
        return np.where(has.any(axis=1), has.argmax(axis=1), -1)
    rarity = np.where(has, has.sum(axis=0), np.inf)
    return np.where(has.any(axis=1), rarity.argmin(axis=1), -1)


def undersampled(rows: Index, kinds: NDArray[np.int64], rng: np.random.Generator, exclusive: bool) -> Index:
    """As many rows of each kind as of the smallest; with many labels as of the middle one."""
    _, sizes = np.unique(kinds, return_counts=True)
    size = int(sizes.min() if exclusive else np.median(sizes))
    kept = [rng.permutation(rows[kinds == kind])[:size] for kind in np.unique(kinds)]
    return np.sort(np.concatenate(kept))


def oversampled(rows: Index, kinds: NDArray[np.int64], rng: np.random.Generator) -> Index:
    """Rows of smaller kinds several times, until each kind is as large as the largest."""
    _, sizes = np.unique(kinds, return_counts=True)
    all_kinds = []
    for kind in np.unique(kinds):
        mine = rows[kinds == kind]
        wanted = min(int(sizes.max()), len(mine) * MOST_COPIES)
        whole, rest = divmod(wanted, len(mine))
        all_kinds += [np.tile(mine, whole), rng.permutation(mine)[:rest]]
    return np.sort(np.concatenate(all_kinds))


# --- which loss ---------------------------------------------------------------------------------------


def loss_of(name: str, targets: Targets, task: Task) -> Loss:
    """The loss of a plan; the weights of `weighted` come from these targets."""
    positives, negatives = (targets == 1).sum(axis=0), (targets == 0).sum(axis=0)
    weight: Tensor | None = None
    if name == "weighted" and task.exclusive:
        shares = positives.sum() / np.maximum(positives, 1) / len(positives)
        weight = torch.from_numpy(np.minimum(shares, MOST_WEIGHT)).float()
    elif name == "weighted":
        odds = negatives / np.maximum(positives, 1)
        weight = torch.from_numpy(np.clip(odds, 1 / MOST_WEIGHT, MOST_WEIGHT)).float()
    return _EXCLUSIVE[name](weight) if task.exclusive else _MULTI[name](weight)


def masked_mean(values: Tensor, targets: Tensor) -> Tensor:
    """The mean of the values (B, L) whose targets are known; 0 when none is."""
    known = ~torch.isnan(targets)
    return torch.where(known, values, 0.0).sum() / known.sum().clamp(min=1)


def cross_entropy(logits: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
    """Each label by itself; `weight` (L,) multiplies its positives."""
    weight = None if weight is None else weight.to(logits)
    told = torch.nan_to_num(targets)
    values = F.binary_cross_entropy_with_logits(logits, told, pos_weight=weight, reduction="none")
    return masked_mean(values, targets)


def focal(logits: Tensor, targets: Tensor) -> Tensor:
    """Films that are easy count less: (1 - p)^gamma times the cross entropy (Lin et al. 2017)."""
    told = torch.nan_to_num(targets)
    p = torch.sigmoid(logits)
    off = (p - told).abs()
    values = off**FOCUS * F.binary_cross_entropy_with_logits(logits, told, reduction="none")
    return masked_mean(values, targets)


def asymmetric(logits: Tensor, targets: Tensor) -> Tensor:
    """Easy negatives count less and the easiest nothing, positives in full (Ridnik et al. 2021)."""
    told = torch.nan_to_num(targets)
    p = torch.sigmoid(logits)
    shifted = (p - MARGIN).clamp(min=0)
    negative = shifted**NEGATIVE_FOCUS * -torch.log1p(-shifted.clamp(max=1 - 1e-6))
    return masked_mean(-told * F.logsigmoid(logits) + (1 - told) * negative, targets)


def softmax_cross_entropy(logits: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
    """One of the labels; `weight` (L,) multiplies the films of each, and the mean is over the weights."""
    known, told = _classes(targets)
    each = told if weight is None else told * weight.to(logits)
    values = -(each * F.log_softmax(logits, dim=1)).sum(dim=1)
    return (values * known).sum() / (each.sum(dim=1) * known).sum().clamp(min=1e-6)


def softmax_focal(logits: Tensor, targets: Tensor) -> Tensor:
    """One of the labels; films that are easy count less (Lin et al. 2017)."""
    known, told = _classes(targets)
    log_p = F.log_softmax(logits, dim=1)
    values = -(told * (1 - log_p.exp()) ** FOCUS * log_p).sum(dim=1)
    return (values * known).sum() / known.sum().clamp(min=1)


def softmax_asymmetric(logits: Tensor, targets: Tensor) -> Tensor:
    """One of the labels: the single-label form of the asymmetric loss, with its smoothed targets."""
    known, told = _classes(targets)
    log_p = F.log_softmax(logits, dim=1)
    share = 1 - SMOOTHING
    soft = told * share + SMOOTHING / logits.shape[1]
    weight = torch.where(told > 0.5, torch.ones_like(log_p), log_p.exp() ** NEGATIVE_FOCUS)
    values = -(soft * weight * log_p).sum(dim=1)
    return (values * known).sum() / known.sum().clamp(min=1)


def _classes(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Which films are known (B,), as 0 or 1, and their targets (B, L) without NaN."""
    return (~torch.isnan(targets).any(dim=1)).to(targets), torch.nan_to_num(targets)


def _smoothed(loss: Loss, task: Task, smoothing: float) -> Loss:
    if not smoothing:
        return loss
    middle = 1 / len(task.labels) if task.exclusive else 0.5
    return lambda logits, targets: loss(logits, targets * (1 - smoothing) + middle * smoothing)


Makers = dict[str, Callable[[Tensor | None], Loss]]
_PLAIN = ("none", "weighted", "undersample", "oversample")
_MULTI: Makers = {
    **{name: lambda weight: lambda x, y: cross_entropy(x, y, weight) for name in _PLAIN},
    "focal": lambda _: focal,
    "asymmetric": lambda _: asymmetric,
}
_EXCLUSIVE: Makers = {
    **{name: lambda weight: lambda x, y: softmax_cross_entropy(x, y, weight) for name in _PLAIN},
    "focal": lambda _: softmax_focal,
    "asymmetric": lambda _: softmax_asymmetric,
}
