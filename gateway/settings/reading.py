"""From defaults, filmgate.yaml, the environment and the command line to one frozen `Settings`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.errors import SettingsError
from gateway.settings import lined_yaml
from gateway.settings.complaints import complaint, dotted, origin_of
from gateway.settings.keys import known_keys
from gateway.settings.lined_yaml import Lined, Loc
from gateway.settings.schema import Settings
from pipelines.lined_yaml import YamlError, parse, unfit_character

PREFIX = "FILMGATE_"
# Variables that begin with PREFIX and set no key.
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

# A relative path in the file starts from the folder in which the file lies.
_PATHS: tuple[Loc, ...] = (
    ("state",),
    ("policy", "file"),
    ("work", "bundles"),
    ("work", "regions"),
    ("alarms", "webhook", "ca_file"),
    ("alarms", "mail", "ca_file"),
    ("console", "tls", "certificate"),
    ("console", "tls", "key"),
    ("console", "oidc", "client_secret_file"),
    ("console", "oidc", "ca_file"),
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, the file they came from (None: defaults alone), and where each value was said."""

    settings: Settings
    source: Path | None
    origins: Mapping[Loc, str] = field(default_factory=dict)

    def origin(self, loc: Loc) -> str:
        """`filmgate.yaml:7`, `FILMGATE_GATEWAY__PORT`, `--state` or `default`."""
        return origin_of(self.origins, loc)


def load(
    config: Path | None = None, state: Path | None = None, env: Mapping[str, str] = os.environ
) -> Settings:
    """Read the settings: see `read`."""
    return read(config, state, env).settings


def read(
    config: Path | None = None, state: Path | None = None, env: Mapping[str, str] = os.environ
) -> Loaded:
    """Read the settings: what is said later wins.

    The order is: the defaults, the file, `FILMGATE_SECTION__KEY` (or `..._FILE`, which names a file with
    the value), `state`. The file is `config`, else $FILMGATE_CONFIG, else ./filmgate.yaml where there is one,
    else none. `Settings.state` is absolute.

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
    settings = _validated(tree, origins)
    return Loaded(settings.model_copy(update={"state": settings.state.absolute()}), source, origins)


def _validated(tree: dict[str, Any], origins: Mapping[Loc, str]) -> Settings:
    """
    Raises:
        SettingsError: one line a fault.
    """
    if unfit := [f"{origin_of(origins, loc)}: {words}" for loc, words in _unfit_texts(tree, ())]:
        raise SettingsError("\n".join(unfit))
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        lines = [complaint(fault, origins) for fault in error.errors(include_url=False)]
        raise SettingsError("\n".join(dict.fromkeys(lines))) from error


def _unfit_texts(value: Any, loc: Loc) -> Iterator[tuple[Loc, str]]:
    """Texts from the environment or the command line that could not be handed to our other processes."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _unfit_texts(key, (*loc, key))
            yield from _unfit_texts(item, (*loc, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unfit_texts(item, (*loc, index))
    elif isinstance(value, str) and (letter := unfit_character(value)):
        yield loc, f"{dotted(loc)} holds the character {letter}, which cannot be used"


def _source(config: Path | None, env: Mapping[str, str]) -> Path | None:
    if config is not None:
        return config
    if env.get("FILMGATE_CONFIG"):
        return Path(env["FILMGATE_CONFIG"])
    # A folder of that name, or a link to nothing, is refused when it is read: defaults send films nowhere.
    return DEFAULT_FILE if os.path.lexists(DEFAULT_FILE) else None


def _anchor(tree: dict[str, Any], folder: Path, origins: Mapping[Loc, str]) -> None:
    """Make the paths in the file absolute.

    Raises:
        SettingsError: one begins with the home of a user that this machine does not know.
    """
    destinations = tree.get("destinations")
    blocks = destinations if isinstance(destinations, dict) else {}
    paths = [("destinations", name, key) for name in blocks for key in ("path", "ca_file")]
    for loc in (*_PATHS, *paths, *_bundle_folders(blocks)):
        try:
            _anchor_at(tree, loc, folder)
        except RuntimeError as error:  # from `expanduser`
            raise SettingsError(
                f"{origin_of(origins, loc)}: {dotted(loc)}: there is no such home `~`"
            ) from error


def _anchor_at(tree: dict[str, Any], loc: Loc, folder: Path) -> None:
    """The same for one key, whose value may be a list of paths, or be missing, or be no path at all."""
    block: Any = tree
    for step in loc[:-1]:
        block = block.get(step) if isinstance(block, dict) else None
    value = block.get(loc[-1]) if isinstance(block, dict) else None
    if isinstance(value, str) and value:
        block[loc[-1]] = _anchored(value, folder)
    elif isinstance(value, list):
        block[loc[-1]] = [_anchored(item, folder) if isinstance(item, str) else item for item in value]


def _bundle_folders(destinations: Mapping[str, Any]) -> Iterator[Loc]:
    """The keys that hold a classifier's folder: one without a slash is the name of a bundle that ships."""
    for name, block in destinations.items():
        if isinstance(block, dict) and "/" in str(block.get("bundle", "")):
            yield "destinations", name, "bundle"


def _anchored(path: str, folder: Path) -> str:
    return str(folder / Path(path).expanduser())


def _environment(env: Mapping[str, str], tree: dict[str, Any]) -> Iterator[tuple[str, Loc, Any]]:
    """Each variable that sets a key: its name, the key and the value."""
    for name in sorted(env):
        if not name.startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        loc = _env_loc(name.removeprefix(PREFIX).lower().split("__"), tree)
        last = str(loc[-1])
        if last.endswith("_file") and last not in known_keys(loc[:-1]):
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
        keys_here = tree if isinstance(tree, dict) else {}
        loc.append(next((key for key in keys_here if key.lower().replace("-", "_") == step), step))
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
    """Set a key; `name` is the variable that says so.

    Raises:
        SettingsError: there is a plain value where a block would have to be.
    """
    for step in loc[:-1]:
        inner = tree.get(str(step))
        if inner is None:
            inner = tree[str(step)] = {}
        if not isinstance(inner, dict):
            raise SettingsError(f"{name}: {step!r} is no block of keys")
        tree = inner
    tree[str(loc[-1])] = value
