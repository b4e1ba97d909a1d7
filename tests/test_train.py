"""Training: batches, stopping and going on, repeating, and choosing thresholds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models import bundle, card
from models.graphs import PARTS
from pipelines.lab.films import augment, data
from pipelines.lab.films.augment import Dice
from pipelines.lab.films.data import CACHE_PX, Films, Row
from pipelines.lab.train import gate_train, recipes
from pipelines.lab.train.recipes import anatomy, frontal
from pipelines.transforms import as_batch

VIEWS = ("frontal", "lateral", "not_chest")


@pytest.fixture
def films() -> Films:
    """Thirty invented films with masks: a bright square in the upper left, of three views."""
    rows = tuple(
        Row(f"{n}", "nih_talo", "nih", f"g{n}", VIEWS[n % 3], "hand", "open", "50", "", f"{n}", "M", "PA")
        for n in range(30)
    )
    greys = np.random.default_rng(0).integers(0, 90, (30, CACHE_PX, CACHE_PX), dtype=np.uint8)
    greys[:, 20:90, 20:90] += 150
    masks = np.zeros_like(greys)
    masks[:, 20:90, 20:90] = 255
    return Films(rows, greys, masks)


@pytest.fixture(autouse=True)
def small_and_invented(films: Films, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training reads the invented films, draws no phantoms, and takes small batches."""
    monkeypatch.setattr(gate_train, "load", lambda *_: films)
    monkeypatch.setattr(gate_train, "PHANTOM_SEEDS", range(1000, 1001))
    monkeypatch.setattr(gate_train, "SAVE_EVERY", 2)


def run(name: str, out: Path, steps: int = 3, resume: bool = False) -> Path:
    cache = out.parent / "cache"
    cache.mkdir(exist_ok=True)
    few = replace(gate_train.RECIPES[name], films=4)
    return gate_train.train(name, Path("unused"), out, cache, recipe=few, resume=resume, steps=steps)


@pytest.mark.parametrize("name", gate_train.RECIPES)
def test_every_recipe_gives_finite_batches_in_range(name: str, films: Films) -> None:
    """(B, 128, 128) in [0, 1] and a target of the kind its loss takes; the loss has gradients."""
    recipe, dice = gate_train.RECIPES[name], Dice(8, torch.Generator().manual_seed(0))
    pool = recipes.pool_of(films, recipe, dice.generator)
    x, target = recipe.batch(pool, dice)
    assert x.shape == (8, 128, 128)
    assert 0 <= x.min() <= x.max() <= 1
    net = gate_train.KINDS[recipe.network](len(recipe.outputs))
    loss = recipe.loss(net(as_batch(x)[:, None]), target)
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


@pytest.mark.slow
def test_a_run_repeats_itself_from_its_seed(tmp_path: Path) -> None:
    """The same seed gives the same log, and the bundle that is written loads."""
    logs = [(run("rotation", tmp_path / name, steps=2) / "train.jsonl").read_text() for name in ("a", "b")]
    assert logs[0] == logs[1]
    assert bundle.load(tmp_path / "a").card.classes[:4] == ("0", "90", "180", "270")


@pytest.mark.slow
def test_a_stopped_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """After four steps, six asked for: it goes on with the fifth and keeps the log of the first four."""
    run("inversion", tmp_path / "a", steps=6)
    checkpoint = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)
    assert checkpoint["step"] == 6
    run("inversion", tmp_path / "a", steps=6, resume=True)
    steps = [json.loads(line)["step"] for line in (tmp_path / "a" / "train.jsonl").read_text().splitlines()]
    assert steps == list(range(6))


def test_a_tilt_is_clockwise_and_lies_between_two_turns() -> None:
    """A bar at the top leans to the right; at 45 degrees a film is as much turned as upright."""
    film = torch.zeros(1, 128, 128)
    film[:, :30, 60:68] = 1
    dice = Dice(1, torch.Generator().manual_seed(0))
    pose = augment.placement(dice, torch.ones(1), tilt=torch.tensor([30.0]))
    pose[:, :, 2] = 0  # without its random shift
    _, columns = torch.where(augment.placed(film, pose, torch.zeros(1), 128)[0] > 0.5)
    assert columns.float().mean() > 80
    shares = frontal.turn_shares(torch.tensor([0, 0, 3, 1]), torch.tensor([10.0, 45.0, 30.0, -45.0]))
    assert shares[:, :4].tolist() == [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0, 0, 0.75], [0.5, 0.5, 0, 0]]


def test_a_round_never_sees_its_sites_and_open_terms_are_kept(films: Films) -> None:
    """`without` and `terms` choose the films before anything is drawn."""
    recipe = gate_train.RECIPES["rotation"]
    cache = Path("unused")
    assert len(gate_train.training_films(replace(recipe, phantoms=()), cache, cache)) == 10
    assert len(gate_train.training_films(replace(recipe, phantoms=()), cache, cache, without="nih")) == 0
    assert len(gate_train.training_films(replace(recipe, phantoms=()), cache, cache, without="web")) == 10
    assert len(gate_train.training_films(replace(recipe, phantoms=()), cache, cache, terms="open")) == 10


def test_a_chest_that_is_cut_off_is_none_of_the_kinds(films: Films) -> None:
    """Targets of the anatomy recipe: one kind, several that nobody told apart, or none at all."""
    recipe, dice = gate_train.RECIPES["anatomy"], Dice(400, torch.Generator().manual_seed(0))
    pool = recipes.pool_of(films, recipe, dice.generator)
    _, target = recipe.batch(pool, dice)
    kinds = target[:, : len(PARTS)]
    none = (kinds == 0).all(dim=1)
    assert 0.05 < none.float().mean() < 0.3
    assert ((kinds == 1).sum(dim=1)[~none] == 1).all()
    assert anatomy.parts_of(replace(films.rows[2], part="mixed:leg+hip")) == (anatomy.PELVIS, anatomy.LOWER)


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
    table = data.data_table(films.rows)
    assert "| nih_talo | frontal | open | 10 | 10 |" in table
