"""How near the gates were to saying something else of a film: one number, to sort by."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from pipelines.film import Finding, Verdict


def uncertainty(findings: Iterable[Finding]) -> float:
    """In [0, 1], of the gate that was least sure: 1 in the middle of its two thresholds, 0.5 at one of them.

    Beyond a threshold it falls to 0 at the end of the scale, so what is decided is in order, too. A gate that
    failed, or whose score is no number, is 1; one without thresholds says nothing.
    """
    return max((_of(finding) for finding in findings), default=0.0)


def _of(finding: Finding) -> float:
    if finding.verdict is Verdict.FAILED:
        return 1.0
    low, high = finding.low, finding.high
    if not 0.0 <= low <= high <= 1.0 or high == 0.0:
        return 0.0
    if not isfinite(finding.score):
        return 1.0
    score = min(max(finding.score, 0.0), 1.0)
    if score < low:
        return 0.5 * score / low
    if score > high:
        return 0.5 * (1.0 - score) / (1.0 - high)
    half = (high - low) / 2
    return 1.0 - 0.5 * abs(score - (low + high) / 2) / half if half else 1.0
