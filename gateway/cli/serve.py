"""`filmgate up`, and the processes it is made of: `listen`, `dispatch`, `work`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from gateway.cli import options
from gateway.cli.output import say
from gateway.process import supervised
from gateway.process.health import HERE
from gateway.settings import Settings, load

if TYPE_CHECKING:
    from gateway.bootstrap import Shell

# What may be finished after the word to stop; supervisor.STOP_STAGES allow for it.
LISTENER_DRAIN_S = 12.0  # what is being received
COURIER_DRAIN_S = 10.0  # deliveries under way


def up(config: options.Config = None, state: options.State = None) -> None:
    """Run the gateway on this machine: listener, Redis, dispatcher and workers, supervised."""
    from gateway import logs
    from gateway.supervisor import supervisor

    def log_as_told(settings: Settings) -> None:
        logs.configure(settings.log, process="supervisor")

    logs.configure_service(load(config, state).log, process="supervisor")
    supervisor.run(config, state, say=say, taken=log_as_told)


def listen(config: options.Config = None, state: options.State = None) -> None:
    """Run one listener: it receives objects and keeps them safely."""
    settings, pipe, stop = _settings(config, state), _pipe("listener"), Event()
    from gateway.listener import serve
    from gateway.upkeep.fsck import recover_later

    with _shell(settings, "listener") as shell:
        routes = shell.settings.routes.model_copy(update={"always": shell.always})
        settings = shell.settings.model_copy(update={"routes": routes})
        supervised.stop_on_signals(stop, pipe)
        recover_later(shell.ledger, shell.store, always=shell.always, stop=stop)
        serve(
            settings,
            shell.ledger,
            shell.store,
            listening=supervised.listening_socket(),
            reuse_port=True,  # with others that were started by hand
            ready=pipe.ready,
            beat=pipe.beat,
            stop=stop,
            drain_s=LISTENER_DRAIN_S,
        )


def dispatch(config: options.Config = None, state: options.State = None) -> None:
    """Run the dispatcher: it wakes workers, frees dead leases and sends what is owed."""
    settings, pipe, stop = _settings(config, state), _pipe("dispatcher"), Event()
    from gateway.dispatcher import dispatcher

    with _shell(settings, "dispatcher") as shell:
        supervised.stop_on_signals(stop, pipe)
        dispatcher.run(shell, ready=pipe.ready, beat=pipe.beat, stop=stop, drain_s=COURIER_DRAIN_S)


def work(config: options.Config = None, state: options.State = None) -> None:
    """Run one worker: it decodes films, asks the gates and decides."""
    from gateway.process.priority import LedgerThread, give_way

    settings, pipe = _settings(config, state), _pipe("worker")
    ledger_thread = LedgerThread()
    give_way(settings.work.nice)  # before torch is loaded: that alone keeps a core busy for seconds
    from gateway import worker

    # Celery warns of root because pickled messages could run code as root; ours are JSON and carry nothing.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    with _shell(settings, "worker") as shell:
        hear_stop = partial(supervised.stop_on_signals, pipe=pipe)
        worker.run_worker(shell, ledger_thread, ready=pipe.ready, beat=pipe.beat, hear_stop=hear_stop)


def _settings(config: Path | None, state: Path | None) -> Settings:
    from gateway import logs

    settings = load(config, state)
    logs.configure_service(settings.log, process=os.environ.get("FILMGATE_PROCESS", ""))
    return settings


@contextmanager
def _shell(settings: Settings, role: str) -> Iterator[Shell]:
    """Ledger, store, destinations; what fails from now on is noted in the state folder."""
    with options.open_shell(settings) as shell:
        HERE.keep_in(settings.state, os.environ.get("FILMGATE_PROCESS", role))
        yield shell


def _pipe(name: str) -> supervised.SupervisorPipe:
    return supervised.SupervisorPipe(lambda: say(f"{name} is ready"))
