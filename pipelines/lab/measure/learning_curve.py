"""What more films would give: a curve through what was measured, and how little it says beyond the points."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.lab.measure.areas import DRAWS, SEED
from pipelines.lab.measure.classifier_scores import Doubles

NIH_FILMS = 78_000  # what networks on ChestX-ray14 are trained with
POWERS = np.geomspace(0.05, 2.0, 80)  # c
LEAST_ERROR = 0.005  # of an AUC whose error nobody knows: less than any seed moves it


@dataclass(frozen=True, slots=True)
class Learned:
    """What was measured after training on so many films."""

    films: int
    auc: float
    error: float = 0.0  # standard error; 0: unknown


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """AUC(n) = a - b n^-c through the points, and where it may go beyond them.

    `low` and `high` are the 95 % band of curves through points drawn again. `log_line` is the straight line
    over log n, which cannot level off: between the two lies what the points cannot tell.
    """

    points: tuple[Learned, ...]
    a: float
    b: float
    c: float
    films: tuple[int, ...]
    power: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    log_line: tuple[float, ...]

    def at(self, films: int) -> dict[str, Any]:
        """The extrapolation to one of `films`, with its honest width."""
        i = self.films.index(films)
        low, high = min(self.low[i], self.log_line[i]), max(self.high[i], self.log_line[i])
        return {
            "films": films,
            "auc": round(self.power[i], 4),
            "band": [round(self.low[i], 4), round(self.high[i], 4)],
            "by log": round(self.log_line[i], 4),
            "width": [round(low, 4), round(high, 4)],
        }


def learning_curve(
    points: Sequence[Learned], beyond: int = NIH_FILMS, draws: int = DRAWS, seed: int = SEED
) -> LearningCurve:
    """The fit and its band. Raises ValueError for fewer than three sizes."""
    sizes = sorted({point.films for point in points})
    if len(sizes) < 3:
        raise ValueError(f"a learning curve needs three sizes; there are {len(sizes)}")
    n = np.array([point.films for point in points], dtype=np.float64)
    y = np.array([point.auc for point in points])
    errors = np.array([max(point.error, LEAST_ERROR) for point in points])
    grid = np.unique(np.geomspace(sizes[0], beyond, 60).round().astype(int).tolist() + sizes + [beyond])
    a, b, c = (values[0] for values in _power_laws(n, y[None], errors))
    noise = np.random.default_rng(seed).standard_normal((draws, len(y))) * errors
    drawn = _power_laws(n, y + noise, errors)
    curves = drawn[0][:, None] - drawn[1][:, None] * grid[None] ** -drawn[2][:, None]
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    slope, offset = np.polyfit(np.log(n), y, 1, w=1 / errors)
    line = np.clip(offset + slope * np.log(grid), 0, 1)
    return LearningCurve(
        tuple(points),
        float(a),
        float(b),
        float(c),
        tuple(int(size) for size in grid),
        tuple(float(value) for value in a - b * grid**-c),
        tuple(map(float, low)),
        tuple(map(float, high)),
        tuple(map(float, line)),
    )


def read_learned(path: Path) -> list[Learned]:
    """Points from a CSV file `films,auc,error`; an empty error is unknown. Raises OSError or ValueError."""
    with path.open(newline="") as handle:
        lines = csv.DictReader(handle)
        if not {"films", "auc"} <= set(lines.fieldnames or ()):
            raise ValueError(f"{path} has no columns films and auc")
        return [
            Learned(int(line["films"]), float(line["auc"]), float(line.get("error") or 0)) for line in lines
        ]


def _power_laws(n: Doubles, y: Doubles, errors: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """a, b, c (R,) with least squares for each row of y (R, n), a at most 1 and b not negative."""
    w = 1 / errors**2
    w = w / w.sum()
    best = np.full(len(y), np.inf)
    a, b, c = np.zeros(len(y)), np.zeros(len(y)), np.zeros(len(y))
    for power in POWERS:
        x = n**-power
        mean_x, mean_y = w @ x, y @ w
        slope = np.maximum(((mean_y[:, None] - y) * w) @ (x - mean_x) / (w @ (x - mean_x) ** 2), 0)
        top = mean_y + slope * mean_x
        over = top > 1
        slope = np.where(over, np.maximum(((1 - y) * w) @ x / (w @ x**2), 0), slope)
        top = np.where(over, 1.0, top)
        loss = ((top[:, None] - slope[:, None] * x[None] - y) ** 2) @ w
        better = loss < best
        best = np.where(better, loss, best)
        a, b, c = np.where(better, top, a), np.where(better, slope, b), np.where(better, power, c)
    return a, b, c
