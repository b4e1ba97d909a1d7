"""`filmgate train classifier | lessons`: networks that read chests. These load torch, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import options
from gateway.cli.output import print_json, say
from gateway.errors import FilmgateError

if TYPE_CHECKING:
    from pipelines.lab.films.samples import Listing, Samples
    from pipelines.lab.train.classifier_run import Settings

# The names that `--help` shows; models.classifiers, which knows them, is not loaded for --help.
TASKS = ("chest14", "pneumonia3")
NETWORKS = ("lite", "densenet121", "small")
AUGMENTATIONS = ("none", "basic", "complex")
IMBALANCES = ("none", "weighted", "undersample", "oversample", "focal", "asymmetric")
CACHE = Path("work/cache")
LIST = "Which films to learn from"
HOW = "How it is trained"


def _one_of(known: tuple[str, ...]) -> Callable[[str | None], str | None]:
    def check(word: str | None) -> str | None:
        if word is not None and word not in known:
            raise typer.BadParameter(f"one of {', '.join(known)}")
        return word

    return check


TaskName = Annotated[
    str, typer.Option("--task", callback=_one_of(TASKS), help=f"What it answers: {', '.join(TASKS)}.")
]
Films = Annotated[
    Path | None,
    typer.Option("--films", help="Folder of labelled films, with manifest.csv in it.", rich_help_panel=LIST),
]
Nih = Annotated[
    Path | None,
    typer.Option("--nih", help="Table in NIH's format: Data_Entry_2017.csv.", rich_help_panel=LIST),
]
Images = Annotated[
    list[Path] | None,
    typer.Option("--images", help="Folder of that table's pictures; more than once.", rich_help_panel=LIST),
]
Folders = Annotated[
    Path | None,
    typer.Option("--folders", help="Folder of folders named after the classes.", rich_help_panel=LIST),
]
MinAge = Annotated[
    float, typer.Option("--min-age", help="chest14: years from which films are taken.", rich_help_panel=LIST)
]
Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        callback=_one_of(NETWORKS),
        help=f"{', '.join(NETWORKS)}; lite unless told.",
        rich_help_panel=HOW,
    ),
]
Px = Annotated[
    int, typer.Option("--px", min=64, max=512, help="Side of what it sees: 128 to 320.", rich_help_panel=HOW)
]
Augmentation = Annotated[
    str | None,
    typer.Option(
        "--augmentation",
        callback=_one_of(AUGMENTATIONS),
        help=f"{', '.join(AUGMENTATIONS)}; complex unless told.",
        rich_help_panel=HOW,
    ),
]
Imbalance = Annotated[
    str | None,
    typer.Option(
        "--imbalance",
        callback=_one_of(IMBALANCES),
        help=f"{', '.join(IMBALANCES)}; none unless told.",
        rich_help_panel=HOW,
    ),
]
EpochsHead = Annotated[
    int | None,
    typer.Option(
        "--epochs-head", min=0, help="Epochs of the head alone; 2 unless told.", rich_help_panel=HOW
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", min=0, help="Epochs of the whole; 20 unless told.", rich_help_panel=HOW),
]
Rate = Annotated[
    float | None,
    typer.Option("--rate", min=1e-7, help="Highest learning rate; 0.001 unless told.", rich_help_panel=HOW),
]
TrunkShare = Annotated[
    float | None,
    typer.Option("--trunk-share", min=0, max=1, help="Of that rate, for the trunk.", rich_help_panel=HOW),
]
Batch = Annotated[
    int | None, typer.Option("--batch", min=2, help="Films a step; 32 unless told.", rich_help_panel=HOW)
]
WeightDecay = Annotated[
    float | None,
    typer.Option("--weight-decay", min=0, help="AdamW's; 0.03 unless told.", rich_help_panel=HOW),
]
Smoothing = Annotated[
    float | None,
    typer.Option("--label-smoothing", min=0, max=0.5, help="Of the targets.", rich_help_panel=HOW),
]
ValidShare = Annotated[
    float | None,
    typer.Option(
        "--valid-share", min=0, max=0.5, help="Of the patients, to stop early by; 0.15.", rich_help_panel=HOW
    ),
]
Patience = Annotated[
    int | None,
    typer.Option("--patience", min=0, help="Epochs without a better one; 8, 0 never.", rich_help_panel=HOW),
]
Init = Annotated[
    Path | None,
    typer.Option("--init", help="Weights to begin with: a model.safetensors.", rich_help_panel=HOW),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run; ./runs/TASK unless told.")]
Cache = Annotated[Path, typer.Option("--cache", help="Folder for films made small once.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed and films give the same network.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Processor cores.")]
FindRate = Annotated[bool, typer.Option("--find-rate", help="Only look for a learning rate: rate.png.")]
Folds = Annotated[int, typer.Option("--folds", help="Cross-validate in so many parts, by patient; 0: train.")]


def train(
    task: TaskName,
    films: Films = None,
    nih: Nih = None,
    images: Images = None,
    folders: Folders = None,
    min_age: MinAge = 10.0,
    network: Network = None,
    px: Px = 224,
    augmentation: Augmentation = None,
    imbalance: Imbalance = None,
    epochs_head: EpochsHead = None,
    epochs: Epochs = None,
    rate: Rate = None,
    trunk_share: TrunkShare = None,
    batch: Batch = None,
    weight_decay: WeightDecay = None,
    label_smoothing: Smoothing = None,
    valid_share: ValidShare = None,
    patience: Patience = None,
    init: Init = None,
    out: Out = None,
    cache: Cache = CACHE,
    resume: Resume = False,
    seed: Seed = 0,
    threads: Threads = 1,
    find_rate: FindRate = False,
    folds: Folds = 0,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Train a classifier of chests on your own films; see docs/training.md."""
    del config, state
    _one_list(films, nih, images, folders)
    if folds < 0 or folds == 1:
        raise typer.BadParameter("--folds: 2 or more, or 0")
    said = {
        "network": network,
        "px": px,
        "augmentation": augmentation,
        "imbalance": imbalance,
        "epochs_head": epochs_head,
        "epochs_all": epochs,
        "rate": rate,
        "trunk_share": trunk_share,
        "batch": batch,
        "weight_decay": weight_decay,
        "label_smoothing": label_smoothing,
        "valid_share": valid_share,
        "patience": patience,
        "init": str(init) if init else None,
        "seed": seed,
        "threads": threads,
    }
    with _ready_to_train([path for path in (films, nih, *(images or ()), folders, init) if path]):
        from pipelines.lab.train.classifier_run import Settings

        settings = Settings(**{key: value for key, value in said.items() if value is not None})  # type: ignore[arg-type]
        listing = _listed(task, films, nih, images or [], folders, min_age)
        if not json:
            say(listing.told())
        samples = _loaded(listing, px, cache, quiet=json)
        folder = out or Path("runs") / task
        if find_rate:
            done = _rate_found(samples, settings, folder)
        elif folds:
            done = _cross_validated(samples, settings, folder, folds, quiet=json)
        else:
            done = _trained(samples, settings, folder, resume, quiet=json)
    if json:
        print_json([{"task": task, **done}])
    else:
        for key, value in done.items():
            say(f"{key}: {value}")


Learned = Annotated[
    int, typer.Option("--learned", min=1, help="Films to learn from: the same for every run.")
]
LessonsPx = Annotated[int, typer.Option("--px", min=32, max=512, help="Side of what the network sees.")]
LessonsEpochs = Annotated[int, typer.Option("--epochs", min=1, help="Epochs of every run.")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, max=5, help="Runs a way.")]
Processes = Annotated[int, typer.Option("--processes", min=1, help="Runs at a time, on one core each.")]
LessonsOut = Annotated[Path, typer.Option("--out", help="Folder of the runs; those that are done stay.")]


def lessons(
    task: TaskName,
    films: Films = None,
    nih: Nih = None,
    images: Images = None,
    folders: Folders = None,
    min_age: MinAge = 10.0,
    network: Network = "small",
    learned: Learned = 600,
    px: LessonsPx = 96,
    epochs: LessonsEpochs = 10,
    rate: Rate = None,
    init: Init = None,
    seeds: Seeds = 3,
    processes: Processes = 2,
    out: LessonsOut = Path("runs/lessons"),
    cache: Cache = CACHE,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Measure what augmentation and the ways with imbalance do on your films: docs/lessons.md."""
    del config, state
    _one_list(films, nih, images, folders)
    with _ready_to_train([path for path in (films, nih, *(images or ()), folders, init) if path]):
        from pipelines.lab.train import lessons as measured

        how = replace(
            measured.QUICK, network=network or "small", px=px, epochs_all=epochs, init=str(init or "")
        )
        how = replace(how, rate=rate) if rate else how
        listing = _listed(task, films, nih, images or [], folders, min_age)
        _loaded(listing, px, cache, quiet=json)
        told = measured.run(
            listing,
            cache,
            out,
            settings=how,
            films=learned,
            seeds=range(seeds),
            processes=processes,
            told=None if json else lambda run: say(measured.in_a_line(run)),
        )
        summary = measured.summarised(out)
    if json:
        print_json(summary)
    else:
        say(measured.table(out))
        say(f"tables: {told.parent}")


def _one_list(films: Path | None, nih: Path | None, images: list[Path] | None, folders: Path | None) -> None:
    if sum(source is not None for source in (films, nih, folders)) != 1:
        raise typer.BadParameter("give one of --films, --nih and --folders")
    if (nih is None) != (not images):
        raise typer.BadParameter("--nih and --images go together")


def _listed(
    task: str, films: Path | None, nih: Path | None, images: list[Path], folders: Path | None, min_age: float
) -> Listing:
    from pipelines.lab.films import samples
    from pipelines.lab.films.labels import TASKS as KNOWN

    if films:
        return samples.from_manifest(films, KNOWN[task], min_age)
    if nih:
        return samples.from_nih(nih, images, KNOWN[task], min_age)
    assert folders is not None
    return samples.from_folders(folders, KNOWN[task])


def _loaded(listing: Listing, px: int, cache: Path, *, quiet: bool) -> Samples:
    from rich.console import Console
    from rich.progress import Progress

    from pipelines.lab.films import samples

    with Progress(console=Console(stderr=True), disable=quiet, transient=True) as bar:
        task = bar.add_task("films", total=len(listing.rows))
        return samples.load(listing, px, cache, lambda done, _: bar.update(task, completed=done))


def _trained(samples: Samples, settings: Settings, out: Path, resume: bool, *, quiet: bool) -> dict[str, Any]:
    import json

    from pipelines.lab.ask import classifier_ask
    from pipelines.lab.train import classifier_run
    from pipelines.lab.train import classifier_train as training

    weights = training.train(samples, samples.task, settings, out, resume=resume, quiet=quiet)
    classifier_run.bundled(out, out / "bundle")
    told = json.loads((out / classifier_run.TRAIN).read_text())
    return {
        "weights": weights,
        "bundle": out / "bundle",
        "scores": classifier_ask.score(out, samples),
        "labels": told["labels"],
        "not_trained": told["not_trained"],
        "films": told["data"]["learned"]["films"],
        "valid_auc": told["valid_auc"],
        "picture": out / "progress.png",
    }


def _rate_found(samples: Samples, settings: Settings, out: Path) -> dict[str, Any]:
    from pipelines.lab.train import classifier_train, live

    curve = classifier_train.find_rate(samples, settings)
    live.draw_rates(out / "rate.png", curve.rates, curve.losses, curve.suggestion)
    return {"rate": float(f"{curve.suggestion:.2g}"), "picture": out / "rate.png"}


def _cross_validated(
    samples: Samples, settings: Settings, out: Path, folds: int, *, quiet: bool
) -> dict[str, Any]:
    from pipelines.lab.ask import classifier_ask

    return {"scores": classifier_ask.cross_validate(samples, samples.task, settings, out, folds, quiet=quiet)}


@contextmanager
def _ready_to_train(paths: list[Path]) -> Iterator[None]:
    """
    Raises:
        FilmgateError: the extra is not installed, a path is not there, or what is there cannot be used.
    """
    options.need_training("training", paths)
    try:
        yield
    except (ValueError, OSError) as error:
        raise FilmgateError(f"{error}. Look at the films and options that were named.") from error
