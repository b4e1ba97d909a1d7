"""What came of a file, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from gateway.cli.output import clean, say
from gateway.cli.tables import draw
from pipelines.film import Film, Finding
from pipelines.reading import Condition, NotRead, Reading
from pipelines.reading.classifier import Classifier

NO_TERMINAL = 120  # columns where output goes to a file or a pipe
BAR = 30  # characters of a bar from 0 to 1
FULL, EMPTY, MARK = "█", "·", "|"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one file."""

    path: Path
    answer: Reading | NotRead
    film: Film | None = None
    findings: tuple[Finding, ...] = ()
    gated: str = ""  # what the gates found, in words
    heatmap: Path | None = None
    notes: tuple[str, ...] = ()  # what a picture file said of its values, and what was assumed


def say_result(one: Result) -> None:
    """A film's conditions, the likeliest first, with bars from 0 to 1 and the threshold in them."""
    say(f"{clean(str(one.path))}")
    for note in one.notes:
        say(f"  picture: {clean(note)}")
    if one.gated and not (isinstance(one.answer, NotRead) and one.answer.why == one.gated):
        say(f"  gates: {clean(one.gated)}")
    if isinstance(one.answer, NotRead):
        say(f"  not read: {one.answer.code}: {clean(one.answer.why)}")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("condition", "p", "", "threshold", "positive"):
        table.add_column(column, justify="right" if column in ("p", "threshold") else "left")
    for condition in one.answer.conditions:
        style = "bold red" if condition.positive and not condition.nothing else ""
        cells = (condition.name, f"{condition.probability:.3f}", _bar(condition), *_judged(condition))
        table.add_row(*(Text(cell, style=style) for cell in cells))
    draw(table, NO_TERMINAL)
    reading = one.answer
    say(f"  {reading.classifier} {reading.version}, sha256 {reading.model_digest[:16]}. Not for diagnosis.")
    if one.heatmap:
        content = (
            f"heat map of {reading.shown}" if reading.shown else "no heat map, as no condition was likely"
        )
        say(f"  picture in {clean(str(one.heatmap))}: {content}")


def _bar(condition: Condition) -> str:
    filled = round(condition.probability * BAR)
    bar = list(FULL * filled + EMPTY * (BAR - filled))
    if condition.threshold is not None:
        bar[min(int(condition.threshold * BAR), BAR - 1)] = MARK
    return "".join(bar)


def _judged(condition: Condition) -> tuple[str, str]:
    if condition.threshold is None:
        return "none", "not judged"
    return f"{condition.threshold:.3f}", "positive" if condition.positive else ""


def item(reader: Classifier, one: Result) -> dict[str, Any]:
    """One film of `--json`."""
    card, answer = reader.card, one.answer
    values: dict[str, Any] = {
        "path": one.path,
        "model": card.name,
        "version": card.version,
        "sha256": card.weights_sha256,
        "probabilities": {},
        "thresholds": {name: card.thresholds.get(name) for name in card.classes},
        "positive": [],
        "not_read": None,
        "notes": list(one.notes),
        "gates": {"said": one.gated, "findings": [_finding(finding) for finding in one.findings]},
        "region": None,
        "heatmap": one.heatmap,
    }
    if not isinstance(answer, Reading):
        return values | {"not_read": {"code": answer.code.value, "why": answer.why}}
    box = answer.region
    return values | {
        "probabilities": {c.name: round(c.probability, 6) for c in answer.conditions},
        "positive": [c.name for c in answer.conditions if c.positive],
        "shown": answer.shown,
        "region": None if box is None else [round(x, 4) for x in (box.x0, box.y0, box.x1, box.y1)],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "gate": finding.gate,
        "verdict": finding.verdict.value,
        "score": round(finding.score, 4),
        "reason": finding.reason.value if finding.reason else None,
        "detail": finding.detail,
    }
