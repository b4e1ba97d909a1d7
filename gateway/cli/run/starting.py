"""How a process begins: with its settings, with logs as they say, and with a word when it is ready."""

from __future__ import annotations

import json
import os

from gateway import logs
from gateway.cli.options import Common
from gateway.cli.output import say
from gateway.process import supervised
from gateway.settings import Settings, load


def settings_of(common: Common) -> Settings:
    """The settings; logs go from now on as they say."""
    settings = load(common.config, common.state)
    logs.configure_service(settings.log, process=os.environ.get("FILMGATE_PROCESS", ""))
    return settings


def supervisor_pipe(name: str, common: Common) -> supervised.SupervisorPipe:
    """Says once that the process is ready: to its supervisor, else on standard output."""
    return supervised.SupervisorPipe(lambda: say_ready(name, f"{name} is ready", common))


def say_ready(name: str, text: str, common: Common) -> None:
    """The one line that a process prints: a sentence, or with --json an array of one item."""
    if common.json:
        say(json.dumps([{"process": name, "state": "ready", "pid": os.getpid(), "text": text}]))
    else:
        say(text)
