"""`filmgate work` once it has given way: this loads torch."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

from gateway import worker
from gateway.bootstrap import Shell
from gateway.cli.lazy import attribute
from gateway.process import supervised
from gateway.process.priority import LedgerThread
from gateway.process.supervised import SupervisorPipe
from gateway.sandbox.decoder import Decoder


def work_with(shell: Shell, decoder: Decoder, ledger_thread: LedgerThread, pipe: SupervisorPipe) -> None:
    """Work until told to stop."""
    # Celery warns of root because pickled messages could run code as root; ours are JSON and carry nothing.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    worker.run_worker(
        shell,
        decoder,
        ledger_thread,
        ready=pipe.ready,
        beat=pipe.beat,
        hear_stop=partial(supervised.stop_on_signals, pipe=pipe),
        open_reader=_open_reader if shell.settings.classifiers else None,
    )


def _open_reader(bundle: Path, engines: Path) -> Any:
    """Open a classifier. What that loads takes a second and 40 MB, so it is loaded where there is one."""
    return attribute("pipelines.reading.classifier:Classifier").open(bundle, cache=engines)
