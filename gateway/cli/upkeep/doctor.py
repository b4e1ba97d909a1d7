"""`filmgate doctor`: is this machine fit to run the gateway?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import typer

from gateway.cli.options import Common
from gateway.cli.output import print_json
from gateway.cli.quiet import quiet_logs
from gateway.cli.tables import print_table
from gateway.cli.upkeep import console_checks, ledger_checks, machine_checks, model_checks, peer_checks
from gateway.cli.upkeep.check import Check
from gateway.settings import Settings, load


def doctor(common: Common) -> None:
    """Look at everything the gateway needs; exit code 1 when something would keep it from working."""
    settings = load(common.config, common.state)
    quiet_logs()
    checks = list(_checks(settings))
    if common.json:
        print_json(map(asdict, checks))
    else:
        print_table(("what", "result", "detail"), ((c.what, c.result, c.detail) for c in checks))
    if any(check.result == "error" for check in checks):
        raise typer.Exit(1)


def _checks(settings: Settings) -> Iterator[Check]:
    yield machine_checks.python()
    yield from machine_checks.packages()
    yield machine_checks.redis(settings)
    yield machine_checks.disk(settings)
    yield machine_checks.private(settings)
    yield ledger_checks.ledger(settings)
    yield from ledger_checks.sqlite(settings)
    yield machine_checks.port(settings)
    yield machine_checks.reach(settings)
    yield from machine_checks.threads(settings)
    yield from peer_checks.routes(settings)
    yield from model_checks.bundles(settings)
    yield from model_checks.classifiers(settings)
    yield model_checks.regions(settings)
    yield from peer_checks.destinations(settings)
    yield from ledger_checks.deliveries(settings)
    yield from console_checks.console(settings)
    yield machine_checks.clock()
    yield machine_checks.time_zone(settings)
