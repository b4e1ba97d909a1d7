"""Asking a classifier quickly: ONNX Runtime on processors, torch on a GPU, torch anywhere as the way back.

A network of ours is exported once, with two outputs: the logits, and the last feature maps, so that a heat
map needs no second look. The export is kept in a folder of the caller's, under a name made of the digest of
the weights and the versions of all that had a part in it; it is written aside and renamed, so workers may
race. What is found there must answer like the network itself before it is used: damage costs a new export,
never an answer.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.bundle import BundleError
from models.classifiers import onnx_files
from models.classifiers.bundle import COLUMNS_FIRST, ClassifierCard, Loaded, first_line

log = logging.getLogger(__name__)

EXPORT = 1  # to be raised when what is exported changes
SAME = 1e-3  # an export whose logits are further off is not used; 1e-5 is usual
CERTAIN = 1e-7  # a probability of somebody else's network is kept this far from 0 and 1
ON_CPU = ("CPUExecutionProvider",)

Greys = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a network says of a batch of films; `maps` only where it ends in mean and linear layer."""

    logits: NDArray[np.float32]  # (B, classes)
    maps: NDArray[np.float32] | None = None  # (B, F, h, w)


class Engine(Protocol):
    """A network that can be asked."""

    runs_on: str  # in words: "onnxruntime", "torch", "torch on cuda"

    def ask(self, films: Greys) -> Answer:
        """Films (B, 1, px, px) float32 in [0, 1]. Raises ValueError when one is not finite."""


def open_engine(
    loaded: Loaded, *, cache: Path | None = None, threads: int = 1, device: str = "auto"
) -> Engine:
    """The quickest way to ask this classifier here. Raises BundleError when it cannot be asked at all.

    `cache` is the folder of exports; without one nothing is kept. `threads` are those of one look. `device`
    is "auto" (a GPU where torch sees one), "cpu" or "cuda".
    """
    engine = _upright(loaded, cache, threads, device)
    return Transposed(engine) if loaded.card.input.axes == COLUMNS_FIRST else engine


def _upright(loaded: Loaded, cache: Path | None, threads: int, device: str) -> Engine:
    card, net = loaded.card, loaded.net
    if net is None:
        return _checked(Foreign(card, loaded.packed, threads), card)
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        try:
            return Eager(card, net.to("cuda"), "cuda")
        except (RuntimeError, AssertionError) as error:  # no memory left there, or a torch built without
            if device == "cuda":
                raise BundleError(f"{card.name}: there is no GPU for it: {first_line(error)}") from error
            log.warning("no GPU for %s: %s", card.name, first_line(error))
            net.to("cpu")
    eager = Eager(card, net)
    if card.foreign:
        return _checked(eager, card)
    return _quick(loaded, eager, cache, threads) or eager


class Eager:
    """torch, as the network stands."""

    def __init__(self, card: ClassifierCard, net: nn.Module, device: str = "cpu") -> None:
        self._card, self._net, self._device = card, net.eval(), device
        self.runs_on = "torch" if device == "cpu" else f"torch on {device}"

    def ask(self, films: Greys) -> Answer:
        """As `Engine.ask`."""
        with torch.inference_mode():
            x = torch.from_numpy(_finite(films)).to(self._device)
            if self._card.foreign:
                return Answer(as_logits(self._card, self._net(x).cpu().numpy()))
            logits, maps = Both(self._net)(x)
            return Answer(logits.cpu().numpy(), maps.cpu().numpy())


class Quick:
    """ONNX Runtime with an export of a network of ours."""

    runs_on = "onnxruntime"

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session

    def ask(self, films: Greys) -> Answer:
        """As `Engine.ask`."""
        logits, maps = self._session.run(["logits", "maps"], {"film": _finite(films)})
        return Answer(logits, maps)


class Foreign:
    """ONNX Runtime with somebody else's classifier; its first output is the answer."""

    runs_on = "onnxruntime"

    def __init__(self, card: ClassifierCard, packed: bytes, threads: int = 1) -> None:
        self._card = card
        onnx_files.check_whole(card.name, packed)
        with _refused(card, "this ONNX file cannot be run"):
            self._session = _session(packed, threads)
            (self._name, *others), shape = [x.name for x in self._session.get_inputs()], self._batch()
        if others:
            raise BundleError(f"{card.name}: the network wants {len(others) + 1} inputs, not one film")
        self._one_by_one = isinstance(shape, int)

    def _batch(self) -> object:
        return self._session.get_inputs()[0].shape[0]

    def ask(self, films: Greys) -> Answer:
        """As `Engine.ask`."""
        seen = self._card.input
        x = _finite(films) * np.float32(seen.high - seen.low) + np.float32(seen.low)
        x = np.ascontiguousarray(np.broadcast_to(x, (len(x), seen.channels, *x.shape[2:])))
        parts = [x[n : n + 1] for n in range(len(x))] if self._one_by_one else [x]
        out = np.concatenate([self._session.run(None, {self._name: part})[0] for part in parts])
        return Answer(as_logits(self._card, out))


class Transposed:
    """An engine whose network wants columns first; maps come back as films lie."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.runs_on = engine.runs_on

    def ask(self, films: Greys) -> Answer:
        """As `Engine.ask`."""
        answer = self._engine.ask(films.swapaxes(2, 3))
        maps = None if answer.maps is None else np.ascontiguousarray(answer.maps.swapaxes(2, 3))
        return Answer(answer.logits, maps)


class Both(nn.Module):
    """A film -> logits and the maps they were made of."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps: Tensor = self.net.maps(x)  # type: ignore[operator]
        logits: Tensor = self.net.head(maps.mean(dim=(2, 3)))  # type: ignore[operator]
        return logits, maps


def as_logits(card: ClassifierCard, out: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a network put out -> logits; probabilities are turned back."""
    if card.gives == "logits":
        return out.astype(np.float32)
    p = np.clip(out.astype(np.float64), CERTAIN, 1 - CERTAIN)
    turned = np.log(p) if card.exclusive else np.log(p / (1 - p))
    return turned.astype(np.float32)


def exported(net: nn.Module, px: int) -> bytes:
    """The network as one ONNX file: `film` (B, 1, px, px) -> `logits`, `maps`.

    torch's older exporter: it takes 1.4 s for a DenseNet-121 where the newer one takes 18, and no packages.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter says that it is the older one
        path = Path(folder) / "net.onnx"
        torch.onnx.export(
            Both(net).eval(),
            (torch.zeros(2, 1, px, px),),
            str(path),
            input_names=["film"],
            output_names=["logits", "maps"],
            dynamic_axes={"film": {0: "batch"}, "logits": {0: "batch"}, "maps": {0: "batch"}},
            dynamo=False,
        )
        return path.read_bytes()


def cache_name(card: ClassifierCard) -> str:
    """The name of an export: another network, torch, ONNX Runtime or exporter has another one."""
    made_by = (
        EXPORT,
        card.network,
        card.weights_sha256,
        card.input.px,
        torch.__version__,
        onnxruntime.__version__,
    )
    return hashlib.sha256(repr(made_by).encode()).hexdigest()[:32] + ".onnx"


def _quick(loaded: Loaded, eager: Eager, cache: Path | None, threads: int) -> Quick | None:
    """ONNX Runtime with the export that was kept, else with a new one; None where neither can be used."""
    card = loaded.card
    path = cache / cache_name(card) if cache else None

    def kept() -> Quick:
        assert path is not None
        return _agreeing(Quick(_session(path.read_bytes(), threads)), eager, card)

    def made() -> Quick:
        assert loaded.net is not None
        packed = exported(loaded.net, card.input.px)
        quick = _agreeing(Quick(_session(packed, threads)), eager, card)
        if path:
            keep(path, packed)
        return quick

    found = _tried(kept, f"the export of {card.name} is made anew: %s") if path and path.exists() else None
    return found or _tried(made, f"no quick engine for {card.name}: %s; torch is used")


def _tried(make: Callable[[], Quick], told: str) -> Quick | None:
    """What it makes; None, and a line in the log, where it cannot."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - neither exporter nor ONNX Runtime says what it raises
        log.warning(told, first_line(error))
        return None


@contextmanager
def _refused(card: ClassifierCard, what: str) -> Iterator[None]:
    """
    Raises:
        BundleError: whatever went wrong inside.
    """
    try:
        yield
    except Exception as error:  # somebody else's network and ONNX Runtime raise what they like
        raise BundleError(f"{card.name}: {what}: {first_line(error)}") from error


def keep(path: Path, packed: bytes) -> None:
    """Written aside and renamed: others see all of it or nothing. A full disk costs one more export later."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as aside:
            try:
                aside.write(packed)
                aside.flush()
                Path(aside.name).replace(path)
            except OSError:
                Path(aside.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        log.warning("an export could not be kept: %s", error.strerror)


def _agreeing(quick: Quick, eager: Eager, card: ClassifierCard) -> Quick:
    """The engine, if it answers like the network itself. Raises ValueError."""
    film = _probe(card.input.px)
    apart = float(np.abs(quick.ask(film).logits - eager.ask(film).logits).max())
    if not apart <= SAME:
        raise ValueError(f"its logits are {apart:.2g} off")
    return quick


def _checked(engine: Engine, card: ClassifierCard) -> Engine:
    """Somebody else's network, if it answers with a number for each class. Raises BundleError."""
    with _refused(card, "the network cannot be asked"):
        out = engine.ask(_probe(card.input.px)).logits
    if out.shape != (1, len(card.classes)):
        raise BundleError(f"{card.name}: the network answers {out.shape}, not (1, {len(card.classes)})")
    return engine


def _probe(px: int) -> Greys:
    """A picture that is no film but has all greys, always the same."""
    x = np.linspace(0, 1, px, dtype=np.float32)
    return ((np.sin(7 * x)[:, None] * np.cos(5 * x)[None] + 1) / 2)[None, None].astype(np.float32)


def _session(packed: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors: what the optimiser thinks of a graph is not for people
    return onnxruntime.InferenceSession(packed, options, providers=list(ON_CPU))


def _finite(films: Greys) -> Greys:
    """NaN never reaches a network."""
    if not np.isfinite(films).all():
        raise ValueError("a film that is not finite reaches no network")
    return np.ascontiguousarray(films, dtype=np.float32)
