"""Logs of a command that ends: warnings alone, on standard error. Standard output is for results."""

from __future__ import annotations

import structlog

from gateway import logs
from gateway.settings import LogSettings


def quiet_logs(*, errors_alone: bool = False) -> None:
    """Warnings (or errors) alone, unless the process set its logs up otherwise."""
    if not structlog.is_configured():
        logs.configure(LogSettings(level="error" if errors_alone else "warning"))
