"""A web server on loopback that a webhook sends to, and a result to send."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from storage_peers import NOW, WAIT_S

from gateway.destinations import WebhookDestination, build
from gateway.ledger.records import Delivery
from gateway.settings import WebhookDestination as WebhookSettings

JSON = "application/json"
FHIR = "application/fhir+json"
CANARY = "CANARY^PATIENT"
TOKEN = "tkn-0123456789"
PAYLOAD = b'{"resourceType": "Bundle", "name": "' + CANARY.encode() + b'"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Connect = Callable[..., WebhookDestination]


class Web:
    """A web server that keeps what it got, and answers what it is told to."""

    def __init__(self) -> None:
        self.url = ""
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.ended = threading.Event()
        self.statuses: list[int] = []  # of the next requests; then 200
        self.extra: dict[str, str] = {}
        self.body = b"{}"

    def got(self, handler: BaseHTTPRequestHandler) -> int:
        self.paths.append(handler.path)
        self.headers.append({name.lower(): value for name, value in handler.headers.items()})
        self.bodies.append(handler.rfile.read(int(handler.headers["Content-Length"])))
        return self.statuses.pop(0) if self.statuses else 200


@contextmanager
def web_server(certificate: Path | None = None) -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            web.connections += 1
            super().setup()

        def finish(self) -> None:
            super().finish()
            web.ended.set()

        def do_POST(self) -> None:
            status = web.got(self)
            self.send_response(status)
            for name, value in web.extra.items():
                self.send_header(name, value)
            if status not in (204, 304):
                self.send_header("Content-Length", str(len(web.body)))
            self.end_headers()
            if status not in (204, 304):
                self.wfile.write(web.body)

        def log_message(self, *args: Any) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # peers that go away
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        web.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}/results?key=1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join(WAIT_S)


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as web:
        yield web


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of 127.0.0.1, signed by themselves."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    key, found = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=hook", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(found)], check=True, capture_output=True)
    found.write_bytes(key.read_bytes() + found.read_bytes())
    return found


@pytest.fixture
def to() -> Iterator[Connect]:
    made: list[WebhookDestination] = []

    def connected(url: str, **settings: object) -> WebhookDestination:
        block = WebhookSettings.model_validate({"kind": "webhook", "url": url, **settings})
        destination = build("hook", block, "FILMGATE")
        assert isinstance(destination, WebhookDestination)
        made.append(destination)
        return destination

    yield connected
    for one in made:
        one.close()


@pytest.fixture
def result(tmp_path: Path) -> tuple[Path, Delivery]:
    path = tmp_path / "payload.json"
    path.write_bytes(PAYLOAD)
    return path, Delivery(1, 1, "hook", "ab" * 32, "", "2.25.1", FHIR, 1, NOW, "result")


def take_request(connection: socket.socket) -> bytes:
    """Head and body of one request."""
    data = b""
    while b"\r\n\r\n" not in data or not data.endswith(PAYLOAD):
        piece = connection.recv(1 << 16)
        if not piece:
            raise ConnectionError("ended")
        data += piece
    return data
