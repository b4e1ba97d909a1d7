"""Pictures never seen: that they are what they say, come from no training film, and are counted rightly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from pipelines.lab.ask import out_of_distribution
from pipelines.lab.films import phantom
from pipelines.lab.films.data import CACHE_PX, Films, Row
from pipelines.lab.train import gate_train


def film(source: str, site: str, view: str, part: str, n: int) -> Row:
    return Row(f"{source}/{n}.jpg", source, site, f"{source}{n}", view, part, "open", "50", "", "")


def films() -> Films:
    """A few rows of each kind that a round may leave out, all grey."""
    kinds = (
        ("nih_talo", "nih", "frontal", "chest"),
        ("cadma_spine", "cadma_spine", "not_chest", "spine whole/thoracolumbar"),
        ("ufba425_dental", "ufba425_dental", "not_chest", "dental panoramic"),
        ("fracatlas", "fracatlas", "not_chest", "hip/pelvis"),
        ("fracatlas", "fracatlas", "not_chest", "knee"),
        ("mednist_nonxray", "mednist_nonxray", "not_chest", "non-radiograph:HeadCT"),
    )
    rows = tuple(film(*kind, 10 * i + n) for i, kind in enumerate(kinds) for n in range(2))
    greys = np.full((len(rows), CACHE_PX, CACHE_PX), 128, np.uint8)
    return Films(rows, greys, np.zeros_like(greys))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three drawn pictures of each kind are enough here."""
    monkeypatch.setattr(out_of_distribution, "SEEDS", range(5000, 5003))
    for drawn in (out_of_distribution._drawn, out_of_distribution._phantoms, out_of_distribution.photographs):
        drawn.cache_clear()


@pytest.mark.parametrize("draw", [out_of_distribution.screen, out_of_distribution.pattern])
def test_drawn_pictures_differ_and_show_something(draw: object) -> None:
    """Each seed draws another picture, the same one every time, and none is flat."""
    drawn = [np.asarray(draw(np.random.default_rng(seed))) for seed in range(12)]  # type: ignore[operator]
    again = np.asarray(draw(np.random.default_rng(3)))  # type: ignore[operator]
    assert np.array_equal(again, drawn[3])
    assert len({picture.tobytes() for picture in drawn}) == 12
    assert all(picture.std() > 3 for picture in drawn)


def test_each_round_has_the_parts_it_left_out(few: None) -> None:
    """Spines in one round, teeth in another, hips and slices in the third; never a knee or a chest."""
    named = {
        round_: {s.name: s for s in out_of_distribution.unseen_sets(films(), round_)}
        for round_ in out_of_distribution.PARTS
    }
    assert list(named["nih"]["spine"].patients) == ["cadma_spine10", "cadma_spine11"]
    assert "dental panoramic" in named["web"]
    assert len(named["kermany"]["hip and pelvis"].greys) == 2
    assert named["kermany"]["CT and MR slices of the web"].far
    assert "spine" not in named["web"]
    assert all(s.greys.shape[1:] == (CACHE_PX, CACHE_PX) for s in named["nih"].values())
    assert {f"phantom {kind}" for kind in phantom.UNTRAINED} < set(named["nih"])


def test_training_draws_none_of_these_phantoms() -> None:
    """No recipe names a phantom of a part that is kept for testing, and its seeds are others."""
    drawn = {kind for recipe in gate_train.RECIPES.values() for kind in recipe.phantoms}
    assert drawn
    assert not drawn & set(phantom.UNTRAINED)
    assert not set(gate_train.PHANTOM_SEEDS) & set(out_of_distribution.SEEDS)


def test_passing_counts_patients_not_pictures() -> None:
    """Two of four patients pass with any picture; the bar is one in a hundred."""
    scores, names = np.array([0.99, 0.1, 0.2, 0.995, 0.3]), np.array(["a", "a", "b", "c", "d"])
    row = out_of_distribution.passing("spine", scores, names, 0.98)
    assert (row.value, row.n, row.passes) == (0.5, 4, False)
    assert row.low < 0.5 < row.high
    assert out_of_distribution.passing("spine", scores, names, 0.999).passes


def test_a_scorer_that_knows_brightness_only_is_told_so(few: None) -> None:
    """Dark sets are told from bright frontal films, bright sets are not, and pass."""
    dark = out_of_distribution.Unseen(
        "night", True, np.full((4, 192, 192), 10, np.uint8), np.arange(4).astype(str)
    )
    bright = out_of_distribution.Unseen(
        "fog", False, np.full((4, 192, 192), 250, np.uint8), np.arange(4).astype(str)
    )

    def brightness(x: Tensor) -> Tensor:
        return x.mean((1, 2))

    some = films()
    frontal = some.where(np.array([row.view == "frontal" for row in some.rows]))
    rows = {
        (r.name, r.metric): r
        for r in out_of_distribution.unseen_rows(brightness, frontal, (dark, bright), 0.4)
    }
    assert rows["night (far)", "AUROC"].passes
    assert rows["fog (near)", "AUROC"].value == 0
    assert rows["fog (near)", "passes as frontal at 0.400"].value == 1
    assert rows["all far", "AUROC"].n == 4


def test_one_slice_in_two_syntaxes_is_one_patient(tmp_path: Path) -> None:
    """Nearly the same picture twice is counted once; what cannot be decoded, or is tiny, is left out."""
    rng = np.random.default_rng(0)
    one, other = rng.random((80, 80)).astype(np.float32), rng.random((80, 80)).astype(np.float32)
    held = {"a": one, "b": np.clip(one + 0.01, 0, 1), "c": other, "d": one[:20, :20]}
    lines = [*(f"{name},CT" for name in held), "broken,MR", "chest,CR"]
    (tmp_path / "manifest.csv").write_text("file,modality\n" + "\n".join(lines) + "\n")

    def decode(path: Path) -> np.ndarray | None:
        return held.get(path.name)

    found = out_of_distribution.slices(tmp_path, decode)
    assert len(found.greys) == 3
    assert len(set(found.patients)) == 2
