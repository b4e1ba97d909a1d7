"""Classifier bundles: what is written is read, and nothing damaged or foreign is ever loaded."""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from monai.bundle import scripts
from PIL import Image
from torch import nn

from models import bundle as files
from models.bundle import BundleError
from models.classifiers import bundle, nets
from models.classifiers.bundle import ClassifierCard, Input
from pipelines.lab.films import phantom

CLASSES = ("Effusion", "Mass", "No Finding")
CARD = ClassifierCard(
    name="tiny",
    network="small",
    classes=CLASSES,
    input=Input(px=64),
    thresholds={"Effusion": 0.4, "Mass": None},
    calibration={"Effusion": (1.5, -0.2)},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good bundle of a network that was never trained."""
    torch.manual_seed(0)
    bundle.save(tmp_path / "tiny", CARD, nets.Small(3), training={"run": "none"})
    return tmp_path / "tiny"


def put(folder: Path, weights: bytes) -> None:
    """Other weights, with a card that names their digest."""
    (folder / files.WEIGHTS).write_bytes(weights)
    tell(folder, weights_sha256=hashlib.sha256(weights).hexdigest())


def tell(folder: Path, **changed: object) -> None:
    """Another card."""
    path = folder / files.METADATA
    card = json.loads(path.read_text())
    card["filmgate"] |= changed
    path.write_text(json.dumps(card))


def missing_card(folder: Path) -> None:
    (folder / files.METADATA).unlink()


def a_list_for_a_card(folder: Path) -> None:
    (folder / files.METADATA).write_text('{"filmgate": []}')


def a_gate(folder: Path) -> None:
    tell(folder, kind="gate")


def unknown_network(folder: Path) -> None:
    tell(folder, network="oracle")


def twice_the_same_class(folder: Path) -> None:
    tell(folder, classes=["Mass", "Mass", "Effusion"])


def an_untrained_class(folder: Path) -> None:
    tell(folder, classes=["Mass", "", "Effusion"])


def a_threshold_of_nothing(folder: Path) -> None:
    tell(folder, thresholds={"Hernia": 0.5})


def a_threshold_beyond_one(folder: Path) -> None:
    tell(folder, thresholds={"Mass": 1.5})


def greys_to_nan(folder: Path) -> None:
    tell(folder, input={"px": 64, "low": float("nan"), "high": 1.0})


def greys_to_another_range(folder: Path) -> None:
    tell(folder, input={"px": 64, "low": 0.0, "high": 255.0})


def a_huge_input(folder: Path) -> None:
    tell(folder, input={"px": 100_000})


def a_strange_key(folder: Path) -> None:
    tell(folder, accepts={"views": ["PA"], "modalities": ["DX"], "weight_kg": 80})


def missing_weights(folder: Path) -> None:
    (folder / files.WEIGHTS).unlink()


def one_bit_flipped(folder: Path) -> None:
    path = folder / files.WEIGHTS
    weights = bytearray(path.read_bytes())
    weights[-1] ^= 1
    path.write_bytes(weights)


def truncated_with_right_digest(folder: Path) -> None:
    put(folder, (folder / files.WEIGHTS).read_bytes()[:1000])


def another_shape(folder: Path) -> None:
    put(folder, safetensors.torch.save(nets.Small(4).state_dict()))


def nan_inside(folder: Path) -> None:
    state = nets.Small(3).state_dict()
    state["head.bias"] = torch.full((3,), float("nan"))
    put(folder, safetensors.torch.save(state))


def a_pickle(folder: Path) -> None:
    put(folder, pickle.dumps({"head.bias": [0.0]}))


DAMAGE = (
    (missing_card, "no card"),
    (a_list_for_a_card, "not the bundle of a classifier"),
    (a_gate, "not the bundle of a classifier"),
    (unknown_network, "unknown network"),
    (twice_the_same_class, "name of its own"),
    (an_untrained_class, "name of its own"),
    (a_threshold_of_nothing, "none of its classes"),
    (a_threshold_beyond_one, "between 0 and 1"),
    (greys_to_nan, "mapped to nan"),
    (greys_to_another_range, "by itself"),
    (a_huge_input, "none that can be given"),
    (a_strange_key, "weight_kg"),
    (missing_weights, "no weights"),
    (one_bit_flipped, "sha256"),
    (truncated_with_right_digest, "not a safetensors file"),
    (another_shape, "shape"),
    (nan_inside, "NaN"),
    (a_pickle, "not a safetensors file"),
)


def test_a_bundle_gives_back_what_was_saved(folder: Path) -> None:
    """Card and network come back; the card names the digest of the weights and the range of the network."""
    loaded = bundle.load(folder)
    digest = hashlib.sha256((folder / files.WEIGHTS).read_bytes()).hexdigest()
    assert loaded.card == replace(CARD, weights_sha256=digest)
    assert (loaded.card.input.low, loaded.card.input.high) == (-1.0, 1.0)
    assert loaded.net
    assert loaded.net(torch.rand(1, 1, 64, 64)).shape == (1, 3)
    assert not any(weight.requires_grad for weight in loaded.net.parameters())


@pytest.mark.parametrize(("damage", "says"), DAMAGE, ids=[damage.__name__ for damage, _ in DAMAGE])
def test_a_damaged_bundle_does_not_load(folder: Path, damage: Callable[[Path], None], says: str) -> None:
    """Each kind of damage is a BundleError that says what is wrong."""
    damage(folder)
    with pytest.raises(BundleError, match=says):
        bundle.load(folder)


def test_weights_of_half_the_size_say_nearly_the_same(tmp_path: Path) -> None:
    """float16 on disk, float32 at work; what does not fit into float16 stays as it is."""
    torch.manual_seed(1)
    net = nets.Small(3).eval()
    with torch.no_grad():
        net.head.bias[0] = 1e6
    bundle.save(tmp_path / "whole", CARD, net)
    bundle.save(tmp_path / "half", CARD, net, half=True)
    whole, half = ((tmp_path / name / files.WEIGHTS).stat().st_size for name in ("whole", "half"))
    assert half < 0.52 * whole
    loaded = bundle.load(tmp_path / "half").net
    assert loaded
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    film = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(loaded(film), net(film), atol=5e-3)


def test_the_range_of_a_densenet_is_the_one_on_its_card(tmp_path: Path) -> None:
    """Weights made for -1024..1024 see that range again, whatever the card said before."""
    torch.manual_seed(2)
    net = nets.DenseNet(1, -1024.0, 1024.0).eval()
    card = replace(CARD, network="densenet121", classes=("Mass",), thresholds={}, calibration={})
    saved = bundle.save(tmp_path, card, net)
    assert (saved.input.low, saved.input.high) == (-1024.0, 1024.0)
    loaded = bundle.load(tmp_path).net
    assert loaded
    film = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(film), net(film))


def test_a_new_card_keeps_what_was_counted(folder: Path) -> None:
    """Thresholds change; evidence and training stay unless others are given."""
    card = bundle.read_card(folder)
    bundle.save_card(folder, card, evidence={"auc": 0.8}, training={"epochs": 3})
    bundle.save_card(folder, replace(card, thresholds={"Mass": 0.2}))
    told = json.loads((folder / files.METADATA).read_text())["filmgate"]
    assert (told["evidence"], told["training"]) == ({"auc": 0.8}, {"epochs": 3})
    assert bundle.read_card(folder).thresholds == {"Mass": 0.2}


def test_a_torchscript_of_somebody_else_is_given_its_range_and_channels(tmp_path: Path) -> None:
    """It is wrapped: greys in [0, 1] reach it as three channels of 0..255."""
    card = replace(CARD, network="torchscript", input=Input(px=64, low=0.0, high=255.0, channels=3))
    bundle.save(tmp_path, card, scripted(Mean(3)))
    loaded = bundle.load(tmp_path).net
    assert loaded
    assert loaded(torch.full((2, 1, 64, 64), 0.5)).tolist() == [[127.5] * 3] * 2


@pytest.mark.parametrize("packed", [b"no archive", pickle.dumps({"a": 1})])
def test_a_torchscript_that_is_none_does_not_load(tmp_path: Path, packed: bytes) -> None:
    bundle.save(tmp_path, replace(CARD, network="torchscript"), packed)
    with pytest.raises(BundleError, match="TorchScript cannot be run"):
        bundle.load(tmp_path)


def test_a_torchscript_with_another_number_of_answers_does_not_load(tmp_path: Path) -> None:
    bundle.save(tmp_path, replace(CARD, network="torchscript"), scripted(Mean(2)))
    with pytest.raises(BundleError, match="each of 3 classes"):
        bundle.load(tmp_path)


def test_a_classifier_is_found_by_folder_or_by_name(folder: Path) -> None:
    assert bundle.find(folder) == folder
    with pytest.raises(BundleError, match="no classifier 'oracle'"):
        bundle.find("oracle")
    assert [bundle.find(name).name for name in bundle.shipped()] == list(bundle.shipped())


def test_a_gate_is_no_classifier_and_the_other_way_round(folder: Path) -> None:
    """Both kinds lie in one folder; neither loads as the other."""
    with pytest.raises(BundleError, match="not the bundle of a classifier"):
        bundle.load(files.BUNDLES / "inversion")
    with pytest.raises(BundleError, match="not the bundle of a gate"):
        files.load(folder)
    assert (files.kind_of(folder), files.kind_of(files.BUNDLES / "inversion")) == ("classifier", "gate")


@pytest.mark.parametrize("name", ["made here", *bundle.shipped()])
def test_monai_verifies_and_runs_a_classifier(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`monai.bundle` checks the network against its metadata, and asks it about a picture."""
    folder = folder if name == "made here" else bundle.find(name)
    config, meta = str(folder / files.INFERENCE), str(folder / files.METADATA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's own
        scripts.verify_net_in_out(net_id="network_def", meta_file=meta, config_file=config, device="cpu")
        Image.fromarray((phantom.render("frontal", 3) * 255).astype(np.uint8)).save(tmp_path / "film.png")
        options = {"bundle_root": str(folder), "film": str(tmp_path / "film.png")}
        scripts.run(config_file=config, meta_file=meta, **options)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert tuple(told) == bundle.read_card(folder).classes
    assert all(np.isfinite(value) for value in told.values())


class Mean(nn.Module):
    """Somebody else's network: the mean of what it is shown, for each class."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(1, 2, 3))[:, None].repeat(1, self.classes)


def scripted(net: nn.Module) -> bytes:
    """The network as a TorchScript file."""
    import io

    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, but in use
        torch.jit.save(torch.jit.trace(net, torch.rand(2, 3, 64, 64)), out)
    return out.getvalue()
