"""Training a classifier: it learns, stops, goes on bit for bit, says what it did; and the command line."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from gateway.cli import app
from gateway.errors import FilmgateError
from models.classifiers import bundle, nets
from pipelines.lab.ask import classifier_ask
from pipelines.lab.films import phantom
from pipelines.lab.films import samples as films
from pipelines.lab.films.labels import TASKS, Task
from pipelines.lab.films.samples import Sample, Samples, SamplesError
from pipelines.lab.measure import classifier_scores
from pipelines.lab.train import classifier_run, classifier_train, lessons, live
from pipelines.lab.train.classifier_run import Settings

PX = 32
ASK = Task("shadows", ("left", "low", "nobody"))
FAST = Settings(
    network="small", px=PX, augmentation="basic", epochs_head=1, epochs_all=4, rate=5e-3, batch=16, patience=0
)


@pytest.fixture(scope="module")
def chests() -> np.ndarray:
    """Six phantom chests, (6, 32, 32) uint8."""
    drawn = [phantom.render("frontal", seed, size=(96, 80)) for seed in range(6)]
    small = [
        Image.fromarray((film * 255).astype(np.uint8)).resize((PX, PX), Image.Resampling.BOX)
        for film in drawn
    ]
    return np.stack([np.asarray(film) for film in small])


@pytest.fixture(scope="module")
def shadows(chests: np.ndarray) -> Samples:
    """Ninety-six films of sixty patients: phantoms with a shadow on the left, low down, both or neither."""
    rng = np.random.default_rng(0)
    rows, greys = [], []
    for n in range(96):
        left, low = bool(n % 2), n % 5 == 0
        film = chests[n % 6].astype(float) * 0.7 + rng.normal(0, 4, (PX, PX))
        film[6:16, 4:12] += 90 * left
        film[22:29, 18:28] += 90 * low
        greys.append(film.clip(0, 255).astype(np.uint8))
        split = "test" if n >= 88 else ""
        rows.append(
            Sample(
                f"{n}", Path("x"), f"p{n % 60 if n < 88 else n}", "PA", split, (float(left), float(low), 0.0)
            )
        )
    targets = np.array([row.targets for row in rows], dtype=np.float32)
    return Samples(ASK, tuple(rows), np.stack(greys), targets)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / classifier_run.MODEL)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_it_learns_and_says_how(shadows: Samples, tmp_path: Path) -> None:
    """The shadows are found in films of other patients; the label that nobody has is absent."""
    classifier_train.train(shadows, ASK, replace(FAST, epochs_all=6), tmp_path, quiet=True)
    net, task, settings = classifier_run.restored(tmp_path)
    told = json.loads((tmp_path / "train.json").read_text())
    assert task.labels == ("left", "low")
    assert told["not_trained"] == ["nobody"]
    assert told["valid_auc"] > 0.9
    assert told["data"]["learned"]["films"] + told["data"]["validated"]["films"] == 88
    said = classifier_train.predict(net, shadows, shadows.set_aside("test"), settings.px)
    assert said.shape == (8, 2)
    assert said[shadows.targets[88:, 0] == 1, 0].min() > said[shadows.targets[88:, 0] == 0, 0].max()
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert sum("epoch" in line for line in lines) == 7
    with Image.open(tmp_path / "progress.png") as drawn:
        assert drawn.size[0] > 400


@pytest.mark.parametrize("until", [7, 10], ids=["within an epoch", "at its end"])
def test_a_stopped_run_goes_on_bit_for_bit(shadows: Samples, tmp_path: Path, until: int) -> None:
    """Stopped and resumed or not: the same weights and the same log."""
    settings = replace(FAST, epochs_all=2, batch=15)
    patient = np.arange(88) % 60
    rows = np.flatnonzero(patient < 45), np.flatnonzero(patient >= 45)  # 73 films to learn from: 5 steps
    classifier_train.train(shadows, ASK, settings, tmp_path / "whole", quiet=True, picture=False, rows=rows)
    classifier_train.train(
        shadows, ASK, settings, tmp_path / "parts", quiet=True, picture=False, rows=rows, until=until
    )
    torch.rand(5)  # whatever happened between does not matter
    classifier_train.train(
        shadows, ASK, settings, tmp_path / "parts", quiet=True, picture=False, rows=rows, resume=True
    )
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    ends = [
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["net"] for name in ("whole", "parts")
    ]
    assert same(*ends)
    logs = [
        [{**json.loads(line), "at": 0} for line in (tmp_path / name / "train.jsonl").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    assert logs[0] == logs[1]


def test_first_the_head_learns_alone(shadows: Samples, tmp_path: Path) -> None:
    """Until the first phase is over, no number of the trunk has moved, not even of its batch norms."""
    settings = replace(FAST, ema=False)
    classifier_train.train(shadows, ASK, settings, tmp_path, quiet=True, picture=False, until=3)
    begun = classifier_train.network(settings, 2).state_dict()
    after = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["net"]
    moved = {key for key, value in begun.items() if not torch.equal(value, after[key])}
    assert moved == {"head.weight", "head.bias"}


def test_a_run_stops_when_nothing_gets_better(shadows: Samples, tmp_path: Path) -> None:
    """With a rate that moves nothing, after as many epochs as its patience; the best weights are kept."""
    settings = replace(FAST, epochs_head=0, epochs_all=12, rate=1e-12, patience=2, ema=False)
    classifier_train.train(shadows, ASK, settings, tmp_path, quiet=True, picture=False)
    epochs = [
        json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines() if "epoch" in line
    ]
    assert len(epochs) < 10
    told = json.loads((tmp_path / "train.json").read_text())
    assert told["valid_auc"] == max(line["valid_auc"] for line in epochs)


def test_weights_to_begin_with_are_taken_where_they_fit(shadows: Samples, tmp_path: Path) -> None:
    """A head for other labels begins anew; a file of another network is refused."""
    net = nets.KINDS["small"](7)
    classifier_run.keep(net, tmp_path / "begin.safetensors")
    begun = classifier_train.network(replace(FAST, init=str(tmp_path / "begin.safetensors")), 2).state_dict()
    for key, value in net.state_dict().items():
        assert torch.equal(begun[key], value) != key.startswith("head.")
    with pytest.raises(ValueError, match="of another network"):
        classifier_train.network(replace(FAST, network="lite", init=str(tmp_path / "begin.safetensors")), 2)


def test_films_set_aside_and_patients_on_two_sides_are_refused(shadows: Samples, tmp_path: Path) -> None:
    """Whoever names rows by hand cannot train with the test split, nor validate on a patient learned from."""
    everything = np.arange(len(shadows))
    with pytest.raises(SamplesError, match="set aside as test"):
        classifier_train.train(shadows, ASK, FAST, tmp_path, rows=(everything, everything[:0]))
    with pytest.raises(SamplesError, match="both sides"):
        classifier_train.train(shadows, ASK, FAST, tmp_path, rows=(everything[:40], everything[60:88]))
    with pytest.raises(ValueError, match="none of"):
        replace(FAST, imbalance="magic")


def test_cross_validation_asks_each_film_once_and_goes_on(shadows: Samples, tmp_path: Path) -> None:
    """Every film that may be trained with is in one fold, with its patient; parts that are done are kept."""
    quick = replace(FAST, epochs_head=0, epochs_all=1)
    path = classifier_ask.cross_validate(shadows, ASK, quick, tmp_path, 3, quiet=True, picture=False)
    found = classifier_scores.read(path)
    assert found.labels == ("left", "low")
    assert sorted(map(int, found.of("cv").files)) == list(range(88))
    assert sorted(map(int, found.of("test").files)) == list(range(88, 96))
    assert set(found.of("cv").folds) == {"0", "1", "2"}
    before = (tmp_path / "fold0" / "train.json").stat().st_mtime_ns
    (tmp_path / "fold2" / classifier_ask.LOGITS).unlink()
    text = path.read_text()
    classifier_ask.cross_validate(shadows, ASK, quick, tmp_path, 3, quiet=True, picture=False)
    assert path.read_text() == text
    assert (tmp_path / "fold0" / "train.json").stat().st_mtime_ns == before
    with pytest.raises(SamplesError, match="other settings"):
        classifier_ask.cross_validate(shadows, ASK, FAST, tmp_path, 3, quiet=True, picture=False)


def test_the_rate_that_is_found_lies_where_the_loss_falls(shadows: Samples, tmp_path: Path) -> None:
    """Below the rate of the lowest loss, above the lowest that was tried; and it is drawn."""
    curve = classifier_train.find_rate(shadows, FAST, steps=24)
    assert list(curve.rates) == sorted(curve.rates)
    assert classifier_train.LOWEST < curve.suggestion < 0.1
    live.draw_rates(tmp_path / "rate.png", curve.rates, curve.losses, curve.suggestion)
    with Image.open(tmp_path / "rate.png") as drawn:
        assert drawn.size[0] > 300


def listed(tmp_path: Path, chests: np.ndarray) -> Path:
    """Forty films in NIH's format."""
    (tmp_path / "images").mkdir()
    with (tmp_path / "Data_Entry_2017.csv").open("w", newline="") as handle:
        out = csv.writer(handle)
        out.writerow(["Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position"])
        for n in range(40):
            film = chests[n % 6].copy()
            film[6:16, 4:12] = 250 if n % 2 else film[6:16, 4:12]
            Image.fromarray(film).resize((80, 80)).save(tmp_path / "images" / f"{n}.png")
            out.writerow([f"{n}.png", "Mass|Nodule" if n % 2 else "No Finding", n, "050Y", "PA"])
    return tmp_path / "Data_Entry_2017.csv"


@pytest.mark.slow
def test_lessons_are_made_once_and_put_into_a_table(tmp_path: Path, chests: np.ndarray) -> None:
    """Two ways, two seeds; asked again nothing is done; the table has both rows."""
    listing = films.from_nih(listed(tmp_path, chests), [tmp_path / "images"], TASKS["chest14"])
    quick = replace(lessons.QUICK, px=PX, epochs_all=1)
    told: list[object] = []
    for _ in range(2):
        lessons.run(
            listing,
            tmp_path / "cache",
            tmp_path / "out",
            settings=quick,
            films=20,
            seeds=(0, 1),
            processes=1,
            augmentations=("none",),
            imbalances=("none", "focal"),
            told=told.append,
        )
    assert len(told) == 4
    lines = lessons.table(tmp_path / "out").splitlines()
    assert lines[2].startswith("| none | none | ")
    assert lines[3].startswith("| none | focal | ")
    assert lines[2].endswith("| – |")


def test_the_command_trains_from_a_table_of_nih(tmp_path: Path, chests: np.ndarray) -> None:
    """`filmgate train classifier`: a network of the labels that the films have."""
    table = listed(tmp_path, chests)
    words = ["train", "classifier", "--task", "chest14", "--nih", str(table), "--images", str(tmp_path)]
    words += [
        "--network",
        "small",
        "--px",
        "64",
        "--epochs-head",
        "0",
        "--epochs",
        "1",
        "--batch",
        "8",
        "--json",
    ]
    words += ["--out", str(tmp_path / "run"), "--cache", str(tmp_path / "cache")]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    (told,) = json.loads(shown.stdout)
    assert told["labels"] == ["Mass", "Nodule", "No Finding"]
    assert Path(told["weights"]).exists()
    assert Path(told["picture"]).exists()
    assert {row.split(",")[4] for row in Path(told["scores"]).read_text().splitlines()[1:]} == {"valid"}
    ready = bundle.load(Path(told["bundle"]))
    assert ready.card.classes == ("Mass", "Nodule", "No Finding")
    assert ready.card.accepts.min_age == 10
    assert "| patients |" in (Path(told["bundle"]) / "docs/README.md").read_text()


def test_a_bundle_does_not_say_where_a_run_lay(shadows: Samples, tmp_path: Path) -> None:
    """The weights it began with are named by file and digest, not by their place on somebody's machine."""
    classifier_train.train(shadows, ASK, FAST, tmp_path / "first", quiet=True, picture=False)
    begin = str(tmp_path / "first" / classifier_run.MODEL)
    chests = replace(shadows.task, name="chest14")
    classifier_train.train(
        shadows, chests, replace(FAST, init=begin), tmp_path / "run", quiet=True, picture=False
    )
    classifier_run.bundled(tmp_path / "run", tmp_path / "bundle")
    said = (tmp_path / "bundle/configs/train.json").read_text()
    assert str(tmp_path) not in said
    assert json.loads(said)["begun_with"]["file"] == classifier_run.MODEL
    assert len(json.loads(said)["begun_with"]["sha256"]) == 64


def test_lessons_have_a_command(tmp_path: Path, chests: np.ndarray) -> None:
    """`filmgate train lessons`: every way once, each with what it is worth."""
    table = listed(tmp_path, chests)
    words = ["train", "lessons", "--task", "chest14", "--nih", str(table), "--images", str(tmp_path)]
    words += ["--learned", "12", "--px", "32", "--epochs", "1", "--seeds", "1", "--processes", "1", "--json"]
    words += ["--out", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache")]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.stdout)
    assert len({(way["augmentation"], way["imbalance"]) for way in told}) == len(told) == 18
    assert "auc" in told[0]


def test_the_command_says_what_is_wrong_with_what_it_was_given(tmp_path: Path) -> None:
    """No list, two lists, a folder without classes, a word it does not know."""

    def run(*words: str) -> object:
        return CliRunner().invoke(app, ["train", "classifier", "--task", "pneumonia3", *words])

    here = str(tmp_path)
    assert run().exit_code == 2  # type: ignore[attr-defined]
    assert run("--films", here, "--folders", here).exit_code == 2  # type: ignore[attr-defined]
    assert run("--folders", here, "--imbalance", "magic").exit_code == 2  # type: ignore[attr-defined]
    error = run("--folders", here).exception  # type: ignore[attr-defined]
    assert isinstance(error, FilmgateError)
    assert "no folder named after Normal" in str(error)
    assert "there is no" in str(run("--folders", f"{here}/none").exception)  # type: ignore[attr-defined]
