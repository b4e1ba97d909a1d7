"""Tables and progress bars, drawn by rich: what lists and JSON never wait for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from gateway.cli.output import COLOURS, clean, say

NO_TERMINAL = 200  # columns where output goes to a file or a pipe, which have no width


def console(*, stderr: bool = False) -> Console:
    """A rich console; plain text when the output is no terminal."""
    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """A table; a cell whose text is a known word gets its colour."""
    table = Table(
        box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold", pad_edge=False
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        texts = [clean(str(cell)) for cell in row]
        table.add_row(*(Text(text, style=COLOURS.get(text, "")) for text in texts))
    draw(table, NO_TERMINAL)


def draw(table: Table, width: int) -> None:
    """Print a table, at least so many columns wide where the output is no terminal."""
    target = console()
    if not target.is_terminal:
        target.width = max(target.width, width)
    with target.capture() as drawn:
        target.print(table)
    say("\n".join(line.rstrip() for line in drawn.get().strip("\n").splitlines()))


@contextmanager
def progress(what: str, *, shown: bool = True) -> Iterator[tuple[Console, Callable[[int, int | None], None]]]:
    """A bar on standard error, where that is a terminal, and how far it is: (done, of how many).

    What is said meanwhile goes through the console, above the bar.
    """
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console(stderr=True), transient=True)
    if not (shown and sys.stderr.isatty()):
        yield bar.console, lambda _done, _of: None
        return
    with bar:
        task = bar.add_task("", total=None)
        yield bar.console, lambda done, of: bar.update(task, completed=done, total=of)
