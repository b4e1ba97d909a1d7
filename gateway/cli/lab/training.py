"""`filmgate train | rounds | calibrate | evaluate`: gates from labelled films. These load torch, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import options
from gateway.cli.output import print_json, say
from gateway.cli.tables import print_table
from gateway.errors import FilmgateError, NotFound

if TYPE_CHECKING:
    from pipelines.lab.measure.calibrate import Found

NAMES = ("anatomy", "inversion", "rotation", "mirror", "lungs")
CHAIN = "chain"  # all gates and the policy together: nothing to train, but asked and reported like a gate
ROUNDS = ("nih", "web", "kermany")  # pipelines.lab.films.data.ROUNDS, which is not loaded for --help
TERMS = ("all", "open")


def _name(name: str) -> str:
    return _one_of(name, NAMES)


def _name_or_chain(name: str) -> str:
    return _one_of(name, (*NAMES, CHAIN))


def _round(name: str) -> str:
    return _one_of(name, ROUNDS) if name else name


def _terms(terms: str) -> str:
    return _one_of(terms, TERMS)


def _one_of(word: str, known: tuple[str, ...]) -> str:
    if word not in known:
        raise typer.BadParameter(f"one of {', '.join(known)}")
    return word


Name = Annotated[str, typer.Argument(callback=_name, help=f"Which gate: {', '.join(NAMES)}.")]
NameOrChain = Annotated[
    str, typer.Argument(callback=_name_or_chain, help=f"Which gate: {', '.join(NAMES)}; or {CHAIN}, for all.")
]
Bundle = Annotated[str, typer.Argument(help="Which gate: the name of a bundle.")]
Films = Annotated[Path, typer.Option("--films", help="Folder of labelled films, with manifest.csv in it.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the bundle; ./bundles/NAME unless told.")]
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
Page = Annotated[Path | None, typer.Option("--out", help="Folder of the report; ./report/NAME unless told.")]
Probes = Annotated[
    bool, typer.Option("--probes", help="Probe for shortcuts and compare with rules; minutes.")
]

CACHE = Path("work/cache")
BUNDLES = Path("bundles")
SITE_BUNDLES = Path("site-bundles")
RUNS = Path("runs")


def train(
    name: Name,
    films: Films,
    out: Out = None,
    cache: Cache = CACHE,
    leave_out: LeaveOut = "",
    terms: Terms = "all",
    resume: Resume = False,
    seed: Seed = 0,
    steps: Steps = None,
    threads: Threads = 1,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Train a gate; the result is a bundle without thresholds, which `calibrate` chooses."""
    del config, state
    with _ready_to_train(films):
        from pipelines.lab.train import gate_train

        cache.mkdir(parents=True, exist_ok=True)
        bundle = gate_train.train(
            name,
            films,
            out or BUNDLES / name,
            cache,
            without=leave_out,
            terms=terms,
            resume=resume,
            seed=seed,
            steps=steps,
            threads=threads,
        )
    if json:
        print_json([{"name": name, "bundle": bundle}])
    else:
        say(f"bundle: {bundle}   next: filmgate rounds {name} --films {films}")


def rounds(
    name: NameOrChain,
    films: Films,
    runs: Runs = RUNS,
    cache: Cache = CACHE,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Train a gate once without each site and ask it about the films it never saw; goes on after a stop."""
    del config, state
    with _ready_to_train(films):
        cache.mkdir(parents=True, exist_ok=True)
        tables = []
        for table in _asked(name, films, runs, cache):
            tables.append(table)
            if not json:
                say(str(table))
    if json:
        print_json(
            {"name": name, "round": key, "scores": path} for key, path in zip(ROUNDS, tables, strict=True)
        )
    else:
        first = "" if name == CHAIN else f"filmgate calibrate {name} --scores {runs}, then "
        say(f"next: {first}filmgate evaluate {name} --films {films} --runs {runs}")


def calibrate(
    name: Bundle,
    scores: Scores = None,
    site: Site = None,
    bundles: SomeBundles = None,
    out: SiteOut = SITE_BUNDLES,
    may_lose: MayLose = None,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Choose a gate's thresholds, from its rounds or on a hospital's own films; see docs/calibration.md."""
    del config, state
    if bool(scores) == bool(site):
        raise typer.BadParameter("give either --scores or --site")
    if may_lose is not None and not site:
        raise typer.BadParameter("--may-lose goes with --site; what ships keeps the budget")
    with _ready_to_train(site), _readable():
        if site:
            found, where = _on_site(name, site, bundles, out, may_lose)
        else:
            found, where = _from_scores(name, scores or [], bundles or BUNDLES)
    if json:
        print_json([{"name": name, "bundle": where, "thresholds": found.thresholds(name), **_rates(found)}])
    else:
        _show(name, found)
        say(f"written into {where}")


def evaluate(
    name: NameOrChain,
    films: Films,
    runs: Runs = RUNS,
    out: Page = None,
    bundles: Bundles = BUNDLES,
    cache: Cache = CACHE,
    probes: Probes = False,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Report what a gate's rounds say: a page with tables, curves, and every error to look at."""
    del config, state
    with _ready_to_train(films), _readable():
        from pipelines.lab.report import gate_report

        cache.mkdir(parents=True, exist_ok=True)
        folder = out or Path("report") / name
        page = gate_report.evaluate_gate(name, films, runs, folder, cache, bundles, with_probes=probes)
    if json:
        print_json([{"name": name, "page": page}])
    else:
        say(f"report: {page}")


def _asked(name: str, films: Path, runs: Path, cache: Path) -> Iterator[Path]:
    """The table of each round, as it is done."""
    from pipelines.lab.ask import chain, gate_ask
    from pipelines.lab.train import gate_train

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


def _from_scores(name: str, tables: list[Path], bundles: Path) -> tuple[Found, Path]:
    from pipelines.lab.measure import calibrate as thresholds

    folder = bundles / name
    return thresholds.calibrate(folder, tables), folder


def _on_site(
    name: str, films: Path, bundles: Path | None, out: Path, may_lose: float | None
) -> tuple[Found, Path]:
    from models.bundle import BUNDLES as SHIPPED
    from pipelines.lab.ask import site

    _name(name)
    share = may_lose / 100 if may_lose else None
    found, seen = site.calibrate_site(name, films, bundles or SHIPPED, out, share)
    if seen.unread:
        typer.echo(f"{len(seen.unread)} files could not be read, the first is {seen.unread[0]}", err=True)
    return found, out / name


def _show(name: str, found: Found) -> None:
    print_table(
        ("threshold", "value"), ((key, f"{value:.4f}") for key, value in found.thresholds(name).items())
    )
    rates = {"clean patients lost": found.lost, "clean patients called faulty": found.wrong}
    if found.missed:
        rates["faulty patients missed"] = found.missed
    told = [(what, rate.text()) for what, rate in rates.items()]
    if not isnan(found.caught):
        told.append(("faulty patients, every film called faulty", f"{found.caught:.2%}"))
    print_table(("rate", "at 95 % confidence"), told)


def _rates(found: Found) -> dict[str, object]:
    return {
        "lost": found.lost.evidence(),
        "called_faulty": found.wrong.evidence(),
        "missed": found.missed.evidence() if found.missed else None,
    }


@contextmanager
def _ready_to_train(films: Path | None) -> Iterator[None]:
    """
    Raises:
        FilmgateError: the extra is not installed, there are no films, or what is there cannot be used.
    """
    options.need_training("training", ())
    if films and not films.exists():
        raise NotFound(f"there are no films at {films}. Nothing was done. Name their folder.")
    from models.bundle import BundleError

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
    from pipelines.lab.measure.calibrate import CannotPromise

    try:
        yield
    except CannotPromise as error:
        raise FilmgateError(f"{error}. Nothing was changed.") from error
    except (ValueError, OSError) as error:
        raise FilmgateError(f"{error}. Look at the folders and tables that were named.") from error
