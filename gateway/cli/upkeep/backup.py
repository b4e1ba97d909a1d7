"""`filmgate backup` and `filmgate restore`: what the gateway keeps, in a second place and back."""

from __future__ import annotations

import fcntl
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import Common
from gateway.cli.output import print_json, say
from gateway.cli.quiet import quiet_logs
from gateway.cli.shell import open_shell
from gateway.cli.tables import progress
from gateway.errors import BackupError, NotFound, SettingsError
from gateway.settings import Settings, load
from gateway.upkeep import backup as copying
from gateway.upkeep.backup import Done

Dest = Annotated[
    Path, typer.Argument(help="A folder for this backup alone, on another disk; the same one every time.")
]
Source = Annotated[Path, typer.Argument(help="The folder that `filmgate backup` was given.", exists=True)]
LedgerOnly = Annotated[bool, typer.Option("--ledger-only", help="Leave out the films' files.")]


def backup(common: Common, dest: Dest, ledger_only: LedgerOnly = False) -> None:
    """Copy ledger and films, checked, while the gateway runs; exit code 1 when something is missing."""
    settings = load(common.config, common.state)
    _require_sqlite(settings)
    if not (settings.state / "ledger.sqlite").exists():
        raise NotFound(f"there is no ledger in {settings.state}. Name the gateway's folder with --state.")
    if dest.resolve().is_relative_to(settings.state.resolve()):
        raise BackupError(
            f"{dest} lies in the state folder. Nothing was done. Name a folder on another disk."
        )
    with open_shell(settings) as shell, progress("backing up") as (_, advance):
        done = copying.back_up(shell.ledger, shell.store, dest, ledger_only=ledger_only, progress=advance)
    missing = "are not in the backup; `filmgate fsck` names them"
    _finish(done, common, verb="backed up", missing=missing)


def restore(common: Common, source: Source) -> None:
    """Make a new state folder (--state) from a backup, checked; exit code 1 when something is missing."""
    settings = load(common.config, common.state)
    quiet_logs()
    _require_sqlite(settings)
    _require_stopped(settings.state)
    with progress("restoring") as (_, advance):
        done = copying.restore(source, settings.state, progress=advance)
    missing = "are missing; `filmgate fsck --mend` stops their deliveries, and their senders may have them"
    _finish(done, common, verb="restored", missing=missing)


def _finish(done: Done, common: Common, *, verb: str, missing: str) -> None:
    if common.json:
        print_json([asdict(done)])
    else:
        what = "the ledger alone" if done.ledger_only else f"{done.objects} objects"
        say(
            f"{verb}: {done.films} films, {what} ({done.copied} copied, {done.copied_bytes >> 20} MiB), "
            f"as of {done.made_at}, in {done.folder}"
        )
        if done.lacking:
            say(f"{len(done.lacking)} objects that the ledger names {missing}")
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
