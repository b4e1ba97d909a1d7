"""What is made of the runs that compare augmentation and the ways with imbalance, on runs known by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.lab.measure import areas
from pipelines.lab.train import lessons
from pipelines.lab.train.lessons import MARKS, PLAIN

FILMS = 80
PATIENTS = [f"p{n // 2}" for n in range(FILMS)]
TRUTH = np.column_stack([np.arange(FILMS) % 2, np.arange(FILMS) % 4 == 0]).astype(np.float32)


def done(out: Path, way: tuple[str, str], seed: int, skill: float) -> None:
    """A run of this way: the more skill, the better its probabilities."""
    rng = np.random.default_rng([seed, round(skill * 100)])
    said = 1 / (1 + np.exp(-skill * (2 * TRUTH - 1) - rng.normal(0, 1, TRUTH.shape)))
    np.savez(out / f"{way[0]}-{way[1]}-{seed}.npz", said=said, truth=TRUTH)
    auc = areas.macro_auc(TRUTH, said)
    marks = dict.fromkeys(MARKS, 0.5) | {"auc": round(auc, 5)}
    line = {"augmentation": way[0], "imbalance": way[1], "seed": seed, **marks, "seconds": 1.0}
    with (out / lessons.RESULTS).open("a") as handle:
        handle.write(json.dumps(line) + "\n")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three seeds of the plain way, of a far better one, and one seed of a third."""
    (tmp_path / "subset.json").write_text(json.dumps({"patients": PATIENTS}))
    for seed in range(3):
        done(tmp_path, PLAIN, seed, 0.2)
        done(tmp_path, ("complex", "none"), seed, 2.0)
    done(tmp_path, ("basic", "focal"), 0, 0.4)
    return tmp_path


def test_a_better_way_is_told_from_the_plain_one_on_the_same_films(out: Path) -> None:
    """Its gain is the mean difference, and its interval, patients drawn together, does not hold nought."""
    plain, third, better = lessons.summarised(out)
    assert (plain["augmentation"], third["imbalance"], better["seeds"]) == ("none", "focal", 3)
    assert "gain" not in plain
    assert better["gain"] == pytest.approx(better["auc"] - plain["auc"], abs=2e-4)
    assert 0 < better["gain_low"] < better["gain"] < better["gain_high"]
    assert third["gain_low"] < third["gain_high"]


def test_a_mean_over_one_seed_has_no_interval(out: Path) -> None:
    """Student's t for the others: of three values 4.303 standard errors."""
    plain, third, _ = lessons.summarised(out)
    values = [line["auc"] for line in lessons.results(out) if line["imbalance"] == "none"][::2]
    assert third["auc_half"] is None
    assert plain["auc_half"] == pytest.approx(4.303 * np.std(values, ddof=1) / np.sqrt(3), abs=1e-4)


def test_the_table_has_a_line_a_way_and_a_run_a_line_of_its_own(out: Path) -> None:
    """For people: three digits, the plain way first, and no gain of it against itself."""
    head, rule, *lines = lessons.table(out).splitlines()
    assert head.count("|") == rule.count("|") == lines[0].count("|")
    assert lines[0].endswith("| – |")
    assert [line.split(" | ")[0] for line in lines] == ["| none", "| basic", "| complex"]
    shown = lessons.in_a_line(lessons.results(out)[0])
    assert shown.startswith("none / none, seed 0: macro AUC 0.")
    assert shown.endswith(", 1 s")


def test_marks_are_of_the_labels_that_can_be_judged() -> None:
    """A label with one kind of films among those judged counts in no mean; thresholds come from elsewhere."""
    judge, said = np.array([[1, 1], [0, 1]], dtype=np.float32), np.array([[0.9, 0.2], [0.1, 0.2]])
    marks = lessons.marked(judge, said, judge, said)
    assert marks == {"auc": 1.0, "ap": 1.0, "f1_half": 1.0, "f1_best": 1.0}
    shy = lessons.marked(judge, said / 10, judge, said / 10)
    assert (shy["f1_half"], shy["f1_best"]) == (0.0, 1.0)


def test_nothing_is_done_before_the_first_run(tmp_path: Path) -> None:
    """No table, no result, and no error."""
    assert lessons.results(tmp_path) == []
