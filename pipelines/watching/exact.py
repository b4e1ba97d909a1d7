"""The exact interval of a share (Clopper and Pearson 1934), without SciPy: for pages of the console.

The laboratory's is `pipelines.lab.measure.binomial`, by SciPy; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable

CONFIDENCE = 0.95
_HALVINGS = 60  # of [0, 1]: below the spacing of doubles
_NEGLIGIBLE = 1e-18  # of a sum


def clopper_pearson(count: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact two-sided interval for a share of `count` in `n`; everything is possible where `n` is 0.

    Raises ValueError: there cannot be so many.
    """
    if not 0 <= count <= n:
        raise ValueError(f"{count} of {n}")
    tail = (1 - confidence) / 2
    low = _where(lambda p: 1 - at_most(count - 1, n, p) >= tail) if count else 0.0
    high = _where(lambda p: at_most(count, n, p) <= tail) if count < n else 1.0
    return low, high


def at_most(count: int, n: int, p: float) -> float:
    """The probability of at most `count` in `n`, each with probability `p`."""
    if count < 0 or p >= 1:
        return float(count >= n)
    if count >= n or p <= 0:
        return 1.0
    start = min(count, math.floor((n + 1) * p))  # the largest term: from there on they shrink
    log_term = _log_ways(start, n) + start * math.log(p) + (n - start) * math.log1p(-p)
    odds = p / (1 - p)
    total = term = math.exp(log_term)
    for i in range(start, 0, -1):
        term *= i / ((n - i + 1) * odds)
        total += term
        if term < _NEGLIGIBLE * total:
            break
    term = math.exp(log_term)
    for i in range(start, count):
        term *= (n - i) * odds / (i + 1)
        total += term
        if term < _NEGLIGIBLE * total:
            break
    return min(total, 1.0)


def _log_ways(count: int, n: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(count + 1) - math.lgamma(n - count + 1)


def _where(holds: Callable[[float], bool]) -> float:
    """The least p in [0, 1] for which it holds, as it does for all above."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return (low + high) / 2


def as_many_by_chance(count: int, n: int, other_count: int, other_n: int) -> float:
    """The chance of `count` or more in `n`, were both samples of one kind: Fisher's exact test, one-sided.

    Given how many there are in both together, their number in the first is hypergeometric.
    """
    together, total = count + other_count, n + other_n
    most = min(together, n)
    whole = _log_ways(together, total)
    terms = (
        math.exp(_log_ways(i, n) + _log_ways(together - i, other_n) - whole)
        for i in range(count, most + 1)
        if together - i <= other_n
    )
    return min(math.fsum(terms), 1.0)
