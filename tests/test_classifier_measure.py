"""Areas, their intervals, confusion, calibration and learning curves, on what is known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm  # type: ignore[import-untyped]
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from pipelines.lab.measure import areas, learning_curve, platt
from pipelines.lab.measure.areas import Draws
from pipelines.lab.measure.classifier_scores import Scores
from pipelines.lab.measure.learning_curve import Learned


def films(
    truth: np.ndarray, said: np.ndarray, labels: tuple[str, ...] = ("A",), **more: np.ndarray
) -> Scores:
    """Scores of films that are a patient each, unless told otherwise."""
    n = len(truth)
    names = np.array([f"f{i}" for i in range(n)])
    blank = np.full(n, "")
    columns = {"patients": names, "folds": blank, "groups": blank, "sets": np.full(n, "cv")} | more
    return Scores(
        labels, names, truth=truth.reshape(n, -1).astype(float), said=said.reshape(n, -1), **columns
    )


def drawn(rng: np.random.Generator, n: int, apart: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Two normal distributions: the true AUC is Phi(apart / sqrt 2)."""
    truth = rng.random(n) < 0.3
    return truth, 1 / (1 + np.exp(-(rng.standard_normal(n) + apart * truth)))


def test_areas_are_those_of_scikit_learn_also_with_ties() -> None:
    """Rounded scores tie often."""
    truth, p = drawn(np.random.default_rng(1), 400)
    p = p.round(1)
    assert areas.auc(truth, p) == pytest.approx(roc_auc_score(truth, p), abs=1e-12)
    assert areas.average_precision(truth, p) == pytest.approx(average_precision_score(truth, p), abs=1e-12)


def test_a_weight_of_two_is_a_film_that_is_there_twice() -> None:
    """And one of none is a film that stayed away; so one sorting serves all draws."""
    truth, p = drawn(np.random.default_rng(2), 60)
    weights = np.random.default_rng(3).integers(0, 3, (5, 60)).astype(float)
    for row, area, precision in zip(
        weights,
        areas.aucs(truth, p, weights),
        areas.average_precisions(truth, p, weights),
        strict=True,
    ):
        again = np.repeat(np.arange(60), row.astype(int))
        assert area == pytest.approx(roc_auc_score(truth[again], p[again]))
        assert precision == pytest.approx(average_precision_score(truth[again], p[again]))


def test_the_intervals_cover() -> None:
    """Of 100 samples with a known AUC nearly 95 in 100 intervals hold it, and they are not absurdly wide."""
    rng, true, covered, width = np.random.default_rng(4), norm.cdf(1 / math.sqrt(2)), 0, 0.0
    for _ in range(100):
        low, high = areas.areas_of(films(*drawn(rng, 250)), least=1, draws=200).areas[0].auc.interval
        covered += low <= true <= high
        width += (high - low) / 100
    assert 89 <= covered <= 100
    assert width < 0.16


def test_films_of_one_patient_come_and_stay_away_together() -> None:
    """Ten copies of each film are no ten times surer."""
    truth, p = drawn(np.random.default_rng(5), 100)
    patients = np.array([f"p{i}" for i in range(100)])
    alone = areas.areas_of(films(truth, p, patients=patients)).areas[0].auc
    many = areas.areas_of(
        films(np.repeat(truth, 10), np.repeat(p, 10), patients=np.repeat(patients, 10))
    ).areas[0]
    assert many.auc.value == pytest.approx(alone.value)
    assert many.auc.interval == pytest.approx(alone.interval)
    assert many.patients == 100


def test_a_perfect_separation_of_few_promises_little() -> None:
    """Every draw gives 1; ten patients without an error only prove 69 %."""
    truth = np.repeat([True, False], [10, 200])
    found = areas.areas_of(films(truth, truth * 0.8 + 0.1)).areas[0].auc
    assert found.value == 1
    assert found.interval[0] == pytest.approx(0.6915, abs=1e-3)


def test_the_macro_average_is_over_labels_with_enough_films() -> None:
    """39 positives do not count, 40 do; unknown truth counts nowhere."""
    rng = np.random.default_rng(6)
    truth = np.zeros((300, 3))
    truth[:40, 0], truth[:39, 1], truth[:60, 2] = 1, 1, 1
    truth[60:200, 2] = math.nan
    found = areas.areas_of(films(truth, rng.random((300, 3)), ("A", "B", "C")))
    assert found.averaged == ("A", "C")
    assert found.of("C").negatives == 100
    assert found.macro.value == pytest.approx((found.of("A").auc.value + found.of("C").auc.value) / 2)
    assert found.macro.interval[0] < found.macro.value < found.macro.interval[1]


def test_folds_that_are_shifted_against_each_other_are_told_from_each_other() -> None:
    """Within each fold everything is right; pooled, the second network's scores are all too high."""
    truth = np.array([0, 0, 1, 1, 0, 0, 1, 1], dtype=bool)
    p = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    found = areas.areas_of(films(truth, p, folds=np.repeat(["0", "1"], 4)), least=1).areas[0]
    assert found.folds == (1.0, 1.0)
    assert found.by_fold == 1.0
    assert found.auc.value == 0.75


def test_a_label_with_one_kind_only_has_no_area() -> None:
    """nan, not 0.5 and not an error."""
    found = areas.areas_of(films(np.ones(50), np.linspace(0, 1, 50)), draws=20)
    assert math.isnan(found.areas[0].auc.value)
    assert math.isnan(found.macro.value)


def test_a_confusion_matrix_is_counted_by_hand() -> None:
    """Five films of three classes, one taken for its neighbour."""
    truth, said = np.eye(3)[[0, 0, 1, 2, 2]], np.eye(3)[[0, 1, 1, 2, 2]] * 0.7 + 0.1
    found = areas.exclusive(films(truth, said, ("N", "B", "V")))
    assert found.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 2]]
    assert found.accuracy.value == 0.8
    assert found.macro_f1.value == pytest.approx(f1_score([0, 0, 1, 2, 2], [0, 1, 1, 2, 2], average="macro"))
    assert found.largest == 0.4
    with pytest.raises(ValueError, match="not exclusive"):
        areas.exclusive(films(truth, np.full((5, 3), 0.5), ("N", "B", "V")))


def test_any_finding_is_all_but_normal() -> None:
    """Its probability is what normal leaves."""
    truth, said = np.eye(2)[[0, 1]], np.array([[0.9, 0.1], [0.2, 0.8]])
    found = areas.any_finding(films(truth, said, ("Normal", "Viral")), "Normal")
    assert found.labels == ("any but Normal",)
    assert found.truth.ravel().tolist() == [0, 1]
    assert found.said.ravel() == pytest.approx([0.1, 0.8])
    assert areas.normal_of(("Mass", "No Finding")) == "No Finding"
    assert areas.normal_of(("Mass",)) is None


def test_that_nothing_was_found_is_no_condition_in_the_average() -> None:
    """No Finding has an area of its own; of exclusive classes all are averaged."""
    rng = np.random.default_rng(11)
    mass, p = drawn(rng, 120)
    truth, said = np.column_stack([mass, ~mass]), np.column_stack([p, rng.random(120)])
    found = areas.areas_of(films(truth, said, ("Mass", "No Finding")), least=1, draws=20)
    assert found.averaged == ("Mass",)
    assert found.macro.value == found.of("Mass").auc.value
    shares = np.column_stack([p, 1 - p])
    assert len(areas.areas_of(films(truth, shares, ("Viral", "Normal")), least=1, draws=20).averaged) == 2


def test_scaling_mends_probabilities_that_are_too_sure() -> None:
    """Log-odds were doubled and shifted; the scaling takes both back, and the order of films stays."""
    rng = np.random.default_rng(7)
    p = rng.uniform(0.02, 0.6, 4000)
    truth = rng.random(4000) < p
    loud = platt.sigmoid(2 * platt.log_odds(p) + 1)
    fitted = platt.fit(truth, loud)
    assert (fitted.a, fitted.b) == pytest.approx((0.5, -0.5), abs=0.08)
    made = films(truth, loud)
    mended = platt.scaled(made, platt.fit_scalings(made)).said[:, 0]
    assert platt.calibration_error(truth, loud) > 0.1
    assert platt.calibration_error(truth, mended) < 0.03
    assert (np.argsort(mended) == np.argsort(loud)).all()


def test_a_scaling_never_turns_the_order_round() -> None:
    """A network that is worse than chance gets even odds, not a mirror."""
    truth, p = drawn(np.random.default_rng(8), 300)
    assert platt.fit(truth, 1 - p).a == pytest.approx(platt.LEAST_SLOPE)
    with pytest.raises(ValueError, match="with the condition"):
        platt.fit(np.ones(3, dtype=bool), np.full(3, 0.5))


def test_a_temperature_softens_classes_that_are_too_sure() -> None:
    """Log-probabilities were tripled: the slope found is a third."""
    rng = np.random.default_rng(9)
    logs = rng.standard_normal((4000, 3))
    p = platt.softened(logs, 1.0)
    truth = np.eye(3)[[rng.choice(3, p=row) for row in p]]
    made = films(truth, platt.softened(logs, 3.0), ("N", "B", "V"))
    scalings = platt.fit_scalings(made)
    assert scalings["B"] == scalings["N"]
    assert scalings["N"].a == pytest.approx(1 / 3, abs=0.03)
    assert platt.scaled(made, scalings).said == pytest.approx(p, abs=0.05)


def test_a_reliability_diagram_counts_what_was_and_what_was_said() -> None:
    """Two groups of films: 0.2 said and 1 in 10 had it, 0.8 said and 9 in 10 had it."""
    p = np.repeat([0.2, 0.8], 10)
    truth = np.array([True] + [False] * 9 + [True] * 9 + [False])
    bins = platt.reliability(truth, p)
    assert [(one.said, one.was.value, one.films) for one in bins] == [(0.2, 0.1, 10), (0.8, 0.9, 10)]
    assert platt.calibration_error(truth, p) == pytest.approx(0.1)


def test_draws_count_every_patient_once_on_average() -> None:
    """And each draw has as many patients as there are."""
    weights = Draws(np.array(["a", "b", "b", "c"]), 500).weights(np.ones(4, dtype=bool))
    assert (weights[:, 1] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert weights.mean() == pytest.approx(1, abs=0.1)


def test_a_learning_curve_finds_the_law_it_was_made_from() -> None:
    """0.85 - 2 n^-0.45 without noise, and the band holds the truth far beyond the points."""
    points = [Learned(n, 0.85 - 2 * n**-0.45, 0.005) for n in (200, 400, 800, 1600)]
    found = learning_curve.learning_curve(points)
    assert (found.a, found.b, found.c) == pytest.approx((0.85, 2, 0.45), rel=0.05)
    told = found.at(78_000)
    true = 0.85 - 2 * 78_000**-0.45
    assert told["auc"] == pytest.approx(true, abs=0.005)
    assert told["band"][0] < true < told["band"][1]
    assert told["width"][0] <= told["band"][0]
    assert told["width"][1] >= told["by log"]


def test_few_points_far_from_their_goal_leave_a_wide_band() -> None:
    """Four noisy sizes up to 1,000 films cannot say what 78,000 would give."""
    points = [Learned(n, auc, 0.015) for n, auc in ((200, 0.58), (400, 0.61), (800, 0.63), (1000, 0.64))]
    low, high = learning_curve.learning_curve(points).at(78_000)["width"]
    assert high - low > 0.15
    with pytest.raises(ValueError, match="three sizes"):
        learning_curve.learning_curve(points[:2])
