"""`filmgate train classifier | lessons`: networks that read chests. These load torch, too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from gateway.cli.options import Common, need_paths, one_of
from gateway.cli.output import print_json, say
from gateway.errors import FilmgateError
from models.classifiers import nets
from pipelines.lab.ask import classifier_ask
from pipelines.lab.films import samples
from pipelines.lab.films.labels import TASKS
from pipelines.lab.films.samples import Listing, Samples
from pipelines.lab.train import classifier_run, classifier_train, live
from pipelines.lab.train import lessons as measured
from pipelines.lab.train.augmentation import AUGMENTATIONS
from pipelines.lab.train.classifier_run import Settings
from pipelines.lab.train.imbalance import IMBALANCES

CACHE = Path("work/cache")
LIST = "Which films to learn from"
HOW = "How it is trained"


def _known(names: Iterable[str]) -> Callable[[str | None], str | None]:
    known = tuple(names)

    def check(word: str | None) -> str | None:
        return one_of(word, known)

    return check


TaskName = Annotated[
    str, typer.Option("--task", callback=_known(TASKS), help=f"What it answers: {', '.join(TASKS)}.")
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
    typer.Option(
        "--images", help="Folder of that table's pictures; may be given again.", rich_help_panel=LIST
    ),
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
        callback=_known(nets.KINDS),
        help=f"{', '.join(nets.KINDS)}; by default lite.",
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
        callback=_known(AUGMENTATIONS),
        help=f"{', '.join(AUGMENTATIONS)}; by default complex.",
        rich_help_panel=HOW,
    ),
]
Imbalance = Annotated[
    str | None,
    typer.Option(
        "--imbalance",
        callback=_known(IMBALANCES),
        help=f"{', '.join(IMBALANCES)}; by default none.",
        rich_help_panel=HOW,
    ),
]
EpochsHead = Annotated[
    int | None,
    typer.Option(
        "--epochs-head",
        min=0,
        help="Epochs in which only the head is trained; by default 2.",
        rich_help_panel=HOW,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        min=0,
        help="Epochs in which the whole network is trained; by default 20.",
        rich_help_panel=HOW,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option("--rate", min=1e-7, help="Highest learning rate; by default 0.001.", rich_help_panel=HOW),
]
TrunkShare = Annotated[
    float | None,
    typer.Option(
        "--trunk-share", min=0, max=1, help="The share of that rate that the trunk gets.", rich_help_panel=HOW
    ),
]
Batch = Annotated[
    int | None, typer.Option("--batch", min=2, help="Films in a step; by default 32.", rich_help_panel=HOW)
]
WeightDecay = Annotated[
    float | None,
    typer.Option(
        "--weight-decay", min=0, help="Weight decay of AdamW; by default 0.03.", rich_help_panel=HOW
    ),
]
Smoothing = Annotated[
    float | None,
    typer.Option(
        "--label-smoothing", min=0, max=0.5, help="How much the targets are smoothed.", rich_help_panel=HOW
    ),
]
ValidShare = Annotated[
    float | None,
    typer.Option(
        "--valid-share",
        min=0,
        max=0.5,
        help="The share of patients to stop early by; by default 0.15.",
        rich_help_panel=HOW,
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        "--patience",
        min=0,
        help="Stop after this many epochs without a better one; by default 8, 0 never.",
        rich_help_panel=HOW,
    ),
]
Init = Annotated[
    Path | None,
    typer.Option("--init", help="Weights to begin with: a model.safetensors.", rich_help_panel=HOW),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run; by default ./runs/TASK.")]
Cache = Annotated[Path, typer.Option("--cache", help="Folder for films made small once.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed and films give the same network.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Processor cores.")]
FindRate = Annotated[bool, typer.Option("--find-rate", help="Only look for a learning rate: rate.png.")]
Folds = Annotated[
    int, typer.Option("--folds", help="Cross-validate by patient, in this many parts; 0: train once.")
]


@dataclass(frozen=True, slots=True)
class List:
    """What is asked, and the films with the answers: one of a manifest, a table of NIH's, or folders."""

    task: TaskName
    films: Films = None
    nih: Nih = None
    images: Images = None
    folders: Folders = None
    min_age: MinAge = 10.0

    def __post_init__(self) -> None:
        if sum(source is not None for source in (self.films, self.nih, self.folders)) != 1:
            raise typer.BadParameter("give one of --films, --nih and --folders")
        if (self.nih is None) != (not self.images):
            raise typer.BadParameter("--nih and --images go together")

    @property
    def paths(self) -> list[Path]:
        """Everything that was named."""
        return [path for path in (self.films, self.nih, *(self.images or ()), self.folders) if path]

    def read(self) -> Listing:
        """The films with what is known of them."""
        if self.films:
            return samples.from_manifest(self.films, TASKS[self.task], self.min_age)
        if self.nih:
            return samples.from_nih(self.nih, self.images or [], TASKS[self.task], self.min_age)
        assert self.folders is not None
        return samples.from_folders(self.folders, TASKS[self.task])


@dataclass(frozen=True, slots=True)
class How:
    """How it is trained; an option that is not given is as in classifier_run.Settings."""

    network: Network = None
    px: Px = 224
    augmentation: Augmentation = None
    imbalance: Imbalance = None
    epochs_head: EpochsHead = None
    epochs: Epochs = None
    rate: Rate = None
    trunk_share: TrunkShare = None
    batch: Batch = None
    weight_decay: WeightDecay = None
    label_smoothing: Smoothing = None
    valid_share: ValidShare = None
    patience: Patience = None
    init: Init = None

    def settings(self, seed: int, threads: int) -> Settings:
        """The settings of the run."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given["epochs_all"] = given.pop("epochs")
        given["init"] = str(self.init) if self.init else None
        given |= {"seed": seed, "threads": threads}
        return Settings(**{key: value for key, value in given.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Run:
    """Where it is trained, and whether it is: or a rate looked for, or cross-validated."""

    out: Out = None
    cache: Cache = CACHE
    resume: Resume = False
    seed: Seed = 0
    threads: Threads = 1
    find_rate: FindRate = False
    folds: Folds = 0

    def __post_init__(self) -> None:
        if self.folds < 0 or self.folds == 1:
            raise typer.BadParameter("--folds: 2 or more, or 0")


def train(common: Common, listed: List, how: How, run: Run) -> None:
    """Train a classifier of chests on your own films; see docs/training.md."""
    with _usable([*listed.paths, *([how.init] if how.init else [])]):
        settings = how.settings(run.seed, run.threads)
        listing = listed.read()
        if not common.json:
            say(listing.told())
        loaded = _loaded(listing, how.px, run.cache, quiet=common.json)
        folder = run.out or Path("runs") / listed.task
        if run.find_rate:
            item = _rate_found(loaded, settings, folder)
        elif run.folds:
            item = _cross_validated(loaded, settings, folder, run.folds, quiet=common.json)
        else:
            item = _trained(loaded, settings, folder, run.resume, quiet=common.json)
    if common.json:
        print_json([{"task": listed.task, **item}])
    else:
        for key, value in item.items():
            say(f"{key}: {value}")


Learned = Annotated[
    int, typer.Option("--learned", min=1, help="Films to learn from: the same for every run.")
]
LessonsPx = Annotated[int, typer.Option("--px", min=32, max=512, help="Side of what the network sees.")]
LessonsEpochs = Annotated[int, typer.Option("--epochs", min=1, help="Epochs of every run.")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, max=5, help="Runs of each setting.")]
Processes = Annotated[int, typer.Option("--processes", min=1, help="Runs at a time, on one core each.")]
LessonsOut = Annotated[Path, typer.Option("--out", help="Folder of the runs; finished runs are kept.")]


@dataclass(frozen=True, slots=True)
class Lessons:
    """How the runs are made that are compared, and how many."""

    network: Network = "small"
    learned: Learned = 600
    px: LessonsPx = 96
    epochs: LessonsEpochs = 10
    rate: Rate = None
    init: Init = None
    seeds: Seeds = 3
    processes: Processes = 2
    out: LessonsOut = Path("runs/lessons")
    cache: Cache = CACHE

    def settings(self) -> Settings:
        """The settings that all runs share."""
        settings = replace(
            measured.QUICK,
            network=self.network or "small",
            px=self.px,
            epochs_all=self.epochs,
            init=str(self.init or ""),
        )
        return replace(settings, rate=self.rate) if self.rate else settings


def lessons(common: Common, listed: List, how: Lessons) -> None:
    """Measure what augmentation and the ways with imbalance do on your films: docs/lessons.md."""
    with _usable([*listed.paths, *([how.init] if how.init else [])]):
        listing = listed.read()
        _loaded(listing, how.px, how.cache, quiet=common.json)
        results = measured.run(
            listing,
            how.cache,
            how.out,
            settings=how.settings(),
            films=how.learned,
            seeds=range(how.seeds),
            processes=how.processes,
            told=None if common.json else lambda run: say(measured.in_a_line(run)),
        )
    if common.json:
        print_json(measured.summarised(how.out))
    else:
        say(measured.table(how.out))
        say(f"tables: {results.parent}")


def _loaded(listing: Listing, px: int, cache: Path, *, quiet: bool) -> Samples:
    with Progress(console=Console(stderr=True), disable=quiet, transient=True) as bar:
        task = bar.add_task("films", total=len(listing.rows))
        return samples.load(listing, px, cache, lambda done, _: bar.update(task, completed=done))


def _trained(loaded: Samples, settings: Settings, out: Path, resume: bool, *, quiet: bool) -> dict[str, Any]:
    weights = classifier_train.train(loaded, loaded.task, settings, out, resume=resume, quiet=quiet)
    classifier_run.bundled(out, out / "bundle")
    train_json = json.loads((out / classifier_run.TRAIN).read_text())
    return {
        "weights": weights,
        "bundle": out / "bundle",
        "scores": classifier_ask.score(out, loaded),
        "labels": train_json["labels"],
        "not_trained": train_json["not_trained"],
        "films": train_json["data"]["learned"]["films"],
        "valid_auc": train_json["valid_auc"],
        "picture": out / "progress.png",
    }


def _rate_found(loaded: Samples, settings: Settings, out: Path) -> dict[str, Any]:
    curve = classifier_train.find_rate(loaded, settings)
    live.draw_rates(out / "rate.png", curve.rates, curve.losses, curve.suggestion)
    return {"rate": float(f"{curve.suggestion:.2g}"), "picture": out / "rate.png"}


def _cross_validated(
    loaded: Samples, settings: Settings, out: Path, folds: int, *, quiet: bool
) -> dict[str, Any]:
    return {"scores": classifier_ask.cross_validate(loaded, loaded.task, settings, out, folds, quiet=quiet)}


@contextmanager
def _usable(paths: list[Path]) -> Iterator[None]:
    """
    Raises:
        FilmgateError: a path is not there, or what is there cannot be used.
    """
    need_paths(paths)
    try:
        yield
    except (ValueError, OSError) as error:
        raise FilmgateError(f"{error}. Look at the films and options that were named.") from error
