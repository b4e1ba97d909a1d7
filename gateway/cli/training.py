"""`filmgate train | calibrate | evaluate`: new gates from labelled films. They load torch, as workers do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import options
from gateway.cli.output import print_json, print_table, say
from gateway.errors import FilmgateError, NotFound

NAMES = ("anatomy", "inversion", "rotation", "mirror", "lungs")


def _name(name: str) -> str:
    if name not in NAMES:
        raise typer.BadParameter(f"one of {', '.join(NAMES)}")
    return name


Name = Annotated[str, typer.Argument(callback=_name, help=f"Which gate: {', '.join(NAMES)}.")]
Films = Annotated[Path, typer.Option("--films", help="Folder of labelled films, with manifest.csv in it.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the bundle; ./bundles/NAME unless told.")]
Cache = Annotated[Path, typer.Option("--cache", help="Folder for films made small once.")]
Bundles = Annotated[Path, typer.Option("--bundles", help="Folder of bundles.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed and films give the same network.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Batches; else as the recipe says.")]
Begin = Annotated[Path | None, typer.Option("--begin", help="Start from the weights of this bundle.")]
LeaveOut = Annotated[str, typer.Option("--leave-out", help="A site not to train on, to test on it.")]

CACHE = Path("work/cache")
BUNDLES = Path("bundles")


def train(
    name: Name,
    films: Films,
    out: Out = None,
    cache: Cache = CACHE,
    resume: Resume = False,
    seed: Seed = 0,
    steps: Steps = None,
    leave_out: LeaveOut = "",
    begin: Begin = None,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Train a gate and choose its thresholds; the result is a bundle for `work.bundles`."""
    del config, state
    with _ready_to_train(films):
        from pipelines.gates import training

        cache.mkdir(parents=True, exist_ok=True)
        folder = out or BUNDLES / name
        bundle = training.train_gate(name, films, folder, cache, resume, seed, steps, leave_out, begin)
    if json:
        print_json([{"name": name, "bundle": bundle}])
    else:
        say(f"bundle: {bundle}   next: filmgate evaluate {name} --films {films} --bundles {bundle.parent}")


def calibrate(
    name: Name,
    films: Films,
    bundles: Bundles = BUNDLES,
    cache: Cache = CACHE,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Choose a gate's thresholds anew, on patients it was not trained on."""
    del config, state
    with _ready_to_train(films):
        from pipelines.gates import training

        cache.mkdir(parents=True, exist_ok=True)
        thresholds = training.calibrate_gate(name, films, bundles / name, cache)
    if json:
        print_json([{"name": name, "thresholds": thresholds}])
    else:
        print_table(("threshold", "value"), ((key, f"{value:.4f}") for key, value in thresholds.items()))


def evaluate(
    name: Name,
    films: Films,
    bundles: Bundles = BUNDLES,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Count what a gate does with patients it was not trained on; exact 95 % intervals."""
    del config, state
    with _ready_to_train(films):
        from pipelines.gates import training

        lines = [asdict(line) for line in training.evaluate_gate(name, films, bundles)]
    if json:
        print_json(lines)
    elif lines:
        print_table(tuple(lines[0]), (tuple(_short(v) for v in line.values()) for line in lines))


def _short(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


@contextmanager
def _ready_to_train(films: Path) -> Iterator[None]:
    """
    Raises:
        FilmgateError: the extra is not installed, there are no films, or the bundle cannot be used.
    """
    if any(find_spec(module) is None for module in ("scipy", "sklearn", "PIL")):
        raise FilmgateError("training needs more packages. Nothing was done. pip install 'filmgate[train]'.")
    if not films.exists():
        raise NotFound(f"there are no films at {films}. Nothing was done. Name their folder with --films.")
    from models.bundle import BundleError

    try:
        yield
    except BundleError as error:
        raise FilmgateError(f"{error}. Nothing was changed. Name the folder of bundles.") from error
