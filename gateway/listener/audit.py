"""The audit rows of associations, written to the ledger from a thread of its own.

Neither a refusal nor the end of an association waits for the ledger, and a flood of them takes nothing from
those who bring films, nor fills the disk: what brought no object is counted, by address and outcome, and a
minute's count is one row with its first and last time. The first of a count is written at once, so that
whoever sets up a modality sees why it was refused. A health check (C-ECHO and nothing else) has no row.

What the ledger does not take waits here, within bounds, and is written when it can be; what is beyond them is
counted too.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from gateway.ledger.records import Tally
from gateway.listener.recorder import ReceiveLedger
from gateway.logs.limiter import LogLimiter
from gateway.process import loops
from gateway.upper_layer.acceptor import Rejection

MOST_WAITING = 4096  # ends of associations that wait for the ledger; more are only counted
MOST_COUNTS = 64  # rows a window; what further addresses do is counted in one
OTHERS = "others"
NOT_NOTED = "not noted"
STOP_S = 5.0

_WINDOW_S = 60.0
_FLUSH_S = 2.0  # a count that goes on is written so often
_SAY_S = 3600.0  # so often the log says how many associations brought nothing
_MOST_NAMES = 4  # AE titles told of one count

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
    echoes: int = 0  # C-ECHO requests answered

    @property
    def harmless(self) -> bool:
        """A health check, or one that came and went in order: it is counted in the log alone."""
        left = self.outcome in ("aborted", "lost")  # many a load balancer does not wait for a release
        return self.row is None and (self.outcome == "released" or (left and self.echoes > 0))


@dataclass(slots=True, eq=False)
class _Count:
    """What one address did in this window; its row is written at once, and again when it changed."""

    calling: str
    called: str
    address: str
    outcome: str
    first_at: datetime
    began: float  # monotonic seconds
    last_at: datetime
    row: int | None = None
    times: int = 0
    changed: bool = False
    reasons: Counter[str] = field(default_factory=Counter)
    names: dict[str, None] = field(default_factory=dict)  # calling AE titles, in order; bounded

    def add(self, calling: str, reason: str, now: datetime) -> None:
        self.times += 1
        self.last_at = now
        self.changed = True
        if reason:
            self.reasons[reason] += 1
        if len(self.names) <= _MOST_NAMES:
            self.names[calling] = None

    def tally(self) -> Tally:
        return Tally(
            row=self.row,
            calling=self.calling,
            called=self.called,
            address=self.address,
            outcome=self.outcome,
            reason=self._reason(),
            times=self.times,
            first_at=self.first_at,
            last_at=self.last_at,
        )

    def _reason(self) -> str | None:
        text = ", ".join(
            reason if len(self.reasons) == 1 else f"{reason} ({times})"
            for reason, times in self.reasons.most_common()
        )
        if len(self.names) > 1:
            shown = [name or "(blank)" for name in self.names][:_MOST_NAMES]
            more = ", ..." if len(self.names) > _MOST_NAMES else ""
            text += f"; calling AE titles {', '.join(shown)}{more}"
        return text or None


class Audit:
    """Notes refused and ended associations.

    Args:
        ledger: where the rows go.
        log_limiter: for what is said about them.
        window_s: what one row of a count stands for.
        flush_s: how often a count that goes on is written, and a ledger that failed is tried again.
    """

    def __init__(
        self,
        ledger: ReceiveLedger,
        log_limiter: LogLimiter,
        *,
        window_s: float = _WINDOW_S,
        flush_s: float = _FLUSH_S,
    ) -> None:
        self._ledger = ledger
        self._log_limiter = log_limiter
        self._window_s = window_s
        self._flush_s = flush_s
        self._lock = threading.Lock()
        self._ends: deque[Ended] = deque()
        self._counts: dict[tuple[str, str], _Count] = {}
        self._closed: list[_Count] = []  # their window is over, and their last count is not written yet
        self._harmless = 0
        self._harmless_told = time.monotonic()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write."""
        self._thread = loops.start("audit", self._run)

    def refused(self, calling: str, called: str, address: str, rejection: Rejection) -> None:
        """Log and note that an association was refused (PS3.8 section 9.3.4)."""
        self._log_limiter.warning(
            "association refused", calling=calling, called=called, address=address, reason=rejection.text
        )
        with self._lock:
            self._count(calling, called, address, "refused", rejection.text)

    def ended(self, one: Ended) -> None:
        """Log and note that an association ended."""
        if one.harmless:
            self._note_harmless()
            return
        say = log.info if one.objects else self._log_limiter.info  # a flood brings none
        say(
            "association ended",
            calling=one.calling,
            address=one.address,
            outcome=one.outcome,
            objects=one.objects,
            size_bytes=one.size_bytes,
        )
        with self._lock:
            if one.row is None:
                self._count(one.calling, one.called, one.address, one.outcome, "")
            elif len(self._ends) < MOST_WAITING:
                self._ends.append(one)
                self._wake.set()
            else:
                reason = "the ledger did not take how associations ended; their objects are in it"
                self._count(OTHERS, OTHERS, OTHERS, NOT_NOTED, reason)

    def stop(self) -> None:
        """Write what waits, for some seconds at most, and end."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=STOP_S)

    def _note_harmless(self) -> None:
        with self._lock:
            self._harmless += 1
            now = time.monotonic()
            if now - self._harmless_told < _SAY_S:
                return
            count, self._harmless, self._harmless_told = self._harmless, 0, now
        log.info("associations that only verified, or brought nothing", count=count)

    def _count(self, calling: str, called: str, address: str, outcome: str, reason: str) -> None:
        """Add one; the caller holds the lock."""
        count = self._counts.get((address, outcome))
        if count is None and len(self._counts) >= MOST_COUNTS:
            calling = called = address = OTHERS
            count = self._counts.get((address, outcome))
        now = datetime.now(UTC)
        if count is None:
            count = _Count(calling, called, address, outcome, now, time.monotonic(), now)
            self._counts[address, outcome] = count
            self._wake.set()
        count.add(calling, reason, now)

    def _run(self) -> None:
        guard = self._guard()
        while not self._stopping.is_set():
            self._wake.wait(self._flush_s if self._counts else None)
            self._wake.clear()
            if pause_s := guard(self._write):
                self._wake.set()
                self._stopping.wait(pause_s)
        self._guard()(self._write)

    def _guard(self) -> loops.Guard:
        return loops.Guard(
            "audit",
            failing="an association is not in the ledger yet",
            meaning="it is told again; films are not touched",
            first_s=self._flush_s,
            longest_s=self._flush_s,
        )

    def _write(self) -> None:
        """Write what waits; what the ledger does not take goes on waiting."""
        self._write_ends()
        self._write_counts()

    def _write_ends(self) -> None:
        while self._ends:
            one = self._ends.popleft()
            assert one.row is not None  # the others are counted
            try:
                self._ledger.dissociate(
                    one.row,
                    outcome=one.outcome,
                    objects=one.objects,
                    size_bytes=one.size_bytes,
                    now=one.ended_at,
                )
            except Exception:
                self._ends.appendleft(one)
                raise

    def _write_counts(self) -> None:
        with self._lock:
            if not self._closed:  # else the ledger has not taken those yet, and counts go on as they are
                self._close_old()
            changed = [one for one in (*self._closed, *self._counts.values()) if one.changed]
            tallies = [one.tally() for one in changed]
            for one in changed:
                one.changed = False
        try:
            rows = self._ledger.tally(tallies) if tallies else []
        except Exception:
            for one in changed:
                one.changed = True
            raise
        for one, row in zip(changed, rows, strict=True):
            one.row = row
        self._closed.clear()

    def _close_old(self) -> None:
        """What comes after a window is another row."""
        now = time.monotonic()
        for key, one in tuple(self._counts.items()):
            if now - one.began >= self._window_s:
                self._closed.append(self._counts.pop(key))
