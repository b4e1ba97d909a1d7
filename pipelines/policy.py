"""Findings + header -> Decision. The rules are read from policy.yaml; the first that fits decides.

What the rules cannot change: a film passes only when every finding is good or flagged by name and every
required gate has spoken; what no rule explains is quarantined.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation

from pipelines import facts, lined_yaml, regions, vocabulary
from pipelines.film import (
    REASON_TEXT,
    Act,
    Answer,
    Box,
    Claim,
    Decision,
    Finding,
    Header,
    Operations,
    Reason,
    Ruling,
    Sender,
    Verdict,
)
from pipelines.header import part_named
from pipelines.kinds import OTHER_PART_MODALITIES, header_findings
from pipelines.lined_yaml import KeyTwice, YamlError
from pipelines.regions import CHEST

Mode = Literal["observe", "enforce", "alone"]  # alone: without a gateway, nothing is made, held or sent
Correct = Literal["propose", "auto"]

DEFAULT_RULES = Path(__file__).with_name("policy.yaml")

TURN_BACK = {Reason.ROTATED_90: 270, Reason.ROTATED_180: 180, Reason.ROTATED_270: 90}
CORRECTABLE = frozenset({*TURN_BACK, Reason.INVERTED, Reason.BORDER, Reason.POLARITY_AMBIGUOUS})
# Of the copy, which is gated in full
ASKED_AGAIN = frozenset({Reason.LUNGS_NOT_FOUND, Reason.LUNGS_CUT_OFF, Reason.LUNG_BY_SYMMETRY})
NEVER_FLAGGED = frozenset({Reason.GATE_FAILED, Reason.MODEL_MISSING})
CLASS_MODALITY: dict[str, str] = {
    ComputedRadiographyImageStorage: "CR",
    DigitalXRayImageStorageForPresentation: "DX",
}

E = TypeVar("E", bound=StrEnum)

ANY, ALL, FLAG = "any", "all", "flag"
OTHER = "other"  # among `regions`: words of parts that are no chest
ROOM_WORDS = (CHEST, OTHER)  # what no region's gate is called
TOP_KEYS = ("version", "requires", "optional", "regions", "rules")
RULE_KEYS = ("name", "when", "claim", "act", "reason", "why")
UNEXPLAINED = "no rule explains this"  # the built-in last rule
REGION = "region"  # the built-in rule for films of other regions; their names follow
MEASURED = "measured, nothing held for it"  # the row of the trace that holds the facts
SAID_ONCE = "said once for all"  # the row of the trace that holds what people said of words in the header
ACCEPTS = "destinations accept"  # the built-in rule after a pass

NOBODY = Sender()


class PolicyError(ValueError):
    """Raised when a policy file cannot be understood; the text names the rule."""


# The values


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
        found: list[Finding] = []
        for gate, terms in self.when:
            asked = (f for f in findings if gate in (ANY, ALL, f.gate))
            fitting = [f for f in asked if any(term.fits(f) for term in terms)]
            if self.claims:
                fitting = [f for f in fitting if claim(header, f) in self.claims]
            if not fitting or (gate == ALL and len(fitting) < len(findings)):
                return ()
            found += fitting
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules in their order, the gates that must have spoken, and the digest of it all.

    `region_words` are the words of BodyPartExamined that fit a region other than the chest, `parts` what its
    words mean for the chest: those that filmgate knows, and the site's own.
    """

    rules: tuple[Rule, ...]
    requires: tuple[str, ...]
    digest: str
    region_words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parts: vocabulary.PartWords = vocabulary.PARTS

    def reads(self, header: Header) -> Header:
        """The header as the site's own words have it; the same where they say nothing new."""
        said = header.body_part.split("\\")
        part = part_named(said, self.parts)
        return header if part == part_named(said) else replace(header, part=part)

    @staticmethod
    def load(text: str) -> Policy:
        """The policy that a YAML text describes. Raises PolicyError, naming the rule, for unknown words."""
        return _read_policy(text)

    @property
    def words(self) -> frozenset[Term]:
        """What the rules name of findings: BLANK, BLANK?, bad ..."""
        return frozenset(term for rule in self.rules for _, terms in rule.when for term in terms)

    @property
    def lacks(self) -> tuple[str, ...]:
        """What the shipped rules name and these do not, in the order of the shipped ones: HEADER_WORD,
        SECONDARY? ... A film with it passes under these rules as little as one that nothing explains."""
        shipped = (t for rule in Policy.default().rules for _, terms in rule.when for t in terms)
        return tuple(dict.fromkeys(str(term) for term in shipped if term.reason and term not in self.words))

    @staticmethod
    @cache
    def default() -> Policy:
        """The shipped rules."""
        return Policy.load(DEFAULT_RULES.read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Which qualified films an AI destination takes; the settings' `accepts` block as a value of the core."""

    views: tuple[str, ...] = ("PA", "AP", "frontal")
    min_age: float = 10.0
    max_age: float = 200.0
    unknown_age: bool = False
    modalities: tuple[str, ...] = ("CR", "DX", "DR", "RG")
    max_study_age_days: int | None = None
    regions: tuple[str, ...] = (CHEST,)


# Deciding


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
    told = tuple(findings)
    sound = tuple(_heard(_sound(finding), sender) for finding in told)
    others = tuple(finding for finding in sound if finding.gate not in region_gates)
    header = policy.reads(header)
    decision = _examined(policy, header, others)
    shown: tuple[str, ...] = (CHEST,)
    if decision.act is Act.WITHHOLD:
        wanted = {region for acceptance in destinations.values() for region in acceptance.regions} - {CHEST}
        regional = tuple(f for f in sound if f.gate in region_gates and f.gate in wanted)
        decision, shown = _of_another_region(decision, policy, header, others, regional)
    decision = _with_words(_with_facts(decision, sound), told, sender)
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
    told = header_findings(header) if header else ()
    findings = (*(_heard(finding, sender) for finding in told), fault)
    decision = _with_words(_first_rule(policy, header or Header(), findings), told, sender)
    return _in_words(decision, mode, "propose")


def claim(header: Header, finding: Finding) -> Claim:
    """How the header stands to what the anatomy gate says.

    A header that names another part, or a view that is not frontal, rules out a frontal chest. It agrees with
    every finding that does so too, whichever other part or view that is: both opinions keep the film from AI.
    "Frontal" alone is no claim of a chest: hands are PA as well. Modality MG, IO and PX are breast or teeth.
    """
    elsewhere = header.part == "other" or header.modality in OTHER_PART_MODALITIES
    denies = elsewhere or header.view in ("lateral", "other")
    affirms = header.part == "chest" or header.view == "frontal"
    if finding.verdict is Verdict.GOOD:
        return Claim.CONTRADICTS if denies else Claim.AGREES if affirms else Claim.SILENT
    if denies:
        return Claim.AGREES
    disputed = header.view == "frontal" if finding.reason is Reason.LATERAL else header.part == "chest"
    return Claim.CONTRADICTS if disputed else Claim.SILENT


def would_take(
    header: Header,
    findings: Iterable[Finding],
    *,
    destinations: Mapping[str, Acceptance],
    today: date,
    region_gates: Collection[str] = (),
) -> tuple[str, ...]:
    """The AI destinations that take such a film by its header: where a person's release sends it."""
    shown = regions.released_as(findings, region_gates)
    return tuple(name for name, ai in destinations.items() if accepts(ai, header, today, shown)[0])


def accepts(
    acceptance: Acceptance, header: Header, today: date, shown: tuple[str, ...] = (CHEST,)
) -> tuple[bool, str]:
    """Whether a destination takes a film that shows one of these regions, and if not, why not.

    A film of the chest is a frontal one by its pixels.
    """
    refusals = (
        _region_refused(acceptance, shown),
        _modality_refused(acceptance, header),
        _view_refused(acceptance, header, shown),
        _age_refused(acceptance, header),
        _study_refused(acceptance, header, today),
    )
    why_not = "; ".join(filter(None, refusals))
    return not why_not, why_not


def _modality_refused(acceptance: Acceptance, header: Header) -> str:
    modality = header.modality or CLASS_MODALITY.get(header.sop_class_uid, "")
    return "" if modality in acceptance.modalities else f"modality {modality or 'unknown'} is not taken"


def _region_refused(acceptance: Acceptance, shown: tuple[str, ...]) -> str:
    taken = any(region in acceptance.regions for region in shown)
    return "" if taken else f"region {', '.join(shown)} is not taken"


def _view_refused(acceptance: Acceptance, header: Header, shown: tuple[str, ...]) -> str:
    """Of a chest the pixels say that it is frontal; of other regions only the header speaks of the view."""
    view = claimed_view(header)
    if CHEST not in shown and view == "frontal":
        view = header.view
        if not view:
            return ""
    return "" if view in acceptance.views else f"view {view} is not taken"


def _age_refused(acceptance: Acceptance, header: Header) -> str:
    """Ages are completed years, so a whole `max_age` takes its whole year: 17 until the 18th birthday."""
    age = header.age_years
    if age is None or not math.isfinite(age):
        because = f": {header.age_doubt}" if header.age_doubt else ""
        return "" if acceptance.unknown_age else f"the age is unknown{because}"
    if age < acceptance.min_age:
        return f"age {_years(age)} is under {acceptance.min_age:g}"
    counted = math.floor(age) if float(acceptance.max_age).is_integer() else age
    return f"age {_years(age)} is over {acceptance.max_age:g}" if counted > acceptance.max_age else ""


def _study_refused(acceptance: Acceptance, header: Header, today: date) -> str:
    """By the calendar: how old a study is whose date lies in the future, nobody can say."""
    if acceptance.max_study_age_days is None:
        return ""
    try:
        days = (today - date.fromisoformat(header.study_date)).days
    except ValueError:
        return "the study date is unknown"
    if days < -1:  # a day ahead is a zone to the east of ours, no fault
        return f"the study is dated {-days} days ahead"
    return f"the study is {days} days old" if days > acceptance.max_study_age_days else ""


def _years(age: float) -> str:
    return f"{math.floor(age * 10) / 10:g}"  # rounded down: "age 10 is under 10" helps nobody


def claimed_view(header: Header) -> str:
    """PA or AP where ViewPosition says so ("AP SUPINE" is AP), else "frontal", as the pixels say."""
    beam = vocabulary.beam(header.view_position) if header.view in ("frontal", "") else ""
    return beam or "frontal"


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
    trace = (*decision.trace, _row(name, bool(hits), _described((*regional, *seen.against))))
    if not hits:
        return replace(decision, trace=trace), (CHEST,)
    made = _region_decision(act, name, header, hits)
    flags = _unique((*decision.flags, *_reasons(flagged)))
    return replace(made, flags=flags, trace=trace, policy_digest=policy.digest), seen.regions


def _region_decision(act: Act, name: str, header: Header, hits: tuple[Finding, ...]) -> Decision:
    says = f"The header says: {header.body_part or 'no part'}"
    if act is Act.PASS:
        shown = ", ".join(f"{f.gate} ({f.detail})" if f.detail else f.gate for f in hits)
        return Decision(act, (), name, f"no chest, but surely a region that an AI takes: {shown}. {says}")
    reasons = _reasons(hits)
    why = "no chest, but perhaps of a region that an AI takes, and not surely or not well shown"
    return Decision(act, reasons, name, f"{why}. {_found(reasons, hits)}. {says}")


def _with_facts(decision: Decision, findings: Iterable[Finding]) -> Decision:
    """The decision with a row of its trace for what was measured."""
    told = ((finding.gate, facts.in_words(finding.facts)) for finding in findings)
    words = "; ".join(f"{gate}: {text}" for gate, text in told if text)
    if not words:
        return decision
    return replace(decision, trace=(*decision.trace, _row(MEASURED, False, words)))


def _heard(finding: Finding, sender: Sender) -> Finding:
    """A word of the header with what a person said of it: HEADER_WORD is BAD while nobody spoke, and UNSURE
    where it is always a film like any other; RULED_OUT where it never is."""
    if finding.reason is not Reason.HEADER_WORD:
        return finding
    ruling = sender.ruling(finding.detail)
    if ruling is None:
        return replace(finding, detail=_word_of(finding.detail, sender))
    detail = f"{_word_of(finding.detail, sender)}: {_said_once(ruling)}"
    if ruling.answer is Answer.ALWAYS:
        return replace(finding, verdict=Verdict.UNSURE, detail=detail)
    return replace(finding, reason=Reason.RULED_OUT, detail=detail)


def _with_words(decision: Decision, findings: Iterable[Finding], sender: Sender) -> Decision:
    """The decision with the words of the header that nobody spoke about, and with what was said of others."""
    words = tuple(finding.detail for finding in findings if finding.reason is Reason.HEADER_WORD)
    if not words:
        return decision
    rulings = tuple(ruling for ruling in map(sender.ruling, words) if ruling)
    if rulings:
        said = "; ".join(f"{_word_of(one.word, sender)}: {_said_once(one)}" for one in rulings)
        decision = replace(decision, rulings=rulings, trace=(*decision.trace, _row(SAID_ONCE, False, said)))
    asked = tuple(word for word in words if sender.ruling(word) is None)
    if not asked or decision.act is not Act.QUARANTINE:
        return decision
    return replace(decision, words=asked, reasons=_unique((*decision.reasons, Reason.HEADER_WORD)))


def _word_of(word: str, sender: Sender) -> str:
    return f"{word}, sender {sender.ae_title or 'unknown'}"


def _said_once(ruling: Ruling) -> str:
    return f"{ruling.answer}, said {ruling.by} on {ruling.at:%Y-%m-%d}"


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
        trace.append(_row(rule.name, bool(hits), _because(rule, header, hits, left)))
        if not hits:
            continue
        if rule.act is None:
            flags += _reasons(hits)
            left = tuple(finding for finding in left if finding not in hits)
            continue
        decision = _act(rule, header, hits, left)
        if decision:
            return _finished(decision, policy, flags, trace)
    trace.append(_row(UNEXPLAINED, True, _described(_not_good(left)) or "no finding at all"))
    reasons = _reasons(_not_good(left)) or (Reason.GATE_FAILED,)
    why = f"no rule says what to do with this film. {_found(reasons, _not_good(left))}"
    return _finished(Decision(Act.QUARANTINE, reasons, UNEXPLAINED, why), policy, flags, trace)


def _act(rule: Rule, header: Header, hits: tuple[Finding, ...], left: tuple[Finding, ...]) -> Decision | None:
    """What a rule that fired decides; None when it may not, because something else stands against it."""
    against = _not_good(left)
    if rule.act is Act.PASS:
        return None if against else Decision(Act.PASS, (), rule.name, rule.why)
    if rule.act is Act.CORRECT:
        operations = corrections(against)
        if not operations:
            return None
        reasons = _reasons(f for f in against if f.reason in CORRECTABLE)
        why = f"{rule.why}. {_found(reasons, against)}"
        return Decision(Act.CORRECT, reasons, rule.name, why, operations)
    assert rule.act is not None  # flags are not decisions
    reasons = _unique((*((rule.reason,) if rule.reason else ()), *_reasons(_relevant(rule.act, hits, left))))
    claimed = f". {_claimed(header)}" if rule.claims else ""
    return Decision(rule.act, reasons, rule.name, f"{rule.why}. {_found(reasons, against)}{claimed}")


def _relevant(act: Act, hits: tuple[Finding, ...], left: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """A person who looks at a chest wants to know all that is wrong; on a hand most gates mean nothing."""
    frontal = any(f.gate == "anatomy" and f.verdict is Verdict.GOOD for f in left)
    everything = act is Act.QUARANTINE and frontal
    return (*_not_good(hits), *(_not_good(left) if everything else ()))


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


def _finished(
    decision: Decision, policy: Policy, flags: list[Reason], trace: list[dict[str, Any]]
) -> Decision:
    return replace(decision, flags=_unique(flags), trace=tuple(trace), policy_digest=policy.digest)


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
    trace = (*decision.trace, _row(ACCEPTS, held, because))
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
        why = f"{why}. {_copy_in_words(mode, at_once=at_once)}"
    if mode == "observe" and decision.act is not Act.PASS:
        why = f"{why} (observed only: nothing is held)"
    return replace(decision, why=why)


# Words for people


def _copy_in_words(mode: Mode, *, at_once: bool) -> str:
    """What becomes of the corrected copy; none is made unless the rules are enforced."""
    becomes = "is gated again" if at_once else "waits for a person to accept it"
    if mode == "enforce":
        return f"The corrected copy {becomes}"
    return f"No copy was made; a gateway that enforces its policy makes one, which {becomes}"


def _row(rule: str, fired: bool, because: str) -> dict[str, Any]:
    return {"rule": rule, "fired": fired, "because": because}


def _because(rule: Rule, header: Header, hits: tuple[Finding, ...], left: tuple[Finding, ...]) -> str:
    """What the rule saw: the findings that fired it, or what the gates it asks have said instead."""
    claims = {str(claim(header, f)) for f in hits or left if f.gate == "anatomy"} if rule.claims else set()
    header_says = "".join(f"; the header {c}" for c in sorted(claims))
    if hits and rule.act is not Act.PASS:
        return _described(hits) + header_says
    asked = {gate for gate, _ in rule.when}
    said = left if asked & {ANY, ALL} else tuple(f for f in left if f.gate in asked)
    return (_described(_not_good(said)) or "all good") + header_says


def _described(findings: Iterable[Finding]) -> str:
    return "; ".join(f"{_said(f)} {f.score:.4g} (thresholds {f.low:g}, {f.high:g})" for f in findings)


def _said(finding: Finding) -> str:
    return f"{finding.gate} {finding.verdict}" + (f" {finding.reason}" if finding.reason else "")


def _found(reasons: Iterable[Reason], findings: Iterable[Finding]) -> str:
    details = {
        reason: "; ".join(f.detail for f in findings if f.reason is reason and f.detail) for reason in reasons
    }
    return "Found: " + "; ".join(REASON_TEXT[r] + (f" ({details[r]})" if details[r] else "") for r in details)


def _claimed(header: Header) -> str:
    part = {"other": "another part"}.get(header.part, header.part)
    if header.modality in OTHER_PART_MODALITIES:
        part = f"modality {header.modality}, a breast or teeth"
    view = {"other": "another view"}.get(header.view, header.view)
    return f"The header says: {', '.join(filter(None, (part, view))) or 'neither part nor view'}"


def _not_good(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if finding.verdict is not Verdict.GOOD)


def _reasons(findings: Iterable[Finding]) -> tuple[Reason, ...]:
    return _unique(f.reason or Reason.GATE_FAILED for f in findings)


def _unique(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    return tuple(dict.fromkeys(reasons))


# Reading the YAML


def _read_policy(text: str) -> Policy:
    try:
        document = lined_yaml.parse(text).value
    except KeyTwice as error:
        raise PolicyError(f"line {error.line}: {error.key!r} stands twice") from error
    except YamlError as error:
        raise PolicyError(str(error)) from error
    top = _mapping(document, "the policy")
    _known_keys(top, TOP_KEYS, "the policy")
    if top.get("version") != 1:
        raise PolicyError("the policy needs `version: 1`")
    requires = _words(top.get("requires", []), "requires")
    gates = (*requires, *_words(top.get("optional", []), "optional"))
    listed = top.get("rules")
    if not isinstance(listed, list) or not listed:
        raise PolicyError("the policy needs a list of rules")
    rules = tuple(_read_rule(entry, number, gates) for number, entry in enumerate(listed, start=1))
    names = [rule.name for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PolicyError(f"rule {twice!r} stands twice")
    canonical = json.dumps(top, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    fitting = _read_regions(top)
    parts = vocabulary.PARTS.adding(fitting.pop(CHEST, ()), fitting.pop(OTHER, ()))
    return Policy(rules, requires, hashlib.sha256(canonical.encode()).hexdigest(), fitting, parts)


def _read_regions(top: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """By region, by `chest` and by `other`: the words of BodyPartExamined that fit it."""
    fitting: dict[str, tuple[str, ...]] = {}
    for region, listed in _mapping(top.get("regions", {}), "regions").items():
        where = f"regions: {region}"
        near = get_close_matches(str(region).lower(), ROOM_WORDS, n=1, cutoff=0.8)
        if near and region not in ROOM_WORDS:
            raise PolicyError(f"{where}: no region is called so; did you mean {near[0]!r}?")
        fitting[str(region)] = tuple(_text(word, where) for word in _words(listed, where))
        empty = next((word for word in fitting[str(region)] if not vocabulary.spaced(word)), None)
        if empty is not None:
            raise PolicyError(f"{where}: {empty!r} holds no letter")
    for name in ROOM_WORDS:
        split = next((word for word in fitting.get(name, ()) if "*" in word.strip("*")), None)
        if split is not None:
            raise PolicyError(f"regions: {name}: {split!r}: '*' stands at the beginning or the end of a word")
    chest, other = ({vocabulary.spaced(word) for word in fitting.get(name, ())} for name in ROOM_WORDS)
    if chest & other:
        raise PolicyError(f"regions: {min(chest & other)!r} stands under {CHEST!r} and under {OTHER!r}")
    return fitting


def _read_rule(entry: object, number: int, gates: tuple[str, ...]) -> Rule:
    fields = _mapping(entry, f"rule {number}")
    name = _text(fields.get("name"), f"rule {number}: name")
    where = f"rule {name!r}"
    _known_keys(fields, RULE_KEYS, where)
    when = tuple(
        _condition(gate, words, where, gates)
        for gate, words in _mapping(fields.get("when"), f"{where}: when").items()
    )
    rule = Rule(
        name=name,
        when=when,
        act=_act_named(fields.get("act"), where),
        why=_text(fields.get("why"), f"{where}: why"),
        claims=tuple(
            _one_of(word, Claim, f"{where}: claim")
            for word in _words(fields.get("claim", []), f"{where}: claim")
        ),
        reason=_one_of(fields["reason"], Reason, f"{where}: reason") if "reason" in fields else None,
    )
    fault = _unsafe(rule)
    if fault:
        raise PolicyError(f"{where}: {fault}")
    return rule


def _unsafe(rule: Rule) -> str:
    """What makes a rule unfit although its words are known; "" when nothing does."""
    gates = [gate for gate, _ in rule.when]
    terms = [term for _, listed in rule.when for term in listed]
    named = {term.reason for term in terms}
    if not terms:
        return "when: needs a gate and what it may say"
    if rule.claims and gates != ["anatomy"]:
        return "claim: is about the anatomy gate, which must be the only one in `when`"
    if rule.act is Act.PASS and (gates != [ALL] or terms != [Term(Verdict.GOOD)]):
        return "act: only `when: {all: [good]}` may pass"
    if rule.act is None and (None in named or named & NEVER_FLAGGED):
        return "act: a flag needs reasons by name, and never that of a gate that failed"
    if rule.act in (Act.WITHHOLD, Act.QUARANTINE) and Term(Verdict.GOOD) in terms and rule.reason is None:
        return "reason: is needed, since a good finding gives none"
    if rule.reason is not None and rule.act not in (Act.WITHHOLD, Act.QUARANTINE):
        return "reason: belongs to withhold and quarantine"
    return ""


def _condition(
    gate: object, words: object, where: str, gates: tuple[str, ...]
) -> tuple[str, tuple[Term, ...]]:
    known = (*gates, ANY, ALL)
    if gate not in known:
        raise PolicyError(f"{where}: when: no gate {gate!r}{_nearest(gate, known)}")
    return str(gate), tuple(
        _term(word, f"{where}: when: {gate}") for word in _words(words, f"{where}: when: {gate}")
    )


def _term(word: str, where: str) -> Term:
    if word in set(Verdict):
        return Term(Verdict(word))
    verdict = Verdict.UNSURE if word.endswith("?") else Verdict.BAD
    return Term(verdict, _one_of(word.removesuffix("?"), Reason, where))


def _act_named(word: object, where: str) -> Act | None:
    return None if word == FLAG else _one_of(word, Act, f"{where}: act", FLAG)


def _one_of(word: object, kind: type[E], where: str, *more: str) -> E:
    known = (*(str(member) for member in kind), *more)
    if word not in known or word in more:
        raise PolicyError(f"{where}: {word!r} is not known{_nearest(word, known)}")
    return kind(word)


def _nearest(word: object, known: Iterable[str]) -> str:
    close = get_close_matches(str(word), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _known_keys(fields: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in fields:
        if key not in known:
            raise PolicyError(f"{where}: unknown key {key!r}{_nearest(key, known)}")


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(f"{where} must be a mapping of keys to values")
    return value


def _words(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise PolicyError(f"{where} must be a list of words")
    return tuple(value)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise PolicyError(f"{where} must be a text")
    return " ".join(value.split())
