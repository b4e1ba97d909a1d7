"""filmgate.yaml and the environment, read once into one frozen, typed Settings.

Every key is described here and in docs/configuration.md; a test proves that none is missing there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from gateway.errors import SettingsError
from gateway.process import clock
from gateway.settings import lined_yaml
from gateway.settings.lined_yaml import Lined, Loc
from models.classifiers import terms
from pipelines.lined_yaml import YamlError, parse, unfit_character

# PS3.5 section 6.2, AE: ASCII without backslash and control characters, and not spaces alone
AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^ *[!-\[\]-~][ -\[\]-~]*$")]
Port = Annotated[int, Field(ge=1, le=65535)]
# The bundles of the gates. A slip here would quietly use a model under other terms, so it is refused.
BundleName = Literal["anatomy", "inversion", "rotation", "mirror", "lungs"]
Variant = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]  # part of a folder's name, never a path


# The longest that every clock call takes: poll(2) counts milliseconds in 31 bits.
Seconds = Annotated[float, Field(gt=0, le=1_000_000)]


class _Block(BaseModel):
    # What pydantic says of a fault ends up in tracebacks: not with the value, which may be a secret.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )


def _network(value: str) -> str:
    ip_network(value, strict=False)
    return value


def _host(value: str) -> str:
    try:
        value.encode("idna")
    except UnicodeError:
        raise ValueError("is no name or address of a machine") from None
    return value


Host = Annotated[str, AfterValidator(_host)]


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


class StoreSettings(_Block):
    """Where the bytes are kept, below the state folder."""

    min_free_mb: int = Field(1024, ge=0, description="below this much free space nothing more is taken in")


class LedgerSettings(_Block):
    """The database; empty means SQLite in the state folder."""

    url: str = ""
    busy_timeout_s: Seconds = Field(10.0)


class RedisSettings(_Block):
    """The doorbell; empty means an embedded redis-server on a unix socket in the state folder."""

    url: str = ""


class WorkSettings(_Block):
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


def _region(word: str) -> str:
    return "chest" if word.strip().lower() == "chest" else word


View = Annotated[str, AfterValidator(terms.view)]
Modality = Annotated[str, AfterValidator(terms.modality)]
Region = Annotated[str, AfterValidator(_region)]


class Accepts(_Block):
    """Which qualified films a destination takes. The case of its words is no matter; unknown ones are."""

    views: tuple[View, ...] = ("PA", "AP", "frontal")
    min_age: float = Field(10, ge=0)
    max_age: float = Field(200, ge=0)
    unknown_age: bool = False
    modalities: tuple[Modality, ...] = ("CR", "DX", "DR", "RG")
    max_study_age_days: int | None = Field(None, ge=0, le=100_000)
    regions: tuple[Region, ...] = ("chest",)


class RetrySettings(_Block):
    """How failed deliveries are tried again: growing and jittered."""

    first_s: Seconds = Field(2.0)
    longest_s: float = Field(900.0, gt=0)
    give_up_h: float = Field(
        168.0,
        gt=0,
        le=100_000,
        description="an object is parked as failed after as many tries of its own as fill so many hours",
    )


class DicomDestination(_Block):
    """A storage SCP."""

    kind: Literal["dicom"] = "dicom"
    ae_title: AeTitle
    host: Host = "127.0.0.1"
    port: Port
    calling_ae_title: AeTitle | None = None
    associations: int = Field(1, ge=1, le=16)
    timeout_s: Seconds = Field(30.0)
    retry: RetrySettings = RetrySettings()
    accepts: Accepts = Accepts()


class FolderDestination(_Block):
    """A folder that gets Part 10 files."""

    kind: Literal["folder"] = "folder"
    path: Path
    retry: RetrySettings = RetrySettings()
    accepts: Accepts = Accepts()


def _system(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+", value):
        more = f": say urn:oid:{value}" if re.fullmatch(r"\d+(\.\d+)+", value) else ""
        raise ValueError(
            "must be a URI, as urn:oid:1.2.276.0.76.4 or https://hospital.example/patient" + more
        )
    return value


System = Annotated[str, AfterValidator(_system)]


class FhirSettings(_Block):
    """Who assigns the numbers by which results in FHIR name patient and order; empty: they are not named."""

    patient_system: System = Field("", description="of Patient ID; with it results name the patient")
    accession_system: System = Field("", description="of Accession Number; with it results name the order")


class WebhookDestination(_Block):
    """A web address that gets results as JSON or FHIR, and no films."""

    kind: Literal["webhook"] = "webhook"
    insecure: bool = Field(False, description="plain http also to other machines: anybody between reads it")
    url: str
    token: SecretStr = SecretStr("")
    header: str = Field("Authorization: Bearer", pattern=r"^[A-Za-z0-9-]+(: ?[A-Za-z0-9-]*)?$")
    timeout_s: Seconds = Field(30.0, description="from connecting to the end of the answer")
    ca_file: Path | None = Field(None, description="certificates to trust (PEM) instead of the system's")
    fhir: FhirSettings = FhirSettings()
    retry: RetrySettings = RetrySettings()

    @field_validator("url")
    @classmethod
    def _is_a_safe_address(cls, url: str, info: ValidationInfo) -> str:
        parts = _split(url)
        if parts.scheme == "http" and not (_is_loopback(str(parts.hostname)) or info.data.get("insecure")):
            raise ValueError("http can be read on the way: use https (or say `insecure: true`)")
        return url

    @field_validator("token")
    @classmethod
    def _fits_in_a_header(cls, token: SecretStr) -> SecretStr:
        if not all("!" <= letter <= "~" for letter in token.get_secret_value()):
            raise ValueError("must be ASCII without spaces and line ends")  # never says what it is
        return token

    @field_serializer("token")
    def _whole(self, token: SecretStr) -> str:
        """As our other processes need it; `values` masks it for people."""
        return token.get_secret_value()


def _split(url: str) -> SplitResult:
    """
    Raises:
        ValueError: this is no address to send results to; the text does not quote it.
    """
    try:
        parts = urlsplit(url if url.isascii() and url.isprintable() and " " not in url else "")
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        _host(parts.hostname or "")
    except ValueError:
        sound = False
    if not sound:
        raise ValueError("must be https://HOST/PATH, in ASCII")
    if parts.username is not None or parts.fragment:
        raise ValueError("must hold no user, password or fragment; a secret goes into token")
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Results(_Block):
    """Where the results of a classifier go: names of destinations, each list empty unless said."""

    sr: tuple[str, ...] = ()
    heatmap: tuple[str, ...] = ()
    gsps: tuple[str, ...] = ()
    json_: tuple[str, ...] = Field((), alias="json")
    fhir: tuple[str, ...] = ()
    not_analysed: tuple[str, ...] = ()


class ClassifierDestination(_Block):
    """A classifier of our own: workers read with it what routes.pass gives to it."""

    kind: Literal["classifier"] = "classifier"
    bundle: str = Field("", description="a bundle's name or a path; empty: the destination's own name")
    on: bool = Field(False, description="switches on a classifier whose card says that it is off")
    accepts: Accepts | None = Field(None, description="empty: what the card says")
    results: Results = Results()

    @field_serializer("accepts")
    def _as_said(self, accepts: Accepts | None) -> dict[str, Any] | None:
        """What was said and no more: the rest is the card's in our other processes, too."""
        return accepts.model_dump(mode="json", exclude_unset=True) if accepts else None


def _kind(value: Any) -> Any:
    if isinstance(value, Mapping):
        return value.get("kind", "dicom")
    return getattr(value, "kind", None)


Destination = Annotated[
    Annotated[DicomDestination, Tag("dicom")]
    | Annotated[FolderDestination, Tag("folder")]
    | Annotated[WebhookDestination, Tag("webhook")]
    | Annotated[ClassifierDestination, Tag("classifier")],
    Discriminator(_kind),
]
KINDS = ("dicom", "folder", "webhook", "classifier")
CARRIES: dict[str, tuple[str, ...]] = {  # kind of result -> kinds of destinations that can take it
    "sr": ("dicom", "folder"),
    "heatmap": ("dicom", "folder"),
    "gsps": ("dicom", "folder"),
    "json": ("webhook",),
    "fhir": ("webhook",),
    "not_analysed": ("dicom", "folder"),
    "rejection": ("dicom", "folder"),
}


class Routes(_Block):
    """Names of destinations."""

    always: tuple[str, ...] = ()
    pass_: tuple[str, ...] = Field((), alias="pass")
    copies: tuple[str, ...] = ()


class PolicySettings(_Block):
    """How films are judged."""

    mode: Literal["observe", "enforce"] = "enforce"
    correct: Literal["propose", "auto"] = "propose"
    file: Path | None = Field(None, description="another policy.yaml; empty: the default rules")


class QuarantineSettings(_Block):
    """What follows from a person's decision on a held film."""

    rejection_notes: tuple[str, ...] = Field(
        (), description="destinations that get a Key Object rejection note when a person rejects a film"
    )


class ConsoleSettings(_Block):
    """Address reserved for the review console (it comes with a later release)."""

    host: Host = "127.0.0.1"
    port: Port = 8042


class LogSettings(_Block):
    """Logs go to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    json_: bool = Field(False, alias="json")


def _refused(words: str, loc: Loc) -> PydanticCustomError:
    return PydanticCustomError("misrouted", "{words}", {"words": words, "loc": loc})


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
    quarantine: QuarantineSettings = QuarantineSettings()
    console: ConsoleSettings = ConsoleSettings()
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
                        raise _refused(f"routes.{route} names '{name}', a webhook: it takes no films", loc)
                    case "classifier" if route != "pass":
                        why = "it reads films that qualified, so it stands in routes.pass"
                        raise _refused(f"routes.{route} names '{name}', a classifier: {why}", loc)
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
            raise _refused(f"{key} names '{name}', which is not in destinations", loc)

    def _can_take(self, result: str, name: str, loc: Loc) -> None:
        key = ".".join(str(step) for step in loc[:-1])
        self._exists(key, name, loc)
        kind = self.destinations[name].kind
        if kind not in CARRIES[result]:
            can = " or ".join(CARRIES[result])
            raise _refused(f"{key} names '{name}' of kind {kind}; such results go to kind {can}", loc)

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
    def ledger_url(self) -> str:
        return self.ledger.url or f"sqlite:///{self.state / 'ledger.sqlite'}"


# --- reading --------------------------------------------------------------------------------------

PREFIX = "FILMGATE_"
NOT_SETTINGS = frozenset(
    {
        "FILMGATE_CONFIG",
        "FILMGATE_STATE",
        "FILMGATE_CRASH_AT",
        "FILMGATE_READY_FD",
        "FILMGATE_LISTEN_FD",
        "FILMGATE_PROCESS",
    }
)
DEFAULT_FILE = Path("filmgate.yaml")
# What a header may say before its token; another word there may be the token itself.
_SCHEMES = frozenset({"", "basic", "bearer", "token", "apikey", "api-key", "key", "oauth", "digest"})

# paths in the file are meant from where the file lies
_PATHS: tuple[Loc, ...] = (("state",), ("policy", "file"), ("work", "bundles"), ("work", "regions"))


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, the file they came from (None: defaults alone), and where each value was said."""

    settings: Settings
    source: Path | None
    origins: Mapping[Loc, str] = field(default_factory=dict)

    def origin(self, loc: Loc) -> str:
        """`filmgate.yaml:7`, `FILMGATE_GATEWAY__PORT`, `--state` or `default`."""
        return _origin(self.origins, loc)


def load(
    config: Path | None = None, state: Path | None = None, env: Mapping[str, str] = os.environ
) -> Settings:
    """Read the settings: see `read`."""
    return read(config, state, env).settings


def read(
    config: Path | None = None, state: Path | None = None, env: Mapping[str, str] = os.environ
) -> Loaded:
    """Defaults, then the file, then `FILMGATE_SECTION__KEY` (or `..._FILE`, which names a file that
    holds the value), then `state`. The file is `config`, else $FILMGATE_CONFIG, else ./filmgate.yaml
    where there is one, else none. `Settings.state` is absolute.

    Raises:
        SettingsError: one line a fault, each with `file:line`.
    """
    source = _source(config, env)
    document = lined_yaml.read(source) if source else Lined("defaults", {}, {})
    tree = {key: value for key, value in document.tree.items() if value is not None}
    origins: dict[Loc, str] = {loc: f"{document.name}:{line}" for loc, line in document.lines.items()}
    if source:
        _anchor(tree, source.absolute().parent, origins)
    for name, loc, value in _environment(env, tree):
        _put(tree, loc, value, name)
        origins[loc] = name
    chosen = state or env.get("FILMGATE_STATE")
    if chosen:
        tree["state"] = str(chosen)
        origins["state",] = "--state" if state else "FILMGATE_STATE"
    if unfit := [f"{_origin(origins, loc)}: {words}" for loc, words in _unfit(tree, ())]:
        raise SettingsError("\n".join(unfit))
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        lines = [_complaint(fault, origins) for fault in error.errors(include_url=False)]
        raise SettingsError("\n".join(dict.fromkeys(lines))) from error
    settings = settings.model_copy(update={"state": settings.state.absolute()})
    return Loaded(settings, source, origins)


_MANY: dict[Any, str] = {dict: ".NAME.", tuple: "[]."}


def keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key there is, dotted, with its field: `gateway.allow[].from`, `destinations.NAME.port`."""
    for name, info in model.model_fields.items():
        path = prefix + (info.alias or name)
        inner = _models(info.annotation)
        if not inner:
            yield path, info
        many = _MANY.get(get_origin(info.annotation), ".")
        for block in inner:
            yield from keys(block, path + many)


def values(settings: Settings) -> Iterator[tuple[Loc, Any]]:
    """Every effective value with its path; tokens, and passwords and queries inside URLs, are masked."""

    def walk(value: Any, loc: Loc) -> Iterator[tuple[Loc, Any]]:
        if isinstance(value, dict) and value:
            for key, item in value.items():
                yield from walk(item, (*loc, key))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for index, item in enumerate(value):
                yield from walk(item, (*loc, index))
        else:
            yield loc, _shown_to_people(loc, value)

    yield from walk(settings.model_dump(mode="json", by_alias=True), ())


def _unfit(value: Any, loc: Loc) -> Iterator[tuple[Loc, str]]:
    """What the environment and the command line bring, and our other processes could not be told."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _unfit(key, (*loc, key))
            yield from _unfit(item, (*loc, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unfit(item, (*loc, index))
    elif isinstance(value, str) and (letter := unfit_character(value)):
        yield loc, f"{_dotted(loc)} holds the character {letter}, which cannot be used"


def _dotted(loc: Loc) -> str:
    return ascii(".".join(map(str, loc)))[1:-1]


def _origin(origins: Mapping[Loc, str], loc: Loc) -> str:
    while loc and loc not in origins:
        loc = loc[:-1]
    return origins.get(loc, "default")


def _shown_to_people(loc: Loc, value: Any) -> Any:
    if loc[-1] == "token":
        return "***" if value else value
    if loc[-1] == "header":
        name, colon, scheme = value.partition(":")
        return value if scheme.strip().lower() in _SCHEMES else f"{name}{colon} ***"
    return _masked(value) if isinstance(value, str) and "://" in value else value


def _masked(url: str) -> str:
    """Without a password and without a query: keys are often part of it.

    A password may hold any letter, `?` and `@` among them: before the last `@` a name alone is shown.
    """
    scheme, _, rest = url.partition("://")
    login, at, rest = rest.rpartition("@")
    place, query, _ = rest.partition("?")
    user = re.split(r"[:/?#]", login, maxsplit=1)[0]
    return f"{scheme}://{f'{user}:***@' if at else ''}{place}{'?***' if query else ''}"


def _source(config: Path | None, env: Mapping[str, str]) -> Path | None:
    if config is not None:
        return config
    if env.get("FILMGATE_CONFIG"):
        return Path(env["FILMGATE_CONFIG"])
    # A folder of that name, or a link to nothing, is refused when it is read: defaults send films nowhere.
    return DEFAULT_FILE if os.path.lexists(DEFAULT_FILE) else None


def _anchor(tree: dict[str, Any], folder: Path, origins: Mapping[Loc, str]) -> None:
    destinations = tree.get("destinations")
    names = destinations if isinstance(destinations, dict) else {}
    own = [("destinations", name, key) for name in names for key in ("path", "ca_file")]
    for loc in (*_PATHS, *own, *_bundles(names)):
        block: Any = tree
        for step in loc[:-1]:
            block = block.get(step) if isinstance(block, dict) else None
        value = block.get(loc[-1]) if isinstance(block, dict) else None
        try:
            if isinstance(value, str) and value:
                block[loc[-1]] = _anchored(value, folder)
            elif isinstance(value, list):
                block[loc[-1]] = [_anchored(one, folder) if isinstance(one, str) else one for one in value]
        except RuntimeError as error:
            raise SettingsError(
                f"{_origin(origins, loc)}: {_dotted(loc)}: there is no such home `~`"
            ) from error


def _bundles(destinations: Mapping[str, Any]) -> Iterator[Loc]:
    """The keys that hold a classifier's folder: one without a slash is the name of a bundle that ships."""
    for name, block in destinations.items():
        if isinstance(block, dict) and "/" in str(block.get("bundle", "")):
            yield "destinations", name, "bundle"


def _anchored(path: str, folder: Path) -> str:
    return str(folder / Path(path).expanduser())


def _environment(env: Mapping[str, str], tree: dict[str, Any]) -> Iterator[tuple[str, Loc, Any]]:
    for name in sorted(env):
        if not name.startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        loc = _env_loc(name.removeprefix(PREFIX).lower().split("__"), tree)
        last = str(loc[-1])
        if last.endswith("_file") and last not in _known(loc[:-1]):
            plain = name[: -len("_FILE")]
            if plain in env:
                raise SettingsError(f"{name}: {plain} is set as well; set one of them")
            yield name, (*loc[:-1], last.removesuffix("_file")), _secret(name, Path(env[name]))
        else:
            yield name, loc, _env_value(name, env[name])


def _env_loc(steps: list[str], tree: Any) -> Loc:
    """CHEST_AI means `chest-ai` where the file has that name: shells allow no hyphen in a variable."""
    loc: list[str] = []
    for step in steps:
        alike = (
            [key for key in tree if key.lower().replace("-", "_") == step] if isinstance(tree, dict) else []
        )
        loc.append(alike[0] if alike else step)
        tree = tree.get(loc[-1]) if isinstance(tree, dict) else None
    return tuple(loc)


def _env_value(name: str, text: str) -> Any:
    """Lists and blocks in YAML's own notation; everything else stays text, and the schema reads it."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return parse(text).value
    except YamlError:  # its words may name an alias or a key, and this may be a secret
        raise SettingsError(f"{name}: this is not YAML") from None


def _secret(name: str, path: Path) -> str:
    try:
        return lined_yaml.text_of(path).strip()
    except SettingsError as error:
        raise SettingsError(f"{name}: its file cannot be read: {error}") from error


def _put(tree: dict[str, Any], loc: Loc, value: Any, name: str) -> None:
    for step in loc[:-1]:
        inner = tree.get(str(step))
        if inner is None:
            inner = tree[str(step)] = {}
        if not isinstance(inner, dict):
            raise SettingsError(f"{name}: {step!r} is no block of keys")
        tree = inner
    tree[str(loc[-1])] = value


# --- complaints in plain words --------------------------------------------------------------------

_WORDS = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text (put it in quotes)",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "holds a character that is not allowed here",
    "path_type": "must be a path",
    "tuple_type": "must be a list",
    "dict_type": "must be a block of keys",
    "model_type": "must be a block of keys",
    "model_attributes_type": "must be a block of keys",
    "literal_error": "must be {expected}",
    "union_tag_not_found": "must be a block of keys",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
}


def _complaint(fault: ErrorDetails, origins: Mapping[Loc, str]) -> str:
    context = fault.get("ctx", {})
    tagged = tuple(context.get("loc", fault["loc"]))
    loc = _untagged(tagged)
    return f"{_origin(origins, loc)}: {_sentence(fault, tagged, loc)}"


def _sentence(fault: ErrorDetails, tagged: Loc, loc: Loc) -> str:
    key = ".".join(str(step) for step in loc) or "the configuration"
    context = fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            known = sorted(_known(tagged[:-1]))
            close = get_close_matches(str(loc[-1]), known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(known)}"
            block = f" in {'.'.join(map(str, loc[:-1]))}" if loc[:-1] else ""
            return f"unknown key {loc[-1]!r}{block}{hint}"
        case "missing":
            return f"{key} is missing"
        case "union_tag_invalid":
            kinds = f"{', '.join(map(repr, KINDS[:-1]))} or {KINDS[-1]!r}"
            return f"{key}.kind must be {kinds}, not {context.get('tag')!r}"
        case "misrouted":
            return fault["msg"]
        case "value_error":
            return f"{key}: {context.get('error', fault['msg'])}"
        case kind:
            words = _WORDS.get(kind, fault["msg"]).format_map({**context})
            return f"{key} {words}{_shown(loc, fault['input'])}"


def _shown(loc: Loc, value: Any) -> str:
    """A single value that is surely no secret: an address that stands in the wrong place may hold one."""
    if (loc and loc[-1] in ("url", "token", "header")) or isinstance(value, dict | list | tuple):
        return ""
    text = repr(value)
    if "://" in text or "@" in text:
        return ""
    return f", not {text}" if len(text) <= 40 else ""


def _untagged(loc: Loc) -> Loc:
    """Without the words that pydantic puts in: the kind of a destination, and that it is about a key."""
    loc = tuple(step for step in loc if step != "[key]")
    if len(loc) > 2 and loc[0] == "destinations" and loc[2] in KINDS:
        return (*loc[:2], *loc[3:])
    return loc


def _models(annotation: Any) -> tuple[type[BaseModel], ...]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(model for part in get_args(annotation) for model in _models(part))


def _known(loc: Loc) -> set[str]:
    """The keys of the block at `loc`."""
    models: tuple[type[BaseModel], ...] = (Settings,)
    for step in loc:
        fields = [f for m in models for name, f in m.model_fields.items() if step == (f.alias or name)]
        if fields:
            models = tuple(dict.fromkeys(model for f in fields for model in _models(f.annotation)))
        elif step in KINDS:
            models = tuple(m for m in models if m.model_fields["kind"].default == step)
    return {info.alias or name for model in models for name, info in model.model_fields.items()}
