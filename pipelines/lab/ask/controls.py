"""Rules that need no network: what every gate must beat before its figures mean anything.

Each rule is fitted on the films a round may see and judged on the sites it leaves out (data.ROUNDS), exactly
as the gates are. A rule that does well says that the question is easy, or that the films betray the answer.

- header only: the picture's size and aspect ratio. That it is claimed to be a chest, PA, says nothing here:
  every film arrives with that claim, whatever it shows.
- k nearest neighbours among 32 x 32 thumbnails in all turns, mirrorings and polarities, by correlation: the
  class whose k most similar thumbnails are the more similar on average.
- border rows: mean greys along the outermost rows and columns.
- corners against centre: each corner's mean grey less the centre's.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from pipelines.lab.ask.shortcut_probes import (
    VIEWS,
    Measured,
    Scores,
    Shown,
    auroc,
    made_small,
    shown,
    some_patients,
)
from pipelines.lab.films.data import ROUNDS, Films, left_out
from pipelines.lab.measure.binomial import clopper_pearson

PATIENTS = 800  # of each source and view: all but kermany's children are fewer
THUMB = 32  # px
PX = 128  # side of the pictures that the rules read
EDGE, PIECES = 2, 4  # rows that count as outermost, and pieces that each side is read in
NEIGHBOURS = (1, 5)
CHUNK = 128  # queries at a time: the similarities of more would not fit

Doubles = NDArray[np.float64]
Sizes = Mapping[str, tuple[int, int]]  # file -> width, height as published


@dataclass(frozen=True, slots=True)
class Named:
    """What a rule made of the pictures of a `Shown`."""

    seen: Shown
    score: Scores  # (N,) more is better
    view: NDArray[np.int64]  # (N,) which view the rule takes it for


def native_sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Width and height of each film as it was published, from `folder/manifest.csv`. Raises OSError."""
    with (folder / "manifest.csv").open(newline="") as handle:
        return {
            line["file"]: (int(line["native_width"]), int(line["native_height"]))
            for line in csv.DictReader(handle)
        }


def controls(films: Films, sizes: Sizes, most: int = PATIENTS) -> tuple[Measured, ...]:
    """All rules for all gates: a row a round and one for all rounds, "gate, rule, without round"."""
    films = prepared(some_patients(films, most))
    named_by_rule: dict[tuple[str, str], list[Named]] = {}
    rows: list[Measured] = []
    for round_ in ROUNDS:
        unseen = left_out(films.rows, round_)
        known, other = films.where(~unseen), films.where(unseen)
        for key, named in one_round(known, other, sizes).items():
            named_by_rule.setdefault(key, []).append(named)
            rows += _rows(f"{key[0]}, {key[1]}, without {round_}", [named])
    for (gate, rule), all_rounds in named_by_rule.items():
        rows += _rows(f"{gate}, {rule}, all rounds", all_rounds)
    return tuple(sorted(rows, key=lambda row: row.name))


def prepared(films: Films) -> Films:
    """The same films at PX, spread, once for all rules, gates and rounds; without their masks."""
    parts = torch.split(torch.from_numpy(films.greys), CHUNK)
    small = [spread(made_small(part.float() / 255, PX)) for part in parts]
    greys = np.concatenate([(x * 255).round().to(torch.uint8).numpy() for x in small])
    return Films(films.rows, greys, np.zeros((len(films), 1, 1), np.uint8))


def one_round(known: Films, other: Films, sizes: Sizes) -> dict[tuple[str, str], Named]:
    """(gate, rule) -> what the rule, fitted on the known films, makes of the others; both prepared."""
    out: dict[tuple[str, str], Named] = {}
    for gate in VIEWS:
        past, now = shown(gate, known), shown(gate, other)
        measures: dict[str, Callable[[Films, Shown], Doubles]] = {
            "header only": lambda films, seen: header_facts(films, seen, sizes),
            "border rows": lambda _, seen: border_rows(seen),
            "corners against centre": lambda _, seen: corners(seen),
        }
        for rule, measure in measures.items():
            out[gate, rule] = _fitted(past, measure(known, past), now, measure(other, now))
    return out | _neighbours(known, other)


def header_facts(films: Films, seen: Shown, sizes: Sizes) -> Doubles:
    """Size and aspect of each shown picture, (N, 4): a film lies down when it is turned by 90 or 270."""
    rows = [row for row in films.rows if seen.gate == "anatomy" or row.view == "frontal"]
    wide, high = np.array([sizes[row.file] for row in rows], np.float64).T
    aspect = np.tile(np.log(wide / high), len(seen.views) // len(rows))
    size = np.tile(np.log(wide * high), len(seen.views) // len(rows))
    if seen.gate == "rotation":
        aspect = np.where(seen.views % 2 == 1, -aspect, aspect)
    return np.stack([aspect, np.abs(aspect), np.abs(aspect) < 0.01, size], axis=1)


def border_rows(seen: Shown) -> Doubles:
    """Mean greys of the outermost rows and columns in PIECES pieces each, (N, 4 * PIECES)."""

    def read(x: Tensor) -> Tensor:
        sides = (x[:, :EDGE].mean(1), x[:, -EDGE:].mean(1), x[:, :, :EDGE].mean(2), x[:, :, -EDGE:].mean(2))
        return torch.cat([side.reshape(len(x), PIECES, -1).mean(2) for side in sides], dim=1)

    return _read(seen, read)


def corners(seen: Shown) -> Doubles:
    """Mean grey of each corner (an eighth of the side) less that of the centre (a half), (N, 4)."""

    def read(x: Tensor) -> Tensor:
        e, q = x.shape[-1] // 8, x.shape[-1] // 4
        parts = (x[:, :e, :e], x[:, :e, -e:], x[:, -e:, :e], x[:, -e:, -e:])
        centre = x[:, q:-q, q:-q].mean((1, 2))
        return torch.stack([part.mean((1, 2)) - centre for part in parts], dim=1)

    return _read(seen, read)


def _read(seen: Shown, read: Callable[[Tensor], Tensor]) -> Doubles:
    """A measure (B, size, size) -> (B, F) of all pictures, each in its view."""
    out = []
    for part in np.array_split(np.arange(len(seen.views)), len(seen.views) // 512 + 1):
        x = torch.from_numpy(seen.greys[part]).float() / 255
        views = torch.from_numpy(seen.views[part])
        for index, view in enumerate(VIEWS[seen.gate]):
            x[views == index] = view.show(x[views == index])
        out.append(read(x).double().numpy())
    return np.concatenate(out)


def spread(x: Tensor) -> Tensor:
    """Each picture (B, S, S) stretched between its own half percentiles, as the gates' input chain does."""
    low, high = torch.quantile(x[:, ::2, ::2].flatten(1), torch.tensor((0.005, 0.995)), dim=1)
    out: Tensor = ((x - low[:, None, None]) / (high - low).clamp(min=0.02)[:, None, None]).clamp(0, 1)
    return out


def _fitted(past: Shown, facts: Doubles, now: Shown, met: Doubles) -> Named:
    """A logistic regression from the facts (N, F) to the view; the score is the share of the good view."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))
    model.fit(facts, past.views)
    shares = model.predict_proba(met)
    return Named(now, shares[:, 0], np.asarray(shares.argmax(axis=1)))


# --- nearest neighbours -------------------------------------------------------------------------------------


def _neighbours(known: Films, other: Films) -> dict[tuple[str, str], Named]:
    """(gate, rule) -> what the nearest thumbnails say.

    Turning a query is turning the thumbnails back, and the negative of a normalised thumbnail is its
    opposite, so one table of correlations serves all views of all gates.
    """
    frontal = np.array([row.view == "frontal" for row in known.rows])
    asked = np.array([row.view == "frontal" for row in other.rows])
    small = thumbs(known)
    chests, parts = _variants(small[frontal]), _variants(small[~frontal])
    queries = thumbs(other)
    most = max(NEIGHBOURS)
    near_chest = _nearest(queries, chests, most)  # (Q, turn, mirror, polarity, most)
    near_part = _nearest(queries, parts, most)
    out: dict[tuple[str, str], Named] = {}
    for k in NEIGHBOURS:
        rule = f"{k} nearest of 32 x 32"
        ways = near_chest[asked]
        turn = _merged(ways, (1,), k)  # (Q, 4): how alike when the thumbnails are turned by so much
        pole = _merged(ways, (3,), k)
        hand = _merged(ways[:, :1, :, :1], (2,), k)
        both = np.stack([_merged(near, (), k)[:, 0] for near in (near_chest, near_part)], axis=1)
        for gate, alike in (("rotation", turn), ("inversion", pole), ("mirror", hand)):
            ways_shown = [np.roll(alike, view, axis=1) for view in range(alike.shape[1])]
            out[gate, rule] = _likelier(shown(gate, other), np.concatenate(ways_shown))
        out["anatomy", rule] = _likelier(shown("anatomy", other), both)
    return out


def thumbs(films: Films) -> Tensor:
    """Normalised thumbnails (N, THUMB, THUMB) of prepared films: mean 0, norm 1."""
    parts = torch.split(torch.from_numpy(films.greys), 512)
    small = torch.cat([made_small(part.float() / 255, THUMB) for part in parts])
    small = small - small.mean((1, 2), keepdim=True)
    out: Tensor = small / small.norm(dim=(1, 2), keepdim=True).clamp(min=1e-6)
    return out


def _variants(small: Tensor) -> Tensor:
    """Thumbnails (N, S, S) in four turns clockwise, plain and mirrored first: (4, 2, N, S * S)."""
    mirrored = torch.stack([small, small.flip(-1)])
    return torch.stack([torch.rot90(mirrored, -k, dims=(-2, -1)) for k in range(4)]).flatten(3)


def _nearest(queries: Tensor, variants: Tensor, most: int) -> Doubles:
    """The `most` highest correlations of each query with each kind of variant, (Q, 4, 2, 2, most)."""
    out = []
    for part in torch.split(queries.flatten(1), CHUNK):
        alike = torch.einsum("qp,tmnp->qtmn", part, variants)
        both = torch.stack([alike, -alike], dim=3)  # the negative's
        out.append(both.topk(most, dim=4).values.double().numpy())
    return np.concatenate(out)


def _merged(near: Doubles, axes: tuple[int, ...], k: int) -> Doubles:
    """Mean of the k highest values for each place along `axes`, all others taken together, (Q, places)."""
    order = (0, *axes, *(axis for axis in range(1, near.ndim) if axis not in axes))
    places = near.shape[axes[0]] if axes else 1
    flat = near.transpose(order).reshape(len(near), places, -1)
    return np.asarray(np.sort(flat, axis=2)[:, :, -k:].mean(axis=2))


def _likelier(seen: Shown, alike: Doubles) -> Named:
    """The view of the highest likeness; the score is the good view's likeness less the best other's."""
    return Named(seen, alike[:, 0] - alike[:, 1:].max(axis=1), np.asarray(alike.argmax(axis=1)))


# --- the report ---------------------------------------------------------------------------------------------


def _rows(name: str, rounds: list[Named]) -> tuple[Measured, Measured]:
    """Area, and patients all of whose pictures were named rightly."""
    good = np.concatenate([named.seen.good for named in rounds])
    score = np.concatenate([named.score for named in rounds])
    names = np.concatenate([named.seen.patients for named in rounds])
    right = np.concatenate([named.view == named.seen.views for named in rounds])
    area = auroc(score[good], names[good], score[~good], names[~good])
    patients, index = np.unique(names, return_inverse=True)
    n, k = len(patients), int((np.bincount(index, ~right) == 0).sum())
    return (
        Measured(name, "AUC", area[0], n, area[1], area[2], None),
        Measured(name, "patients right in every view", k / n, n, *clopper_pearson(k, n), None),
    )
