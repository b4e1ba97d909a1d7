"""`filmgate console`: the console."""

from __future__ import annotations

from threading import Event

from gateway.cli.options import Common
from gateway.cli.run.serving import serving
from gateway.cli.run.starting import say_ready, settings_of
from gateway.console import server
from gateway.process import memory, supervised
from gateway.process.priority import give_way


def console(common: Common) -> None:
    """Run the console: pages in a browser for radiology IT and reviewers."""
    settings, stop = settings_of(common), Event()
    address = settings.console.address
    pipe = supervised.SupervisorPipe(lambda: say_ready("console", f"console at {address}", common))
    give_way(server.NICE)
    memory.keep_little()
    with serving(settings, "console") as shell:
        supervised.stop_on_signals(stop, pipe)
        server.serve(shell, stop=stop, ready=pipe.ready, beat=pipe.beat)
