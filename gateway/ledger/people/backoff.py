"""How long whoever guesses passwords must wait, reckoned from failures in a row.

Three sources are counted, each on its own. An *address* may try more often than others, for a whole ward
may share it. A *name* is guarded against a guesser with many addresses. A *device* is a browser from which
this very person has signed in before: it proves that with a cookie, and then it alone is counted. So a
stranger can slow down how fast a name is guessed, but never keeps its owner out of the browser they always
use (OWASP, "Slow Down Online Guessing Attacks with Device Cookies"); on the machine itself `filmgate users
password` ends all waiting for a name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv6Address, ip_address, ip_network

FORGET_S = 3600.0  # failures are forgotten when there was no other one for so long


class Kind(StrEnum):
    ADDRESS = "address"
    NAME = "name"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Pace:
    """So many failures are free; each further one doubles the wait, from a second up to `longest_s`."""

    free: int
    longest_s: float

    def wait_s(self, failures: int) -> float:
        """The wait after so many failures in a row."""
        beyond = failures - self.free
        return 0.0 if beyond < 0 else min(2.0 ** min(beyond, 30), self.longest_s)


PACES: dict[Kind, Pace] = {
    Kind.ADDRESS: Pace(free=20, longest_s=300.0),
    Kind.NAME: Pace(free=5, longest_s=60.0),
    Kind.DEVICE: Pace(free=5, longest_s=60.0),
}


@dataclass(frozen=True, slots=True)
class Source:
    """Whose failures are counted."""

    kind: Kind
    digest: str

    @property
    def text(self) -> str:
        """As the ledger has it. A name is hashed: people type their password there, too."""
        return f"{self.kind}:{self.digest}"

    def wait_s(self, failures: int, last_at: datetime, now: datetime) -> float:
        """How long it must wait from `now` on."""
        since_s = (now - last_at).total_seconds()
        if not 0 <= since_s < FORGET_S:
            return 0.0
        return max(0.0, PACES[self.kind].wait_s(failures) - since_s)


def sources(name: str, address: str, device_digest: str = "") -> tuple[Source, ...]:
    """What a try is counted against: the device alone where it is known, else the name and the address."""
    if device_digest:
        return (Source(Kind.DEVICE, device_digest),)
    return (
        Source(Kind.NAME, _digest(name.casefold())),
        Source(Kind.ADDRESS, _digest(_neighbourhood(address))),
    )


def of_name(name: str) -> Source:
    return Source(Kind.NAME, _digest(name.casefold()))


def forgotten_before(now: datetime) -> datetime:
    return now - timedelta(seconds=FORGET_S)


def longest(waits: Iterable[float]) -> float:
    return max(waits, default=0.0)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _neighbourhood(address: str) -> str:
    """An IPv6 network of 64 bits is one household: it has more addresses than anybody can count."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ip_network((int(parsed), 64), strict=False))
    return str(parsed)
