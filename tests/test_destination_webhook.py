"""A webhook: what arrives, what the peer says, and TLS."""

from __future__ import annotations

import socket
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from storage_peers import kept, raw_peer
from web_peer import (
    FHIR,
    JSON,
    PAYLOAD,
    TOKEN,
    Connect,
    Web,
    certificate,
    result,
    take_request,
    to,
    web,
    web_server,
)

from gateway.destinations.dicom import OutOfResources
from gateway.errors import Busy, Damaged, Declined, DeliveryError, Refused, SettingsError, Unreachable
from gateway.ledger.records import Delivery
from gateway.store import file_meta

__all__ = ["certificate", "result", "to", "web"]


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
