"""The options that every command has, and what they give: Settings, a Ledger, a Shell."""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.errors import FilmgateError, NotFound
from gateway.settings import LogSettings, Settings, load

if TYPE_CHECKING:
    from gateway.bootstrap import Shell
    from gateway.ledger import Ledger

Config = Annotated[
    Path | None, typer.Option("--config", help="Configuration file; else $FILMGATE_CONFIG, ./filmgate.yaml.")
]
State = Annotated[
    Path | None, typer.Option("--state", help="Folder for films, ledger and sockets; else as configured.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON array on standard output, an object an item.")]
By = Annotated[str, typer.Option("--by", help="Who decides; else your name on this machine.")]
Note = Annotated[str, typer.Option("--note", help="Why, in your words; it is kept with the decision.")]
FilmId = Annotated[str, typer.Argument(help="SOP Instance UID, or the film's id in `films list`.")]


def person(by: str) -> str:
    """The name under which a decision is kept."""
    return by.strip() or getpass.getuser()


def need_training(what: str, paths: Iterable[Path]) -> None:
    """
    Raises:
        FilmgateError: the extra `train` is not installed.
        NotFound: one of the paths is not there.
    """
    if any(find_spec(module) is None for module in ("scipy", "sklearn", "matplotlib")):
        raise FilmgateError(f"{what} needs more packages. Nothing was done. pip install 'filmgate[train]'.")
    for path in paths:
        if not path.exists():
            raise NotFound(f"there is no {path}. Nothing was done. Name what is there.")


@contextmanager
def open_ledger(config: Path | None, state: Path | None) -> Iterator[Ledger]:
    """The ledger alone: what listing needs, without the network's libraries."""
    from gateway.ledger import Ledger

    settings = load(config, state)
    if not settings.ledger.url and not (settings.state / "ledger.sqlite").exists():
        raise NotFound(
            f"there is no ledger in {settings.state}. Name the gateway's state folder with --state."
        )
    ledger = Ledger.open(settings.ledger_url, busy_timeout_s=settings.ledger.busy_timeout_s)
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def open_shell(settings: Settings) -> Iterator[Shell]:
    """Ledger, store, destinations: everything."""
    from gateway.bootstrap import Shell

    quiet_logs()

    shell = Shell.open(settings)
    try:
        yield shell
    finally:
        shell.close()


def quiet_logs(*, errors_alone: bool = False) -> None:
    """Warnings (or errors) alone, on standard error, unless the process set its logs up otherwise.

    Standard output is for results.
    """
    import structlog

    from gateway import logs

    if not structlog.is_configured():
        logs.configure(LogSettings(level="error" if errors_alone else "warning"))
