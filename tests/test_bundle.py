"""Bundles: what is written is read, and nothing damaged or foreign is ever loaded."""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import tifffile
import torch
from monai.bundle import ConfigParser, scripts
from monai.transforms import LoadImage, ScaleIntensityRange
from PIL import Image

from models import bundle, nets
from models.bundle import BundleError, Card
from pipelines.lab.films import phantom
from pipelines.transforms import gate_input


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good bundle of a network that was never trained."""
    torch.manual_seed(0)
    card = Card("inversion", "Polarity", ("inverted",), {"low": 0.1, "high": 0.9})
    bundle.save(tmp_path / "inversion", card, nets.Polarity(), training={"run": "none"})
    return tmp_path / "inversion"


def put(folder: Path, weights: bytes) -> None:
    """Other weights, with a card that names their digest."""
    (folder / bundle.WEIGHTS).write_bytes(weights)
    path = folder / bundle.METADATA
    card = json.loads(path.read_text())
    card["filmgate"]["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    path.write_text(json.dumps(card))


def missing_card(folder: Path) -> None:
    (folder / bundle.METADATA).unlink()


def broken_card(folder: Path) -> None:
    (folder / bundle.METADATA).write_text("{")


def missing_weights(folder: Path) -> None:
    (folder / bundle.WEIGHTS).unlink()


def truncated_weights(folder: Path) -> None:
    path = folder / bundle.WEIGHTS
    path.write_bytes(path.read_bytes()[:1000])


def truncated_with_right_digest(folder: Path) -> None:
    put(folder, (folder / bundle.WEIGHTS).read_bytes()[:1000])


def one_bit_flipped(folder: Path) -> None:
    path = folder / bundle.WEIGHTS
    weights = bytearray(path.read_bytes())
    weights[-1] ^= 1
    path.write_bytes(weights)


def another_shape(folder: Path) -> None:
    put(folder, safetensors.torch.save(nets.Polarity(2).state_dict()))


def another_network(folder: Path) -> None:
    put(folder, safetensors.torch.save({"weight": torch.zeros(3)}))


def nan_inside(folder: Path) -> None:
    state = nets.Polarity().state_dict()
    state["one_side.head.bias"] = torch.full((1,), float("nan"))
    put(folder, safetensors.torch.save(state))


def a_pickle(folder: Path) -> None:
    put(folder, pickle.dumps({"head.bias": [0.0]}))


def a_torch_file(folder: Path) -> None:
    torch.save(nets.Polarity().state_dict(), folder / bundle.WEIGHTS)
    put(folder, (folder / bundle.WEIGHTS).read_bytes())


DAMAGE = (
    (missing_card, "no card"),
    (broken_card, "card cannot be read"),
    (missing_weights, "no weights"),
    (truncated_weights, "sha256"),
    (truncated_with_right_digest, "not a safetensors file"),
    (one_bit_flipped, "sha256"),
    (another_shape, "shape"),
    (another_network, "missing or too many"),
    (nan_inside, "NaN"),
    (a_pickle, "not a safetensors file"),
    (a_torch_file, "not a safetensors file"),
)


def test_a_bundle_gives_back_what_was_saved(folder: Path) -> None:
    """Card and network come back, and the card names the digest of the weights on disk."""
    loaded = bundle.load(folder)
    assert loaded.card.thresholds == {"low": 0.1, "high": 0.9}
    assert loaded.card.weights_sha256 == hashlib.sha256((folder / bundle.WEIGHTS).read_bytes()).hexdigest()
    assert loaded.net(np.random.default_rng(0).random((1, 1, 128, 128), np.float32)).shape == (1, 1)


@pytest.mark.parametrize(("damage", "says"), DAMAGE, ids=[damage.__name__ for damage, _ in DAMAGE])
def test_a_damaged_bundle_does_not_load(folder: Path, damage: Callable[[Path], None], says: str) -> None:
    """Each kind of damage is a BundleError that says what is wrong."""
    damage(folder)
    with pytest.raises(BundleError, match=says):
        bundle.load(folder)


def test_a_bundle_has_all_parts_that_monai_expects(folder: Path) -> None:
    """Metadata with the schema's required fields, and an inference config that builds the same network."""
    metadata = json.loads((folder / bundle.METADATA).read_text())
    required = {
        "version",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "task",
        "description",
        "authors",
    }
    assert required | {"copyright", "network_data_format", "changelog"} <= metadata.keys()
    inference = json.loads((folder / bundle.INFERENCE).read_text())
    assert inference["network_def"] == {"_target_": "models.nets.Polarity", "outputs": 1}
    assert (folder / bundle.TRAIN).exists()
    assert (folder / bundle.LICENSE).exists()


SHIPPED = sorted(folder.name for folder in bundle.BUNDLES.iterdir() if bundle.kind_of(folder) == "gate")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_bundle_we_ship_loads_and_has_a_card(name: str) -> None:
    """Its weights are the ones the card names, and the card for people names the terms of the films."""
    folder = bundle.BUNDLES / name
    loaded = bundle.load(folder)
    assert loaded.card.name == folder.name.partition("-")[0]  # the rest names a variant
    assert "## Data" in (folder / bundle.README).read_text()


@pytest.mark.parametrize("name", SHIPPED)
def test_monai_verifies_and_runs_the_shipped_bundles(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`monai.bundle` checks the network against its metadata, and asks it about a picture."""
    folder = bundle.BUNDLES / name
    config, meta = str(folder / bundle.INFERENCE), str(folder / bundle.METADATA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's own
        scripts.verify_net_in_out(net_id="network_def", meta_file=meta, config_file=config, device="cpu")
        film = phantom.render("frontal", 3)
        Image.fromarray((film * 255).astype(np.uint8)).save(tmp_path / "film.png")
        options = {"bundle_root": str(folder), "film": str(tmp_path / "film.png")}
        scripts.run(config_file=config, meta_file=meta, **options)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert tuple(told) == bundle.read_card(folder).classes
    assert all(np.isfinite(value) for value in told.values())


def test_a_bundle_run_by_monai_answers_a_deep_picture_as_its_eight_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """12 bits in 16, once all white, and MinIsWhite in 16; the 8 bits as the network itself answers."""
    film = (phantom.render("frontal", 3) * 255).astype(np.uint8)
    Image.fromarray(film).save(tmp_path / "8.png")
    Image.fromarray(film.astype(np.uint16) * 16).save(tmp_path / "12.png")
    tifffile.imwrite(tmp_path / "white.tif", 65535 - film.astype(np.uint16) * 257, photometric="miniswhite")
    folder = bundle.BUNDLES / "inversion"
    with torch.no_grad():
        expected = nets.load(folder)(torch.from_numpy(gate_input(film.astype(np.float32) / 255)[None])).item()

    def told(picture: str, **known: object) -> float:
        config, meta = str(folder / bundle.INFERENCE), str(folder / bundle.METADATA)
        options = {"bundle_root": str(folder), "film": str(tmp_path / picture), **known}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MONAI's own
            scripts.run(config_file=config, meta_file=meta, **options)
        (answer,) = json.loads(capsys.readouterr().out.splitlines()[-1]).values()
        return float(answer)

    assert told("8.png") == expected
    assert told("12.png") == pytest.approx(expected, abs=0.05)
    assert told("12.png", bits=12) == told("12.png")
    assert told("white.tif") == pytest.approx(expected, abs=0.001)
    assert expected < 0 < told("8.png", polarity="min-is-white")  # said to be a negative, it is seen as one


EVERY = sorted(folder.name for folder in bundle.BUNDLES.iterdir() if (folder / bundle.INFERENCE).exists())


@pytest.mark.parametrize("name", EVERY)
def test_every_bundle_reads_eight_bits_to_the_last_bit_as_ever_and_deep_ones_rightly(
    name: str, tmp_path: Path
) -> None:
    """Gates and classifiers: what MONAI's own reader gave them of grey and of colours, and 12 bits in 16."""
    film = (phantom.render("frontal", 3) * 255).astype(np.uint8)
    Image.fromarray(film).save(tmp_path / "grey.png")
    Image.fromarray(film).save(tmp_path / "grey.jpg")
    Image.fromarray(np.dstack([film, film // 2, film // 3])).save(tmp_path / "colour.png")
    Image.fromarray(film.astype(np.uint16) * 16).save(tmp_path / "12.png")
    config = json.loads((bundle.BUNDLES / name / bundle.INFERENCE).read_text())

    def pixels(picture: str) -> Any:
        return ConfigParser({**config, "film": str(tmp_path / picture)}).get_parsed_content("pixels")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's own
        theirs = LoadImage(
            reader="PILReader",
            converter=lambda picture: picture.convert("L"),
            reverse_indexing=False,
            ensure_channel_first=True,
        )
    scale = ScaleIntensityRange(a_min=0, a_max=255, b_min=0, b_max=1)
    for picture in ("grey.png", "grey.jpg", "colour.png"):
        assert np.array_equal(pixels(picture), scale(theirs(tmp_path / picture))[0].numpy())
    assert np.abs(pixels("12.png") - pixels("grey.png")).max() < 1 / 255
