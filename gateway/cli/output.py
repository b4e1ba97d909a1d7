"""How results and errors are printed: tables for people, one JSON array for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

_AT_ONCE = 100  # lines in one write: one after the other costs more than to look them up

STYLES = {
    "pass": "green",
    "correct": "cyan",
    "withhold": "yellow",
    "quarantine": "red",
    "undecided": "dim",
    "delivered": "green",
    "failed": "red",
    "open": "red",
    "ok": "green",
    "warning": "yellow",
    "error": "red",
}


def console(*, stderr: bool = False) -> Console:
    """A rich console; plain text when the output is no terminal."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)


def say(text: str) -> None:
    """One line on standard output, at once."""
    typer.echo(text)
    sys.stdout.flush()


def complain(error: Exception, more: str = "") -> None:
    """An error on standard error: what happened, what it means for the films, what to do."""
    typer.echo(f"filmgate: {clean(str(error))}" + (f"\n{more}" if more else ""), err=True)


def print_json(items: Iterable[Mapping[str, Any]]) -> None:
    """One JSON array, an item a line."""
    print_lines(json.dumps(item, default=_plain, ensure_ascii=False) for item in items)


def print_lines(items: Iterable[str]) -> None:
    """One JSON array of items that are JSON already, a line each; printed as they come, however many."""
    lines, before = iter(items), "[\n"
    while some := list(islice(lines, _AT_ONCE)):
        sys.stdout.write(before + ",\n".join(some))
        before = ",\n"
    say("[]" if before == "[\n" else "\n]")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """A table; a cell whose text is a known word gets its colour."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold", pad_edge=False
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        texts = [clean(str(cell)) for cell in row]
        table.add_row(*(Text(text, style=STYLES.get(text.partition(" ")[0], "")) for text in texts))
    target = console()
    if not target.is_terminal:
        target.width = max(target.width, 200)  # a pipe has no width, and wrapped rows cannot be searched
    with target.capture() as drawn:
        target.print(table)
    say("\n".join(line.rstrip() for line in drawn.get().strip("\n").splitlines()))


def clean(text: str) -> str:
    """Without control characters: UIDs and texts come from the network, and terminals obey them."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


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
