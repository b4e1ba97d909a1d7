"""Group commit: what several associations finish at the same time shares one transaction.

No thread of its own and no waiting for company: whoever comes first leads. It publishes its object, and all
that others finish meanwhile make the next batch. A single association is therefore never delayed by this, and
eight of them need far fewer than eight commits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from gateway import crash
from gateway.errors import LedgerBusy, LedgerError, StoreError
from gateway.ledger.records import Received, Recorded
from gateway.store import Incoming, Kept, Store


class ReceiveLedger(Protocol):
    """What the listener asks of the ledger; `gateway.ledger.Ledger` has it."""

    def associate(self, *, calling: str, called: str, address: str, now: datetime) -> int: ...

    def dissociate(
        self, association_id: int, *, outcome: str, objects: int, size_bytes: int, now: datetime
    ) -> None: ...

    def refuse(self, *, calling: str, called: str, address: str, reason: str, now: datetime) -> None: ...

    def record(self, batch: Sequence[Received], *, always: Sequence[str] = ()) -> list[Recorded]: ...


@dataclass(slots=True, eq=False)
class _Entry:
    """A sealed object that waits for its row; `gate` is locked until it has one, or leads, or failed."""

    incoming: Incoming
    describe: Callable[[Kept], Received]
    kept: Kept | None = None
    result: Recorded | StoreError | LedgerError | None = None
    leads: bool = False
    gate: threading.Lock = field(default_factory=threading.Lock)


class Recorder:
    """Makes sealed objects durable and known: rename, folder fsync, one ledger transaction (promise 1).

    Args:
        store: where the objects go.
        ledger: where their rows go.
        always: the destinations that get every object, asked for each batch.
    """

    def __init__(self, store: Store, ledger: ReceiveLedger, always: Callable[[], Sequence[str]]) -> None:
        self._store = store
        self._ledger = ledger
        self._always = always
        self._lock = threading.Lock()
        self._waiting: list[_Entry] = []
        self._led = False

    def keep(self, incoming: Incoming, describe: Callable[[Kept], Received]) -> Recorded:
        """Publish and record a sealed object; when this returns, 0x0000 may be answered.

        Raises:
            StoreError: it could not be moved into the store.
            LedgerError: the ledger did not take it; the file stays for `fsck`, a resend finds it.
        """
        entry = _Entry(incoming, describe)
        entry.gate.acquire()
        with self._lock:
            self._waiting.append(entry)
            entry.leads, self._led = not self._led, True
        if not entry.leads:
            entry.gate.acquire()  # released by a leader: there is a result, or it is our turn to lead
        if entry.leads:
            self._lead()
        if isinstance(entry.result, Recorded):
            return entry.result
        raise entry.result or LedgerError("the ledger did not say what became of an object")

    def _lead(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        try:
            self._publish(batch)
            self._record([one for one in batch if one.kept and one.result is None])
        finally:
            with self._lock:
                heir = self._waiting[0] if self._waiting else None
                self._led = heir is not None
            if heir is not None:
                heir.leads = True
                heir.gate.release()
            for one in batch[1:]:
                one.gate.release()

    def _publish(self, batch: Sequence[_Entry]) -> None:
        for one in batch:
            try:
                one.kept = one.incoming.publish()
            except StoreError as error:
                one.result = error
        try:
            self._store.sync_folders(one.kept.path.parent for one in batch if one.kept)
        except StoreError as error:
            _fail(batch, error)
        crash.at("renamed")

    def _record(self, batch: Sequence[_Entry]) -> None:
        if not batch:
            return
        received = [one.describe(one.kept) for one in batch if one.kept]
        try:
            for one, row in zip(batch, self._ledger.record(received, always=self._always()), strict=True):
                one.result = row
        except LedgerBusy as error:
            _fail(batch, error)
        except LedgerError as error:
            if len(batch) == 1:
                _fail(batch, error)
            else:  # one bad object must not take the others with it
                for one in batch:
                    self._record([one])
        crash.at("committed")


def _fail(batch: Sequence[_Entry], error: StoreError | LedgerError) -> None:
    for one in batch:
        one.result = one.result or error
