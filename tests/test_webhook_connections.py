"""Connections of a webhook: kept, broken, hanging, shut."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import httpx
import pytest
from storage_peers import WAIT_S, raw_peer
from web_peer import OK, PAYLOAD, Connect, Web, certificate, result, take_request, to, web

from gateway.destinations import WebhookDestination, webhook
from gateway.errors import DeliveryError, Unreachable
from gateway.ledger.records import Delivery
from gateway.upper_layer.association import Interrupted, TimedOut

__all__ = ["certificate", "result", "to", "web"]


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

    with raw_peer(drips) as port:
        hook = to(f"http://127.0.0.1:{port}/", timeout_s=0.4)
        with pytest.raises(TimedOut, match=r"no answer within 0\.4 s"):
            hook.deliver(*result)
        over.set()


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
    with raw_peer(lambda connection: assert_set(over)) as port:
        with pytest.raises(Interrupted):
            line.post(httpx.URL(f"http://127.0.0.1:{port}/"), {}, PAYLOAD)
        over.set()
    line.close()


def assert_set(event: threading.Event) -> None:
    assert event.wait(WAIT_S)
