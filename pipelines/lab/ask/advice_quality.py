"""How good the gates' advice beside their verdicts is: tilt in degrees, AP or PA, child or adult.

Nothing is held for these, so they have no bar but one: children told from adults where the children are not
of the site that has all the others. Measured on what each round left out, from the cached films.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models import bundle
from pipelines.film import Film, Header
from pipelines.lab.ask import gate_ask, shortcut_probes
from pipelines.lab.ask.shortcut_probes import Measured
from pipelines.lab.films import augment
from pipelines.lab.films.augment import Dice
from pipelines.lab.films.data import ROUNDS, Films, left_out
from pipelines.lab.train.recipes.anatomy import UNKNOWN, side_targets

TILT_DEG = 12.0  # the largest tilt that is tried
LEAST = 5  # patients of either kind that a figure takes


def tilt_rows(runs: Path, known: Films) -> Iterator[Measured]:
    """Error of the told tilt against a tilt that was applied, degrees; on each round's unseen frontal films.

    A film's own tilt counts as error here: nobody has measured it.
    """
    for round_, films in _rounds(runs, known):
        dice = Dice(len(films), torch.Generator().manual_seed(0))
        applied = dice.between(-TILT_DEG, TILT_DEG)
        x = torch.from_numpy(films.greys).float() / 255
        pose = augment.placement(dice, torch.full((len(films),), 1.25), tilt=applied)  # no corner shows
        x = augment.placed(x, pose, torch.zeros(len(films)), x.shape[-1])
        off = np.abs(_facts("rotation", runs / round_, x.numpy(), "tilt_deg")[:, 0] - applied.numpy())
        for name, share in (("median", 0.5), ("nine tenths below", 0.9)):
            value = float(np.quantile(off, share))
            yield Measured(
                f"tilt, without {round_}", f"error in degrees, {name}", value, len(films), value, value, None
            )


def view_rows(runs: Path, known: Films) -> Iterator[Measured]:
    """AUC of AP against PA, and of child against adult, by round; a patient's films count as one."""
    for round_, films in _rounds(runs, known):
        advice = _facts(
            "anatomy", runs / round_, films.greys.astype(np.float32) / np.float32(255), "ap", "child"
        )
        truth = np.array([side_targets(row) for row in films.rows])
        for side, name in enumerate(("AP against PA", "child against adult")):
            yield from _area(f"{name}, without {round_}", advice[:, side], truth[:, side], films)


def _facts(gate: str, folder: Path, greys: NDArray[np.float32], *names: str) -> NDArray[np.float64]:
    """What the gate of a round notes beside its verdict on films (N, S, S) that it is made to call good."""
    ask = gate_ask.gate_of(gate, folder, gate_ask.ALL_GOOD)
    noted = [dict(ask(Film(Header(), film))[0].facts) for film in greys]
    return np.array([[facts[name] for name in names] for facts in noted], dtype=np.float64)


def _area(
    name: str, shares: NDArray[np.float64], truth: NDArray[np.float64], films: Films
) -> Iterator[Measured]:
    patients = np.array([row.group for row in films.rows])
    yes, no = truth == 1, truth == 0
    if min(len(set(patients[yes])), len(set(patients[no]))) < LEAST:
        return
    area, low, high = shortcut_probes.auroc(shares[yes], patients[yes], shares[no], patients[no])
    yield Measured(name, "AUC", area, int((truth != UNKNOWN).sum()), low, high, None)


def _rounds(runs: Path, known: Films) -> Iterator[tuple[str, Films]]:
    """Each round that was trained, with a frontal film of every patient that it never saw."""
    for round_ in ROUNDS:
        folder = runs / round_
        if all((folder / need / bundle.METADATA).exists() for need in gate_ask.NEEDS["anatomy"]):
            unseen = known.where(left_out(known.rows, round_))
            frontal = unseen.where(np.array([row.view == "frontal" for row in unseen.rows]))
            yield round_, shortcut_probes.some_patients(frontal, shortcut_probes.PATIENTS)
