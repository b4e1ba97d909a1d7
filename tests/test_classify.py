"""`filmgate classify` reads single files; `filmgate models` says what there is to read with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from gateway.cli import app
from gateway.cli.classify.command import MAX_MPX
from gateway.cli.classify.shown import Result, say_result
from gateway.errors import FilmgateError
from models import pictures
from models.classifiers import bundle, nets
from models.classifiers.accepts import Accepts
from models.classifiers.bundle import ClassifierCard, Input
from pipelines.lab.films import phantom
from pipelines.lab.films.phantom_dx import phantom_dx
from pipelines.reading import NotRead, Unread

CARD = ClassifierCard(
    "tiny",
    "small",
    ("Effusion", "Mass", "No Finding"),
    input=Input(px=64),
    thresholds={"Effusion": 0.0, "Mass": None},
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a configuration nor a state folder of somebody else."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that was never trained."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    bundle.save(folder, CARD, nets.Small(3))
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An upright chest as a PNG."""
    path = tmp_path_factory.mktemp("films") / "chest.png"
    save(phantom.render("frontal", 3), path)
    return path


def save(pixels: Any, path: Path) -> None:
    Image.fromarray(np.rint(np.asarray(pixels) * 255).astype(np.uint8)).save(path)


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def asked(*words: object) -> tuple[int, list[dict[str, Any]]]:
    code, out = run("classify", *words, "--json")
    told: list[dict[str, Any]] = json.loads(out)
    return code, told


def test_a_picture_is_read_and_its_conditions_are_told_as_json(model: Path, picture: Path) -> None:
    """Path, model, probabilities, thresholds, as the contract of the commands says, and more."""
    code, (one,) = asked(picture, "--model", model, "--no-gates")
    assert code == 0
    assert (one["path"], one["model"], one["not_read"]) == (str(picture), "tiny", None)
    assert set(one["probabilities"]) == set(CARD.classes)
    assert list(one["probabilities"].values()) == sorted(one["probabilities"].values(), reverse=True)
    assert one["thresholds"] == {"Effusion": 0.0, "Mass": None, "No Finding": None}
    assert one["positive"] == ["Effusion"]


def test_people_get_a_ranked_table_with_bars(model: Path, picture: Path) -> None:
    """The likeliest first; no threshold is said in words, and so is what it is not for."""
    code, out = run("classify", picture, "--model", model, "--no-gates")
    assert code == 0
    rows = [line for line in out.splitlines() if "█" in line or "·" in line]
    assert len(rows) == 3
    told = [float(line.split("█")[0].split("·")[0].split("|")[0].split()[-1]) for line in rows]
    assert told == sorted(told, reverse=True)
    assert out.count("not judged") == 2
    assert "Not for diagnosis" in out


def test_a_film_that_the_gates_would_hold_is_not_read_unless_told_to(
    model: Path, picture: Path, tmp_path: Path
) -> None:
    """An upright film passes; turned by a quarter it is not read, and the answer says why."""
    with Image.open(picture) as film:
        film.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png")
    code, (good, turned) = asked(picture, tmp_path / "turned.png", "--model", model)
    assert code == 1
    assert good["not_read"] is None
    assert "the gates would pass it" in good["gates"]["said"]
    assert (turned["not_read"]["code"], turned["probabilities"]) == ("NOT_QUALIFIED", {})
    assert "turned" in turned["not_read"]["why"]
    assert "No copy was made" in turned["not_read"]["why"]
    assert "corrected copy waits" not in turned["not_read"]["why"]
    code, (anyway,) = asked(tmp_path / "turned.png", "--model", model, "--no-gates")
    assert (code, anyway["not_read"]) == (0, None)
    assert "ROTATED_270" in {finding["reason"] for finding in anyway["gates"]["findings"]}


def test_a_dicom_film_outside_the_card_is_not_read(model: Path, tmp_path: Path) -> None:
    """The header says 4 years; the card begins at 10."""
    made = phantom_dx("frontal", 3)
    made.PatientAge = "004Y"
    made.save_as(tmp_path / "child.dcm", enforce_file_format=True)
    made.PatientAge = "050Y"
    made.save_as(tmp_path / "adult.dcm", enforce_file_format=True)
    (tmp_path / "notes.txt").write_text("no film")
    code, told = asked(tmp_path, "--model", model)
    adult, child = told
    assert code == 1
    assert [Path(one["path"]).name for one in told] == ["adult.dcm", "child.dcm"]
    assert adult["not_read"] is None
    assert child["not_read"]["code"] == "OUTSIDE_CARD"
    assert "age 4 is under 10" in child["not_read"]["why"]


def test_a_file_that_is_no_film_is_told_and_the_others_are_read(
    model: Path, picture: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"nothing more")
    code, told = asked(
        tmp_path / "broken.png", tmp_path / "broken.dcm", picture, "--model", model, "--no-gates"
    )
    assert code == 1
    assert [one["not_read"] and one["not_read"]["code"] for one in told] == [
        "NOT_DECODED",
        "NOT_DECODED",
        None,
    ]


def test_a_heat_map_is_drawn_for_each_film(model: Path, picture: Path, tmp_path: Path) -> None:
    """One film: the file named. Several: a folder of them."""
    code, (one,) = asked(picture, "--model", model, "--no-gates", "--heatmap", tmp_path / "heat.png")
    assert (code, one["heatmap"]) == (0, str(tmp_path / "heat.png"))
    with Image.open(tmp_path / "heat.png") as drawn:
        assert (drawn.format, drawn.mode) == ("PNG", "RGB")
    asked(picture, picture, "--model", model, "--no-gates", "--heatmap", tmp_path / "many")
    assert [path.name for path in sorted((tmp_path / "many").iterdir())] == [
        "0001-chest.png",
        "0002-chest.png",
    ]


def test_sixteen_bits_of_grey_are_read_as_eight_are(model: Path, picture: Path, tmp_path: Path) -> None:
    with Image.open(picture) as film:
        wide = np.asarray(film).astype(np.uint16) * 257
    Image.fromarray(wide).save(tmp_path / "wide.png")
    _, told = asked(picture, tmp_path / "wide.png", "--model", model, "--no-gates")
    narrow, wide_told = (one["probabilities"] for one in told)
    assert wide_told == pytest.approx(narrow, abs=1e-4)


def test_what_was_assumed_of_a_picture_is_noted(model: Path, picture: Path, tmp_path: Path) -> None:
    """12 bits in 16 without a word: read as such, said to people and to programs; 8 bits need no note."""
    with Image.open(picture) as film:
        greys = np.asarray(film).astype(np.uint16)
    Image.fromarray(greys * 16).save(tmp_path / "deep.png")
    _, (plain, deep) = asked(picture, tmp_path / "deep.png", "--model", model)
    assert plain["notes"] == []
    highest = greys.max() * 16
    assert deep["notes"][0] == f"16-bit file whose values end at {highest}: read as 12 bits"
    assert deep["gates"]["said"] == plain["gates"]["said"]
    assert deep["probabilities"] == pytest.approx(plain["probabilities"], abs=1e-2)
    _, out = run("classify", tmp_path / "deep.png", "--model", model)
    assert f"picture: {deep['notes'][0]}" in out


def test_a_person_says_what_a_picture_does_not(model: Path, picture: Path, tmp_path: Path) -> None:
    """Bits and polarity; a negative in 12 bits is then the film itself. Bits that cannot be are refused."""
    with Image.open(picture) as film:
        greys = np.asarray(film).astype(np.uint16)
    Image.fromarray(4095 - greys * 16).save(tmp_path / "negative.png")
    known = ("--bits", 12, "--polarity", "min-is-white")
    _, (plain, unknown) = asked(picture, tmp_path / "negative.png", "--model", model)
    _, (negative,) = asked(tmp_path / "negative.png", "--model", model, *known)
    assert unknown["not_read"]["code"] == "NOT_QUALIFIED"
    assert {"read as 12 bits, as told", "min-is-white, as told"} <= set(negative["notes"])
    assert negative["gates"]["said"] == plain["gates"]["said"]
    assert negative["probabilities"] == pytest.approx(plain["probabilities"], abs=1e-2)
    code, (refused,) = asked(tmp_path / "negative.png", "--model", model, "--bits", 10)
    assert (code, refused["not_read"]["code"]) == (1, "NOT_DECODED")
    assert "10 bits do not hold" in refused["not_read"]["why"]
    assert run("classify", picture, "--model", model, "--polarity", "upside-down")[0] == 2


def test_a_picture_over_the_limit_is_not_read_and_the_limit_is_said(model: Path, tmp_path: Path) -> None:
    Image.new("1", (1_500, 1_000)).save(tmp_path / "large.png")
    code, (one,) = asked(tmp_path / "large.png", "--model", model, "--max-mpx", 1)
    assert (code, one["not_read"]["code"]) == (1, "NOT_DECODED")
    assert "1 million" in one["not_read"]["why"]
    assert MAX_MPX * 1_000_000 == pictures.MOST_PX


def test_a_classifier_that_is_not_there_is_told_with_what_to_do(picture: Path, tmp_path: Path) -> None:
    with pytest.raises(FilmgateError, match="filmgate models list"):
        run("classify", picture, "--model", "oracle")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FilmgateError, match="no film among these"):
        run("classify", tmp_path / "empty")


def test_models_are_listed_with_what_they_take_and_whether_they_can_be_used(
    model: Path, tmp_path: Path
) -> None:
    """Gates and classifiers; a broken one says why."""
    torch.manual_seed(0)
    off = replace(CARD, name="off", accepts=Accepts(min_age=1, max_age=5), off=True)
    bundle.save(tmp_path / "off", off, nets.Small(3))
    bundle.save(tmp_path / "broken", CARD, nets.Small(3))
    (tmp_path / "broken" / "models" / "model.safetensors").write_bytes(b"others")
    code, out = run("models", "list", "--bundles", tmp_path, "--bundles", model, "--json")
    told = {item["name"]: item for item in json.loads(out)}
    assert code == 0
    assert (told["rotation"]["kind"], told["rotation"]["usable"]) == ("gate", "yes")
    assert (told["tiny"]["kind"], told["tiny"]["labels"]) == ("classifier", list(CARD.classes))
    assert (told["off"]["off"], told["off"]["accepts"]["max_age"]) == (True, 5.0)
    assert "sha256 differs" in told["broken"]["usable"]
    assert all(item["usable"] == "yes" for name, item in told.items() if name != "broken")


def test_an_onnx_file_is_imported_and_then_classifies(picture: Path, tmp_path: Path) -> None:
    """From the file to a reading by commands alone; a wrong digest imports nothing."""
    from models.classifiers.engine import exported

    torch.manual_seed(5)
    (tmp_path / "net.onnx").write_bytes(exported(nets.Small(2).eval(), 64))
    words = ("models", "import", "onnx", tmp_path / "net.onnx", "--labels", "Mass, Effusion", "--px", 64)
    with pytest.raises(FilmgateError, match="Nothing was written"):
        run(*words, "--out", tmp_path / "mine", "--sha256", "0" * 64)
    code, out = run(*words, "--out", tmp_path / "mine", "--json")
    (made,) = json.loads(out)
    assert (code, made["name"], made["labels"]) == (0, "mine", ["Mass", "Effusion"])
    code, (one,) = asked(picture, "--model", tmp_path / "mine", "--no-gates")
    assert (code, set(one["probabilities"])) == (0, {"Mass", "Effusion"})


def test_why_a_film_was_not_read_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The gates' words are the reason, where the gates kept the film from being read."""
    withheld = NotRead("tiny", "1", "ab", Unread.NOT_QUALIFIED, "turned 90 degrees")
    say_result(Result(Path("a.dcm"), withheld, gated="turned 90 degrees"))
    assert capsys.readouterr().out.count("turned 90 degrees") == 1
    outside = NotRead("tiny", "1", "ab", Unread.OUTSIDE_CARD, "age 3 is under 10")
    say_result(Result(Path("a.dcm"), outside, gated="the gates would pass it"))
    shown = capsys.readouterr().out
    assert "the gates would pass it" in shown
    assert "age 3 is under 10" in shown
