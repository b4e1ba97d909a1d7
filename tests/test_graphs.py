"""The networks as ncnn runs them answer as they do in torch, where they were trained."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models import asking, bundle, graphs, nets
from models.bundle import BundleError, Card
from pipelines.lab.films import phantom
from pipelines.transforms import gate_input

OUTPUTS = {"Turns": 8, "Polarity": 1, "Parts": 10, "Antisymmetric": 1, "lung_net": 1, "RegionNet": 6}
SAME = 1e-4  # of log-odds; 1e-5 is usual
SHIPPED = sorted(folder.name for folder in bundle.BUNDLES.iterdir() if bundle.kind_of(folder) == "gate")


def random_net(kind: str) -> nn.Module:
    """A network with a batch norm that changes something, as a trained one has."""
    torch.manual_seed(1)
    net = nets.KINDS[kind](OUTPUTS[kind]).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.3, 0.3),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
            ):
                assert values is not None
                values.data.uniform_(low, high)
    return net


def in_torch(net: nn.Module, films: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        out: np.ndarray = net(torch.from_numpy(films)).numpy()
    return out


def random_films(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, 1, 128, 128), dtype=np.float32)


def test_every_network_that_a_card_may_name_can_be_asked_and_trained() -> None:
    assert graphs.NETWORKS.keys() == asking.ANSWERS.keys() == nets.KINDS.keys() == OUTPUTS.keys()


@pytest.mark.parametrize("kind", OUTPUTS)
def test_a_network_answers_as_in_torch(kind: str) -> None:
    """Random weights, two random films at once."""
    net, films = random_net(kind), random_films(2)
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    assert graphs.tensors(kind, OUTPUTS[kind]) == {name: value.shape for name, value in weights.items()}
    answers = asking.opened(kind, OUTPUTS[kind], weights)(films)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, in_torch(net, films), atol=SAME)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_bundle_that_ships_answers_as_in_torch(name: str) -> None:
    """The weights that ship, on a film that they know and on one that they do not."""
    folder = bundle.BUNDLES / name
    films = np.stack([gate_input(phantom.render(what, 3)) for what in ("frontal", "hand")])
    np.testing.assert_allclose(bundle.load(folder).net(films), in_torch(nets.load(folder), films), atol=SAME)


def test_a_network_whose_quick_answers_are_off_does_not_load(tmp_path: Path) -> None:
    """Answers so large that rounding shows: the quick ways of convolving and the plain one disagree."""
    net = random_net("Polarity")
    head = net.get_submodule("one_side.head")
    head.weight.data *= 1e9  # type: ignore[operator]
    bundle.save(tmp_path, Card("loud", "Polarity", ("inverted",)), net)
    with pytest.raises(
        BundleError, match=r"loud: on this processor the answers of ncnn's quick ways are .* off"
    ):
        bundle.load(tmp_path)


def test_the_same_film_gets_the_same_answer_each_time() -> None:
    """Nothing of one look is left for the next."""
    net, (one, other) = bundle.load(bundle.BUNDLES / "anatomy").net, random_films(2)[:, None]
    first = net(one)
    net(other)
    assert np.array_equal(net(one), first)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_reaches_no_network(value: float) -> None:
    films = random_films(2)
    films[1, 0, 5, 5] = value
    with pytest.raises(ValueError, match="not finite"):
        bundle.load(bundle.BUNDLES / "mirror").net(films)


@pytest.mark.parametrize("shape", [(1, 3, 128, 128), (1, 128, 128), (0, 1, 128, 128)])
def test_what_is_no_film_reaches_no_network(shape: tuple[int, ...]) -> None:
    """ncnn would read on behind the array."""
    with pytest.raises(ValueError, match="no films"):
        bundle.load(bundle.BUNDLES / "mirror").net(np.zeros(shape, np.float32))


def test_an_answer_that_is_no_number_is_none() -> None:
    net = bundle.load(bundle.BUNDLES / "mirror").net
    assert isinstance(net, asking.Net)
    broken = replace(net, tail=net.tail | {"head.bias": np.full(1, np.nan, np.float32)})
    with pytest.raises(asking.AskError, match="no number"):
        broken(random_films(1))


@pytest.mark.parametrize(("kind", "classes"), [("Turns", "abcdefg"), ("Parts", "a")])
def test_a_card_with_another_number_of_classes_does_not_load(kind: str, classes: str, tmp_path: Path) -> None:
    """A network for turns has eight answers, one for parts at least three."""
    bundle.save(tmp_path, Card("odd", kind, tuple(classes)), random_net(kind))
    with pytest.raises(BundleError, match=f"{kind} cannot answer {len(classes)} classes"):
        bundle.load(tmp_path)


def test_a_gate_is_opened_and_asked_without_torch() -> None:
    """A worker's networks do not load what takes a second and 200 MB."""
    program = (
        "import sys, numpy as np; from models import bundle;"
        "net = bundle.load(bundle.BUNDLES / 'rotation').net; net(np.zeros((1, 1, 128, 128), np.float32));"
        "sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
