"""The report of a gate from the tables of its rounds: thresholds, claims, and what goes into its card."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import bundle, nets
from models.bundle import Card
from pipelines.lab.films.data import ROUNDS, Row
from pipelines.lab.measure import calibrate, scores
from pipelines.lab.measure.budget import share_of
from pipelines.lab.measure.scores import BoxScore, Score
from pipelines.lab.report import gate_report

HEAD = (
    "file,source,site,split,body_part,view,projection,labels,age,sex,group,terms,lung_mask,lung_box,note,flag"
)


def answers(round_: str, named: str, cases: tuple[tuple[str, str, float], ...], gate: str) -> list[Score]:
    """Twenty patients of a round's own site, each shown in these cases: name, wanted answer, score."""
    return [
        Score(
            gate,
            round_,
            f"{round_}{n}.png",
            round_,
            round_,
            f"{round_}{n}",
            "frontal",
            "chest",
            *shown,
            named,
        )
        for n in range(20)
        for shown in cases
    ]


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A manifest that names no film: the tables alone are counted."""
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "manifest.csv").write_text(f"{HEAD}\n")
    return folder


CHAIN = (("as it is", "good", 1.0), ("as it is, again", "BLANK", 0.0))
LUNGS = (("as it is", "good|LUNGS_CUT_OFF", 0.3),)
MIRROR = (("as it is", "good", 0.9), ("mirrored", "MIRROR_SUSPECTED", 0.02))


@pytest.mark.parametrize(("gate", "cases"), [("mirror", MIRROR), ("chain", CHAIN), ("lungs", LUNGS)])
@pytest.mark.slow
def test_every_kind_of_gate_has_a_page(
    tmp_path: Path, films: Path, gate: str, cases: tuple[tuple[str, str, float], ...]
) -> None:
    """With both a table a claim and one a round; lungs have their boxes, too."""
    runs = tmp_path / "runs"
    for round_ in ROUNDS:
        scores.write(runs / round_ / gate / scores.SCORES, answers(round_, "BAD", cases, gate))
        box = BoxScore(round_, f"{round_}.png", round_, round_, "p", 0.5, 0.8, "0 0 1 1", "0 0 1 .5")
        scores.write_boxes(runs / round_ / "lungs" / scores.BOXES, [box])
        Image.new("L", (32, 40)).save(films / f"{round_}.png")
    out = tmp_path / "report"
    page = gate_report.evaluate_gate(gate, films, runs, out, tmp_path / "cache", tmp_path / "none")
    text = page.read_text()
    assert "Thresholds chosen without the site" in text
    assert ("Lung boxes" in text) == (gate == "lungs")
    names = {path.name for path in out.glob("*.csv")}
    assert {"claims.csv", "rounds.csv", "counts.csv", "errors.csv"} <= names
    assert ("boxes-by-film.csv" in names) == (gate == "lungs")
    with (out / "rounds.csv").open() as handle:
        assert {line["left out"] for line in csv.DictReader(handle)} == set(ROUNDS)


def test_a_gate_without_rounds_has_no_report(tmp_path: Path, films: Path) -> None:
    """It says which tables were looked for."""
    with pytest.raises(ValueError, match=r"no scores.csv of mirror"):
        gate_report.evaluate_gate("mirror", films, tmp_path, tmp_path, tmp_path, tmp_path)


def test_the_thresholds_are_those_of_the_card_where_it_has_some(tmp_path: Path) -> None:
    """Else those that the rounds give."""
    table = answers("nih", "BAD", MIRROR, "mirror") + answers("web", "BAD", MIRROR, "mirror")
    share = share_of("mirror")
    chosen = calibrate.choose(table, share)
    assert gate_report.known_thresholds("mirror", tmp_path, table, share) == (chosen.low, chosen.high)
    net = nets.Antisymmetric()
    bundle.save(tmp_path / "mirror", Card("mirror", "Antisymmetric", ("x",)), net)
    assert gate_report.known_thresholds("mirror", tmp_path, table, share) == (chosen.low, chosen.high)
    bundle.save(tmp_path / "mirror", Card("mirror", "Antisymmetric", ("x",), {"low": 0.1, "high": 0.3}), net)
    assert gate_report.known_thresholds("mirror", tmp_path, table, share) == (0.1, 0.3)


def test_rounds_are_counted_with_their_bounds() -> None:
    """A gate that only suspects has nobody missed; one that sorts has."""
    table = answers("nih", "BAD", MIRROR, "mirror") + answers("web", "BAD", MIRROR, "mirror")
    rows = gate_report.by_round(calibrate.without_site(table, share_of("mirror")))
    assert {row[0] for row in rows} == {"nih", "web"}
    metrics = {row[1]: row for row in rows if row[0] == "web"}
    assert metrics["clean patients lost"][2:4] == ("0", 20)
    assert str(metrics["clean patients lost"][4]).startswith("share at most 0.13")
    assert "faulty patients missed" not in metrics
    assert metrics["faulty patients called faulty, all films"][2] == 1.0
    sorting = gate_report.by_round(calibrate.without_site(table, share_of("rotation")))
    assert "faulty patients missed" in {row[1] for row in sorting}


def test_boxes_are_told_by_round_and_site() -> None:
    """The median, the first percentile and the least, of the films that have them."""
    overlaps = (0.9, 0.8, 0.7)
    boxes = [
        BoxScore("web", f"{n}", "web", "web", f"p{n // 2}", iou, float("nan") if n else 0.99, "", "")
        for n, iou in enumerate(overlaps)
    ]
    table = gate_report.box_table(boxes)
    (overlap, inside) = table.rows
    assert overlap[:6] == ("IoU of the boxes", "web", "web", "3", "2", "0.8000")
    assert overlap[-1] == "0.7000"
    assert (inside[0], inside[3], inside[5]) == ("lung inside the box", "1", "0.9900")


def test_a_film_outside_the_manifest_counts_as_well() -> None:
    """Phantoms for instance: there is no row to say more of them."""
    row = Row("nih0.png", "nih", "nih", "nih0", "frontal", "chest", "open", "50", "", "")
    text = gate_report.summary("mirror", answers("nih", "BAD", MIRROR, "mirror"), (0.1, 0.5), [row])
    assert "### Sites left out of training" in text
    assert "| all frontal chests | 20 | 0 | 0 | 1.0000 |" in text
    assert np.count_nonzero([line.startswith("### ") for line in text.splitlines()]) == 1
