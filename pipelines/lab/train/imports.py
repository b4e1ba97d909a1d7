"""Classifiers of others as bundles of ours: TorchXRayVision's releases, TorchScript, ONNX, MONAI bundles.

Nothing that can run code of the file's choosing is read: weights by `torch.load(weights_only=True)` or
safetensors, TorchScript and ONNX by their runtimes. A bundle is written aside, loaded, asked once where it is
somebody else's network, and then renamed; so what is in its place can be used.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from models import bundle as files
from models.bundle import BundleError
from models.classifiers import bundle, nets, onnx_files
from models.classifiers.accepts import Accepts
from models.classifiers.bundle import (
    COLUMNS_FIRST,
    ONNX,
    ROWS_FIRST,
    TORCHSCRIPT,
    ClassifierCard,
    Input,
)
from models.classifiers.engine import open_engine
from pipelines.lab.train import txv
from pipelines.lab.train.monai_axes import axes_of

PREFIXES = ("module.", "model.")  # what wrappers put before the names
HALF = 0.5  # once rescaled, every operating point is this

NOTHING: Mapping[str, str] = {}
AXES_WORDS = {
    ROWS_FIRST: "rows first, by its preprocessing",
    COLUMNS_FIRST: "columns first, by its preprocessing",
    None: "rows first is assumed: it has no preprocessing that says",
}

PICKLED = (
    "is no plain file of weights: it would have to run code to be read, and that is refused."
    " TorchXRayVision's releases are pickled modules; where you trust them, take the weights out of one in an"
    " environment of its own: python -c 'import torch, torchxrayvision as x;"
    ' torch.save(x.models.DenseNet(weights="WEIGHTS").state_dict(), "weights.pt")\''
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a person says of weights that are imported."""

    name: str = ""  # of the bundle; that of its folder when empty
    sha256: str = ""  # the file must have it
    accepts: Accepts = field(default_factory=Accepts)


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a file of somebody else does not say of itself."""

    labels: tuple[str, ...]  # an output with an empty label is left out
    input: Input
    exclusive: bool = False
    gives: str = "logits"


def torchxrayvision(file: Path, weights: str, out: Path, terms: Terms) -> ClassifierCard:
    """One of TorchXRayVision's DenseNet-121 releases -> a bundle. Raises BundleError."""
    release = txv.RELEASES.get(weights)
    if release is None:
        raise BundleError(f"no release is called {weights!r}: there are {', '.join(txv.RELEASES)}")
    packed = _read(file, terms.sha256)
    state = _state(packed, file.name, weights)
    points = _points(state.pop("op_threshs", None), release, file.name)
    kept = [n for n, point in enumerate(points) if point is not None]
    labels = tuple(txv.LABELS[n] for n in kept)
    net = densenet(state, kept, len(points), txv.LOW, txv.HIGH, file.name)
    card = ClassifierCard(
        name=terms.name or out.name,
        network="densenet121",
        classes=labels,
        input=Input(txv.PX, txv.LOW, txv.HIGH, aspect=txv.ASPECT),
        thresholds=dict.fromkeys(labels, HALF),
        operating={txv.LABELS[n]: point for n in kept if (point := points[n]) is not None},
        accepts=terms.accepts,
        origin=_origin(file, packed)
        | {"release": weights, "trained on": release.films, "from": "TorchXRayVision (Cohen et al. 2022)"},
    )
    return _placed(out, card, net)


def torchscript(file: Path, out: Path, what: Foreign, terms: Terms) -> ClassifierCard:
    """Somebody's classifier as TorchScript -> a bundle. Raises BundleError."""
    return _foreign(TORCHSCRIPT, file, out, what, terms)


def onnx(file: Path, out: Path, what: Foreign, terms: Terms) -> ClassifierCard:
    """Somebody's classifier as ONNX -> a bundle; weights that lie beside the file are folded in.

    Raises BundleError.
    """
    return _foreign(ONNX, file, out, what, terms)


def monai(folder: Path, out: Path, terms: Terms, aspect: str = "squash", axes: str = "") -> ClassifierCard:
    """A MONAI bundle of a classifier -> a bundle of ours. Raises BundleError.

    Its `network_data_format` names labels, side and range of greys, its preprocessing how films lie (`axes`
    says it instead). Taken are a DenseNet121 of MONAI with its `models/model.pt`, and any network as
    `models/model.ts`.
    """
    metadata = _json(folder / files.METADATA)
    what = _described(metadata, folder.name, aspect)
    script, weights = folder / "models" / "model.ts", folder / "models" / "model.pt"
    config = _json(folder / files.INFERENCE) if weights.exists() else {}
    ours = weights.exists() and _is_densenet121(config.get("network_def"))
    if not (ours or script.exists()):
        raise BundleError(
            f"{folder.name}: neither a DenseNet121 with models/model.pt nor a models/model.ts;"
            " export the network: python -m monai.bundle ckpt_export"
        )
    told = axes or axes_of(folder)
    what = replace(what, input=replace(what.input, axes=told or ROWS_FIRST))
    origin = {"bundle": folder.name, "axes": "as told" if axes else AXES_WORDS[told]}
    if not ours:
        return _foreign(TORCHSCRIPT, script, out, what, terms, origin)
    packed = _read(weights, terms.sha256)
    net = densenet(
        _state(packed, weights.name, ""),
        list(range(len(what.labels))),
        len(what.labels),
        what.input.low,
        what.input.high,
        weights.name,
    )
    card = _card_of(out, "densenet121", replace(what, input=replace(what.input, channels=1)), terms)
    return _placed(out, replace(card, origin=_origin(weights, packed) | origin), net)


def densenet(
    state: Mapping[str, Tensor], kept: list[int], outputs: int, low: float, high: float, file: str
) -> nn.Module:
    """DenseNet-121 weights of torchvision's or MONAI's naming -> our network with the outputs `kept`.

    Several channels become one grey: their first convolutions are added up, which is the same sum for a grey
    film. Raises BundleError.
    """
    found = {_our_name(key): value for key, value in state.items()}
    for name in ("head.weight", "head.bias"):
        if name not in found or len(found[name]) != outputs:
            size = len(found[name]) if name in found else "no"
            raise BundleError(f"{file}: the last layer has {size} outputs, and {outputs} are expected")
        found[name] = found[name][kept]
    first = found.get("body.conv0.weight")
    if first is not None and first.ndim == 4 and first.shape[1] > 1:
        found["body.conv0.weight"] = first.sum(dim=1, keepdim=True)
    with torch.device("meta"):
        net = nets.DenseNet(len(kept), low, high)
    expected = net.state_dict()
    for name in expected.keys() - found.keys():
        if name.endswith("num_batches_tracked"):  # files of old torches lack it, and nothing at work needs it
            found[name] = torch.tensor(0)
    bundle.filled(file, net, {key: _single(value) for key, value in found.items()})
    return net.eval()


def _single(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _our_name(name: str) -> str:
    """torchvision's name of a tensor, or MONAI's -> the one in models.classifiers.nets.DenseNet."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    name = re.sub(r"^features\.", "body.", name)
    name = re.sub(r"^(classifier|class_layers\.out)\.", "head.", name)
    return re.sub(r"(\.denselayer\d+\.)(?!layers\.)(norm|conv)\.?(\d)", r"\1layers.\2\3", name)


def _foreign(
    kind: str, file: Path, out: Path, what: Foreign, terms: Terms, more: Mapping[str, str] = NOTHING
) -> ClassifierCard:
    packed = _read(file, terms.sha256)
    origin = _origin(file, packed) | {**more}
    if kind == ONNX:
        packed, beside = onnx_files.whole(file, packed)
        origin |= {f"sha256 of {name}": digest for name, digest in beside.items()}
    card = replace(_card_of(out, kind, what, terms), origin=origin)
    return _placed(out, card, packed)


def _card_of(out: Path, kind: str, what: Foreign, terms: Terms) -> ClassifierCard:
    return ClassifierCard(
        name=terms.name or out.name,
        network=kind,
        classes=what.labels,
        exclusive=what.exclusive,
        input=what.input,
        accepts=terms.accepts,
        gives=what.gives,
    )


def _placed(out: Path, card: ClassifierCard, net: nn.Module | bytes) -> ClassifierCard:
    """The bundle, once it was loaded and has answered. Raises BundleError."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(f"{out} is there already; name another folder")
    aside = out.with_name(out.name + ".part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        saved = bundle.save(aside, card, net)
        loaded = bundle.load(aside)
        if card.foreign:  # what the network is shows only when it is asked
            open_engine(loaded, device="cpu")
        aside.replace(out)
    except OSError as error:
        raise BundleError(f"{out}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return saved


def _read(file: Path, sha256: str) -> bytes:
    try:
        packed = file.read_bytes()
    except OSError as error:
        raise BundleError(f"{file}: cannot be read: {error.strerror}") from error
    found = hashlib.sha256(packed).hexdigest()
    if sha256 and found != sha256.strip().lower():
        raise BundleError(f"{file.name} is not the file that was named: its sha256 is {found}")
    return packed


def _origin(file: Path, packed: bytes) -> dict[str, str]:
    return {"file": file.name, "sha256": hashlib.sha256(packed).hexdigest()}


def _state(packed: bytes, name: str, weights: str) -> dict[str, Tensor]:
    """The tensors of a file of weights by name. Raises BundleError."""
    if packed[8:9] == b"{":  # safetensors: eight bytes of length, then JSON
        try:
            plain: dict[str, Tensor] = safetensors.torch.load(packed)
        except (SafetensorError, ValueError, KeyError) as error:
            raise BundleError(f"{name}: is no whole file of weights: {error}") from error
        return plain
    try:
        found: Any = torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise BundleError(f"{name} {PICKLED.replace('WEIGHTS', weights)}") from error
    except (RuntimeError, ValueError, EOFError, KeyError, OSError, TypeError, AttributeError) as error:
        raise BundleError(f"{name}: is no whole file of weights: {bundle.first_line(error)}") from error
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise BundleError(f"{name}: holds no state dict, names with tensors")
    return {str(key): value for key, value in found.items()}


def _points(stored: Tensor | None, release: txv.Release, name: str) -> tuple[float | None, ...]:
    """The operating points in the file, where it has them (NaN: never trained); else the published ones."""
    if stored is None:
        return release.operating
    if stored.ndim != 1 or len(stored) != len(txv.LABELS):
        raise BundleError(
            f"{name}: {len(txv.LABELS)} operating points are expected, not {tuple(stored.shape)}"
        )
    points = [None if math.isnan(point) else point for point in map(float, stored)]
    published = release.operating
    if [point is None for point in points] != [point is None for point in published]:
        raise BundleError(f"{name}: its operating points are not for the outputs of that release")
    return tuple(points)


def _is_densenet121(definition: object) -> bool:
    if not isinstance(definition, dict):
        return False
    target = str(definition.get("_target_", "")).rpartition(".")[2]
    return target.lower() == "densenet121" and definition.get("spatial_dims") == 2


def _described(metadata: Mapping[str, Any], name: str, aspect: str) -> Foreign:
    """Labels, side and range from `network_data_format`. Raises BundleError."""
    try:
        formats = metadata["network_data_format"]
        image = next(iter(formats["inputs"].values()))
        answer = next(iter(formats["outputs"].values()))
        labels = tuple(str(answer["channel_def"][str(n)]) for n in range(int(answer["num_channels"])))
        low, high = (float(value) for value in image["value_range"] or (0.0, 1.0))
        px = int(image["spatial_shape"][0])
        seen = Input(px, low, high, channels=int(image["num_channels"]), aspect=aspect)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise BundleError(
            f"{name}: its network_data_format does not name labels, side and range: {error!r}"
        ) from error
    return Foreign(labels, seen)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BundleError(f"{path.name}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise BundleError(f"{path.name}: is no table of settings")
    return found
