"""`filmgate work`: one worker, up to where it loads torch."""

from __future__ import annotations

from gateway.cli.lazy import attribute
from gateway.cli.options import Common
from gateway.cli.run.starting import settings_of, supervisor_pipe
from gateway.process.priority import LedgerThread, give_way


def work(common: Common) -> None:
    """Run one worker: it decodes films, asks the gates and decides."""
    settings, pipe = settings_of(common), supervisor_pipe("worker", common)
    ledger_thread = LedgerThread()
    give_way(settings.work.nice)  # before torch is loaded: that alone keeps a core busy for seconds
    attribute("gateway.cli.run.working:work_with")(settings, ledger_thread, pipe)
