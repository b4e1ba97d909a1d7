"""What slips through the gates, by the blind check: the one estimate that does not ask the gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.ledger.labelling.blind import Sampled
from pipelines.watching.exact import CONFIDENCE, clopper_pearson


@dataclass(frozen=True, slots=True)
class Slips:
    """Bad films among those that passed.

    `low` and `high` bound the share, `films_low` and `films_high` the number, at 95 % confidence. Where the
    sampling share was changed, films of each share are a sample of their own, weighed by how many passed
    then; each has an interval of 1 - 0.05 / shares, so that all hold at once (Bonferroni).
    """

    passed: int
    drawn: int
    answered: int
    bad: int
    share: float | None  # estimate; None where nobody answered yet
    low: float
    high: float

    @property
    def films(self) -> float | None:
        """The estimated number of bad films that passed."""
        return None if self.share is None else self.share * self.passed

    @property
    def films_low(self) -> float:
        return max(self.low * self.passed, float(self.bad))

    @property
    def films_high(self) -> float:
        return self.high * self.passed


def slips(samples: Sequence[Sampled]) -> Slips:
    """The estimate for all these samples together."""
    asked = [one for one in samples if one.passed]
    passed = sum(one.passed for one in asked)
    confidence = 1 - (1 - CONFIDENCE) / max(len(asked), 1)
    bounds = [clopper_pearson(one.bad, one.answered, confidence) for one in asked]
    low, high = (_mean([bound[side] for bound in bounds], asked, passed) for side in (0, 1))
    known = bool(asked) and all(one.answered for one in asked)
    share = _mean([one.bad / one.answered for one in asked], asked, passed) if known else None
    return Slips(
        passed=passed,
        drawn=sum(one.drawn for one in asked),
        answered=sum(one.answered for one in asked),
        bad=sum(one.bad for one in asked),
        share=share,
        low=low if asked else 0.0,
        high=high if asked else 1.0,
    )


def _mean(values: Sequence[float], samples: Sequence[Sampled], passed: int) -> float:
    """Weighed by how many films passed."""
    return sum(value * one.passed for value, one in zip(values, samples, strict=True)) / max(passed, 1)
