"""A finished training run becomes a bundle: the weights, a card, and what the films were."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models import card as cards
from models.classifiers import bundle
from models.classifiers.accepts import Accepts
from models.classifiers.bundle import ClassifierCard, Input
from pipelines.lab.train import classifier_train


@dataclass(frozen=True, slots=True)
class Scope:
    """The films that a task's classifiers are made for."""

    accepts: Accepts = field(default_factory=Accepts)
    off: bool = False


SCOPES: dict[str, Scope] = {
    "chest14": Scope(),  # ten years and over: what the films of adults can answer for
    # The children of Kermany et al. 2018 are one to five years old; a child of five is one until it is six.
    "pneumonia3": Scope(Accepts(min_age=1.0, max_age=5.99), off=True),
}


def bundled(run: Path, folder: Path, name: str = "", *, half: bool = False) -> ClassifierCard:
    """Writes the network that the run kept as a bundle in `folder`; returns its card.

    `half` stores the weights in float16.

    Raises:
        OSError: the run is not finished.
        BundleError: its weights hold NaN or infinity.
    """
    net, task, settings = classifier_train.restored(run)
    told = published(json.loads((run / classifier_train.TOLD).read_text()))
    scope = SCOPES[task.name]
    card = ClassifierCard(
        name=name or task.name,
        network=settings.network,
        classes=task.labels,
        exclusive=task.exclusive,
        input=Input(px=settings.px),
        accepts=scope.accepts,
        off=scope.off,
    )
    card = bundle.save(folder, card, net, training=told, half=half)
    cards.write_part(folder, "data", data_part(told))
    return card


def published(told: dict[str, Any]) -> dict[str, Any]:
    """What a run says of itself, without where things lay on the machine that it ran on."""
    begun_with = Path(told["settings"]["init"])
    if not begun_with.name:
        return told
    digest = hashlib.sha256(begun_with.read_bytes()).hexdigest() if begun_with.exists() else ""
    return told | {
        "settings": told["settings"] | {"init": begun_with.name},
        "begun_with": {"file": begun_with.name, "sha256": digest},
    }


def data_part(told: dict[str, Any]) -> str:
    """What the run learned from, for the model card, in Markdown."""
    learned, checked = told["data"]["learned"], told["data"]["validated"]
    rows = [(what, learned[what], checked[what]) for what in ("films", "patients")]
    rows += [(f"with {label}", n, checked["films_with"][label]) for label, n in learned["films_with"].items()]
    rows += [
        (f"from {source}", n, checked["sources"].get(source, 0)) for source, n in learned["sources"].items()
    ]
    lines = ["## Data", "", "| | learned from | to stop by |", "|---|---|---|"]
    lines += [f"| {what} | {n} | {other} |" for what, n, other in rows]
    if told["not_trained"]:
        lines += ["", f"Not trained, and so absent from every answer: {', '.join(told['not_trained'])}."]
    return "\n".join(lines) + "\n"
