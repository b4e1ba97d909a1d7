"""`filmgate listen`: one listener."""

from __future__ import annotations

from threading import Event

from gateway.cli.options import Common
from gateway.cli.run.serving import LISTENER_DRAIN_S, serving
from gateway.cli.run.starting import settings_of, supervisor_pipe
from gateway.listener import serve
from gateway.process import supervised
from gateway.upkeep.fsck import recover_later


def listen(common: Common) -> None:
    """Run one listener: it receives objects and keeps them safely."""
    settings, pipe, stop = settings_of(common), supervisor_pipe("listener", common), Event()
    with serving(settings, "listener") as shell:
        supervised.stop_on_signals(stop, pipe)
        recover_later(shell.ledger, shell.store, always=shell.always, stop=stop)
        serve(
            shell.settings,
            shell.ledger,
            shell.store,
            listening=supervised.listening_socket(),
            reuse_port=True,  # with others that were started by hand
            ready=pipe.ready,
            beat=pipe.beat,
            stop=stop,
            drain_s=LISTENER_DRAIN_S,
        )
