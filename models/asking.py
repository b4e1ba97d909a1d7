"""Asking a gate's network: ncnn on one core, a film at a time.

ncnn convolves by Winograd's minimal filtering (Lavin and Gray 2016), in float32, so a 3 x 3 network of a gate
takes three fifths of the time that it takes in ONNX Runtime or OpenVINO, which convolve directly, and half of
torch's. Nothing here imports torch.

Each function below is the `forward` of the network of the same name in `models.nets` or `models.region_net`:
how often a film is looked at, and what is made of the answers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import ncnn
import numpy as np
from numpy.typing import NDArray

from models import graphs
from models.graphs import IN, NEAR, USUAL, Graph

PROBE_PX = 128
SAME = 1e-3  # of log-odds between two ways of reckoning; 1e-5 is usual

Greys = NDArray[np.float32]  # (B, 1, S, S) in [0, 1]
Numbers = NDArray[np.float32]
Ask = Callable[[Greys], Numbers]  # a network as a gate knows it: films in, its answers (B, ...) out


class AskError(RuntimeError):
    """Raised when ncnn cannot build a network, or gives no answer."""


@dataclass(frozen=True, slots=True)
class Net:
    """A network that can be asked about films (B, 1, S, S) in [0, 1]: what it answers stands at `answer`."""

    look: Look
    answer: Callable[[Look, Greys], Numbers] = field(repr=False)

    def __call__(self, films: Greys) -> Numbers:
        """Raises ValueError when a film is not finite: NaN never reaches a network."""
        if not np.isfinite(films).all():
            raise ValueError("a film that is not finite reaches no network")
        return self.answer(self.look, films)


def opened(network: str, outputs: int, weights: Mapping[str, Numbers]) -> Net:
    """The network of this kind with its checked weights.

    Raises:
        AskError: ncnn cannot build it, or answers otherwise by its quick ways than without them.
    """
    graph = graphs.graph(network, outputs, weights)
    look = Look(graph)
    for quick, plain in zip(look(_probe()), Look(graph, quick=False)(_probe()), strict=True):
        if not (apart := float(np.abs(quick - plain).max())) <= SAME:
            raise AskError(f"on this processor the answers of ncnn's quick ways are {apart:.2g} off")
    return Net(look, ANSWERS[network])


class Look:
    """One network in ncnn; `quick` with all the ways of convolving that are written for this processor."""

    def __init__(self, graph: Graph, *, quick: bool = True) -> None:
        self._outputs, self.tail = graph.outputs, graph.tail
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = 1
        options.lightmode = True
        options.use_vulkan_compute = False
        for half in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage", "bf16_packed"):
            setattr(options, f"use_{half}", False)  # on some processors they are on, and cost three digits
        for way in ("winograd_convolution", "sgemm_convolution", "packing_layout"):
            setattr(options, f"use_{way}", quick)
        if self._net.load_param_mem(graph.text) != 0 or _loaded(self._net, graph.weights) != 0:
            raise AskError("ncnn cannot build this network")

    def __call__(self, picture: Numbers) -> list[Numbers]:
        """A picture (1, S, S) -> each of the graph's outputs. Raises AskError."""
        picture = np.ascontiguousarray(picture, dtype=np.float32)  # ncnn reads it where it lies
        asked = self._net.create_extractor()
        asked.input(IN, ncnn.Mat(picture))
        return [self._read(asked, name) for name in self._outputs]

    @staticmethod
    def _read(asked: ncnn.Extractor, name: str) -> Numbers:
        status, out = asked.extract(name)
        if status != 0:
            raise AskError(f"ncnn gives no answer (status {status})")
        return np.array(out)


def probability(odds: float) -> float:
    """Log-odds as a probability; beyond 30 it is all the same, and exp() would not bear it."""
    return 1 / (1 + math.exp(-min(max(odds, -30.0), 30.0)))


def _probe() -> Numbers:
    """A picture (1, PROBE_PX, PROBE_PX) that is no film but has all greys, always the same."""
    x = np.linspace(0, 1, PROBE_PX, dtype=np.float32)
    wave: Numbers = np.sin(7 * x)[:, None] * np.cos(5 * x)[None]
    return wave[None]


def _loaded(net: ncnn.Net, weights: bytes) -> int:
    """ncnn reads weights from a file only (from memory it keeps pointers that Python frees), so they stand in
    one that lies in memory and has no name."""
    descriptor = os.memfd_create("weights")
    with os.fdopen(descriptor, "wb") as file:
        file.write(weights)
        file.flush()
        status: int = net.load_model(str(Path("/proc/self/fd") / str(descriptor)))
    return status


def _turns(look: Look, films: Greys) -> Numbers:
    """models.nets.Turns: (B, 8)."""
    ways = [[look(np.rot90(film, k, (1, 2)) * 2 - 1)[0] for k in range(4)] for film in films]
    return np.array(ways, np.float32).transpose(0, 2, 1).reshape(len(films), 8)


def _polarity(look: Look, films: Greys) -> Numbers:
    """models.nets.Polarity: (B, outputs)."""
    return np.array([look(film * 2 - 1)[0] - look(1 - film * 2)[0] for film in films])


def _antisymmetric(look: Look, films: Greys) -> Numbers:
    """models.nets.Antisymmetric: (B, outputs)."""
    return np.array([look(film * 2 - 1)[0] - look(film[..., ::-1] * 2 - 1)[0] for film in films])


def _parts(look: Look, films: Greys) -> Numbers:
    """models.nets.Parts: (B, kinds + 2)."""
    centres, near = look.tail["centres"], np.exp(look.tail["scale"])

    def one(film: Numbers) -> Numbers:
        place, side = look(film * 2 - 1)
        return np.concatenate([NEAR - near * np.square(place - centres).sum(axis=1), side])

    return np.array([one(film) for film in films], np.float32)


def _lung_net(look: Look, films: Greys) -> Numbers:
    """models.nets.lung_net: (B, outputs, S, S)."""
    return np.array([look(film)[0] for film in films])


def _region_net(look: Look, films: Greys) -> Numbers:
    """models.region_net.RegionNet: (B, 6, GRID, GRID)."""

    def one(film: Numbers) -> Numbers:
        maps, sure = look(film * 2 - 1)
        maps[1:] = USUAL * np.exp(maps[1:].clip(-4, 2))
        return np.concatenate([np.broadcast_to(sure[0], (1, *maps.shape[1:])), maps])

    return np.array([one(film) for film in films])


ANSWERS: dict[str, Callable[[Look, Greys], Numbers]] = {
    "Turns": _turns,
    "Polarity": _polarity,
    "Parts": _parts,
    "Antisymmetric": _antisymmetric,
    "lung_net": _lung_net,
    "RegionNet": _region_net,
}
