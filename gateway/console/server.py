"""`filmgate console`: uvicorn around the application, with our signals, heartbeats and limits.

It gives way to the listener. It loads no torch and decodes nothing, and its threads are few: so it stays
small.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from threading import Event

import anyio.to_thread
import structlog
import uvicorn

from gateway.bootstrap import Shell
from gateway.console.app import create_app
from gateway.console.connections import connection_class
from gateway.errors import FilmgateError, SettingsError
from gateway.ledger.people import passwords
from gateway.process import memory
from gateway.settings import ConsoleSettings

log = structlog.get_logger()

DRAIN_S = 5.0  # answers under way are finished; supervisor.STOP_STAGES allow for it
MOST_CONNECTIONS = 256
BACKLOG = 128
THREADS = 8  # for routes that wait for the ledger; each has a connection, with its cache, of its own
KEEP_ALIVE_S = 20
MOST_HEAD_BYTES = 32 << 10  # of a request's line and headers
NICE = 5


class Server(uvicorn.Server):
    """uvicorn's, which hears of signals by `stop` alone, and says that its loop goes round."""

    def __init__(
        self, config: uvicorn.Config, *, stop: Event, ready: Callable[[], None], beat: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._stop = stop
        self._ready = ready
        self._beat = beat
        self._ready_said = False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        if not self._ready_said:
            self._ready_said = True
            anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
            self._ready()
        self._beat()
        return self._stop.is_set() or await super().on_tick(counter)


def serve(
    shell: Shell,
    *,
    stop: Event,
    ready: Callable[[], None] = lambda: None,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Serve until `stop`.

    Raises:
        FilmgateError: the port cannot be had.
        SettingsError: the certificate cannot be used.
    """
    settings = shell.settings.console
    # Else all nonsense of strangers, and each answer of a provider, were a line of the log.
    for library in ("uvicorn", "httpx"):
        logging.getLogger(library).setLevel(logging.ERROR)
    passwords.warm_up()
    with bound(settings) as listening:
        server = Server(_config(shell), stop=stop, ready=ready, beat=beat)
        memory.settle()
        server.run([listening])


def _config(shell: Shell) -> uvicorn.Config:
    settings = shell.settings.console
    config = uvicorn.Config(
        create_app(shell),
        http=connection_class(settings),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,  # the standard library's loggers go where `gateway.logs` leads them
        access_log=False,  # addresses of pages hold what people search for
        server_header=False,
        proxy_headers=False,  # `doors.visit` believes those that the settings name
        limit_concurrency=MOST_CONNECTIONS,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(DRAIN_S),
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
    )
    config.load()
    if settings.tls is not None:
        config.ssl = tls_context(settings)
    return config


def tls_context(settings: ConsoleSettings) -> ssl.SSLContext:
    """
    Raises:
        SettingsError: certificate or key cannot be used.
    """
    assert settings.tls is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate, key = settings.tls.certificate, settings.tls.key
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or "the key is encrypted"
        raise SettingsError(
            f"console.tls: {certificate} and {key} cannot be used: {why}. The console needs a certificate "
            "and its own key, both PEM, the key without a password."
        ) from error
    return context


def _no_password() -> str:
    """Else OpenSSL asks for it on the terminal."""
    raise ValueError("the key is encrypted")


@contextlib.contextmanager
def bound(settings: ConsoleSettings) -> Iterator[socket.socket]:
    """A socket at the console's address.

    Raises:
        FilmgateError: taken, not allowed, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as listening:
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind((settings.host, settings.port))
            listening.listen(BACKLOG)
        except OSError as error:
            raise FilmgateError(
                f"port {settings.port} on {settings.host} cannot be had for the console: {error.strerror}. "
                "Films come in, are examined and are sent as before. Stop the program that has it "
                f"(`ss -ltnp 'sport = :{settings.port}'` names it), or choose another one: console.port in "
                "filmgate.yaml, or FILMGATE_CONSOLE__PORT; `console: {enabled: false}` runs without a "
                "console."
            ) from error
        yield listening
