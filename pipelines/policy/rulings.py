"""What people said once for all of words in the headers of a sender, and what follows for a film."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pipelines.film import Act, Answer, Decision, Finding, Reason, Ruling, Sender, Verdict
from pipelines.policy.words import trace_row, unique

SAID_ONCE = "said once for all"  # the row of the trace that holds what people said of words in the header


def as_ruled(finding: Finding, sender: Sender) -> Finding:
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


def with_words(decision: Decision, findings: Iterable[Finding], sender: Sender) -> Decision:
    """The decision with the words of the header that nobody spoke about, and with what was said of others."""
    words = tuple(finding.detail for finding in findings if finding.reason is Reason.HEADER_WORD)
    if not words:
        return decision
    rulings = tuple(ruling for ruling in map(sender.ruling, words) if ruling)
    if rulings:
        texts = (f"{_word_of(one.word, sender)}: {_said_once(one)}" for one in rulings)
        trace = (*decision.trace, trace_row(SAID_ONCE, False, "; ".join(texts)))
        decision = replace(decision, rulings=rulings, trace=trace)
    asked = tuple(word for word in words if sender.ruling(word) is None)
    if not asked or decision.act is not Act.QUARANTINE:
        return decision
    return replace(decision, words=asked, reasons=unique((*decision.reasons, Reason.HEADER_WORD)))


def _word_of(word: str, sender: Sender) -> str:
    return f"{word}, sender {sender.ae_title or 'unknown'}"


def _said_once(ruling: Ruling) -> str:
    return f"{ruling.answer}, said {ruling.by} on {ruling.at:%Y-%m-%d}"
