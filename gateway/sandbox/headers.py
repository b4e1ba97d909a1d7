"""Headers alone: what people search by, of films that nobody decodes.

A later version of a film with the same pixels may name another patient. And an older ledger has films whose
headers were not kept: the worker that has nothing else to do reads them, a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog

from gateway.errors import DecodeError
from gateway.ledger import Ledger
from gateway.process.priority import LedgerThread
from gateway.sandbox.decoder import Decoder
from gateway.store import Store
from pipelines.film import Header

log = structlog.get_logger()


def read_header(decoder: Decoder, path: Path) -> Header | None:
    """The header of an object, or as much as can be had of it. Raises NoTime and OSError."""
    try:
        return decoder.header(path)
    except DecodeError as error:
        return error.header


class HeaderReader:
    """Catches up with the films of an older ledger, as long as nobody needs the worker."""

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        decoder: Decoder,
        ledger_thread: LedgerThread,
        now: Callable[[], datetime],
    ) -> None:
        self._ledger, self._store, self._decoder = ledger, store, decoder
        self._ask, self._now = ledger_thread.ask, now

    def catch_up(self, needed: Callable[[], bool]) -> None:
        """Read on until no film is left, or the worker is `needed`.

        Raises NoTime, OSError and LedgerError.
        """
        while not needed() and (unread := self._ask(self._ledger.unread)):
            read = tuple((one, self._header(one.digest)) for one in unread)
            self._ask(partial(self._ledger.catch_up, read, now=self._now()))
            log.info("headers of older films read", count=len(read))

    def _header(self, digest: str) -> Header | None:
        """A file that is gone is `fsck`'s to tell of; its film stays findable by its UID."""
        path = self._store.path(digest)
        return read_header(self._decoder, path) if path.exists() else None
