"""Who may become an association: caps, deadlines and fairness before the A-ASSOCIATE-RQ is whole.

`Door` is an acceptor's states Sta2 (connected, and a request awaited) and Sta13 (the last word said, and the
peer's close awaited), with the ARTIM timer of both (PS3.8 sections 9.1.5 and 9.2). A single thread reads each
connection's A-ASSOCIATE-RQ and never waits for any of them. Only a whole request gets a thread and counts as
an association, so silent and slow peers use up neither. When too many knock, the address that has most
connections waiting loses its oldest one: an honest peer is served at once.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from gateway.listener.wire import Closed
from gateway.logs.limiter import LogLimiter
from gateway.process.supervised import BACKLOG
from gateway.upper_layer.pdu import HEADER, AbortReason, BadPdu, PduType, abort

MOST_WAITING = 1024  # connections without a whole A-ASSOCIATE-RQ
MOST_REQUEST_BYTES = 1 << 20  # of one A-ASSOCIATE-RQ
MOST_WAITING_BYTES = 32 << 20  # of all that are on their way
LEAVE_S = 2.0  # ARTIM in Sta13: how long a peer may take to close

_SMALL_REQUEST = 64 << 10  # bytes; nearly all are far below
_TICK_S = 0.25
_ACCEPT_PAUSE_S = 0.1
_PDU_TYPES = frozenset(map(int, PduType))


@dataclass(slots=True, eq=False)
class _Connection:
    """A connection that is not an association: it knocks, or it leaves."""

    socket: socket.socket
    address: str
    deadline: float
    state: Literal["handshake", "Sta2", "Sta13"]
    data: bytearray = field(default_factory=bytearray)
    needed: int = HEADER.size


class Door:
    """Accepts connections and reads their A-ASSOCIATE-RQ (PS3.8 states Sta2 and Sta13).

    Args:
        welcome: gets the socket, the peer's address and the request's body; must not block.
        request_timeout_s: time to a whole A-ASSOCIATE-RQ, TLS handshake included.
        ssl_context: with one, every connection must be TLS.
        reuse_port: several processes listen on one port.
        log_limiter: for what is to be said about strangers.
        listening: a socket that listens already, shared with other processes.
        beat: called each time that the loop goes round.
    """

    def __init__(
        self,
        welcome: Callable[[socket.socket, str, bytes], None],
        *,
        request_timeout_s: float,
        log_limiter: LogLimiter,
        ssl_context: ssl.SSLContext | None = None,
        reuse_port: bool = False,
        most_waiting: int = MOST_WAITING,
        listening: socket.socket | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._welcome = welcome
        self._shared = listening
        self._beat = beat
        self._request_timeout_s = request_timeout_s
        self._log_limiter = log_limiter
        self._ssl_context = ssl_context
        self._reuse_port = reuse_port
        self._most_waiting = most_waiting
        self._connections: dict[socket.socket, _Connection] = {}
        self._ended: deque[tuple[socket.socket, str]] = deque()  # handed back by associations
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

    def await_close(self, connection: socket.socket, address: str) -> None:
        """Take a connection that got its last word: read on until the peer closes, else that word is lost."""
        if self._closing:
            connection.close()
            return
        self._ended.append((connection, address))
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
        return sum(peer.state != "Sta13" for peer in tuple(self._connections.values()))

    def waiting(self) -> int:
        """How many connections are here that are no associations."""
        return len(self._connections)

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
        for connection, _ in self._ended:
            connection.close()
        for peer in tuple(self._connections.values()):
            self._drop(peer)
        self._selector.close()

    def _look_round(self) -> None:
        for key, _ in self._selector.select(timeout=_TICK_S):
            if key.fileobj is self._listening:
                self._accept()
            elif key.fileobj is self._bell:
                self._answer_bell()
            elif (peer := self._connections.get(key.fileobj)) is not None:  # type: ignore[call-overload]
                self._attend(peer)
        self._expire()

    def _relieve(self) -> None:
        """No memory is left: let those go whose unfinished requests take most of it, and go on."""
        with suppress(MemoryError):
            for peer in tuple(self._connections.values()):
                if len(peer.data) > _SMALL_REQUEST:
                    self._drop(peer)
            self._log_limiter.warning("no memory for those at the door; large requests were dropped")
        time.sleep(_ACCEPT_PAUSE_S)

    def _accept(self) -> None:
        for _ in range(64):
            try:
                connection, peer = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:  # out of file descriptors, mostly: make room, do not spin
                self._log_limiter.warning("cannot accept a connection", error=error.strerror)
                self._make_room()
                time.sleep(_ACCEPT_PAUSE_S)
                return
            try:
                self._admit(connection, str(peer[0]))
            except OSError:
                connection.close()

    def _admit(self, connection: socket.socket, address: str) -> None:
        if len(self._connections) >= self._most_waiting:
            self._make_room()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        state: Literal["handshake", "Sta2"] = "Sta2"
        if self._ssl_context is not None:
            connection = self._ssl_context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
            state = "handshake"
        deadline = time.monotonic() + self._request_timeout_s
        self._enter(_Connection(connection, address, deadline, state))

    def _enter(self, peer: _Connection) -> None:
        self._connections[peer.socket] = peer
        self._selector.register(peer.socket, selectors.EVENT_READ)

    def _answer_bell(self) -> None:
        with suppress(BlockingIOError):
            self._bell.recv(4096)
        while self._ended:
            connection, address = self._ended.popleft()
            try:
                connection.setblocking(False)
                if len(self._connections) >= self._most_waiting:
                    self._make_room()
                self._enter(_Connection(connection, address, 0.0, "Sta13"))
                self._await_close(self._connections[connection])
            except (OSError, ValueError):
                connection.close()

    def _attend(self, peer: _Connection) -> None:
        try:
            if peer.state == "handshake":
                self._shake_hands(peer)
            elif peer.state == "Sta13":
                self._drain(peer)
            else:
                self._listen(peer)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except ssl.SSLWantWriteError:
            self._selector.modify(peer.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
        except ssl.SSLError as error:
            self._log_limiter.warning("TLS refused", address=peer.address, error=error.reason)
            self._drop(peer)
        except (OSError, Closed):
            self._drop(peer)
        except MemoryError:  # a part of its request may be lost
            self._drop(peer)
            raise
        except BadPdu as bad:
            self._log_limiter.warning("not a DICOM association request", address=peer.address, what=str(bad))
            with suppress(OSError):
                peer.socket.send(abort(bad.reason))
            self._await_close(peer)

    def _shake_hands(self, peer: _Connection) -> None:
        assert isinstance(peer.socket, ssl.SSLSocket)
        peer.socket.do_handshake()
        self._selector.modify(peer.socket, selectors.EVENT_READ)
        peer.state = "Sta2"
        self._listen(peer)  # the request may lie in the TLS buffer, where no selector sees it

    def _listen(self, peer: _Connection) -> None:
        """Read on; hand the connection over once the request is whole."""
        while True:
            chunk = peer.socket.recv(min(peer.needed - len(peer.data), _SMALL_REQUEST))
            if not chunk:
                raise Closed
            peer.data += chunk
            if peer.needed == HEADER.size == len(peer.data):
                peer.needed += self._request_length(peer)
            if len(peer.data) == peer.needed:
                break
            if len(peer.data) > _SMALL_REQUEST:
                self._limit_bytes()
        self._unregister(peer)
        peer.socket.setblocking(True)
        try:
            self._welcome(peer.socket, peer.address, bytes(memoryview(peer.data)[HEADER.size :]))
        finally:  # not before: it is always either here or an association, for who waits for both to end
            self._connections.pop(peer.socket, None)

    def _request_length(self, peer: _Connection) -> int:
        kind, length = HEADER.unpack(peer.data)
        if kind not in _PDU_TYPES:
            raise BadPdu(AbortReason.UNRECOGNIZED_PDU, "unknown PDU type")
        if kind != PduType.ASSOCIATE_RQ:
            raise BadPdu(AbortReason.UNEXPECTED_PDU, "unexpected PDU")
        if not 0 < length <= MOST_REQUEST_BYTES:
            raise BadPdu(AbortReason.INVALID_PARAMETER, "a length that no A-ASSOCIATE-RQ has")
        return int(length)

    def _drain(self, peer: _Connection) -> None:
        while peer.socket.recv(65536):
            pass
        raise Closed

    def _await_close(self, peer: _Connection) -> None:
        peer.state = "Sta13"
        peer.data = bytearray()
        peer.deadline = time.monotonic() + LEAVE_S
        with suppress(OSError):
            peer.socket.shutdown(socket.SHUT_WR)

    def _expire(self) -> None:
        now = time.monotonic()
        for peer in [peer for peer in self._connections.values() if peer.deadline <= now]:
            if peer.state != "Sta13":
                self._log_limiter.warning("no association request in time", address=peer.address)
            self._drop(peer)

    def _make_room(self) -> None:
        """Drop the oldest connection of the address that has most of them here."""
        if not self._connections:
            return
        greedy, _ = Counter(peer.address for peer in self._connections.values()).most_common(1)[0]
        self._drop(next(peer for peer in self._connections.values() if peer.address == greedy))

    def _limit_bytes(self) -> None:
        while sum(len(peer.data) for peer in self._connections.values()) > MOST_WAITING_BYTES:
            self._drop(max(self._connections.values(), key=lambda peer: len(peer.data)))

    def _forget(self, peer: _Connection) -> None:
        self._connections.pop(peer.socket, None)
        self._unregister(peer)

    def _unregister(self, peer: _Connection) -> None:
        with suppress(KeyError, ValueError, OSError):
            self._selector.unregister(peer.socket)

    def _drop(self, peer: _Connection) -> None:
        self._forget(peer)
        with suppress(OSError):
            peer.socket.close()
