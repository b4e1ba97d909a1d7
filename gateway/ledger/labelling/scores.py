"""What the gates said of the last films, as counts: for histograms, and for whether something drifts."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Integer, Select, cast, func, select

from gateway.ledger.engine import Database
from gateway.ledger.tables import decisions, findings

BINS = 20  # of scores from 0 to 1


@dataclass(frozen=True, slots=True)
class GateScores:
    """How one gate judged some films: `bins` are counts of scores, from 0 to 1 in BINS steps."""

    gate: str
    films: int
    good: int
    bad: int
    unsure: int
    failed: int
    bins: tuple[int, ...]


class Scoring(Database):
    """Counts over findings."""

    def gate_scores(self, films: int, *, skip: int = 0) -> dict[str, GateScores]:
        """Of the `films` decided last, by gate, without the `skip` newest."""
        counts: dict[str, dict[str, int]] = {}
        bins: dict[str, list[int]] = {}
        with self.reading() as db:
            for row in db.execute(_counted(films, skip)):
                verdicts = counts.setdefault(row.gate, {})
                verdicts[row.verdict] = verdicts.get(row.verdict, 0) + row.findings
                place = min(max(row.bin or 0, 0), BINS - 1)
                bins.setdefault(row.gate, [0] * BINS)[place] += row.findings
        return {gate: _scores(gate, its, bins[gate]) for gate, its in counts.items()}


def _scores(gate: str, verdicts: dict[str, int], bins: list[int]) -> GateScores:
    good, bad, unsure, failed = (verdicts.get(name, 0) for name in ("good", "bad", "unsure", "failed"))
    return GateScores(gate, sum(verdicts.values()), good, bad, unsure, failed, tuple(bins))


def _counted(films: int, skip: int) -> Select[tuple[str, str, int | None, int]]:
    """Findings of originals, the first of each gate: one gate may have several to say of a film."""
    last = select(decisions.c.id).where(~decisions.c.superseded).order_by(decisions.c.id.desc())
    chosen = last.limit(films).offset(skip).subquery()
    first = (
        select(func.min(findings.c.id))
        .where(findings.c.decision_id.in_(select(chosen.c.id)), ~findings.c.of_copy)
        .group_by(findings.c.decision_id, findings.c.gate)
    )
    place = cast(findings.c.body["score"].as_float() * BINS, Integer).label("bin")
    return (
        select(findings.c.gate, findings.c.verdict, place, func.count().label("findings"))
        .where(findings.c.id.in_(first))
        .group_by(findings.c.gate, findings.c.verdict, place)
    )
