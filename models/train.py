"""Trains one gate. Read it from top to bottom: settings, data, network, optimiser, loop.

`train()` is called with `prepare`, the input chain that the gates use themselves (pipelines.transforms),
so a network sees in training what it will see at work. A run can be stopped and resumed, and repeats
itself from its seed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.losses.dice import DiceCELoss
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor, nn

from models import augment, bundle, card, phantom
from models.augment import Dice
from models.bundle import Card
from models.data import CACHE_PX, FOLDS, Films, Row, load
from models.nets import KINDS, Familiar, channels_last

# --- settings -----------------------------------------------------------------------------------------

BATCH = 96  # a step a second on one busy core; smaller batches make batch norm noisy
PEAK_RATE = 3e-3  # AdamW with batch norm at this size diverges from about 1e-2
LATER_RATE = 1e-3  # when a run begins from trained weights: enough to move, too little to forget
WEIGHT_DECAY = 0.03  # sites are few: prefer the plainer network
SMOOTHING = 0.02  # a few labels are wrong; do not let the network stake everything on one film
SAVE_EVERY = 200  # steps between checkpoints: about a minute
SIZE = 128  # px, pipelines.transforms.GATE_PX
PHANTOM_SEEDS = range(1000, 1150)  # seeds below are kept for tests and demonstrations
ZOOM = (0.85, 1.25)  # magnification: sites collimate more or less closely
PHANTOM_VIEWS = {"frontal": "frontal", "lateral": "lateral", "hand": "not_chest"}
FAR_SHARE = 0.08  # of the films are shown small in a border, as a wrong crop or a photograph shows them
CLOSE_SHARE = 0.04  # of the films for the anatomy gate are shown so near that nobody could name them
JUNK_SHARE = 0.10  # of the pictures for the anatomy gate are no film at all

Prepare = Callable[[Tensor], Tensor]  # (B, H, W) in [0, 1] -> (B, SIZE, SIZE), as at inference


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one gate is trained."""

    classes: tuple[str, ...]
    network: str  # a key of nets.KINDS
    weight: Callable[[Row], float]  # how often a film is drawn; 0 leaves it out
    batch: Callable[[Pool, Dice], tuple[Tensor, Tensor]]  # -> films (B, SIZE, SIZE) and what they are
    loss: Callable[[Tensor, Tensor], Tensor]
    phantoms: tuple[str, ...]
    steps: int


@dataclass(frozen=True, slots=True)
class Pool:
    """The films to draw from, and with what probability."""

    films: Films
    chances: Tensor  # (N,)
    sheets: Tensor  # marker sheets

    def draw(self, dice: Dice) -> tuple[Tensor, NDArray[np.int64]]:
        """Random films (B, CACHE_PX, CACHE_PX) in [0, 1] and their indices."""
        index = torch.multinomial(self.chances, dice.size, replacement=True, generator=dice.generator).numpy()
        return torch.from_numpy(self.films.greys[index]).float() / 255, index


# --- data ---------------------------------------------------------------------------------------------

SITE_WEIGHT = {
    "nih": 1.0,
    "web": 0.9,
    "kermany": 0.45,
    "phantom": 0.2,
}  # others 1; adults count for more than children
ANATOMY = ("frontal", "lateral", "other", "not_a_radiograph")
ANATOMY_SHARE = {"frontal": 0.42, "lateral": 0.16, "other": 0.38, "not_a_radiograph": 0.04}


def frontal_weight(row: Row) -> float:
    """Frontal chests only, sites balanced."""
    return SITE_WEIGHT[row.site] if row.view == "frontal" else 0.0


def masked_weight(row: Row) -> float:
    """Films with a lung mask."""
    return SITE_WEIGHT[row.site] if row.mask else 0.0


def any_weight(row: Row) -> float:
    """All films; sites inside a class are balanced, classes are by ANATOMY_SHARE."""
    share = ANATOMY_SHARE[ANATOMY[anatomy_class(row)]]
    return share * SITE_WEIGHT.get(row.site, 1.0)


def anatomy_class(row: Row) -> int:
    """Index into ANATOMY."""
    if row.source == "mednist_nonxray":
        return 3
    return {"frontal": 0, "lateral": 1, "not_chest": 2}[row.view]


def pool_of(films: Films, recipe: Recipe, generator: torch.Generator) -> Pool:
    """Balances: each (class, site) gets its weight, however many films it has (by the square root)."""
    keys = [(row.view, row.site) for row in films.rows]
    counts = Counter(keys)
    classes: dict[str, float] = {}
    for (view, _), count in counts.items():
        classes[view] = classes.get(view, 0.0) + count**0.5
    chances = [
        recipe.weight(row) * counts[key] ** -0.5 / classes[key[0]]
        for row, key in zip(films.rows, keys, strict=True)
    ]
    return Pool(films, torch.tensor(chances, dtype=torch.float64), augment.marker_sheets(SIZE, generator))


def phantoms(kinds: tuple[str, ...], cache: Path, seeds: range = PHANTOM_SEEDS) -> Films:
    """Our own synthetic films as training films; no lung mask is drawn for them."""
    digest = hashlib.sha256(Path(phantom.__file__).read_bytes()).hexdigest()[:12]
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


def zooms(dice: Dice) -> Tensor:
    """Magnifications (B,): mostly near 1, now and then a film small in a border."""
    near = torch.exp(dice.between(np.log(ZOOM[0]), np.log(ZOOM[1])))
    return torch.where(dice.chance(FAR_SHARE), dice.between(0.3, ZOOM[0]), near)


def posed(films: Tensor, dice: Dice) -> Tensor:
    """Films tilted, shifted, squashed and zoomed at random, (B, SIZE, SIZE)."""
    return augment.placed(films, augment.placement(dice, zooms(dice)), augment.surround(dice), SIZE)


def roughened(films: Tensor, sheets: Tensor, dice: Dice) -> Tensor:
    """What happens to any film on its way: grey curves, erased and pasted markers, bars, blur, noise."""
    films = augment.toned(films, dice)
    films = augment.erased(films, dice)
    films = augment.marked(films, sheets, dice)
    films = augment.bordered(films, dice)
    return augment.degraded(films, dice)


def rotation_batch(pool: Pool, dice: Dice) -> tuple[Tensor, Tensor]:
    """Frontal films in four turns, of either polarity and handedness -> quarter turns clockwise (B,)."""
    films, _ = pool.draw(dice)
    quarters = dice.choice(4)
    films = augment.turned(augment.flipped(films, dice.chance(0.5)), quarters)
    films = augment.inverted(films, dice.chance(0.3))
    return roughened(posed(films, dice), pool.sheets, dice), quarters


def inversion_batch(pool: Pool, dice: Dice) -> tuple[Tensor, Tensor]:
    """Frontal films in four turns -> 1 where black and white are exchanged (B,)."""
    films, _ = pool.draw(dice)
    wrong = dice.chance(0.5)
    films = augment.turned(augment.flipped(films, dice.chance(0.5)), dice.choice(4))
    return roughened(posed(augment.inverted(films, wrong), dice), pool.sheets, dice), wrong.long()


def mirror_batch(pool: Pool, dice: Dice) -> tuple[Tensor, Tensor]:
    """Upright frontal films, half of them mirrored -> 1 where mirrored (B,)."""
    films, _ = pool.draw(dice)
    wrong = dice.chance(0.5)
    films = augment.inverted(augment.flipped(films, wrong), dice.chance(0.2))
    return roughened(posed(films, dice), pool.sheets, dice), wrong.long()


def lungs_batch(pool: Pool, dice: Dice) -> tuple[Tensor, Tensor]:
    """Films, mostly upright and of the right polarity -> their lung masks (B, SIZE, SIZE)."""
    films, index = pool.draw(dice)
    masks = torch.from_numpy(pool.films.masks[index]).float() / 255
    quarters = dice.choice(4) * dice.chance(0.3)
    films = augment.inverted(augment.turned(films, quarters), dice.chance(0.2))
    pose = augment.placement(dice, zooms(dice))
    films = augment.placed(films, pose, augment.surround(dice), SIZE)
    masks = augment.placed(augment.turned(masks, quarters), pose, torch.zeros(dice.size), SIZE)
    return roughened(films, pool.sheets, dice), (masks > 0.5).float()


def anatomy_batch(pool: Pool, dice: Dice) -> tuple[Tensor, Tensor]:
    """All films in four turns and both polarities, close-ups and junk -> shares of the classes (B, classes).

    A close-up of a chest is nothing certain: its truth is spread over all classes.
    """
    films, index = pool.draw(dice)
    truth = torch.tensor([anatomy_class(pool.films.rows[i]) for i in index])
    target = F.one_hot(truth, len(ANATOMY)).float()
    films = augment.turned(augment.flipped(films, dice.chance(0.5)), dice.choice(4))
    films = augment.inverted(films, dice.chance(0.4))
    close = dice.chance(CLOSE_SHARE)
    target[close & (truth < 2)] = 1 / len(ANATOMY)
    part = dice.chance(0.3) & (truth == 2)  # other parts are seen in any section: it makes up for few sites
    zoom = torch.where(close, dice.between(2.5, 5), torch.where(part, dice.between(1, 2.5), zooms(dice)))
    films = augment.placed(films, augment.placement(dice, zoom), augment.surround(dice), SIZE)
    count = round(JUNK_SHARE * dice.size)
    films[:count] = augment.junk(films[:count], Dice(count, dice.generator), SIZE)
    target[:count] = F.one_hot(torch.tensor(3), len(ANATOMY)).float()
    return roughened(films, pool.sheets, dice), target


# --- networks and losses ------------------------------------------------------------------------------


def named(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy for one class of several; target (B,) or shares (B, classes)."""
    return F.cross_entropy(logits, target, label_smoothing=SMOOTHING)


def yes_or_no(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy for one logit (B, 1)."""
    return F.binary_cross_entropy_with_logits(logits[:, 0], target.float() * (1 - SMOOTHING) + SMOOTHING / 2)


def overlap(logits: Tensor, target: Tensor) -> Tensor:
    """Dice and cross entropy together; logits (B, 1, S, S), target (B, S, S)."""
    loss: Tensor = DiceCELoss(sigmoid=True)(logits, target[:, None])
    return loss


RECIPES: dict[str, Recipe] = {
    "rotation": Recipe(
        classes=("0", "90", "180", "270"),
        network="Classifier",
        weight=frontal_weight,
        batch=rotation_batch,
        loss=named,
        phantoms=("frontal",),
        steps=1600,
    ),
    "inversion": Recipe(
        classes=("right", "inverted"),
        network="Classifier",
        weight=frontal_weight,
        batch=inversion_batch,
        loss=named,
        phantoms=("frontal",),
        steps=1600,
    ),
    "anatomy": Recipe(
        classes=ANATOMY,
        network="Familiar",
        weight=any_weight,
        batch=anatomy_batch,
        loss=named,
        phantoms=("frontal", "lateral", "hand"),
        steps=2600,
    ),
    "mirror": Recipe(
        classes=("mirrored",),
        network="Antisymmetric",
        weight=frontal_weight,
        batch=mirror_batch,
        loss=yes_or_no,
        phantoms=("frontal",),
        steps=2000,
    ),
    "lungs": Recipe(
        classes=("lung",),
        network="lung_net",
        weight=masked_weight,
        batch=lungs_batch,
        loss=overlap,
        phantoms=(),
        steps=1200,
    ),
}

# --- optimiser and loop -------------------------------------------------------------------------------


def train(
    name: str,
    films: Path,
    out: Path,
    cache: Path,
    prepare: Prepare,
    resume: bool = False,
    seed: int = 0,
    steps: int | None = None,
    leave_out: str = "",
    fold: int = 0,
    begin: Path | None = None,
) -> Path:
    """Trains the gate `name` on all films but the held-out fold and writes a bundle in `out`.

    `leave_out` names a site that is not trained on either. `resume` goes on from `out/checkpoint.pt`;
    `begin` starts from the weights of another bundle, at LATER_RATE.
    """
    recipe = RECIPES[name]
    steps = steps or recipe.steps
    torch.manual_seed(seed)
    dice = Dice(BATCH, torch.Generator().manual_seed(seed))
    pool = pool_of(training_films(name, films, cache, leave_out, fold), recipe, dice.generator)
    net = channels_last(KINDS[recipe.network](len(recipe.classes))).train()
    if begin:
        net.load_state_dict(bundle.read_weights(begin, bundle.read_card(begin)))
    peak = LATER_RATE if begin else PEAK_RATE
    optimiser = torch.optim.AdamW(net.parameters(), lr=peak, weight_decay=WEIGHT_DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, total_steps=steps, pct_start=0.15)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = Checkpoint(out / "checkpoint.pt", net, optimiser, rate, dice.generator)
    done = checkpoint.restore() if resume else 0
    with Progress() as bar, (out / "train.jsonl").open("a" if resume else "w") as log:
        task = bar.add_task(name, total=steps, completed=done)
        for step in range(done, steps):
            with torch.no_grad():
                x, target = recipe.batch(pool, dice)  # (B, SIZE, SIZE); (B,), (B, classes) or a mask
                x = prepare(x)[:, None].contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):  # twice as fast where the CPU has it
                logits = net(x)
            loss = recipe.loss(logits.float(), target)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rate.step()
            bar.update(task, advance=1, description=f"{name} {loss.item():.3f}")
            log.write(json.dumps({"step": step, "loss": round(loss.item(), 5)}) + "\n")
            if (step + 1) % SAVE_EVERY == 0:
                log.flush()
                checkpoint.save(step + 1)
    if isinstance(net, Familiar):
        settle(net, pool, dice, prepare)
    bundle.save(
        out,
        Card(name, recipe.network, recipe.classes),
        net,
        how_trained(name, steps, seed, leave_out, fold, begin),
    )
    card.write_part(out, "data", card.data_table(pool.films.rows))
    return out


def how_trained(
    name: str, steps: int, seed: int, leave_out: str, fold: int, begin: Path | None = None
) -> dict[str, Any]:
    """The settings of a run, for `configs/train.json`."""
    return {
        "run": f"filmgate train {name}",
        "recipe": {"_target_": "models.train.train", "name": name, "steps": steps, "seed": seed},
        "held_out": {"fold": fold, "of": FOLDS, "site": leave_out},
        "begun_from": bundle.read_card(begin).weights_sha256 if begin else "",
        "batch": BATCH,
        "peak_rate": LATER_RATE if begin else PEAK_RATE,
        "weight_decay": WEIGHT_DECAY,
        "site_weight": SITE_WEIGHT,
        "phantoms": list(RECIPES[name].phantoms),
    }


def training_films(name: str, films: Path, cache: Path, leave_out: str = "", fold: int = 0) -> Films:
    """The films a gate trains on: not the held-out fold, not the site left out; with its phantoms."""
    recipe = RECIPES[name]
    pool = load(films, cache).with_group(held_out=False, fold=fold)
    pool = pool.where(np.array([row.site != leave_out and recipe.weight(row) > 0 for row in pool.rows]))
    return pool.plus(phantoms(recipe.phantoms, cache))


def settle(net: Familiar, pool: Pool, dice: Dice, prepare: Prepare, batches: int = 40) -> None:
    """Lets the network see where its own training films lie in feature space."""
    net.eval()
    features, labels = [], []
    with torch.no_grad():
        for _ in range(batches):
            x, target = anatomy_batch(pool, dice)
            sure = target.max(dim=1).values > 0.5
            features.append(net.features(prepare(x)[:, None])[sure])
            labels.append(target.argmax(dim=1)[sure])
    net.settle(torch.cat(features), torch.cat(labels))


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
