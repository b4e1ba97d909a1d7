"""A web address as destination: results arrive as they are, and every way of not arriving is told apart."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from storage_peers import NOW, WAIT_S, kept, raw_peer

from gateway import logs
from gateway.cli.upkeep import peer_checks
from gateway.destinations import WebhookDestination, build, build_or_wait, webhook
from gateway.destinations.association import Interrupted, TimedOut
from gateway.destinations.dicom import OutOfResources
from gateway.dispatcher.courier import Courier
from gateway.errors import Busy, Damaged, Declined, DeliveryError, Refused, SettingsError, Unreachable
from gateway.ledger import Ledger
from gateway.ledger.records import Delivery, Received
from gateway.settings import LogSettings, RetrySettings, Settings
from gateway.settings import WebhookDestination as WebhookSettings
from gateway.store import Store, file_meta

JSON, FHIR = "application/json", "application/fhir+json"
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


# What arrives


@pytest.mark.parametrize(("media", "kind"), [(JSON, "json"), (FHIR, "fhir")])
def test_the_payload_arrives_as_it_is(
    web: Web, to: Connect, result: tuple[Path, Delivery], media: str, kind: str
) -> None:
    """With the names of its kind and of itself, to the address as it was given."""
    path, delivery = result
    to(web.url, token=TOKEN).deliver(path, replace(delivery, transfer_syntax_uid=media))
    assert (web.paths, web.bodies) == (["/results?key=1"], [PAYLOAD])
    (headers,) = web.headers
    assert (headers["content-type"], headers["x-filmgate-result"]) == (media, kind)
    assert headers["idempotency-key"] == delivery.digest
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["user-agent"].startswith("filmgate/")


def test_what_the_store_writes_before_a_payload_is_not_sent(
    web: Web, to: Connect, result: tuple[Path, Delivery]
) -> None:
    path, delivery = result
    path.write_bytes(file_meta("", "2.25.1", FHIR) + PAYLOAD)
    digest = sha256(FHIR.encode() + b"\0" + PAYLOAD).hexdigest()
    to(web.url).deliver(path, replace(delivery, digest=digest))
    assert web.bodies == [PAYLOAD]


def test_a_payload_that_a_disk_spoiled_is_not_sent(
    web: Web, to: Connect, result: tuple[Path, Delivery]
) -> None:
    path, delivery = result
    path.write_bytes(file_meta("", "2.25.1", FHIR) + PAYLOAD)
    with pytest.raises(Damaged):
        to(web.url).deliver(path, delivery)
    assert web.bodies == []


@pytest.mark.parametrize(
    ("header", "name", "value"),
    [("X-Api-Key", "x-api-key", TOKEN), ("Authorization: Token", "authorization", f"Token {TOKEN}")],
)
def test_the_token_goes_where_the_peer_wants_it(
    web: Web, to: Connect, result: tuple[Path, Delivery], header: str, name: str, value: str
) -> None:
    to(web.url, token=TOKEN, header=header).deliver(*result)
    assert web.headers[0][name] == value


def test_without_a_token_nothing_is_said_of_one(web: Web, to: Connect, result: tuple[Path, Delivery]) -> None:
    to(web.url).deliver(*result)
    assert "authorization" not in web.headers[0]


def test_a_film_is_not_sent(web: Web, to: Connect, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no films"):
        to(web.url).deliver(*kept(tmp_path, b"12"))
    assert web.connections == 0


def test_no_proxy_of_the_environment_gets_it(
    web: Web, to: Connect, result: tuple[Path, Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    to(web.url).deliver(*result)
    assert web.bodies == [PAYLOAD]


# What the peer says


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_an_arrival(web: Web, to: Connect, result: tuple[Path, Delivery], status: int) -> None:
    web.statuses = [status]
    to(web.url).deliver(*result)
    assert len(web.bodies) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, Busy) for status in (429, 503)),
        *((status, OutOfResources) for status in (408, 425, 500, 502, 504, 599)),
        *((status, Refused) for status in (400, 409, 410, 413, 422, 499)),
        *((status, Declined) for status in (401, 403, 404, 405, 300, 302, 304, 307, 308)),
    ],
)
def test_every_other_status_is_told_apart(
    web: Web, to: Connect, result: tuple[Path, Delivery], status: int, error: type[DeliveryError]
) -> None:
    """What may pass is tried again, also what a wrong token or address gets; the rest is for a person.

    Nobody is asked twice, or sent elsewhere.
    """
    web.statuses, web.extra = [status], {"Location": web.url.replace("results", "elsewhere")}
    with pytest.raises(error, match=f"answers {status}") as caught:
        to(web.url).deliver(*result)
    assert type(caught.value) is error
    assert web.paths == ["/results?key=1"]


@pytest.mark.parametrize(
    ("text", "after_s"), [("7", 7), ("999999999", 3600), ("-1", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)]
)
def test_a_peer_may_ask_for_time(
    web: Web, to: Connect, result: tuple[Path, Delivery], text: str, after_s: float
) -> None:
    web.statuses, web.extra = [503], {"Retry-After": text}
    with pytest.raises(Busy) as caught:
        to(web.url).deliver(*result)
    assert caught.value.after_s == after_s


def test_a_long_answer_is_an_arrival_and_is_not_read(to: Connect, result: tuple[Path, Delivery]) -> None:
    """As much as the peer likes to send: the status came, the connection goes."""
    sent = [0]

    def endless(connection: socket.socket) -> None:
        take_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        while True:
            sent[0] += connection.send(bytes(1 << 16))

    with raw_peer(endless) as port:
        to(f"http://127.0.0.1:{port}/").deliver(*result)
        to(f"http://127.0.0.1:{port}/").deliver(*result)
    assert sent[0] < 64 << 20


# Connections


def take_request(connection: socket.socket) -> bytes:
    """Head and body of one request."""
    data = b""
    while b"\r\n\r\n" not in data or not data.endswith(PAYLOAD):
        piece = connection.recv(1 << 16)
        if not piece:
            raise ConnectionError("ended")
        data += piece
    return data


def test_one_connection_for_many_and_none_when_at_rest(
    web: Web, to: Connect, result: tuple[Path, Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = to(web.url)
    for _ in range(3):
        hook.deliver(*result)
        hook.rest()
    assert (web.connections, web.ended.is_set()) == (1, False)
    monkeypatch.setattr(webhook, "IDLE_S", 0)
    hook.rest()
    assert web.ended.wait(WAIT_S)
    hook.deliver(*result)
    assert web.connections == 2


def test_a_connection_that_ended_while_idle_is_not_the_peers_fault(
    to: Connect, result: tuple[Path, Delivery]
) -> None:
    """The second payload meets a closing door; it is sent again at once, under the same key."""
    requests: list[bytes] = []

    def closes_on_the_second(connection: socket.socket) -> None:
        requests.append(take_request(connection))
        connection.sendall(OK)
        requests.append(take_request(connection))

    with raw_peer(closes_on_the_second) as port:
        hook = to(f"http://127.0.0.1:{port}/")
        hook.deliver(*result)
        hook.deliver(*result)
    keys = {line for request in requests for line in request.split(b"\r\n") if line.startswith(b"Idemp")}
    assert (len(requests), len(keys)) == (3, 1)


@pytest.mark.parametrize(
    "words", [b"", b"HTTP/1.1 200", b"\0\1\2 nonsense\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
def test_a_connection_that_breaks_or_talks_nonsense(
    to: Connect, result: tuple[Path, Delivery], words: bytes
) -> None:
    """Tried again, others first: it may be this payload's doing."""

    def breaks(connection: socket.socket) -> None:
        take_request(connection)
        connection.sendall(words)

    with raw_peer(breaks) as port, pytest.raises(Interrupted, match="the connection broke"):
        to(f"http://127.0.0.1:{port}/").deliver(*result)


@pytest.mark.parametrize("drip", [b"", b"H", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_peer_that_hangs_or_drips_is_given_up(
    to: Connect, result: tuple[Path, Delivery], drip: bytes
) -> None:
    """However often it sends a byte, `timeout_s` is all the time there is."""
    over = threading.Event()

    def drips(connection: socket.socket) -> None:
        take_request(connection)
        connection.sendall(drip)
        while not over.wait(0.05):
            connection.sendall(drip[-1:] if len(drip) < 25 else drip)

    began = time.monotonic()
    with raw_peer(drips) as port:
        hook = to(f"http://127.0.0.1:{port}/", timeout_s=0.4)
        with pytest.raises(TimedOut, match=r"no answer within 0\.4 s"):
            hook.deliver(*result)
        over.set()
    assert time.monotonic() - began < 2


def test_an_answer_whose_body_hangs_is_an_arrival(to: Connect, result: tuple[Path, Delivery]) -> None:
    """The peer has said that it has it; sending it again would make two of it."""
    over = threading.Event()

    def stalls(connection: socket.socket) -> None:
        take_request(connection)
        connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{")
        over.wait(WAIT_S)

    with raw_peer(stalls) as port:
        to(f"http://127.0.0.1:{port}/", timeout_s=0.2).deliver(*result)
        over.set()


def test_nobody_there(to: Connect, result: tuple[Path, Delivery], free_port: int) -> None:
    with pytest.raises(Unreachable, match="Connection refused"):
        to(f"http://127.0.0.1:{free_port}/").deliver(*result)
    with pytest.raises(Unreachable, match="no connection"):
        to("https://no-such-host.invalid/").deliver(*result)


@pytest.mark.parametrize("secure", [False, True])
def test_close_breaks_off_what_is_under_way(
    to: Connect, result: tuple[Path, Delivery], certificate: Path, secure: bool
) -> None:
    """A gateway that stops does not wait for a peer that hangs, and nothing is begun after it."""
    begun, over = threading.Event(), threading.Event()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def hangs(connection: socket.socket) -> None:
        line = context.wrap_socket(connection, server_side=True) if secure else connection
        with line:
            take_request(line)
            begun.set()
            over.wait(WAIT_S)

    caught: list[Exception] = []

    def deliver(hook: WebhookDestination) -> None:
        try:
            hook.deliver(*result)
        except DeliveryError as error:
            caught.append(error)

    with raw_peer(hangs) as port:
        url = f"http{'s' if secure else ''}://127.0.0.1:{port}/"
        hook = to(url, **({"ca_file": certificate} if secure else {}))
        thread = threading.Thread(target=deliver, args=(hook,))
        thread.start()
        assert begun.wait(WAIT_S)
        hook.close()
        thread.join(WAIT_S / 2)
        assert not thread.is_alive()
        over.set()
    assert [type(error) for error in caught] == [Interrupted]
    with pytest.raises(Unreachable, match="stops"):
        hook.deliver(*result)


def test_a_connection_that_opens_too_late_is_shut_at_once() -> None:
    """`close` may come while the peer is still being connected to."""
    over = threading.Event()
    line = webhook.Line(ssl.create_default_context(), WAIT_S)
    line.sever()
    began = time.monotonic()
    with raw_peer(lambda connection: assert_set(over)) as port:
        with pytest.raises(Interrupted):
            line.post(httpx.URL(f"http://127.0.0.1:{port}/"), {}, PAYLOAD)
        over.set()
    line.close()
    assert time.monotonic() - began < WAIT_S / 2


def assert_set(event: threading.Event) -> None:
    assert event.wait(WAIT_S)


# TLS


def test_a_certificate_is_trusted_by_its_file(
    to: Connect, result: tuple[Path, Delivery], certificate: Path
) -> None:
    with web_server(certificate) as web:
        to(web.url, ca_file=certificate).deliver(*result)
        assert web.bodies == [PAYLOAD]


def test_a_certificate_of_somebody_else_is_not(
    to: Connect, result: tuple[Path, Delivery], certificate: Path
) -> None:
    """Neither an unknown signer nor another name; and nothing is sent first."""
    with web_server(certificate) as web:
        with pytest.raises(Unreachable, match="certificate is not trusted"):
            to(web.url).deliver(*result)
        with pytest.raises(Unreachable, match="certificate is not trusted"):
            to(web.url.replace("127.0.0.1", "localhost"), ca_file=certificate).deliver(*result)
        assert web.bodies == []


def test_a_file_without_certificates_is_a_fault_of_the_settings(to: Connect, tmp_path: Path) -> None:
    """The gateway does not start as if it could deliver."""
    (tmp_path / "empty.pem").write_text("nothing\n")
    for name, why in (("empty.pem", "no certificates"), ("absent.pem", "No such file")):
        with pytest.raises(SettingsError, match=rf"destinations\.hook\.ca_file: .*{why}"):
            to("https://127.0.0.1/", ca_file=tmp_path / name)


# Through the courier


class Owed:
    """A ledger and a store with one result that is owed to the webhook."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite", migrate_first=True)
        self.store = Store(folder, 0)
        incoming = self.store.begin("", "2.25.1", FHIR)
        incoming.write(PAYLOAD)
        self.digest = incoming.finish().digest
        row = Received("", "2.25.1", FHIR, self.digest, len(PAYLOAD), None, datetime.now(UTC))
        self.ledger.record([row], always=("hook",))

    @contextmanager
    def carried(self, hook: WebhookDestination) -> Iterator[Courier]:
        retry = {"hook": RetrySettings(first_s=0.02, longest_s=0.05)}
        courier = Courier(self.ledger, self.store, {"hook": hook}, retry)
        courier.start()
        try:
            yield courier
        finally:
            courier.stop(drain_s=WAIT_S)

    def until(self, state: str) -> dict[str, Any]:
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            (film,) = self.ledger.films()
            (row,) = film.deliveries
            if row["state"] == state:
                return dict(row)
            threading.Event().wait(0.005)
        raise AssertionError(row)


@pytest.fixture
def owed(tmp_path: Path) -> Iterator[Owed]:
    folder = tmp_path / "state"
    folder.mkdir()
    owed = Owed(folder)
    yield owed
    owed.ledger.close()


def test_a_result_is_tried_until_it_arrives_and_keeps_its_key(web: Web, to: Connect, owed: Owed) -> None:
    web.statuses = [500, 503, 429, 408]
    with owed.carried(to(web.url)):
        owed.until("delivered")
    assert web.bodies == [PAYLOAD] * 5
    assert {headers["idempotency-key"] for headers in web.headers} == {owed.digest}


def test_a_result_that_is_refused_waits_for_a_person(web: Web, to: Connect, owed: Owed) -> None:
    web.statuses = [422]
    with owed.carried(to(web.url)):
        row = owed.until("failed")
    assert row["error"] == "answers 422 Unprocessable Entity"
    assert len(web.bodies) == 1


def test_a_peer_that_asks_for_time_gets_it(web: Web, to: Connect, owed: Owed) -> None:
    """Retry-After is longer than our own delay, and counts."""
    web.statuses, web.extra = [503], {"Retry-After": "1"}
    with owed.carried(to(web.url)):
        owed.until("retry")
        began = time.monotonic()
        owed.until("delivered")
    assert time.monotonic() - began > 0.8


@pytest.mark.parametrize("status", [200, 400, 500])
def test_logs_and_ledger_know_neither_patient_nor_token(
    web: Web, to: Connect, owed: Owed, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    """A peer that echoes all it got, into its headers too, and a log at its most talkative."""
    logs.configure(LogSettings(level="debug"))
    web.statuses, web.body = [status], PAYLOAD
    web.extra = {"X-Echo": CANARY, "Location": f"/{TOKEN}"}
    with owed.carried(to(web.url, token=TOKEN)) as courier:
        owed.until("failed" if status == 400 else "delivered")
        told = str(courier.health()) + str(owed.ledger.films())
    told += "".join(capsys.readouterr())
    assert "CANARY" not in told
    assert TOKEN not in told
    assert "key=1" not in told


# What doctor says


def settings_with(url: str, **more: object) -> Settings:
    return Settings.model_validate({"destinations": {"hook": {"kind": "webhook", "url": url, **more}}})


def test_one_that_could_not_be_built_is_closed_and_opens_by_itself(
    web: Web, certificate: Path, tmp_path: Path, result: tuple[Path, Delivery]
) -> None:
    """A file that it names was gone when the process started, and is there again."""
    missing = tmp_path / "later.pem"
    block = WebhookSettings.model_validate({"kind": "webhook", "url": web.url, "ca_file": missing})
    late = build_or_wait("hook", block, "FILMGATE")
    late.rest()
    with pytest.raises(
        Unreachable, match=r"it is closed: destinations\.hook\.ca_file: .*No such file"
    ) as closed:
        late.deliver(*result)
    assert closed.value.retry
    missing.write_bytes(certificate.read_bytes())
    late.deliver(*result)
    assert web.bodies == [PAYLOAD]
    late.rest()
    late.close()


def test_doctor_connects_and_sends_nothing(
    web: Web, certificate: Path, tmp_path: Path, free_port: int
) -> None:
    def found(url: str, **more: object) -> tuple[str, str]:
        (check,) = peer_checks.destinations(settings_with(url, **more))
        return check.result, check.detail

    assert found(web.url)[0] == "ok"
    assert found(f"http://127.0.0.1:{free_port}/")[0] == "warning"
    with web_server(certificate) as secure:
        result, detail = found(secure.url, ca_file=certificate)
        assert (result, "by TLS" in detail) == ("ok", True)
        assert "not trusted" in found(secure.url)[1]
        assert found(secure.url, ca_file=tmp_path / "absent.pem")[0] == "error"
    assert web.bodies == secure.bodies == []
