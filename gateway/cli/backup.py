"""`filmgate backup` and `filmgate restore`: what the gateway keeps, in a second place and back."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import options
from gateway.cli.output import console, print_json, say
from gateway.errors import BackupError, NotFound, SettingsError
from gateway.settings import Settings, load

if TYPE_CHECKING:
    from gateway.upkeep.backup import Done

Dest = Annotated[Path, typer.Argument(help="A folder of its own, on another disk; the same one every time.")]
Source = Annotated[Path, typer.Argument(help="The folder that `filmgate backup` was given.", exists=True)]
LedgerOnly = Annotated[bool, typer.Option("--ledger-only", help="Leave out the films' files.")]


def backup(
    dest: Dest,
    ledger_only: LedgerOnly = False,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Copy ledger and films, checked, while the gateway runs; exit code 1 when something is lacking."""
    from gateway.upkeep.backup import back_up

    settings = load(config, state)
    _require_sqlite(settings)
    if not (settings.state / "ledger.sqlite").exists():
        raise NotFound(f"there is no ledger in {settings.state}. Name the gateway's folder with --state.")
    if dest.resolve().is_relative_to(settings.state.resolve()):
        raise BackupError(
            f"{dest} lies in the state folder. Nothing was done. Name a folder on another disk."
        )
    with options.open_shell(settings) as shell, _progress("backing up") as progress:
        done = back_up(shell.ledger, shell.store, dest, ledger_only=ledger_only, progress=progress)
    _tell(done, json=json, verb="backed up", lacking="are not in the backup: `filmgate fsck` names them")


def restore(
    source: Source,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Make a new state folder (--state) of a backup, checked; exit code 1 when something is lacking."""
    from gateway.upkeep.backup import restore as restore_backup

    settings = load(config, state)
    options.quiet_logs()
    _require_sqlite(settings)
    _require_stopped(settings.state)
    with _progress("restoring") as progress:
        done = restore_backup(source, settings.state, progress=progress)
    lacking = "are lacking: `filmgate fsck --mend` stops their deliveries; ask their senders"
    _tell(done, json=json, verb="restored", lacking=lacking)


def _tell(done: Done, *, json: bool, verb: str, lacking: str) -> None:
    if json:
        print_json([asdict(done)])
    else:
        what = "the ledger alone" if done.ledger_only else f"{done.objects} objects"
        say(
            f"{verb}: {done.films} films, {what} ({done.copied} copied, {done.copied_bytes >> 20} MiB), "
            f"as of {done.made_at}, in {done.folder}"
        )
        if done.lacking:
            say(f"{len(done.lacking)} objects that the ledger names {lacking}")
    if done.lacking:
        raise typer.Exit(1)


def _require_sqlite(settings: Settings) -> None:
    if settings.ledger.url:
        raise SettingsError(
            "ledger.url: this ledger is not the state folder's own. Back it up with its database's tools "
            "first and the folder `store` after it; restore them in the other order."
        )


def _require_stopped(state: Path) -> None:
    try:
        with (state / "up.lock").open(encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BackupError(
            f"a gateway runs on {state}. It goes on, and nothing was changed. Restore into a new folder."
        ) from error
    except OSError:
        return


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal; silence elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
