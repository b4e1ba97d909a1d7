"""What `filmgate doctor` looks at on this machine: Python, packages, Redis, disk, port, processes, clock."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from ipaddress import ip_address
from pathlib import Path

import redis as redis_client

from gateway import redis_server
from gateway.cli.upkeep.check import Check
from gateway.destinations import scu
from gateway.errors import Busy, DeliveryError, FilmgateError, Refused, Rejected
from gateway.process import clock as clocks
from gateway.process import health
from gateway.process import private as privacy
from gateway.settings import Settings
from gateway.supervisor.lock import running
from gateway.supervisor.port import check_port

PACKAGES = ("pynetdicom", "pydicom", "imagecodecs", "torch", "monai", "celery", "redis", "SQLAlchemy")
FAILS_AGAIN_AND_AGAIN = 3  # failures in a row: it will not go by itself


def python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    fit = (3, 11) <= sys.version_info < (3, 14)
    return Check("python", "ok" if fit else "error", version + ("" if fit else "; needed is 3.11 to 3.13"))


def packages() -> Iterator[Check]:
    for package in PACKAGES:
        try:
            yield Check(f"package {package}", "ok", metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Check(f"package {package}", "error", "not installed: pip install filmgate")


def redis(settings: Settings) -> Check:

    address = redis_server.redis_url(settings)
    if redis_server.is_embedded(settings) and not redis_server.socket_path(settings).exists():
        try:
            return Check("redis", "ok", f"`up` will start {redis_server.program()}")
        except FilmgateError as error:
            return Check("redis", "error", str(error))
    client = redis_client.Redis.from_url(address, socket_timeout=2, socket_connect_timeout=2)
    try:
        client.ping()
    except redis_client.RedisError as error:
        detail = f"does not answer ({type(error).__name__}); films are kept and gated later"
        return Check("redis", "warning" if redis_server.is_embedded(settings) else "error", detail)
    finally:
        client.close()
    return Check("redis", "ok", "answers")


def disk(settings: Settings) -> Check:
    folder = settings.state
    while not folder.exists():
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free >> 20
    if free_mb < settings.store.min_free_mb:
        return Check(
            "disk", "error", f"{free_mb} MiB free at {folder}: below store.min_free_mb, nothing is accepted"
        )
    scarce = free_mb < 10 * settings.store.min_free_mb
    return Check("disk", "warning" if scarce else "ok", f"{free_mb} MiB free at {folder}")


def private(settings: Settings) -> Check:
    """Whether other users of this machine can get at films, ledger and secrets."""
    if not settings.state.exists():
        return Check("state folder", "ok", "`up` will make it, private to its user")
    found = list(privacy.open_to_others(settings.state))
    return Check("state folder", "warning" if found else "ok", "; ".join(found) or "private to its user")


def port(settings: Settings) -> Check:

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


def reach(settings: Settings) -> Check:
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


def threads(settings: Settings) -> Iterator[Check]:
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


def clock() -> Check:
    """Times are kept in UTC; a clock that is years off would show in every study's age."""
    built = datetime.fromtimestamp(Path(__file__).stat().st_mtime, UTC)
    now = datetime.now(UTC)
    return Check("clock", "ok" if now >= built else "error", now.isoformat(timespec="seconds"))


def time_zone(settings: Settings) -> Check:
    """Few hospitals live by UTC, and most containers do."""
    name = settings.gateway.time_zone
    here = datetime.now(UTC).astimezone(clocks.zone(name))
    zone = f"{name or here.tzname()}, UTC{here:%z}"
    if name:
        return Check("time zone", "ok", zone)
    if here.tzname() != "UTC":
        return Check("time zone", "ok", f"{zone}, of this machine")
    why = "results are dated, and the age of a study is counted, by it; if the hospital's clocks show another"
    return Check("time zone", "warning", f"{zone}, of this machine: {why} time, set gateway.time_zone")
