"""The networks: shapes, size, symmetry, and that folding changes nothing."""

from __future__ import annotations

import pytest
import torch

from models import nets


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("kind", "classes"), [("Classifier", 4), ("Familiar", 4), ("Antisymmetric", 1), ("lung_net", 1)]
)
def test_every_network_is_small_and_keeps_its_answers_when_folded(kind: str, classes: int) -> None:
    """0.1 to 0.7 million parameters, and batch norm folded into convolutions gives the same logits."""
    net = nets.KINDS[kind](classes).eval()
    x = torch.rand(2, 1, 128, 128)
    with torch.inference_mode():
        before = net(x)
        after = nets.fused(net)(x)
    assert 1e5 < sum(p.numel() for p in net.parameters()) < 7e5
    assert torch.allclose(before, after, atol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())


def test_the_mirror_network_changes_its_sign_with_the_mirror_image() -> None:
    """f(x) = -f(flipped x), exactly, for any weights."""
    net = nets.Antisymmetric().eval()
    x = torch.rand(3, 1, 128, 128)
    with torch.inference_mode():
        assert torch.equal(net(x), -net(x.flip(-1)))


def test_turning_a_film_turns_the_answer_of_turn_shares() -> None:
    """A film turned once more clockwise has its probabilities moved on by one."""
    net = nets.Classifier(4).eval()
    x = torch.rand(2, 1, 128, 128)
    with torch.inference_mode():
        shares = nets.turn_shares(net, x)
        once_more = nets.turn_shares(net, torch.rot90(x, -1, dims=(-2, -1)))
    assert torch.allclose(once_more, torch.roll(shares, 1, dims=1), atol=1e-5)
    assert torch.allclose(shares.sum(dim=1), torch.ones(2))


def test_a_negative_has_the_opposite_polarity() -> None:
    """The probability of being inverted of a film and of its negative add up to one."""
    net = nets.Classifier(2).eval()
    x = torch.rand(2, 1, 128, 128)
    with torch.inference_mode():
        total = nets.inverted_share(net, x) + nets.inverted_share(net, 1 - x)
    assert torch.allclose(total, torch.ones(2), atol=1e-5)


def test_a_familiar_network_finds_its_own_films_near_and_others_far() -> None:
    """Distances are about 1 where the training films lie and much more elsewhere."""
    net = nets.Familiar(2)
    labels = torch.arange(400) % 2
    features = torch.randn(400, 96) + 3 * labels[:, None]
    net.settle(features, labels)
    near = net.distances(features).gather(1, labels[:, None])
    assert 0.8 < near.mean() < 1.2
    assert net.distances(features + 50).min() > 10


def test_only_a_familiar_network_is_asked_for_distances() -> None:
    """Another kind of network is a mistake in a card, and says so."""
    with pytest.raises(TypeError, match="no distances"):
        nets.look(nets.Classifier(4), torch.rand(1, 1, 128, 128))
