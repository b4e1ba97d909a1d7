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
from models.parts import AP, CHILD
from pipelines.gates import anatomy
from pipelines.gates.eyes import Eyes
from pipelines.lab.ask import shortcut_probes
from pipelines.lab.ask.shortcut_probes import Row
from pipelines.lab.films import augment
from pipelines.lab.films.augment import Dice
from pipelines.lab.films.data import ROUNDS, Films, left_out
from pipelines.lab.train.recipes.anatomy import UNKNOWN, side_targets

TILT_DEG = 12.0  # the largest tilt that is tried
LEAST = 5  # patients of either kind that a figure takes


def tilt_rows(runs: Path, known: Films) -> Iterator[Row]:
    """Error of the told tilt against a tilt that was applied, degrees; on each round's unseen frontal films.

    A film's own tilt counts as error here: nobody has measured it.
    """
    for round_, films, eyes in _rounds(runs, known):
        dice = Dice(len(films), torch.Generator().manual_seed(0))
        applied = dice.between(-TILT_DEG, TILT_DEG)
        x = torch.from_numpy(films.greys).float() / 255
        pose = augment.placement(dice, torch.full((len(films),), 1.25), tilt=applied)  # no corner shows
        x = augment.placed(x, pose, torch.zeros(len(films)), x.shape[-1])
        told = [eyes.pose(film.numpy()).tilt_deg for film in x]
        off = np.abs(np.array(told) - applied.numpy())
        for name, share in (("median", 0.5), ("nine tenths below", 0.9)):
            value = float(np.quantile(off, share))
            yield Row(
                f"tilt, without {round_}", f"error in degrees, {name}", value, len(films), value, value, None
            )


def view_rows(runs: Path, known: Films) -> Iterator[Row]:
    """AUC of AP against PA, and of child against adult, by round; a patient's films count as one."""
    for round_, films, eyes in _rounds(runs, known):
        net = bundle.load(runs / round_ / "anatomy").net
        told = np.array(
            [anatomy.looked(net, eyes.pose(film.astype(np.float32) / 255)) for film in films.greys]
        )
        truth = np.array([side_targets(row) for row in films.rows])
        for name, column, side in (("AP against PA", AP, 0), ("child against adult", CHILD, 1)):
            yield from _area(f"{name}, without {round_}", told[:, column], truth[:, side], films)


def _area(name: str, odds: NDArray[np.float64], truth: NDArray[np.float64], films: Films) -> Iterator[Row]:
    patients = np.array([row.group for row in films.rows])
    yes, no = truth == 1, truth == 0
    if min(len(set(patients[yes])), len(set(patients[no]))) < LEAST:
        return
    area, low, high = shortcut_probes.auroc(odds[yes], patients[yes], odds[no], patients[no])
    yield Row(name, "AUC", area, int((truth != UNKNOWN).sum()), low, high, None)


def _rounds(runs: Path, known: Films) -> Iterator[tuple[str, Films, Eyes]]:
    """Each round with a frontal film of every patient that it never saw, and eyes with its pose networks."""
    for round_ in ROUNDS:
        folder = runs / round_
        if all((folder / need / bundle.METADATA).exists() for need in ("rotation", "inversion", "anatomy")):
            unseen = known.where(left_out(known.rows, round_))
            frontal = unseen.where(np.array([row.view == "frontal" for row in unseen.rows]))
            nets = [bundle.load(folder / need).net for need in ("rotation", "inversion")]
            yield round_, shortcut_probes.some_patients(frontal, shortcut_probes.PATIENTS), Eyes(*nets)
