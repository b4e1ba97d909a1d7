"""What is counted from a gate's scores, on tables whose right answers are known by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from gate_scores import boxes, row, score
from scipy.stats import fisher_exact
from sklearn.metrics import roc_auc_score, roc_curve

from pipelines.lab.ask import gate_cases
from pipelines.lab.measure import areas, binomial, tables
from pipelines.lab.measure.scores import Score
from pipelines.lab.report import claims, gate_curves, gate_report

LOW, HIGH = THRESHOLDS = (0.1, 0.9)


def named(found: Iterable[claims.Claim], claim: str) -> claims.Claim:
    """The claim of that name."""
    return next(one for one in found if one.claim == claim)


# --- counting -----------------------------------------------------------------------------------------------


def test_the_bound_is_the_one_sided_one() -> None:
    """99.9 % at 95 % confidence: no error in 2,995 patients, or one in 4,742, and not one patient fewer."""
    assert binomial.upper(0, 2995) <= 0.001 < binomial.upper(0, 2994)
    assert binomial.upper(1, 4742) <= 0.001 < binomial.upper(1, 4741)


def test_the_intervals_are_the_textbook_ones() -> None:
    """Clopper and Pearson for eight in ten; none and all have one open end."""
    assert binomial.clopper_pearson(8, 10) == pytest.approx((0.4439, 0.9748), abs=1e-4)
    assert binomial.clopper_pearson(0, 10) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert binomial.clopper_pearson(10, 10) == pytest.approx((0.025**0.1, 1.0))


def test_all_turns_of_a_patient_count_as_one() -> None:
    """Right, only unsure, misjudged: the worst answer about any film in any case is the patient's."""
    shown = [
        score("right", 0.95),
        score("right", 0.05, "turned 90", "ROTATED_90"),
        score("unsure", 0.95),
        score("unsure", 0.5, "turned 90", "ROTATED_90"),
        score("both", 0.5),
        score("both", 0.95, "turned 90", "ROTATED_90"),
        score("both", 0.95, "turned 180", "ROTATED_180"),
        score("other turn", 0.05, "turned 180", "ROTATED_180"),
    ]
    (line, whole) = tables.by_site("turns", tables.judge(shown, THRESHOLDS))
    assert (line.site, line.patients, line.misjudged, line.unsure) == ("nih", 4, 2, 1)
    assert (whole.site, whole.errors) == (tables.ALL_FRONTALS, 3)
    assert line.interval == binomial.clopper_pearson(1, 4)


def test_another_part_that_is_held_is_right_and_a_chest_that_is_held_is_not() -> None:
    """For the anatomy gate the two errors are different ones."""
    held = "|".join(gate_cases.HELD)
    shown = [
        score("hand unsure", 0.5, "as it is", held, gate="anatomy", view="not_chest", named="OTHER_PART"),
        score("hand passed", 0.95, "as it is", held, gate="anatomy", view="not_chest", named="OTHER_PART"),
        score("chest unsure", 0.5, "as it is", gate="anatomy"),
        score("chest called a hand", 0.05, "as it is", gate="anatomy", named="OTHER_PART"),
    ]
    wrong = {one.score.group: one.wrong for one in tables.judge(shown, THRESHOLDS)}
    assert wrong == {
        "hand unsure": tables.RIGHT,
        "hand passed": tables.MISJUDGED,
        "chest unsure": tables.NOT_SURE,
        "chest called a hand": tables.MISJUDGED,
    }


def test_squashed_films_and_laterals_stand_apart() -> None:
    """A site's squashed films, its laterals and the rest are three lines."""
    rows = [row("a.png", site="web", note="squashed to 224x224"), row("b.png", site="web")]
    shown = [score("a", 1, site="web"), score("b", 1, site="web"), score("c", 1, site="web", view="lateral")]
    lines = tables.by_site("", tables.judge(shown, THRESHOLDS, rows))
    assert [line.site for line in lines] == [
        "web",
        "web, lateral",
        "web, squashed",
        tables.ALL_FRONTALS,
        tables.ALL_OTHERS,
    ]


def test_scores_of_films_that_the_round_trained_on_are_left_out() -> None:
    """The round without nih has seen web; laterals are left out by patient; phantoms nobody has seen."""
    shown = [
        score("a", 1),
        score("b", 1, site="web"),
        score("c", 1, site="web", view="lateral"),
        score("c", 1, site="web"),
        score("d", 1, site="phantom"),
        score("e", 1, site="web", left_out=""),
    ]
    kept, dropped = tables.unseen(shown)
    assert [one.group for one in kept] == ["a", "c", "c", "d", "e"]
    assert dropped == 1


def test_the_rounds_are_told_apart() -> None:
    """A line a round and site, and only the four turns in it."""
    shown = [
        score("a", 0.95),
        score("a", 0.5, "upright, inverted"),
        score("b", 0.5, left_out="web", site="web"),
    ]
    lines = tables.rounds("rotation", tables.judge(shown, THRESHOLDS))
    assert [(line.what, line.site, line.errors) for line in lines if line.site in ("nih", "web")] == [
        ("nih", "nih", 0),
        ("web", "web", 1),
    ]


# --- curves -------------------------------------------------------------------------------------------------


def test_recall_at_a_rate_of_false_alarms_is_sklearns() -> None:
    """The largest recall of any threshold that costs no more good films than allowed."""
    rng = np.random.default_rng(2)
    shown = [
        score(str(i), float(value), wanted="good" if good else "ROTATED_90")
        for i, (value, good) in enumerate(zip(rng.random(400) ** 2, rng.random(400) < 0.5, strict=True))
    ]
    curve = gate_curves.roc("", "", shown)
    assert curve is not None
    defect = [one.wanted != "good" for one in shown]
    alarms, recall, _ = roc_curve(defect, [-one.score for one in shown], drop_intermediate=False)
    for most in (0.0, 0.01, 0.1, 0.5):
        assert curve.recall_at(most) == pytest.approx(recall[alarms <= most].max())


def test_the_area_of_a_gate_is_that_of_all_areas() -> None:
    """The same function makes every area and its interval: patients are drawn, not pictures of them."""
    rng = np.random.default_rng(3)
    good = np.arange(120) % 2 == 0
    values = rng.normal(good * 1.0, 1.0)
    shown = [
        score(f"p{n // 2}", float(value), wanted="good" if is_good else "ROTATED_90")
        for n, (value, is_good) in enumerate(zip(values, good, strict=True))
    ]
    once, copied = gate_curves.roc("", "", shown), gate_curves.roc("", "", shown * 10)
    groups = np.array([one.group for one in shown])
    expected = areas.area(good, values, groups, gate_curves.SEED)
    assert once is not None
    assert copied is not None
    assert (once.auc, once.interval) == (expected.value, expected.interval)
    assert copied.interval == pytest.approx(once.interval)
    assert once.auc == pytest.approx(roc_auc_score(good, values))


def test_another_part_is_set_against_all_frontals() -> None:
    """A hand has no good films of its own; its curve takes those of every site."""
    hands = [score("h", 0.2, "as it is", "OTHER_PART", gate="anatomy", view="not_chest", site="rsna_boneage")]
    chests = [score("a", 0.9, "as it is"), score("b", 0.1, "as it is", site="web", left_out="web")]
    found = gate_curves.rocs("anatomy", tables.judge(hands + chests, THRESHOLDS))
    assert {curve.site: (curve.auc, curve.good) for curve in found} == {
        gate_curves.ALL: (0.5, 2),
        "rsna_boneage": (0.5, 2),
    }


def test_fewer_answers_fewer_errors() -> None:
    """Four films, one of them wrong and third in certainty: by hand."""
    shown = [score("a", 1.0), score("b", 0.9), score("c", 0.2), score("d", 0.6)]
    curve = gate_curves.coverage("", tables.judge(shown, THRESHOLDS), THRESHOLDS)
    assert curve.answered.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.error.tolist() == pytest.approx([0, 0, 1 / 3, 0.25])
    assert curve.working == (0.5, 0.0)
    assert (curve.error_at(0.75), curve.first_error) == (pytest.approx(1 / 3), 0.75)


def test_the_stress_curve_counts_upright_unsure_and_turned() -> None:
    """At 20 degrees nothing is wanted; what was said is counted all the same, and is no error."""
    shown = [score(str(i), value, "tilt +20 cropped", "") for i, value in enumerate((0.95, 0.5, 0.05, 0.04))]
    judged = tables.judge(shown, THRESHOLDS)
    point = gate_curves.tilts(judged)[0]
    assert (point.fill, point.degrees, point.films) == ("cropped", 20, 4)
    assert (point.upright, point.unsure, point.turned) == (0.25, 0.25, 0.5)
    assert all(one.wrong == tables.RIGHT for one in judged)
    assert tables.counts("rotation", judged) == []


# --- slices -------------------------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    """0.01, 0.04 and 0.03: three times the least, twice the next, and never less than the one before."""
    some = [tables.Slice("", "", 9, 9, 9, 9, p) for p in (0.01, 0.04, 0.03)]
    assert [one.p_holm for one in tables._holm(some)] == pytest.approx([0.03, 0.06, 0.06])


def test_a_finding_that_is_held_more_often_is_flagged() -> None:
    """20 effusions of which half are held, against 200 others; Fisher's p; a finding kept as often is not."""
    rows, shown = [], []
    for i in range(220):
        label = "Effusion" if i < 20 else "Nodule" if i < 40 else "No Finding"
        rows.append(row(f"{i}.png", str(i), labels=label))
        shown.append(score(str(i), 0.5 if i < 10 else 1.0, file=f"{i}.png"))
    found = {one.name: one for one in tables.slices("rotation", tables.judge(shown, THRESHOLDS, rows))}
    effusion = found["nih: Effusion"]
    assert (effusion.patients, effusion.kept, effusion.rest, effusion.rest_kept) == (20, 10, 200, 200)
    assert effusion.p == pytest.approx(fisher_exact([[10, 10], [200, 0]]).pvalue)
    assert effusion.below
    assert not found["nih: Nodule"].below
    assert not found["nih: No Finding"].below  # differs significantly too, but is kept more often


def test_slices_are_compared_where_they_are_known() -> None:
    """Sex among adults of known sex, under both spellings; the age of a child is no adult's."""
    rows = [row(f"{i}.png", str(i), sex=("M", "male", "F", "female", "")[i % 5]) for i in range(50)]
    rows += [row(f"{i}.png", str(i), sex="M", age="4") for i in range(50, 60)]
    shown = [score(str(i), 1.0, file=f"{i}.png") for i in range(60)]
    found = {one.name: one for one in tables.slices("rotation", tables.judge(shown, THRESHOLDS, rows))}
    assert (found["men"].patients, found["men"].rest) == (20, 20)
    assert found["50 to 59"].patients == 50
    assert found["children under ten"].patients == 10


# --- claims -------------------------------------------------------------------------------------------------


def rotation_scores(patients: int, misjudged: int, site: str = "nih") -> list[Score]:
    """So many patients in two turns, so many of them misjudged in one."""
    return [
        score(
            f"{site} {i}",
            0.95 if i < misjudged and turn else (0.05 if turn else 0.95),
            case,
            wanted,
            site=site,
        )
        for i in range(patients)
        for turn, (case, wanted) in enumerate((("upright", "good"), ("turned 90", "ROTATED_90")))
    ]


@pytest.mark.parametrize(
    ("patients", "errors", "verdict"),
    [(2000, 1, "observed"), (1999, 1, "no"), (6000, 0, "proven"), (10, 0, "observed")],
)
def test_one_error_in_two_thousand(patients: int, errors: int, verdict: str) -> None:
    """Observed and proven are two things: no error in 6,000 proves it, in ten it does not."""
    found = claims.judged_claims("rotation", rotation_scores(patients, errors), THRESHOLDS, [])
    claim = named(found, "all four turns: misjudged")
    assert claims.verdict(claim) == verdict
    assert claim.measured == f"{errors} errors in {patients} patients"


def test_no_adult_site_may_have_two_errors_and_children_do_not_count_there() -> None:
    """Two misjudged adults of one site break the bar; a child is judged elsewhere."""
    shown = rotation_scores(30, 2) + rotation_scores(30, 2, "web")
    rows = [row(f"web {i}.png", f"web {i}", "web", age="3") for i in range(1, 30)]
    found = claims.judged_claims("rotation", shown, THRESHOLDS, rows)
    assert named(found, "all four turns: adults of nih").holds is False
    assert named(found, "all four turns: adults of web").holds is True


def test_unsure_counts_apart_and_against_the_budget() -> None:
    """A held upright film is no misjudgement, but it is a lost film."""
    shown = [score(str(i), 0.5 if i == 0 else 0.95) for i in range(100)]
    rows = [row(f"{i}.png", str(i), age="5") for i in range(100)]
    found = claims.judged_claims("rotation", shown, THRESHOLDS, rows, budget=0.02)
    assert named(found, "all four turns: misjudged").measured == "0 errors in 100 patients"
    assert named(found, "all four turns: misjudged or unsure").measured == "1 errors in 100 patients"
    assert named(found, "clean films lost, against the budget").holds is True
    assert named(found, "children's frontal films lost").holds is False


def test_the_bars_of_the_anatomy_gate() -> None:
    """A lateral passed, a frontal called lateral, a spine passed and a far set told apart."""
    held = "|".join(gate_cases.HELD)

    def other(group: str, value: float, site: str, part: str, view: str = "not_chest") -> Score:
        return score(
            group,
            value,
            "as it is",
            held,
            gate="anatomy",
            site=site,
            part=part,
            view=view,
            named="OTHER_PART",
        )

    shown = [score(str(i), 0.95, "as it is", gate="anatomy") for i in range(99)]
    shown.append(score("99", 0.05, "as it is", gate="anatomy", named="LATERAL"))
    shown += [other(f"l{i}", 0.95 if i == 0 else 0.5, "web", "chest", "lateral") for i in range(10)]
    shown += [other(f"s{i}", 0.92 if i == 0 else 0.01, "cadma_spine", "spine") for i in range(100)]
    shown += [other(f"d{i}", 0.5, "ufba425_dental", "dental panoramic") for i in range(100)]
    shown += [other(f"m{i}", 0.001, "mednist_nonxray", "non-radiograph:HeadCT") for i in range(100)]
    found = claims.judged_claims("anatomy", shown, THRESHOLDS, [])
    assert named(found, "laterals passed as frontal").measured == "1 passed in 10 patients"
    assert named(found, "laterals passed as frontal").holds is False
    assert named(found, "frontals called lateral").measured == "1 called so in 100 patients"
    assert named(found, "frontals lost").holds is False
    assert named(found, "cadma_spine passed as frontal").holds is False
    assert named(found, "ufba425_dental passed as frontal").holds is True
    assert named(found, "like a skull or an abdomen: dental panoramic").holds is True
    far = named(found, "AUROC, far: mednist_nonxray")
    assert (far.bar, far.measured, far.holds, far.proven) == ("at least 0.999", "1.00000", True, False)
    assert named(found, "AUROC, near: cadma_spine").measured == "0.99990"  # one of 100 * 100 pairs


def test_the_mirror_gates_recall_is_printed_at_both_rates() -> None:
    """1,000 unmirrored films; two mirrored ones of ten score above the least of them."""
    shown = [score(str(i), 0.5 + i / 5000, "as it is", gate="mirror") for i in range(1000)]
    values = [0.1] * 8 + [0.5011, 0.9]
    shown += [score(str(i), v, "mirrored", "MIRROR_SUSPECTED", gate="mirror") for i, v in enumerate(values)]
    shown = [replace(one, named="MIRROR_SUSPECTED") for one in shown]
    found = claims.judged_claims("mirror", shown, (0.2, 0.2), [])
    assert named(found, "as published: recall at 0.02 % false alarms").measured == "recall 0.8000"
    assert named(found, "as published: recall at 1 % false alarms").measured == "recall 0.9000"
    assert named(found, "false alarms at the thresholds").measured == "0 alarms in 1000 patients"
    assert named(found, "mirrored films missed at the thresholds").measured == "2 missed in 10 patients"


def test_the_chain_may_lose_one_clean_film_in_five_hundred() -> None:
    """Counted like a gate: what passes scores 1, what does not scores 0."""
    shown = [score(str(i), float(i > 0), "as it is", gate="chain", named="OTHER_PART") for i in range(500)]
    shown.append(score("hand", 1.0, "as it is", "OTHER_PART", gate="chain", view="not_chest"))
    found = claims.judged_claims("chain", shown, (0.5, 0.5), [])
    lost = named(found, "clean films lost, against the budget")
    assert (lost.bar, lost.measured, lost.holds, lost.proven) == (
        "at most 0.2 %",
        "1 lost in 500 patients",
        True,
        False,
    )
    assert named(found, "not a frontal chest, and passed").measured == "1 passed in 1 patients"
    (line, *_) = tables.rounds("chain", tables.judge(shown, (0.5, 0.5)))
    assert (line.site, line.patients, line.misjudged) == ("nih", 501, 2)


def test_the_bars_of_the_lung_box() -> None:
    """The median holds; one film in fifty far off breaks the first percentile."""
    found = claims.judged_claims("lungs", [], THRESHOLDS, [], boxes([0.95] * 98 + [0.3, 0.3]))
    assert named(found, "box IoU, median: web").holds is True
    low = named(found, "box IoU, 1st percentile: web")
    assert (low.measured, low.holds) == ("0.3000", False)
    assert named(found, "lung inside the box, mean: web").holds is True
    table = gate_report.box_table(boxes([0.9, 0.8, 0.2]))
    assert ("IoU of the boxes", "web", "web", "3", "3", "0.8000", "0.2120", "0.2000") in table.rows
