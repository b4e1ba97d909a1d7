"""`filmgate work` once it has given way: this loads torch."""

from __future__ import annotations

import warnings
from functools import partial

from gateway import worker
from gateway.cli.run.serving import serving
from gateway.process import supervised
from gateway.process.priority import LedgerThread
from gateway.process.supervised import SupervisorPipe
from gateway.settings import Settings


def work_with(settings: Settings, ledger_thread: LedgerThread, pipe: SupervisorPipe) -> None:
    """Work until told to stop."""
    # Celery warns of root because pickled messages could run code as root; ours are JSON and carry nothing.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    with serving(settings, "worker") as shell:
        hear_stop = partial(supervised.stop_on_signals, pipe=pipe)
        worker.run_worker(shell, ledger_thread, ready=pipe.ready, beat=pipe.beat, hear_stop=hear_stop)
