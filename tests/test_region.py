"""Gates for other body regions, from a manifest to what the gate finds."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from knee_region import films, write
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from gateway.cli import app
from gateway.errors import FilmgateError
from models import bundle
from models.asking import Ask
from models.bundle import Bundle, Card
from models.graphs import GRID, REGION_OUTPUTS
from models.region_boxes import Maps, objects, overlap
from models.region_net import RegionNet, boxes_of
from pipelines.film import Film, Header, Reason, Verdict
from pipelines.gates.pose import Eyes
from pipelines.gates.region import RegionGate
from pipelines.lab.ask.region_ask import Seen
from pipelines.lab.films import augment, region_data
from pipelines.lab.films.augment import Dice
from pipelines.lab.films.data import Films, Row
from pipelines.lab.films.phantom_dx import phantom_dx
from pipelines.lab.report import region_report
from pipelines.lab.train.recipes.base import pool_of
from pipelines.lab.train.recipes.region import (
    DOUBT,
    UNKNOWN,
    focal,
    peaks_of,
    placed_boxes,
    region_loss,
    region_recipe,
    turned_boxes,
)

__all__ = ["films", "write"]  # pytest finds fixtures by their names

# --- the recipe ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_boxes_go_where_the_pixels_go(flip: bool, quarters: int) -> None:
    """Mirrored, turned, shifted and zoomed, a box still lies round what was painted in it."""
    size = 192
    box = torch.tensor([[[0.20, 0.30, 0.45, 0.65]]])
    film = torch.zeros(1, size, size)
    film[:, round(0.30 * size) : round(0.65 * size), round(0.20 * size) : round(0.45 * size)] = 1
    flips, turns = torch.tensor([flip]), torch.tensor([quarters])
    dice = Dice(1, torch.Generator().manual_seed(quarters))
    matrices = augment.placement(dice, torch.tensor([1.1]), tilt=torch.zeros(1))
    film = augment.placed(
        augment.turned(augment.flipped(film, flips), turns), matrices, torch.zeros(1), size=128
    )
    moved, seen = placed_boxes(turned_boxes(box, flips, turns), matrices)
    rows, columns = (film[0] > 0.5).any(dim=1).nonzero(), (film[0] > 0.5).any(dim=0).nonzero()
    painted = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 128
    assert bool(seen)
    assert float((moved[0, 0] - painted).abs().max()) < 1.5 / 128


def test_a_box_that_leaves_the_film_is_no_object_any_more() -> None:
    shifted = torch.tensor([[[1.0, 0.0, 0.7], [0.0, 1.0, 0.0]]])  # the left 35 % of the film is gone
    moved, seen = placed_boxes(torch.tensor([[[0.1, 0.1, 0.4, 0.4], [0.5, 0.1, 0.9, 0.4]]]), shifted)
    assert seen.tolist() == [[False, True]]
    assert moved[0, 0].tolist() == [UNKNOWN] * 4


def test_the_loss_is_least_where_the_maps_are_right() -> None:
    """Two boxes; the right maps, shifted ones, and none."""
    boxes = torch.tensor([[[0.1, 0.2, 0.4, 0.6], [0.6, 0.2, 0.9, 0.6]]])
    target = torch.cat([torch.tensor([[1.0, 1.0]]), boxes.flatten(1)], dim=1)
    right = torch.from_numpy(maps_of(boxes[0]))[None]
    shifted = torch.cat([right[:, :2], right[:, 2:] + 0.05], dim=1)
    blank = torch.cat([torch.full_like(right[:, :2], -4.0), right[:, 2:]], dim=1)
    losses = [float(region_loss(maps, target)) for maps in (right, shifted, blank)]
    assert losses[0] < losses[1] < losses[2]


def test_films_without_boxes_teach_the_label_alone() -> None:
    """Wherever the network sees a centre in them, it costs nothing; on a film of another region it does."""
    maps = torch.zeros(1, 6, GRID, GRID)
    wild = maps.clone()
    wild[:, 1] = 3
    none = [UNKNOWN] * 8
    unboxed, other = torch.tensor([[1.0, 0.0, *none]]), torch.tensor([[0.0, 1.0, *none]])
    assert float(region_loss(wild, unboxed)) == pytest.approx(float(region_loss(maps, unboxed)))
    assert float(region_loss(wild, other)) > float(region_loss(maps, other)) + 1


def test_each_object_has_one_peak_and_a_core() -> None:
    peaks, owner = peaks_of(torch.tensor([[[0.1, 0.2, 0.4, 0.6], [UNKNOWN] * 4]]))
    assert (peaks == 1).sum() == 1
    y, x = (peaks[0] == 1).nonzero()[0].tolist()
    assert (x, y) == (math.floor(0.25 * GRID), math.floor(0.4 * GRID))
    assert set(owner.flatten().tolist()) == {-1, 0}
    assert float(focal(torch.zeros(1, GRID, GRID), peaks)[0, y, x]) == pytest.approx(0.25 * math.log(2))


def test_turned_and_inverted_films_of_the_region_are_taught_as_doubtful() -> None:
    """Nobody puts a hip upright: such a film must come before a person."""
    recipe = region_recipe({"f": ((0.3, 0.3, 0.7, 0.7),)}, 1, lambda _: True, alike=frozenset(), films=256)
    row = Row("f", "s", "s", "p", "yes", "", "open", "", "", "")
    grey = np.full((1, 192, 192), 90, dtype=np.uint8)
    dice = Dice(256, torch.Generator().manual_seed(0))
    pool = pool_of(Films((row,), grey, grey), recipe, dice.generator)
    x, target = recipe.batch(pool, dice)
    assert x.shape == (256, 128, 128)
    assert set(target[:, 0].tolist()) <= {0.0, DOUBT, 1.0, UNKNOWN}
    assert 0.25 < float((target[:, 0] == DOUBT).float().mean()) < 0.55


# --- the network and the gate -------------------------------------------------------------------------------


def maps_of(boxes: Tensor, sure: float = 6.0, region: float = 6.0) -> Maps:
    """Maps (6, GRID, GRID) in which these boxes (n, 4) stand, as a perfect network would draw them."""
    maps = torch.full((6, GRID, GRID), -6.0)
    maps[0] = region
    maps[2:] = 0.1
    for box in boxes:
        x, y = ((box[:2] + box[2:]) / 2 * GRID).long().tolist()
        middle = torch.tensor([(x + 0.5) / GRID, (y + 0.5) / GRID])
        near = (slice(y - 2, y + 3), slice(x - 2, x + 3))
        maps[2:, *near] = torch.cat([middle - box[:2], box[2:] - middle])[:, None, None]
        maps[1, y, x] = sure
    return maps.numpy()


TWO = torch.tensor([[0.1, 0.2, 0.4, 0.6], [0.6, 0.2, 0.9, 0.6]])


def test_objects_are_read_off_the_maps() -> None:
    found = objects(maps_of(TWO), least=0.3, most=2)
    assert len(found) == 2
    for box in TWO:
        assert float(overlap(found[:, :4], box.numpy()).max()) > 0.9
    assert len(objects(maps_of(TWO), least=0.3, most=1)) == 1
    assert len(objects(maps_of(TWO, sure=-3), least=0.3, most=2)) == 0


def test_the_same_object_is_not_told_twice() -> None:
    near = torch.tensor([[0.1, 0.2, 0.4, 0.6], [0.2, 0.25, 0.5, 0.65]])  # two peaks, boxes that overlap
    assert len(objects(maps_of(near), least=0.3, most=8)) == 1


def test_the_network_is_small_and_looks_at_any_film() -> None:
    net = RegionNet().eval()
    assert sum(p.numel() for p in net.parameters()) <= 300_000
    with torch.inference_mode():
        out = net(torch.rand(2, 1, 128, 128))
    assert out.shape == (2, len(REGION_OUTPUTS), GRID, GRID)
    assert torch.equal(out[:, 0], out[:, 0, :1, :1].expand(-1, GRID, GRID))
    assert (boxes_of(out[:, 2:])[:, 2:] > boxes_of(out[:, 2:])[:, :2]).all()


def drawn(maps: Maps) -> Ask:
    """A network that sees what it is told to."""
    return lambda films: np.broadcast_to(maps, (len(films), *maps.shape))


def gate(maps: Maps, **thresholds: float) -> RegionGate:
    told = {"low": 0.1, "high": 0.9, "box": 0.3, "most": 2.0} | thresholds
    card = Card("hip", "RegionNet", REGION_OUTPUTS, told, weights_sha256="abc")
    return RegionGate(Eyes(), Bundle(card, drawn(maps)))


def a_film() -> Film:
    return Film(Header(), np.full((60, 80), 0.4, dtype=np.float32))


def test_a_film_of_the_region_is_good_and_boxed() -> None:
    """The box goes round all boxes; each of them is a measured value."""
    (found,) = gate(maps_of(TWO))(a_film())
    assert (found.gate, found.verdict, found.reason) == ("hip", Verdict.GOOD, None)
    assert found.box is not None
    assert [found.box.x0, found.box.y1] == pytest.approx([0.1, 0.6], abs=0.02)
    assert dict(found.facts)["box2_p"] > 0.9
    assert found.model_digest == "abc"


@pytest.mark.parametrize(
    ("maps", "verdict", "reason"),
    [
        (maps_of(TWO, region=-6), Verdict.BAD, Reason.NOT_THIS_REGION),
        (maps_of(TWO, region=0), Verdict.UNSURE, Reason.REGION_UNSURE),
        (maps_of(TWO, sure=-6), Verdict.UNSURE, Reason.REGION_UNSURE),  # sure, but it finds no object
    ],
)
def test_what_is_not_surely_the_region_is_not_good(maps: Tensor, verdict: Verdict, reason: Reason) -> None:
    (found,) = gate(maps)(a_film())
    assert (found.verdict, found.reason) == (verdict, reason)
    assert found.score < found.high
    assert (found.box is None) == (verdict is Verdict.BAD or not found.facts)


def test_a_bundle_without_the_thresholds_of_a_region_is_refused() -> None:
    """So that the gate is closed and says why, instead of guessing."""
    card = Card("hip", "RegionNet", REGION_OUTPUTS, {"low": 0.1, "high": 0.9})
    with pytest.raises(KeyError, match="box"):
        RegionGate(Eyes(), Bundle(card, drawn(maps_of(TWO))))


# --- thresholds and counts ----------------------------------------------------------------------------------


def seen(label: str, score: float, patient: int, case: str = "as it is", boxed: bool = True) -> Seen:
    boxes = ((0.1, 0.2, 0.4, 0.6, 0.9),) if boxed else ()
    drawn = ((0.1, 0.2, 0.4, 0.6),) if label == "yes" and case == "as it is" else ()
    return Seen(f"{label}{patient}", "s", f"{label}{patient}", label, case, score, boxes, drawn)


def some_seen() -> Iterator[Seen]:
    for n in range(100):
        yield seen("yes", 0.95 + n / 2500, n)
        yield seen("yes", 0.5 + n / 1000, n, case="turned 90")
    for n in range(1000):
        yield seen("no", n / 2000, n)


def test_thresholds_keep_what_they_promise() -> None:
    chosen = region_report.thresholds(list(some_seen()), most=2)
    told = [region_report.answer(one, chosen) for one in some_seen()]
    cases = list(zip(told, some_seen(), strict=True))
    assert {answer for answer, one in cases if one.label == "yes" and one.case == "as it is"} == {"good"}
    assert "good" not in {answer for answer, one in cases if one.case == "turned 90"}
    assert "good" not in {answer for answer, one in cases if one.label == "no"}
    assert 0 < chosen["low"] < chosen["high"] < 1


def test_a_loud_other_region_raises_the_bar() -> None:
    """Of 1,000 patients the budget of misses allows one; with fifty `high` rises above all but that."""
    loud = [seen("no", 0.90 + n / 10_000, 2000 + n) for n in range(50)]
    chosen = region_report.thresholds([*some_seen(), *loud], most=2)
    assert chosen["high"] > 0.9
    passed = [one for one in loud if region_report.answer(one, chosen) == "good"]
    assert len(passed) <= 3


def test_without_a_box_no_film_is_good() -> None:
    chosen = {"low": 0.1, "high": 0.9, "box": 0.3, "most": 2.0}
    assert region_report.answer(seen("yes", 0.99, 1, boxed=False), chosen) == "unsure"


def test_boxes_are_counted_once_each() -> None:
    one = replace(
        seen("yes", 1.0, 1),
        drawn=((0.1, 0.2, 0.4, 0.6), (0.6, 0.2, 0.9, 0.6)),
        boxes=((0.1, 0.2, 0.4, 0.6, 0.9), (0.12, 0.2, 0.42, 0.6, 0.8)),  # both on the first
    )
    found = region_report.boxes([one], least=0.3)
    assert found.overlaps == (1.0, 0.0)
    assert (found.found, found.spare) == (1, 1)


# --- training and the commands ------------------------------------------------------------------------------


def discs(folder: Path, count: int) -> tuple[str, str]:
    """Films with a bright disc, each its own patient, and as many without; labels and boxes as CSV."""
    rng = np.random.default_rng(0)
    labels, boxes = ["file,label"], ["file,x0,y0,x1,y1"]
    y, x = np.mgrid[0:64, 0:64] / 64
    for n in range(count):
        cx, cy, radius = *rng.uniform(0.3, 0.7, 2), rng.uniform(0.12, 0.2)
        grey: NDArray[np.float64] = 60 + 20 * rng.random((64, 64))
        for name, disc in ((f"with/{n}.png", True), (f"without/{n}.png", False)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            picture = np.where(disc & (np.hypot(x - cx, y - cy) < radius), 230, grey).astype(np.uint8)
            Image.fromarray(picture).save(folder / name)
        labels.append(f"with/{n}.png,yes")
        edges = (cx - radius, cy - radius, cx + radius, cy + radius)
        boxes.append(f"with/{n}.png," + ",".join(f"{v:.3f}" for v in edges))
    return "\n".join([*labels, "without/*,no", ""]), "\n".join([*boxes, ""])


@pytest.fixture
def disc_run(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """A region of discs that a little training finds: (region.yaml, folder of films)."""
    monkeypatch.setattr(region_data, "LEAST_PATIENTS", {"yes": 12, "no": 12})
    monkeypatch.setattr(region_data, "LEAST_BOXES", 12)
    labels, boxes = discs(tmp_path / "discs", 12)
    settings = "name: disc\nterms: {with: open, without: open}\n"
    return write(settings, labels, boxes), tmp_path / "discs"


def test_a_gate_comes_out_of_a_manifest_without_code(disc_run: tuple[Path, Path], tmp_path: Path) -> None:
    """Trained, asked, counted, and loadable: a bundle with thresholds, card and licence."""
    manifest, films = disc_run
    out = tmp_path / "bundle"
    words = ["train", str(manifest), "--films", str(films), "--out", str(out)]
    words += ["--cache", str(tmp_path / "cache"), "--steps", "1", "--folds", "2", "--json"]
    result = CliRunner().invoke(app, ["region", *words], catch_exceptions=False)
    assert result.exit_code == 0
    assert (out / "LICENSE").exists()
    assert "of the region, as they are" in (out / "docs" / "README.md").read_text()
    gate_ = RegionGate(Eyes(), bundle.load(out))
    assert gate_(a_film())[0].gate == "disc"
    weights = (out / "models" / "model.safetensors").read_bytes()
    assert CliRunner().invoke(app, ["region", *words]).exit_code == 0
    assert (out / "models" / "model.safetensors").read_bytes() == weights


def test_check_counts_or_complains(disc_run: tuple[Path, Path], tmp_path: Path) -> None:
    manifest, films = disc_run
    good = CliRunner().invoke(app, ["region", "check", str(manifest), "--films", str(films)])
    assert good.exit_code == 0, good.output
    assert "disc can be trained" in good.output
    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\nwith/0.png,10,10,20,20\n")
    bad = CliRunner().invoke(app, ["region", "check", str(manifest), "--films", str(films)])
    assert isinstance(bad.exception, FilmgateError)
    assert "write fractions of the film, not pixels" in str(bad.exception)


def test_sheets_show_every_film_with_its_boxes(disc_run: tuple[Path, Path], tmp_path: Path) -> None:
    """Red lines where boxes are drawn: an error in a box is seen, not computed."""
    manifest, films = disc_run
    words = ["sheet", str(manifest), "--films", str(films), "--out", str(tmp_path / "sheets"), "--grid"]
    result = CliRunner().invoke(app, ["region", *words], catch_exceptions=False)
    assert result.exit_code == 0
    sheets = sorted((tmp_path / "sheets").glob("*.png"))
    assert len(sheets) == 2
    with Image.open(sheets[0]) as page:
        red = (np.asarray(page) == (255, 60, 60)).all(axis=2)
    assert red.sum() > 6 * 100


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_folder_of_dicom_becomes_a_manifest_to_fill_in(tmp_path: Path) -> None:
    """Pictures as displayed, a number for each patient, and nobody's name or ID."""
    (tmp_path / "dicom").mkdir()
    film = phantom_dx("frontal", 3)
    film.PatientID, film.PatientName = "MRN-4711", "Doe^Jane"
    film.save_as(tmp_path / "dicom" / "one.dcm", enforce_file_format=True)
    (tmp_path / "dicom" / "letter.txt").write_text("no film")
    manifest = tmp_path / "knee" / "region.yaml"
    words = ["begin", str(tmp_path / "dicom"), str(manifest), "--films", str(tmp_path / "pictures")]
    result = CliRunner().invoke(app, ["region", *words], catch_exceptions=False)
    assert result.exit_code == 0
    assert "letter.txt" in result.output
    (line,) = _table(tmp_path / "knee" / "labels.csv")
    assert (line["file"], line["label"]) == ("one.png", "")
    assert "4711" not in (tmp_path / "knee" / "labels.csv").read_text()
    with Image.open(tmp_path / "pictures" / "one.png") as picture:
        assert max(picture.size) == 512
    assert region_data.read(manifest, tmp_path / "pictures", ready=False).films == ()
