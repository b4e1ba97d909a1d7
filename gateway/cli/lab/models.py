"""`filmgate models`: which there are, and other people's classifiers made usable (docs/classifiers.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import options
from gateway.cli.output import print_json, say
from gateway.cli.quiet import quiet_logs
from gateway.cli.tables import print_table
from gateway.errors import FilmgateError
from gateway.settings import load

if TYPE_CHECKING:
    from models.classifiers.bundle import ClassifierCard
    from pipelines.lab.train.imports import Foreign, Terms

File = Annotated[Path, typer.Argument(help="The file of the network or its weights.")]
Folder = Annotated[Path, typer.Argument(help="The folder of the MONAI bundle.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of the bundle that is made; it must not be there.")]
Name = Annotated[str, typer.Option("--name", help="The classifier's name; that of the folder unless told.")]
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


def torchxrayvision(
    file: File,
    weights: Weights,
    out: Out,
    name: Name = "",
    sha256: Sha256 = "",
    views: Views = VIEWS,
    min_age: MinAge = 18.0,
    max_age: MaxAge = 200.0,
    unknown_age: UnknownAge = False,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Weights of one of TorchXRayVision's DenseNet-121 releases: a state dict or safetensors."""
    del config, state

    def made() -> ClassifierCard:
        from pipelines.lab.train import imports as take

        terms = _terms(name, sha256, views, min_age, max_age, unknown_age=unknown_age)
        return take.torchxrayvision(file, weights, out, terms)

    _import(made, out, json=json)


def foreign(
    kind: str,
    file: File,
    labels: Labels,
    px: Px,
    out: Out,
    low: Low = 0.0,
    high: High = 1.0,
    channels: Channels = 1,
    crop: Crop = "whole",
    aspect: Aspect = "squash",
    axes: Axes = "hw",
    exclusive: Exclusive = False,
    gives: Gives = "logits",
    name: Name = "",
    sha256: Sha256 = "",
    views: Views = VIEWS,
    min_age: MinAge = 18.0,
    max_age: MaxAge = 200.0,
    unknown_age: UnknownAge = False,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Somebody else's classifier, in the format that the command names."""
    del config, state

    def made() -> ClassifierCard:
        from pipelines.lab.train import imports as take

        what = _foreign(labels, px, low, high, channels, crop, aspect, axes, gives, exclusive=exclusive)
        terms = _terms(name, sha256, views, min_age, max_age, unknown_age=unknown_age)
        bundled = take.onnx if kind == "onnx" else take.torchscript
        return bundled(file, out, what, terms)

    _import(made, out, json=json)


def monai(
    folder: Folder,
    out: Out,
    aspect: Aspect = "squash",
    axes: Axes = "",
    name: Name = "",
    sha256: Sha256 = "",
    views: Views = VIEWS,
    min_age: MinAge = 18.0,
    max_age: MaxAge = 200.0,
    unknown_age: UnknownAge = False,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """A MONAI bundle of a classifier: a DenseNet121 with model.pt, or any network as model.ts.

    How films lie is read from its preprocessing; where that is not clear, say --axes.
    """
    del config, state

    def made() -> ClassifierCard:
        from pipelines.lab.train import imports as take

        terms = _terms(name, sha256, views, min_age, max_age, unknown_age=unknown_age)
        return take.monai(folder, out, terms, aspect, axes)

    _import(made, out, json=json)


def list_models(
    bundles: Where = None,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Every model: gates and classifiers, those that ship and those in the configuration."""
    settings = load(config, state)
    quiet_logs()
    named = [_named(block.bundle or name) for name, block in settings.classifiers.items()]
    items = list(
        _models([*(bundles or []), *([Path(settings.work.bundles)] if settings.work.bundles else [])], named)
    )
    if json:
        print_json(items)
        return
    columns = ("name", "kind", "network", "labels", "accepts", "MB", "sha256", "usable")
    print_table(columns, ([*_row(item)] for item in items))


def _named(bundle: str) -> Path:
    from models.classifiers import terms

    return terms.folder(bundle)


def _models(folders: list[Path], named: list[Path]) -> Iterator[dict[str, Any]]:
    from models.bundle import BUNDLES, METADATA

    inside = [path for folder in (BUNDLES, *folders) if folder.is_dir() for path in sorted(folder.iterdir())]
    found = {path.resolve(): path for path in (*inside, *folders, *named) if (path / METADATA).exists()}
    for path in found.values():
        yield _model(path)


def _model(folder: Path) -> dict[str, Any]:
    """What is known of one bundle; "usable" is "yes", or why not."""
    from models import bundle as gates
    from models.bundle import BundleError
    from models.classifiers import bundle as classifiers

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
            item |= {"accepts": _accepts(card), "off": card.off}
            known: Any = card
            classifiers.load(folder)
        else:
            known = gates.read_card(folder)
            gates.load(folder)
    except BundleError as error:
        return item | {"usable": str(error)}
    return item | {"network": known.network, "labels": list(known.classes), "sha256": known.weights_sha256}


def _accepts(card: ClassifierCard) -> dict[str, Any]:
    takes = card.accepts
    return {
        "views": list(takes.views),
        "min_age": takes.min_age,
        "max_age": takes.max_age,
        "unknown_age": takes.unknown_age,
        "modalities": list(takes.modalities),
    }


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


def _import(made: Callable[[], ClassifierCard], out: Path, *, json: bool) -> None:
    """
    Raises:
        FilmgateError: it is no file that can be used.
    """
    from models.bundle import BundleError

    quiet_logs()
    try:
        card = made()
    except BundleError as error:
        raise FilmgateError(f"{error}\nNothing was written.") from error
    if json:
        told = {"name": card.name, "bundle": out, "labels": list(card.classes), "sha256": card.weights_sha256}
        print_json([told | {"origin": card.origin, "accepts": _accepts(card)}])
        return
    say(f"bundle: {out}   {card.network}, {len(card.classes)} labels: {', '.join(card.classes)}")
    say(f"from {card.origin['file']}, sha256 {card.origin['sha256']}")
    if "axes" in card.origin:
        say(f"axes: {card.input.axes} ({card.origin['axes']})")
    say(f"try it: filmgate classify FILM --model {out}")


def _terms(name: str, sha256: str, views: str, min_age: float, max_age: float, *, unknown_age: bool) -> Terms:
    from models.classifiers import terms
    from models.classifiers.bundle import Accepts
    from pipelines.lab.train.imports import Terms

    try:
        words = tuple(map(terms.view, _listed(views)))
    except ValueError as error:
        raise FilmgateError(f"--views: {error}\nNothing was written.") from error
    return Terms(name, sha256, Accepts(words, min_age, max_age, unknown_age))


def _foreign(
    labels: str,
    px: int,
    low: float,
    high: float,
    channels: int,
    crop: str,
    aspect: str,
    axes: str,
    gives: str,
    *,
    exclusive: bool,
) -> Foreign:
    from models.classifiers.bundle import Input
    from pipelines.lab.train.imports import Foreign

    return Foreign(_listed(labels), Input(px, low, high, channels, crop, aspect, axes), exclusive, gives)


def _listed(words: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in words.split(",") if word.strip())
