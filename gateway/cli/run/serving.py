"""What `listen`, `dispatch` and `work` share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.bootstrap import Shell
from gateway.cli.shell import open_shell
from gateway.process.health import HERE
from gateway.settings import Settings

# What may be finished after the word to stop; supervisor.STOP_STAGES allow for it.
LISTENER_DRAIN_S = 12.0  # what is being received
COURIER_DRAIN_S = 10.0  # deliveries under way


@contextmanager
def serving(settings: Settings, role: str) -> Iterator[Shell]:
    """Ledger, store, destinations; what fails from now on is noted in the state folder."""
    with open_shell(settings) as shell:
        HERE.keep_in(settings.state, os.environ.get("FILMGATE_PROCESS", role))
        yield shell
