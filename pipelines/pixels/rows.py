"""All rows of a film at some of their columns: what is looked at for damage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.film import Box

Values = NDArray[Any]  # (rows, columns), stored values, an integer type
Floats = NDArray[np.float32]

PARTS = 8  # of a row ...
SAMPLES = 32  # ... and columns looked at in each ...
FEWER_SAMPLES, MANY_ROWS = 16, 1280  # ... where there are many rows, for time
GREYS = 16  # ... and so many are different: what is drawn has few


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows at some of their columns."""

    values: Floats  # (rows, PARTS * n)
    change: Floats  # (rows - 1, PARTS) mean change to the next row
    span: float  # the central 98 % of the values

    @classmethod
    def of(cls, stored: Values) -> Rows:
        """SAMPLES columns in each of the PARTS, fewer where there are none."""
        columns = stored.shape[1]
        samples = SAMPLES if len(stored) < MANY_ROWS else FEWER_SAMPLES
        count = PARTS * min(samples, columns // PARTS)
        values = np.ascontiguousarray(stored[:, :: columns // count][:, :count], dtype=np.float32)
        change = np.diff(values, axis=0)
        change = means(np.abs(change, out=change).reshape(len(values) - 1, PARTS, -1))
        some = values[:: max(1, len(values) // 64)].flatten()
        low, high = round(0.01 * (len(some) - 1)), round(0.99 * (len(some) - 1))
        some.partition((low, high))
        return cls(values, change, float(some[high] - some[low]))


def means(values: Floats) -> Floats:
    """Along the last axis. A product with ones is ten times as fast as a mean over few values, and as exact:
    so few whole numbers of 16 bits add up without rounding."""
    sums: Floats = values.reshape(-1, values.shape[-1]) @ np.ones(values.shape[-1], np.float32)
    return sums.reshape(values.shape[:-1]) / np.float32(values.shape[-1])


def band(first: int, last: int, rows: int) -> Box:
    """Rows `first` to before `last`."""
    return Box(0.0, first / rows, 1.0, last / rows)
