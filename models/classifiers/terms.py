"""What a classifier's card says to those that load no torch: whether it is off, and which films it takes.

`models.classifiers.bundle` reads the same card to load the network; this reads its JSON alone, for the
processes that only choose where films go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from models import plain_files

BUNDLES = Path(__file__).parents[1] / "bundles"
METADATA = "configs/metadata.json"
WEIGHTS = {"torchscript": "models/model.ts", "onnx": "models/model.onnx"}
SAFETENSORS = "models/model.safetensors"
# What `accepts` can say of a film: its view, and the modality of a projection radiograph (PS3.3 C.7.3.1.1.1;
# DR is what some rooms write). Other words fit no film.
VIEWS = ("PA", "AP", "frontal", "lateral", "other")
MODALITIES = ("CR", "DX", "DR", "RG", "RF", "XA", "MG", "IO", "PX", "OT")
ACCEPTS = ("views", "min_age", "max_age", "unknown_age", "modalities")


class NoTerms(ValueError):
    """Raised when there is no card of a classifier, or it cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Terms:
    """From the card: the films that the classifier takes, in the words of `accepts`, and its weights."""

    name: str
    version: str
    weights: Path
    weights_sha256: str
    off: bool = False  # used only where it is switched on by name
    accepts: dict[str, Any] = field(default_factory=dict)


def spelt(word: str, known: tuple[str, ...], what: str) -> str:
    """One of the known words, whatever its case.

    Raises:
        ValueError: it is none of them: no film would ever fit.
    """
    found = {one.lower(): one for one in known}.get(word.strip().lower())
    if found is not None:
        return found
    close = [one for one in known if get_close_matches(word.strip().lower(), [one.lower()], cutoff=0.5)]
    hint = f"did you mean {' or '.join(close[:2])}?" if close else f"known are {', '.join(known)}"
    raise ValueError(f"unknown {what} {word[:20]!r}, which no film has; {hint}")


def view(word: str) -> str:
    """A word of `accepts.views`. Raises ValueError."""
    return spelt(word, VIEWS, "view")


def modality(word: str) -> str:
    """A word of `accepts.modalities`. Raises ValueError."""
    return spelt(word, MODALITIES, "modality")


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
        accepts={key: value for key, value in ours.get("accepts", {}).items() if key in ACCEPTS},
    )
