"""`filmgate up`, and the processes it is made of: `listen`, `dispatch`, `work`."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from gateway.cli import options
from gateway.cli.output import say
from gateway.health import HERE
from gateway.settings import Settings, load

if TYPE_CHECKING:
    from gateway.bootstrap import Shell

DRAIN_S = 12.0  # what a listener that is told to stop may take to finish what it is receiving


def up(config: options.Config = None, state: options.State = None) -> None:
    """Run the gateway on this machine: listener, Redis, dispatcher and workers, supervised."""
    from gateway import logs, supervisor

    logs.configure_service(load(config, state).log, process="supervisor")
    supervisor.run(config, state, say=say)


def listen(config: options.Config = None, state: options.State = None) -> None:
    """Run one listener: it receives objects and keeps them safely."""
    settings = _settings(config, state)
    from gateway.fsck import recover_later
    from gateway.listener import serve

    stop = _stop()
    with _shell(settings, "listener") as shell:
        routes = shell.settings.routes.model_copy(update={"always": shell.always})
        settings = shell.settings.model_copy(update={"routes": routes})
        recover_later(shell.ledger, shell.store, always=shell.always, stop=stop)
        serve(
            settings,
            shell.ledger,
            shell.store,
            reuse_port=True,  # others of `gateway.processes`, and its successor when settings change
            ready=_ready("listener"),
            stop=stop,
            drain_s=DRAIN_S,
        )


def dispatch(config: options.Config = None, state: options.State = None) -> None:
    """Run the dispatcher: it wakes workers, frees dead leases and sends what is owed."""
    settings = _settings(config, state)
    from gateway import dispatcher

    stop = _stop()
    with _shell(settings, "dispatcher") as shell:
        dispatcher.run(shell, ready=_ready("dispatcher"), stop=stop)


def work(config: options.Config = None, state: options.State = None) -> None:
    """Run one worker: it decodes films, asks the gates and decides."""
    from gateway.manners import Clerk, give_way

    settings = _settings(config, state)
    clerk = Clerk()
    give_way(settings.work.nice)  # before torch is loaded: that alone keeps a core busy for seconds
    from gateway import tasks

    # Celery warns of root because pickled messages could run code as root; ours are JSON and carry nothing.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    with _shell(settings, "worker") as shell:
        tasks.run_worker(shell, clerk, ready=_ready("worker"))


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


def _stop() -> Event:
    """Set by SIGTERM and SIGINT; called before other threads start, so that all leave them to this one.

    A signal handler must not set an Event: its lock may be held by the very code that was interrupted.
    """
    stop = Event()
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def wait() -> None:
        signal.sigwait(signals)
        stop.set()

    Thread(target=wait, name="signals", daemon=True).start()
    return stop


def _ready(name: str) -> Callable[[], None]:
    """Tells the supervisor, through the pipe that it gave us; a person who started us alone reads it."""

    def tell() -> None:
        pipe = os.environ.pop("FILMGATE_READY_FD", "")
        if pipe:
            os.write(int(pipe), b"ready\n")
            os.close(int(pipe))
        else:
            say(f"{name} is ready")

    return tell
