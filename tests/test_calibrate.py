"""Thresholds with a guarantee: exact rates, the search, tables of scores, and what the card says."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dx, part10
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models import bundle, nets
from pipelines.lab.ask import site
from pipelines.lab.measure import binomial, budget, calibrate, platt, scores
from pipelines.lab.measure.budget import Share
from pipelines.lab.measure.scores import Score
from pipelines.lab.report import gate_report

DOCS = Path(__file__).parents[1] / "docs"
SHARE = Share("rotation", 20_000, 0.05, "2 % of the clean, 5 % of the faulty")  # what 60 patients can show
SEEN = st.lists(st.floats(0, 1, allow_nan=False), min_size=1, max_size=60)


def tail(errors: int, n: int, rate: float) -> float:
    """The chance of at most so many errors, summed term by term."""
    return math.fsum(math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(errors + 1))


def lost(good: Sequence[float], high: float) -> int:
    return sum(score < high for score in good)


def missed(bad: Sequence[float], high: float) -> int:
    return sum(score >= high for score in bad)


def picture(group: str, score: float, wanted: str = "good", **other: str) -> Score:
    """A row of a table of the rotation gate."""
    told = {"left_out": "nih", "site": "nih", "case": "upright", "view": "frontal"} | other
    return Score(
        "rotation",
        told["left_out"],
        f"{group}.jpg",
        told["site"],
        told["site"],
        group,
        told["view"],
        "chest",
        told["case"],
        wanted,
        score,
        "ROTATED_90",
    )


def table(site: str, good: Sequence[float], bad: Sequence[float]) -> list[Score]:
    """A patient a score, one clean picture and one turned."""
    rows = [picture(f"{site}{n}", score, left_out=site, site=site) for n, score in enumerate(good)]
    return rows + [
        picture(f"{site}{n}", score, "ROTATED_90", left_out=site, site=site, case="turned 90")
        for n, score in enumerate(bad)
    ]


@pytest.mark.parametrize(
    ("rate", "errors", "n"), [(0.001, 0, 2995), (0.001, 1, 4742), (0.0005, 0, 5990), (0.01, 0, 299)]
)
def test_the_numbers_of_patients_in_the_literature(rate: float, errors: int, n: int) -> None:
    """99.9 % at 95 % takes 2,995 patients without an error, 4,742 with one; and not one fewer."""
    assert binomial.needed(rate, errors) == n
    assert binomial.upper(errors, n) <= rate < binomial.upper(errors, n - 1)


@settings(deadline=None)
@given(st.integers(1, 200), st.data())
def test_the_bound_is_the_rate_at_which_so_few_errors_are_a_chance_of_5_percent(
    n: int, data: st.DataObject
) -> None:
    """Clopper and Pearson's definition, summed term by term."""
    errors = data.draw(st.integers(0, n))
    bound = binomial.upper(errors, n)
    assert bound == 1 if errors == n else tail(errors, n, bound) == pytest.approx(0.05, rel=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 300), st.sampled_from([0.0003, 0.005, 0.02, 0.1]))
def test_the_errors_a_budget_allows_are_those_of_trying_each(n: int, rate: float) -> None:
    """The most whose bound keeps it; where not even none is proof, the most by the observed share."""
    kept = [k for k in range(n) if tail(k, n, rate) <= 0.05]
    assert binomial.allowed(n, rate) == (max(kept) if kept else math.floor(rate * n))


@settings(max_examples=300, deadline=None)
@given(SEEN, SEEN)
def test_the_search_finds_what_trying_every_threshold_finds(good: list[float], bad: list[float]) -> None:
    """The budget of clean films is always kept, that of faults whenever any threshold keeps both."""
    found = calibrate.search(np.array(good), np.array(bad), SHARE)
    may_lose = binomial.allowed(len(good), SHARE.loss)
    may_miss = binomial.allowed(len(bad), 0.05)
    tried = [h for h in {*good, *np.nextafter(bad, 2)} if lost(good, h) <= may_lose]
    assert found.missed is not None
    assert found.lost.errors == lost(good, found.high) <= may_lose
    assert found.missed.errors == missed(bad, found.high)
    if any(missed(bad, h) <= may_miss for h in tried):
        assert found.missed.errors <= may_miss
    elif found.high < calibrate.SURE_AT_MOST:
        assert found.missed.errors == min(missed(bad, h) for h in tried)


def test_the_promise_holds_in_95_of_100_samples() -> None:
    """Scores spread evenly, so that the true share lost *is* the threshold: 5 % of searches promise too much.

    Faulty films score like the best clean ones, so that the search goes to the very limit of its budget.
    """
    rng = np.random.default_rng(0)
    share = Share("rotation", 10_000, 0.0, "")
    found = [calibrate.search(rng.random(800), np.ones(1), share).high for _ in range(2000)]
    bound = binomial.upper(binomial.allowed(800, 0.01), 800)
    assert np.mean(np.array(found) > bound) == pytest.approx(0.05, abs=0.015)
    assert np.mean(np.array(found) > 0.01) <= 0.05 + 0.015


@settings(deadline=None)
@given(SEEN, SEEN)
def test_low_lies_below_high_and_calls_no_more_clean_films_faulty_than_it_may(
    good: list[float], bad: list[float]
) -> None:
    """Unless it rests on its floor, below which a calm network would never call anything faulty."""
    found = calibrate.search(np.array(good), np.array(bad), SHARE)
    assert 0 <= found.low <= found.high <= 1
    assert found.wrong.errors <= found.lost.errors
    if found.low > 1 - calibrate.SURE_AT_MOST:
        assert found.wrong.errors <= binomial.allowed(len(good), SHARE.wrong)


def test_between_separated_films_each_side_keeps_a_third_of_the_gap() -> None:
    """In log-odds: 0.1 and 0.9 lie as far from the thresholds as these from each other."""
    found = calibrate.search(np.array([0.9, 0.99]), np.array([0.1, 0.001]), SHARE)
    steps = np.diff([math.log(p / (1 - p)) for p in (0.1, found.low, found.high, 0.9)])
    assert steps == pytest.approx([steps.mean()] * 3)
    assert (found.lost.errors, found.wrong.errors, found.caught) == (0, 0, 1)


def test_thresholds_do_not_sit_at_the_ends() -> None:
    """Films told apart without any doubt leave room: nobody need score 0.9999 to be good."""
    found = calibrate.search(np.full(100, 0.999999), np.full(100, 1e-9), SHARE)
    assert 0.1 < found.low < 0.3
    assert 0.7 < found.high < 0.9


def test_one_film_that_is_itself_wrong_moves_nothing_when_the_budget_has_room_for_it() -> None:
    """One clean film of a hundred at the bottom, one faulty at the top: as if they were not there."""
    good, bad = np.full(100, 0.97), np.full(100, 0.03)
    without = calibrate.search(good, bad, SHARE)
    good[0], bad[0] = 0.01, 0.99
    found = calibrate.search(good, bad, SHARE)
    assert found.high == pytest.approx(without.high)
    assert (found.lost.errors, found.missed.errors if found.missed else None) == (1, 1)


def test_too_few_patients_are_told_with_how_many_are_missing() -> None:
    """The bound, and what it would take: nothing is claimed that the films cannot carry."""
    share = Share("anatomy", 500, 0.005, "")
    found = calibrate.search(np.full(3373, 0.97), np.full(3373, 0.03), share)
    assert not found.lost.proven
    assert found.lost.missing == 5990 - 3373
    assert found.lost.bound == pytest.approx(1 - 0.05 ** (1 / 3373))
    assert "0.05 % needs 5,990 patients with no error, has 3,373" in found.lost.text()


def test_a_budget_that_is_proven_says_so() -> None:
    """3,000 patients without an error are enough for 0.1 %."""
    rate = binomial.Rate(0, 3000, 0.001)
    assert rate.proven
    assert rate.missing == 0
    assert rate.text() == "0 of 3,000 patients, at most 0.0998 %: within 0.1 %"


def test_a_gate_that_only_suspects_has_one_threshold_and_the_recall_that_falls_out_of_it() -> None:
    """At 1 % false alarms one clean patient of a hundred is spared."""
    share = Share("mirror", 10_000, None, "")
    good, bad = np.linspace(0.3, 0.99, 100), np.linspace(0, 0.4, 100)
    found = calibrate.search(good, bad, share)
    assert found.low == found.high
    assert found.missed is None
    assert found.lost.errors <= 1
    assert found.caught == pytest.approx((bad < found.high).mean())
    assert calibrate.recall_at(good, bad, 0.01) == (pytest.approx((bad < np.sort(good)[1]).mean()), 1)


def test_without_faulty_films_thresholds_are_kept_as_far_as_the_budget_allows() -> None:
    """A hospital's clean films may make a gate more lenient, never stricter."""
    good = np.full(100, 0.8)
    assert calibrate.search(good, np.array([]), SHARE, begin=(0.2, 0.75)).high == 0.75
    assert calibrate.search(good, np.array([]), SHARE, begin=(0.2, 0.9)).high == 0.8
    with pytest.raises(ValueError, match="faulty"):
        calibrate.search(good, np.array([]), SHARE)


def test_a_patient_counts_by_the_worst_picture_and_stress_does_not_count() -> None:
    """Tilted step by step, or inverted, or no answer right, or any: such pictures choose nothing."""
    rows = [
        picture("a", 0.9),
        picture("a", 0.8, case="upright"),
        picture("a", 0.7, case="upright, inverted"),
        picture("a", 0.2, case="tilt +15 black"),
        picture("a", 0.3, wanted=""),
        picture("a", 0.4, wanted="good|ROTATED_90"),
        picture("a", 0.05, wanted="ROTATED_90"),
        picture("a", 0.1, wanted="ROTATED_180"),
    ]
    found = calibrate.patients(rows)
    assert (found.good, found.bad) == ({"a": 0.8}, {"a": 0.1})


def test_frozen_thresholds_do_not_see_the_site_they_are_for() -> None:
    """Whatever the films of a site score, its thresholds stay; the other site's follow them."""
    here, there = table("nih", [0.9] * 5, [0.1] * 5), table("web", [0.8] * 5, [0.2] * 5)
    worse = table("nih", [0.6] * 5, [0.4] * 5)
    first, second = (calibrate.frozen(rows + there, SHARE) for rows in (here, worse))
    assert first["nih"] == second["nih"]
    assert first["web"].high != second["web"].high
    with pytest.raises(ValueError, match="clean"):
        calibrate.frozen(here, SHARE)


def test_platts_scaling_finds_the_line_that_made_the_scores() -> None:
    """Log-odds drawn twice too far are brought back, and the calibration error with them."""
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 2, 20_000)
    good = rng.random(20_000) < 1 / (1 + np.exp(-odds))
    shown = 1 / (1 + np.exp(-2 * odds))
    fitted = platt.fit(good, shown, platt.even_odds(good))
    assert (fitted.a, fitted.b) == pytest.approx((0.5, 0), abs=0.05)
    assert platt.gate_calibration_error(good, shown) > 0.05
    assert platt.gate_calibration_error(good, fitted.of(shown)) < 0.02
    assert fitted.of(0.9) == pytest.approx(0.75, abs=0.02)


def test_the_scaling_is_judged_on_rounds_that_did_not_fit_it() -> None:
    """And classes that are told apart without an error still have a finite one."""
    rows = table("nih", [0.9, 0.8], [0.1, 0.2]) + table("web", [0.95, 0.7], [0.05, 0.3])
    found = platt.calibration(rows)
    assert found is not None
    assert math.isfinite(found[0].a)
    assert found[1]["judged"] == "each round by the others"
    assert platt.calibration(rows[:2]) is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle without thresholds."""
    out = tmp_path / "rotation"
    bundle.save(out, bundle.Card("rotation", "Antisymmetric", ("x",), {"far": 3.0}), nets.Antisymmetric())
    return out


def test_the_card_keeps_thresholds_and_evidence(folder: Path, tmp_path: Path) -> None:
    """n, errors, bound, confidence, budget, the digest of the table, a line a site; other thresholds stay."""
    rows = table("nih", [0.9] * 40, [0.1] * 40) + table("web", [0.95] * 20, [0.05] * 20)
    path = tmp_path / "scores.csv"
    scores.write(path, rows)
    found = calibrate.calibrate(folder, [path])
    thresholds = bundle.read_card(folder).thresholds
    assert thresholds["far"] == 3.0
    assert (thresholds["low"], thresholds["high"]) == (found.low, found.high)
    told = bundle.evidence(folder)["calibration"]
    assert told["tables sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (told["lost"]["errors"], told["lost"]["patients"], told["lost"]["confidence"]) == (0, 60, 0.95)
    assert told["lost"]["bound"] == pytest.approx(1 - 0.05 ** (1 / 60), abs=1e-6)
    assert [(line["site"], line["clean"]) for line in told["by site"]] == [("nih", 40), ("web", 20)]
    text = (folder / bundle.README).read_text()
    assert "has 60" in text
    assert "void on a drift alarm" in text


def test_a_hospital_with_too_few_films_is_told_so_and_nothing_is_written(
    folder: Path, tmp_path: Path
) -> None:
    """Sixty patients cannot promise 0.03 %."""
    rows = table("", [0.9] * 60, [0.1] * 60)
    with pytest.raises(calibrate.CannotPromise, match="4,932 patients are missing"):
        calibrate.calibrate_on_site(
            folder, tmp_path / "out", rows, budget.share_of("rotation"), "2026", "films"
        )
    assert not (tmp_path / "out").exists()


def test_a_hospital_with_enough_films_gets_a_bundle_of_its_own(folder: Path, tmp_path: Path) -> None:
    """The shipped one stays as it is; the copy names site, period and digest, and its bound is proven."""
    rows = table("", [0.9] * 300, [0.1] * 300)
    before = (folder / bundle.METADATA).read_bytes()
    share = Share("rotation", 10_000, 0.01, "")
    found = calibrate.calibrate_on_site(folder, tmp_path / "out", rows, share, "2026-01 to 2026-03", "here")
    assert found.lost.proven
    assert (folder / bundle.METADATA).read_bytes() == before
    told = bundle.evidence(tmp_path / "out")["calibration"]
    assert (told["site"], told["period"]) == ("here", "2026-01 to 2026-03")
    assert told["rows sha256"] == calibrate.rows_digest(rows[::-1])
    assert bundle.load(tmp_path / "out").card.thresholds["high"] == found.high


def test_promises_that_cannot_both_be_kept_write_nothing(folder: Path, tmp_path: Path) -> None:
    """The budget of clean films would let through every tenth faulty one."""
    rows = table("", [0.5] * 300, [0.1] * 270 + [0.9] * 30)
    share = Share("rotation", 10_000, 0.01, "")
    with pytest.raises(calibrate.CannotPromise, match="30 of 300"):
        calibrate.calibrate_on_site(folder, tmp_path / "out", rows, share, "2026", "here")
    assert not (tmp_path / "out").exists()


def upright(pixels: np.ndarray) -> tuple[float, str]:
    """A gate for pictures whose top stands out, in either polarity."""
    return (0.95 if abs(pixels[0].mean() - np.median(pixels)) > 0.3 else 0.05), "ROTATED_90"


def films_of_a_hospital(folder: Path, count: int) -> Path:
    """So many pictures with a bright top, and one DICOM file of a patient who has two."""
    folder.mkdir()
    greys = np.zeros((40, 30), dtype=np.uint8)
    greys[:8] = 200
    for n in range(count):
        Image.fromarray(greys).save(folder / f"{n:03}.png")
    for name in ("a.dcm", "b"):
        (folder / name).write_bytes(part10(dx(greys.astype(np.uint16) * 16, PatientID="SECRET")))
    (folder / "notes.txt").write_text("no film")
    return folder


def test_a_hospitals_films_are_shown_in_the_cases_of_the_gate(tmp_path: Path) -> None:
    """As they are and altered; patients by the header, numbered; the period from the study dates."""
    folder = films_of_a_hospital(tmp_path / "films", 2)
    (folder / "broken.jpg").write_bytes(b"no picture")
    seen = site.site_scores("rotation", folder, upright, progress=False)
    assert {row.group for row in seen.table} == {f"patient {n}" for n in (1, 2, 3)}
    assert {row.case for row in seen.table} >= {"upright", "turned 90", "turned 180", "turned 270"}
    assert not any(row.case.startswith("tilt") for row in seen.table)
    assert (seen.period, seen.unread) == ("2026-11-01 to 2026-11-01", ("broken.jpg",))
    found = calibrate.patients(seen.table)
    assert set(found.good.values()) == {0.95}
    assert set(found.bad.values()) == {0.05}
    assert "SECRET" not in repr(seen)


def test_a_manifest_says_which_films_and_whose(tmp_path: Path) -> None:
    """Only the films that it names; without a column `file` it is none."""
    folder = films_of_a_hospital(tmp_path / "films", 3)
    (folder / "manifest.csv").write_text(
        "file,view,group,date\n000.png,frontal,p,2026-01-05\n001.png,,p,20260131\n002.png,lateral,q,\n"
    )
    seen = site.site_scores("rotation", folder, upright, progress=False)
    assert {row.file for row in seen.table} == {"000.png", "001.png"}  # a lateral has no upright here
    assert {row.group for row in seen.table} == {"patient 1"}
    assert seen.period == "2026-01-05 to 2026-01-31"
    (folder / "manifest.csv").write_text("name\n000.png\n")
    with pytest.raises(ValueError, match="column `file`"):
        site.site_films(folder)


def test_calibrating_on_site_writes_a_whole_folder_of_bundles(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate with its new thresholds, the others as they are; the films' folder is named, not its path."""
    bundle.save(tmp_path / "mirror", bundle.Card("mirror", "Antisymmetric", ("x",)), nets.Antisymmetric())
    monkeypatch.setattr(site, "asks", lambda *_: upright)
    films = films_of_a_hospital(tmp_path / "films", 60)
    out = tmp_path / "site"
    found, _ = site.calibrate_site("rotation", films, tmp_path, out, 0.05, progress=False)
    assert found.lost.proven
    assert bundle.read_card(out / "rotation").thresholds["high"] == found.high
    assert bundle.read_card(out / "mirror").name == "mirror"
    assert bundle.evidence(out / "rotation")["calibration"]["site"] == "films"
    with pytest.raises(calibrate.CannotPromise, match="are missing"):
        site.calibrate_site("rotation", films, tmp_path, tmp_path / "other", progress=False)
    assert not (tmp_path / "other").exists()


def test_the_manual_gives_the_numbers_of_patients_that_are_needed() -> None:
    """Each line of the table in docs/calibration.md, worked out."""
    lines = re.findall(
        r"^\| ([\d.]+) % \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$",
        (DOCS / "calibration.md").read_text(),
        re.MULTILINE,
    )
    assert len(lines) == 5
    for rate, *told in lines:
        assert [int(n.replace(",", "")) for n in told] == [
            binomial.needed(float(rate) / 100, k) for k in range(3)
        ]


def test_the_budget_adds_up_and_the_manual_shows_it() -> None:
    """0.2 % in all, the mirror gate at most 0.02 %; docs/calibration.md has the very table."""
    shares = [share.loss_ppm for share in budget.BUDGET]
    assert sum(shares) + budget.RESERVE_PPM == budget.CHAIN_PPM == 2000
    assert budget.share_of("mirror").loss <= 0.0002
    assert budget.share_of("hip") is budget.REGION
    assert budget.table() in (DOCS / "calibration.md").read_text()


def test_the_rounds_are_found_and_counted_with_thresholds_of_the_others(tmp_path: Path) -> None:
    """A folder of runs, or tables by name; what a site gets from thresholds that never saw it."""
    there = (("nih", table("nih", [0.9] * 20, [0.1] * 20)), ("web", table("web", [0.6] * 20, [0.4] * 20)))
    for round_, rows in there:
        scores.write(tmp_path / round_ / "rotation" / "scores.csv", rows)
    paths = scores.named_tables([tmp_path], "rotation")
    assert [path.parts[-3] for path in paths] == ["nih", "web"]
    assert scores.named_tables(paths[:1], "rotation") == paths[:1]
    pool = scores.pooled(paths, "rotation")
    found = calibrate.without_site(pool, SHARE)
    assert (found["web"].lost.errors, found["web"].lost.patients) == (
        20,
        20,
    )  # nih's gap is wide, its high 0.68
    assert found["nih"].lost.errors == 0
    values = {(name, metric): value for name, metric, value, *_ in gate_report.by_round(found)}
    assert values["web", "clean patients lost"] == "20"
    assert calibrate.without_site(scores.pooled(paths[:1], "rotation"), SHARE) == {}
    with pytest.raises(ValueError, match="no scores of the gate mirror"):
        scores.pooled(paths, "mirror")


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [({"low": 0.2, "high": 0.8, "platt_a": 1.0}, (0.2, 0.8)), ({"least": 0.1}, (0.1, 0.1)), ({}, None)],
)
def test_the_two_thresholds_of_any_card(
    thresholds: dict[str, float], expected: tuple[float, float] | None
) -> None:
    """One threshold counts as two that are the same."""
    assert calibrate.thresholds_of(bundle.Card("x", "Antisymmetric", (), thresholds)) == expected
