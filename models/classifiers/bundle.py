"""A classifier's weights and what must be known of them, as a MONAI bundle on disk (see models/bundle.py).

    bundles/<name>/configs/metadata.json     MONAI's fields and ours; under "filmgate" "kind": "classifier"
                   models/model.safetensors  the weights of a network of ours (models/classifiers/nets.py), or
                   models/model.ts           somebody else's network as TorchScript, or
                   models/model.onnx         as ONNX

Greys reach every network in [0, 1], bone bright. A network of ours maps them to the range of its card by
itself; what is somebody else's is wrapped, so that it does, too. Loading checks digest, names, shapes and
numbers.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from models import bundle as files
from models.bundle import BUNDLES, BundleError
from models.classifiers import nets, onnx_files
from models.classifiers.accepts import Accepts
from models.classifiers.terms import WEIGHTS

CLASSIFIER = "classifier"
TORCHSCRIPT, ONNX = "torchscript", "onnx"
OURS = (-1.0, 1.0)  # the range to which our own networks map greys
CROPS, ASPECTS = ("whole", "lungs"), ("squash", "pad", "centre")
ROWS_FIRST, COLUMNS_FIRST = AXES = ("hw", "wh")
GIVES = ("logits", "probabilities")
SIDES_PX = range(32, 1025)


@dataclass(frozen=True, slots=True)
class Input:
    """What the network is shown: a square of `px`, greys mapped linearly to `low`..`high`.

    `crop` is "whole" or "lungs" (the box of the lung gate and a margin); `aspect` says how a film becomes
    square: "squash", "pad" with black, or its "centre". `axes` is "hw" (rows, then columns, as everywhere
    here) or "wh", as MONAI's readers give pictures to the networks that were taught with them.
    """

    px: int = 224
    low: float = -1.0
    high: float = 1.0
    channels: int = 1
    crop: str = "whole"
    aspect: str = "squash"
    axes: str = ROWS_FIRST


@dataclass(frozen=True, slots=True)
class ClassifierCard:
    """What the program must know of a classifier; the rest of the card is for people.

    A label that was never trained is absent from `classes`. `exclusive`: one of the classes (softmax), else
    each by itself (sigmoid). A threshold is None where too few films had the condition. `calibration` is
    Platt's (slope, offset) on the logit, the identity where absent. `operating` are TorchXRayVision's
    operating points: the probability is rescaled, piece by piece, so that its operating point becomes 0.5.
    """

    name: str
    network: str  # a key of nets.KINDS, or TORCHSCRIPT or ONNX
    classes: tuple[str, ...]
    exclusive: bool = False
    input: Input = field(default_factory=Input)
    thresholds: dict[str, float | None] = field(default_factory=dict)
    calibration: dict[str, tuple[float, float]] = field(default_factory=dict)
    operating: dict[str, float] = field(default_factory=dict)
    accepts: Accepts = field(default_factory=Accepts)
    gives: str = "logits"  # or "probabilities": what a network of somebody else puts out
    off: bool = False  # used only where it is switched on by name
    origin: dict[str, str] = field(default_factory=dict)  # of imported weights: file, sha256, release
    weights_sha256: str = ""
    version: str = "0.1.0"

    @property
    def foreign(self) -> bool:
        """Whether the network is somebody else's code, as TorchScript or ONNX."""
        return self.network in WEIGHTS

    @property
    def weights(self) -> str:
        """Where the weights lie in the bundle."""
        return WEIGHTS.get(self.network, files.WEIGHTS)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A classifier ready to be asked, by `models.classifiers.engine`, and its card.

    `net` is None for ONNX, which the engine runs from `packed`, the checked bytes of the file.
    """

    card: ClassifierCard
    net: nn.Module | None
    packed: bytes = b""


# Reading


def load(folder: Path) -> Loaded:
    """Reads and checks a bundle. Raises BundleError, and nothing else, when it cannot be used."""
    card = read_card(folder)
    if card.foreign:
        packed = files.read_packed(folder / card.weights, card.name, card.weights_sha256)
        if card.network == TORCHSCRIPT:
            return Loaded(card, _scripted(card, packed), packed)
        onnx_files.check_whole(card.name, packed)
        return Loaded(card, None, packed)
    weights = weights_of(folder, card)
    with torch.device("meta"):  # no random weights, which would be thrown away
        net = built(card)
    filled(card.name, net, weights)
    return Loaded(card, net.eval().requires_grad_(False))


def read_card(folder: Path) -> ClassifierCard:
    """The card in `configs/metadata.json`. Raises BundleError."""
    try:
        ours = json.loads((folder / files.METADATA).read_text())["filmgate"]
    except OSError as error:
        raise BundleError(f"{folder.name}: no card: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{folder.name}: the card cannot be read: {type(error).__name__} {error}"
        ) from error
    if not isinstance(ours, dict) or ours.get("kind") != CLASSIFIER:
        raise BundleError(f"{folder.name}: is not the bundle of a classifier")
    try:
        card = _card(ours)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{folder.name}: the card cannot be read: {type(error).__name__} {error}"
        ) from error
    if wrong := next(_wrong(card), ""):
        raise BundleError(f"{folder.name}: {wrong}")
    return card


def find(name: str | Path) -> Path:
    """The folder of a bundle: a path, or the name of one that ships. Raises BundleError."""
    for folder in (Path(name), BUNDLES / name):
        if (folder / files.METADATA).exists():
            return folder
    known = ", ".join(shipped()) or "none"
    raise BundleError(f"there is no classifier {str(name)!r}: neither a folder, nor one that ships ({known})")


def shipped() -> tuple[str, ...]:
    """The names of the classifiers that ship."""
    return tuple(sorted(folder.name for folder in BUNDLES.iterdir() if files.kind_of(folder) == CLASSIFIER))


def weights_of(folder: Path, card: ClassifierCard) -> dict[str, Tensor]:
    """The tensors in float32; they may lie there in float16. Raises BundleError."""
    weights = files.read_weights(folder, card.name, card.weights_sha256)
    tensors = {key: torch.from_numpy(value) for key, value in weights.items()}
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def filled(name: str, net: nn.Module, weights: dict[str, Tensor]) -> None:
    """Gives a network that was built without memory its weights. Raises BundleError."""
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    files.check_tensors(name, shapes, {key: value.numpy() for key, value in weights.items()})
    net.load_state_dict(weights, assign=True)


def built(card: ClassifierCard) -> nn.Module:
    """The network that the card names, without its weights."""
    return network(card.network, len(card.classes), card.input.low, card.input.high)


def network(kind: str, classes: int, low: float = -1.0, high: float = 1.0) -> nn.Module:
    """A network of ours, also for `monai.bundle`. Only DenseNet-121 has weights for other ranges of greys."""
    if kind == "densenet121":
        return nets.DenseNet(classes, low, high)
    if (low, high) != OURS:
        raise BundleError(f"{kind} maps greys to -1..1 by itself, not to {low:g}..{high:g}")
    return nets.KINDS[kind](classes)


# Writing


def save(
    folder: Path,
    card: ClassifierCard,
    net: nn.Module | bytes,
    *,
    training: dict[str, Any] | None = None,
    half: bool = False,
) -> ClassifierCard:
    """Writes weights, card and configs; returns the card with the digest of the weights and the net's range.

    `net` is a network of ours or, for TORCHSCRIPT and ONNX, the bytes of the file. With `half` the weights
    are stored in float16, where they fit: half the size, the logits the same to about a thousandth.
    """
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if isinstance(net, nn.Module):
        card = replace(card, input=_ranged(card.input, net))
        packed = _packed(net, half=half)
    else:
        packed = net
    card = replace(card, weights_sha256=hashlib.sha256(packed).hexdigest())
    if wrong := next(_wrong(card), ""):
        raise BundleError(f"{card.name}: {wrong}")
    (folder / card.weights).write_bytes(packed)
    files.write_json(folder / files.INFERENCE, inference_config(card))
    if training is not None:
        files.write_json(folder / files.TRAIN, training)
    (folder / files.LICENSE).write_text(IMPORTED if card.origin else files.TERMS)
    save_card(folder, card)
    if not (folder / files.README).exists():
        (folder / files.README).write_text(about(card))
    return card


def save_card(
    folder: Path,
    card: ClassifierCard,
    *,
    evidence: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
) -> None:
    """Writes the card; `evidence` (what evaluation counted) and `training` are kept when not given."""
    path = folder / files.METADATA
    before = json.loads(path.read_text())["filmgate"] if path.exists() else {}
    kept = {
        "training": before.get("training", {}) if training is None else training,
        "evidence": before.get("evidence", {}) if evidence is None else evidence,
    }
    files.write_json(path, metadata(card, kept))


def metadata(card: ClassifierCard, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of MONAI's metadata schema, and ours."""
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "DX",
        "num_channels": 1,
        "spatial_shape": [card.input.px, card.input.px],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {"0": "grey, as displayed, bone bright"},
    }
    answer = {  # logits, before sigmoid or softmax
        "type": "probabilities",
        "format": "classes",
        "num_channels": len(card.classes),
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(n): name for n, name in enumerate(card.classes)},
    }
    ours = asdict(card)
    return {
        **files.monai_fields(card.version, {"image": image}, {"pred": answer}),
        "task": f"filmgate classifier: {card.name}",
        "description": f"Reads one chest film and answers: {', '.join(card.classes)}.",
        "authors": "see docs/README.md" if card.origin else files.AUTHORS,
        "intended_use": "Research and teaching. Not for diagnosis.",
        "filmgate": {"kind": CLASSIFIER, **ours, **kept},
    }


def inference_config(card: ClassifierCard) -> dict[str, Any]:
    """How MONAI builds the network and asks it about one picture:

    python -m monai.bundle run --config_file configs/inference.json --bundle_root FOLDER --film film.png
    """
    config: dict[str, Any] = {
        "imports": ["$import json", "$import pathlib"],
        "bundle_root": ".",
        "film": "film.png",
        "outputs": list(card.classes),
    }
    if not card.foreign:
        config["network_def"] = {
            "_target_": "models.classifiers.bundle.network",
            "kind": card.network,
            "classes": len(card.classes),
            "low": card.input.low,
            "high": card.input.high,
        }
    return config | {
        "loaded": {
            "_target_": "models.classifiers.bundle.load",
            "folder": "$pathlib.Path(@bundle_root)",
        },
        "network": {"_target_": "models.classifiers.engine.open_engine", "loaded": "@loaded"},
        **files.picture_config(),
        "seen": {
            "_target_": "models.classifiers.framing.shown",
            "pixels": "@pixels",
            "px": card.input.px,
            "aspect": card.input.aspect,
        },
        "told": "$@network.ask(@seen.numpy()).logits[0].tolist()",
        "run": ["$print(json.dumps(dict(zip(@outputs, @told))))"],
    }


def about(card: ClassifierCard) -> str:
    """The beginning of the card for people, which training and evaluation fill."""
    origin = "".join(f"| {key} | {value} |\n" for key, value in card.origin.items())
    came = f"\n## Origin\n\n| | |\n|---|---|\n{origin}" if origin else ""
    return (
        f"# {card.name}\n\n"
        f"A {card.network} network at {card.input.px} px. It answers: {', '.join(card.classes)}"
        f" ({'one of them' if card.exclusive else 'each by itself'}).\n\n"
        f"It was made for: {card.accepts.in_words}. Other films are not read, and the result says so.\n"
        + ("" if card.input.axes == ROWS_FIRST else "It is shown films with their columns first.\n")
        + "Not for diagnosis.\n"
        + came
    )


# Inside


def _card(ours: Mapping[str, Any]) -> ClassifierCard:
    seen = dict(ours["input"])
    thresholds = {key: None if value is None else float(value) for key, value in ours["thresholds"].items()}
    return ClassifierCard(
        name=str(ours["name"]),
        network=str(ours["network"]),
        classes=tuple(map(str, ours["classes"])),
        exclusive=bool(ours["exclusive"]),
        input=Input(**seen),
        thresholds=thresholds,
        calibration={key: (float(a), float(b)) for key, (a, b) in ours.get("calibration", {}).items()},
        operating={key: float(value) for key, value in ours.get("operating", {}).items()},
        accepts=Accepts.read(ours["accepts"]),
        gives=str(ours.get("gives", "logits")),
        off=bool(ours.get("off", False)),
        origin={str(key): str(value) for key, value in ours.get("origin", {}).items()},
        weights_sha256=str(ours["weights_sha256"]),
        version=str(ours["version"]),
    )


def _wrong(card: ClassifierCard) -> Iterator[str]:
    """What no classifier can have on its card."""
    seen = card.input
    if card.network not in nets.KINDS and not card.foreign:
        yield f"unknown network {card.network!r}"
    if not card.classes or len(set(card.classes)) < len(card.classes) or "" in card.classes:
        yield "its classes are none, or not each with a name of its own"
    if seen.px not in SIDES_PX or seen.channels not in (1, 3) or (seen.channels == 3 and not card.foreign):
        yield f"an input of {seen.px} px and {seen.channels} channels is none that can be given"
    if not (math.isfinite(seen.low) and math.isfinite(seen.high) and seen.low < seen.high):
        yield f"greys cannot be mapped to {seen.low}..{seen.high}"
    yield from _unknown_words(card)
    if card.exclusive and card.operating:
        yield "operating points belong to conditions that are each by themselves"
    if any(not 0 < value < 1 for value in card.operating.values()):
        yield "an operating point lies between 0 and 1"
    if any(value is not None and not 0 <= value <= 1 for value in card.thresholds.values()):
        yield "a threshold lies between 0 and 1"
    if not all(math.isfinite(number) for pair in card.calibration.values() for number in pair):
        yield "the calibration holds NaN or infinity"
    for what in (card.thresholds, card.calibration, card.operating):
        if strange := set(what) - set(card.classes):
            yield f"{min(strange)!r} has a number, but is none of its classes"


def _unknown_words(card: ClassifierCard) -> Iterator[str]:
    seen = card.input
    if seen.crop not in CROPS or seen.aspect not in ASPECTS or card.gives not in GIVES:
        yield f"crop {seen.crop!r}, aspect {seen.aspect!r} or output {card.gives!r} is not known"
    if seen.axes not in AXES:
        yield f"axes {seen.axes!r} are not known: {' or '.join(AXES)}"


def _ranged(seen: Input, net: nn.Module) -> Input:
    """The input with the range to which the network maps greys."""
    if isinstance(net, nets.DenseNet):
        return replace(seen, low=net.low, high=net.low + net.span)
    return replace(seen, low=OURS[0], high=OURS[1])


def _packed(net: nn.Module, *, half: bool) -> bytes:
    """The weights as a safetensors file."""

    def stored(value: Tensor) -> Tensor:
        value = value.detach().cpu().contiguous()
        if half and value.is_floating_point() and torch.isfinite(small := value.half()).all():
            return small
        return value

    packed: bytes = safetensors.torch.save({key: stored(value) for key, value in net.state_dict().items()})
    return packed


class _Scripted(nn.Module):
    """Somebody else's network, given what it expects: its own range of greys, and its channels."""

    def __init__(self, net: nn.Module, seen: Input) -> None:
        super().__init__()
        self.net = net
        self.low, self.span, self.channels = seen.low, seen.high - seen.low, seen.channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net((x * self.span + self.low).expand(-1, self.channels, -1, -1))
        return out


def _scripted(card: ClassifierCard, packed: bytes) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is said to be on its way out
            net: nn.Module = torch.jit.load(io.BytesIO(packed), map_location="cpu")  # type: ignore[no-untyped-call]
            seen = torch.zeros(1, 1, card.input.px, card.input.px)
            with torch.inference_mode():
                wrapped = _Scripted(net.eval(), card.input)
                out = wrapped(seen)
    except (RuntimeError, ValueError, TypeError) as error:
        raise BundleError(f"{card.name}: this TorchScript cannot be run: {first_line(error)}") from error
    if not isinstance(out, Tensor) or tuple(out.shape) != (1, len(card.classes)):
        wanted = f"a number for each of {len(card.classes)} classes"
        raise BundleError(f"{card.name}: the network does not answer with {wanted}")
    return wrapped


def first_line(error: Exception) -> str:
    """What an error of torch says, without its tracebacks."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


IMPORTED = """The weights in this folder were imported. Whose they are, and under which terms they may be
used, stands with their publisher; docs/README.md names the file they came from. `filmgate models import`
changed names of tensors, and left out outputs that were never trained; nothing else.
"""
