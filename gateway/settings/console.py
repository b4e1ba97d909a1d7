"""The block `console`: where the console listens, and who vouches for those who come in.

Beyond this machine's loopback passwords and films would cross the network in the open. So an address there
needs a certificate, or the addresses of the reverse proxies that have one: then nobody else is answered.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.settings.blocks import Block, Host, Port, is_loopback
from gateway.settings.lined_yaml import Loc

RoleName = Literal["viewer", "reviewer", "admin"]


def _network(value: str) -> str:
    ip_network(value, strict=False)
    return value


def _header(value: str) -> str:
    if value and not value.replace("-", "").isalnum():
        raise ValueError("is no name of a header")
    return value


def _issuer(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme == "https" and parts.hostname and not parts.query and not parts.fragment:
        return value.rstrip("/")
    if parts.scheme == "http" and parts.hostname and is_loopback(parts.hostname):
        return value.rstrip("/")
    raise ValueError("must begin with https:// (http:// on this machine's loopback alone)")


Header = Annotated[str, AfterValidator(_header)]
Network = Annotated[str, AfterValidator(_network)]


class TlsSettings(Block):
    """The console's own certificate (PEM, the server's first) and its key."""

    certificate: Path
    key: Path


class ProxySettings(Block):
    """Reverse proxies that end TLS, and may say who somebody is."""

    from_: tuple[Network, ...] = Field(alias="from", min_length=1)
    user_header: Header = Field("", description="in which a proxy says who signed in there; empty: none does")
    role_header: Header = Field("", description="in which it says their groups; `roles` makes roles of them")
    roles: dict[str, RoleName] = {}  # noqa: RUF012  pydantic copies defaults
    default_role: RoleName | None = Field(
        "viewer", description="without a known group; null: nobody comes in"
    )

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(text, strict=False) for text in self.from_)


class OidcSettings(Block):
    """A provider of OpenID Connect with which people sign in instead of with a password."""

    issuer: Annotated[str, AfterValidator(_issuer)]
    client_id: str = Field(min_length=1)
    client_secret_file: Path | None = Field(
        None, description="with the secret; without one PKCE alone protects"
    )
    word: str = Field("your hospital's account", description="what the button on the sign-in page says")
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    name_claim: str = "preferred_username"
    role_claim: str = "groups"
    roles: dict[str, RoleName] = {}  # noqa: RUF012  pydantic copies defaults
    default_role: RoleName | None = Field(None, description="without a known group; null: nobody comes in")
    ca_file: Path | None = Field(None, description="CAs that its certificate may be of; else the system's")
    address: str = Field("", description="how browsers reach the console, as https://films.hospital.example")


class ConsoleSettings(Block):
    """The console: pages for radiology IT and reviewers."""

    enabled: bool = True
    host: Host = "127.0.0.1"
    port: Port = 8042
    url: str = Field("", description="by which people reach it, for links in alarms; empty: host and port")
    names: tuple[Host, ...] = Field((), description="further names by which browsers may call it")
    tls: TlsSettings | None = None
    proxy: ProxySettings | None = None
    oidc: OidcSettings | None = None
    idle_min: float = Field(120, ge=5, le=10_080, description="a session that nobody uses ends")
    longest_h: float = Field(12, gt=0, le=720, description="a session ends, used or not")

    @property
    def address(self) -> str:
        """For people of this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self.tls else 'http'}://{shown}:{self.port}"

    @model_validator(mode="after")
    def _is_safe_there(self) -> ConsoleSettings:
        if self.enabled and not (is_loopback(self.host) or self.tls or self.proxy):
            loc: Loc = ("console", "host")
            words = (
                f"console.host is {self.host}, beyond this machine, and passwords would cross the network in "
                "the open. Give the console a certificate (console.tls), or name the reverse proxy that "
                "has one (console.proxy), or leave it on 127.0.0.1"
            )
            raise PydanticCustomError("misrouted", "{words}", {"words": words, "loc": loc})
        return self
