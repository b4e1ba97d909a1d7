"""The whole chain on films of sites it never saw: header, every gate, and the policy, as they ship.

A round's networks (lab.films.data.ROUNDS) judge what the round left out, with thresholds chosen without it.
What comes out is one more table of scores: 1 where the policy passes the film, 0 where it does not, and
the reason; `filmgate evaluate chain` counts it like any gate's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from models import bundle
from pipelines import gates
from pipelines.examine import Rules, examine
from pipelines.film import Act, Film, Header, Reason
from pipelines.gates import Gates
from pipelines.lab.ask import gate_ask, gate_cases
from pipelines.lab.ask.gate_ask import Ask
from pipelines.lab.ask.gate_cases import Case, Pixels
from pipelines.lab.films.data import Row
from pipelines.lab.measure import calibrate, scores
from pipelines.lab.measure.budget import share_of
from pipelines.lab.measure.scores import GOOD
from pipelines.policy import Acceptance, Policy

CHAIN = "chain"
GATES = tuple(gate_ask.NEEDS)
DX = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage - For Presentation
# What a modality says that sends every film as an adult's frontal chest: the header helps nobody.
CLAIMS = Header(
    sop_class_uid=DX,
    modality="DX",
    image_type=("ORIGINAL", "PRIMARY"),
    presentation_intent="FOR PRESENTATION",
    photometric="MONOCHROME2",
    body_part="CHEST",
    view_position="PA",
    part="chest",
    view="frontal",
    age_years=50.0,
)
HELD = tuple(reason.value for reason in Reason)


def freeze(runs: Path) -> dict[str, dict[str, float]]:
    """Writes into each round's cards the thresholds chosen without the round; returns `high` by gate, round.

    Raises ValueError when a gate has fewer than two rounds of scores.
    """
    out: dict[str, dict[str, float]] = {}
    for gate in GATES:
        table = scores.pooled([runs], gate)
        for round_, chosen in calibrate.frozen(table, share_of(gate)).items():
            folder = runs / round_ / gate
            if (folder / bundle.METADATA).exists():
                card = bundle.read_card(folder)
                thresholds = calibrate.ALSO.get(gate, {}) | chosen.thresholds(gate)
                bundle.save_card(folder, replace(card, thresholds=thresholds))
                out.setdefault(gate, {})[round_] = chosen.high
    return out


def score_chain(
    films: Path, runs: Path, round_: str, rows: Sequence[Row] | None = None, out: Path | None = None
) -> Path:
    """Sends the films that the round never saw through the chain of its gates; returns the table."""
    out = out or runs / round_ / CHAIN / scores.SCORES
    rows = gate_ask.unseen_rows(films, round_) if rows is None else rows
    gate_ask.score_films(CHAIN, ask(gates.load(runs / round_)), films, rows, round_, [AS_IT_IS], out)
    return out


def ask(ready: Gates) -> Ask:
    """The chain as a question: pixels -> (1 if it passes, else 0, the reason).

    Raises BundleError when a gate cannot work: a chain of closed gates holds every film and shows nothing.
    """
    if problems := ready.problems():
        raise bundle.BundleError(problems[0])
    rules = Rules(Policy.default(), date.max, {"chest-ai": Acceptance()})  # no film has a date

    def look(pixels: Pixels) -> tuple[float, str]:
        decision = examine(Film(CLAIMS, pixels), ready.look, rules).decision
        reason = decision.reasons[0].value if decision.reasons else GOOD
        return float(decision.act is Act.PASS), reason

    return look


def _wanted(row: Row) -> tuple[str, ...]:
    return (GOOD,) if gate_cases.frontal(row) else HELD


AS_IT_IS = Case("as it is", lambda _: True, gate_cases.as_it_is, _wanted)
