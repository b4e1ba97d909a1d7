"""`filmgate work` once it has given way: this loads torch."""

from __future__ import annotations

import warnings
from functools import partial

from gateway import tasks
from gateway.cli.run.serving import serving
from gateway.process import supervised
from gateway.process.priority import Clerk
from gateway.process.supervised import Pulse
from gateway.settings import Settings


def work_with(settings: Settings, clerk: Clerk, pulse: Pulse) -> None:
    """Work until told to stop."""
    # Celery warns of root because pickled messages could run code as root; ours are JSON and carry nothing.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    with serving(settings, "worker") as shell:
        hear_stop = partial(supervised.stop_on_signals, pulse=pulse)
        tasks.run_worker(shell, clerk, ready=pulse.ready, beat=pulse.beat, hear_stop=hear_stop)
