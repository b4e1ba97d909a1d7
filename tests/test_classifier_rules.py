"""Tables of scores, thresholds by rule, and operating points with their exact intervals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pipelines.lab.measure import classifier_scores, rules
from pipelines.lab.measure.rules import Threshold, choose, parse, point

HEAD = "file,patient,fold,group,set,y:Mass,p:Mass"


def table(folder: Path, *lines: str, head: str = HEAD) -> Path:
    path = folder / "scores.csv"
    path.write_text("\n".join((head, *lines)) + "\n")
    return path


def ladder(
    positives: int = 40, negatives: int = 60
) -> tuple[classifier_scores.Flags, classifier_scores.Doubles]:
    """All positives above all negatives but for the ten lowest positives, which lie among the negatives."""
    truth = np.array([True] * positives + [False] * negatives)
    low, high = np.full(10, 0.30), np.full(positives - 10, 0.80)
    return truth, np.concatenate([high, low, np.full(negatives // 2, 0.50), np.full(negatives // 2, 0.10)])


# --- the table ----------------------------------------------------------------------------------------------


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Truth that is unknown stays unknown, and a film of an unknown patient is a patient of its own."""
    path = table(tmp_path, "a.png,p1,0,PA,cv,1,0.75", "b.png,,1,AP,cv,,0.5", "c.png,p2,,PA,test,0,0.25")
    read = classifier_scores.read(path)
    classifier_scores.save(tmp_path / "again.csv", read)
    again = classifier_scores.read(tmp_path / "again.csv")
    assert again.labels == ("Mass",)
    assert list(again.patients) == ["p1", "film b.png", "p2"]
    np.testing.assert_array_equal(again.truth[:, 0], [1, math.nan, 0])
    np.testing.assert_array_equal(again.said, read.said)
    assert len(again.of("test")) == 1
    assert not again.exclusive


def test_scores_that_differ_stay_different(tmp_path: Path) -> None:
    """Sure networks say 0.9999998 and 0.9999997; rounded to one they would tie, and cost area."""
    said = np.array([[0.9999998], [0.9999997]])
    films = [{"file": name, "patient": name, "set": "cv"} for name in "ab"]
    classifier_scores.write(tmp_path / "scores.csv", ("A",), films, np.array([[1.0], [0.0]]), said)
    np.testing.assert_array_equal(classifier_scores.read(tmp_path / "scores.csv").said, said)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a.png,p1,0,PA,cv,2,0.75", r"scores.csv, line 3: y:Mass is '2'"),
        ("a.png,p1,0,PA,cv,1,1.2", r"scores.csv, line 3: p:Mass is '1.2'"),
        ("a.png,p1,0,PA,cv,1,nan", r"line 3: p:Mass is 'nan'"),
        ("a.png,p1,0,PA,cv,1,", r"line 3: p:Mass is ''"),
        ("a.png,p1,0,PA,cv", r"line 3: fewer cells"),
        ("a.png,p1,0,PA,cv,1,0.5,9", r"line 3: more cells"),
        (",p1,0,PA,cv,1,0.5", r"line 3: no file"),
        ("z.png,p1,0,PA,cv,1,0.5", r"film z.png stands twice in set 'cv'"),
        ("a.png,p0,1,PA,cv,1,0.5", r"patient p0 is in two folds"),
    ],
)
def test_a_fault_is_named_with_file_and_line(tmp_path: Path, line: str, says: str) -> None:
    """Nobody looks for a wrong cell among thousands."""
    with pytest.raises(ValueError, match=says):
        classifier_scores.read(table(tmp_path, "z.png,p0,0,PA,cv,0,0.5", line))


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("file,patient,fold,set,y:A,p:A", "no column group"),
        ("file,patient,fold,group,set", "no column y:<label>"),
        ("file,patient,fold,group,set,y:A,p:B", "no column p:A, y:B"),
        ("file,patient,fold,group,set,y:A,p:A,p:A", "p:A stands twice"),
    ],
)
def test_a_head_that_lacks_something_is_refused(tmp_path: Path, head: str, says: str) -> None:
    """A probability without its truth is as useless as the other way round."""
    with pytest.raises(ValueError, match=f"line 1: {says}"):
        classifier_scores.read(table(tmp_path, "x", head=head))


def test_labels_are_exclusive_when_each_film_has_one_and_the_shares_sum_to_one(tmp_path: Path) -> None:
    """So nobody need say of a table that it is one of three."""
    head = "file,patient,fold,group,set,y:A,p:A,y:B,p:B"
    assert classifier_scores.read(table(tmp_path, "f,p,,,cv,1,0.7,0,0.3", head=head)).exclusive
    assert not classifier_scores.read(table(tmp_path, "f,p,,,cv,1,0.7,1,0.3", head=head)).exclusive
    assert not classifier_scores.read(table(tmp_path, "f,p,,,cv,1,0.7,0,0.7", head=head)).exclusive


# --- rules --------------------------------------------------------------------------------------------------


def test_each_rule_finds_the_threshold_that_is_known() -> None:
    """By hand: at 0.8: 30 of 40, no false one; at 0.5: 30 and 30 false; at 0.3: all 40 and 30 false."""
    truth, p = ladder()
    assert choose(parse("max-f1"), truth, p).value == pytest.approx(0.65)  # F1 60/70
    assert choose(parse("youden"), truth, p).value == pytest.approx(0.65)  # 0.75 against 0.5
    assert choose(parse("sensitivity=0.95"), truth, p).value == pytest.approx(0.20)
    assert choose(parse("sensitivity=0.75"), truth, p).value == pytest.approx(0.65)
    assert choose(parse("precision=0.9"), truth, p).value == pytest.approx(0.65)  # 30 of 30: at least 0.905
    assert choose(parse("precision=0.45"), truth, p).value == pytest.approx(0.20)  # 40 of 70: at least 0.466


def test_a_precision_that_is_not_sure_gives_no_threshold() -> None:
    """30 of 30 are observed, but the lower bound is 0.905."""
    found = choose(parse("precision=0.91"), *ladder())
    assert found.value is None
    assert "lower bound" in found.why


def test_under_thirty_positives_no_number_is_given() -> None:
    """29 say "insufficient positives", 30 give a threshold."""
    few = choose(parse("youden"), *ladder(29))
    assert few.value is None
    assert few.why == "insufficient positives (29, 30 are needed)"
    assert choose(parse("youden"), *ladder(30)).value is not None


def test_without_negatives_there_is_no_threshold() -> None:
    """Every rule would divide by nothing."""
    assert choose(parse("max-f1"), np.ones(40, dtype=bool), np.linspace(0, 1, 40)).value is None


@pytest.mark.parametrize("text", ["best", "youden=1", "precision", "sensitivity=1.5", "precision=half"])
def test_an_unknown_rule_is_refused(text: str) -> None:
    """And what there is, is told."""
    with pytest.raises(ValueError, match=r"no rule|share between"):
        parse(text)


def test_a_rule_is_written_as_it_is_read() -> None:
    """The card keeps the text."""
    assert [str(parse(text)) for text in rules.RULES] == list(rules.RULES)


# --- operating points ---------------------------------------------------------------------------------------


def test_an_operating_point_has_the_shares_that_one_counts_by_hand() -> None:
    """30 hits, 10 misses, 5 false ones, 55 rightly negative."""
    truth = np.repeat([True, True, False, False], [30, 10, 5, 55])
    called = np.repeat([True, False, True, False], [30, 10, 5, 55])
    found = point("Mass", Threshold(0.5), truth, called)
    assert (found.sensitivity, found.specificity) == (0.75, 55 / 60)
    assert (found.ppv, found.npv) == (30 / 35, 55 / 65)
    assert (found.f1, found.accuracy, found.baseline) == (60 / 75, 0.85, 0.6)
    low, high = found.intervals()["sensitivity"]
    assert (low, high) == pytest.approx((0.588, 0.873), abs=5e-4)  # Clopper and Pearson's for 30 of 40


def test_the_interval_of_f1_covers_as_often_as_it_says() -> None:
    """It is exact by way of the share of films that are both; so at least 95 of 100, whatever the truth."""
    rng = np.random.default_rng(5)
    shares = np.array([0.1, 0.05, 0.08, 0.77])  # tp, fp, fn, tn
    true = 2 * shares[0] / (2 * shares[0] + shares[1] + shares[2])
    covered = 0
    for tp, fp, fn, tn in rng.multinomial(200, shares, size=400):
        low, high = rules.Point("x", Threshold(0.5), tp, fp, fn, tn).intervals()["f1"]
        covered += low <= true <= high
    assert covered >= 0.93 * 400


def test_no_accuracy_is_shown_without_that_of_all_negative() -> None:
    """The table has both columns, also where there is no threshold."""
    truth = np.repeat([True, False], [3, 97])
    none = point("Hernia", choose(parse("youden"), truth, np.linspace(0, 1, 100)), truth, truth)
    made = rules.as_table("points", "", [none, point("Mass", Threshold(0.5), truth, ~truth)])
    assert made.head[-2:] == ("accuracy", "accuracy of “all negative”")
    assert made.rows[0][1].startswith("insufficient positives")
    assert made.rows[0][-1] == made.rows[1][-1] == "0.970"
    assert "–" in made.rows[0][4]
