"""`filmgate send` and `filmgate echo`: what a modality does, for trying things out."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import options
from gateway.cli.output import clean, console, print_json, say

if TYPE_CHECKING:
    from gateway.destinations.scu import SentResult

Paths = Annotated[list[Path], typer.Argument(help="Files, or folders with files in them.", exists=True)]
To = Annotated[str, typer.Option("--to", help="AET@HOST:PORT")]
Peer = Annotated[str, typer.Argument(metavar="AET@HOST:PORT")]
Calling = Annotated[str, typer.Option("--calling", help="Our AE title in this association.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds without an answer.")]


def send(
    paths: Paths,
    to: To,
    calling: Calling = "FILMGATE",
    timeout: Timeout = 30.0,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Send files to a storage SCP by C-STORE, as they are; exit code 1 when one was not accepted."""
    del config, state
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from gateway.destinations import scu

    options.quiet_logs()
    peer = scu.parse_target(to)
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console(stderr=True), transient=True)
    with bar if sys.stderr.isatty() else nullcontext():
        task = bar.add_task("", total=None)
        results = []
        for result in scu.send(
            paths,
            peer.host,
            peer.port,
            peer.ae_title,
            calling=calling,
            timeout_s=timeout,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        ):
            results.append(result)
            if not json:
                _tell(result, bar)
    if json:
        print_json(map(_item, results))
    else:
        counted = Counter(result.ok for result in results)
        say(f"{counted[True]} sent" + (f", {counted[False]} not" if counted[False] else ""))
    if not results or not all(result.ok for result in results):
        raise typer.Exit(1)


def echo(
    peer: Peer,
    calling: Calling = "FILMGATE",
    timeout: Timeout = 10.0,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Ask a DICOM peer whether it is there, by C-ECHO."""
    del config, state
    from gateway.destinations import scu

    options.quiet_logs()
    target = scu.parse_target(peer)
    result = scu.echo(target.host, target.port, target.ae_title, calling=calling, timeout_s=timeout)
    if json:
        print_json([{"peer": peer, "status": result.status, "elapsed_ms": round(result.elapsed_ms, 1)}])
    else:
        say(f"{peer} answers C-ECHO with 0x{result.status:04X} in {result.elapsed_ms:.0f} ms")
    if not result.ok:
        raise typer.Exit(1)


def _tell(result: SentResult, bar: Any) -> None:
    """A line for each file that was not accepted; those that were are counted at the end."""
    if not result.ok:
        status = f" (0x{result.status:04X})" if result.status is not None else ""
        bar.console.print(clean(f"{result.path}: {result.text}{status}"))


def _item(result: SentResult) -> dict[str, Any]:
    return {
        "path": result.path,
        "sop_instance_uid": result.sop_instance_uid,
        "status": result.status,
        "text": result.text,
        "ok": result.ok,
    }
