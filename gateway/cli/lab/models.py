"""`filmgate models`: which there are, and other people's classifiers made usable (docs/classifiers.md)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.options import Common
from gateway.cli.output import print_json, say
from gateway.cli.quiet import quiet_logs
from gateway.cli.tables import print_table
from gateway.errors import FilmgateError
from gateway.settings import load
from models import bundle as gates
from models.bundle import BUNDLES, METADATA, BundleError
from models.classifiers import bundle as classifiers
from models.classifiers import terms
from models.classifiers.accepts import Accepts, view
from models.classifiers.bundle import ClassifierCard, Input
from pipelines.lab.train import imports
from pipelines.lab.train.imports import Foreign, Terms

File = Annotated[Path, typer.Argument(help="The file of the network or its weights.")]
Folder = Annotated[Path, typer.Argument(help="The folder of the MONAI bundle.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of the bundle that is made; it must not be there.")]
Name = Annotated[str, typer.Option("--name", help="The classifier's name; by default that of the folder.")]
Sha256 = Annotated[str, typer.Option("--sha256", help="The file must have this digest.")]
Weights = Annotated[str, typer.Option("--weights", help="Which release, such as densenet121-res224-all.")]
Labels = Annotated[str, typer.Option("--labels", help="What each output means, with commas between.")]
Px = Annotated[int, typer.Option("--px", min=32, max=1024, help="Side of the square it is shown.")]
Low = Annotated[float, typer.Option("--low", help="What black is to it.")]
High = Annotated[float, typer.Option("--high", help="What white is to it.")]
Channels = Annotated[int, typer.Option("--channels", min=1, max=3, help="1, or 3 of the same grey.")]
Crop = Annotated[str, typer.Option("--crop", help="whole, or lungs: the lung box alone.")]
Aspect = Annotated[str, typer.Option("--aspect", help="How a film becomes square: squash, pad or centre.")]
Axes = Annotated[
    str, typer.Option("--axes", help="How it is shown a film: hw (rows first) or wh (columns first).")
]
Exclusive = Annotated[
    bool, typer.Option("--exclusive", help="One of the labels (softmax), not each by itself.")
]
Gives = Annotated[str, typer.Option("--gives", help="What it puts out: logits or probabilities.")]
Views = Annotated[str, typer.Option("--views", help="Views it was made for, with commas between.")]
MinAge = Annotated[float, typer.Option("--min-age", help="Years from which it was made for.")]
MaxAge = Annotated[float, typer.Option("--max-age", help="Years up to which it was made for.")]
UnknownAge = Annotated[bool, typer.Option("--unknown-age", help="Also films of unknown age.")]
Where = Annotated[
    list[Path] | None, typer.Option("--bundles", help="Also the bundles in this folder; may be given again.")
]

VIEWS = "PA,AP,frontal"


@dataclass(frozen=True, slots=True)
class Network:
    """What a file does not say of the network in it."""

    labels: Labels
    px: Px
    low: Low = 0.0
    high: High = 1.0
    channels: Channels = 1
    crop: Crop = "whole"
    aspect: Aspect = "squash"
    axes: Axes = "hw"
    exclusive: Exclusive = False
    gives: Gives = "logits"

    def foreign(self) -> Foreign:
        """The same for those who import it."""
        asked = Input(self.px, self.low, self.high, self.channels, self.crop, self.aspect, self.axes)
        return Foreign(_listed(self.labels), asked, self.exclusive, self.gives)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a person says of weights that are imported: which file it is, and for which films."""

    name: Name = ""
    sha256: Sha256 = ""
    views: Views = VIEWS
    min_age: MinAge = 18.0
    max_age: MaxAge = 200.0
    unknown_age: UnknownAge = False

    def terms(self) -> Terms:
        """The same for those who import them.

        Raises:
            FilmgateError: one of the views is not known.
        """
        try:
            views = tuple(map(view, _listed(self.views)))
        except ValueError as error:
            raise FilmgateError(f"--views: {error}\nNothing was written.") from error
        return Terms(self.name, self.sha256, Accepts(views, self.min_age, self.max_age, self.unknown_age))


def torchxrayvision(common: Common, file: File, weights: Weights, out: Out, scope: Scope) -> None:
    """Weights of one of TorchXRayVision's DenseNet-121 releases: a state dict or safetensors."""
    with _importing():
        card = imports.torchxrayvision(file, weights, out, scope.terms())
    _show(card, out, json=common.json)


def foreign(kind: str, common: Common, file: File, network: Network, out: Out, scope: Scope) -> None:
    """Somebody else's classifier, in the format that the command names."""
    bundled = imports.onnx if kind == "onnx" else imports.torchscript
    with _importing():
        card = bundled(file, out, network.foreign(), scope.terms())
    _show(card, out, json=common.json)


def monai(
    common: Common, folder: Folder, out: Out, scope: Scope, aspect: Aspect = "squash", axes: Axes = ""
) -> None:
    """A MONAI bundle of a classifier: a DenseNet121 with model.pt, or any network as model.ts.

    How films lie is read from its preprocessing; where that is not clear, say --axes.
    """
    with _importing():
        card = imports.monai(folder, out, scope.terms(), aspect, axes)
    _show(card, out, json=common.json)


def list_models(common: Common, bundles: Where = None) -> None:
    """Every model: gates and classifiers, those that ship and those in the configuration."""
    settings = load(common.config, common.state)
    quiet_logs()
    named = [terms.folder(block.bundle or name) for name, block in settings.classifiers.items()]
    configured = [Path(settings.work.bundles)] if settings.work.bundles else []
    items = list(_models([*(bundles or []), *configured], named))
    if common.json:
        print_json(items)
        return
    columns = ("name", "kind", "network", "labels", "accepts", "MB", "sha256", "usable")
    print_table(columns, ([*_row(item)] for item in items))


def _models(folders: list[Path], named: list[Path]) -> Iterator[dict[str, Any]]:
    inside = [path for folder in (BUNDLES, *folders) if folder.is_dir() for path in sorted(folder.iterdir())]
    bundles = {path.resolve(): path for path in (*inside, *folders, *named) if (path / METADATA).exists()}
    for path in bundles.values():
        yield _model(path)


def _model(folder: Path) -> dict[str, Any]:
    """What is known of one bundle; "usable" is "yes", or why not."""
    kind = gates.kind_of(folder)
    item: dict[str, Any] = {
        "name": folder.name,
        "kind": kind or "unknown",
        "folder": folder,
        "network": "",
        "labels": [],
        "accepts": None,
        "mb": round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6, 1),
        "sha256": "",
        "off": False,
        "usable": "yes",
    }
    try:
        if kind == classifiers.CLASSIFIER:
            card = classifiers.read_card(folder)
            item |= {"accepts": asdict(card.accepts), "off": card.off}
            known: Any = card
            classifiers.load(folder)
        else:
            known = gates.read_card(folder)
            gates.load(folder)
    except BundleError as error:
        return item | {"usable": str(error)}
    return item | {"network": known.network, "labels": list(known.classes), "sha256": known.weights_sha256}


def _row(item: dict[str, Any]) -> Iterator[object]:
    takes, labels = item["accepts"], item["labels"]
    yield item["name"]
    yield item["kind"] + (" (off)" if item["off"] else "")
    yield item["network"]
    yield ", ".join(labels) if len(labels) <= 4 else f"{', '.join(labels[:3])} and {len(labels) - 3} more"
    yield f"{'/'.join(takes['views'])}, {takes['min_age']:g}-{takes['max_age']:g} y" if takes else ""
    yield item["mb"]
    yield item["sha256"][:16]
    yield item["usable"]


@contextmanager
def _importing() -> Iterator[None]:
    """
    Raises:
        FilmgateError: it is no file that can be used.
    """
    quiet_logs()
    try:
        yield
    except BundleError as error:
        raise FilmgateError(f"{error}\nNothing was written.") from error


def _show(card: ClassifierCard, out: Path, *, json: bool) -> None:
    if json:
        item = {"name": card.name, "bundle": out, "labels": list(card.classes), "sha256": card.weights_sha256}
        print_json([item | {"origin": card.origin, "accepts": asdict(card.accepts)}])
        return
    say(f"bundle: {out}   {card.network}, {len(card.classes)} labels: {', '.join(card.classes)}")
    say(f"from {card.origin['file']}, sha256 {card.origin['sha256']}")
    if "axes" in card.origin:
        say(f"axes: {card.input.axes} ({card.origin['axes']})")
    say(f"try it: filmgate classify FILM --model {out}")


def _listed(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
