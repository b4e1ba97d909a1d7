"""Asking a gate's network: ncnn on one core, a film at a time.

ncnn convolves by Winograd's minimal filtering (Lavin and Gray 2016), in float32. A gate's classifier takes
half of the time that it takes in torch, and two thirds of that in ONNX Runtime or OpenVINO, which convolve
directly, as long as its weights stay in the processor's cache. Nothing here imports torch.

Each function below is the `forward` of the network of the same name in `models.nets` or `models.region_net`:
how often a film is looked at, and what is made of the answers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import ncnn
import numpy as np
from numpy.typing import NDArray

from models import graphs
from models.graphs import GAP, IN, MASK, NEAR, USUAL, Graph, Network

PROBE_PX = 128
SAME = 1e-3  # of log-odds between two ways of reckoning; 1e-5 is usual

Greys = NDArray[np.float32]  # (B, 1, S, S) in [0, 1]
Numbers = NDArray[np.float32]
Ask = Callable[[Greys], Numbers]  # a network as a gate knows it: films in, its answers (B, ...) out
Answer = Callable[["Net", Greys], Numbers]


class AskError(RuntimeError):
    """Raised when ncnn cannot build a network, or gives no answer."""


@dataclass(frozen=True, slots=True)
class Net:
    """A network that can be asked about films (B, 1, S, S) in [0, 1]: what it answers stands at `answer`."""

    first: Layers
    deep: Layers | None
    tail: dict[str, Numbers]
    answer: Answer = field(repr=False)

    def __call__(self, films: Greys) -> Numbers:
        """
        Raises:
            ValueError: not films (B, 1, S, S) of finite values: ncnn looks at no shape, and reads on behind
                an array that is smaller than a network wants.
            AskError: an answer is no number.
        """
        if films.ndim != 4 or films.shape[1] != 1 or not films.size:
            raise ValueError(f"no films (B, 1, S, S) but an array {films.shape}")
        if not np.isfinite(films).all():
            raise ValueError("a film that is not finite reaches no network")
        answers = self.answer(self, films)
        if not np.isfinite(answers).all():
            raise AskError("a network answers what is no number")
        return answers

    def looks(self, pictures: Sequence[Numbers]) -> Numbers:
        """What a classifier has before its last layer of each picture (1, S, S), from -1 black to 1 white:
        (looks, F)."""
        assert self.deep is not None
        maps = [self.first(picture)[0] for picture in pictures]
        channels, side, _ = maps[0].shape
        stacked = np.zeros((channels, len(maps), side + GAP, side), np.float32)
        for look, seen in enumerate(maps):
            stacked[:, look, :side] = seen
        out = self.deep(stacked.reshape(channels, -1, side), _mask(len(maps), side // 2))[0]
        kept = out.reshape(len(out), len(maps), -1, side // 2)[:, :, : side // 2]
        return np.asarray(kept.mean(axis=(2, 3)).T)

    def linear(self, features: Numbers, name: str) -> Numbers:
        """A linear layer of the tail: (B, F) -> (B, answers)."""
        answers: Numbers = features @ self.tail[f"{name}.weight"].T + self.tail[f"{name}.bias"]
        return answers


def opened(network: str, outputs: int, weights: Mapping[str, Numbers]) -> Net:
    """The network of this kind with its checked weights.

    Raises:
        AskError: ncnn cannot build it, or answers otherwise by its quick ways than without them.
    """
    found = graphs.built(network, outputs, weights)
    net, plain = (_net(found, ANSWERS[network], quick=quick) for quick in (True, False))
    if not (apart := float(np.abs(net(_probe()) - plain(_probe())).max())) <= SAME:
        raise AskError(f"on this processor the answers of ncnn's quick ways are {apart:.2g} off")
    return net


def _net(found: Network, answer: Answer, *, quick: bool) -> Net:
    deep = Layers(found.deep, quick=quick, tile_px=2) if found.deep else None
    return Net(Layers(found.first, quick=quick), deep, found.tail, answer)


class Layers:
    """Some layers in ncnn; `quick` with all the ways of convolving that are written for this processor.

    Winograd's tiles are 2, 4 or 6 px wide: the wider, the fewer multiplications, but the more numbers a
    weight is turned into, up to seven. Where the maps are small, reading these takes longer than multiplying.
    """

    def __init__(self, graph: Graph, *, quick: bool, tile_px: int = 4) -> None:
        self._outputs = graph.outputs
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = 1
        options.lightmode = True
        options.use_vulkan_compute = False
        for half in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage", "bf16_packed"):
            setattr(options, f"use_{half}", False)  # on some processors they are on, and cost three digits
        for way in ("winograd_convolution", "sgemm_convolution", "packing_layout"):
            setattr(options, f"use_{way}", quick)
        options.use_winograd43_convolution = tile_px >= 4
        options.use_winograd63_convolution = tile_px >= 6
        if self._net.load_param_mem(graph.text) != 0 or _loaded(self._net, graph.weights) != 0:
            raise AskError("ncnn cannot build this network")

    def __call__(self, maps: Numbers, mask: Numbers | None = None) -> list[Numbers]:
        """Maps (C, H, W), and a mask for graphs.MASK -> each of the graph's outputs. Raises AskError."""
        maps = np.ascontiguousarray(maps, dtype=np.float32)  # ncnn reads it where it lies
        asked = self._net.create_extractor()
        asked.input(IN, ncnn.Mat(maps))
        if mask is not None:
            asked.input(MASK, ncnn.Mat(mask))
        return [self._read(asked, name) for name in self._outputs]

    @staticmethod
    def _read(asked: ncnn.Extractor, name: str) -> Numbers:
        status, out = asked.extract(name)
        if status != 0:
            raise AskError(f"ncnn gives no answer (status {status})")
        return np.array(out, copy=False)  # it keeps ncnn's memory as long as it needs it


@cache
def _mask(looks: int, side: int) -> Numbers:
    """1 in the maps of the looks and 0 in the gaps between them: (1, looks * (side + GAP / 2), side)."""
    mask = np.ones((1, looks, side + GAP // 2, side), np.float32)
    mask[:, :, side:] = 0
    return mask.reshape(1, -1, side)


def probability(odds: float) -> float:
    """Log-odds as a probability; beyond 30 it is all the same, and exp() would not bear it."""
    return 1 / (1 + math.exp(-min(max(odds, -30.0), 30.0)))


def _probe() -> Greys:
    """A picture (1, 1, PROBE_PX, PROBE_PX) that is no film but has all greys, always the same."""
    x = np.linspace(0, 1, PROBE_PX, dtype=np.float32)
    wave = np.sin(7 * x)[:, None] * np.cos(5 * x)[None]
    return ((wave + 1) / 2)[None, None].astype(np.float32)


def _loaded(net: ncnn.Net, weights: bytes) -> int:
    """ncnn reads weights from a file only (from memory it keeps pointers that Python frees), so they stand in
    one that lies in memory and has no name."""
    descriptor = os.memfd_create("weights")
    with os.fdopen(descriptor, "wb") as file:
        file.write(weights)
        file.flush()
        status: int = net.load_model(str(Path("/proc/self/fd") / str(descriptor)))
    return status


def _turns(net: Net, films: Greys) -> Numbers:
    """models.nets.Turns: (B, 8)."""
    seen = films * 2 - 1
    ways = [np.rot90(film, k, (1, 2)) for film in seen for k in range(4)]
    answers = net.linear(net.looks(ways), "head")  # (4 B, 2)
    return answers.reshape(len(films), 4, 2).swapaxes(1, 2).reshape(len(films), 8)


def _polarity(net: Net, films: Greys) -> Numbers:
    """models.nets.Polarity: (B, outputs)."""
    answers = net.linear(net.looks([*(films * 2 - 1), *(1 - films * 2)]), "head")
    return np.subtract(*np.split(answers, 2))


def _antisymmetric(net: Net, films: Greys) -> Numbers:
    """models.nets.Antisymmetric: (B, outputs)."""
    seen = films * 2 - 1
    answers = net.linear(net.looks([*seen, *seen[..., ::-1]]), "head")
    return np.subtract(*np.split(answers, 2))


def _parts(net: Net, films: Greys) -> Numbers:
    """models.nets.Parts: (B, kinds + 2)."""
    features = net.looks([*(films * 2 - 1)])
    apart = net.linear(features, "place")[:, None] - net.tail["centres"]  # (B, kinds, PLACE)
    odds = NEAR - np.exp(net.tail["scale"]) * np.square(apart).sum(axis=2)
    return np.concatenate([odds, net.linear(features, "head")], axis=1)


def _lung_net(net: Net, films: Greys) -> Numbers:
    """models.nets.lung_net: (B, outputs, S, S)."""
    return np.stack([net.first(film)[0] for film in films])


def _region_net(net: Net, films: Greys) -> Numbers:
    """models.region_net.RegionNet: (B, 6, GRID, GRID)."""

    def one(film: Numbers) -> Numbers:
        maps, sure = net.first(film * 2 - 1)
        maps[1:] = USUAL * np.exp(maps[1:].clip(-4, 2))
        return np.concatenate([np.broadcast_to(sure[0], (1, *maps.shape[1:])), maps])

    return np.stack([one(film) for film in films])


ANSWERS: dict[str, Answer] = {
    "Turns": _turns,
    "Polarity": _polarity,
    "Parts": _parts,
    "Antisymmetric": _antisymmetric,
    "lung_net": _lung_net,
    "RegionNet": _region_net,
}
