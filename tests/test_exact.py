"""The exact interval without SciPy is SciPy's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, fisher_exact

from pipelines.lab.measure import binomial
from pipelines.watching import exact

LARGE = [(0, 100_000), (1, 99_999), (7, 5_000), (4_999, 5_000), (50_000, 100_000), (2_500, 1_000_000)]


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=100, deadline=None)
def test_it_is_the_laboratorys(drawn: tuple[int, int]) -> None:
    count, n = drawn
    assert exact.clopper_pearson(count, n) == pytest.approx(binomial.clopper_pearson(count, n), abs=1e-9)


@pytest.mark.parametrize(("count", "n"), LARGE)
def test_it_holds_for_many_films(count: int, n: int) -> None:
    assert exact.clopper_pearson(count, n) == pytest.approx(
        binomial.clopper_pearson(count, n), rel=1e-6, abs=1e-9
    )


@pytest.mark.parametrize("p", [1e-9, 0.001, 0.3, 0.999999])
@pytest.mark.parametrize(("count", "n"), [(0, 1), (3, 10), (900, 1_000), (1_000, 1_000), (30, 50_000)])
def test_a_tail_is_scipys(count: int, n: int, p: float) -> None:
    assert exact.at_most(count, n, p) == pytest.approx(float(binom.cdf(count, n, p)), rel=1e-7, abs=1e-12)


def test_without_films_everything_is_possible() -> None:
    assert exact.clopper_pearson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 of 2"):
        exact.clopper_pearson(3, 2)


@pytest.mark.parametrize(
    "counts",
    [(14, 800, 2, 3_373), (0, 10, 0, 10), (10, 10, 0, 10), (3, 50, 400, 900), (50, 50, 9, 9), (5, 7, 0, 2)],
)
def test_as_many_by_chance_is_fishers(counts: tuple[int, int, int, int]) -> None:
    count, n, other, other_n = counts
    table = [[count, n - count], [other, other_n - other]]
    scipys = fisher_exact(table, alternative="greater").pvalue
    assert exact.as_many_by_chance(*counts) == pytest.approx(float(scipys), rel=1e-7, abs=1e-12)
