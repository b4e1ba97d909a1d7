"""Does a gate answer for the right reason? Probes that a network which found a shortcut does not pass.

A probe shows films to a network in every way its gate must tell apart (the good way and the bad ones), alters
all of them alike, and looks at what is left of the answer. Where nothing of the anatomy is left (bars alone,
the finest grain alone) the answer must be chance; where only an accident was changed (a marker, a border, the
JPEG grid) nothing may be lost. Every picture is turned first and altered and re-encoded afterwards, whatever
its class, so that no class betrays itself by its resampling.

Figures are in patients: intervals of areas under the ROC curve come from drawing patients again, with all
their pictures; those of shares are Clopper and Pearson's.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from pipelines.lab.films import augment
from pipelines.lab.films.augment import Dice
from pipelines.lab.films.data import Films
from pipelines.lab.measure import areas
from pipelines.lab.measure.binomial import clopper_pearson

SIZE = 128  # px, what a network is asked about
BATCH = 96
PATIENTS = 200  # of each site: enough for an interval of some hundredths
CHANCE = 0.10  # how far from 0.5 an area may lie where there is nothing to see
LOSS = 0.005  # what an accident may cost, of the area or of the patients
BORDER = 0.06  # of the side: the frame that is kept when the middle is blanked
FINEST = 40  # cycles a picture: waves shorter than 3.2 px of 128 hold grain and coding, hardly anatomy
COARSE = 8  # cycles a picture: what a glance from afar shows
MARKER_ZONE = 0.28  # of the side, from each edge: where lead letters stand
MARKER_STEP = 0.18  # how much a letter's stroke stands out of what lies about it

Ask = Callable[[Tensor], Tensor]  # (B, SIZE, SIZE) float32 in [0, 1] -> (B,), 1: good
Features = Callable[[Tensor], Tensor]  # (B, SIZE, SIZE) -> (B, F)
Scores = NDArray[np.float64]
Names = NDArray[np.str_]
Alter = Callable[[Tensor, Tensor, Dice], Tensor]  # pictures (B, S, S), views (B,), dice -> pictures


@dataclass(frozen=True, slots=True)
class Measured:
    """One line of a report."""

    name: str
    metric: str
    value: float
    n: int  # patients
    low: float  # 95 % interval
    high: float
    passes: bool | None  # None: told, not judged


# --- areas --------------------------------------------------------------------------------------------------


def auroc(good: Scores, good_patients: Names, bad: Scores, bad_patients: Names) -> tuple[float, float, float]:
    """Area under the ROC curve and its 95 % interval, pictures of a patient drawn together (measure.areas).

    Raises ValueError when either side is empty.
    """
    if not len(good) or not len(bad):
        raise ValueError(f"an area needs good and bad pictures, not {len(good)} and {len(bad)}")
    is_good = np.repeat([True, False], [len(good), len(bad)])
    patients = np.concatenate([good_patients, bad_patients])
    area = areas.area(is_good, np.concatenate([good, bad]), patients)
    return area.value, *area.interval


# --- what is shown ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class View:
    """One way to show a film; the first view of a gate is the good one."""

    name: str
    show: Callable[[Tensor], Tensor]  # (B, S, S) -> (B, S, S)
    contrary: Callable[[Tensor], Tensor]  # turns a correct lead letter into one that says the opposite
    ink: float = 1.0  # grey of that letter


def _same(x: Tensor) -> Tensor:
    return x


def _turn(k: int) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.rot90(x, -k, dims=(-2, -1))


VIEWS: dict[str, tuple[View, ...]] = {
    "rotation": (
        View("upright", _same, _turn(2)),
        View("turned 90", _turn(1), _same),
        View("turned 180", _turn(2), _same),
        View("turned 270", _turn(3), _same),
    ),
    "inversion": (View("right", _same, _same, ink=0.0), View("inverted", lambda x: 1 - x, _same, ink=1.0)),
    "mirror": (
        View("as taken", _same, lambda x: x.flip(-1)),
        View("mirrored", lambda x: x.flip(-1), _same),
    ),
    "anatomy": (View("frontal", _same, torch.zeros_like), View("other", _same, _same)),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """Films and the ways they are shown in."""

    gate: str
    greys: NDArray[np.uint8]  # (N, S, S) as they were taken
    views: NDArray[np.int64]  # (N,) index into VIEWS[gate]; 0 is good
    patients: Names  # (N,)

    @property
    def good(self) -> NDArray[np.bool_]:
        return np.asarray(self.views == 0)


def shown(gate: str, films: Films) -> Shown:
    """Every way a gate must tell apart: frontal films in all views, or for anatomy all films as they are.

    Raises:
        KeyError: there is no such gate in VIEWS.
    """
    frontal = np.array([row.view == "frontal" for row in films.rows])
    names = np.array([row.group for row in films.rows])
    if gate == "anatomy":
        return Shown(gate, films.greys, np.where(frontal, 0, 1), names)
    ways = len(VIEWS[gate])
    views = np.repeat(np.arange(ways), int(frontal.sum()))
    return Shown(gate, np.tile(films.greys[frontal], (ways, 1, 1)), views, np.tile(names[frontal], ways))


def some_patients(films: Films, most: int = PATIENTS) -> Films:
    """The first film of at most so many patients of each source and view."""
    counted: Counter[tuple[str, str]] = Counter()
    known: set[tuple[str, str]] = set()
    keep = []
    for row in films.rows:
        new = (row.group, row.view) not in known
        known.add((row.group, row.view))
        counted[row.source, row.view] += new
        keep.append(new and counted[row.source, row.view] <= most)
    return films.where(np.array(keep, dtype=bool))


def asked(ask: Ask, seen: Shown, alter: Alter | None = None, before: Alter | None = None) -> Scores:
    """Scores (N,) of all pictures: altered as films (`before`), shown in their view, altered, made small."""
    dice_seed = torch.Generator().manual_seed(0)
    scores = []
    with torch.no_grad():
        for start in range(0, len(seen.greys), BATCH):
            x = torch.from_numpy(seen.greys[start : start + BATCH]).float() / 255
            views = torch.from_numpy(seen.views[start : start + BATCH])
            dice = Dice(len(x), dice_seed)
            x = before(x, views, dice) if before else x
            x = _in_view(seen.gate, x, views)
            x = alter(x, views, dice) if alter else x
            scores.append(ask(made_small(x)).double().numpy())
    return np.concatenate(scores)


def made_small(x: Tensor, size: int = SIZE) -> Tensor:
    """Pictures (B, S, S) averaged to (B, size, size), as the input chain does it."""
    return F.interpolate(x[:, None], size=(size, size), mode="area")[:, 0].clamp(0, 1)


def _in_view(gate: str, x: Tensor, views: Tensor) -> Tensor:
    out = x.clone()
    for index, view in enumerate(VIEWS[gate]):
        out[views == index] = view.show(x[views == index])
    return out


# --- what is altered ----------------------------------------------------------------------------------------


def only_bars(x: Tensor, _views: Tensor, dice: Dice) -> Tensor:
    """A flat grey and the bars that padding leaves: at both sides, at the foot, or at the right, not on top.

    They are painted before a film is turned, so they turn with it as padding bars do.
    """
    size = x.shape[-1]
    ramp = torch.arange(size)[None]
    kind = dice.choice(3)[:, None]
    near = ramp < (dice.between(0.05, 0.2) * size)[:, None]
    far = ramp >= (size - dice.between(0.05, 0.2) * size)[:, None]
    across, down = (near & (kind == 0)) | (far & (kind != 1)), far & (kind == 1)
    bars = across[:, None, :] | down[:, :, None]
    return torch.where(bars, 0.0, 0.5)


def only_border(x: Tensor, _views: Tensor, _dice: Dice) -> Tensor:
    """The outermost frame of each picture; its middle is flat."""
    width = round(BORDER * x.shape[-1])
    out = x.clone()
    out[:, width:-width, width:-width] = 0.5
    return out


def only_fine(x: Tensor, _views: Tensor, _dice: Dice) -> Tensor:
    """Nothing but grain: waves of more than FINEST cycles a picture."""
    return (0.5 + x - low_passed(x, FINEST)).clamp(0, 1)


def without_coarse(x: Tensor, _views: Tensor, _dice: Dice) -> Tensor:
    """All but the broad light and dark: what a wide blur takes away is gone."""
    return (0.5 + x - low_passed(x, COARSE)).clamp(0, 1)


def only_coarse(x: Tensor, _views: Tensor, _dice: Dice) -> Tensor:
    """The broad light and dark alone."""
    return low_passed(x, COARSE).clamp(0, 1)


def low_passed(x: Tensor, cycles: float) -> Tensor:
    """Waves of fewer than `cycles` a picture; it is continued by its reflection, so that no edge leaks."""
    doubled = torch.cat([x, x.flip(-1)], dim=-1)
    doubled = torch.cat([doubled, doubled.flip(-2)], dim=-2)
    size = doubled.shape[-1]
    across = torch.fft.rfftfreq(size) * size / 2  # cycles a picture: the doubled one holds two
    down = torch.fft.fftfreq(size) * size / 2
    keep = torch.sigmoid((cycles - torch.hypot(down[:, None], across[None])) * 2)
    out: Tensor = torch.fft.irfft2(torch.fft.rfft2(doubled) * keep, s=(size, size))
    return out[:, : x.shape[-2], : x.shape[-1]]


def unmarked(x: Tensor, _views: Tensor, _dice: Dice) -> Tensor:
    """Thin bright or dark strokes near the edges, where lead letters stand, painted over."""
    bright, dark = x - _opened(x), (1 - x) - _opened(1 - x)
    stroke = torch.maximum(bright, dark) > MARKER_STEP
    stroke &= _near_edge(x.shape[-1])
    kept = (_highest(stroke.float(), 5) == 0).float()
    wide = _averaged(x * kept) / _averaged(kept).clamp(min=1e-3)
    return torch.where(kept == 0, wide, x)


def marked_contrary(gate: str) -> Alter:
    """Their own markers painted over, and a letter pasted that says the opposite of what is true."""

    def alter(x: Tensor, views: Tensor, dice: Dice) -> Tensor:
        out = unmarked(x, views, dice)
        for index, view in enumerate(VIEWS[gate]):
            letter = view.contrary(_letter(x.shape[-1]))
            out[views == index] = out[views == index] * (1 - letter) + view.ink * letter
        return out

    return alter


def recoded(x: Tensor, _views: Tensor, dice: Dice) -> Tensor:
    """Resized by an odd factor, saved as JPEG of quality 30 to 95, and resized back; all alike."""
    qualities, factors = dice.between(30, 96).int(), dice.between(0.55, 1.4)
    pairs = zip(qualities, factors, strict=True)
    return torch.stack([_recoded(p, int(q), float(f)) for p, (q, f) in zip(x, pairs, strict=True)])


def letterboxed(x: Tensor, _views: Tensor, dice: Dice) -> Tensor:
    """Smaller inside black, grey or white bars, above and below or at both sides."""
    share, upright = 1 + 2 * dice.between(0.03, 0.12), dice.chance(0.5)
    across, down = torch.where(upright, 1.0, share), torch.where(upright, share, 1.0)
    nought = torch.zeros_like(share)
    matrices = torch.stack(
        [torch.stack([across, nought, nought], dim=1), torch.stack([nought, down, nought], dim=1)], dim=1
    )
    return augment.placed(x, matrices, augment.surround(dice), x.shape[-1])


def _recoded(picture: Tensor, quality: int, factor: float) -> Tensor:
    size = picture.shape[-1]
    grey = Image.fromarray((picture * 255).round().to(torch.uint8).numpy())
    odd = round(size * factor) | 1
    buffer = io.BytesIO()
    grey.resize((odd, odd), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=quality)
    back = Image.open(buffer).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(back).copy()).float() / 255


def _opened(x: Tensor, reach: int = 9) -> Tensor:
    """Morphological opening: what is brighter than its surroundings and narrower than `reach` px is gone."""
    return _highest(-_highest(-x, reach), reach)


def _highest(x: Tensor, reach: int) -> Tensor:
    """The highest value within a square of `reach` px, first along columns and then along rows."""
    down = F.max_pool2d(x[:, None], (reach, 1), stride=1, padding=(reach // 2, 0))
    return F.max_pool2d(down, (1, reach), stride=1, padding=(0, reach // 2))[:, 0]


def _averaged(x: Tensor, reach: int = 31) -> Tensor:
    down = F.avg_pool2d(x[:, None], (reach, 1), stride=1, padding=(reach // 2, 0))
    return F.avg_pool2d(down, (1, reach), stride=1, padding=(0, reach // 2))[:, 0]


def _near_edge(size: int) -> Tensor:
    ramp = torch.arange(size)
    near = torch.minimum(ramp, size - 1 - ramp) < MARKER_ZONE * size
    return near[:, None] | near[None]


def _letter(size: int) -> Tensor:
    """A sheet (size, size) with an L at the upper right, where it belongs on an upright film; 1: ink."""
    sheet = Image.new("L", (size, size))
    font = ImageFont.load_default(size * 0.11)
    ImageDraw.Draw(sheet).text((round(size * 0.85), round(size * 0.05)), "L", fill=255, font=font)
    return torch.from_numpy(np.asarray(sheet).copy()).float() / 255


# --- the probes ---------------------------------------------------------------------------------------------


def probes(gate: str, ask: Ask, films: Films, cut: float = 0.5) -> tuple[Measured, ...]:
    """All probes of one gate on these films; `cut` is the score from which a picture counts as good.

    Use films of sites the network never saw. What must be chance passes when its area lies within CHANCE of
    a half; what must cost nothing passes when it costs at most LOSS of the area and of the patients (those
    newly wrong less those newly right). What is only told has no verdict.
    """
    seen = shown(gate, films)
    plain = asked(ask, seen)
    rows = [_area("as it is", plain, seen, judged=False)]
    # The frame of a chest film is anatomy too (shoulders above, belly below): a rule of border rows alone
    # tells turns and polarity nearly always. Only left from right it should not tell.
    rows.append(_area("only the outer frame", asked(ask, seen, only_border), seen, judged=gate == "mirror"))
    blind: dict[str, Scores] = {}
    if gate != "anatomy":  # its pictures are not made from one another, and no bar can tell which is which
        blind["only bars, blank between"] = asked(ask, seen, before=only_bars)
    blind["only the finest grain"] = asked(ask, seen, only_fine)
    rows += [_area(name, scores, seen, judged=True) for name, scores in blind.items()]
    parts = {"without the broad light and dark": without_coarse, "only the broad light and dark": only_coarse}
    rows += [_area(name, asked(ask, seen, alter), seen, judged=False) for name, alter in parts.items()]
    accidents: dict[str, Alter] = {
        "markers painted over": unmarked,
        "contrary marker pasted": marked_contrary(gate),
        "resized and saved as JPEG": recoded,
        "bars added": letterboxed,
    }
    for name, alter in accidents.items():
        rows += _cost(name, plain, asked(ask, seen, alter), seen, cut)
    return tuple(rows)


def site_probe(features: Features, films: Films) -> tuple[Measured, ...]:
    """How well a logistic regression on the network's features tells the site of a frontal film; advisory.

    Five folds by patient. The second row is what always naming the commonest site would reach.
    """
    films = films.where(np.array([row.view == "frontal" for row in films.rows]))
    sites = np.array([row.site for row in films.rows])
    patients = np.array([row.group for row in films.rows])
    with torch.no_grad():
        parts = torch.split(torch.from_numpy(films.greys), BATCH)
        seen = np.concatenate([features(made_small(part.float() / 255)).float().numpy() for part in parts])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    named = cross_val_predict(model, seen, sites, groups=patients, cv=GroupKFold(5))
    n, right = _patients_right(named == sites, patients)
    commonest = max(Counter(sites[np.unique(patients, return_index=True)[1]]).values())
    rows = (("site told from features", right), ("commonest site always named", commonest))
    return tuple(Measured(name, "accuracy", k / n, n, *clopper_pearson(k, n), None) for name, k in rows)


def _area(name: str, scores: Scores, seen: Shown, judged: bool) -> Measured:
    good = seen.good
    value, low, high = auroc(scores[good], seen.patients[good], scores[~good], seen.patients[~good])
    passes = abs(value - 0.5) <= CHANCE if judged else None
    return Measured(name, "AUC", value, len(np.unique(seen.patients)), low, high, passes)


def _cost(name: str, plain: Scores, altered: Scores, seen: Shown, cut: float) -> tuple[Measured, Measured]:
    """What an alteration cost: area lost, and patients newly wrong."""
    good = seen.good
    lost = areas.auc(good, plain) - areas.auc(good, altered)
    spread = areas.Draws(seen.patients).each(
        np.ones(len(good), dtype=bool),
        lambda weights: areas.aucs(good, plain, weights) - areas.aucs(good, altered, weights),
    )
    right, still = (_right(scores, seen, cut) for scores in (plain, altered))
    newly, healed, n = int((right & ~still).sum()), int((~right & still).sum()), len(right)
    low, high = clopper_pearson(newly, n)
    return (
        Measured(name, "AUC lost", lost, n, *areas.interval_of(spread), lost <= LOSS),
        Measured(name, "patients newly wrong", newly / n, n, low, high, (newly - healed) / n <= LOSS),
    )


def _right(scores: Scores, seen: Shown, cut: float) -> NDArray[np.bool_]:
    """Whether every picture of a patient was answered rightly, patients in alphabetical order."""
    wrong = (scores >= cut) != seen.good
    _, index = np.unique(seen.patients, return_inverse=True)
    return np.asarray(np.bincount(index, wrong) == 0)


def _patients_right(right: NDArray[np.bool_], patients: Names) -> tuple[int, int]:
    """Number of patients, and of those whose films were all named rightly."""
    _, index = np.unique(patients, return_inverse=True)
    wrong = np.bincount(index, ~right)
    return len(wrong), int((wrong == 0).sum())
