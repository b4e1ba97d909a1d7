"""`filmgate dispatch`: the dispatcher."""

from __future__ import annotations

from threading import Event

from gateway.cli.options import Common
from gateway.cli.run.serving import COURIER_DRAIN_S, serving
from gateway.cli.run.starting import pulse, settings_of
from gateway.dispatcher import dispatcher
from gateway.process import supervised


def dispatch(common: Common) -> None:
    """Run the dispatcher: it wakes workers, frees dead leases and sends what is owed."""
    settings, beats, stop = settings_of(common), pulse("dispatcher", common), Event()
    with serving(settings, "dispatcher") as shell:
        supervised.stop_on_signals(stop, beats)
        dispatcher.run(shell, ready=beats.ready, beat=beats.beat, stop=stop, drain_s=COURIER_DRAIN_S)
