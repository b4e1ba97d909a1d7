"""`filmgate doctor`: is this machine fit to run the gateway? `filmgate fsck`: is what it keeps whole?"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import options
from gateway.cli.output import print_json, print_table, say, when
from gateway.errors import (
    Busy,
    DeliveryError,
    FilmgateError,
    LedgerError,
    Refused,
    Rejected,
    SettingsError,
)
from gateway.process import clock, health, private
from gateway.settings import (
    DicomDestination,
    FolderDestination,
    Settings,
    WebhookDestination,
    load,
)
from gateway.supervisor import fitness
from models import plain_files

if TYPE_CHECKING:
    from gateway.ledger.records import Undone

PACKAGES = ("pynetdicom", "pydicom", "imagecodecs", "torch", "monai", "celery", "redis", "SQLAlchemy")
FAILS_AGAIN_AND_AGAIN = 3  # failures in a row: it will not go by itself


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    what: str
    result: str  # "ok", "warning" or "error"
    detail: str


def doctor(json: options.Json = False, config: options.Config = None, state: options.State = None) -> None:
    """Look at everything the gateway needs; exit code 1 when something would keep it from working."""
    settings = load(config, state)
    options.quiet_logs()
    checks = list(_checks(settings))
    if json:
        print_json(map(asdict, checks))
    else:
        print_table(("what", "result", "detail"), ((c.what, c.result, c.detail) for c in checks))
    if any(check.result == "error" for check in checks):
        raise typer.Exit(1)


Mend = Annotated[bool, typer.Option("--mend", help="Put right what can be put right.")]
Deep = Annotated[bool, typer.Option("--deep", help="Read every file and check its digest, too.")]


def fsck(
    mend: Mend = False,
    deep: Deep = False,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Compare the store with the ledger, both ways; exit code 1 when something is left that is not right."""
    from gateway.upkeep.fsck import check

    with options.open_shell(load(config, state)) as shell:
        found = list(
            check(
                shell.ledger,
                shell.store,
                mend=mend,
                deep=deep,
                always=shell.always,
                clock=lambda: datetime.now(UTC),
            )
        )
    if json:
        print_json(map(asdict, found))
    elif found:
        print_table(("object", "trouble", "mended"), ((f.digest[:16], f.trouble, f.mended) for f in found))
    else:
        say("store and ledger agree")
    if any(not one.mended or one.mended.startswith("not mended") for one in found):
        raise typer.Exit(1)


def _checks(settings: Settings) -> Iterator[Check]:
    yield _python()
    yield from _packages()
    yield _redis(settings)
    yield _disk(settings)
    yield _private(settings)
    yield _ledger(settings)
    yield from _sqlite(settings)
    yield _port(settings)
    yield _reach(settings)
    yield from _threads(settings)
    yield from _routes(settings)
    yield from _bundles(settings)
    yield from _classifiers(settings)
    yield _regions(settings)
    yield from _destinations(settings)
    yield from _deliveries(settings)
    yield _clock()
    yield _time_zone(settings)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    fit = (3, 11) <= sys.version_info < (3, 14)
    return Check("python", "ok" if fit else "error", version + ("" if fit else "; 3.11 to 3.13 are needed"))


def _packages() -> Iterator[Check]:
    for package in PACKAGES:
        try:
            yield Check(f"package {package}", "ok", metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Check(f"package {package}", "error", "not installed: pip install filmgate")


def _redis(settings: Settings) -> Check:
    import redis

    from gateway import redis_server

    address = redis_server.redis_url(settings)
    if redis_server.is_embedded(settings) and not redis_server.socket_path(settings).exists():
        try:
            return Check("redis", "ok", f"`up` will start {redis_server.program()}")
        except FilmgateError as error:
            return Check("redis", "error", str(error))
    client = redis.Redis.from_url(address, socket_timeout=2, socket_connect_timeout=2)
    try:
        client.ping()
    except redis.RedisError as error:
        detail = f"does not answer ({type(error).__name__}); films are kept and gated later"
        return Check("redis", "warning" if redis_server.is_embedded(settings) else "error", detail)
    finally:
        client.close()
    return Check("redis", "ok", "answers")


def _disk(settings: Settings) -> Check:
    folder = settings.state
    while not folder.exists():
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free >> 20
    if free_mb < settings.store.min_free_mb:
        return Check(
            "disk", "error", f"{free_mb} MiB free at {folder}: below store.min_free_mb, nothing is taken in"
        )
    scarce = free_mb < 10 * settings.store.min_free_mb
    return Check("disk", "warning" if scarce else "ok", f"{free_mb} MiB free at {folder}")


def _private(settings: Settings) -> Check:
    """Whether other users of this machine can get at films, ledger and secrets."""
    if not settings.state.exists():
        return Check("state folder", "ok", "`up` will make it, for its own user alone")
    found = list(private.open_to_others(settings.state))
    return Check("state folder", "warning" if found else "ok", "; ".join(found) or "for its own user alone")


def _ledger(settings: Settings) -> Check:
    from gateway.ledger import Ledger

    if not settings.ledger.url and not (settings.state / "ledger.sqlite").exists():
        return Check("ledger", "ok", "`up` will make it")
    try:
        ledger = Ledger.open(settings.ledger_url, busy_timeout_s=settings.ledger.busy_timeout_s)
        counts = ledger.counts()
        ledger.close()
    except LedgerError as error:
        return Check("ledger", "error", str(error))
    return Check("ledger", "ok", ", ".join(f"{name} {count}" for name, count in counts.items()))


def _sqlite(settings: Settings) -> Iterator[Check]:
    """SQLite's version, what guards us from its WAL-reset bug, and how long the WAL is."""
    from sqlalchemy import make_url

    from gateway.ledger import LONG_WAL_BYTES, has_wal_reset_bug

    if settings.ledger.url and not settings.ledger.url.startswith("sqlite"):
        return
    version = sqlite3.sqlite_version
    if has_wal_reset_bug():
        guard = "the dispatcher alone copies the WAL, and nobody can commit meanwhile, which rules it out"
        version += f"; it has the WAL-reset bug (3.7.0 to 3.51.2): {guard}. Let no other program write there"
    yield Check("sqlite", "ok", version)
    with suppress(OSError):
        wal = Path(f"{make_url(settings.ledger_url).database}-wal").stat().st_size
        if wal >= LONG_WAL_BYTES:
            why = "no dispatcher runs, or a program reads an old state of the ledger; nothing is lost"
            yield Check("ledger's WAL", "warning", f"{wal >> 20} MiB: {why}, but the disk fills")


def _port(settings: Settings) -> Check:
    from gateway.destinations import scu
    from gateway.supervisor.supervisor import check_port, running

    gateway = settings.gateway
    try:
        check_port(gateway.host, gateway.port)
        return Check("port", "ok", f"{gateway.host}:{gateway.port} is free")
    except FilmgateError as taken:
        at, pid = f"{gateway.host}:{gateway.port}", running(settings)
        try:
            scu.echo(gateway.host, gateway.port, gateway.ae_title, timeout_s=3)
        except (Refused, Rejected) as error:  # a listener, but not for us
            ours = f"this gateway runs (process {pid}) and has {at}; it takes nothing from here: {error}"
            other = f"a DICOM listener has {at} and takes nothing from here: {error}. {taken}"
            return Check("port", "ok", ours) if pid else Check("port", "error", other)
        except Busy as error:  # no room, or as many associations as allowed
            ours = f"this gateway runs (process {pid}) and has {at}; it takes nothing in for now: {error}"
            other = f"a DICOM listener has {at} and is busy: {error}. {taken}"
            return Check("port", "warning", ours) if pid else Check("port", "error", other)
        except DeliveryError as error:
            mute = f"this gateway runs (process {pid}), and nobody answers on {at}: {error}"
            return Check("port", "error", mute if pid else str(taken))
        return Check("port", "ok", f"{gateway.ae_title} answers on {at}: the gateway runs")


def _threads(settings: Settings) -> Iterator[Check]:
    """What fails again and again in the processes that run."""
    found = health.reports(settings.state)
    for report in found:
        for one in report.troubles:
            if one.what == "log":
                yield Check(report.process, "error", f"since {one.since} {one.error}; lines will be missing")
                continue
            times = "once" if one.failures == 1 else f"{one.failures} times in a row"
            detail = f"{one.what} in process {report.pid} failed {times} since {one.since}: {one.error}"
            again = one.failures >= FAILS_AGAIN_AND_AGAIN
            yield Check(report.process, "error" if again else "warning", f"{detail}; see the log")
    if found and not any(report.troubles for report in found):
        yield Check("threads", "ok", f"nothing fails in the processes that run ({len(found)})")


def _reach(settings: Settings) -> Check:
    """Whether those that may send can get here at all."""
    gateway = settings.gateway
    try:
        loopback = ip_address(gateway.host).is_loopback
    except ValueError:
        loopback = gateway.host == "localhost"
    remote = [peer.from_ for peer in gateway.allow if not peer.network.is_loopback]
    if loopback and remote:
        return Check(
            "reach", "warning", f"gateway.allow names {remote[0]}, but gateway.host is {gateway.host}"
        )
    if not loopback and not remote:
        return Check("reach", "warning", f"listens on {gateway.host}, but gateway.allow names loopback alone")
    return Check("reach", "ok", "loopback alone" if loopback else f"from {', '.join(remote)}")


def _routes(settings: Settings) -> Iterator[Check]:
    """What the settings name and is not there, and what keeps films from where they should go."""

    found = list(fitness.troubles(settings))
    if not any(trouble.words == fitness.NO_ARCHIVE for trouble in found):
        yield Check("archive", "ok", f"originals go to {', '.join(settings.routes.always)}")
    for trouble in found:
        what = "archive" if trouble.words == fitness.NO_ARCHIVE else "settings"
        yield Check(what, "error" if trouble.refused else "warning", trouble.words)


def _bundles(settings: Settings) -> Iterator[Check]:
    """Each model's weights against the digest on its card; torch is not needed for that."""

    folder = fitness.bundles_folder(settings)
    cards = {card.parent.parent for card in folder.glob("*/configs/metadata.json")}
    there = {bundle.name for bundle in cards if not _is_classifier(bundle)}
    if not there:
        yield Check("bundles", "error", f"no model in {folder}: every film would be held")
    used = {bundle.name for bundle in fitness.gate_bundles(settings).values()}
    for name in sorted(there | used) if there else ():
        yield _bundle(f"bundle {name}", folder / name, "films are held" if name in used else "not in use")
    for region in settings.work.regions:
        yield _bundle(f"region {region.name}", region, "films that may be of it are held")


def _is_classifier(folder: Path) -> bool:
    from models.classifiers import terms

    with suppress(terms.NoTerms):
        terms.read(folder)
        return True
    return False


def _classifiers(settings: Settings) -> Iterator[Check]:
    """Each classifier's weights against its card, and what it waits for."""
    from gateway.settings.classifier import bundle_of
    from models.classifiers import terms

    for name, block in settings.classifiers.items():
        what, lost = f"classifier {name}", "what is owed to it fails, until it is mended and sent again"
        try:
            card = terms.read(bundle_of(block, name))
            found = plain_files.sha256_of(card.weights)
        except (OSError, terms.NoTerms) as error:
            yield Check(what, "error", f"cannot be used: {error}; {lost}")
            continue
        if found != card.weights_sha256:
            yield Check(what, "error", f"its weights are not the ones its card names; {lost}")
        elif name not in settings.routes.pass_:
            yield Check(what, "warning", "routes.pass does not name it: it reads only what people send it")
        elif not any(block.results.model_dump().values()):
            yield Check(what, "warning", "its results go nowhere: say where in `results`")
        else:
            yield Check(what, "ok", f"{card.name} {card.version}, sha256 {found[:16]}")


def _bundle(what: str, folder: Path, meaning: str) -> Check:
    """A model that is not in use may be broken; one that is may not."""

    bad = "warning" if meaning == "not in use" else "error"
    if problem := fitness.problem_of(folder):
        return Check(what, bad, f"{problem}; {meaning}")
    digest = fitness.digest_of(folder)
    return Check(what, "ok", f"sha256 {digest[:16]}" + ("" if bad == "error" else "; not in use"))


def _regions(settings: Settings) -> Check:
    """Whether what destinations wait for can come: a gate has the name on its card."""

    blocks = settings.destinations
    accepted = [getattr(blocks[name], "accepts", None) for name in settings.routes.pass_]
    wanted = {region for accepts in accepted if accepts for region in accepts.regions} - {"chest"}
    there = {fitness.region_name(folder) for folder in settings.work.regions}
    if wanted - there:
        lacking = ", ".join(sorted(wanted - there))
        return Check(
            "regions", "warning", f"destinations accept {lacking}: work.regions has no gate for that"
        )
    if there - wanted:
        idle = ", ".join(sorted(there - wanted))
        return Check(
            "regions", "warning", f"no destination of routes.pass accepts {idle}: the gate is for nothing"
        )
    return Check("regions", "ok", ", ".join(sorted(wanted)) or "the chest alone")


def _destinations(settings: Settings) -> Iterator[Check]:
    for name, block in settings.destinations.items():
        what = f"destination {name}"
        match block:
            case FolderDestination():
                there = block.path.is_dir()
                detail = f"{block.path}" + ("" if there else " is not there yet")
                yield Check(what, "ok" if there else "warning", detail)
            case WebhookDestination():
                yield _webhook(what, name, block)
            case DicomDestination():
                yield _dicom(what, block, block.calling_ae_title or settings.gateway.ae_title)


def _deliveries(settings: Settings) -> Iterator[Check]:
    """What has not arrived at each destination, and why: an outage is told from objects that are refused."""
    from gateway.ledger import Ledger

    if not settings.ledger.url and not (settings.state / "ledger.sqlite").exists():
        return
    try:
        ledger = Ledger.open(settings.ledger_url, busy_timeout_s=settings.ledger.busy_timeout_s)
    except LedgerError:
        return  # said above
    with closing(ledger):
        try:
            groups = [group for group in ledger.undone() if group.trouble or group.state == "failed"]
            for name in dict.fromkeys(group.destination for group in groups):
                its = [group for group in groups if group.destination == name]
                yield Check(f"deliveries to {name}", "warning", _undone(its, ledger.last_taken(name)))
        except LedgerError as error:  # damaged, or gone by now: what was found so far is told all the same
            yield Check("deliveries", "error", str(error))


def _undone(groups: list[Undone], taken: datetime | None) -> str:
    told = [f"{group.count} {'failed' if group.state == 'failed' else 'wait'}" for group in groups]
    words = [
        f"{count}: {group.trouble or 'see its error'}" for count, group in zip(told, groups, strict=True)
    ]
    oldest = min(group.since for group in groups)
    words.append(f"the oldest owed since {when(oldest)}")
    words.append(f"it took something last {when(taken)}" if taken else "it never took anything")
    if refused := max(group.most_tries for group in groups):
        words.append(f"one was refused {refused} times while others were taken")
    return "; ".join(words) + "; `filmgate deliveries summary` and `list` have them"


def _dicom(what: str, block: DicomDestination, calling: str) -> Check:
    from gateway.destinations import scu

    timeout_s = min(block.timeout_s, 5)
    try:
        scu.echo(block.host, block.port, block.ae_title, calling=calling, timeout_s=timeout_s)
    except DeliveryError as error:
        return Check(what, "warning", f"{error}; what is owed to it waits")
    return Check(what, "ok", f"{block.ae_title} at {block.host}:{block.port} answers C-ECHO")


def _webhook(what: str, name: str, block: WebhookDestination) -> Check:
    """A connection alone: a request would be a result to whoever gets it."""
    from gateway.destinations import webhook

    try:
        where = webhook.reach(name, block, min(block.timeout_s, 5))
    except DeliveryError as error:
        return Check(what, "warning", f"{error}; what is owed to it waits")
    except SettingsError as error:
        return Check(what, "error", str(error))
    return Check(what, "ok", f"{where} can be reached; nothing was sent")


def _clock() -> Check:
    """Times are kept in UTC; a clock that is years off would show in every study's age."""
    built = datetime.fromtimestamp(Path(__file__).stat().st_mtime, UTC)
    now = datetime.now(UTC)
    return Check("clock", "ok" if now >= built else "error", now.isoformat(timespec="seconds"))


def _time_zone(settings: Settings) -> Check:
    """Few hospitals live by UTC, and most containers do."""
    name = settings.gateway.time_zone
    here = datetime.now(UTC).astimezone(clock.zone(name))
    told = f"{name or here.tzname()}, UTC{here:%z}"
    if name:
        return Check("time zone", "ok", told)
    if here.tzname() != "UTC":
        return Check("time zone", "ok", f"{told}, of this machine")
    why = "results are dated, and the age of a study is counted, by it; if the hospital's clocks show another"
    return Check("time zone", "warning", f"{told}, of this machine: {why} time, set gateway.time_zone")
