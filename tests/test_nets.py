"""The networks: shapes, size, symmetry, and that folding changes nothing."""

from __future__ import annotations

import pytest
import torch

from models import nets
from models.graphs import NEAR


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


KINDS = [("Turns", 8), ("Polarity", 1), ("Parts", 10), ("Antisymmetric", 1), ("lung_net", 1)]


@pytest.mark.parametrize(("kind", "outputs"), KINDS)
def test_every_network_is_small_and_keeps_its_answers_when_folded(kind: str, outputs: int) -> None:
    """0.1 to 0.7 million parameters, and batch norm folded into convolutions gives the same answers."""
    net = nets.KINDS[kind](outputs).eval()
    x = torch.rand(2, 1, 128, 128)
    with torch.inference_mode():
        before = net(x)
        after = nets.fused(net)(x)
    assert 1e5 < sum(p.numel() for p in net.parameters()) < 7e5
    assert torch.allclose(before, after, atol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())


def test_the_mirror_network_changes_its_sign_with_the_mirror_image() -> None:
    """f(x) = -f(flipped x), to rounding, for any weights."""
    net = nets.Antisymmetric().eval()
    x = torch.rand(3, 1, 128, 128)
    with torch.inference_mode():
        assert torch.allclose(net(x), -net(x.flip(-1)), atol=1e-5)


def test_turning_a_film_turns_the_answers_and_changes_nothing_else() -> None:
    """One more quarter clockwise moves the log-odds of the turns on by one, and the tilts with them."""
    net = nets.Turns().eval()
    x = torch.rand(2, 1, 128, 128)
    with torch.inference_mode():
        answers = net(x).reshape(2, 2, 4)
        once_more = net(torch.rot90(x, -1, dims=(-2, -1))).reshape(2, 2, 4)
    assert torch.allclose(once_more, torch.roll(answers, 1, dims=2), atol=1e-5)


def test_a_network_for_turns_has_eight_outputs() -> None:
    """A card that names another number is a mistake, and says so."""
    with pytest.raises(ValueError, match="8 outputs, not 4"):
        nets.Turns(4)


def test_a_negative_has_the_opposite_polarity() -> None:
    """The log-odds of being inverted of a film and of its negative differ in nothing but the sign."""
    net = nets.Polarity().eval()
    x = torch.rand(2, 1, 128, 128)
    with torch.inference_mode():
        assert torch.allclose(net(x), -net(1 - x), atol=1e-5)


def test_a_film_far_from_every_centre_is_nothing_known() -> None:
    """On a centre the log-odds of a kind are NEAR; far from all, none is likely, whatever the direction."""
    net = nets.Parts(10).eval()
    torch.nn.init.zeros_(net.place.weight)
    x = torch.rand(1, 1, 128, 128)
    for kind in range(net.kinds):
        net.place.bias.data = net.centres.data[kind].clone()
        assert net(x)[0, kind].item() == pytest.approx(NEAR)
    net.place.bias.data = net.centres.data[0] * -30
    assert net(x)[0, : net.kinds].max() < -20
