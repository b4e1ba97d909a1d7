"""One connection of a browser: who connects and says nothing, or says it byte by byte, is hung up on.

uvicorn waits without end for the head of a request, and each connection counts against its limit: without
this a stranger with a few hundred open connections would keep everybody else out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.settings import ConsoleSettings

HEAD_S = 10.0  # a request's line and headers come within this, once they began, or once it is connected
MOST_OF_ONE_ADDRESS = 64  # a browser opens six

_open: Counter[str] = Counter()


class Connection(H11Protocol):
    """uvicorn's, with a limit to each address and a time for each head."""

    proxies: tuple[IPv4Network | IPv6Network, ...] = ()  # they have the connections of all their browsers
    _address = ""
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        _open[self._address] += 1
        if _open[self._address] > MOST_OF_ONE_ADDRESS and not self._is_proxy():
            self.transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        _open[self._address] -= 1
        if _open[self._address] <= 0:
            del _open[self._address]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def _look(self) -> None:
        """Whether a part of a head has come. Between two requests uvicorn keeps the time."""
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._await_head()
        else:
            self._head_came()

    def _await_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S, self._late)

    def _head_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_proxy(self) -> bool:
        address = ip_address(self._address)
        return any(address in network for network in self.proxies)

    def _late(self) -> None:
        self.transport.abort()


def connection_class(settings: ConsoleSettings) -> type[Connection]:
    """What uvicorn makes one of for each connection."""
    proxies = settings.proxy.networks if settings.proxy else ()
    return type("Connection", (Connection,), {"proxies": proxies})
