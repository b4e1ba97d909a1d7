"""`filmgate labels export`: what people said of films, as training and calibration take it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from gateway.bootstrap import Shell
from gateway.cli.options import Common, one_of
from gateway.cli.output import counted, print_json, say
from gateway.cli.shell import open_shell
from gateway.cli.tables import progress
from gateway.errors import DecodeError, FilmgateError, NotFound, NoTime
from gateway.ledger.labelling.manifest import TERMS, Line, as_csv, manifest
from gateway.sandbox.decoder import Decoder
from gateway.settings import load

WHITE = 65_535


def _terms(word: str) -> str:
    return one_of(word, TERMS) or ""


Out = Annotated[Path, typer.Option("--out", help="Folder of the export; it is made, or must be empty.")]
Pictures = Annotated[
    bool,
    typer.Option("--pictures", help="Also write the films as PNG: as displayed, put right."),
]
Site = Annotated[str, typer.Option("--site", help="What the hospital is called in the manifest.")]
Terms = Annotated[
    str,
    typer.Option("--terms", callback=_terms, help="Terms of the films, for cards: open, nc or unclear."),
]


def export(
    common: Common, out: Out, pictures: Pictures = False, site: Site = "site", terms: Terms = "unclear"
) -> None:
    """Write what people said of films as the manifest that `train` and `calibrate --site` take.

    Of films whose view is known and about which people agree. Patients are numbered by a key of this gateway.
    """
    _require_empty(out)
    with open_shell(load(common.config, common.state)) as shell:
        agreed, disagreed = shell.ledger.labelled()
        whole = manifest(agreed, disagreed, site=site, terms=terms)
        if not whole.lines:
            raise NotFound(
                f"there is no film whose view is known ({whole.without_view} have other labels, on "
                f"{disagreed} people disagree). Nothing was written. Label films on the console's pages."
            )
        unread: list[int] = []
        rows = list(_written(shell, whole.lines, out, unread) if pictures else _unwritten(whole.lines))
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "manifest.csv").write_text(as_csv(row for _, row in rows), encoding="utf-8")
    except OSError as error:
        raise FilmgateError(f"{out}: cannot be written: {error.strerror}") from error
    if common.json:
        print_json({"film_id": line.film.film_id, **row} for line, row in rows)
        return
    say(f"{counted(len(rows), 'film')} in {out / 'manifest.csv'}")
    left_out = (
        (whole.without_view, "without a view"),
        (disagreed, "on which people disagree"),
        (len(unread), "that could not be decoded"),
    )
    if said := ", ".join(f"{count} {why}" for count, why in left_out if count):
        say(f"left out: {said}")
    if not pictures:
        say("The pictures it names are written by --pictures.")


def _require_empty(out: Path) -> None:
    """
    Raises:
        FilmgateError: something is there, or it is no folder.
    """
    try:
        filled = out.exists() and any(out.iterdir())
    except OSError as error:
        raise FilmgateError(f"{out}: {error.strerror}. Nothing was written. Name a folder.") from error
    if filled:
        raise FilmgateError(f"{out} is not empty. Nothing was written. Name a new folder.")


def _unwritten(lines: tuple[Line, ...]) -> Iterator[tuple[Line, dict[str, str]]]:
    return ((line, line.cells()) for line in lines)


def _written(
    shell: Shell, lines: tuple[Line, ...], out: Path, unread: list[int]
) -> Iterator[tuple[Line, dict[str, str]]]:
    """Each film as a picture; those that have none any more are added to `unread`."""
    with shell.decoder() as decoder, progress("writing", shown=len(lines) > 1) as (_, advance):
        for number, line in enumerate(lines, 1):
            try:
                yield line, line.cells(_picture(shell, decoder, line, out / line.file))
            except (DecodeError, NoTime, FileNotFoundError):
                unread.append(line.film.film_id)
            advance(number, len(lines))


def _picture(shell: Shell, decoder: Decoder, line: Line, target: Path) -> tuple[int, int]:
    """Write one film, put right, as the gates see it; its rows and columns."""
    pixels = decoder.film(shell.store.path(line.film.digest)).pixels
    pixels = np.rot90(pixels, line.turned // 90)  # anticlockwise
    pixels = 1 - pixels if line.inverted else pixels
    pixels = np.fliplr(pixels) if line.flipped else pixels
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(pixels * WHITE).astype(np.uint16)).save(target, format="PNG")
    rows, columns = pixels.shape
    return rows, columns
