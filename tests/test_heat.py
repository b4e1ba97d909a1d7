"""Heat maps: the quick one is MONAI's CAM, and boxes lie where the heat is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from monai.visualize.class_activation_maps import CAM
from numpy.typing import NDArray
from torch import nn

from models.classifiers import bundle, heat, nets
from models.classifiers.engine import Both
from pipelines.lab.ask.gate_ask import overlap

PX = 96


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def untrained(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return bundle.network(kind, 3).eval().requires_grad_(False)


def film(seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 1, PX, PX, generator=torch.Generator().manual_seed(seed))


def quick(net: nn.Module, x: torch.Tensor, which: int) -> NDArray[np.float32] | None:
    """The map as the reader makes it: from what the engine puts out."""
    with torch.inference_mode():
        _, maps = Both(net)(x)
    head = net.get_submodule("head")
    assert isinstance(head, nn.Linear)
    return heat.cam(maps[0].numpy(), head.weight[which].numpy(), PX)


class Bare(nn.Module):
    """The network as MONAI's CAM wants it: a named layer whose output goes to the mean.

    The last layer has no offset here: MONAI would add it to every place of the map.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        head = net.get_submodule("head")
        assert isinstance(head, nn.Linear)
        self.fc = nn.Linear(head.in_features, head.out_features, bias=False)
        self.fc.weight = head.weight
        self.trunk = Trunk(net)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc(self.trunk(x).mean(dim=(2, 3)))
        return out


class Trunk(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.net.maps(x)  # type: ignore[operator]
        return out


@pytest.mark.parametrize(("kind", "which"), [("small", 0), ("small", 2), ("lite", 1), ("densenet121", 0)])
def test_the_quick_map_is_monais_cam_up_to_its_scale(kind: str, which: int) -> None:
    """Where the evidence is positive the two are proportional; elsewhere ours is 0."""
    net = untrained(kind)
    theirs = CAM(
        nn_module=Bare(net).eval(),
        target_layers="trunk",
        fc_layers="fc",
        upsampler=lambda size: lambda x: x,
        postprocessing=lambda x: x,
    )(film(), class_idx=torch.tensor([which]))
    evidence = heat._wide(torch.as_tensor(theirs)[0, 0].detach(), PX).clamp(min=0).numpy()
    ours = quick(net, film(), which)
    if evidence.max() == 0:
        assert ours is None
        return
    assert ours is not None
    assert np.allclose(ours, evidence / evidence.max(), atol=1e-4)


@pytest.mark.parametrize("kind", ["small", "lite", "densenet121"])
def test_grad_cam_pp_gives_a_map_of_the_size_of_the_film(kind: str) -> None:
    """With weights that ask for no gradients, as a loaded bundle's; and it leaves the network as it was."""
    net = untrained(kind)
    maps = [heat.grad_cam_pp(net, film(), which) for which in range(3)]
    some = [one for one in maps if one is not None]
    assert some
    for one in some:
        assert (one.shape, one.dtype) == ((PX, PX), np.float32)
        assert (one.min() >= 0, one.max()) == (True, 1.0)
    assert not any(weight.requires_grad for weight in net.parameters())


class Bright(nets.Small):
    """Its first class is brightness: what speaks for it is where the film is bright."""

    def __init__(self) -> None:
        super().__init__(2)
        self.body = nn.Sequential(nn.AvgPool2d(8), nn.ReLU())
        self.head = nn.Linear(1, 2, bias=False)
        with torch.no_grad():
            self.head.weight[:] = torch.tensor([[1.0], [-1.0]])


def test_both_ways_find_the_bright_spot() -> None:
    """On a network of which one knows where it looks, both boxes lie round the spot, and agree."""
    net = Bright().eval().requires_grad_(False)
    x = torch.full((1, 1, PX, PX), 0.2)
    x[..., 56:80, 16:32] = 1.0
    one, other = quick(net, x, 0), heat.grad_cam_pp(net, x, 0)
    assert one is not None
    assert other is not None
    boxes = [heat.region_of(one), heat.region_of(other)]
    spot = (16 / PX, 56 / PX, 32 / PX, 80 / PX)
    assert all(overlap(box, spot) > 0.7 for box in boxes)
    assert overlap(*boxes) > 0.9


def test_nothing_is_shown_where_everything_spoke_against_it() -> None:
    assert quick(Bright().eval().requires_grad_(False), film().clamp(min=0.6), 1) is None
    assert heat.cam(np.full((1, 3, 3), np.nan, np.float32), np.ones(1, np.float32), PX) is None


def test_the_region_is_the_piece_that_holds_the_maximum() -> None:
    """A second spot, larger but less hot, is not in the box; what hangs together over a corner is."""
    spots = np.zeros((224, 224), np.float32)
    spots[20:60, 20:60] = 1.0
    spots[60:80, 60:80] = 0.6
    spots[120:220, 120:220] = 0.9
    assert heat.region_of(spots) == pytest.approx((20 / 224, 20 / 224, 80 / 224, 80 / 224), abs=0.02)
    assert heat.region_of(spots, hot=0.95) == pytest.approx(
        (20 / 224, 20 / 224, 60 / 224, 60 / 224), abs=0.02
    )


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (32, 64), (224, 224), (301, 97)])
def test_a_region_lies_inside_of_the_map_whatever_its_size(shape: tuple[int, int]) -> None:
    for seed in range(5):
        x0, y0, x1, y1 = heat.region_of(np.random.default_rng(seed).random(shape, dtype=np.float32))
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1
