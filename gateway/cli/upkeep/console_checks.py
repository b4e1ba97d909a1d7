"""What `filmgate doctor` looks at of the console: its address, and whether anybody can sign in."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from contextlib import closing

from gateway.cli.upkeep.check import Check
from gateway.errors import FilmgateError, LedgerError
from gateway.ledger import Ledger
from gateway.settings import Settings
from gateway.supervisor.lock import running
from gateway.supervisor.port import check_port

TIMEOUT_S = 3.0
NOBODY = "nobody can sign in: `filmgate users add NAME --role admin` lets the first one in"


def console(settings: Settings) -> Iterator[Check]:
    """Nothing of it keeps a film from its way, so nothing of it is an error."""
    if not settings.console.enabled:
        yield Check("console", "ok", "off: console.enabled is false")
        return
    yield _address(settings)
    yield _people(settings)


def _address(settings: Settings) -> Check:
    block = settings.console
    at, pid = block.address, running(settings)
    try:
        check_port(block.host, block.port)
    except FilmgateError:
        if _answers(settings):
            return Check("console", "ok", f"answers at {at}")
        other = f"another program has the port of {at}, and the console cannot start there: console.port"
        return Check("console", "warning", other)
    if pid:
        return Check("console", "warning", f"the gateway runs (process {pid}), and nobody answers at {at}")
    return Check("console", "ok", f"{at} is free")


def _answers(settings: Settings) -> bool:
    """Whether a console is there; its certificate is the browsers' matter."""
    block = settings.console
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(block.host, block.host)  # noqa: S104
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    asking = (
        http.client.HTTPSConnection(host, block.port, timeout=TIMEOUT_S, context=context)
        if block.tls
        else http.client.HTTPConnection(host, block.port, timeout=TIMEOUT_S)
    )
    try:
        with closing(asking):
            asking.request("GET", "/livez")
            return asking.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def _people(settings: Settings) -> Check:
    block = settings.console
    if block.oidc is not None or (block.proxy is not None and block.proxy.user_header):
        return Check("console's people", "ok", "come in by a provider or a proxy")
    if not settings.ledger.url and not (settings.state / "ledger.sqlite").exists():
        return Check("console's people", "warning", NOBODY)
    try:
        ledger = Ledger.open(settings.ledger_url, busy_timeout_s=settings.ledger.busy_timeout_s)
        with closing(ledger):
            there = ledger.has_admin()
    except LedgerError:
        return Check("console's people", "warning", "the ledger cannot be read")
    return Check("console's people", "ok" if there else "warning", "there is an admin" if there else NOBODY)
