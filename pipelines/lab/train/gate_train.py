"""Trains one gate. Read it from top to bottom: settings, data, network, optimiser, loop.

Films go through the input chain that the gates use themselves (pipelines.transforms.as_batch), so a network
sees in training what it will see at work. A run can be stopped and resumed, and repeats
itself bit by bit from its seed on the same kind of processor with the same number of threads.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.progress import Progress
from torch import nn

from models import bundle, card
from models.bundle import Card
from models.nets import KINDS, channels_last
from pipelines.lab.films import phantom, phantom_bodies, phantom_chest
from pipelines.lab.films.augment import Dice
from pipelines.lab.films.data import CACHE_PX, Films, Row, data_table, left_out, load
from pipelines.lab.train.recipes import RECIPES, Recipe, pool_of
from pipelines.lab.train.recipes.base import SITE_WEIGHT
from pipelines.transforms import as_batch

# --- settings -----------------------------------------------------------------------------------------

PEAK_RATE = 3e-3  # AdamW with batch norm at this size diverges from about 1e-2
WEIGHT_DECAY = 0.03  # sites are few: prefer the plainer network
SAVE_EVERY = 100  # steps between checkpoints: half a minute
PHANTOM_SEEDS = range(1000, 1150)  # seeds below are kept for tests and demonstrations
PHANTOM_VIEWS = {"frontal": "frontal", "lateral": "lateral", "hand": "not_chest"}
UNTOUCHED_SITE = (
    "web"  # of mixed terms: open networks never see it, which leaves them a whole site to be tested on
)

# --- data ---------------------------------------------------------------------------------------------


def training_films(recipe: Recipe, films: Path, cache: Path, without: str = "", terms: str = "all") -> Films:
    """The films to train on, with the phantoms of the recipe.

    `without` names a round of data.ROUNDS whose films are left out; with `terms` "open" only films of open
    terms are taken, and none of UNTOUCHED_SITE.
    """
    pool = load(films, cache)
    keep = np.array([recipe.share(row)[1] > 0 for row in pool.rows])
    if without:
        keep &= ~left_out(pool.rows, without)
    if terms == "open":
        keep &= np.array([row.terms == "open" and row.site != UNTOUCHED_SITE for row in pool.rows])
    return pool.where(keep).plus(phantoms(recipe.phantoms, cache))


def phantoms(kinds: tuple[str, ...], cache: Path, seeds: range = PHANTOM_SEEDS) -> Films:
    """Our own synthetic films as training films; no lung mask is drawn for them."""
    sources = [Path(str(module.__file__)) for module in (phantom, phantom_chest, phantom_bodies)]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    rows: list[Row] = []
    greys = [np.zeros((0, CACHE_PX, CACHE_PX), dtype=np.uint8)]
    for kind in kinds:
        path = cache / f"{kind}-{seeds.start}-{seeds.stop}-{CACHE_PX}-{digest}.npy"
        if not path.exists():
            np.save(path, np.stack([squared(phantom.render(kind, seed)) for seed in seeds]))
        greys.append(np.load(path))
        names = [f"phantom/{kind}-{seed}" for seed in seeds]
        rows += [
            Row(n, "phantom", "phantom", n, PHANTOM_VIEWS[kind], kind, "open", "40", "", "") for n in names
        ]
    stack = np.concatenate(greys)
    return Films(tuple(rows), stack, np.zeros_like(stack))


def squared(film: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A film (H, W) in [0, 1] as the cache keeps it, (CACHE_PX, CACHE_PX)."""
    small = F.interpolate(torch.from_numpy(film)[None, None], size=(CACHE_PX, CACHE_PX), mode="area")[0, 0]
    out: NDArray[np.uint8] = (small * 255).round().to(torch.uint8).numpy()
    return out


# --- optimiser and loop -------------------------------------------------------------------------------


def train(
    name: str,
    films: Path,
    out: Path,
    cache: Path,
    *,
    recipe: Recipe | None = None,
    without: str = "",
    terms: str = "all",
    resume: bool = False,
    seed: int = 0,
    steps: int | None = None,
    threads: int = 1,
) -> Path:
    """Trains the gate `name` and writes a bundle, without thresholds, in `out`.

    `without` and `terms` say which films it may see (training_films). `resume` goes on from
    `out/checkpoint.pt`. It uses a GPU when there is one.
    """
    recipe = recipe or RECIPES[name]
    steps = steps or recipe.steps
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dice = Dice(recipe.films, torch.Generator().manual_seed(seed))
    pool = pool_of(training_films(recipe, films, cache, without, terms), recipe, dice.generator)
    net = channels_last(KINDS[recipe.network](len(recipe.outputs))).train().to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps, pct_start=0.15)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = Checkpoint(out / "checkpoint.pt", net, optimiser, rate, dice.generator)
    done = checkpoint.restore() if resume else 0
    with Progress() as bar, (out / "train.jsonl").open("a" if done else "w") as log:
        task = bar.add_task(name, total=steps, completed=done)
        for step in range(done, steps):
            with torch.no_grad():
                x, target = recipe.batch(pool, dice)  # (B, SIZE, SIZE); what a recipe's loss takes
                x = as_batch(x)[:, None].contiguous(memory_format=torch.channels_last)
            x, target = x.to(device), target.to(device)
            with torch.autocast(device.type, torch.bfloat16):  # twice as fast where the processor has it
                answer = net(x)
            loss = recipe.loss(answer.float(), target)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rate.step()
            bar.update(task, advance=1, description=f"{name} {loss.item():.3f}")
            log.write(json.dumps({"step": step, "loss": round(loss.item(), 5)}) + "\n")
            if (step + 1) % SAVE_EVERY == 0:
                log.flush()
                checkpoint.save(step + 1)
    how = how_trained(name, recipe, steps=steps, seed=seed, threads=threads, without=without, terms=terms)
    bundle.save(out, Card(name, recipe.network, recipe.outputs), net.cpu(), how)
    card.write_part(out, "data", data_table(pool.films.rows))
    return out


def train_round(name: str, films: Path, runs: Path, round_: str, cache: Path) -> Path:
    """Trains `name` without the sites of the round, if that is not done; goes on where it was stopped."""
    out = runs / round_ / name
    if not (out / bundle.METADATA).exists():
        train(name, films, out, cache, without=round_, resume=True)
    return out


def how_trained(name: str, recipe: Recipe, **run: Any) -> dict[str, Any]:
    """The settings of a run, for `configs/train.json`."""
    return {
        "run": f"filmgate train {name} --terms {run['terms']} --seed {run['seed']}"
        + (f" --leave-out {run['without']}" if run["without"] else ""),
        "settings": run,
        "films_a_step": recipe.films,
        "peak_rate": PEAK_RATE,
        "weight_decay": WEIGHT_DECAY,
        "site_weight": SITE_WEIGHT,
        "phantoms": list(recipe.phantoms),
        "torch": torch.__version__,
    }


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything a run needs to go on where it stopped."""

    path: Path
    net: nn.Module
    optimiser: torch.optim.Optimizer
    rate: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator

    def save(self, step: int) -> None:
        """Writes beside and renames, so that a stop in the middle leaves the old one."""
        state = {
            "step": step,
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rate": self.rate.state_dict(),
            "generator": self.generator.get_state(),
            "torch": torch.get_rng_state(),
        }
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.path)

    def restore(self) -> int:
        """The step to go on from; 0 when there is no checkpoint."""
        if not self.path.exists():
            return 0
        state = torch.load(self.path, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rate.load_state_dict(state["rate"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
        return int(state["step"])
