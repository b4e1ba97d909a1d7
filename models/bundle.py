"""A gate's weights and what must be known of them, as a MONAI bundle on disk.

    bundles/<name>/configs/metadata.json     MONAI's fields and ours under "filmgate"
                   configs/inference.json    how MONAI would build the network and the input chain
                   configs/train.json        how it was trained
                   models/model.safetensors  the weights; nothing that can run code is ever read
                   docs/README.md            the model card
                   LICENSE

Loading checks the digest and every name and shape against the card. `monai.bundle` can verify and run the
folder; it is not used here, because it needs fire and ignite, which only training installs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from models import asking, graphs
from models.asking import Ask, AskError
from models.graphs import GRAPHS, GRID

if TYPE_CHECKING:
    from torch import nn

BUNDLES = Path(__file__).parent / "bundles"
METADATA, INFERENCE, TRAIN = "configs/metadata.json", "configs/inference.json", "configs/train.json"
WEIGHTS, README, LICENSE = "models/model.safetensors", "docs/README.md", "LICENSE"
SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
AUTHORS = "the filmgate authors"

Weights = dict[str, NDArray[Any]]  # the tensors of a bundle by name
SIZE = 128  # px, pipelines.transforms.GATE_PX


class BundleError(Exception):
    """Raised when a bundle is missing, incomplete, damaged, or not what its card says."""


@dataclass(frozen=True, slots=True)
class Card:
    """What the program must know of a network; the rest of the card is for people."""

    name: str
    network: str  # a key of graphs.GRAPHS and, where it is trained, of nets.KINDS
    classes: tuple[str, ...]
    thresholds: dict[str, float] = field(default_factory=dict)
    weights_sha256: str = ""
    version: str = "0.1.0"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A network ready to be asked, and its card."""

    card: Card
    net: Ask


def load(folder: Path) -> Bundle:
    """Reads and checks a bundle. Raises BundleError, and nothing else, when it cannot be used."""
    card, weights = read_checked(folder)
    try:
        return Bundle(card, asking.opened(card.network, len(card.classes), weights))
    except AskError as error:
        raise BundleError(f"{card.name}: {error}") from error


def read_checked(folder: Path) -> tuple[Card, Weights]:
    """The card and its tensors, all that the network needs, finite, in shape. Raises BundleError."""
    card = read_card(folder)
    weights = read_weights(folder, card.name, card.weights_sha256)
    try:
        expected = graphs.tensors(card.network, len(card.classes))
    except ValueError as error:
        raise BundleError(f"{card.name}: {card.network} cannot answer {len(card.classes)} classes") from error
    check_tensors(card.name, expected, weights)
    return card, weights


def read_card(folder: Path) -> Card:
    """The card in `configs/metadata.json`. Raises BundleError."""
    if kind_of(folder) not in ("gate", ""):
        raise BundleError(f"{folder.name}: is not the bundle of a gate")
    try:
        ours = json.loads((folder / METADATA).read_text())["filmgate"]
        card = Card(
            name=ours["name"],
            network=ours["network"],
            classes=tuple(ours["classes"]),
            thresholds={key: float(value) for key, value in ours["thresholds"].items()},
            weights_sha256=ours["weights_sha256"],
            version=ours["version"],
        )
    except OSError as error:
        raise BundleError(f"{folder.name}: no card: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{folder.name}: the card cannot be read: {type(error).__name__} {error}"
        ) from error
    if card.network not in GRAPHS:
        raise BundleError(f"{folder.name}: unknown network {card.network!r}")
    return card


def read_weights(folder: Path, name: str, sha256: str) -> Weights:
    """The tensors of `models/model.safetensors`, if its digest is the card's. Raises BundleError."""
    try:
        weights: Weights = safetensors.numpy.load(read_packed(folder / WEIGHTS, name, sha256))
    except (SafetensorError, ValueError, KeyError) as error:
        raise BundleError(f"{name}: the weights are not a safetensors file: {error}") from error
    return weights


def read_packed(path: Path, name: str, sha256: str) -> bytes:
    """The bytes of a file of weights, if their digest is the card's. Raises BundleError."""
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{name}: no weights: {error.strerror}") from error
    if hashlib.sha256(packed).hexdigest() != sha256:
        raise BundleError(f"{name}: the weights are not the ones its card names (sha256 differs)")
    return packed


def kind_of(folder: Path) -> str:
    """ "gate" or "classifier", as the card says; "" where there is no card that can be read."""
    try:
        return str(json.loads((folder / METADATA).read_text())["filmgate"].get("kind", "gate"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def save(folder: Path, card: Card, net: nn.Module, training: dict[str, Any] | None = None) -> Card:
    """Writes weights, card and configs; returns the card with the digest of the weights."""
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().contiguous().numpy() for key, value in net.state_dict().items()}
    packed = safetensors.numpy.save(state)
    (folder / WEIGHTS).write_bytes(packed)
    card = replace(card, weights_sha256=hashlib.sha256(packed).hexdigest())
    write_json(folder / INFERENCE, inference_config(card))
    if training is not None:
        write_json(folder / TRAIN, training)
    (folder / LICENSE).write_text(TERMS)
    save_card(folder, card)
    return card


def save_card(folder: Path, card: Card, evidence: dict[str, Any] | None = None) -> None:
    """Writes the card; `evidence` is what calibration and evaluation counted, kept when not given."""
    path = folder / METADATA
    if evidence is None and path.exists():
        evidence = json.loads(path.read_text())["filmgate"].get("evidence")
    write_json(path, metadata(card, evidence or {}))


def evidence(folder: Path) -> dict[str, Any]:
    """What calibration and evaluation counted, as it stands in the card."""
    out: dict[str, Any] = json.loads((folder / METADATA).read_text())["filmgate"]["evidence"]
    return out


def metadata(card: Card, evidence: dict[str, Any]) -> dict[str, Any]:
    """The fields of MONAI's metadata schema (meta_schema_20240725), and ours."""
    segmentation, maps = card.network == "lung_net", card.network == "RegionNet"
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "DX",
        "num_channels": 1,
        "spatial_shape": [SIZE, SIZE],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {"0": "grey, as displayed, bone bright"},
    }
    answer = {  # logits, before any sigmoid
        "type": "image" if segmentation or maps else "probabilities",
        "format": "segmentation" if segmentation else "magnitude" if maps else "classes",
        "num_channels": len(card.classes),
        "spatial_shape": [SIZE, SIZE] if segmentation else [GRID, GRID] if maps else [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(n): name for n, name in enumerate(card.classes)},
    }
    return {
        **monai_fields(card.version, {"image": image}, {"pred": answer}),
        "task": f"filmgate gate: {card.name}",
        "description": f"Looks at one radiograph and answers: {', '.join(card.classes)}.",
        "authors": AUTHORS,
        "intended_use": "Sorting radiographs before an AI reads them. Not for diagnosis.",
        "filmgate": {
            "name": card.name,
            "version": card.version,
            "network": card.network,
            "classes": list(card.classes),
            "weights_sha256": card.weights_sha256,
            "thresholds": card.thresholds,
            "evidence": evidence,
        },
    }


def monai_fields(version: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    """What MONAI's metadata schema asks of every bundle alike."""
    return {
        "schema": SCHEMA,
        "version": version,
        "changelog": {version: "see CHANGELOG.md"},
        "monai_version": installed.version("monai"),
        "pytorch_version": installed.version("torch").split("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"safetensors": safetensors.__version__},
        "copyright": "see LICENSE",
        "network_data_format": {"inputs": inputs, "outputs": outputs},
    }


def inference_config(card: Card) -> dict[str, Any]:
    """How MONAI builds the same network and input chain, and asks it about one picture:

    python -m monai.bundle run --config_file configs/inference.json --bundle_root FOLDER --film film.png
    """
    return {
        "imports": ["$import json", "$import torch"],
        "bundle_root": ".",
        "film": "film.png",
        "outputs": list(card.classes),
        "network_def": {"_target_": f"models.nets.{card.network}", "outputs": len(card.classes)},
        "weights": {
            "_target_": "safetensors.torch.load_file",
            "filename": f"$@bundle_root + '/{WEIGHTS}'",
        },
        "network": "$(@network_def.load_state_dict(@weights), @network_def.eval())[1]",
        **picture_config(),
        "preprocessing": {"_target_": "pipelines.transforms.gate_chain", "size": SIZE},
        "inferer": {"_target_": "monai.inferers.SimpleInferer"},
        "answer": "$@inferer(@preprocessing(torch.from_numpy(@pixels)[None])[None], @network)[0]",
        "told": "$@answer.detach().reshape(len(@outputs), -1).mean(dim=1).tolist()",
        "run": ["$print(json.dumps(dict(zip(@outputs, @told))))"],
    }


def picture_config() -> dict[str, Any]:
    """How a bundle reads a picture, as training and `filmgate classify` do; `--bits 12` tells it more."""
    return {
        "bits": None,
        "polarity": "",
        "known": {"_target_": "models.pictures.Known", "bits": "@bits", "polarity": "@polarity"},
        "pixels": {"_target_": "models.pictures.read_pixels", "path": "@film", "known": "@known"},
    }


def check_tensors(name: str, expected: Mapping[str, tuple[int, ...]], found: Weights) -> None:
    """Whether the tensors are those of the network, and finite. Raises BundleError."""
    if expected.keys() != found.keys():
        odd = sorted(expected.keys() ^ found.keys())
        raise BundleError(f"{name}: {len(odd)} tensors are missing or too many, the first is {odd[0]}")
    for key, tensor in found.items():
        if tensor.shape != expected[key]:
            raise BundleError(f"{name}: {key} has shape {tensor.shape}, not {expected[key]}")
        if not np.isfinite(tensor).all():
            raise BundleError(f"{name}: {key} holds NaN or infinity")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """One of the bundle's configs."""
    path.write_text(json.dumps(content, indent=1) + "\n")


TERMS = """The weights in this folder were made by the filmgate authors and are offered under the licence
of the project, as far as it is theirs to give. The films they were trained on keep their own terms,
which docs/README.md names source by source. Where it names sources for non-commercial use,
or of unclear terms, have your own lawyer say whether that reaches the weights; `filmgate train`
makes others.
"""
