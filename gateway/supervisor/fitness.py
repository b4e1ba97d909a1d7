"""Checks of settings that their schema cannot make: bundles, variants, regions and folders that they name.

A sure mistake is refused: the name of a bundle that does not ship, a destination that is this gateway itself,
a classifier that its card switches off and no setting on. Of what may appear later, such as a folder that is
not mounted yet, people are warned, and told what does not work without it. None of this keeps a film from the
archive. Loads no torch.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from ipaddress import ip_address
from pathlib import Path
from typing import get_args

from gateway import redis_server
from gateway.errors import SettingsError
from gateway.settings import (
    Accepts,
    BundleName,
    DicomDestination,
    FolderDestination,
    GatewaySettings,
    Settings,
)
from gateway.settings.classifier import bundle_of
from gateway.settings.lined_yaml import Loc, text_of
from models import plain_files
from models.classifiers import terms
from pipelines.policy import Policy, PolicyError
from pipelines.policy.regions import CHEST

NO_ARCHIVE = "routes.always names no destination: originals are kept only here, and no archive gets them"
HELD = "every film would be held"
SHOWN = 8  # words of rules in one warning; a file of another kind altogether lacks dozens
_NO_NAME = (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
ANYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - the addresses that mean all of this machine's
NOBODYS = ("192.0.2.1", "2001:db8::1")  # for documentation alone: RFC 5737, RFC 3849


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is not as the settings say. `closes` is what does not work because of it, if anything:
    "destination chest-ai", "classifier chest14", "gate anatomy", "region hip"."""

    loc: Loc
    words: str
    refused: bool = False
    closes: str = ""


def troubles(settings: Settings) -> Iterator[Trouble]:
    """Everything that is named and not there, and everything that keeps films from where they should go.

    Whatever a process builds at its start is built here once, without a connection.
    """
    yield from _addresses_of_ours(settings)
    if not settings.routes.always:
        yield Trouble(("routes", "always"), NO_ARCHIVE)
    if not settings.gateway.allow:
        yield Trouble(("gateway", "allow"), "gateway.allow is empty: nobody may send, and no film is taken")
    for name, block in settings.destinations.items():
        yield from _destination(settings, name, block)
    for name in sorted(settings.destinations.keys() - _named(settings)):
        words = (
            f"destinations.{name} is named by no route and for no result: it gets only what people send it"
        )
        yield Trouble(("destinations", name), words)
    yield from _console(settings)
    yield from _policy(settings)
    yield from _classifiers(settings)
    yield from _bundles(settings)
    yield from _regions(settings)


def closed(settings: Settings) -> tuple[str, ...]:
    """All that does not work now, such as "gate anatomy", each once; also weights unlike their card."""
    named = [trouble.closes for trouble in troubles(settings) if trouble.closes]
    gates = (f"gate {name}" for name, folder in gate_bundles(settings).items() if problem_of(folder))
    regions = (f"region {folder.name}" for folder in settings.work.regions if problem_of(folder))
    read = (f"classifier {name}" for name in settings.classifiers if _unusable(settings, name))
    return tuple(dict.fromkeys((*named, *gates, *regions, *read)))


def in_numbers(names: Iterable[str]) -> str:
    """ "1 destination, 2 gates"."""
    counts: dict[str, int] = {}
    for name in names:
        kind = name.partition(" ")[0]
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(counts.items()))


def bundles_folder(settings: Settings) -> Path:
    """Where the gates' bundles lie."""
    return Path(settings.work.bundles or str(resources.files("models") / "bundles"))


def gate_bundles(settings: Settings) -> dict[str, Path]:
    """The bundle of each gate that is in use, by the gate's name."""
    folder, variants = bundles_folder(settings), {str(n): v for n, v in settings.work.variants.items()}
    return {
        name: folder / (f"{name}-{variants[name]}" if name in variants else name)
        for name in get_args(BundleName)
    }


def problem_of(bundle: Path) -> str:
    """Why a gate's bundle cannot be used; "" when its weights are there and those of its card."""
    try:
        card = plain_files.read_json(bundle / terms.METADATA)["filmgate"]
        digest = digest_of(bundle)
        as_carded = card["weights_sha256"] == digest
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"cannot be read: {error}"
    return "" if as_carded else "its weights are not the ones its card names"


def digest_of(bundle: Path) -> str:
    """sha256 of a gate's weights. Raises OSError."""
    return plain_files.sha256_of(bundle / terms.SAFETENSORS)


def region_name(region: Path) -> str:
    """The name of a region's gate; that of its folder when it has no card that can be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        card = plain_files.read_json(region / terms.METADATA)
        return str(card["filmgate"]["name"])
    return region.name


# The console


def _console(settings: Settings) -> Iterator[Trouble]:
    """Files that it needs: without them there is no console, and everything else goes on."""
    block, loc = settings.console, ("console",)
    if not block.enabled:
        return
    if (block.host, block.port) == (settings.gateway.host, settings.gateway.port):
        yield Trouble((*loc, "port"), "console.port is the listener's own port: choose another", refused=True)
    named: dict[tuple[str, str], Path | None] = {}
    if block.tls is not None:
        named[("tls", "certificate")], named[("tls", "key")] = block.tls.certificate, block.tls.key
    if block.oidc is not None:
        named[("oidc", "client_secret_file")] = block.oidc.client_secret_file
        named[("oidc", "ca_file")] = block.oidc.ca_file
    for steps, path in named.items():
        if path is not None and not os.access(path, os.R_OK):
            words = f"{'.'.join((*loc, *steps))}: {path} cannot be read; there is no console without it"
            yield Trouble((*loc, *steps), words)


# The policy


def _policy(settings: Settings) -> Iterator[Trouble]:
    """A file of rules that is older than what gates and header can say now."""
    file = settings.policy.file
    if file is None:
        return
    with suppress(SettingsError, PolicyError):  # a file that cannot be used is refused when it is read
        if lacks := Policy.load(text_of(file)).lacks:
            more = f" and {len(lacks) - SHOWN} more" if len(lacks) > SHOWN else ""
            words = f"{', '.join(lacks[:SHOWN])}{more}"
            yield Trouble(
                ("policy", "file"),
                f"policy.file: no rule of {file} names {words}, as the shipped rules do: such films are "
                "held for a person unless another rule of the file fits. Take over what the shipped "
                "policy.yaml says of them",
            )


# Ledger, Redis and state


def _addresses_of_ours(settings: Settings) -> Iterator[Trouble]:
    """The addresses of ledger and Redis. A library's own words are not repeated: they may quote passwords."""
    from redis import Redis  # noqa: PLC0415  the command line is asked often, and these load slowly
    from sqlalchemy import create_engine  # noqa: PLC0415
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        create_engine(settings.ledger_url).dispose()
    except (ArgumentError, ImportError, ValueError):  # NoSuchModuleError is an ArgumentError
        words = "ledger.url: this is no address of a database, or its driver is not installed"
        yield Trouble(("ledger", "url"), words, refused=True)
    try:
        Redis.from_url(redis_server.redis_url(settings)).close()
    except ValueError:
        words = "redis.url: must be redis://HOST:PORT/NUMBER, rediss://... or unix:///PATH"
        yield Trouble(("redis", "url"), words, refused=True)
    if why := _never_a_folder(settings.state):
        yield Trouble(("state",), f"state: {why}", refused=True)


# Destinations


def _destination(settings: Settings, name: str, block: object) -> Iterator[Trouble]:
    loc: Loc = ("destinations", name)
    what = f"destination {name}"
    if isinstance(block, DicomDestination) and is_ourselves(block, settings.gateway):
        at = f"{block.host}:{block.port}"
        yield Trouble(
            (*loc, "port"),
            f"destinations.{name} is {at}, where this gateway itself listens: what is sent there would come "
            "round for ever, and reach nobody. Name the address of the archive or AI",
            refused=True,
        )
    if isinstance(block, FolderDestination) and (why := _never_a_folder(block.path)):
        yield Trouble((*loc, "path"), f"destinations.{name}.path: {why}", refused=True, closes=what)
    elif isinstance(block, FolderDestination) and not os.path.isdir(block.path):  # noqa: PTH112
        near = _near(block.path.name, _folders(block.path.parent))
        yield Trouble(
            (*loc, "path"),
            f"destinations.{name}.path: there is no folder {block.path}{near}; what is owed to it waits",
            closes=what,
        )
    elif isinstance(block, FolderDestination) and not os.access(block.path, os.W_OK | os.X_OK):
        words = f"destinations.{name}.path: {block.path} may not be written to; what is owed to it waits"
        yield Trouble((*loc, "path"), words, closes=what)
    if name in settings.carried and (why := _why_not(settings, name)):
        key = why.removeprefix(f"destinations.{name}.").partition(":")[0]
        place: Loc = (*loc, key) if why.startswith(f"destinations.{name}.{key}:") else loc
        yield Trouble(place, why, refused=True, closes=what)
    accepts = getattr(block, "accepts", None)
    if isinstance(accepts, Accepts) and (why := _takes_nothing(accepts)):
        yield Trouble((*loc, "accepts"), f"destinations.{name} takes no film at all: {why}", closes=what)


def _why_not(settings: Settings, name: str) -> str:
    """Why this destination cannot be built; "" when it can."""
    from gateway.destinations import why_not  # noqa: PLC0415  it loads the network's libraries

    return why_not(name, settings.carried[name], settings.gateway.ae_title)


def _never_a_folder(path: Path) -> str:
    """Why no folder can ever be mounted or made there; "" when one can."""
    for one in (path, *path.parents):
        try:
            mode = one.stat().st_mode
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            continue
        except OSError as error:
            return f"{path} cannot be used: {error.strerror}" if error.errno in _NO_NAME else ""
        return "" if stat.S_ISDIR(mode) else f"{one} is a file, and a folder is expected"
    return ""


def _named(settings: Settings) -> set[str]:
    """The destinations that something is sent to by itself."""
    routes, results = settings.routes, [block.results for block in settings.classifiers.values()]
    names = (names for block in results for names in block.model_dump().values())
    return {*routes.always, *routes.pass_, *routes.copies, *settings.quarantine.rejection_notes}.union(*names)


def _takes_nothing(accepts: Accepts) -> str:
    for key in ("views", "modalities", "regions"):
        if not getattr(accepts, key):
            return f"accepts.{key} is empty"
    if accepts.min_age > accepts.max_age:
        return f"accepts.min_age {accepts.min_age:g} is over accepts.max_age {accepts.max_age:g}"
    return ""


def is_ourselves(block: DicomDestination, gateway: GatewaySettings) -> bool:
    """Whether a destination is the address that our own listener has, whichever AE title it is called by."""
    if block.port != gateway.port:
        return False
    theirs = _addresses(block.host)
    ours = _addresses(gateway.host)
    if gateway.host in ANYWHERE:
        return any(_is_of_this_machine(address) for address in theirs)
    if block.host in ANYWHERE:  # to connect there is to connect to this machine's loopback
        return any(ip_address(address).is_loopback for address in ours)
    return bool(theirs & ours)


def _addresses(host: str) -> set[str]:
    """The numeric addresses of a name; only names of destinations on our own port are looked up."""
    try:
        answers = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return set()
    return {str(address[4][0]).partition("%")[0] for address in answers}


def _is_of_this_machine(address: str) -> bool:
    """No, also where programs may bind any address (ip_nonlocal_bind): then nobody can tell."""
    if ip_address(address).is_loopback or ip_address(address).is_unspecified:
        return True
    return _binds(address) and not _binds(NOBODYS[":" in address])


def _binds(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.bind((address, 0))
        return True
    return False


# Bundles


def _classifiers(settings: Settings) -> Iterator[Trouble]:
    for name, block in settings.classifiers.items():
        folder = bundle_of(block, name)
        if _has_card(folder):
            if not block.on and _is_off(folder):
                words = (
                    f"destinations.{name}: this classifier is off unless somebody wants it; its card tells "
                    "why. If you do, say `on: true`"
                )
                yield Trouble(("destinations", name), words, refused=True)
            continue
        loc: Loc = ("destinations", name, "bundle") if block.bundle else ("destinations", name)
        lost = "what is owed to it would never be read"
        if "/" in block.bundle:
            near = _near(folder.name, _bundles_in(folder.parent))
            words = f"destinations.{name}.bundle: there is no bundle in {folder}{near}; {lost}"
            yield Trouble(loc, words, closes=f"classifier {name}")
        else:
            near = _near(folder.name, _shipped_classifiers())
            words = f"destinations.{name}: no classifier {folder.name!r} ships{near}; {lost}"
            yield Trouble(loc, words, refused=True)


def _bundles(settings: Settings) -> Iterator[Trouble]:
    folder = bundles_folder(settings)
    if not os.path.isdir(folder):  # noqa: PTH112
        near = _near(folder.name, _folders(folder.parent))
        words = f"work.bundles: there is no folder {folder}{near}; {HELD}"
        yield Trouble(("work", "bundles"), words, closes="gate anatomy")
        return
    for gate, bundle in gate_bundles(settings).items():
        if _has_card(bundle):
            continue
        variant = {str(key): value for key, value in settings.work.variants.items()}.get(gate)
        if variant is None:
            yield Trouble(
                ("work", "bundles"),
                f"work.bundles: {folder} has no bundle {gate}; {HELD}",
                closes=f"gate {gate}",
            )
            continue
        known = [one.removeprefix(f"{gate}-") for one in _bundles_in(folder) if one.startswith(f"{gate}-")]
        near = _near(variant, known) if known else f" ({gate} has none)"
        yield Trouble(
            ("work", "variants", gate),
            f"work.variants.{gate}: there is no variant {variant!r}{near}; {HELD}",
            refused=not settings.work.bundles,
            closes=f"gate {gate}",
        )


def _regions(settings: Settings) -> Iterator[Trouble]:
    for region in settings.work.regions:
        if not _has_card(region):
            near = _near(region.name, _bundles_in(region.parent))
            words = f"work.regions: there is no bundle in {region}{near}; films that may be of it are held"
            yield Trouble(("work", "regions"), words, closes=f"region {region.name}")
    there = {CHEST, *map(region_name, settings.work.regions)}
    for name in settings.routes.pass_:
        accepts = getattr(settings.destinations[name], "accepts", None)
        if isinstance(accepts, Accepts):
            yield from _unknown_regions(name, accepts, there)


def _unknown_regions(name: str, accepts: Accepts, there: set[str]) -> Iterator[Trouble]:
    for region in (region for region in accepts.regions if region not in there):
        yield Trouble(
            ("destinations", name, "accepts", "regions"),
            f"destinations.{name} accepts the region {region!r}, and work.regions has no gate for it"
            f"{_near(region, there)}; films of it would never come",
            closes="" if there & {*accepts.regions} else f"destination {name}",
        )


def _unusable(settings: Settings, name: str) -> bool:
    try:
        card = terms.read(bundle_of(settings.classifiers[name], name))
        return plain_files.sha256_of(card.weights) != card.weights_sha256
    except (OSError, terms.NoTerms):
        return True


def _shipped_classifiers() -> list[str]:
    return [name for name in _bundles_in(terms.BUNDLES) if _is_classifier(terms.BUNDLES / name)]


def _has_card(folder: Path) -> bool:
    """Unlike pathlib's `exists` it says no, not why, of a folder that may not be looked into."""
    return os.path.exists(folder / terms.METADATA)  # noqa: PTH110


def _is_off(folder: Path) -> bool:
    with suppress(terms.NoTerms):
        return terms.read(folder).off
    return False


def _is_classifier(folder: Path) -> bool:
    with suppress(terms.NoTerms):
        terms.read(folder)
        return True
    return False


def _bundles_in(folder: Path) -> list[str]:
    return [name for name in _folders(folder) if _has_card(folder / name)]


def _folders(folder: Path) -> list[str]:
    with suppress(OSError):
        return sorted(path.name for path in folder.iterdir() if path.is_dir())
    return []


def _near(word: str, known: Iterable[str]) -> str:
    """ " (did you mean 'chest14'?)", else what there is, where that is little."""
    names = sorted(known)
    close = get_close_matches(word.lower(), names, n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (there is {', '.join(names)})" if 0 < len(names) <= 8 else ""
