"""The port of the listeners: the supervisor opens it, and they share its socket."""

from __future__ import annotations

import socket

from gateway.errors import FilmgateError
from gateway.process.supervised import BACKLOG


def check_port(host: str, port: int) -> None:
    """Make sure that it could be listened there.

    Raises:
        FilmgateError: taken, not allowed, or no address of this machine.
    """
    _bound(host, port).close()


def open_port(host: str, port: int) -> socket.socket:
    """Listen there, alone: the listeners share this socket, and nobody else shares the port.

    Raises:
        FilmgateError: taken, not allowed, or no address of this machine.
    """
    bound = _bound(host, port)
    try:
        bound.listen(BACKLOG)
    except OSError as error:  # another one was as quick as we
        bound.close()
        raise _no_port(host, port, error) from error
    return bound


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise _no_port(host, port, error) from error
    return bound


def _no_port(host: str, port: int, error: OSError) -> FilmgateError:
    return FilmgateError(
        f"port {port} on {host} cannot be had: {error.strerror}. Nothing was started: no film is taken. "
        f"Stop the program that has it (`ss -ltnp 'sport = :{port}'` names it), or choose another port: "
        "gateway.port in filmgate.yaml, or FILMGATE_GATEWAY__PORT."
    )
