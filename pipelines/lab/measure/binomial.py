"""Shares of patients with their exact interval (Clopper and Pearson 1934), and rates against a budget.

Every interval of a share, two-sided or one-sided, is made here, by SciPy.

"99.9 % at 95 %" means: were the true rate of errors 0.1 % or more, so few errors would be seen in at most
5 % of such samples. 0 errors take 2,995 patients for it, 1 error 4,742.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom, binomtest  # type: ignore[import-untyped]

from pipelines.lab.measure.budget import percent

CONFIDENCE = 0.95
MOST_NEEDED = 100_000_000  # patients; beyond it nobody asks


@cache
def clopper_pearson(good: int, n: int, level: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval for a share of `good` in `n`; everything is possible where `n` is 0."""
    if not n:
        return 0.0, 1.0
    interval = binomtest(good, n).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


@cache
def upper(errors: int, n: int, confidence: float = CONFIDENCE) -> float:
    """The exact one-sided upper bound of a rate after `errors` in `n`."""
    if not n:
        return 1.0
    return float(binomtest(errors, n, alternative="less").proportion_ci(confidence, method="exact").high)


def lowers(
    good: NDArray[np.float64], bad: NDArray[np.float64], confidence: float = CONFIDENCE
) -> NDArray[np.float64]:
    """The exact one-sided lower bounds of many shares (m,) at once: of `good` in `good` and `bad`."""
    return np.asarray(beta.ppf(1 - confidence, np.maximum(good, 1e-9), bad + 1))


def needed(budget: float, errors: int = 0, confidence: float = CONFIDENCE) -> int:
    """The fewest patients for which so many errors bound the rate by `budget`, 0 < budget < 1."""
    enough, too_few = MOST_NEEDED, errors
    while enough - too_few > 1:
        n = (enough + too_few) // 2
        if binom.cdf(errors, n, budget) <= 1 - confidence:
            enough = n
        else:
            too_few = n
    return enough


def allowed(n: int, budget: float, confidence: float = CONFIDENCE, proven: bool = True) -> int:
    """How many of `n` patients may be errors.

    The most for which the exact bound keeps the budget; where n is too small for that even without an
    error, or nothing need be `proven`, the most whose observed share does.
    """
    if not proven or upper(0, n, confidence) > budget:
        return math.floor(budget * n)
    errors = 0
    while upper(errors + 1, n, confidence) <= budget:
        errors += 1
    return errors


@dataclass(frozen=True, slots=True)
class Rate:
    """Errors in patients, against a budget."""

    errors: int
    patients: int
    budget: float
    confidence: float = CONFIDENCE

    @property
    def observed(self) -> float:
        """The share of patients that were errors; nan without patients."""
        return self.errors / self.patients if self.patients else math.nan

    @property
    def bound(self) -> float:
        """The exact upper bound of that share; 1 without patients."""
        return upper(self.errors, self.patients, self.confidence)

    @property
    def proven(self) -> bool:
        """Whether the bound keeps the budget."""
        return self.bound <= self.budget

    @property
    def missing(self) -> int:
        """How many more patients without an error the bound would need; 0 when proven."""
        return 0 if self.proven else needed(self.budget, self.errors, self.confidence) - self.patients

    def text(self) -> str:
        """The rate in words, with what it still needs."""
        observed = f"{self.errors} of {self.patients:,} patients, at most {percent(self.bound)}"
        if self.proven:
            return f"{observed}: within {percent(self.budget)}"
        needs = self.patients + self.missing
        errors = "no error" if not self.errors else f"{self.errors} errors" if self.errors > 1 else "1 error"
        has = f"{needs:,} patients with {errors}, has {self.patients:,}"
        return f"{observed}; {percent(self.budget)} needs {has}"

    def evidence(self) -> dict[str, Any]:
        """What the card keeps."""
        return {
            "errors": self.errors,
            "patients": self.patients,
            "bound": round(self.bound, 7),
            "budget": self.budget,
            "confidence": self.confidence,
            "proven": self.proven,
            "patients missing": self.missing,
        }
