"""What slips through: one share of films is one sample; several are weighed by how many passed."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from gateway.ledger.labelling.blind import Sampled
from gateway.ledger.labelling.slips import slips
from pipelines.watching.exact import clopper_pearson


def test_one_sample_is_clopper_and_pearsons() -> None:
    seen = slips([Sampled(None, 10_000, passed=4_000, drawn=41, answered=40, bad=1)])
    assert (seen.share, seen.films) == (0.025, 100.0)
    assert (seen.low, seen.high) == clopper_pearson(1, 40)
    assert (seen.films_low, seen.films_high) == pytest.approx((4_000 * seen.low, 4_000 * seen.high))
    assert seen.films_low >= 1  # the one that was found


def test_films_drawn_by_another_share_are_another_sample() -> None:
    """A tenth of few films and a hundredth of many: the many count for more."""
    few = Sampled(None, 100_000, passed=100, drawn=10, answered=10, bad=5)
    many = Sampled(None, 10_000, passed=900, drawn=9, answered=9, bad=0)
    seen = slips([few, many])
    assert seen.share == pytest.approx(0.05)
    assert seen.high == pytest.approx(
        0.1 * clopper_pearson(5, 10, 0.975)[1] + 0.9 * clopper_pearson(0, 9, 0.975)[1]
    )


def test_where_nobody_answered_nothing_is_known() -> None:
    seen = slips([Sampled(None, 10_000, passed=500, drawn=5, answered=0, bad=0)])
    assert (seen.share, seen.low, seen.high) == (None, 0.0, 1.0)
    assert slips([]).share is None


def test_the_interval_covers_the_truth() -> None:
    """Every outcome of 60 films of which 4 % are bad, weighed by its probability: at least 95 %."""
    covered = 0.0
    for bad in range(61):
        seen = slips([Sampled(None, 10_000, passed=6_000, drawn=60, answered=60, bad=bad)])
        covered += float(binom.pmf(bad, 60, 0.04)) if seen.low <= 0.04 <= seen.high else 0.0
    assert covered >= 0.95
