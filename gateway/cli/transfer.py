"""`filmgate send` and `filmgate echo`: what a modality does, for trying things out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.options import Common
from gateway.cli.output import clean, counted, print_json, say
from gateway.cli.quiet import quiet_logs
from gateway.cli.tables import progress
from gateway.destinations import scu
from gateway.destinations.scu import SentResult

Paths = Annotated[list[Path], typer.Argument(help="Files, or folders with files in them.", exists=True)]
To = Annotated[str, typer.Option("--to", help="The peer: AET@HOST:PORT.")]
Peer = Annotated[str, typer.Argument(metavar="AET@HOST:PORT", help="The peer.")]
Calling = Annotated[str, typer.Option("--calling", help="Our AE title in this association.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for an answer.")]


@dataclass(frozen=True, slots=True)
class Sending:
    """To whom, under which name, and how long an answer may take."""

    to: To
    calling: Calling = "FILMGATE"
    timeout: Timeout = 30.0


def send(common: Common, paths: Paths, sending: Sending) -> None:
    """Send files to a storage SCP by C-STORE, as they are; exit code 1 when one was not accepted."""
    quiet_logs()
    results = list(_sent(paths, sending, quiet=common.json))
    accepted = sum(result.ok for result in results)
    if common.json:
        print_json(map(_item, results))
    else:
        refused = len(results) - accepted
        say(f"{counted(accepted, 'file')} sent" + (f", {refused} not accepted" if refused else ""))
    if accepted < len(results) or not results:
        raise typer.Exit(1)


def _sent(paths: list[Path], sending: Sending, *, quiet: bool) -> Iterator[SentResult]:
    """Each result as it comes; people read a line for each file that was not accepted."""
    peer = scu.parse_target(sending.to)
    with progress("sending") as (console, advance):
        for result in scu.send(
            paths,
            peer.host,
            peer.port,
            peer.ae_title,
            calling=sending.calling,
            timeout_s=sending.timeout,
            on_progress=advance,
        ):
            if not (result.ok or quiet):
                status = f" (0x{result.status:04X})" if result.status is not None else ""
                console.print(clean(f"{result.path}: {result.text}{status}"))
            yield result


def echo(common: Common, peer: Peer, calling: Calling = "FILMGATE", timeout: Timeout = 10.0) -> None:
    """Ask a DICOM peer whether it is there, by C-ECHO."""
    quiet_logs()
    target = scu.parse_target(peer)
    result = scu.echo(target.host, target.port, target.ae_title, calling=calling, timeout_s=timeout)
    if common.json:
        print_json([{"peer": peer, "status": result.status, "elapsed_ms": round(result.elapsed_ms, 1)}])
    else:
        say(f"{peer} answers C-ECHO with 0x{result.status:04X} in {result.elapsed_ms:.0f} ms")
    if not result.ok:
        raise typer.Exit(1)


def _item(result: SentResult) -> dict[str, Any]:
    return {
        "path": result.path,
        "sop_instance_uid": result.sop_instance_uid,
        "status": result.status,
        "text": result.text,
        "ok": result.ok,
    }
