"""Standard output and error of a process that runs for months: no thread waits until its lines are written.

A pager that nobody scrolls, a log driver that hangs, a disk that is full or a terminal that was closed would
otherwise stop, or end, each thread that has something to say. So lines go into a queue of bounded size, and
one thread writes them. What finds the queue full is dropped and counted; the count stands in its place.

`logging.handlers.QueueListener` does not do here: its `stop` waits for the writer without end, what its queue
has no place for is reported on the very standard error that is stuck, and prints and tracebacks pass it by.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO, cast

MOST_WAITING = 8192  # lines
MOST_WAITING_BYTES = 4 << 20
SETTLE_S = 1.0  # lines that wait at the end of the process have so long to be written
HANGS_S = 5.0  # when nothing can be written for so long, `filmgate doctor` says so
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0  # between tries to write where it fails (no room, no reader)

_PIPE_BUF = 4096  # pipe(7): a pipe that poll(2) calls writable takes so much without blocking
_POLL_MS = 250

_streams: list[QueuedStream] = []


class QueuedStream(io.TextIOBase):
    """A text file for one descriptor, whose `write` neither blocks nor fails.

    Args:
        fd: where the lines go, 1 or 2.
        most: how many lines may wait, ...
        most_bytes: ... and how many bytes of them.
    """

    encoding = "utf-8"

    def __init__(self, fd: int, *, most: int = MOST_WAITING, most_bytes: int = MOST_WAITING_BYTES) -> None:
        super().__init__()
        self.note: Callable[[int], str] = _plain_note  # the line that takes the place of so many lost ones
        self.when_stuck: Callable[[str], None] = _nobody  # why nothing can be written; "" when it can again
        self.lost = 0  # lines that were dropped since the process began
        self._fd = fd
        self._most = most
        self._most_bytes = most_bytes
        self._lines: list[bytes] = []
        self._bytes = 0
        self._dropped = 0  # lines that `note` is still to be written for
        self._busy = False
        self._trouble = ""
        # A signal handler or a finalizer may print while its thread holds this lock: it may be taken again.
        self._changed = threading.Condition()
        self._own = threading.local()  # the beginning of a line that a thread writes bit by bit
        self._thread = threading.Thread(target=self._run, name="standard streams", daemon=True)
        _start_deaf(self._thread)
        _streams.append(self)

    def write(self, text: str) -> int:
        """Put whole lines into the queue; the rest waits for its end."""
        whole, newline, rest = (getattr(self._own, "rest", "") + text).rpartition("\n")
        self._own.rest = rest
        if newline:
            self._put((whole + newline).encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Nothing to do: the thread writes as soon as it can."""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def fileno(self) -> int:
        return self._fd

    def settle(self, within_s: float) -> bool:
        """Wait until all is written, for `within_s` at most; whether it is."""
        if rest := getattr(self._own, "rest", ""):
            self._own.rest = ""
            self._put(rest.encode("utf-8", "backslashreplace") + b"\n")
        with self._changed:
            return self._changed.wait_for(
                lambda: not (self._lines or self._dropped or self._busy), timeout=within_s
            )

    def _put(self, lines: bytes) -> None:
        with self._changed:
            if len(self._lines) >= self._most or self._bytes + len(lines) > self._most_bytes:
                count = lines.count(b"\n")
                self.lost += count
                self._dropped += count
            else:
                self._lines.append(lines)
                self._bytes += len(lines)
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines or self._dropped)
                # All that waits is taken at once: what was dropped comes after it, and before what follows.
                lines, dropped = self._lines, self._dropped
                self._lines, self._bytes, self._dropped = [], 0, 0
                self._busy = True
            try:
                if dropped:
                    lines.append(self.note(dropped).encode("utf-8", "backslashreplace"))
                self._pour(b"".join(lines))
            except Exception:  # noqa: BLE001  there is no log to say it in, and the next lines may do
                self.lost += len(lines)

    def _pour(self, data: bytes) -> None:
        """Write on until all of it is written, however long that takes."""
        at, pause_s, since = 0, FIRST_PAUSE_S, time.monotonic()
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while at < len(data):
            if not poll.poll(_POLL_MS):
                if time.monotonic() - since >= HANGS_S:
                    self._say_trouble("whoever should read the log does not read it")
                continue
            end = data.rfind(b"\n", at, at + _PIPE_BUF) + 1 or at + _PIPE_BUF
            try:
                at += os.write(self._fd, data[at:end])
            except BlockingIOError:  # another writer was faster
                continue
            except OSError as error:
                self._say_trouble(f"the log cannot be written: {error.strerror}")
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            since, pause_s = time.monotonic(), FIRST_PAUSE_S
            self._say_trouble("")

    def _say_trouble(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self.when_stuck(trouble)


def take_over() -> tuple[QueuedStream, QueuedStream]:
    """Have all that Python writes to standard output and error go through queues from now on."""
    out = sys.stdout if isinstance(sys.stdout, QueuedStream) else QueuedStream(1)
    err = sys.stderr if isinstance(sys.stderr, QueuedStream) else QueuedStream(2)
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
    return out, err


def settle(within_s: float = SETTLE_S) -> None:
    """Give the lines that wait in all streams a last time to be written: the process is about to end."""
    until = time.monotonic() + within_s
    for stream in _streams:
        stream.settle(max(0.0, until - time.monotonic()))


def need_standard_files() -> None:
    """Open what the shell closed (`2>&-`): else lines are printed into the next file that is opened."""
    for fd, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            setattr(sys, name, os.fdopen(fd, "r" if fd == 0 else "w", encoding="utf-8", closefd=False))


def _start_deaf(thread: threading.Thread) -> None:
    """Start a thread that receives no signal: they are for the thread that waits for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _plain_note(count: int) -> str:
    return f"filmgate: {count} lines were not written\n"


def _nobody(_: str) -> None:
    pass


@atexit.register
def _at_the_end() -> None:
    with contextlib.suppress(Exception):
        settle()
