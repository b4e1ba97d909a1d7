"""Ledger, store and destinations for a command that needs all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.bootstrap import Shell
from gateway.cli.quiet import quiet_logs
from gateway.settings import Settings


@contextmanager
def open_shell(settings: Settings) -> Iterator[Shell]:
    """Everything."""
    quiet_logs()
    shell = Shell.open(settings)
    try:
        yield shell
    finally:
        shell.close()
