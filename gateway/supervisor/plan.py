"""Which processes one machine runs."""

from __future__ import annotations

import sys
from pathlib import Path

import structlog

from gateway import redis_server
from gateway.settings import Settings
from gateway.supervisor import machine
from gateway.supervisor.processes import Spec

log = structlog.get_logger()


def plan(settings: Settings, config: Path) -> list[Spec]:
    """The processes of one machine, in the order in which they are started."""
    ours = (sys.executable, "-P", "-m", "gateway.cli")  # no modules of the working folder
    same = ("--config", str(config), "--state", str(settings.state))
    specs = []
    if redis_server.is_embedded(settings):
        specs.append(Spec("redis", 1, tuple(redis_server.command(settings))))
    listeners = range(1, settings.gateway.processes + 1)
    specs += [Spec("listener", n, (*ours, "listen", *same)) for n in listeners]
    specs.append(Spec("dispatcher", 1, (*ours, "dispatch", *same)))
    if settings.console.enabled:
        specs.append(Spec("console", 1, (*ours, "console", *same)))
    workers = range(1, _workers(settings.work.workers) + 1)
    return specs + [Spec("worker", n, (*ours, "work", *same)) for n in workers]


def short_of(running: int, settings: Settings) -> str:
    """ " of 16 cores: memory for 6", where memory and not the cores said how many."""
    cores = machine.cores()
    return f" of {cores} cores: memory for {running}" if not settings.work.workers and running < cores else ""


def _workers(wanted: int) -> int:
    """How many workers to run: those that the settings ask for, else one a core where memory allows."""
    cores, memory_mb = machine.cores(), machine.memory_mb()
    fitting = machine.workers(cores, memory_mb)
    if wanted > machine.workers(wanted, memory_mb):
        log.warning(
            "more workers than memory is for",
            workers=wanted,
            memory_for=machine.workers(wanted, memory_mb),
            free_mib=memory_mb,
            meaning="the system may end processes; films are safe and tried again: lower work.workers",
        )
    elif not wanted and fitting < cores:
        log.warning(
            "fewer workers than cores",
            workers=f"{fitting} of {cores} cores: memory for {fitting}",
            free_mib=memory_mb,
            meaning="films are gated more slowly; work.workers asks for more",
        )
    return wanted or fitting
