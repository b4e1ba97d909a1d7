"""A destination that is a web address: results as JSON or FHIR by HTTP POST, one request a payload.

What a delivery to a webhook looks like in the ledger: `transfer_syntax_uid` holds the media type of the
payload (`application/json` or `application/fhir+json`), `digest` is the store's key of it as of every object.
The file holds the payload alone, or behind group 2 as `Store.begin` writes it; what is sent is the payload's
own bytes.

httpx's transport is used without its client: no redirect is followed, no cookie kept, no proxy or password
taken from the environment, and no address written to a log.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from gateway.destinations.dicom import OutOfResources
from gateway.errors import Busy, Declined, DeliveryError, Refused, SettingsError, Unreachable
from gateway.ledger.records import Delivery
from gateway.settings import WebhookDestination as WebhookSettings
from gateway.store import Outgoing
from gateway.upper_layer.association import Interrupted, TimedOut
from pipelines.instance.first_elements import GROUP_2_AT, has_prefix

KINDS = {"application/json": "json", "application/fhir+json": "fhir"}  # media type: X-Filmgate-Result

IDLE_S = 5.0  # a connection unused for so long is closed
_MOST_ANSWER_BYTES = 64 << 10  # of a response's body; more is not read: the status has said it all
_LONGEST_AFTER_S = 3600.0

# Trouble of the peer, whatever is sent; any other status that may pass can be this payload's doing.
_OVERLOADED = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
_MAY_PASS = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY}
_PHRASES = {int(status): status.phrase for status in HTTPStatus}
# Of an address or a token that is wrong, whatever is sent.
_HINTS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "; look at its token and header",
    HTTPStatus.FORBIDDEN: "; look at its token and header",
    HTTPStatus.NOT_FOUND: "; look at its url",
    HTTPStatus.METHOD_NOT_ALLOWED: "; look at its url",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of a response. Its body is not kept: it may quote the payload."""

    status: int
    after_s: float = 0.0  # of Retry-After (RFC 9110 section 10.2.3)


class WebhookDestination:
    """POSTs payloads over a connection that is kept open for a while.

    A payload may arrive twice, as when an answer is lost: with the same `Idempotency-Key`, its digest.
    """

    associations = 1

    def __init__(self, name: str, settings: WebhookSettings, key: str = "") -> None:
        """
        Raises:
            SettingsError: the address, or the file of certificates, cannot be used.
        """
        self.name = name
        self._timeout_s = settings.timeout_s
        key = key or f"destinations.{name}"  # where it stands in the settings
        self._tls = _trusted(key, settings.ca_file)
        self._headers = _authorization(settings) | {
            "User-Agent": f"filmgate/{metadata.version('filmgate')}",
            "Accept-Encoding": "identity",
        }
        try:
            self._url = httpx.URL(settings.url)
        except httpx.InvalidURL as error:
            raise SettingsError(f"{key}.url is no address that can be used") from error
        self._lock = threading.Lock()
        self._idle: Line | None = None
        self._busy: Line | None = None
        self._closed = False

    def deliver(self, path: Path, delivery: Delivery) -> None:
        """POST one payload.

        Raises:
            Unreachable: no connection, or none that can be trusted; Interrupted, TimedOut: it broke or hung.
            Busy, OutOfResources: 408, 425, 429 or 5xx.
            Declined: 3xx, 401, 403, 404, 405.
            Refused: any other status but 2xx, or this is no payload for a webhook.
            StoreError, OSError: the file is damaged, or cannot be read.
        """
        kind = KINDS.get(delivery.transfer_syntax_uid)
        if kind is None:
            raise Refused("a webhook takes results as JSON or FHIR, no films; nothing was sent")
        headers = {
            "Content-Type": delivery.transfer_syntax_uid,
            "Idempotency-Key": delivery.digest,
            "X-Filmgate-Result": kind,
        }
        self.post(_payload(path, delivery.digest), headers)

    def post(self, payload: bytes, its_headers: Mapping[str, str]) -> None:
        """POST these bytes; raises what `deliver` does of the peer."""
        headers = {**self._headers, **its_headers}
        with self._line() as line:
            try:
                answer = line.post(self._url, headers, payload)
            except TimedOut:
                raise
            except Interrupted:
                if line.is_new:
                    raise
                # The peer may have ended it while it was idle; that says nothing about the peer as it is now.
                answer = line.post(self._url, headers, payload)
        judge(answer)

    def rest(self) -> None:
        """Close the connection when it was idle for IDLE_S."""
        with self._lock:
            line = self._idle
            if line and time.monotonic() - line.used_at >= IDLE_S:
                self._idle = None
                line.close()

    def close(self) -> None:
        """Close the connection; what is under way breaks off."""
        with self._lock:
            self._closed = True
            if self._busy:
                self._busy.sever()
            if self._idle:
                self._idle.close()
                self._idle = None

    @contextmanager
    def _line(self) -> Iterator[Line]:
        line = self._take()
        try:
            yield line
        finally:
            self._give_back(line)

    def _take(self) -> Line:
        with self._lock:
            if self._closed:
                raise Unreachable("filmgate stops")
            line, self._idle = self._idle or Line(self._tls, self._timeout_s), None
            self._busy = line
            return line

    def _give_back(self, line: Line) -> None:
        with self._lock:
            self._busy = None
            if self._closed:
                line.close()
            else:
                self._idle = line


class Line:
    """A connection to one address, opened when it is needed. Only `sever` may come from another thread.

    `timeout_s` is the longest time from the beginning of a request to the end of its response, however
    busily the peer sends single bytes meanwhile.
    """

    def __init__(self, tls: ssl.SSLContext, timeout_s: float) -> None:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE_S)
        self.is_new = True  # connected for the request that was posted last
        self.used_at = time.monotonic()
        self._transport = httpx.HTTPTransport(verify=tls, limits=limits)
        self._timeout_s = timeout_s
        self._stream: Any = None  # httpcore's, of the connection
        self._late = False
        self._severed = False

    def post(self, url: httpx.URL, headers: Mapping[str, str], payload: bytes) -> Answer:
        """One request and its answer.

        Raises:
            Unreachable: no connection; Interrupted, TimedOut: there was one, and no answer.
        """
        self.is_new = self._late = False
        extensions = {"timeout": httpx.Timeout(self._timeout_s).as_dict(), "trace": self._watch}
        request = httpx.Request("POST", url, headers=headers, content=payload, extensions=extensions)
        end = threading.Timer(self._timeout_s, self._expire)
        end.daemon = True
        end.start()
        try:
            with closing(self._transport.handle_request(request)) as response:
                _drain(response)
                return Answer(response.status_code, _after_s(response))
        except httpx.TransportError as error:
            raise self._told(error) from error
        finally:
            end.cancel()
            self.used_at = time.monotonic()

    def sever(self) -> None:
        """End the connection; a thread that waits in it wakes up with Interrupted."""
        self._severed = True
        self._shut()

    def close(self) -> None:
        """Free the socket: only for the thread that uses it, or when nobody does."""
        self._transport.close()

    def _watch(self, event: str, info: Mapping[str, Any]) -> None:
        """httpcore's `trace`: remember the stream, so that another thread can shut it down."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self.is_new = True
            self._stream = info["return_value"]
            if self._late or self._severed:
                self._shut()

    def _expire(self) -> None:
        self._late = True
        self._shut()

    def _shut(self) -> None:
        stream = self._stream
        if stream:
            with suppress(OSError):  # not SSLSocket's own, which takes TLS off under the reader's feet
                socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)

    def _told(self, error: httpx.TransportError) -> DeliveryError:
        """In words of our own: what a library says may quote what was sent or received."""
        if self._late or isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
            return TimedOut(f"no answer within {self._timeout_s:g} s")
        if isinstance(error, httpx.ConnectTimeout):
            return Unreachable(f"no connection within {self._timeout_s:g} s")
        if isinstance(error, httpx.ConnectError):
            return Unreachable(f"no connection: {_why(error)}")
        return Interrupted("the connection broke before there was an answer, or the answer was no HTTP")


def reach(name: str, settings: WebhookSettings, timeout_s: float) -> str:
    """Connect, agree on TLS and say where; nothing is sent.

    Raises:
        Unreachable: nobody there, or nobody to be trusted.
        SettingsError: the file of certificates cannot be used.
    """
    tls = _trusted(f"destinations.{name}", settings.ca_file)
    parts = urlsplit(settings.url)
    host, secure = str(parts.hostname), parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        with ExitStack() as opened:
            line = opened.enter_context(socket.create_connection((host, port), timeout_s))
            if secure:
                opened.enter_context(tls.wrap_socket(line, server_hostname=host))
    except OSError as error:
        raise Unreachable(f"no connection: {_why(error)}") from error
    return f"{host}:{port}" + (" by TLS" if secure else "")


def judge(answer: Answer) -> None:
    """
    Raises:
        Busy, OutOfResources: trying again can help.
        Declined: the peer says so of everything while its url or token is wrong here.
        Refused: it cannot.
    """
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    text = f"answers {_told(answer.status)}"
    if answer.status in _OVERLOADED:
        raise Busy(text, after_s=answer.after_s)
    if answer.status in _MAY_PASS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise OutOfResources(text, after_s=answer.after_s)
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        raise Declined(f"{text}, and redirects are not followed; give the final address as its url")
    if answer.status in _HINTS:
        raise Declined(text + _HINTS[answer.status])
    raise Refused(text)


def _told(status: int) -> str:
    """With the phrase of the RFC, not the peer's."""
    return f"{status} {_PHRASES.get(status, '')}".strip()


def _why(error: BaseException | None) -> str:
    while error:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({error.verify_message})"
        if isinstance(error, ssl.SSLError):
            return "TLS could not be agreed on"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__cause__ or error.__context__
    return "nobody there"


def _drain(response: httpx.Response) -> None:
    """Read the body, so that the connection can be used again; a long or broken one is left."""
    taken = 0
    with suppress(httpx.TransportError):  # the status came: that is the answer
        for piece in response.iter_raw():
            taken += len(piece)
            if taken > _MOST_ANSWER_BYTES:
                return


def _after_s(response: httpx.Response) -> float:
    """Seconds of Retry-After; a date, or nonsense, is none."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_AFTER_S) if text.isascii() and text.isdigit() else 0.0


def _payload(path: Path, digest: str) -> bytes:
    with path.open("rb") as file:
        if not has_prefix(file.read(GROUP_2_AT)):
            file.seek(0)
            return file.read()
    with Outgoing(path, digest) as kept:
        kept.verify()
        return kept.read()


def _authorization(settings: WebhookSettings) -> dict[str, str]:
    """`Authorization: Bearer` and a token make the header `Authorization: Bearer TOKEN`."""
    token = settings.token.get_secret_value()
    name, _, scheme = settings.header.partition(":")
    return {name: f"{scheme.strip()} {token}".strip()} if token else {}


def _trusted(key: str, ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        why = "no certificates are in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(f"{key}.ca_file: {ca_file} cannot be used: {why}") from error
