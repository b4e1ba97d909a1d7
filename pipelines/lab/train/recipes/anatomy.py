"""How the anatomy network is trained: what a film shows, and what films show none of it.

The network sees films as the pose gates left them: chests upright and of right polarity, other parts as it
happens. Whatever is pictured as none of the kinds (a chest cut off, bent, shuffled, or two in one picture)
is taught to lie near no centre.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.graphs import AP, CHILD, FRONTAL, LATERAL, LOWER, NO_FILM, PARTS, PELVIS, SKULL, SPINE, UPPER
from pipelines.lab.films import augment
from pipelines.lab.films.augment import Dice
from pipelines.lab.films.data import Row
from pipelines.lab.train.recipes.base import SIZE, Pool, Recipe, roughened, zooms

SHARE: dict[tuple[int, ...], float] = {
    (FRONTAL,): 0.46,
    (LATERAL,): 0.12,
    (PELVIS,): 0.06,
    (SPINE,): 0.07,
    (SKULL,): 0.05,
    (UPPER,): 0.11,
    (LOWER,): 0.06,
    (NO_FILM,): 0.03,
}
MIXED_SHARE = 0.04  # of each mixture that a collection does not tell apart
NONE_SHARE = 0.30  # of the chests are shown so that they are none of the kinds
JUNK_SHARE = 0.07  # of all pictures are no film at all
ANY_POSE_SHARE = 0.1  # of the chests lie as they like: the pose gates may err
CUT_ZOOM = (1.9, 4.5)  # a chest seen so near is cut off
OFF_CENTRE = (0.45, 0.95)  # of the half width: where the spine lies when a film shows a shoulder and one lung
SIDE_WEIGHT = 0.15  # of AP and child in the loss: advice, not the gate's business
FRONTAL_WEIGHT = 2.0  # of the one column that decides
UNKNOWN = -1.0  # in a target: nobody said

PARTS_OF: dict[str, tuple[int, ...]] = {  # words in a film's part, the first that fits decides
    "non-radiograph": (NO_FILM,),
    "spine": (SPINE,),
    "dental": (SKULL,),
    "skull": (SKULL,),
    "hand+hip": (PELVIS, UPPER),
    "leg+hip": (PELVIS, LOWER),
    "hand+leg": (UPPER, LOWER),
    "extremity mixed": (UPPER, LOWER),
    "hip": (PELVIS,),
    "pelvis": (PELVIS,),
    "knee": (LOWER,),
    "leg": (LOWER,),
    "foot": (LOWER,),
    "hand": (UPPER,),
    "wrist": (UPPER,),
    "finger": (UPPER,),
    "elbow": (UPPER,),
    "forearm": (UPPER,),
    "humerus": (UPPER,),
    "shoulder": (UPPER,),
    "upper limb": (UPPER,),
}


def parts_of(row: Row) -> tuple[int, ...]:
    """Which of PARTS a film shows; several where its collection does not tell them apart."""
    if row.view != "not_chest":
        return (FRONTAL,) if row.view == "frontal" else (LATERAL,)
    for words, parts in PARTS_OF.items():
        if words in row.part:
            return parts
    raise KeyError(f"no part is known for {row.part!r}")


def part_share(row: Row) -> tuple[str, float]:
    """A film's kind, and how often that kind is drawn."""
    parts = parts_of(row)
    return " or ".join(PARTS[p] for p in parts), SHARE.get(parts, MIXED_SHARE)


def side_targets(row: Row) -> tuple[float, float]:
    """AP (1) or PA (0), and child (1) or adult (0), as far as anybody said."""
    ap = {"AP": 1.0, "PA": 0.0}.get(row.projection, UNKNOWN) if row.view == "frontal" else UNKNOWN
    try:
        age = float(row.age)
    except ValueError:
        age = 5.0 if row.child else -1.0
    if row.view != "frontal" or age < 0 or 10 <= age < 18:  # between ten and eighteen it is either
        return ap, UNKNOWN
    return ap, float(age < 10)


def anatomy_batch(pool: Pool, dice: Dice) -> tuple[Tensor, Tensor]:
    """Films, and chests and junk that are none of the kinds -> targets (B, parts + 2).

    In a target 1 is so, 0 is not so, UNKNOWN is not said; of several UNKNOWN parts at least one is so.
    """
    films, index = pool.draw(dice)
    rows = [pool.films.rows[i] for i in index]
    target = torch.tensor([_target(row) for row in rows])
    chest = target[:, FRONTAL] == 1
    films = augment.flipped(films, dice.chance(0.5))
    loose = ~chest | dice.chance(ANY_POSE_SHARE)
    films = augment.turned(films, dice.choice(4) * loose)
    films = augment.inverted(films, dice.chance(0.35) & loose)
    none = chest & dice.chance(NONE_SHARE)
    films, zoom, zoom_y, aside = _spoilt(films, none, dice)
    part = dice.chance(0.3) & (target[:, :NO_FILM].argmax(dim=1) >= PELVIS)
    close = dice.between(1, 2.2)  # other parts are seen in any section: it makes up for few sites
    zoom, zoom_y = torch.where(part, close, zoom), torch.where(part, close, zoom_y)
    pose = augment.placement(dice, zoom, zoom_y=zoom_y)
    pose[:, 0, 2] = torch.where(aside != 0, aside / zoom, pose[:, 0, 2])
    films = augment.placed(films, pose, augment.surround(dice), SIZE)
    target[none] = torch.tensor([0.0] * len(PARTS) + [UNKNOWN, UNKNOWN])
    count = round(JUNK_SHARE * dice.size)
    films[:count] = augment.junk(films[:count], Dice(count, dice.generator), SIZE)
    target[:count] = _target_of((NO_FILM,), UNKNOWN, UNKNOWN)
    return roughened(films, pool.sheets, dice), target


def _spoilt(films: Tensor, none: Tensor, dice: Dice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where `none` says so, a chest that should not be called one; and all magnifications (B,), (B,).

    The last (B,) says how far aside the view lies, in half widths, and 0 where it lies as it happens.
    """
    zoom = zooms(dice)
    zoom_y = zoom
    kind = dice.choice(13)
    makers: dict[int, Callable[[Tensor, Dice], Tensor]] = {
        6: augment.swirled,
        7: lambda x, few: augment.shuffled(x, few, 2),
        8: lambda x, few: augment.joined(x, films[few.choice(len(films))], few),
        9: lambda x, few: augment.joined(x, x.flip(0), few),
    }
    spoilt = films.clone()
    for n, make in makers.items():
        which = none & (kind == n)
        if which.any():
            spoilt[which] = make(films[which], Dice(int(which.sum()), dice.generator))
    near = dice.between(*CUT_ZOOM)
    across, down = none & (kind < 4), none & ((kind < 2) | (kind == 4) | (kind == 5))
    # kinds 0-1 near in both directions, 2-3 a strip as of a spine, 4-5 a band as of neck or belly,
    # 10-12 one lung and what lies beside it, as on films of a shoulder
    side = torch.where(dice.chance(0.5), 1.0, -1.0) * dice.between(*OFF_CENTRE)
    beside = none & (kind >= 10)
    zoom = torch.where(beside, dice.between(0.9, 1.35), zoom)
    zoom_y = torch.where(beside, zoom, zoom_y)
    aside = torch.where(beside, side, torch.zeros_like(side))
    return spoilt, torch.where(across, near, zoom), torch.where(down, near, zoom_y), aside


def _target(row: Row) -> list[float]:
    out: list[float] = _target_of(parts_of(row), *side_targets(row)).tolist()
    return out


def _target_of(parts: tuple[int, ...], ap: float, child: float) -> Tensor:
    out = torch.zeros(len(PARTS) + 2)
    out[list(parts)] = 1.0 if len(parts) == 1 else UNKNOWN
    out[AP], out[CHILD] = ap, child
    return out


def each_against_all(out: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of each kind against everything else, and of AP and child where they are known."""
    kinds, side = target[:, : len(PARTS)], target[:, len(PARTS) :]
    odds = out[:, : len(PARTS)]
    weight = torch.ones(len(PARTS), device=out.device)
    weight[FRONTAL] = FRONTAL_WEIGHT
    said = (kinds != UNKNOWN).float()
    loss = (
        F.binary_cross_entropy_with_logits(odds, kinds.clamp(min=0), reduction="none") * said * weight
    ).sum()
    mixed = (kinds == UNKNOWN).any(dim=1)
    if mixed.any():
        likeliest = odds[mixed].masked_fill(kinds[mixed] != UNKNOWN, -torch.inf).amax(dim=1)
        loss = loss + F.softplus(-likeliest).sum()
    known = (side != UNKNOWN).float()
    aside = (
        F.binary_cross_entropy_with_logits(out[:, len(PARTS) :], side.clamp(min=0), reduction="none") * known
    )
    total: Tensor = loss / len(out) + SIDE_WEIGHT * aside.sum() / known.sum().clamp(min=1)
    return total


ANATOMY = Recipe(
    outputs=(*PARTS, "AP", "child"),
    network="Parts",
    share=part_share,
    batch=anatomy_batch,
    loss=each_against_all,
    phantoms=("frontal", "lateral", "hand"),
    films=96,
    steps=1200,
)
