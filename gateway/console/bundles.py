"""The bundles of models as their files say: cards, thresholds, digests. No network is loaded for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from gateway.settings import BundleName, Settings
from gateway.settings.classifier import bundle_of

SHIPPED = Path(__file__).parents[2] / "models" / "bundles"
METADATA, CARD = "configs/metadata.json", "docs/README.md"
MOST_CARD = 200_000  # characters that are shown
_WEIGHTS = ("models/model.safetensors", "models/model.onnx", "models/model.ts")


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What calibration counted, as far as a card keeps it: patients, not scores."""

    patients: int
    lost: int  # clean patients that the gate did not call good
    called_faulty: int  # of those, the ones it called faulty
    claim: str

    @property
    def unsure(self) -> int:
        return self.lost - self.called_faulty


@dataclass(frozen=True, slots=True)
class Shown:
    """One bundle."""

    name: str
    kind: str  # gate, classifier or region
    folder: str
    use: str  # in words; "" where it ships and is not in use
    version: str = ""
    network: str = ""
    classes: tuple[str, ...] = ()
    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    sha256: str = ""
    sha256_holds: bool | None = None  # whether the weights are those of the card; None: there are none
    card: str = ""
    calibrated: Calibrated | None = None
    problem: str = ""  # why it cannot be read

    @property
    def ships(self) -> bool:
        """Whether it came with filmgate, so that its folder tells nobody anything."""
        return Path(self.folder).resolve().parent == SHIPPED.resolve()


def bundles(settings: Settings) -> list[Shown]:
    """Those in use first, in the order of the gates; then what ships besides."""
    used = list(_used(settings))
    folders = {folder.resolve() for _, folder, _ in used}
    shown = [_shown(folder, kind, use) for kind, folder, use in used]
    others = (path for path in sorted(SHIPPED.iterdir()) if path.is_dir() and path.resolve() not in folders)
    return shown + [_shown(path, "", "") for path in others]


def _used(settings: Settings) -> Iterator[tuple[str, Path, str]]:
    work = settings.work
    root = Path(work.bundles) if work.bundles else SHIPPED
    for name in get_args(BundleName):
        variant = work.variants.get(name, "")
        yield "gate", root / (f"{name}-{variant}" if variant else name), f"the {name} gate"
    for folder in work.regions:
        yield "region", folder, "a gate for another body region"
    for name, block in settings.classifiers.items():
        yield "classifier", bundle_of(block, name), f"the classifier {name}"


def _shown(folder: Path, kind: str, use: str) -> Shown:
    try:
        ours = json.loads((folder / METADATA).read_text(encoding="utf-8"))["filmgate"]
        return _of_card(folder, kind or str(ours.get("kind", "gate")), use, ours)
    except OSError as error:
        return Shown(folder.name, kind, str(folder), use, problem=f"no card: {error.strerror}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"the card cannot be read: {type(error).__name__}"
        return Shown(folder.name, kind, str(folder), use, problem=problem)


def _of_card(folder: Path, kind: str, use: str, ours: Mapping[str, Any]) -> Shown:
    stated = str(ours["weights_sha256"])
    found = _weights_digest(folder)
    return Shown(
        name=folder.name,
        kind=kind,
        folder=str(folder),
        use=use,
        version=str(ours.get("version", "")),
        network=str(ours.get("network", "")),
        classes=tuple(map(str, ours.get("classes", ()))),
        thresholds={str(name): value for name, value in ours.get("thresholds", {}).items()},
        sha256=stated,
        sha256_holds=None if found is None else found == stated,
        card=_text(folder / CARD),
        calibrated=_calibrated(ours.get("evidence") or {}),
    )


def _calibrated(evidence: Mapping[str, Any]) -> Calibrated | None:
    counted = evidence.get("calibration")
    if not isinstance(counted, dict) or not isinstance(counted.get("lost"), dict):
        return None
    faulty = counted.get("called faulty")
    return Calibrated(
        patients=int(counted["lost"]["patients"]),
        lost=int(counted["lost"]["errors"]),
        called_faulty=int(faulty["errors"]) if isinstance(faulty, dict) else 0,
        claim=str(counted.get("claim", "")),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:MOST_CARD]
    except OSError:
        return ""


def _weights_digest(folder: Path) -> str | None:
    for name in _WEIGHTS:
        path = folder / name
        if path.is_file():
            status = path.stat()
            return _digest(path, status.st_mtime_ns, status.st_size)
    return None


@lru_cache(maxsize=64)
def _digest(path: Path, _changed_ns: int, _size: int) -> str:
    """Once for each state of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
