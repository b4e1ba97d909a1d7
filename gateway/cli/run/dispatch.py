"""`filmgate dispatch`: the dispatcher."""

from __future__ import annotations

from threading import Event

from gateway.cli.options import Common
from gateway.cli.run.serving import COURIER_DRAIN_S, serving
from gateway.cli.run.starting import settings_of, supervisor_pipe
from gateway.dispatcher import dispatcher
from gateway.process import supervised


def dispatch(common: Common) -> None:
    """Run the dispatcher: it wakes workers, frees dead leases and sends what is owed."""
    settings, pipe, stop = settings_of(common), supervisor_pipe("dispatcher", common), Event()
    with serving(settings, "dispatcher") as shell:
        supervised.stop_on_signals(stop, pipe)
        dispatcher.run(shell, ready=pipe.ready, beat=pipe.beat, stop=stop, drain_s=COURIER_DRAIN_S)
