"""The ledger alone: what listing needs, without the network's libraries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.cli.options import Common
from gateway.errors import NotFound
from gateway.ledger import Ledger
from gateway.settings import load


@contextmanager
def open_ledger(common: Common) -> Iterator[Ledger]:
    """The ledger of these settings.

    Raises:
        NotFound: there is none.
    """
    settings = load(common.config, common.state)
    if not settings.ledger.url and not (settings.state / "ledger.sqlite").exists():
        raise NotFound(
            f"there is no ledger in {settings.state}. Name the gateway's state folder with --state."
        )
    ledger = Ledger.open(settings.ledger_url, busy_timeout_s=settings.ledger.busy_timeout_s)
    try:
        yield ledger
    finally:
        ledger.close()
