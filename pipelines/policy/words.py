"""The decision in words for people: why it was made, and what each rule saw."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipelines.film import REASON_TEXT, Act, Finding, Header, Reason, Verdict
from pipelines.policy.claims import claim
from pipelines.policy.values import ALL, ANY, Mode, Rule
from pipelines.words.kinds import OTHER_PART_MODALITIES


def copy_in_words(mode: Mode, *, at_once: bool) -> str:
    """What becomes of the corrected copy; none is made unless the rules are enforced."""
    becomes = "is gated again" if at_once else "waits for a person to accept it"
    if mode == "enforce":
        return f"The corrected copy {becomes}"
    return f"No copy was made; a gateway that enforces its policy makes one, which {becomes}"


def trace_row(rule: str, fired: bool, because: str) -> dict[str, Any]:
    """One row of a decision's trace."""
    return {"rule": rule, "fired": fired, "because": because}


def rule_saw(rule: Rule, header: Header, hits: tuple[Finding, ...], left: tuple[Finding, ...]) -> str:
    """What the rule saw: the findings that fired it, or what the gates it asks have said instead."""
    claims = {str(claim(header, f)) for f in hits or left if f.gate == "anatomy"} if rule.claims else set()
    header_says = "".join(f"; the header {c}" for c in sorted(claims))
    if hits and rule.act is not Act.PASS:
        return described(hits) + header_says
    asked = {gate for gate, _ in rule.when}
    spoken = left if asked & {ANY, ALL} else tuple(f for f in left if f.gate in asked)
    return (described(not_good(spoken)) or "all good") + header_says


def described(findings: Iterable[Finding]) -> str:
    """Each finding with its score and the thresholds between which it would not be sure."""
    return "; ".join(f"{_verdict(f)} {f.score:.4g} (thresholds {f.low:g}, {f.high:g})" for f in findings)


def _verdict(finding: Finding) -> str:
    return f"{finding.gate} {finding.verdict}" + (f" {finding.reason}" if finding.reason else "")


def findings_in_words(reasons: Iterable[Reason], findings: Iterable[Finding]) -> str:
    """Each reason in plain words, with what the gates say of it in detail."""
    details = {
        reason: "; ".join(f.detail for f in findings if f.reason is reason and f.detail) for reason in reasons
    }
    return "Found: " + "; ".join(REASON_TEXT[r] + (f" ({details[r]})" if details[r] else "") for r in details)


def claims_in_words(header: Header) -> str:
    """The part and the view that the header names."""
    part = {"other": "another part"}.get(header.part, header.part)
    if header.modality in OTHER_PART_MODALITIES:
        part = f"modality {header.modality}, a breast or teeth"
    view = {"other": "another view"}.get(header.view, header.view)
    return f"The header says: {', '.join(filter(None, (part, view))) or 'neither part nor view'}"


def not_good(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that speak against a film."""
    return tuple(finding for finding in findings if finding.verdict is not Verdict.GOOD)


def reasons_of(findings: Iterable[Finding]) -> tuple[Reason, ...]:
    """The reason of each finding, once; one without a reason is a gate that failed."""
    return unique(f.reason or Reason.GATE_FAILED for f in findings)


def unique(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """The reasons in their order, each once."""
    return tuple(dict.fromkeys(reasons))
