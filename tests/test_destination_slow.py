"""A destination that is slow is waited for; one that hangs is not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from dicom_destination import Connect, connect
from storage_peers import (
    WAIT_S,
    accept,
    answer,
    kept,
    raw_peer,
    take_message,
)

from gateway.upper_layer import association
from gateway.upper_layer.association import Association, TimedOut

__all__ = ["connect"]


def test_a_peer_that_hangs_after_the_object(connect: Connect, tmp_path: Path) -> None:
    """No response within the timeout."""

    def hangs(connection: socket.socket) -> None:
        accept(connection)
        take_message(connection)
        connection.recv(1)

    with raw_peer(hangs) as port, pytest.raises(TimedOut, match="no response"):
        connect(port, timeout_s=0.2).deliver(*kept(tmp_path, b"12"))


@pytest.mark.parametrize("size", [20 << 20, 200_000])
def test_a_peer_that_takes_a_byte_a_second(connect: Connect, tmp_path: Path, size: int) -> None:
    """Neither the kernel's buffers nor trickling progress hide it, be the object large or small."""
    enough = threading.Event()

    def crawls(connection: socket.socket) -> None:
        accept(connection)
        while not enough.wait(0.05):
            connection.recv(1)

    with raw_peer(crawls) as port:
        with pytest.raises(TimedOut):
            connect(port, timeout_s=0.3).deliver(*kept(tmp_path, bytes(size)))
        enough.set()


class Hasty:
    """A clock that goes on by `step_s` whenever it is looked at, however busy the machine is."""

    def __init__(self) -> None:
        self.now, self.step_s = 0.0, 0.0

    def monotonic(self) -> float:
        self.now += self.step_s
        return self.now


def test_a_slow_link_is_not_a_hanging_peer(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object that takes many timeouts' time goes through, as long as enough of it moves in each."""
    clock = Hasty()
    monkeypatch.setattr(association, "SLOWEST_BYTES_S", 1)
    monkeypatch.setattr(association, "time", clock)
    pause = threading.Event()

    def slow(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        accept(connection)
        take = connection.recv

        class Slowly:
            def recv(self, count: int) -> bytes:
                pause.wait(0.002)
                return take(count)

        answer(connection, take_message(Slowly()))  # type: ignore[arg-type]
        connection.recv(1)

    send = Association._send

    def sending(self: Association, pieces: Sequence[bytes | memoryview]) -> None:
        clock.step_s = 0.6 * WAIT_S
        send(self, pieces)
        clock.step_s = 0.0

    monkeypatch.setattr(Association, "_send", sending)
    with raw_peer(slow) as port:
        connect(port, timeout_s=WAIT_S).deliver(*kept(tmp_path, bytes(12 << 20)))
    assert clock.now > 10 * WAIT_S
