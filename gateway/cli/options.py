"""Options that several commands share; `gateway.cli.lazy` gives each command the fields of these values."""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gateway.errors import NotFound

Config = Annotated[
    Path | None, typer.Option("--config", help="Configuration file; else $FILMGATE_CONFIG, ./filmgate.yaml.")
]
State = Annotated[
    Path | None, typer.Option("--state", help="Folder for films, ledger and sockets; else as configured.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON array on standard output, one object per item.")
]
By = Annotated[str, typer.Option("--by", help="Who decides; else your user name on this machine.")]
Note = Annotated[str, typer.Option("--note", help="Why, in your own words; kept with the decision.")]
FilmId = Annotated[str, typer.Argument(help="SOP Instance UID, or the film's id in `films list`.")]


@dataclass(frozen=True, slots=True)
class Common:
    """What every command takes."""

    json: Json = False
    config: Config = None
    state: State = None


@dataclass(frozen=True, slots=True)
class Signed:
    """By whom and why."""

    by: By = ""
    note: Note = ""

    @property
    def person(self) -> str:
        """The name under which a decision is kept."""
        return person(self.by)


def person(by: str) -> str:
    """The name that was given, or that of this machine's user."""
    return by.strip() or getpass.getuser()


def one_of(word: str | None, known: tuple[str, ...]) -> str | None:
    """The word itself.

    Raises:
        typer.BadParameter: it is none of the known ones.
    """
    if word is not None and word not in known:
        raise typer.BadParameter(f"must be one of {', '.join(known)}")
    return word


def need_paths(paths: Iterable[Path]) -> None:
    """
    Raises:
        NotFound: one of the paths is not there.
    """
    for path in paths:
        if not path.exists():
            raise NotFound(f"there is no {path}. Nothing was done. Name what is there.")
