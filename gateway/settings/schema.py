"""Every key of filmgate.yaml with its type, its default and its bounds; destinations have a module.

What one block cannot know, such as whether a route leads to a destination, `Settings` checks.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.process import clock
from gateway.settings.alarms import AlarmSettings
from gateway.settings.blocks import AeTitle, Block, Host, Port, Seconds
from gateway.settings.console import ConsoleSettings
from gateway.settings.destinations import (
    CARRIES,
    ClassifierDestination,
    Destination,
    DicomDestination,
    FolderDestination,
    WebhookDestination,
)
from gateway.settings.lined_yaml import Loc

# The bundles of the gates. A slip here would quietly use a model under other terms, so it is refused.
BundleName = Literal["anatomy", "inversion", "rotation", "mirror", "lungs"]
Variant = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]  # part of a folder's name, never a path


def _network(value: str) -> str:
    ip_network(value, strict=False)
    return value


class Peer(Block):
    """Who may send: a calling AE title ("*" is any) from an address range."""

    ae_title: str = "*"
    from_: Annotated[str, AfterValidator(_network)] = Field("127.0.0.0/8", alias="from")

    @property
    def network(self) -> IPv4Network | IPv6Network:
        return ip_network(self.from_, strict=False)


class GatewaySettings(Block):
    """The listener."""

    ae_title: AeTitle = "FILMGATE"
    host: Host = "127.0.0.1"
    port: Port = 11112
    allow: tuple[Peer, ...] = (Peer(),)
    require_called_ae: bool = True
    processes: int = Field(1, ge=1, le=16, description="listener processes on one port")
    max_associations: int = Field(100, ge=1, le=10_000)
    max_associations_per_address: int = Field(
        0, ge=0, le=10_000, description="of one address; 0: three quarters of max_associations"
    )
    max_pdu_kb: int = Field(256, ge=16, le=4096, description="largest PDU we offer to take")
    max_object_mb: int = Field(4096, ge=1, le=1 << 20, description="larger objects are refused with 0xA700")
    pdu_timeout_s: Seconds = Field(30.0, description="time to a whole PDU once it began")
    idle_timeout_s: Seconds = Field(60.0, description="an open association on which nothing of use comes")
    association_timeout_s: Seconds = Field(10.0, description="time to a whole A-ASSOCIATE-RQ")
    deflated: bool = False
    big_endian: bool = False
    time_zone: Annotated[str, AfterValidator(clock.known)] = Field(
        "", description="of the hospital's clocks, as Europe/Berlin; empty: this machine's"
    )

    @property
    def most_of_one_address(self) -> int:
        """Associations that one address may have: unless told, a quarter is left for the others."""
        return self.max_associations_per_address or self.max_associations - self.max_associations // 4


class StoreSettings(Block):
    """Where the bytes are kept, below the state folder."""

    min_free_mb: int = Field(1024, ge=0, description="below this much free space nothing more is taken in")


class LedgerSettings(Block):
    """The database; empty means SQLite in the state folder."""

    url: str = ""
    busy_timeout_s: Seconds = Field(10.0)


class RedisSettings(Block):
    """The doorbell; empty means an embedded redis-server on a unix socket in the state folder."""

    url: str = ""


class WorkSettings(Block):
    """The Celery workers."""

    workers: int = Field(0, ge=0, le=64, description="0: one a core, where memory allows")
    nice: int = Field(19, ge=0, le=19)
    attempts: int = Field(3, ge=1, le=20, description="failed attempts before a film is parked")
    give_up_h: float = Field(
        24.0,
        gt=0,
        le=100_000,
        description="hours of tries without room, time or lock before a film is parked",
    )
    lease_s: Seconds = Field(60.0, description="a lease whose heartbeat stands still so long is freed")
    decode_timeout_s: Seconds = Field(10.0)
    decode_memory_mb: int = Field(2048, ge=256, le=1 << 20)
    bundles: str = Field("", description="folder of model bundles; empty: the shipped ones")
    variants: dict[BundleName, Variant] = Field(
        {}, description="which variant of a bundle: {anatomy: research} is the bundle anatomy-research"
    )
    regions: tuple[Path, ...] = Field((), description="bundles of gates for further body regions")


class Routes(Block):
    """Names of destinations."""

    always: tuple[str, ...] = ()
    pass_: tuple[str, ...] = Field((), alias="pass")
    copies: tuple[str, ...] = ()


class PolicySettings(Block):
    """How films are judged."""

    mode: Literal["observe", "enforce"] = "enforce"
    correct: Literal["propose", "auto"] = "propose"
    file: Path | None = Field(None, description="another policy.yaml; empty: the default rules")


class QuarantineSettings(Block):
    """What follows from a person's decision on a held film."""

    rejection_notes: tuple[str, ...] = Field(
        (), description="destinations that get a Key Object rejection note when a person rejects a film"
    )
    limit_h: float = Field(
        24.0,
        ge=0,
        le=100_000,
        description="hours after which a film that waits for a person is an alarm; 0: never",
    )
    release_delay_s: float = Field(
        10.0,
        ge=0,
        le=600,
        allow_inf_nan=False,
        description="what a person released, corrected or rejected leaves after so long; undo until then",
    )
    blind_share: float = Field(
        0.01, ge=0, le=1, description="of passed films that come up for a blind check; 0: none"
    )


class LogSettings(Block):
    """Logs go to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    json_: bool = Field(False, alias="json")


def _misrouted(words: str, loc: Loc) -> PydanticCustomError:
    """A complaint about the value at `loc`; people read its words as they stand."""
    return PydanticCustomError("misrouted", "{words}", {"words": words, "loc": loc})


class Settings(Block):
    """All of filmgate.yaml. `state` is the folder that holds store, ledger, incoming and sockets."""

    gateway: GatewaySettings = GatewaySettings()
    store: StoreSettings = StoreSettings()
    ledger: LedgerSettings = LedgerSettings()
    redis: RedisSettings = RedisSettings()
    work: WorkSettings = WorkSettings()
    destinations: dict[str, Destination] = {}  # noqa: RUF012  pydantic copies defaults
    routes: Routes = Routes()
    policy: PolicySettings = PolicySettings()
    quarantine: QuarantineSettings = QuarantineSettings()
    console: ConsoleSettings = ConsoleSettings()
    alarms: AlarmSettings = AlarmSettings()
    log: LogSettings = LogSettings()
    state: Path = Path("state")

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> Settings:
        for route, names in (
            ("always", self.routes.always),
            ("pass", self.routes.pass_),
            ("copies", self.routes.copies),
        ):
            for index, name in enumerate(names):
                loc = ("routes", route, index)
                self._exists(f"routes.{route}", name, loc)
                match self.destinations[name].kind:
                    case "webhook":
                        raise _misrouted(f"routes.{route} names '{name}', a webhook: it takes no films", loc)
                    case "classifier" if route != "pass":
                        why = "it reads films that qualified, so it stands in routes.pass"
                        raise _misrouted(f"routes.{route} names '{name}', a classifier: {why}", loc)
        return self

    @model_validator(mode="after")
    def _results_lead_somewhere(self) -> Settings:
        for name, block in self.classifiers.items():
            for kind, names in block.results.model_dump(by_alias=True).items():
                key: Loc = ("destinations", name, "results", kind)
                for index, to in enumerate(names):
                    self._can_take(kind, to, (*key, index))
        for index, to in enumerate(self.quarantine.rejection_notes):
            self._can_take("rejection", to, ("quarantine", "rejection_notes", index))
        return self

    def _exists(self, key: str, name: str, loc: Loc) -> None:
        if name not in self.destinations:
            raise _misrouted(f"{key} names '{name}', which is not in destinations", loc)

    def _can_take(self, result: str, name: str, loc: Loc) -> None:
        key = ".".join(str(step) for step in loc[:-1])
        self._exists(key, name, loc)
        kind = self.destinations[name].kind
        if kind not in CARRIES[result]:
            can = " or ".join(CARRIES[result])
            raise _misrouted(f"{key} names '{name}' of kind {kind}; such results go to kind {can}", loc)

    @property
    def classifiers(self) -> dict[str, ClassifierDestination]:
        """The destinations that are classifiers of our own, by name."""
        blocks = self.destinations.items()
        return {name: block for name, block in blocks if isinstance(block, ClassifierDestination)}

    @property
    def carried(self) -> dict[str, DicomDestination | FolderDestination | WebhookDestination]:
        """The destinations that things are sent to, by name."""
        blocks = self.destinations.items()
        return {name: block for name, block in blocks if not isinstance(block, ClassifierDestination)}

    @property
    def ai(self) -> tuple[str, ...]:
        """The destinations of routes.pass that are no classifiers of our own."""
        return tuple(name for name in self.routes.pass_ if name not in self.classifiers)

    @property
    def console_url(self) -> str:
        """Where people reach the console, without a slash at its end."""
        return (self.console.url or self.console.address).rstrip("/")

    @property
    def ledger_url(self) -> str:
        """As SQLAlchemy takes it."""
        return self.ledger.url or f"sqlite:///{self.state / 'ledger.sqlite'}"
