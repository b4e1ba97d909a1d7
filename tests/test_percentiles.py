"""Percentiles near the ends, beside NumPy's own."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.pixels.percentiles import FEW, outer_percentiles

MANY = 8 * FEW
RNG = np.random.default_rng(0)
VALUES = {
    "noise": RNG.normal(2000, 300, MANY),
    "few values": RNG.normal(2000, 300, FEW // 4),
    "a single value": np.array([7.0]),
    "one value everywhere": np.full(MANY, 4095.0),
    "nearly all of one value": np.where(RNG.random(MANY) < 0.995, 0, RNG.random(MANY)),
    "in order": np.linspace(-3, 12, MANY),
    "stripes that the sample misses": np.tile([0.0, *range(7)], MANY // 8),
    "a part far outside": np.where(np.arange(MANY) < MANY // 30, -1e9, RNG.random(MANY)),
    "an infinite one": np.where(np.arange(MANY) == 5, np.inf, RNG.random(MANY)),
    "one that is no number": np.where(np.arange(MANY) == 5, np.nan, RNG.random(MANY)),
}


@pytest.mark.parametrize("ends", [(0.5, 99.5), (1.0, 99.0), (0.0, 99.9)])
@pytest.mark.parametrize("name", VALUES)
def test_to_the_last_bit_as_numpy(name, ends):
    """Also where a sample of the values says nothing of where the ends lie."""
    values = VALUES[name].astype(np.float32)
    kept = values.copy()
    assert outer_percentiles(values, *ends) == pytest.approx(
        tuple(np.percentile(values, ends)), rel=0, abs=0, nan_ok=True
    )
    assert np.array_equal(values, kept, equal_nan=True)


def test_a_picture_of_two_dimensions():
    picture = VALUES["noise"].astype(np.float32).reshape(256, -1)
    assert outer_percentiles(picture, 1, 99) == tuple(np.percentile(picture, (1, 99)))
