"""filmgate.yaml and the environment, read once into one frozen, typed Settings.

Every key is described here and in docs/configuration.md; a test proves that none is missing there.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[^\\\x00-\x1f\x7f]+$")]
Port = Annotated[int, Field(ge=1, le=65535)]


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _network(value: str) -> str:
    ip_network(value, strict=False)
    return value


class Peer(_Block):
    """Who may send: a calling AE title ("*" is any) from an address range."""

    ae_title: str = "*"
    from_: Annotated[str, AfterValidator(_network)] = Field("127.0.0.0/8", alias="from")

    @property
    def network(self) -> IPv4Network | IPv6Network:
        return ip_network(self.from_, strict=False)


class GatewaySettings(_Block):
    """The listener."""

    ae_title: AeTitle = "FILMGATE"
    host: str = "127.0.0.1"
    port: Port = 11112
    allow: tuple[Peer, ...] = (Peer(),)
    require_called_ae: bool = True
    processes: int = Field(1, ge=1, le=16, description="listener processes on one port (SO_REUSEPORT)")
    max_associations: int = Field(100, ge=1)
    max_pdu_kb: int = Field(256, ge=16, le=4096, description="largest PDU we offer to take")
    max_object_mb: int = Field(4096, ge=1, description="larger objects are refused with 0xA700")
    pdu_timeout_s: float = Field(30.0, gt=0, description="time to a whole PDU once it began")
    idle_timeout_s: float = Field(60.0, gt=0, description="silence on an open association")
    association_timeout_s: float = Field(10.0, gt=0, description="time to a whole A-ASSOCIATE-RQ")
    deflated: bool = False
    big_endian: bool = False


class StoreSettings(_Block):
    """Where the bytes are kept, below the state folder."""

    min_free_mb: int = Field(1024, ge=0, description="below this much free space nothing more is taken in")


class LedgerSettings(_Block):
    """The database; empty means SQLite in the state folder."""

    url: str = ""
    busy_timeout_s: float = Field(10.0, gt=0)


class RedisSettings(_Block):
    """The doorbell; empty means an embedded redis-server on a unix socket in the state folder."""

    url: str = ""


class WorkSettings(_Block):
    """The Celery workers."""

    workers: int = Field(0, ge=0, le=64, description="0: one a core")
    nice: int = Field(10, ge=0, le=19)
    attempts: int = Field(3, ge=1, le=20, description="failed attempts before a film is parked")
    lease_s: float = Field(60.0, gt=0, description="a lease whose heartbeat stands still so long is freed")
    decode_timeout_s: float = Field(10.0, gt=0)
    decode_memory_mb: int = Field(2048, ge=256)
    bundles: str = Field("", description="folder of model bundles; empty: the shipped ones")


class Accepts(_Block):
    """Which qualified films a destination takes."""

    views: tuple[str, ...] = ("PA", "AP", "frontal")
    min_age: float = Field(10, ge=0)
    max_age: float = Field(200, ge=0)
    unknown_age: bool = False
    modalities: tuple[str, ...] = ("CR", "DX", "DR", "RG")
    max_study_age_days: int | None = Field(None, ge=0)


class RetrySettings(_Block):
    """How failed deliveries are tried again: growing and jittered."""

    first_s: float = Field(2.0, gt=0)
    longest_s: float = Field(900.0, gt=0)
    give_up_h: float = Field(168.0, gt=0, description="after so many hours a delivery is parked as failed")


class DicomDestination(_Block):
    """A storage SCP."""

    kind: Literal["dicom"] = "dicom"
    ae_title: AeTitle
    host: str = "127.0.0.1"
    port: Port
    calling_ae_title: AeTitle | None = None
    associations: int = Field(1, ge=1, le=16)
    timeout_s: float = Field(30.0, gt=0)
    retry: RetrySettings = RetrySettings()
    accepts: Accepts = Accepts()


class FolderDestination(_Block):
    """A folder that gets Part 10 files."""

    kind: Literal["folder"]
    path: Path
    retry: RetrySettings = RetrySettings()
    accepts: Accepts = Accepts()


Destination = Annotated[DicomDestination | FolderDestination, Field(discriminator="kind")]


class Routes(_Block):
    """Names of destinations."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    always: tuple[str, ...] = ()
    pass_: tuple[str, ...] = Field((), alias="pass")
    copies: tuple[str, ...] = ()


class PolicySettings(_Block):
    """How films are judged."""

    mode: Literal["observe", "enforce"] = "enforce"
    correct: Literal["propose", "auto"] = "propose"
    file: Path | None = Field(None, description="another policy.yaml; empty: the default rules")


class ConsoleSettings(_Block):
    """Address reserved for the review console (it comes with a later release)."""

    host: str = "127.0.0.1"
    port: Port = 8042


class LogSettings(_Block):
    """Logs go to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    json_: bool = Field(False, alias="json")


class Settings(_Block):
    """All of filmgate.yaml. `state` is the folder that holds store, ledger, incoming and sockets."""

    gateway: GatewaySettings = GatewaySettings()
    store: StoreSettings = StoreSettings()
    ledger: LedgerSettings = LedgerSettings()
    redis: RedisSettings = RedisSettings()
    work: WorkSettings = WorkSettings()
    destinations: dict[str, Destination] = {}
    routes: Routes = Routes()
    policy: PolicySettings = PolicySettings()
    console: ConsoleSettings = ConsoleSettings()
    log: LogSettings = LogSettings()
    state: Path = Path("state")

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> Settings:
        for route in ("always", "pass_", "copies"):
            for name in getattr(self.routes, route):
                if name not in self.destinations:
                    raise ValueError(f"routes.{route.rstrip('_')} names {name!r}, which is not in destinations")
        return self

    @property
    def ledger_url(self) -> str:
        return self.ledger.url or f"sqlite:///{self.state / 'ledger.sqlite'}"
