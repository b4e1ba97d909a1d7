"""What `up` says once, when the gateway is ready."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.settings import Settings
from gateway.supervisor import fitness
from gateway.supervisor.plan import short_of


def ready_text(settings: Settings, workers: int, shut: Sequence[str], *, console_ready: bool) -> str:
    """One line: where it listens, how many workers it has, where the console is, and what is closed."""
    gateway = settings.gateway
    return (
        f"filmgate is ready: {gateway.ae_title} listens on {gateway.host}:{gateway.port}, "
        f"workers: {workers}{short_of(workers, settings)}, state: {settings.state}"
        + _console_text(settings, console_ready)
        + (f"; closed: {fitness.in_numbers(shut)} (`filmgate doctor` says why)" if shut else "")
    )


def _console_text(settings: Settings, ready: bool) -> str:
    if not settings.console.enabled:
        return ""
    address = settings.console.address
    return f"; console at {address}" if ready else f"; no console at {address} yet (the log says why)"
