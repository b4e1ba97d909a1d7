"""The socket of an association: what came, in one buffer of fixed size, whatever length a peer claims.

Each PDU has a deadline, and whatever is of no use has another.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable

from gateway.upper_layer.pdu import HEADER

BUFFER_BYTES = 512 << 10  # the processor's cache holds it, and a film of 10 MB is twenty reads

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux has it
_LOOK_UP_S = 1.0  # so often a thread that waits for its peer looks at its deadlines
_STILL_WAITING = (TimeoutError, BlockingIOError)  # what `_look_up_every` makes of a wait


class Closed(Exception):
    """Raised when the peer closed or reset the connection."""


class Late(Exception):
    """Raised when the peer was silent, or slow, for longer than it may be."""


class Wire:
    """The bytes of one association, read through one buffer of fixed size with deadlines.

    Args:
        connection: a blocking socket.
        idle_timeout_s: what we wait for the peer, in all, from one `progress` to the next.
        pdu_timeout_s: time to a whole PDU once it began.
        before_fill: called before the buffer is overwritten; views that `some` gave out are used up in it.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        idle_timeout_s: float,
        pdu_timeout_s: float,
        before_fill: Callable[[], None],
    ) -> None:
        self._socket = connection
        self._idle_timeout_s = idle_timeout_s
        self._pdu_timeout_s = pdu_timeout_s
        self._before_fill = before_fill
        self._view = memoryview(b"")  # until `take_buffer`
        self._start = self._end = 0
        # How long we may still wait for the peer; our own disk's time does not count.
        self._patience_s = 0.0  # for this PDU
        self._stall_s = idle_timeout_s  # for anything of use
        _look_up_every(connection, min(_LOOK_UP_S, idle_timeout_s, pdu_timeout_s))

    def take_buffer(self) -> None:
        """Make the buffer: in the association's own thread, which alone ends when there is no memory.

        Raises:
            MemoryError: there is none.
        """
        self._view = memoryview(bytearray(BUFFER_BYTES))

    def progress(self) -> None:
        """Something of use came: the clock of those who only hold the line starts anew."""
        self._stall_s = self._idle_timeout_s

    def next_pdu(self) -> tuple[int, int]:
        """Type and length of the next PDU; its clock runs from now.

        Raises:
            Closed: the peer went away. Late: nothing of use came, or the six bytes did not come in time.
        """
        if self._start == self._end:
            self._patience_s = self._stall_s
            self._fill()
        self._patience_s = self._pdu_timeout_s
        kind, length = HEADER.unpack(self.exactly(HEADER.size))
        return kind, length

    def exactly(self, size: int) -> memoryview:
        """The next few bytes, together; at most a quarter of the buffer.

        Raises:
            Closed, Late: they did not come.
        """
        while self._end - self._start < size:
            self._fill()
        start, self._start = self._start, self._start + size
        return self._view[start : self._start]

    def some(self, most: int) -> memoryview:
        """What is there, at least one byte, at most `most`. Good until the next `before_fill`.

        Raises:
            Closed, Late: nothing came.
        """
        if self._start == self._end:
            self._fill()
        start, self._start = self._start, min(self._start + most, self._end)
        return self._view[start : self._start]

    def send(self, data: bytes) -> None:
        """
        Raises:
            Closed, Late: it could not be sent.
        """
        rest, until = memoryview(data), time.monotonic() + self._pdu_timeout_s
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except _STILL_WAITING as error:
                if time.monotonic() > until:
                    raise Late("the peer does not read") from error
            except OSError as error:
                raise Closed(str(error.strerror)) from error

    def release(self) -> None:
        """Give the buffer back; nothing is read after this."""
        self._view = memoryview(b"")
        self._before_fill = lambda: None  # it may refer to who holds this wire: a circle would keep both

    def _acknowledge(self) -> None:
        """Let the kernel acknowledge now what was read, not 40 ms later.

        A sender that writes a command and then its dataset, with Nagle's algorithm on, waits for just that.
        """
        if _QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _fill(self) -> None:
        """Read once from the socket behind what is not used up yet."""
        self._before_fill()
        rest = self._end - self._start
        if rest and self._start:
            self._view[:rest] = self._view[self._start : self._end]
        self._start, self._end = 0, rest
        count: int | None = None
        while count is None:
            began = time.monotonic()
            try:
                self._acknowledge()
                count = self._socket.recv_into(self._view[rest:])
            except _STILL_WAITING:
                pass
            except OSError as error:
                raise Closed(str(error.strerror)) from error
            waited_s = time.monotonic() - began
            self._patience_s -= waited_s
            self._stall_s -= waited_s
            if self._stall_s < 0:
                raise Late("nothing of use came for too long")
            if self._patience_s < 0:
                raise Late("a PDU that did not come in time")
        if count == 0:
            raise Closed("closed by the peer")
        self._end = rest + count


def _look_up_every(connection: socket.socket, seconds: float) -> None:
    """Let no send and no receive of this socket wait longer, before it raises one of _STILL_WAITING.

    The kernel keeps the time. Python's own timeout would ask `poll` before each call, and so give the
    interpreter's lock away twice instead of once; but TLS, where one call may be several, knows no other.
    """
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(seconds)
        return
    connection.settimeout(None)
    timeval = struct.pack("ll", *divmod(max(1, round(seconds * 1e6)), 1_000_000))  # seconds, microseconds
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, timeval)
