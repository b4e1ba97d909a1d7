"""Exact intervals and the budgets that stand on them, against what is known without SciPy's tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta, binom  # type: ignore[import-untyped]

from pipelines.lab.measure import binomial
from pipelines.lab.measure.binomial import Rate, allowed, clopper_pearson, lowers, needed, upper


@pytest.mark.parametrize(("good", "n"), [(0, 7), (1, 7), (6, 7), (7, 7), (30, 3000), (2999, 3000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_is_the_one_of_the_beta_quantiles(good: int, n: int, level: float) -> None:
    """Clopper and Pearson in closed form; at the ends of the scale one side is open."""
    tail = (1 - level) / 2
    low = beta.ppf(tail, good, n - good + 1) if good else 0.0
    high = beta.ppf(1 - tail, good + 1, n - good) if good < n else 1.0
    assert clopper_pearson(good, n, level) == pytest.approx((low, high), abs=1e-10)


def test_of_nobody_everything_is_possible() -> None:
    """An empty site has the whole scale as its interval, and no share."""
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert upper(0, 0) == 1.0
    assert math.isnan(Rate(0, 0, 0.01).observed)
    assert not Rate(0, 0, 0.01).proven


def test_the_one_sided_bound_is_the_upper_end_of_a_ninety_percent_interval() -> None:
    """And more errors, or fewer patients, never bound a rate lower."""
    for errors, n in ((0, 50), (3, 50), (49, 50), (50, 50)):
        assert upper(errors, n) == pytest.approx(clopper_pearson(errors, n, 0.9)[1])
    bounds = [upper(errors, 200) for errors in range(0, 200, 7)]
    assert bounds == sorted(bounds)
    assert upper(2, 100) > upper(2, 200)


def test_many_lower_bounds_at_once_are_those_one_by_one() -> None:
    """A lower bound for the good ones is an upper bound for the others."""
    good, bad = np.array([0.0, 1, 5, 40]), np.array([3.0, 1, 0, 10])
    expected = [1 - upper(int(b), int(g + b)) for g, b in zip(good, bad, strict=True)]
    assert lowers(good, bad) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("errors", [0, 1, 4])
def test_so_many_patients_are_needed_and_not_one_fewer(errors: int) -> None:
    """One patient fewer would leave more than 5 % of such samples with so few errors."""
    n = needed(0.01, errors)
    assert binom.cdf(errors, n, 0.01) <= 0.05 < binom.cdf(errors, n - 1, 0.01)
    assert upper(errors, n) <= 0.01 < upper(errors, n - 1)


@pytest.mark.parametrize("n", [100, 298, 299, 473, 1000, 5000])
def test_as_many_errors_are_allowed_as_keep_the_budget(n: int) -> None:
    """By the bound where it can be proven at all, else by the share."""
    errors = allowed(n, 0.01)
    if upper(0, n) <= 0.01:
        assert upper(errors, n) <= 0.01 < upper(errors + 1, n)
    else:
        assert errors == n // 100
    assert allowed(n, 0.01, proven=False) == n // 100 >= errors


def test_a_rate_says_what_it_still_needs() -> None:
    """In words for people, in numbers for the card, and nothing more once it is proven."""
    open_, proven = Rate(0, 60, 0.0003), Rate(1, 20_000, 0.0003)
    assert open_.text().endswith("0.03 % needs 9,985 patients with no error, has 60")
    assert Rate(1, 60, 0.0003).text().endswith("patients with 1 error, has 60")
    assert Rate(2, 60, 0.0003).text().endswith("patients with 2 errors, has 60")
    assert proven.text().endswith("within 0.03 %")
    assert (open_.missing, proven.missing) == (9985 - 60, 0)
    evidence = proven.evidence()
    assert (evidence["proven"], evidence["patients missing"], evidence["errors"]) == (True, 0, 1)
    assert evidence["confidence"] == binomial.CONFIDENCE
