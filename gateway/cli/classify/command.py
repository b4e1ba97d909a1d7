"""The command and its options; torch is loaded once they are known to be usable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.lazy import attribute
from gateway.cli.options import Common, one_of
from gateway.cli.quiet import quiet_logs
from gateway.settings import load

DEFAULT = "chest14"
MAX_MPX = 400  # models.pictures.MOST_PX; models.pictures, which knows both, is not loaded for --help
POLARITIES = ("min-is-black", "min-is-white")


def _polarity(word: str | None) -> str | None:
    return one_of(word, POLARITIES)


Paths = Annotated[
    list[Path], typer.Argument(help="DICOM, PNG, JPEG or TIFF files, or folders of them.", exists=True)
]


@dataclass(frozen=True, slots=True)
class Reading:
    """How films are read."""

    model: Annotated[
        str, typer.Option("--model", help="A classifier that ships, or the folder of a bundle.")
    ] = DEFAULT
    heatmap: Annotated[
        Path | None,
        typer.Option("--heatmap", help="PNG of film, heat and conditions; for several films, a folder."),
    ] = None
    no_gates: Annotated[
        bool, typer.Option("--no-gates", help="Read every film as it is, whatever gates and card say of it.")
    ] = False
    threads: Annotated[int, typer.Option("--threads", min=1, help="Processor cores for one film.")] = 1


@dataclass(frozen=True, slots=True)
class Pictures:
    """What is known of picture files, which say little themselves."""

    bits: Annotated[
        int | None,
        typer.Option(
            "--bits",
            min=9,
            max=32,
            help="How many bits pictures of 16 or 32 bits use; inferred unless given.",
        ),
    ] = None
    polarity: Annotated[
        str | None,
        typer.Option(
            "--polarity",
            callback=_polarity,
            help="The polarity of pictures, whatever they say: min-is-black or min-is-white.",
        ),
    ] = None
    max_mpx: Annotated[
        int, typer.Option("--max-mpx", min=1, help="Largest picture that is read, in millions of pixels.")
    ] = MAX_MPX


def classify(common: Common, paths: Paths, reading: Reading, pictures: Pictures) -> None:
    """Read films with a classifier; exit code 1 when one was not read. Not for diagnosis."""
    settings = load(common.config, common.state)
    quiet_logs()
    read = attribute("gateway.cli.classify.desk:read_all")
    if not read(settings, paths, reading, pictures, json=common.json):
        raise typer.Exit(1)
