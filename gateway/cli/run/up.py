"""`filmgate up`: the gateway of one machine."""

from __future__ import annotations

from functools import partial

from gateway import logs
from gateway.cli.options import Common
from gateway.cli.run.starting import say_ready
from gateway.settings import Settings, load
from gateway.supervisor import supervisor


def up(common: Common) -> None:
    """Run the gateway on this machine: listener, Redis, dispatcher and workers, supervised."""

    def log_as_told(settings: Settings) -> None:
        logs.configure(settings.log, process="supervisor")

    logs.configure_service(load(common.config, common.state).log, process="supervisor")
    say = partial(say_ready, "supervisor", common=common)
    supervisor.run(common.config, common.state, say=say, taken=log_as_told)
