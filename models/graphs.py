"""The gates' networks as ncnn reads them: a text that names the layers, and the weights in that order.

`models.nets` defines the same networks in torch, where they are trained. Here each is built a second time,
from the checked tensors of its bundle and with every batch norm folded into its convolution, so that a worker
asks a gate without torch. tests/test_graphs.py proves that both answer alike.

The text is ncnn's own format: a magic number, the count of layers and of blobs, then a line a layer
(https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

WIDTHS = (16, 32, 64, 96)  # 0.5 M parameters, some 2 ms a look on one core at 128 px
FEW = (16, 24, 48, 80)  # 0.33 M: enough for which way is up, and what is black
LUNG_WIDTHS = (16, 32, 64, 96)
REGION_WIDTHS = (12, 20, 32, 56)  # 0.17 M
# What the outputs of the anatomy network stand for, in their order.
PARTS = (
    "frontal chest",
    "lateral chest",
    "pelvis or hip",
    "spine",
    "skull or jaw",
    "upper limb",
    "lower limb",
    "no radiograph",
)
FRONTAL, LATERAL, PELVIS, SPINE, SKULL, UPPER, LOWER, NO_FILM = range(len(PARTS))
AP, CHILD = len(PARTS), len(PARTS) + 1  # columns of the network's last two outputs
REGION_OUTPUTS = ("region", "centre", "left", "top", "right", "bottom")
PLACE = 16  # dimensions in which the anatomy network lays films out: kinds near their own centre
NEAR = 4.0  # log-odds of a film that lies right on a centre
TILT_UNIT = 20.0  # degrees clockwise: 1 in the rotation network's answers for the tilt
GRID = 32  # cells a side of the region network's maps: a quarter of the input
USUAL = 0.12  # of the film's side: half a usual box, where the region network's sizes begin

Array = NDArray[np.float32]
Shape = tuple[int, ...]
Widths = tuple[int, int, int, int]
Take = Callable[[str, Shape], Array]

MAGIC = 7767517
IN, MASK = "in", "mask"
GAP = 2  # empty lines between the maps of two looks where they are stacked, so that no look sees another
BATCH_NORM_EPS = 1e-5  # torch's
FLOAT32 = b"\0\0\0\0"  # before the weights of each layer: they are stored as they are
RELU = "9=1"


@dataclass(frozen=True, slots=True)
class Graph:
    """Layers for ncnn: what they are shown under the name IN, and their answers under `outputs`."""

    text: str
    weights: bytes
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """A network for ncnn and what is reckoned without it (`models.asking`).

    `first` is shown one picture (1, S, S). In a classifier its maps go on to `deep`: those of all looks at
    once, one below the other with GAP empty lines between (C, looks * (n + GAP), n), and with a mask under
    the name MASK that empties the gap again after each layer. The deep layers have most of the weights and
    the smallest maps, so reading the weights anew for each look would take longer than using them.
    `tail` are the tensors of what follows.
    """

    first: Graph
    deep: Graph | None
    tail: dict[str, Array]


@dataclass(frozen=True, slots=True)
class _Layer:
    kind: str
    inputs: tuple[str, ...]
    output: str
    settings: str = ""


class _Plan:
    """The layers so far. A method adds one or more and returns the name of the blob that they put out."""

    def __init__(self, take: Take, *inputs: str) -> None:
        self.take = take
        self._layers = [_Layer("Input", (), name) for name in inputs or (IN,)]
        self._packed: list[bytes] = []

    def normed(
        self,
        x: str,
        name: str,
        before: int,
        after: int,
        *,
        stride: int = 1,
        relu: bool = True,
        bias: bool = False,
    ) -> str:
        """MONAI's Convolution: 3 x 3, batch norm, ReLU."""
        weight, offset = self._folded(name, (after, before, 3, 3), after, bias=bias)
        settings = f"0={after} 1=3 3={stride} 4=1 5=1 6={weight.size}"
        return self._weighted("Convolution", x, f"{settings} {RELU}" if relu else settings, weight, offset)

    def doubled(self, x: str, name: str, before: int, after: int) -> str:
        """MONAI's transposed Convolution with stride 2: twice the size, batch norm, ReLU."""
        weight, offset = self._folded(name, (before, after, 3, 3), after, bias=True, transposed=True)
        settings = f"0={after} 1=3 3=2 4=1 5=1 6={weight.size} 18=1 19=1 {RELU}"
        return self._weighted("Deconvolution", x, settings, weight, offset)

    def plain(self, x: str, name: str, before: int, after: int, *, kernel: int = 1, stride: int = 1) -> str:
        """torch's Conv2d with a bias."""
        weight, offset = (
            self.take(f"{name}.weight", (after, before, kernel, kernel)),
            self._bias(name, after),
        )
        settings = f"0={after} 1={kernel} 3={stride} 4={kernel // 2} 5=1 6={weight.size}"
        return self._weighted("Convolution", x, settings, weight, offset)

    def masked(self, x: str) -> str:
        """Emptied where the mask is 0."""
        return self._add("BinaryOp", (x, MASK), "0=2")

    def linear(self, x: str, name: str, before: int, after: int) -> str:
        """torch's Linear."""
        weight, offset = self.take(f"{name}.weight", (after, before)), self._bias(name, after)
        return self._weighted("InnerProduct", x, f"0={after} 1=1 2={weight.size}", weight, offset)

    def residual(self, x: str, name: str, width: int, *, masked: bool = False) -> str:
        """Two convolutions round a shortcut, as models.nets.Residual."""
        inner = self.normed(x, f"{name}.first", width, width)
        inner = self.masked(inner) if masked else inner
        return self.relu(self.sum(x, self.normed(inner, f"{name}.second", width, width, relu=False)))

    def sum(self, one: str, other: str) -> str:
        return self._add("BinaryOp", (one, other), "0=0")

    def relu(self, x: str) -> str:
        return self._add("ReLU", (x,))

    def joined(self, one: str, other: str) -> str:
        return self._add("Concat", (one, other), "0=0")

    def mean(self, x: str) -> str:
        return self._add("Pooling", (x,), "0=1 4=1")

    def most(self, x: str) -> str:
        return self._add("Pooling", (x,), "0=0 4=1")

    def twice(self, x: str) -> str:
        return self._add("Interp", (x,), "0=1 1=2.0 2=2.0")

    def graph(self, *outputs: str) -> Graph:
        lines = list(self._lines())
        blobs = sum(int(line.split()[3]) for line in lines)
        text = "\n".join([str(MAGIC), f"{len(lines)} {blobs}", *lines]) + "\n"
        return Graph(text, b"".join(self._packed), outputs)

    def _lines(self) -> list[str]:
        """ncnn gives a blob to one layer only; for more of them a Split makes copies in name."""
        uses = Counter(name for layer in self._layers for name in layer.inputs)
        used: Counter[str] = Counter()
        lines = []
        for layer in self._layers:
            inputs = []
            for name in layer.inputs:
                inputs.append(f"{name}/{used[name]}" if uses[name] > 1 else name)
                used[name] += 1
            lines.append(_line(layer.kind, layer.output, inputs, [layer.output], layer.settings))
            if (count := uses[layer.output]) > 1:
                copies = [f"{layer.output}/{n}" for n in range(count)]
                lines.append(_line("Split", f"split:{layer.output}", [layer.output], copies))
        return lines

    def _add(self, kind: str, inputs: tuple[str, ...], settings: str = "") -> str:
        output = f"blob{len(self._layers)}"
        self._layers.append(_Layer(kind, inputs, output, settings))
        return output

    def _weighted(self, kind: str, x: str, settings: str, weight: Array, offset: Array) -> str:
        self._packed += [FLOAT32, weight.astype("<f4").tobytes(), offset.astype("<f4").tobytes()]
        return self._add(kind, (x,), settings)

    def _bias(self, name: str, after: int) -> Array:
        return self.take(f"{name}.bias", (after,))

    def _folded(
        self, name: str, shape: Shape, after: int, *, bias: bool, transposed: bool = False
    ) -> tuple[Array, Array]:
        """A convolution's weights (after, before, 3, 3) and bias with the batch norm that follows in them."""
        weight = self.take(f"{name}.conv.weight", shape)
        weight = weight.swapaxes(0, 1) if transposed else weight
        offset = self._bias(f"{name}.conv", after) if bias else np.zeros(after, np.float32)
        norm = f"{name}.adn.N"
        gain, shift = self.take(f"{norm}.weight", (after,)), self._bias(norm, after)
        mean, spread = (self.take(f"{norm}.running_{what}", (after,)) for what in ("mean", "var"))
        self.take(f"{norm}.num_batches_tracked", ())
        scale = gain / np.sqrt(spread + np.float32(BATCH_NORM_EPS))
        return weight * scale[:, None, None, None], (offset - mean) * scale + shift


def _line(kind: str, name: str, inputs: list[str], outputs: list[str], settings: str = "") -> str:
    words = [kind, name, str(len(inputs)), str(len(outputs)), *inputs, *outputs, settings]
    return " ".join(word for word in words if word)


# Which network a card may name.


def tensors(network: str, outputs: int) -> dict[str, Shape]:
    """The name and shape of every tensor that the network's bundle must hold.

    Raises:
        ValueError: it cannot have so many outputs.
    """
    shapes: dict[str, Shape] = {}

    def noted(name: str, shape: Shape) -> Array:
        shapes[name] = shape
        return np.zeros(shape, np.float32)

    NETWORKS[network](noted, outputs)
    return shapes


def built(network: str, outputs: int, weights: Mapping[str, Array]) -> Network:
    """The network with these weights, whose names and shapes are those of `tensors`."""
    return NETWORKS[network](lambda name, _: weights[name], outputs)


def _turns(take: Take, outputs: int) -> Network:
    if outputs != 8:
        raise ValueError(f"Turns has 8 outputs, not {outputs}")
    return _classifier(take, "one_way", FEW, {"head": 2})


def _polarity(take: Take, outputs: int) -> Network:
    return _classifier(take, "one_side", FEW, {"head": outputs})


def _antisymmetric(take: Take, outputs: int) -> Network:
    return _classifier(take, "one_side", WIDTHS, {"head": outputs})


def _parts(take: Take, outputs: int) -> Network:
    found, kinds = _classifier(take, "body", WIDTHS, {"head": 2}), outputs - 2
    more = {"place.weight": (PLACE, WIDTHS[-1]), "place.bias": (PLACE,)}
    shapes = more | {"centres": (kinds, PLACE), "scale": (kinds,)}
    return replace(found, tail=found.tail | {name: take(name, shape) for name, shape in shapes.items()})


def _classifier(take: Take, name: str, widths: Widths, linear: Mapping[str, int]) -> Network:
    """models.nets.Classifier: the tail turns the mean of the last maps by `linear` layers into answers."""
    stem, fine, middle, coarse = widths
    first, deep = _Plan(take), _Plan(take, IN, MASK)
    x = first.normed(IN, f"{name}.body.0", 1, stem, stride=2)
    x = first.residual(first.normed(x, f"{name}.body.1", stem, fine, stride=2), f"{name}.body.2", fine)
    x = first.residual(first.normed(x, f"{name}.body.3", fine, middle, stride=2), f"{name}.body.4", middle)
    y = deep.masked(deep.normed(IN, f"{name}.body.5", middle, coarse, stride=2))
    y = deep.masked(deep.residual(y, f"{name}.body.6", coarse, masked=True))
    y = deep.residual(y, f"{name}.body.7", coarse, masked=True)
    tail = {}
    for layer, answers in linear.items():
        tail[f"{layer}.weight"] = take(f"{name}.{layer}.weight", (answers, coarse))
        tail[f"{layer}.bias"] = take(f"{name}.{layer}.bias", (answers,))
    return Network(first.graph(x), deep.graph(y), tail)


def _lung_net(take: Take, outputs: int) -> Network:
    """MONAI's UNet: each level goes down with stride 2, is followed by the levels below it, and comes up."""
    plan = _Plan(take)

    def level(x: str, name: str, depth: int, before: int, after: int) -> str:
        width = LUNG_WIDTHS[depth]
        down = _unit(plan, x, f"{name}.0", before, width, stride=2)
        below = f"{name}.1.submodule"
        if depth + 2 == len(LUNG_WIDTHS):
            coarse = LUNG_WIDTHS[-1]
            under = _unit(plan, down, below, width, coarse)
        else:
            coarse = width
            under = level(down, below, depth + 1, width, width)
        up = plan.doubled(plan.joined(down, under), f"{name}.2.0", width + coarse, after)
        last = f"{name}.2.1.conv.unit0"
        if depth:
            return plan.sum(up, plan.normed(up, last, after, after, bias=True))
        return plan.sum(up, plan.plain(up, f"{last}.conv", after, after, kernel=3))

    return Network(plan.graph(level(IN, "model", 0, 1, outputs)), None, {})


def _unit(plan: _Plan, x: str, name: str, before: int, after: int, *, stride: int = 1) -> str:
    """MONAI's ResidualUnit of one convolution; the shortcut has a convolution of its own."""
    aside = plan.plain(x, f"{name}.residual", before, after, kernel=3 if stride > 1 else 1, stride=stride)
    return plan.sum(plan.normed(x, f"{name}.conv.unit0", before, after, stride=stride, bias=True), aside)


def _region_net(take: Take, outputs: int) -> Network:
    """models.region_net.RegionNet: the maps (5, GRID, GRID) and the log-odds (1,) of the region."""
    plan = _Plan(take)
    first, fine, middle, coarse = REGION_WIDTHS
    x = plan.normed(plan.normed(IN, "stem.0", 1, first, stride=2), "stem.1", first, fine, stride=2)
    near = plan.residual(x, "stem.2", fine)
    mid = plan.residual(plan.normed(near, "middle.0", fine, middle, stride=2), "middle.1", middle)
    far = plan.residual(plan.normed(mid, "coarse.0", middle, coarse, stride=2), "coarse.1", coarse)
    far = plan.residual(far, "coarse.2", coarse)
    up = plan.normed(
        plan.sum(mid, plan.twice(plan.plain(far, "from_coarse", coarse, middle))), "up_middle", middle, middle
    )
    up = plan.normed(
        plan.sum(near, plan.twice(plan.plain(up, "from_middle", middle, fine))), "up_fine", fine, fine
    )
    maps = plan.plain(up, "maps", fine, outputs - 1)
    region = plan.linear(plan.joined(plan.mean(far), plan.most(far)), "region", 2 * coarse, 1)
    return Network(plan.graph(maps, region), None, {})


NETWORKS: dict[str, Callable[[Take, int], Network]] = {
    "Turns": _turns,
    "Polarity": _polarity,
    "Parts": _parts,
    "Antisymmetric": _antisymmetric,
    "lung_net": _lung_net,
    "RegionNet": _region_net,
}
