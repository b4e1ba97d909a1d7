"""Chooses a gate's two thresholds on patients it was not trained on.

Each held-out film is shown as it is, in all turns and both polarities, and again as other sites might
have made it (models.augment), because scores on films of known sites look better than they are.
Good scores must lie at or above `high`, bad ones at or below `low`; between lies *not sure*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models import augment, bundle, nets
from models.augment import Dice
from models.data import Films, load
from models.train import ANATOMY, BATCH, RECIPES, SIZE, Prepare, anatomy_class, posed, roughened

SURE = 0.90  # no threshold is laxer than this, however well the held-out films are told apart
SURE_OF_PART = 0.80  # for the anatomy gate, whose answer is the mean of four looks and so less extreme
SURE_AT_MOST = 0.995  # and none so strict that a calm network is never sure
LOST = 0.003  # the share of good films that a threshold may cost
FALSE_ALARMS = 0.002  # of the mirror gate: it can only ever suspect
ROUGH_COPIES = 2  # how often each film is shown with other grey curves, borders and markers
MOST = 250  # films of one site and view to choose by
KNOWN = 0.998  # share of the held-out films that must count as known by their distance
SLACK = 1.15  # and what other sites' films may lie further out

Scores = NDArray[np.float64]
Score = Callable[[Tensor], Tensor]  # (B, 1, S, S) -> (B,) or (B, n)
Choice = tuple[dict[str, float], dict[str, Any]]  # thresholds, and what was counted in choosing them


def calibrate(
    name: str, films: Path, folder: Path, cache: Path, prepare: Prepare, fold: int = 0
) -> dict[str, float]:
    """Chooses the thresholds of the bundle in `folder`, writes them into its card and returns them."""
    card = bundle.read_card(folder)
    net = bundle.load(folder).net
    held_out = load(films, cache).with_group(held_out=True, fold=fold)
    held_out = held_out.where(np.array([RECIPES[name].weight(row) > 0 for row in held_out.rows]))
    held_out = some_of_each(held_out)
    with torch.no_grad():
        thresholds, counted = CHOICES[name](net, held_out, prepare)
    evidence = bundle.evidence(folder) | {"calibration": counted}
    bundle.save_card(folder, replace(card, thresholds=thresholds), evidence)
    return thresholds


def two_thresholds(good: Scores, bad: Scores, sure: float = SURE) -> tuple[float, float]:
    """(low, high): no bad score reaches `high` and no good one `low`, unless that costs too many films."""
    high = min(max(float(bad.max()), sure), max(float(np.quantile(good, LOST)), sure), SURE_AT_MOST)
    low = max(
        min(float(good.min()), 1 - sure), min(float(np.quantile(bad, 1 - LOST)), 1 - sure), 1 - SURE_AT_MOST
    )
    return low, high


def rotation_choice(net: nn.Module, films: Films, prepare: Prepare) -> Choice:
    """From the probability of lying upright, for films in four turns."""

    def upright(x: Tensor) -> Tensor:
        return nets.turn_shares(net, x)[:, 0]

    good = scored(films, prepare, upright)
    bad = np.concatenate([scored(films, prepare, upright, _quarters(k)) for k in (1, 2, 3)])
    return _two(good, bad, films)


def inversion_choice(net: nn.Module, films: Films, prepare: Prepare) -> Choice:
    """From the probability of right polarity, for films and their negatives, upright and on their side."""

    def right(x: Tensor) -> Tensor:
        return 1 - nets.inverted_share(net, x)

    good = np.concatenate([scored(films, prepare, right, _quarters(k)) for k in (0, 1)])
    bad = np.concatenate([scored(films, prepare, right, _quarters(k, negative=True)) for k in (0, 1)])
    return _two(good, bad, films)


def anatomy_choice(net: nn.Module, films: Films, prepare: Prepare) -> Choice:
    """From the probability of a frontal chest, and from the distances of what is known."""

    def look(x: Tensor) -> Tensor:
        logits, distances = nets.look(net, x)
        return torch.cat([torch.softmax(logits, dim=1), distances], dim=1)

    views = (_quarters(0), _quarters(3, negative=True))
    seen = np.concatenate([scored(films, prepare, look, view) for view in views])  # (n, 2 * classes)
    apart = seen[:, len(ANATOMY) :]
    frontal = np.tile([anatomy_class(row) == 0 for row in films.rows], len(seen) // len(films))
    thresholds, counted = _two(seen[frontal, 0], seen[~frontal, 0], films, SURE_OF_PART)
    thresholds["far_frontal"] = float(np.quantile(apart[frontal, 0], KNOWN)) * SLACK
    thresholds["far"] = float(np.quantile(apart[~frontal].min(axis=1), KNOWN)) * SLACK
    return thresholds, counted


def mirror_choice(net: nn.Module, films: Films, prepare: Prepare) -> Choice:
    """A high threshold that few unmirrored films reach."""

    def share(x: Tensor) -> Tensor:
        return nets.mirrored_share(net, x)

    good, bad = scored(films, prepare, share), scored(films, prepare, share, lambda x: x.flip(-1))
    high = max(float(np.quantile(good, 1 - FALSE_ALARMS)), SURE)
    counted = {"films": len(films), "false alarms": _share(good >= high), "suspected": _share(bad >= high)}
    return {"low": 1 - high, "high": high}, counted


def lungs_choice(net: nn.Module, films: Films, prepare: Prepare) -> Choice:
    """Too small an area for lungs, too long a contact with the edge: from the true masks; and the overlap."""
    masks = torch.from_numpy(films.masks) > 127
    edges = torch.stack(
        [masks[:, :3].any(1), masks[:, -3:].any(1), masks[:, :, :3].any(2), masks[:, :, -3:].any(2)]
    )
    touching = edges.float().mean(dim=2).amax(dim=0)
    found = scored(films, prepare, lambda x: net(x)[:, 0] > 0, copies=0)
    size = found.shape[-1]
    true = F.interpolate(masks[:, None].float(), size=(size, size), mode="area")[:, 0].numpy() > 0.5
    shared, total = (found * true).sum(axis=(1, 2)), (found + true).sum(axis=(1, 2))
    thresholds = {
        "least": float(masks.float().mean(dim=(1, 2)).quantile(0.001)) / 2,
        "touching": max(float(touching.quantile(0.95)), 0.15),
    }
    return thresholds, {"films": len(films), "Dice by site": _by_site(2 * shared / total, films)}


CHOICES: dict[str, Callable[[nn.Module, Films, Prepare], Choice]] = {
    "rotation": rotation_choice,
    "inversion": inversion_choice,
    "anatomy": anatomy_choice,
    "mirror": mirror_choice,
    "lungs": lungs_choice,
}


def scored(
    films: Films,
    prepare: Prepare,
    score: Score,
    alter: Callable[[Tensor], Tensor] = lambda x: x,
    copies: int = ROUGH_COPIES,
) -> Scores:
    """Scores of all films, altered, first as they are and then `copies` times roughened."""
    generator = torch.Generator().manual_seed(1)
    sheets = augment.marker_sheets(SIZE, generator)
    rounds = []
    for rough in range(copies + 1):
        for start in range(0, len(films), BATCH):
            x = alter(torch.from_numpy(films.greys[start : start + BATCH]).float() / 255)
            if rough:
                dice = Dice(len(x), generator)
                x = roughened(posed(x, dice), sheets, dice)
            rounds.append(score(prepare(x)[:, None]).double().numpy())
    return np.concatenate(rounds)


def some_of_each(films: Films, most: int = MOST) -> Films:
    """At most so many films of each site and view, so that a large site does not choose alone."""
    seen: Counter[tuple[str, str]] = Counter()
    keep = []
    for row in films.rows:
        seen[row.site, row.view] += 1
        keep.append(seen[row.site, row.view] <= most)
    return films.where(np.array(keep, dtype=bool))


def _quarters(k: int, negative: bool = False) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.rot90(1 - x if negative else x, -k, dims=(-2, -1))


def _by_site(values: Scores, films: Films) -> dict[str, float]:
    sites = np.array([row.site for row in films.rows])
    return {str(site): round(float(values[sites == site].mean()), 4) for site in np.unique(sites)}


def _two(
    good: Scores, bad: Scores, films: Films, sure: float = SURE
) -> tuple[dict[str, float], dict[str, Any]]:
    low, high = two_thresholds(good, bad, sure)
    counted = {
        "films": len(films),
        "good": len(good),
        "good passed": _share(good >= high),
        "good called bad": int((good <= low).sum()),
        "bad": len(bad),
        "bad caught": _share(bad <= low),
        "bad passed": int((bad >= high).sum()),
    }
    return {"low": low, "high": high}, counted


def _share(which: NDArray[np.bool_]) -> float:
    return round(float(which.mean()), 5)
