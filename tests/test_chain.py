"""The whole chain as one gate: what the policy passes scores 1, what it holds scores 0 and has a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import bundle, nets
from models.bundle import BundleError, Card
from pipelines import gates
from pipelines.film import Film, Finding, Reason, Verdict
from pipelines.gates import Gates
from pipelines.lab.ask import chain
from pipelines.lab.films import phantom
from pipelines.lab.films.data import Row
from pipelines.lab.measure import scores
from pipelines.lab.measure.scores import Score

NETWORKS = {"rotation": ("Turns", 8), "inversion": ("Polarity", 1), "anatomy": ("Parts", 10)}


class Says:
    """A gate that calls dark films bad and bright ones good."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        if film.pixels.mean() > 0.5:
            return (Finding(self.name, Verdict.GOOD),)
        return (Finding(self.name, Verdict.BAD, reason=Reason.BLANK),)


def test_what_the_policy_passes_is_one_and_what_it_holds_is_zero_with_its_reason() -> None:
    """The policy decides, not a gate: every finding it requires must be there."""
    needed = ("header", "exposure", "anatomy", "inversion", "rotation", "mirror", "lungs")
    ask = chain.ask(Gates(tuple(Says(name) for name in needed), {}))
    assert ask(np.full((8, 8), 0.9, dtype=np.float32)) == (1.0, "good")
    assert ask(np.full((8, 8), 0.1, dtype=np.float32)) == (0.0, "BLANK")
    score, _ = chain.ask(Gates(tuple(Says(name) for name in needed[:3]), {}))(
        np.ones((8, 8), dtype=np.float32)
    )
    assert score == 0.0


def test_a_chain_with_a_closed_gate_is_no_chain(tmp_path: Path) -> None:
    """It would hold every film and look perfectly safe."""
    with pytest.raises(BundleError, match="no card"):
        chain.ask(gates.load(tmp_path))


def test_a_round_sends_what_it_never_saw_through_its_own_networks(tmp_path: Path) -> None:
    """A row a film, with what is wanted of it; untrained networks pass nothing by their thresholds."""
    sure = {"low": 0.0, "high": 1.1, "least": 0.0, "touching": 0.2}
    kinds = NETWORKS | {"mirror": ("Antisymmetric", 1), "lungs": ("lung_net", 1)}
    for name, (kind, outputs) in kinds.items():
        card = Card(name, kind, tuple(map(str, range(outputs))), sure)
        bundle.save(tmp_path / "runs" / "nih" / name, card, nets.KINDS[kind](outputs))
    rows = []
    for kind, view in (("frontal", "frontal"), ("hand", "not_chest")):
        picture = Image.fromarray((phantom.render(kind, 3) * 255).astype(np.uint8))
        picture.save(tmp_path / f"{kind}.png")
        rows.append(Row(f"{kind}.png", "s", "nih", kind, view, kind, "open", "50", "", ""))
    table = scores.read(chain.score_chain(tmp_path, tmp_path / "runs", "nih", rows))
    assert [(row.view, row.score) for row in table] == [("frontal", 0.0), ("not_chest", 0.0)]
    assert not table[0].right(0.5, 0.5)
    assert table[1].right(0.5, 0.5)


def test_thresholds_are_frozen_before_a_round_is_judged(tmp_path: Path) -> None:
    """Each round's cards get the thresholds that the other rounds' patients chose."""
    for gate in chain.GATES:
        for n, round_ in enumerate(("nih", "web")):
            rows = [
                Score(gate, round_, f"{i}", round_, round_, f"{round_}{i}", "frontal", "chest", *case)
                for i in range(40)
                for case in (("as it is", "good", 0.9 - n / 10, "BAD"), ("turned", "BAD", 0.1, "BAD"))
            ]
            scores.write(tmp_path / round_ / gate / "scores.csv", rows)
            bundle.save(tmp_path / round_ / gate, Card(gate, "Polarity", ("a",)), nets.Polarity())
    chosen = chain.freeze(tmp_path)
    card = bundle.read_card(tmp_path / "web" / "rotation")
    assert card.thresholds["high"] == pytest.approx(chosen["rotation"]["web"])
    assert chosen["rotation"]["nih"] != chosen["rotation"]["web"]
    assert card.thresholds["low"] < card.thresholds["high"]
    assert "touching" in bundle.read_card(tmp_path / "web" / "lungs").thresholds
