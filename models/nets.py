"""The networks: one small residual classifier for every question, and one small U-Net for the lungs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from monai.networks.blocks.convolutions import Convolution
from monai.networks.nets.unet import UNet
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from models import bundle
from models.graphs import FEW, LUNG_WIDTHS, NEAR, PLACE, WIDTHS
from models.region_net import RegionNet

DROPOUT = 0.2  # before the last layer: the sites are few, the network should not lean on one feature


class Residual(nn.Module):
    """Two 3x3 convolutions round a shortcut (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = _conv(width, width, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(self.first(x)))


class Classifier(nn.Module):
    """A film (B, 1, S, S) float32 in [0, 1] -> logits (B, classes)."""

    def __init__(self, classes: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        stem, *rest = widths
        layers: list[nn.Module] = [_conv(1, stem, stride=2)]
        for before, after in zip(widths, rest, strict=False):
            layers += [_conv(before, after, stride=2), Residual(after)]
        self.body = nn.Sequential(*layers, Residual(widths[-1]))
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Linear(widths[-1], classes)

    def features(self, x: Tensor) -> Tensor:
        """The mean over the picture of the last feature maps, (B, widths[-1])."""
        out: Tensor = self.body(x * 2 - 1).mean(dim=(2, 3))
        return out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.dropout(self.features(x)))
        return out


class Turns(nn.Module):
    """Which way is up: a film is turned back four ways, and each is asked "does this stand upright?".

    Output (B, 8): log-odds, up to a constant, of 0, 1, 2, 3 quarter turns clockwise, then the tilt that
    remains after each turn is taken back, in units of TILT_UNIT degrees clockwise. The same question is
    asked of the same film four times, so neither site nor style nor format can prefer an answer: turning
    the film by a quarter turns the answers, exactly, and changes nothing else (Cohen and Welling 2016).
    """

    def __init__(self, outputs: int = 8, widths: tuple[int, ...] = FEW) -> None:
        super().__init__()
        if outputs != 8:
            raise ValueError(f"Turns has 8 outputs, not {outputs}")
        self.one_way = Classifier(2, widths)

    def forward(self, x: Tensor) -> Tensor:
        ways = torch.cat([x.rot90(k, (-2, -1)) for k in range(4)])
        out = self.one_way(ways).reshape(4, len(x), 2)
        answers: Tensor = out.permute(1, 2, 0).reshape(len(x), 8)
        return answers


class Polarity(nn.Module):
    """Log-odds (B, 1) that black and white are exchanged; the negative's is the film's with the sign changed.

    What a film and its negative have in common cannot tell them apart, and here it cannot try.
    """

    def __init__(self, outputs: int = 1, widths: tuple[int, ...] = FEW) -> None:
        super().__init__()
        self.one_side = Classifier(outputs, widths)

    def forward(self, x: Tensor) -> Tensor:
        film, negative = self.one_side(torch.cat([x, 1 - x])).chunk(2)
        out: Tensor = film - negative
        return out


class Parts(nn.Module):
    """What a film shows: log-odds (B, parts) of each kind by its distance alone, then (B, 2) AP and child.

    A film is laid out in PLACE dimensions, and each kind has a centre there. The log-odds of a kind are
    NEAR less the squared distance to its centre, each kind against everything else (van Amersfoort et al.
    2020), so a film far from all centres is nothing known. It is taught with films that are none of the
    kinds (outlier exposure, Hendrycks et al. 2019).
    """

    def __init__(self, outputs: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.kinds = outputs - 2
        self.body = Classifier(2, widths)  # its head answers AP and child
        self.place = nn.Linear(widths[-1], PLACE)
        self.centres = nn.Parameter(
            torch.randn(self.kinds, PLACE, generator=torch.Generator().manual_seed(0))
        )
        self.scale = nn.Parameter(torch.zeros(self.kinds))  # log of the inverse squared radius

    def forward(self, x: Tensor) -> Tensor:
        features = self.body.features(x)
        apart = self.place(features)[:, None] - self.centres[None]  # (B, kinds, PLACE)
        odds = NEAR - self.scale.exp() * apart.square().sum(dim=2)
        return torch.cat([odds, self.body.head(self.body.dropout(features))], dim=1)


class Antisymmetric(nn.Module):
    """Logit (B, 1) that changes its sign, exactly, when the film is flipped left to right.

    What is the same in a film and its mirror image cannot tell them apart, and here it cannot try.
    """

    def __init__(self, outputs: int = 1, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.one_side = Classifier(outputs, widths)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            out: Tensor = self.one_side(x) - self.one_side(x.flip(-1))
            return out
        # One look is quicker than two. Not in training: batch norm would see both at once, and the weights
        # that ship could not be made again.
        film, mirrored = self.one_side(torch.cat([x, x.flip(-1)])).chunk(2)
        told: Tensor = film - mirrored
        return told


def lung_net(outputs: int = 1) -> nn.Module:
    """A film (B, 1, S, S) in [0, 1] -> lung logits (B, 1, S, S); S a multiple of 16."""
    return UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=outputs,
        channels=LUNG_WIDTHS,
        strides=(2, 2, 2),
        num_res_units=1,
        norm="batch",
        act="relu",
    )


# What a card may name as its network.
KINDS: dict[str, Callable[[int], nn.Module]] = {
    "Turns": Turns,
    "Polarity": Polarity,
    "Parts": Parts,
    "Antisymmetric": Antisymmetric,
    "lung_net": lung_net,
    "RegionNet": RegionNet,
}


def load(folder: Path) -> nn.Module:
    """The network of a bundle in torch, for those who train and probe it. Raises BundleError."""
    card, weights = bundle.read_checked(folder)
    net = KINDS[card.network](len(card.classes))
    net.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return fused(net)


def fused(net: nn.Module) -> nn.Module:
    """The network ready for one film at a time: eval mode, batch norm folded into the convolutions."""
    net = net.eval()
    for module in net.modules():
        if not isinstance(module, Convolution):
            continue
        after = getattr(module, "adn", None)  # MONAI's normalisation and activation
        norm = getattr(after, "N", None)
        if after is not None and isinstance(norm, nn.BatchNorm2d):
            if isinstance(module.conv, nn.ConvTranspose2d):
                module.conv = fuse_conv_bn_eval(module.conv, norm, transpose=True)
            elif isinstance(module.conv, nn.Conv2d):
                module.conv = fuse_conv_bn_eval(module.conv, norm)
            after.N = nn.Identity()
    return channels_last(net.requires_grad_(False))


def channels_last(net: nn.Module) -> nn.Module:
    """The network with its weights laid out as CPU convolutions like them, a quarter faster."""
    out: nn.Module = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return out


def _conv(before: int, after: int, stride: int = 1, relu: bool = True) -> Convolution:
    return Convolution(
        2, before, after, strides=stride, norm="batch", act="relu" if relu else None, bias=False
    )
