"""The frozen values of what people steer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Literal

from pipelines.grounds import Examined

Mode = Literal["observe", "enforce"]
MODES: tuple[Mode, ...] = ("observe", "enforce")
_CLOCK_STEP = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the rules; `text` is None for those of the settings."""

    id: int
    text: str | None
    digest: str
    said_by: str
    said_at: datetime
    note: str
    again: int | None = None  # the version whose text this is


@dataclass(frozen=True, slots=True)
class SenderMode:
    """What a person said of one sender: whether the rules are enforced on its films."""

    ae_title: str
    mode: Mode
    said_by: str
    said_at: datetime
    note: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """An AE title that may send from an address, beside those of the settings."""

    id: int
    ae_title: str
    network: str
    said_by: str
    said_at: datetime
    note: str

    def admits(self, calling: str, address: str) -> bool:
        """Whether it speaks of this peer; letters count as they are, as in the settings."""
        if self.ae_title != calling:
            return False
        here = ip_address(address.partition("%")[0])
        here = getattr(here, "ipv4_mapped", None) or here
        return here in ip_network(self.network, strict=False)


@dataclass(frozen=True, slots=True)
class Paused:
    """A destination to which nothing is sent."""

    destination: str
    said_by: str
    said_at: datetime
    note: str


@dataclass(frozen=True, slots=True)
class Bypass:
    """While it lasts every film goes to AI as if the rules were only observed."""

    said_by: str
    said_at: datetime
    note: str
    until: datetime

    def lasts(self, now: datetime) -> bool:
        """It ends by itself. A clock that was set back to before it began ends it as well."""
        return self.said_at - _CLOCK_STEP <= now < self.until


@dataclass(frozen=True, slots=True)
class Steered:
    """All that people steer, as it stood at one revision."""

    revision: int = -1
    policy_id: int | None = None  # None: the rules of the settings
    modes: Mapping[str, Mode] = field(default_factory=dict)  # by calling AE title
    allowed: tuple[Allowed, ...] = ()
    paused: frozenset[str] = frozenset()
    bypass: Bypass | None = None

    def mode(self, sender: str, usual: str, now: datetime) -> Mode:
        """How films of a sender are treated now; `usual` is what the settings say."""
        if self.bypass is not None and self.bypass.lasts(now):
            return "observe"
        return self.modes.get(sender, "observe" if usual == "observe" else "enforce")

    def admits(self, calling: str, address: str) -> bool:
        """Whether a person allowed this peer to send."""
        return any(one.admits(calling, address) for one in self.allowed)


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision that stands; `examined` is None where that was not kept, or no rule made it."""

    film_id: int
    digest: str  # of the version that was decided
    decision_id: int
    act: str
    rule: str
    reasons: tuple[str, ...]
    policy_digest: str  # "" where no rule decided: a Key Object, or an object of our own
    decided_at: datetime
    examined: Examined | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Associations of one address that were refused alike, most of them by one AE title."""

    calling: str
    called: str
    address: str
    reason: str
    times: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class SenderRow:
    """One sender as its last films show it. Shares are in [0, 1] of `decided`."""

    ae_title: str
    addresses: tuple[str, ...]
    today: int  # films received since midnight, by the hospital's clock
    films: int  # of the last ones that were looked at
    decided: int
    held: float
    turned: float
    inverted: float
    last_at: datetime
    usual_s: float | None  # median time from one film to the next; None below three
    longest_s: float | None  # the longest time without one
