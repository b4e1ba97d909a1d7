"""The audit rows of associations, written to the ledger from a thread of its own.

Neither a refusal nor the end of an association waits for the ledger, and a flood of them takes nothing from
those who bring films. What cannot be written is said in the log.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from gateway import loops
from gateway.listener.pdu import Rejection
from gateway.listener.recorder import ReceiveLedger
from gateway.muffler import Muffler

MOST_WAITING = 4096  # rows that wait for the ledger; more are counted in the log only
STOP_S = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """How an association ended, and what it brought. `row` is None when it brought nothing yet."""

    row: int | None
    calling: str
    called: str
    address: str
    began_at: datetime
    ended_at: datetime
    outcome: str
    objects: int
    size_bytes: int


class Audit:
    """Notes refused and ended associations.

    Args:
        ledger: where the rows go.
        muffler: for what is said about them.
    """

    def __init__(self, ledger: ReceiveLedger, muffler: Muffler) -> None:
        self._ledger = ledger
        self._muffler = muffler
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write."""
        self._thread = loops.start("audit", self._run)

    def refused(self, calling: str, called: str, address: str, rejection: Rejection) -> None:
        """Log and note that an association was refused (PS3.8 section 9.3.4)."""
        self._muffler.warning(
            "association refused", calling=calling, called=called, address=address, reason=rejection.text
        )
        now = datetime.now(UTC)
        self._later(
            lambda: self._ledger.refuse(
                calling=calling, called=called, address=address, reason=rejection.text, now=now
            )
        )

    def ended(self, association: Ended) -> None:
        """Log and note that an association ended."""
        say = log.info if association.objects else self._muffler.info  # a flood brings none
        say(
            "association ended",
            calling=association.calling,
            address=association.address,
            outcome=association.outcome,
            objects=association.objects,
            size_bytes=association.size_bytes,
        )
        self._later(lambda: self._write_end(association))

    def stop(self) -> None:
        """Write what waits, for some seconds at most, and end."""
        with suppress(queue.Full):
            self._queue.put(None, timeout=STOP_S)
        if self._thread is not None:
            self._thread.join(timeout=STOP_S)

    def _later(self, write: Callable[[], None]) -> None:
        try:
            self._queue.put_nowait(write)
        except queue.Full:
            self._muffler.warning("associations come and go faster than the ledger takes them")

    def _run(self) -> None:
        meaning = "it is in this log alone; films are not touched"
        guard = loops.Guard(
            "audit", failing="an association is not in the ledger", meaning=meaning, longest_s=0.0
        )
        while (write := self._queue.get()) is not None:
            guard(write)

    def _write_end(self, one: Ended) -> None:
        row = one.row
        if row is None:
            row = self._ledger.associate(
                calling=one.calling, called=one.called, address=one.address, now=one.began_at
            )
        self._ledger.dissociate(
            row, outcome=one.outcome, objects=one.objects, size_bytes=one.size_bytes, now=one.ended_at
        )
