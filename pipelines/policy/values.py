"""The values of the policy: the words of its rules, and the rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.film import Act, Claim, Finding, Header, Reason, Sender, Verdict
from pipelines.policy.claims import claim

Mode = Literal["observe", "enforce", "alone"]  # alone: without a gateway, nothing is made, held or sent
Correct = Literal["propose", "auto"]

ANY, ALL, FLAG = "any", "all", "flag"
NOBODY = Sender()


@dataclass(frozen=True, slots=True)
class Term:
    """One word of a rule: BLANK (sure of it), BLANK? (suspects it), unsure, failed, bad or good."""

    verdict: Verdict
    reason: Reason | None = None

    def fits(self, finding: Finding) -> bool:
        return finding.verdict is self.verdict and self.reason in (None, finding.reason)

    def __str__(self) -> str:
        """As a rule writes it."""
        if self.reason is None:
            return str(self.verdict)
        return f"{self.reason}?" if self.verdict is Verdict.UNSURE else str(self.reason)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `act` is None for a flag. Each condition is a gate (or any, or all) and what it may say."""

    name: str
    when: tuple[tuple[str, tuple[Term, ...]], ...]
    act: Act | None
    why: str
    claims: tuple[Claim, ...] = ()
    reason: Reason | None = None

    def hits(self, header: Header, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        """The findings that make the rule fire; () when one of its conditions is not met."""
        hits: list[Finding] = []
        for gate, terms in self.when:
            asked = (f for f in findings if gate in (ANY, ALL, f.gate))
            fitting = [f for f in asked if any(term.fits(f) for term in terms)]
            if self.claims:
                fitting = [f for f in fitting if claim(header, f) in self.claims]
            if not fitting or (gate == ALL and len(fitting) < len(findings)):
                return ()
            hits += fitting
        return tuple(hits)
