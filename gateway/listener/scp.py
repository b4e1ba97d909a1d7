"""The listener: a Verification and Storage SCP (PS3.4 annexes A, B) that says 0x0000 only of what is safe."""

from __future__ import annotations

import mmap
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

import structlog

from gateway.errors import FilmgateError, LedgerError, StoreError
from gateway.listener.audit import Audit
from gateway.listener.door import Door
from gateway.listener.receive import Association, Shared, neighbourhood
from gateway.listener.recorder import ReceiveLedger, Recorder
from gateway.logs.limiter import LogLimiter
from gateway.settings import GatewaySettings, Settings
from gateway.store import Store
from gateway.upper_layer.acceptor import (
    CALLED_UNKNOWN,
    CALLING_UNKNOWN,
    NO_MEMORY,
    NO_ROOM,
    NOT_ALLOWED,
    TOO_MANY,
    TOO_MANY_OF_ONE,
    AssociateRequest,
    Rejection,
    titles,
)

QUIET_S = 2.0  # an association that has been silent so long is not waited for when we stop
OPEN_FILES = 8192
_THREAD_BYTES = 16 << 20  # address space of a thread: its stack, and what it begins with

log = structlog.get_logger(__name__)


class Listener:
    """Receives objects on one port, an association a thread.

    Args:
        settings: `gateway` and `routes` are used.
        ledger: where objects, associations and refusals are recorded.
        store: where objects are kept.
        port: another port than the settings name; 0 lets the system choose.
        ssl_context: with one, every connection must be TLS.
        reuse_port: other processes listen on the same port.
        listening: a socket that listens already and is shared with others; then host and port are its own.
        beat: called each time that the loop goes round which accepts connections.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: ReceiveLedger,
        store: Store,
        *,
        port: int | None = None,
        ssl_context: ssl.SSLContext | None = None,
        reuse_port: bool = False,
        listening: socket.socket | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.port = settings.gateway.port if port is None else port
        self._settings = settings
        self._ledger = ledger
        self._store = store
        self._log_limiter = LogLimiter()
        self._door = Door(
            self._welcome,
            request_timeout_s=settings.gateway.association_timeout_s,
            log_limiter=self._log_limiter,
            ssl_context=ssl_context,
            reuse_port=reuse_port,
            listening=listening,
            beat=beat,
        )
        self._audit = Audit(ledger, self._log_limiter)
        self._shared = Shared(
            store=store,
            ledger=ledger,
            recorder=Recorder(
                ledger,
                lambda: self._settings.routes.always,
                ai=settings.ai,
                observing=settings.policy.mode == "observe",
            ),
            log_limiter=self._log_limiter,
            settings=settings.gateway,
            admit=self._admit,
            audit=self._audit,
            await_close=self._door.await_close,
            destinations_of=self._destinations_of,
        )
        self._changed = threading.Condition()
        self._open: set[Association] = set()

    def start(self) -> int:
        """Sweep what dead processes left in `incoming/`, make the store's folders, then listen; the port."""
        swept = self._store.sweep_incoming()
        if swept:
            log.info("removed unfinished objects of a process that ended", count=swept)
        with suppress(StoreError):  # then each object's own folder is made, and what is wrong said with it
            self._store.make_folders()
        self._audit.start()
        gateway = self._settings.gateway
        self.port = self._door.open(gateway.host, self.port)
        log.info("listening", host=gateway.host, port=self.port, ae_title=gateway.ae_title)
        return self.port

    def stop(self, drain_s: float = 20.0) -> None:
        """Stop accepting, let associations finish for `drain_s` seconds, then abort the rest.

        Who connected before may still ask for an association, for QUIET_S: the system said that we are here.
        """
        began = time.monotonic()
        end = began + drain_s
        self._door.stop_accepting()
        while (now := time.monotonic()) < end and (
            (now < began + QUIET_S and self._door.asking()) or self._open
        ):
            for one in self._associations():
                if one.quiet_s() > QUIET_S:
                    one.stop()
            with self._changed:
                self._changed.wait(min(0.05, drain_s))
        for one in self._associations():
            one.stop()
        with self._changed:
            self._changed.wait_for(lambda: not self._open, timeout=2.0)
        self._door.close()
        self._audit.stop()
        log.info("stopped listening", port=self.port, unfinished=len(self._open))

    def associations(self) -> int:
        """How many are open."""
        return len(self._open)

    def alive(self) -> bool:
        """Whether new connections are attended to."""
        return self._door.alive()

    def _associations(self) -> tuple[Association, ...]:
        with self._changed:
            return tuple(self._open)

    def _welcome(self, connection: socket.socket, address: str, request: bytes) -> None:
        """A whole A-ASSOCIATE-RQ came: give it a thread, if there is one for it."""
        rejection = self._limit(address)
        if rejection is None:
            rejection = self._begin(Association(self._shared, connection, address, request))
        if rejection is None:
            return
        called, calling = titles(request)
        self._audit.refused(calling, called, address, rejection)
        connection.setblocking(False)
        with suppress(OSError):
            connection.send(rejection.encode())
        self._door.await_close(connection, address)

    def _limit(self, address: str) -> Rejection | None:
        gateway, here = self._settings.gateway, neighbourhood(address)
        with self._changed:
            beside = sum(one.neighbourhood == here for one in self._open)
            if len(self._open) >= gateway.max_associations:
                return TOO_MANY
        return TOO_MANY_OF_ONE if beside >= gateway.most_of_one_address else None

    def _begin(self, one: Association) -> Rejection | None:
        with self._changed:
            self._open.add(one)
        try:
            # A thread that dies of want of memory before it runs would keep `start` waiting for ever.
            mmap.mmap(-1, _THREAD_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
            threading.Thread(target=self._serve, args=(one,), name="association", daemon=True).start()
        except (RuntimeError, OSError, MemoryError):  # the system has no thread left for us, or no memory
            self._close(one)
            return NO_MEMORY
        return None

    def _serve(self, one: Association) -> None:
        try:
            one.run()
        finally:
            self._close(one)

    def _close(self, one: Association) -> None:
        with self._changed:
            self._open.discard(one)
            self._changed.notify_all()

    def _destinations_of(self, ae_title: str) -> tuple[str, ...]:
        """Destinations with this AE title: what their peer sends us is not news to it."""
        named = self._settings.destinations.items()
        return tuple(name for name, one in named if getattr(one, "ae_title", None) == ae_title)

    def _admit(self, request: AssociateRequest, address: str) -> Rejection | None:
        gateway = self._settings.gateway
        if gateway.require_called_ae and request.called != gateway.ae_title:
            return CALLED_UNKNOWN
        rejection = caller_rejection(request.calling, address, gateway)
        if rejection is not None and not self._allowed_since(request.calling, address):
            return rejection
        return None if self._store.room() else NO_ROOM

    def _allowed_since(self, calling: str, address: str) -> bool:
        """Whether a person allowed it while the gateway runs: only asked of whom the settings do not know."""
        try:
            return self._ledger.admits(calling, address)
        except LedgerError as error:
            self._log_limiter.warning(
                "ledger not readable", error=str(error), meaning="the settings alone count"
            )
            return False


def caller_rejection(calling: str, address: str, gateway: GatewaySettings) -> Rejection | None:
    """Whether this AE title may send from this address; the Standard's reason if not (PS3.8 table 9-21)."""
    known = [peer for peer in gateway.allow if peer.ae_title in ("*", calling)]
    if not known:
        return CALLING_UNKNOWN
    here = ip_address(address.partition("%")[0])
    here = getattr(here, "ipv4_mapped", None) or here
    return None if any(here in peer.network for peer in known) else NOT_ALLOWED


def _allow_open_files() -> None:
    """Raise the soft limit, often 1,024: associations, part files and whoever waits at the door need more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def serve(
    settings: Settings,
    ledger: ReceiveLedger,
    store: Store,
    *,
    reuse_port: bool,
    ready: Callable[[], None],
    stop: threading.Event,
    drain_s: float = 20.0,
    listening: socket.socket | None = None,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Listen until `stop` is set; several processes share a port with `reuse_port`, or a socket, `listening`.

    Raises:
        FilmgateError: new connections are not attended to any more.
        OSError: the port cannot be had.
    """
    _allow_open_files()
    listener = Listener(settings, ledger, store, reuse_port=reuse_port, listening=listening, beat=beat)
    listener.start()
    ready()
    try:
        while not stop.wait(1.0):
            if not listener.alive():
                raise FilmgateError("the listener's door thread died; start the listener again")
    finally:
        listener.stop(drain_s)
