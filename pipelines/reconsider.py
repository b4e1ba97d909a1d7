"""DECIDE AGAIN: what other rules would have said of a film, from what was kept of its examination.

No pixel is looked at: the findings stand in the ledger, and `Grounds` hold what else the decision rested on.
It is decided by `examine.conclude`, `examine.unreadable` and `examine.held_for_other_pixels`, by which the
worker decides, so that the rules by which a film was decided say the same of it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from pipelines.examine import NotCorrected, Rules, conclude, held_for_other_pixels, unreadable
from pipelines.film import Act, Decision, Finding, Operations, Reason
from pipelines.grounds import Examined, Fault


@dataclass(frozen=True, slots=True)
class Reconsidered:
    """What rules say of a film. With `copy_unseen` they would make a copy that nobody has gated yet."""

    decision: Decision
    copy_unseen: bool = False


class _Unseen(Exception):
    """Raised where the rules ask for a copy that was never made."""


def reconsider(examined: Examined, rules: Rules) -> Reconsidered:
    """What `rules` say of a film as it was examined then: on that day, in that mode, with those findings."""
    grounds = examined.grounds
    then = replace(
        rules, today=date.fromisoformat(grounds.day), mode=grounds.mode, region_gates=grounds.region_gates
    )
    unseen = False
    try:
        decision = _decision(examined, then)
    except _Unseen:
        unseen = True
        assert grounds.header is not None
        decision = then.decide(grounds.header, examined.findings, grounds.sender)
    if grounds.other_pixels:
        decision = held_for_other_pixels(decision, compared=grounds.other_pixels == "compared")
    return Reconsidered(decision, unseen and decision.act is Act.CORRECT)


def _decision(examined: Examined, rules: Rules) -> Decision:
    grounds = examined.grounds
    if grounds.fault is not None or grounds.header is None:
        fault = grounds.fault or Fault(Reason.UNREADABLE)
        of_it = unreadable(grounds.header, fault.reason, fault.detail, rules, sender=grounds.sender)
        return of_it.decision

    def look_again(operations: Operations) -> tuple[Finding, ...]:
        if operations != grounds.operations:
            raise _Unseen
        if not examined.copy_findings:
            raise NotCorrected("the copy could not be made")
        return examined.copy_findings

    again = look_again if rules.mode == "enforce" else None
    return conclude(grounds.header, examined.findings, rules, grounds.sender, again)
