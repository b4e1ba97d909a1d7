"""Whoever makes something due wakes the dispatcher of this machine, which then looks at the ledger at once.

A wake is a datagram on a unix socket in the state folder, and carries nothing. It may be lost, doubled or
come for nothing: the dispatcher looks twice a second by itself, so that costs delay and never a film.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.process import private

NAME = "dispatcher.sock"  # in the state folder's `run`
_LONGEST = 100  # bytes of an address: sockaddr_un.sun_path holds 108 with its closing NUL (unix(7))
_AT_ONCE = 256  # wakes that are taken off the socket together
_REST, _LONGEST_REST_S = 19, 0.05


class Wake:
    """Wakes the dispatcher that works on a state folder, if one does."""

    def __init__(self, state: Path) -> None:
        self._folder = _folder(state)

    def __call__(self) -> None:
        """Never waits, and never fails: a dispatcher that is away, or has wakes enough, looks by itself."""
        with suppress(OSError), _address(self._folder) as address, _datagrams() as sender:
            sender.sendto(b"\0", address)


class Wakes:
    """The dispatcher's end: it waits for wakes.

    Only one may exist for a state folder, so its holder has the dispatcher's lock. `deaf` says why nobody can
    wake it: on a full disk there may be no room for the socket's name.
    """

    def __init__(self, state: Path) -> None:
        self._folder = _folder(state)
        self._socket = _datagrams()
        self.deaf = ""
        try:
            private.make_folder(self._folder)
            with _address(self._folder) as address:
                Path(address).unlink(missing_ok=True)  # of a dispatcher that was killed
                self._socket.bind(address)
                Path(address).chmod(0o600)
        except OSError as error:
            self.deaf = error.strerror or type(error).__name__
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def wait(self, longest_s: float) -> None:
        """Return when somebody woke us since the last time, or after `longest_s`."""
        if not self._poll.poll(1000 * longest_s):
            return
        with suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                self._socket.recv(1)

    def close(self) -> None:
        self._socket.close()
        with suppress(OSError):
            (self._folder / NAME).unlink(missing_ok=True)


def rest_s(took_s: float) -> float:
    """How long a thread rests after a look that took so long: many wakes cost it a twentieth of its time."""
    return min(_REST * took_s, _LONGEST_REST_S)


def _folder(state: Path) -> Path:
    return state.absolute() / "run"


def _datagrams() -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    found.setblocking(False)
    return found


@contextmanager
def _address(folder: Path) -> Iterator[str]:
    """The socket's path, or a short one to the same place where that is too long for an address."""
    path = folder / NAME
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{NAME}"
    finally:
        os.close(fd)
