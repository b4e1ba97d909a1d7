"""A gate is asked through itself: what the table keeps is what the gate finds, with any thresholds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models import bundle, nets
from models.bundle import BundleError, Card
from models.region_boxes import objects
from pipelines import gates
from pipelines.film import Film, Header, Reason, Verdict
from pipelines.gates.pose import Eyes
from pipelines.lab.ask import gate_ask, region_ask
from pipelines.lab.films import phantom, region_data
from pipelines.lab.films.data import Row
from pipelines.lab.train.recipes import RECIPES

THRESHOLDS = {"low": 0.2, "high": 0.8, "least": 0.1, "touching": 0.15}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The five networks as they begin, with thresholds."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bundles")
    for name, recipe in RECIPES.items():
        card = Card(name, recipe.network, tuple(map(str, recipe.outputs)), THRESHOLDS)
        bundle.save(folder / name, card, nets.KINDS[recipe.network](len(recipe.outputs)))
    return folder


@pytest.fixture(scope="module")
def films() -> list[np.ndarray]:
    """A chest in its four turns, its negative, and a hand."""
    chest = phantom.render("frontal", 5, (160, 128))
    turned = [np.ascontiguousarray(np.rot90(chest, -k)) for k in range(4)]
    return [*turned, 1 - chest, phantom.render("hand", 5, (160, 128))]


@pytest.mark.parametrize("name", RECIPES)
def test_the_score_is_the_one_that_the_gate_finds_at_work(
    name: str, bundles: Path, films: list[np.ndarray]
) -> None:
    """Whatever the thresholds of the card are: they judge a score, and do not make it."""
    gate = next(gate for gate in gates.load(bundles).gates if gate.name == name)
    ask = gate_ask.asks(name, bundles)
    for film in films:
        score, named = ask(film)
        finding = gate(Film(Header(), film))[0]
        assert score == pytest.approx(finding.score)
        assert Reason(named)  # a gate that calls a film bad always says why
        if finding.verdict is Verdict.BAD and finding.reason is not Reason.LUNGS_CUT_OFF:
            assert named == finding.reason


def test_a_gate_that_calls_everything_good_is_told_by_its_box(bundles: Path, films: list[np.ndarray]) -> None:
    """The box of the lung gate is in the film as it lies, also where the card would call it no lung field."""
    find = gate_ask.box_finder(bundles)
    gate = gate_ask.gate_of("lungs", bundles, {"least": 0.0})
    for film in films:
        box, span = gate(Film(Header(), film))[0].box, find(film)
        assert span == ((box.x0, box.y0, box.x1, box.y1) if box else None)
        assert span is None or 0 <= span[0] < span[2] <= 1


def test_a_gate_is_asked_with_the_networks_that_it_needs(tmp_path: Path, bundles: Path) -> None:
    """The pose networks first; where one is missing it says which."""
    assert gate_ask.NEEDS["mirror"] == ("rotation", "inversion", "mirror")
    assert all(set(needs) <= set(RECIPES) for needs in gate_ask.NEEDS.values())
    with pytest.raises(BundleError, match="rotation: no card"):
        gate_ask.asks("mirror", tmp_path)


def test_features_are_what_the_last_layer_reads(bundles: Path) -> None:
    """A row a film, and as many columns for one film as for three."""
    for name in ("rotation", "inversion", "anatomy"):
        ask = gate_ask.features(name, bundles)
        one, three = ask(torch.rand(1, 128, 128)), ask(torch.rand(3, 128, 128))
        assert (one.ndim, len(three)) == (2, 3)
        assert one.shape[1] == three.shape[1]


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gate of another region as it begins, without thresholds."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("region") / "hip"
    outputs = tuple(map(str, range(6)))
    bundle.save(folder, Card("hip", "RegionNet", outputs), nets.KINDS["RegionNet"](len(outputs)))
    return folder


@pytest.mark.parametrize(("label", "cases"), [(region_data.YES, 5), (region_data.NO, 1)])
def test_a_region_gate_tells_its_score_and_every_box(
    tmp_path: Path, region: Path, label: str, cases: int
) -> None:
    """In every case as the network itself says it; drawn boxes stand beside the film as it is, alone."""
    Image.fromarray((phantom.render("hand", 1, (160, 128)) * 255).astype(np.uint8)).save(tmp_path / "a.png")
    row = Row(str(tmp_path / "a.png"), "s", "s", "p", label, "hip", "open", "", "", "")
    film = region_data.Film("a.png", row, ((0.1, 0.2, 0.5, 0.6),))
    seen = list(region_ask.shown(region_ask.gate_of(region, 2), film))
    assert len(seen) == cases
    assert [one.drawn for one in seen] == [film.boxes, *[()] * (cases - 1)]
    net, eyes = bundle.load(region).net, Eyes()
    maps = net(eyes.see((np.asarray(Image.open(row.file)) / np.float32(255)).astype(np.float32)))[0]
    expected = [[round(float(value), 4) for value in box] for box in objects(maps, region_ask.LEAST_BOX, 2)]
    assert seen[0].score == pytest.approx(1 / (1 + np.exp(-float(maps[0, 0, 0]))), abs=1e-4)
    assert [list(box) for box in seen[0].boxes] == [pytest.approx(box, abs=2e-4) for box in expected]


def test_of_other_regions_one_film_a_patient_is_asked_about() -> None:
    """All films of the region are; of other regions so many patients a source."""
    row = Row("", "s", "s", "", region_data.NO, "", "open", "", "", "")
    films = [
        region_data.Film(f"{n}-{k}", replace(row, group=f"p{n}", view=label))
        for n, label in enumerate((region_data.NO, region_data.YES, region_data.NO))
        for k in range(3)
    ]
    taken = [film.name.partition("-")[0] for film in region_ask.sampled(films)]
    assert sorted(taken) == ["0", "1", "1", "1", "2"]
