"""What a gate said of films it had never seen: the one table that thresholds, cards and reports come from.

A row is one film shown in one way ("turned 90", "inverted", ...) to a gate. It keeps the gate's score and
the answer that it would give if its score lay at the bad end, so that every threshold can be tried on the
table without looking at a film again. In each gate more is better: at or above `high` a film is good, at or
below `low` it is bad, between them the gate is not sure.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

GOOD, UNSURE = "good", "unsure"


@dataclass(frozen=True, slots=True)
class Score:
    """One film, shown in one way, and what a gate made of it."""

    gate: str
    left_out: str  # the round whose network this was (a key of data.ROUNDS), "" for the one that ships
    file: str
    source: str
    site: str
    group: str  # the patient: counts are in these
    view: str
    part: str
    case: str  # how it was shown: "as it is", "turned 90", ...
    wanted: str  # "good", or the reasons any of which is right, joined by "|"
    score: float  # 1: surely good
    named: str  # what the gate calls it when it is bad, a Reason

    def answer(self, low: float, high: float) -> str:
        """ "good", "unsure" or a reason, with these thresholds."""
        if self.score >= high:
            return GOOD
        return self.named if self.score <= low else UNSURE

    def right(self, low: float, high: float) -> bool:
        """Whether that answer is the wanted one."""
        return self.answer(low, high) in self.wanted.split("|")


def write(path: Path, scores: Iterable[Score]) -> None:
    """Writes the table as CSV, beside first and then renamed."""
    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w", newline="") as handle:
        out = csv.DictWriter(handle, [field.name for field in fields(Score)])
        out.writeheader()
        out.writerows(asdict(score) | {"score": f"{score.score:.6g}"} for score in scores)
    part.replace(path)


def read(path: Path) -> list[Score]:
    """Reads such a table. Raises OSError or ValueError."""
    with path.open(newline="") as handle:
        return [Score(**{**line, "score": float(line["score"])}) for line in csv.DictReader(handle)]  # type: ignore[arg-type]
