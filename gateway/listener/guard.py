"""What stands between a socket and the rest: caps, deadlines and fairness.

`Door` accepts connections and reads each one's A-ASSOCIATE-RQ in a single thread that never waits for any of
them. Only a whole request gets a thread and counts as an association, so silent and slow peers use up
neither. When too many knock, the address that has most connections waiting loses its oldest one: an honest
peer is served at once.

`Wire` is the socket of an association: each PDU has a deadline, whatever is of no use has another, and what
was read lies in one buffer of fixed size, whatever length a peer claims.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from gateway.process.muffler import Muffler
from gateway.process.supervised import BACKLOG
from gateway.upper_layer import AbortReason, BadPdu, PduType, abort

MOST_WAITING = 1024  # connections without a whole A-ASSOCIATE-RQ
MOST_REQUEST_BYTES = 1 << 20  # of one A-ASSOCIATE-RQ
MOST_WAITING_BYTES = 32 << 20  # of all that are on their way
LEAVE_S = 2.0  # how long a refused peer may take to close (PS3.8 ARTIM, state Sta13)
BUFFER_BYTES = 256 << 10

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux has it
_SMALL_REQUEST = 64 << 10  # bytes; nearly all are far below
_TICK_S = 0.25
_ACCEPT_PAUSE_S = 0.1
_HEADER = struct.Struct(">BxL")
_PDU_TYPES = frozenset(map(int, PduType))


def _nothing() -> None:
    pass


class Closed(Exception):
    """Raised when the peer closed or reset the connection."""


class Late(Exception):
    """Raised when the peer was silent, or slow, for longer than it may be."""


@dataclass(slots=True, eq=False)
class _Visitor:
    """A connection that is not an association: it knocks, or it leaves."""

    socket: socket.socket
    address: str
    deadline: float
    state: Literal["handshake", "asking", "leaving"]
    data: bytearray = field(default_factory=bytearray)
    needed: int = _HEADER.size


class Door:
    """Accepts connections and reads their A-ASSOCIATE-RQ (PS3.8 states Sta2 and Sta13).

    Args:
        welcome: gets the socket, the peer's address and the request's body; must not block.
        request_timeout_s: time to a whole A-ASSOCIATE-RQ, TLS handshake included.
        ssl_context: with one, every connection must be TLS.
        reuse_port: several processes listen on one port.
        muffler: for what is to be said about strangers.
        listening: a socket that listens already, shared with other processes.
        beat: called each time that the loop goes round.
    """

    def __init__(
        self,
        welcome: Callable[[socket.socket, str, bytes], None],
        *,
        request_timeout_s: float,
        muffler: Muffler,
        ssl_context: ssl.SSLContext | None = None,
        reuse_port: bool = False,
        most_waiting: int = MOST_WAITING,
        listening: socket.socket | None = None,
        beat: Callable[[], None] = _nothing,
    ) -> None:
        self._welcome = welcome
        self._shared = listening
        self._beat = beat
        self._request_timeout_s = request_timeout_s
        self._muffler = muffler
        self._ssl_context = ssl_context
        self._reuse_port = reuse_port
        self._most_waiting = most_waiting
        self._visitors: dict[socket.socket, _Visitor] = {}
        self._leaving: deque[tuple[socket.socket, str]] = deque()  # handed back by associations
        self._selector = selectors.DefaultSelector()
        self._bell, self._ringer = socket.socketpair()
        self._accepting = True
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)

    def open(self, host: str, port: int) -> int:
        """Listen on `host`; the port, which the system chooses when `port` is 0."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = self._shared or socket.create_server(
            (host, port), family=family, backlog=BACKLOG, reuse_port=self._reuse_port
        )
        self._listening.setblocking(False)
        self._bell.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._thread.start()
        found: int = self._listening.getsockname()[1]
        return found

    def see_off(self, connection: socket.socket, address: str) -> None:
        """Take a connection that got its last word: read on until the peer closes, else that word is lost."""
        if self._closing:
            connection.close()
            return
        self._leaving.append((connection, address))
        self._ring()

    def stop_accepting(self) -> None:
        """Nobody else gets in; who waits already is served."""
        self._accepting = False
        self._ring()

    def alive(self) -> bool:
        """Whether connections are still attended to."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop accepting, and close whoever waits."""
        self._accepting = False
        self._closing = True
        self._ring()
        self._thread.join(timeout=5)
        self._bell.close()
        self._ringer.close()

    def asking(self) -> int:
        """How many connections are here whose request may still come."""
        return sum(one.state != "leaving" for one in tuple(self._visitors.values()))

    def waiting(self) -> int:
        """How many connections are here that are no associations."""
        return len(self._visitors)

    def _ring(self) -> None:
        with suppress(OSError):
            self._ringer.send(b"\0")

    def _run(self) -> None:
        while not self._closing:
            self._beat()
            try:
                self._look_round()
            except MemoryError:
                self._relieve()
            if not self._accepting and self._listening.fileno() >= 0:
                self._selector.unregister(self._listening)
                self._listening.close()
        for connection, _ in self._leaving:
            connection.close()
        for visitor in tuple(self._visitors.values()):
            self._drop(visitor)
        self._selector.close()

    def _look_round(self) -> None:
        for key, _ in self._selector.select(timeout=_TICK_S):
            if key.fileobj is self._listening:
                self._accept()
            elif key.fileobj is self._bell:
                self._answer_bell()
            elif (visitor := self._visitors.get(key.fileobj)) is not None:  # type: ignore[call-overload]
                self._attend(visitor)
        self._expire()

    def _relieve(self) -> None:
        """No memory is left: let those go whose unfinished requests take most of it, and go on."""
        with suppress(MemoryError):
            for visitor in tuple(self._visitors.values()):
                if len(visitor.data) > _SMALL_REQUEST:
                    self._drop(visitor)
            self._muffler.warning("no memory for those at the door; large requests were dropped")
        time.sleep(_ACCEPT_PAUSE_S)

    def _accept(self) -> None:
        for _ in range(64):
            try:
                connection, peer = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:  # out of file descriptors, mostly: make room, do not spin
                self._muffler.warning("cannot accept a connection", error=error.strerror)
                self._make_room()
                time.sleep(_ACCEPT_PAUSE_S)
                return
            try:
                self._admit(connection, str(peer[0]))
            except OSError:
                connection.close()

    def _admit(self, connection: socket.socket, address: str) -> None:
        if len(self._visitors) >= self._most_waiting:
            self._make_room()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        state: Literal["handshake", "asking"] = "asking"
        if self._ssl_context is not None:
            connection = self._ssl_context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
            state = "handshake"
        deadline = time.monotonic() + self._request_timeout_s
        self._enter(_Visitor(connection, address, deadline, state))

    def _enter(self, visitor: _Visitor) -> None:
        self._visitors[visitor.socket] = visitor
        self._selector.register(visitor.socket, selectors.EVENT_READ)

    def _answer_bell(self) -> None:
        with suppress(BlockingIOError):
            self._bell.recv(4096)
        while self._leaving:
            connection, address = self._leaving.popleft()
            try:
                connection.setblocking(False)
                if len(self._visitors) >= self._most_waiting:
                    self._make_room()
                self._enter(_Visitor(connection, address, 0.0, "leaving"))
                self._bid_farewell(self._visitors[connection])
            except (OSError, ValueError):
                connection.close()

    def _attend(self, visitor: _Visitor) -> None:
        try:
            if visitor.state == "handshake":
                self._shake_hands(visitor)
            elif visitor.state == "leaving":
                self._ignore(visitor)
            else:
                self._listen(visitor)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except ssl.SSLWantWriteError:
            self._selector.modify(visitor.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
        except ssl.SSLError as error:
            self._muffler.warning("TLS refused", address=visitor.address, error=error.reason)
            self._drop(visitor)
        except (OSError, Closed):
            self._drop(visitor)
        except MemoryError:  # a part of its request may be lost
            self._drop(visitor)
            raise
        except BadPdu as bad:
            self._muffler.warning("not a DICOM association request", address=visitor.address, what=str(bad))
            with suppress(OSError):
                visitor.socket.send(abort(bad.reason))
            self._bid_farewell(visitor)

    def _shake_hands(self, visitor: _Visitor) -> None:
        assert isinstance(visitor.socket, ssl.SSLSocket)
        visitor.socket.do_handshake()
        self._selector.modify(visitor.socket, selectors.EVENT_READ)
        visitor.state = "asking"
        self._listen(visitor)  # the request may lie in the TLS buffer, where no selector sees it

    def _listen(self, visitor: _Visitor) -> None:
        """Read on; hand the connection over once the request is whole."""
        while True:
            chunk = visitor.socket.recv(min(visitor.needed - len(visitor.data), _SMALL_REQUEST))
            if not chunk:
                raise Closed
            visitor.data += chunk
            if visitor.needed == _HEADER.size == len(visitor.data):
                visitor.needed += self._request_length(visitor)
            if len(visitor.data) == visitor.needed:
                break
            if len(visitor.data) > _SMALL_REQUEST:
                self._limit_bytes()
        self._unregister(visitor)
        visitor.socket.setblocking(True)
        try:
            self._welcome(visitor.socket, visitor.address, bytes(memoryview(visitor.data)[_HEADER.size :]))
        finally:  # not before: it is always either here or an association, for who waits for both to end
            self._visitors.pop(visitor.socket, None)

    def _request_length(self, visitor: _Visitor) -> int:
        kind, length = _HEADER.unpack(visitor.data)
        if kind not in _PDU_TYPES:
            raise BadPdu(AbortReason.UNRECOGNIZED_PDU, "unknown PDU type")
        if kind != PduType.ASSOCIATE_RQ:
            raise BadPdu(AbortReason.UNEXPECTED_PDU, "unexpected PDU")
        if not 0 < length <= MOST_REQUEST_BYTES:
            raise BadPdu(AbortReason.INVALID_PARAMETER, "a length that no A-ASSOCIATE-RQ has")
        return int(length)

    def _ignore(self, visitor: _Visitor) -> None:
        while visitor.socket.recv(65536):
            pass
        raise Closed

    def _bid_farewell(self, visitor: _Visitor) -> None:
        visitor.state = "leaving"
        visitor.data = bytearray()
        visitor.deadline = time.monotonic() + LEAVE_S
        with suppress(OSError):
            visitor.socket.shutdown(socket.SHUT_WR)

    def _expire(self) -> None:
        now = time.monotonic()
        for visitor in [one for one in self._visitors.values() if one.deadline <= now]:
            if visitor.state != "leaving":
                self._muffler.warning("no association request in time", address=visitor.address)
            self._drop(visitor)

    def _make_room(self) -> None:
        """Drop the oldest connection of the address that has most of them here."""
        if not self._visitors:
            return
        greedy, _ = Counter(one.address for one in self._visitors.values()).most_common(1)[0]
        self._drop(next(one for one in self._visitors.values() if one.address == greedy))

    def _limit_bytes(self) -> None:
        while sum(len(one.data) for one in self._visitors.values()) > MOST_WAITING_BYTES:
            self._drop(max(self._visitors.values(), key=lambda one: len(one.data)))

    def _forget(self, visitor: _Visitor) -> None:
        self._visitors.pop(visitor.socket, None)
        self._unregister(visitor)

    def _unregister(self, visitor: _Visitor) -> None:
        with suppress(KeyError, ValueError, OSError):
            self._selector.unregister(visitor.socket)

    def _drop(self, visitor: _Visitor) -> None:
        self._forget(visitor)
        with suppress(OSError):
            visitor.socket.close()


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
        connection.settimeout(min(1.0, idle_timeout_s, pdu_timeout_s))

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
        kind, length = _HEADER.unpack(self.exactly(_HEADER.size))
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
        try:
            self._socket.settimeout(self._pdu_timeout_s)
            self._socket.sendall(data)
            self._socket.settimeout(min(1.0, self._idle_timeout_s, self._pdu_timeout_s))
        except TimeoutError as error:
            raise Late("the peer does not read") from error
        except OSError as error:
            raise Closed(str(error.strerror)) from error

    def release(self) -> None:
        """Give the buffer back; nothing is read after this."""
        self._view = memoryview(b"")
        self._before_fill = _nothing  # it may refer to who holds this wire: a circle would keep both

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
            except TimeoutError:
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
