"""Findings + header -> Decision: the first rule that fits decides.

What the rules cannot change: a film passes only when every finding is good or flagged by name and every
required gate has spoken; what no rule explains is quarantined.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from pipelines.film import Act, Decision, Finding, Header, Operations, Reason, Sender, Verdict
from pipelines.policy import regions
from pipelines.policy.acceptance import Acceptance, accepts
from pipelines.policy.correction import CORRECTABLE, corrections, sent_at_once
from pipelines.policy.loading import Policy
from pipelines.policy.regions import CHEST
from pipelines.policy.rulings import as_ruled, with_words
from pipelines.policy.values import NOBODY, Correct, Mode, Rule
from pipelines.policy.words import (
    claims_in_words,
    copy_in_words,
    described,
    findings_in_words,
    not_good,
    reasons_of,
    rule_saw,
    trace_row,
    unique,
)
from pipelines.words import facts
from pipelines.words.kinds import header_findings

UNEXPLAINED = "no rule explains this"  # the built-in last rule
REGION = "region"  # the built-in rule for films of other regions; their names follow
MEASURED = "measured, nothing held for it"  # the row of the trace that holds the facts
ACCEPTS = "destinations accept"  # the built-in rule after a pass


def decide(
    policy: Policy,
    header: Header,
    findings: Iterable[Finding],
    *,
    destinations: Mapping[str, Acceptance],
    today: date,
    mode: Mode = "enforce",
    correct: Correct = "propose",
    region_gates: Collection[str] = (),
    sender: Sender = NOBODY,
) -> Decision:
    """The decision for one film from its header and the findings of every gate.

    `mode` and `correct` change no act, only the words: what is delivered, held or made at once is for the
    shell. `destinations` are the AI destinations of routes.pass by name; with none, a good film just passes.
    `region_gates` name the gates for regions other than the chest: their findings are no part of the rules.
    `sender` is who sent the film, with what people said once for all of words in its headers.
    """
    findings = tuple(findings)
    sound = tuple(as_ruled(_sound(finding), sender) for finding in findings)
    others = tuple(finding for finding in sound if finding.gate not in region_gates)
    header = policy.reads(header)
    decision = _examined(policy, header, others)
    shown: tuple[str, ...] = (CHEST,)
    if decision.act is Act.WITHHOLD:
        wanted = {region for acceptance in destinations.values() for region in acceptance.regions} - {CHEST}
        regional = tuple(f for f in sound if f.gate in region_gates and f.gate in wanted)
        decision, shown = _of_another_region(decision, policy, header, others, regional)
    decision = with_words(_with_facts(decision, sound), findings, sender)
    if decision.act in (Act.PASS, Act.CORRECT):
        decision = _select_destinations(decision, header, destinations, today, shown)
    return _in_words(decision, mode, correct)


def decide_unreadable(
    policy: Policy,
    header: Header | None,
    reason: Reason,
    detail: str = "",
    *,
    gate: str = "decode",
    mode: Mode = "enforce",
    sender: Sender = NOBODY,
) -> Decision:
    """The decision for an object without pixels to gate; `header` is None when not even that could be read.

    What the header says comes first: a structured report has no pixels, and nobody need look at it.
    """
    fault = Finding(gate, Verdict.BAD, reason=reason, detail=detail)
    of_header = header_findings(header) if header else ()
    findings = (*(as_ruled(finding, sender) for finding in of_header), fault)
    decision = with_words(_first_rule(policy, header or Header(), findings), of_header, sender)
    return _in_words(decision, mode, "propose")


# Inside


def _examined(policy: Policy, header: Header, findings: tuple[Finding, ...]) -> Decision:
    """The decision of the rules; a film may only pass or be corrected when every required gate has spoken.

    A gate is not asked when another has settled the matter (which way up is a hand?), so its silence counts
    only here.
    """
    decision = _first_rule(policy, header, findings)
    missing = _silent(policy.requires, findings)
    if missing and decision.act in (Act.PASS, Act.CORRECT):
        return _first_rule(policy, header, (*findings, *missing))
    return decision


def _silent(gates: Iterable[str], findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """A failure for each of these gates that did not speak. Of an age only the anatomy gate has not yet said
    what the film shows."""
    spoke = {finding.gate for finding in findings if finding.reason is not Reason.AGE_CONTRADICTS}
    return tuple(_failure(gate, "the gate gave no finding") for gate in gates if gate not in spoke)


def _of_another_region(
    decision: Decision,
    policy: Policy,
    header: Header,
    others: tuple[Finding, ...],
    regional: tuple[Finding, ...],
) -> tuple[Decision, tuple[str, ...]]:
    """The decision for a film that the rules withhold, and what it passes for: it may show another region
    that somebody wants."""
    flagged = tuple(f for rule in policy.rules if rule.act is None for f in rule.hits(header, others))
    missing = _silent(("header", "exposure"), others)
    left = tuple(finding for finding in (*others, *missing) if finding not in flagged)
    seen = regions.outlook(header, left, regional, policy.region_words, policy.parts)
    if seen is None:
        return decision, (CHEST,)
    act, hits = (Act.PASS, seen.sure) if seen.regions else (Act.QUARANTINE, seen.faults)
    name = " ".join((REGION, ", ".join(dict.fromkeys(f.gate for f in seen.sure or seen.doubts)))).strip()
    trace = (*decision.trace, trace_row(name, bool(hits), described((*regional, *seen.against))))
    if not hits:
        return replace(decision, trace=trace), (CHEST,)
    regional_decision = _region_decision(act, name, header, hits)
    flags = unique((*decision.flags, *reasons_of(flagged)))
    return replace(regional_decision, flags=flags, trace=trace, policy_digest=policy.digest), seen.regions


def _region_decision(act: Act, name: str, header: Header, hits: tuple[Finding, ...]) -> Decision:
    says = f"The header says: {header.body_part or 'no part'}"
    if act is Act.PASS:
        shown = ", ".join(f"{f.gate} ({f.detail})" if f.detail else f.gate for f in hits)
        return Decision(act, (), name, f"no chest, but surely a region that an AI takes: {shown}. {says}")
    reasons = reasons_of(hits)
    why = "no chest, but perhaps of a region that an AI takes, and not surely or not well shown"
    return Decision(act, reasons, name, f"{why}. {findings_in_words(reasons, hits)}. {says}")


def _with_facts(decision: Decision, findings: Iterable[Finding]) -> Decision:
    """The decision with a row of its trace for what was measured."""
    texts = ((finding.gate, facts.in_words(finding.facts)) for finding in findings)
    words = "; ".join(f"{gate}: {text}" for gate, text in texts if text)
    if not words:
        return decision
    return replace(decision, trace=(*decision.trace, trace_row(MEASURED, False, words)))


def _sound(finding: Finding) -> Finding:
    if not math.isfinite(finding.score):
        return _failure(finding.gate, "its score is not a number")
    return finding


def _failure(gate: str, detail: str) -> Finding:
    return Finding(gate, Verdict.FAILED, reason=Reason.GATE_FAILED, detail=detail)


def _first_rule(policy: Policy, header: Header, findings: tuple[Finding, ...]) -> Decision:
    left, flags, trace = findings, list[Reason](), list[dict[str, Any]]()
    for rule in policy.rules:
        hits = rule.hits(header, left)
        trace.append(trace_row(rule.name, bool(hits), rule_saw(rule, header, hits, left)))
        if not hits:
            continue
        if rule.act is None:
            flags += reasons_of(hits)
            left = tuple(finding for finding in left if finding not in hits)
            continue
        decision = _act(rule, header, hits, left)
        if decision:
            return _finished(decision, policy, flags, trace)
    trace.append(trace_row(UNEXPLAINED, True, described(not_good(left)) or "no finding at all"))
    reasons = reasons_of(not_good(left)) or (Reason.GATE_FAILED,)
    why = f"no rule says what to do with this film. {findings_in_words(reasons, not_good(left))}"
    return _finished(Decision(Act.QUARANTINE, reasons, UNEXPLAINED, why), policy, flags, trace)


def _act(rule: Rule, header: Header, hits: tuple[Finding, ...], left: tuple[Finding, ...]) -> Decision | None:
    """What a rule that fired decides; None when it may not, because something else stands against it."""
    against = not_good(left)
    if rule.act is Act.PASS:
        return None if against else Decision(Act.PASS, (), rule.name, rule.why)
    if rule.act is Act.CORRECT:
        operations = corrections(against)
        if not operations:
            return None
        reasons = reasons_of(f for f in against if f.reason in CORRECTABLE)
        why = f"{rule.why}. {findings_in_words(reasons, against)}"
        return Decision(Act.CORRECT, reasons, rule.name, why, operations)
    assert rule.act is not None  # flags are not decisions
    reasons = unique((*((rule.reason,) if rule.reason else ()), *reasons_of(_relevant(rule.act, hits, left))))
    claims = f". {claims_in_words(header)}" if rule.claims else ""
    why = f"{rule.why}. {findings_in_words(reasons, against)}{claims}"
    return Decision(rule.act, reasons, rule.name, why)


def _relevant(act: Act, hits: tuple[Finding, ...], left: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """A person who looks at a chest wants to know all that is wrong; on a hand most gates mean nothing."""
    frontal = any(f.gate == "anatomy" and f.verdict is Verdict.GOOD for f in left)
    everything = act is Act.QUARANTINE and frontal
    return (*not_good(hits), *(not_good(left) if everything else ()))


def _finished(
    decision: Decision, policy: Policy, flags: list[Reason], trace: list[dict[str, Any]]
) -> Decision:
    return replace(decision, flags=unique(flags), trace=tuple(trace), policy_digest=policy.digest)


def _select_destinations(
    decision: Decision,
    header: Header,
    destinations: Mapping[str, Acceptance],
    today: date,
    shown: tuple[str, ...],
) -> Decision:
    answers = {name: accepts(acceptance, header, today, shown) for name, acceptance in destinations.items()}
    takers = tuple(name for name, (taken, _) in answers.items() if taken)
    refusals = "; ".join(f"{name}: {why_not}" for name, (taken, why_not) in answers.items() if not taken)
    held = bool(destinations) and not takers
    because = refusals or ("taken by " + ", ".join(takers) if takers else "no AI destination is configured")
    if header.age_doubt and header.age_doubt not in because:
        because = f"{because}; {header.age_doubt}"
    trace = (*decision.trace, trace_row(ACCEPTS, held, because))
    if not held:
        return replace(decision, destinations=takers, trace=trace)
    return replace(
        decision,
        act=Act.WITHHOLD,
        reasons=(Reason.NO_AI_ACCEPTS, *decision.reasons),
        rule=ACCEPTS,
        why=f"no AI destination takes this film. {refusals}",
        operations=Operations(),
        trace=trace,
    )


def _in_words(decision: Decision, mode: Mode, correct: Correct) -> Decision:
    why = decision.why
    if decision.act is Act.CORRECT:
        at_once = sent_at_once(decision.operations, correct)
        why = f"{why}. {copy_in_words(mode, at_once=at_once)}"
    if mode == "observe" and decision.act is not Act.PASS:
        why = f"{why} (observed only: nothing is held)"
    return replace(decision, why=why)
