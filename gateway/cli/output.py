"""How results and errors are printed: lists for people, one JSON array for programs."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import typer

from gateway.errors import FilmgateError

_AT_ONCE = 100  # lines in one write: one after the other costs more than to look them up
NARROWEST = 60  # columns of a terminal; below that lines break as the terminal breaks them
GAP = "  "

COLOURS = {
    "pass": typer.colors.GREEN,
    "to correct": typer.colors.CYAN,
    "withhold": typer.colors.YELLOW,
    "quarantine": typer.colors.RED,
    "delivered": typer.colors.GREEN,
    "failed": typer.colors.RED,
    "open": typer.colors.RED,
    "ok": typer.colors.GREEN,
    "warning": typer.colors.YELLOW,
    "error": typer.colors.RED,
}


def say(text: str) -> None:
    """Lines on standard output, at once.

    Raises:
        FilmgateError: they cannot be written.
    """
    with _written():
        typer.echo(text)
        sys.stdout.flush()


def complain(error: Exception, more: str = "") -> None:
    """An error on standard error: what happened, what it means for the films, what to do."""
    typer.echo(f"filmgate: {clean(str(error))}" + (f"\n{more}" if more else ""), err=True)


def print_json(items: Iterable[Mapping[str, Any]]) -> None:
    """One JSON array, an item a line."""
    print_lines(json.dumps(item, default=_plain, ensure_ascii=False) for item in items)


def print_lines(items: Iterable[str]) -> None:
    """One JSON array of items that are JSON already, a line each; printed as they come, however many.

    Raises:
        FilmgateError: they cannot be written.
    """
    lines, before = iter(items), "[\n"
    while some := list(islice(lines, _AT_ONCE)):
        with _written():
            sys.stdout.write(before + ",\n".join(some))
        before = ",\n"
    say("[]" if before == "[\n" else "\n]")


@contextmanager
def _written() -> Iterator[None]:
    """
    Raises:
        FilmgateError: standard output cannot be written; what is left in it is given up.
        BrokenPipeError: its reader has gone, which is no error of anybody's.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        _give_up_output()
        raise FilmgateError(
            f"the output cannot be written: {error.strerror}. What was printed so far is incomplete; what "
            "the command itself did stands. Make room, or send the output elsewhere."
        ) from error


def _give_up_output() -> None:
    """Lead standard output nowhere, or Python complains once more about what is left in it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def print_list(columns: Sequence[str], rows: Iterable[Sequence[object]], *, below: int = 0) -> None:
    """Rows under their columns.

    On a terminal the last `below` cells of a row have lines of their own below it, so that a UID stands there
    whole; elsewhere each row is one line, however long, that can be searched.
    """
    cells = [[clean(str(cell)) for cell in row] for row in rows]
    terminal = sys.stdout.isatty()
    count = len(columns) - (below if terminal else 0)
    head = list(columns)
    widths = [max(len(row[place]) for row in [head, *cells]) for place in range(count)]
    lines = [_line(head[:count], widths)]
    width = max(NARROWEST, shutil.get_terminal_size().columns)
    for row in cells:
        lines += _wrapped(row[:count], widths, width) if terminal else [_line(row[:count], widths)]
        indent = " " * (widths[0] + len(GAP))
        for text in filter(None, row[count:]):
            lines += textwrap.wrap(
                text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
            )
    say("\n".join(lines))


def _line(row: Sequence[str], widths: Sequence[int], *, colours: bool = False) -> str:
    padded = (text.ljust(width) for text, width in zip(row, widths, strict=True))
    shown = (
        typer.style(cell, COLOURS.get(cell.strip())) if colours and cell.strip() in COLOURS else cell
        for cell in padded
    )
    return GAP.join(shown).rstrip()


def _wrapped(row: Sequence[str], widths: Sequence[int], width: int) -> list[str]:
    """A row whose last cell goes on below itself where the line ends."""
    before = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
    first, *more = textwrap.wrap(row[-1], max(width - before, 20), break_on_hyphens=False) or [""]
    colours = "NO_COLOR" not in os.environ
    line = _line([*row[:-1], first], [*widths[:-1], len(first)], colours=colours)
    return [line, *(" " * before + text for text in more)]


def say_wrapped(text: str, indent: str = "") -> None:
    """A sentence that goes on, indented, in the next line of a terminal; elsewhere it is one line."""
    if not sys.stdout.isatty():
        say(text)
        return
    width = max(NARROWEST, shutil.get_terminal_size().columns)
    say(textwrap.fill(text, width, subsequent_indent=indent, break_on_hyphens=False))


def clean(text: str) -> str:
    """Without control characters: UIDs and texts come from the network, and terminals obey them."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def counted(count: int, thing: str) -> str:
    """`1 film`, `2 films`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def when(at: datetime | None) -> str:
    """Local time, to the second."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (Path, bytes)):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be printed as JSON")
