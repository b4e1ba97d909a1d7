"""What a classifier's card says to those that load no torch: whether it is off, and which films it takes.

`models.classifiers.bundle` reads the same card to load the network; this reads its JSON alone, for the
processes that only choose where films go.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models import plain_files
from models.classifiers.accepts import Accepts

BUNDLES = Path(__file__).parents[1] / "bundles"
METADATA = "configs/metadata.json"
WEIGHTS = {"torchscript": "models/model.ts", "onnx": "models/model.onnx"}
SAFETENSORS = "models/model.safetensors"


class NoTerms(ValueError):
    """Raised when there is no card of a classifier, or it cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Terms:
    """From the card: the films that the classifier takes, and its weights."""

    name: str
    version: str
    weights: Path
    weights_sha256: str
    off: bool = False  # used only where it is switched on by name
    accepts: Accepts | None = None  # None: the card says something that fits no film


def folder(bundle: str) -> Path:
    """The folder of a bundle: a path, or the name of one that ships."""
    return Path(bundle) if "/" in bundle else BUNDLES / bundle


def read(where: Path) -> Terms:
    """
    Raises:
        NoTerms: the folder has no card of a classifier.
    """
    try:
        return _terms(where, plain_files.read_json(where / METADATA)["filmgate"])
    except OSError as error:
        raise NoTerms(f"{where.name}: no card: {error.strerror}") from error
    except NoTerms:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoTerms(f"{where.name}: the card cannot be read: {type(error).__name__}") from error


def _terms(where: Path, ours: dict[str, Any]) -> Terms:
    if ours.get("kind") != "classifier":
        raise NoTerms(f"{where.name}: is not the bundle of a classifier")
    return Terms(
        name=str(ours["name"]),
        version=str(ours.get("version", "")),
        weights=where / WEIGHTS.get(ours.get("network", ""), SAFETENSORS),
        weights_sha256=str(ours["weights_sha256"]),
        off=bool(ours.get("off", False)),
        accepts=_accepts(ours.get("accepts", {})),
    )


def _accepts(card: Any) -> Accepts | None:
    with suppress(ValueError, TypeError, AttributeError):
        return Accepts.read(card)
    return None
