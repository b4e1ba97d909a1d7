"""What puts a film right: the operations that its findings call for."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.film import Box, Finding, Operations, Reason, Verdict
from pipelines.policy.values import Correct

TURN_BACK = {Reason.ROTATED_90: 270, Reason.ROTATED_180: 180, Reason.ROTATED_270: 90}
CORRECTABLE = frozenset({*TURN_BACK, Reason.INVERTED, Reason.BORDER, Reason.POLARITY_AMBIGUOUS})
# These are asked again of the copy, which is gated in full.
ASKED_AGAIN = frozenset({Reason.LUNGS_NOT_FOUND, Reason.LUNGS_CUT_OFF, Reason.LUNG_BY_SYMMETRY})


def corrections(findings: Iterable[Finding]) -> Operations | None:
    """The operations that put a film right; None when the findings hold anything else, or contradict."""
    turns, boxes, invert, relabel = set[int](), set[Box | None](), False, False
    for finding in findings:
        if finding.reason in ASKED_AGAIN:
            continue
        if finding.verdict is not Verdict.BAD or finding.reason not in CORRECTABLE:
            return None
        if finding.reason in TURN_BACK:
            turns.add(TURN_BACK[finding.reason])
        elif finding.reason is Reason.BORDER:
            boxes.add(finding.box)
        elif finding.reason is Reason.POLARITY_AMBIGUOUS:
            relabel = True
        else:
            invert = True
    if len(turns) > 1 or len(boxes) > 1 or None in boxes:
        return None
    return Operations(next(iter(boxes), None), next(iter(turns), 0), invert, relabel) or None


def sent_at_once(operations: Operations, correct: Correct) -> bool:
    """Whether a copy that passes the gates needs no person: `auto`, or its pixels are the film's own."""
    return correct == "auto" or not operations.changes_pixels
