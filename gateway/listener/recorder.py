"""Group commit: what several associations finish at the same time shares one ledger transaction.

No thread of its own and no waiting for company: whoever comes first leads and commits alone; all that others
bring meanwhile is the next batch. So a single association is never delayed by this, and eight of them need
far fewer than eight commits. (File and folder are synced before, each in its own association's thread: the
file system groups those itself.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from gateway.errors import LedgerBusy, LedgerError
from gateway.ledger.records import Received, Recorded, Tally
from gateway.process import crash


class ReceiveLedger(Protocol):
    """What the listener asks of the ledger; `gateway.ledger.Ledger` has it."""

    def associate(self, *, calling: str, called: str, address: str, now: datetime) -> int: ...

    def dissociate(
        self, association_id: int, *, outcome: str, objects: int, size_bytes: int, now: datetime
    ) -> None: ...

    def tally(self, tallies: Sequence[Tally]) -> list[int]: ...

    def admits(self, calling: str, address: str) -> bool: ...

    def record(
        self,
        batch: Sequence[Received],
        *,
        always: Sequence[str] = (),
        ai: Sequence[str] = (),
        observing: bool = False,
    ) -> list[Recorded]: ...


@dataclass(slots=True, eq=False)
class _Entry:
    """A kept object that waits for its row; `gate` is locked until it has one, or failed, or is to lead."""

    received: Received
    result: Recorded | LedgerError | None = None
    leads: bool = False
    gate: threading.Lock = field(default_factory=threading.Lock)


class Recorder:
    """Records kept objects, several in one transaction where several are there.

    Args:
        ledger: where the rows go.
        always: the destinations that get every object, asked for each batch.
        ai: those that get it as well while films of its sender are only observed.
        observing: so it is of every sender of which people said nothing else.
    """

    def __init__(
        self,
        ledger: ReceiveLedger,
        always: Callable[[], Sequence[str]],
        *,
        ai: Sequence[str] = (),
        observing: bool = False,
    ) -> None:
        self._ledger = ledger
        self._ai = ai
        self._observing = observing
        self._always = always
        self._lock = threading.Lock()
        self._waiting: list[_Entry] = []
        self._led = False

    def record(self, received: Received) -> Recorded:
        """Record an object that lies safely in the store; when this returns, 0x0000 may be answered.

        Raises:
            LedgerError: the ledger did not take it; the file stays for `fsck`, a resend finds it.
        """
        entry = _Entry(received)
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
        """Commit all that wait; we are the first of them. Then wake them, and who leads next."""
        with self._lock:
            batch, self._waiting = self._waiting, []
        try:
            self._commit(batch)
        finally:
            with self._lock:
                heir = self._waiting[0] if self._waiting else None
                self._led = heir is not None
            if heir is not None:
                heir.leads = True
                heir.gate.release()
            for one in batch[1:]:
                one.gate.release()

    def _commit(self, batch: Sequence[_Entry]) -> None:
        try:
            received = [one.received for one in batch]
            rows = self._ledger.record(
                received, always=self._always(), ai=self._ai, observing=self._observing
            )
        except LedgerError as error:
            if len(batch) == 1 or isinstance(error, LedgerBusy):
                for one in batch:
                    one.result = error
            else:  # one object that the ledger cannot take must not fail the others
                for one in batch:
                    self._commit([one])
        else:
            for one, row in zip(batch, rows, strict=True):
                one.result = row
            crash.at("committed")
