"""From where a request comes, and by what name it calls us: what can be said before anybody is known."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Scope

from gateway.settings import ConsoleSettings
from gateway.settings.blocks import is_loopback


@dataclass(frozen=True, slots=True)
class Visit:
    """One request's surroundings. `address` is the browser's, also where a named proxy stands between."""

    address: str
    host: str  # as the browser's address bar has it, with its port
    by_tls: bool
    by_proxy: bool


class Unwelcome(HTTPException):
    """Raised when a request must not be answered; its detail says why."""


def visit_of(scope: Scope, settings: ConsoleSettings) -> Visit:
    """
    Raises:
        Unwelcome: it comes from elsewhere than the settings allow, or calls us by a name that is not ours.
    """
    headers = Headers(scope=scope)
    peer = str((scope.get("client") or ("",))[0])
    by_proxy = _is_proxy(peer, settings)
    if not (is_loopback(settings.host) or settings.tls or by_proxy or is_loopback(peer)):
        raise Unwelcome(403, "This console is reached through its reverse proxy alone.")
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not is_ours(host_of(hosts[0]), settings):
        raise Unwelcome(
            421, "This console does not know itself by that name: see `console.names` in filmgate.yaml."
        )
    by_tls = scope["scheme"] == "https"
    if by_proxy and not by_tls:
        by_tls = headers.get("x-forwarded-proto", "").strip().lower() == "https"
        if not by_tls and not is_loopback(host_of(hosts[0])):
            raise Unwelcome(403, "The reverse proxy must speak TLS, and say so: X-Forwarded-Proto: https.")
    return Visit(_browser(peer, headers) if by_proxy else peer, hosts[0], by_tls, by_proxy)


def host_of(value: str) -> str:
    """The name or address in a Host header, without its port and without brackets."""
    if value.startswith("["):
        return value[1:].partition("]")[0].lower()
    return value.partition(":")[0].lower()


def is_ours(host: str, settings: ConsoleSettings) -> bool:
    """Whether a browser may call us so.

    A page elsewhere that has its own name lead here (DNS rebinding) has neither an address nor a name of
    ours.
    """
    try:
        ip_address(host)
    except ValueError:
        names = {"localhost", settings.host, socket.gethostname(), *settings.names}
        return host in {name.lower() for name in names}
    return True


def _is_proxy(peer: str, settings: ConsoleSettings) -> bool:
    if settings.proxy is None:
        return False
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    return any(address in network for network in settings.proxy.networks)


def _browser(peer: str, headers: Headers) -> str:
    """What the proxy itself saw, which it adds at the end; all before that anybody may have written."""
    last = ",".join(headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()
    try:
        return str(ip_address(last))
    except ValueError:
        return peer
