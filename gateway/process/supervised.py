"""A process's side of its supervision: it hears that it is to stop, and tells that it is ready and alive.

The other side is `supervisor.processes`. It hands two file descriptors over in the environment: the writing
end of a pipe for heartbeats, and the socket that listeners share. A process that is started by hand has
neither; it says on standard output that it is ready.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread

READY, BEAT, LEAVING = b"ready\n", b"beat\n", b"leaving\n"
READY_FD, LISTEN_FD = "FILMGATE_READY_FD", "FILMGATE_LISTEN_FD"
BACKLOG = 1024  # connections that the kernel keeps for the listeners while they are busy
BEAT_S = 1.0  # no more than one heartbeat in so long

_STOPS = (signal.SIGTERM, signal.SIGINT)


class SupervisorPipe:
    """Tells the supervisor that this process is ready, that its loop goes round, and that it leaves.

    A pipe that is full, or that nobody reads any more, does no harm: the supervisor is stopped or dead then.

    Args:
        say: tells a person that the process is ready, where no supervisor asked.
    """

    def __init__(self, say: Callable[[], None]) -> None:
        self._say = say
        self._pipe = taken(READY_FD)
        self._beat_at = math.inf  # no heartbeat before all is ready, though the loop goes round

    @property
    def heard(self) -> bool:
        """Whether a supervisor listens."""
        return self._pipe is not None

    def ready(self) -> None:
        if self._pipe is None:
            self._say()
        self._write(READY)
        self._beat_at = 0.0

    def beat(self) -> None:
        """The loop that matters went round once more."""
        now = time.monotonic()
        if now - self._beat_at >= BEAT_S:
            self._beat_at = now
            self._write(BEAT)

    def leaving(self) -> None:
        """It takes nothing new from now on: another one may be started in its place."""
        self._write(LEAVING)

    def _write(self, message: bytes) -> None:
        if self._pipe is not None:
            with suppress(OSError):
                os.write(self._pipe, message)


def stop_on_signals(stop: Event, pipe: SupervisorPipe) -> None:
    """Let SIGTERM and SIGINT set `stop`; called from the main thread, before anything is taken in hand.

    Whichever thread the kernel gives a signal to, the interpreter writes its number to the wakeup socket. To
    block the signals in all threads but one, and wait for them there, would not do: libraries (OpenBLAS)
    start threads of their own when they are imported. And a handler in Python must not set an Event, whose
    lock the interrupted code may hold.

    A second signal ends a process that was started by hand at once. One that is supervised passes it over: it
    may come from a service manager that asks every process of a unit, or from the kernel when the supervisor
    is gone; and a supervisor kills with SIGKILL.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    wakeup_fd = writer.detach()  # open for as long as the process lives

    def hear() -> None:
        while True:
            (number,) = reader.recv(1)
            if number not in _STOPS:
                continue
            if not stop.is_set():
                stop.set()
                pipe.leaving()
            elif not pipe.heard:
                os._exit(128 + number)

    Thread(target=hear, name="signals", daemon=True).start()
    signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
    for number in _STOPS:
        signal.signal(number, lambda *_: None)


def listening_socket() -> socket.socket | None:
    """The socket that the supervisor listens on for its listeners; None when there is none."""
    fd = taken(LISTEN_FD)
    return None if fd is None else socket.socket(fileno=fd)


def taken(name: str) -> int | None:
    """The file descriptor that the environment names; it is ours alone, not for what we start in turn."""
    number = os.environ.pop(name, "")
    if not number:
        return None
    fd = int(number)
    os.set_inheritable(fd, False)
    os.set_blocking(fd, False)
    return fd
