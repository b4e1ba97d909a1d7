"""A hold as its card shows it: few words, and those in plain English."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from gateway.ledger.searching.records import Card, masked
from pipelines.film import REASON_TEXT, Reason, Verdict
from pipelines.report.codes import OTHER_FAILURE, REJECTION

# What a gate's score is the chance of: 1 is surely good.
_IN_FEW = {
    "anatomy": "frontal chest",
    "inversion": "right polarity",
    "rotation": "upright",
    "mirror": "not flipped",
}


@dataclass(frozen=True, slots=True)
class Chip:
    """A reason: its code in words, and the sentence that explains it."""

    code: str
    words: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What one gate saw; `at` is where its score lies between 0 and 1, as a number of per cent."""

    gate: str
    verdict: str
    score: str  # "" where the gate has none
    thresholds: str
    detail: str
    tone: str  # the class that colours it


@dataclass(frozen=True, slots=True)
class CardView:
    """All that the template draws of one hold."""

    card: Card
    chips: tuple[Chip, ...]
    seen: tuple[Seen, ...]
    short: str  # what the gates saw, in one line
    box: Mapping[str, float] | None  # of the lungs: x0, y0, x1, y1 in fractions of the picture
    fix: str  # the proposed fix in words; "" without one
    accession: str
    reject_code: str  # of CID 7011, that a reject takes when nobody says otherwise

    @property
    def sender(self) -> str:
        return self.card.header.sender

    @property
    def device(self) -> str:
        return self.card.header.device

    @property
    def label(self) -> str:
        """The card in one sentence, for those who listen to it."""
        reasons = ", ".join(chip.words for chip in self.chips)
        fix = f"; proposed fix: {self.fix}" if self.fix else ""
        return f"Film {self.card.film_id}: {reasons}{fix}"


def card_view(card: Card) -> CardView:
    """The card of one hold."""
    lungs = next((f for f in card.findings if f["gate"] == "lungs" and f.get("box")), None)
    return CardView(
        card=card,
        chips=tuple(chip(code) for code in card.reasons),
        seen=tuple(_seen_by(card.findings)),
        short=_short(card.findings),
        box=lungs["box"] if lungs else None,
        fix=fix_in_words(card.operations) if card.proposal else "",
        accession=masked(card.header.accession),
        reject_code=reject_code(card.reasons),
    )


def chip(code: str) -> Chip:
    """A reason code for people; one of an older filmgate stands for itself."""
    known = code in Reason.__members__
    sentence = REASON_TEXT[Reason(code)] if known else "a reason of another version of filmgate"
    return Chip(code, code.replace("_", " ").lower().capitalize(), sentence)


def reject_code(reasons: Sequence[str]) -> str:
    """The code of PS3.16 CID 7011 that says why films held for these reasons are rejected."""
    known = [Reason(code) for code in reasons if code in Reason.__members__]
    return next((REJECTION[reason] for reason in known if reason in REJECTION), OTHER_FAILURE).value


def fix_in_words(operations: Mapping[str, Any]) -> str:
    """Operations of a copy as people say them: "turned 270°, inverted"."""
    parts = (
        "cropped" if operations.get("crop") else "",
        f"turned {operations['turn']}°" if operations.get("turn") else "",
        "inverted" if operations.get("invert") else "",
        "flipped" if operations.get("flip") else "",
        "polarity named in the header" if operations.get("relabel") else "",
    )
    return ", ".join(part for part in parts if part)


def since_in_words(since: datetime, now: datetime) -> str:
    """How long something waits: "40 s", "12 min", "3 h", "2 d"."""
    seconds = max(0, int((now - since).total_seconds()))
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _seen_by(findings: Sequence[Mapping[str, Any]]) -> Iterator[Seen]:
    """A row for each finding; a gate that looked in several ways and likes all of them has one."""
    for gate, its in groupby(findings, key=lambda finding: finding["gate"]):
        rows = [_seen(finding) for finding in its]
        if len(rows) > 1 and all(row.verdict == Verdict.GOOD for row in rows):
            yield Seen(str(gate), rows[0].verdict, "", "", f"good in {len(rows)} ways", rows[0].tone)
        else:
            yield from rows


def _seen(finding: Mapping[str, Any]) -> Seen:
    verdict = str(finding["verdict"])
    score, low, high = (float(finding.get(name) or 0) for name in ("score", "low", "high"))
    has_thresholds = 0.0 <= low <= high <= 1.0 and high > 0.0
    tones = {Verdict.GOOD: "good", Verdict.UNSURE: "warn", Verdict.BAD: "bad", Verdict.FAILED: "bad"}
    return Seen(
        gate=str(finding["gate"]),
        verdict=verdict,
        score=f"{score:.3f}" if has_thresholds else "",
        thresholds=f"{low:.2f} – {high:.2f}" if has_thresholds else "",
        detail=str(finding.get("detail") or ""),
        tone=tones.get(Verdict(verdict), ""),
    )


def _short(findings: Sequence[Mapping[str, Any]]) -> str:
    """The gates that object, with their probabilities where they have one; all good: the least sure."""
    telling = [finding for finding in findings if finding["verdict"] != Verdict.GOOD]
    words = []
    for finding in telling:
        one = _seen(finding)
        words.append(f"{_IN_FEW.get(one.gate, one.gate)} {one.score[-4:]}".strip())
    return " · ".join(words)
