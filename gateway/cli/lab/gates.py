"""`filmgate train | rounds | calibrate | evaluate`: gates from labelled films. These load torch, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.commands import GATES as NAMES
from gateway.cli.options import Common, one_of
from gateway.cli.output import print_json, say
from gateway.cli.tables import print_table
from gateway.errors import FilmgateError, NotFound
from models.bundle import BUNDLES as SHIPPED
from models.bundle import BundleError
from pipelines.lab.ask import chain, gate_ask, site
from pipelines.lab.films.data import ROUNDS
from pipelines.lab.measure import calibrate as thresholds
from pipelines.lab.measure import scores
from pipelines.lab.measure.calibrate import CannotPromise, Chosen
from pipelines.lab.report import gate_report
from pipelines.lab.train import gate_train

CHAIN = chain.CHAIN  # all gates and the policy together: nothing to train, but asked and reported like a gate
TERMS = ("all", "open")
CACHE = Path("work/cache")
BUNDLES = Path("bundles")
SITE_BUNDLES = Path("site-bundles")
RUNS = Path("runs")


def _name_or_chain(name: str) -> str | None:
    return one_of(name, (*NAMES, CHAIN))


def _round(name: str) -> str | None:
    return one_of(name, tuple(ROUNDS)) if name else name


def _terms(terms: str) -> str | None:
    return one_of(terms, TERMS)


NameOrChain = Annotated[
    str, typer.Argument(callback=_name_or_chain, help=f"Which gate: {', '.join(NAMES)}; or {CHAIN}, for all.")
]
Bundle = Annotated[str, typer.Argument(help="Which gate: the name of a bundle.")]
Films = Annotated[Path, typer.Option("--films", help="Folder of labelled films, with manifest.csv in it.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the bundle; by default ./bundles/NAME.")]
Cache = Annotated[Path, typer.Option("--cache", help="Folder for films made small once.")]
Bundles = Annotated[Path, typer.Option("--bundles", help="Folder of bundles.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of the rounds: RUNS/ROUND/NAME.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed and films give the same network.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Batches; else as the recipe says.")]
Threads = Annotated[
    int, typer.Option("--threads", min=1, help="Processor cores; another count, another net.")
]
LeaveOut = Annotated[
    str,
    typer.Option("--leave-out", callback=_round, help=f"Never see this round's sites: {', '.join(ROUNDS)}."),
]
Terms = Annotated[
    str, typer.Option("--terms", callback=_terms, help="`open`: only films of open terms; `all`: every film.")
]
Scores = Annotated[
    list[Path] | None,
    typer.Option("--scores", help="A table of scores, or the folder of the rounds; may be given again."),
]
Site = Annotated[
    Path | None, typer.Option("--site", help="Folder of a hospital's own clean films: DICOM or pictures.")
]
SomeBundles = Annotated[
    Path | None,
    typer.Option("--bundles", help="Folder of bundles; ./bundles, or with --site those that ship."),
]
SiteOut = Annotated[Path, typer.Option("--out", help="Where the bundles with a hospital's thresholds go.")]
MayLose = Annotated[
    float | None,
    typer.Option("--may-lose", min=0.001, max=50, help="Percent of clean films; else the gate's budget."),
]
Page = Annotated[Path | None, typer.Option("--out", help="Folder of the report; by default ./report/NAME.")]
Probes = Annotated[
    bool, typer.Option("--probes", help="Also probe for shortcuts and compare with rules; takes minutes.")
]


@dataclass(frozen=True, slots=True)
class Training:
    """What a gate is trained on, how, and where its bundle goes."""

    films: Films
    out: Out = None
    cache: Cache = CACHE
    leave_out: LeaveOut = ""
    terms: Terms = "all"
    resume: Resume = False
    seed: Seed = 0
    steps: Steps = None
    threads: Threads = 1


@dataclass(frozen=True, slots=True)
class Calibration:
    """On which films thresholds are chosen, and whose bundles get them."""

    scores: Scores = None
    site: Site = None
    bundles: SomeBundles = None
    out: SiteOut = SITE_BUNDLES
    may_lose: MayLose = None

    def __post_init__(self) -> None:
        if bool(self.scores) == bool(self.site):
            raise typer.BadParameter("give either --scores or --site")
        if self.may_lose is not None and not self.site:
            raise typer.BadParameter("--may-lose goes with --site; what ships keeps the budget")


@dataclass(frozen=True, slots=True)
class Reporting:
    """Which rounds are reported, where, and with what beside."""

    films: Films
    runs: Runs = RUNS
    out: Page = None
    bundles: Bundles = BUNDLES
    cache: Cache = CACHE
    probes: Probes = False


def train(name: str, common: Common, training: Training) -> None:
    """Train a gate; the result is a bundle without thresholds, which `calibrate` chooses."""
    with _usable(training.films):
        training.cache.mkdir(parents=True, exist_ok=True)
        bundle = gate_train.train(
            name,
            training.films,
            training.out or BUNDLES / name,
            training.cache,
            without=training.leave_out,
            terms=training.terms,
            resume=training.resume,
            seed=training.seed,
            steps=training.steps,
            threads=training.threads,
        )
    if common.json:
        print_json([{"name": name, "bundle": bundle}])
    else:
        say(f"bundle: {bundle}   next: filmgate rounds {name} --films {training.films}")


def rounds(common: Common, name: NameOrChain, films: Films, runs: Runs = RUNS, cache: Cache = CACHE) -> None:
    """Train a gate once without each site and ask it about the films it never saw; goes on after a stop."""
    with _usable(films):
        cache.mkdir(parents=True, exist_ok=True)
        tables = []
        for table in _asked(name, films, runs, cache):
            tables.append(table)
            if not common.json:
                say(str(table))
    if common.json:
        print_json(
            {"name": name, "round": key, "scores": path} for key, path in zip(ROUNDS, tables, strict=True)
        )
    else:
        first = "" if name == CHAIN else f"filmgate calibrate {name} --scores {runs}, then "
        say(f"next: {first}filmgate evaluate {name} --films {films} --runs {runs}")


def calibrate(common: Common, name: Bundle, calibration: Calibration) -> None:
    """Choose a gate's thresholds, from its rounds or on a hospital's own films; see docs/calibration.md."""
    with _usable(calibration.site), _readable():
        if calibration.site:
            chosen, folder = _on_site(name, calibration.site, calibration)
        else:
            folder = (calibration.bundles or BUNDLES) / name
            chosen = thresholds.calibrate(folder, scores.named_tables(calibration.scores or [], name))
    if common.json:
        item = {"name": name, "bundle": folder, "thresholds": chosen.thresholds(name), **_rates(chosen)}
        print_json([item])
    else:
        _show(name, chosen)
        say(f"written into {folder}")


def evaluate(name: str, common: Common, reporting: Reporting) -> None:
    """Report what a gate's rounds say: a page with tables, curves, and every error to look at."""
    with _usable(reporting.films), _readable():
        reporting.cache.mkdir(parents=True, exist_ok=True)
        page = gate_report.evaluate_gate(
            name,
            reporting.films,
            reporting.runs,
            reporting.out or Path("report") / name,
            reporting.cache,
            reporting.bundles,
            with_probes=reporting.probes,
        )
    if common.json:
        print_json([{"name": name, "page": page}])
    else:
        say(f"report: {page}")


def _asked(name: str, films: Path, runs: Path, cache: Path) -> Iterator[Path]:
    """The table of each round, as it is done."""
    if name == CHAIN:
        with _readable():
            chain.freeze(runs)
    for round_ in ROUNDS:
        if name == CHAIN:
            yield chain.score_chain(films, runs, round_)
            continue
        for need in gate_ask.NEEDS[name]:  # a gate is asked with the pose networks of its own round
            gate_train.train_round(need, films, runs, round_, cache)
        yield gate_ask.score_round(name, films, runs, round_)


def _on_site(name: str, films: Path, calibration: Calibration) -> tuple[Chosen, Path]:
    one_of(name, NAMES)
    share = calibration.may_lose / 100 if calibration.may_lose else None
    bundles = calibration.bundles or SHIPPED
    chosen, seen = site.calibrate_site(name, films, bundles, calibration.out, share)
    if seen.unread:
        first = seen.unread[0]
        typer.echo(f"{len(seen.unread)} files could not be read, the first is {first}", err=True)
    return chosen, calibration.out / name


def _show(name: str, chosen: Chosen) -> None:
    print_table(
        ("threshold", "value"), ((key, f"{value:.4f}") for key, value in chosen.thresholds(name).items())
    )
    rates = {"clean patients lost": chosen.lost, "clean patients called faulty": chosen.wrong}
    if chosen.missed:
        rates["faulty patients missed"] = chosen.missed
    rows = [(what, rate.text()) for what, rate in rates.items()]
    if not isnan(chosen.caught):
        rows.append(("faulty patients, every film called faulty", f"{chosen.caught:.2%}"))
    print_table(("rate", "at 95 % confidence"), rows)


def _rates(chosen: Chosen) -> dict[str, object]:
    return {
        "lost": chosen.lost.evidence(),
        "called_faulty": chosen.wrong.evidence(),
        "missed": chosen.missed.evidence() if chosen.missed else None,
    }


@contextmanager
def _usable(films: Path | None) -> Iterator[None]:
    """
    Raises:
        FilmgateError: there are no films, or a bundle that is there cannot be used.
    """
    if films and not films.exists():
        raise NotFound(f"there are no films at {films}. Nothing was done. Name their folder.")
    try:
        yield
    except BundleError as error:
        raise FilmgateError(f"{error}. Nothing was changed. Name the folder of bundles.") from error


@contextmanager
def _readable() -> Iterator[None]:
    """
    Raises:
        FilmgateError: a table, a manifest or a folder cannot be used, or the films cannot carry the promise.
    """
    try:
        yield
    except CannotPromise as error:
        raise FilmgateError(f"{error}. Nothing was changed.") from error
    except (ValueError, OSError) as error:
        raise FilmgateError(f"{error}. Look at the folders and tables that were named.") from error
