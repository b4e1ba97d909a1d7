"""Training: batches, stopping and going on, repeating, and choosing thresholds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models import augment, bundle, calibrate, card, evaluate, train
from models.augment import Dice
from models.data import CACHE_PX, Films, Row
from pipelines.transforms import as_batch

VIEWS = ("frontal", "lateral", "not_chest")


@pytest.fixture
def films() -> Films:
    """Thirty invented films with masks: a bright square in the upper left, of three views."""
    rows = tuple(
        Row(f"{n}", "nih_talo", "nih", f"g{n}", VIEWS[n % 3], "", "open", "50", "", f"{n}") for n in range(30)
    )
    greys = np.random.default_rng(0).integers(0, 90, (30, CACHE_PX, CACHE_PX), dtype=np.uint8)
    greys[:, 20:90, 20:90] += 150
    masks = np.zeros_like(greys)
    masks[:, 20:90, 20:90] = 255
    return Films(rows, greys, masks)


@pytest.fixture(autouse=True)
def small_and_invented(films: Films, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training reads the invented films, draws no phantoms, and takes small batches."""
    monkeypatch.setattr(train, "load", lambda *_: films)
    monkeypatch.setattr(calibrate, "load", lambda *_: films)
    monkeypatch.setattr(train, "PHANTOM_SEEDS", range(1000, 1001))
    monkeypatch.setattr(train, "BATCH", 8)
    monkeypatch.setattr(train, "SAVE_EVERY", 2)


def run(name: str, out: Path, steps: int = 3, resume: bool = False) -> Path:
    cache = out.parent / "cache"
    cache.mkdir(exist_ok=True)
    return train.train(name, Path("unused"), out, cache, as_batch, resume=resume, steps=steps)


@pytest.mark.parametrize("name", train.RECIPES)
def test_every_recipe_gives_finite_batches_in_range(name: str, films: Films) -> None:
    """(B, 128, 128) in [0, 1] and a target of the kind its loss takes."""
    recipe, dice = train.RECIPES[name], Dice(16, torch.Generator().manual_seed(0))
    pool = train.pool_of(films, recipe, dice.generator)
    x, target = recipe.batch(pool, dice)
    assert x.shape == (16, 128, 128)
    assert 0 <= x.min() <= x.max() <= 1
    classes = len(recipe.classes)
    net = train.KINDS[recipe.network](classes)
    assert torch.isfinite(recipe.loss(net(as_batch(x)[:, None]), target))


@pytest.mark.slow
def test_a_run_repeats_itself_from_its_seed(tmp_path: Path) -> None:
    """The same seed gives the same log, and the bundle that is written loads."""
    logs = [(run("rotation", tmp_path / name) / "train.jsonl").read_text() for name in ("a", "b")]
    assert logs[0] == logs[1]
    assert bundle.load(tmp_path / "a").card.classes == ("0", "90", "180", "270")


@pytest.mark.slow
def test_a_stopped_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """After four steps, six asked for: it goes on with the fifth and keeps the log of the first four."""
    run("inversion", tmp_path / "a", steps=6)
    checkpoint = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)
    assert checkpoint["step"] == 6
    run("inversion", tmp_path / "a", steps=6, resume=True)
    steps = [json.loads(line)["step"] for line in (tmp_path / "a" / "train.jsonl").read_text().splitlines()]
    assert steps == list(range(6))


@pytest.mark.parametrize("name", train.RECIPES)
def test_calibration_writes_thresholds_into_the_card(name: str, tmp_path: Path, films: Films) -> None:
    """Whatever the weights, the thresholds are finite, ordered, and stand in the card."""
    recipe = train.RECIPES[name]
    net = train.KINDS[recipe.network](len(recipe.classes))
    bundle.save(tmp_path / name, bundle.Card(name, recipe.network, recipe.classes), net)
    thresholds = calibrate.calibrate(name, Path("unused"), tmp_path / name, tmp_path, as_batch)
    assert bundle.load(tmp_path / name).card.thresholds == thresholds
    assert all(np.isfinite(list(thresholds.values())))
    assert thresholds.get("low", 0) < thresholds.get("high", 1)


def test_no_bad_score_reaches_high_and_no_good_one_low() -> None:
    """Where the two are well apart; the laxest thresholds are SURE and its complement."""
    good, bad = np.array([0.95, 0.97, 0.99] * 400), np.array([0.01, 0.02, 0.06] * 400)
    low, high = calibrate.two_thresholds(good, bad)
    assert high == pytest.approx(calibrate.SURE)
    assert low == pytest.approx(1 - calibrate.SURE)


def test_a_few_bad_scores_cannot_make_the_gate_hold_everything() -> None:
    """One mislabelled film moves no threshold beyond what LOST allows."""
    good, bad = np.full(1000, 0.97), np.array([0.01] * 999 + [0.999])
    _, high = calibrate.two_thresholds(good, bad)
    assert high <= 0.97


def test_clopper_pearson_gives_the_textbook_intervals() -> None:
    """No error in 2,995 patients is 99.9 % at two-sided 95 % ... of 1 - 0.025^(1/n)."""
    low, high = evaluate.clopper_pearson(2995, 2995)
    assert low == pytest.approx(0.025 ** (1 / 2995))
    assert high == 1.0
    assert evaluate.clopper_pearson(0, 10)[0] == 0.0
    assert evaluate.clopper_pearson(8, 10) == pytest.approx((0.4439, 0.9748), abs=1e-4)


def test_turning_is_clockwise() -> None:
    """A bright top edge comes to the right after one quarter turn."""
    film = torch.zeros(1, 4, 4)
    film[0, 0] = 1
    assert augment.turned(film, torch.tensor([1]))[0, :, -1].sum() == 4


def test_the_card_keeps_what_people_wrote_round_the_tables(tmp_path: Path) -> None:
    """Evaluating twice replaces the tables and nothing else."""
    (tmp_path / "docs").mkdir()
    path = tmp_path / bundle.README
    path.write_text("# gate\nbefore\n<!-- data -->\nold\n<!-- end of data -->\nafter\n")
    card.write_part(tmp_path, "data", "new\n")
    card.write_part(tmp_path, "data", "newer\n")
    text = path.read_text()
    assert "before" in text
    assert "after" in text
    assert "newer" in text
    assert "old" not in text
    assert text.count("<!-- data -->") == 1


def test_the_card_names_the_terms_of_every_source(films: Films) -> None:
    """Films and patients are counted by source, view and terms."""
    table = card.data_table(films.rows)
    assert "| nih_talo | frontal | open | 10 | 10 |" in table
