"""The networks: one small residual classifier for every question, and one small U-Net for the lungs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.networks.blocks.convolutions import Convolution
from monai.networks.nets.unet import UNet
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

WIDTHS = (24, 32, 64, 96)  # 0.38 M parameters, some 3 ms a film on one core at 128 px
LUNG_WIDTHS = (16, 32, 64, 96)
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


class Familiar(Classifier):
    """A classifier that also says how far a film lies from everything it was trained on.

    The distance is Mahalanobis' to the nearest class mean in feature space (Lee et al. 2018), divided by
    the root of the number of features, so that a film of the training kind lies at about 1.
    """

    means: Tensor  # (classes, F)
    whitening: Tensor  # (F, F): covariance of the features round their class means, to the power -1/2

    def __init__(self, classes: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__(classes, widths)
        self.register_buffer("means", torch.zeros(classes, widths[-1]))
        self.register_buffer("whitening", torch.eye(widths[-1]))

    def settle(self, features: Tensor, labels: Tensor) -> None:
        """Remembers where the films with these features (N, F) and classes (N,) lie."""
        classes, width = self.means.shape
        self.means.copy_(torch.stack([features[labels == c].mean(dim=0) for c in range(classes)]))
        spread = torch.cov((features - self.means[labels]).T) + 1e-3 * torch.eye(width)
        values, vectors = torch.linalg.eigh(spread)
        self.whitening.copy_(vectors @ torch.diag(values.rsqrt()) @ vectors.T)

    def distances(self, features: Tensor) -> Tensor:
        """Features (B, F) -> distance to each class (B, classes)."""
        apart = (features[:, None] - self.means[None]) @ self.whitening
        out: Tensor = apart.norm(dim=-1) / self.means.shape[1] ** 0.5
        return out

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A film (B, 1, S, S) -> logits (B, classes) and distances (B, classes)."""
        features = self.features(x)
        return self.head(features), self.distances(features)


class Antisymmetric(nn.Module):
    """Logit (B, 1) that changes its sign, exactly, when the film is flipped left to right.

    What is the same in a film and its mirror image cannot tell them apart, and here it cannot try.
    """

    def __init__(self, classes: int = 1, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.one_side = Classifier(classes, widths)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.one_side(x) - self.one_side(x.flip(-1))
        return out


def lung_net(classes: int = 1) -> nn.Module:
    """A film (B, 1, S, S) in [0, 1] -> lung logits (B, 1, S, S); S a multiple of 16."""
    return UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=classes,
        channels=LUNG_WIDTHS,
        strides=(2, 2, 2),
        num_res_units=1,
        norm="batch",
        act="relu",
    )


# What a card may name as its network.
KINDS: dict[str, Callable[[int], nn.Module]] = {
    "Classifier": Classifier,
    "Familiar": Familiar,
    "Antisymmetric": Antisymmetric,
    "lung_net": lung_net,
}


def look(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Films (B, 1, S, S) -> a Familiar's logits (B, classes) and distances (B, classes).

    Each film is looked at in all four turns and the answers are averaged: what it shows does not depend
    on how it lies, and a film that came turned is then judged as surely as one that came upright.
    """
    if not isinstance(net, Familiar):
        raise TypeError(f"{type(net).__name__} knows no distances")
    turned = torch.cat([x.rot90(k, (-2, -1)) for k in range(4)])
    logits, distances = net.look(turned)
    shape = (4, len(x), -1)
    return logits.reshape(shape).mean(dim=0), distances.reshape(shape).mean(dim=0)


def turn_shares(net: nn.Module, x: Tensor) -> Tensor:
    """Films (B, 1, S, S) -> probability (B, 4) of 0, 1, 2, 3 quarter turns clockwise.

    Each film is shown in all four turns and the answers, turned back, are averaged: an opinion that
    depends on how the film happens to lie cancels out.
    """
    views = torch.cat([torch.rot90(x, -k, dims=(-2, -1)) for k in range(4)])
    answers = net(views).chunk(4)
    logits = torch.stack([torch.roll(answer, -k, dims=1) for k, answer in enumerate(answers)]).mean(dim=0)
    return torch.softmax(logits, dim=1)


def inverted_share(net: nn.Module, x: Tensor) -> Tensor:
    """Films (B, 1, S, S) in [0, 1] -> probability (B,) of being inverted, from the film and its negative."""
    film, negative = net(torch.cat([x, 1 - x])).chunk(2)
    return torch.sigmoid((film[:, 1] - film[:, 0] + negative[:, 0] - negative[:, 1]) / 2)


def mirrored_share(net: nn.Module, x: Tensor) -> Tensor:
    """Upright films (B, 1, S, S) -> probability (B,) of being mirrored."""
    return torch.sigmoid(net(x)[:, 0])


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
