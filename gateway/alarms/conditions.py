"""What may be wrong besides the rates of senders: each a question to the ledger or this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from gateway.alarms import words
from gateway.ledger import Ledger
from gateway.ledger.records import DeliveryState, Undone
from gateway.ledger.watching.records import AlarmKind, Signal
from gateway.settings import Settings, WebhookDestination
from pipelines.watching import WEEKS, silence

KINDS = (
    AlarmKind.SILENCE,
    AlarmKind.WAITING,
    AlarmKind.DESTINATION,
    AlarmKind.DISK,
    AlarmKind.CERTIFICATE,
)
_FORGOTTEN = timedelta(weeks=5)  # a sender that was silent for so long is no sender any more
_SCARCE = 3  # times store.min_free_mb
_SCARCE_H = 24.0
_MOST_BYTES = 1 << 20  # of a file of certificates


def silent(ledger: Ledger, settings: Settings, now: datetime) -> Iterator[Signal]:
    """Senders that are silent longer than is usual for them."""
    by_hour = ledger.films_by_hour(now - timedelta(weeks=WEEKS + 5))
    said = words.Clock(settings, now)
    for sender in ledger.sender_totals():
        if not sender.sender or now - sender.last_at > _FORGOTTEN:
            continue
        unusual = silence(sender.last_at, now, by_hour.get(sender.sender, {}))
        if unusual:
            text = words.silence(sender.sender, said(unusual.since), unusual.usual, WEEKS)
            yield Signal(AlarmKind.SILENCE, sender.sender, text, words.films_of(sender.sender))


def waiting(ledger: Ledger, settings: Settings, now: datetime) -> Iterator[Signal]:
    """Films that wait for a person longer than the site's limit."""
    limit_h = settings.quarantine.limit_h
    if not limit_h:
        return
    count, oldest = ledger.waiting_since(now - timedelta(hours=limit_h))
    if oldest is not None:
        text = words.waiting(count, limit_h, words.Clock(settings, now)(oldest))
        yield Signal(AlarmKind.WAITING, "quarantine", text, "/quarantine")


def refusing(ledger: Ledger, settings: Settings, now: datetime) -> Iterator[Signal]:
    """Destinations that take nothing of what they are sent, or for which some was given up."""
    groups = ledger.refused_deliveries()
    for name in dict.fromkeys(group.destination for group in groups):
        its = [group for group in groups if group.destination == name]
        text = _refused(ledger, settings, name, its, now) or _given_up(settings, name, its, now)
        if text:
            yield Signal(AlarmKind.DESTINATION, name, text, "/destinations")


def _refused(ledger: Ledger, settings: Settings, name: str, its: list[Undone], now: datetime) -> str:
    tried = [group for group in its if group.state != DeliveryState.FAILED and group.trouble]
    if not tried:
        return ""
    since = min(group.since for group in tried)
    taken = ledger.last_taken(name)
    quiet = timedelta(minutes=settings.alarms.refuses_min)
    if now - max(since, taken or since) < quiet:
        return ""
    most = max(tried, key=lambda group: group.count)
    title = words.destination(settings, name)
    count = sum(group.count for group in tried)
    return words.refusing(title, count, words.Clock(settings, now)(since), most.trouble)


def _given_up(settings: Settings, name: str, its: list[Undone], now: datetime) -> str:
    failed = [group for group in its if group.state == DeliveryState.FAILED]
    if not failed:
        return ""
    most = max(failed, key=lambda group: group.count)
    since = words.Clock(settings, now)(min(group.since for group in failed))
    count = sum(group.count for group in failed)
    return words.given_up(words.destination(settings, name), count, since, most.trouble)


def disk(ledger: Ledger, settings: Settings, now: datetime) -> Iterator[Signal]:
    """Little room for films, or room for less than a day."""
    room = os.statvfs(settings.state)
    free_mb, least_mb = room.f_bavail * room.f_frsize >> 20, settings.store.min_free_mb
    daily_mb = ledger.bytes_since(now - timedelta(hours=24)) / (1 << 20)
    hours = max(0.0, free_mb - least_mb) / daily_mb * 24.0 if daily_mb else None
    if free_mb < _SCARCE * least_mb or (hours is not None and hours < _SCARCE_H):
        text = words.disk(free_mb, least_mb, hours)
        yield Signal(AlarmKind.DISK, "state folder", text, "/")


def certificates(settings: Settings, now: datetime) -> Iterator[Signal]:
    """Certificates of ours, or that we trust, that end soon."""
    soon = now + timedelta(days=settings.alarms.certificate_days)
    for what, path in certificate_files(settings):
        ends = first_end(path)
        if ends is not None and ends <= soon:
            text = words.certificate(what, ends, now)
            yield Signal(AlarmKind.CERTIFICATE, what, text, "/destinations")


def certificate_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Every file of certificates that the settings name, and by which key."""
    for name, block in settings.destinations.items():
        if isinstance(block, WebhookDestination) and block.ca_file:
            yield f"destinations.{name}.ca_file", block.ca_file
    tls, oidc = settings.console.tls, settings.console.oidc
    for key, path in (
        ("console.tls.certificate", tls.certificate if tls else None),
        ("console.oidc.ca_file", oidc.ca_file if oidc else None),
        ("alarms.webhook.ca_file", settings.alarms.webhook.ca_file),
        ("alarms.mail.ca_file", settings.alarms.mail.ca_file),
    ):
        if path:
            yield key, path


def first_end(path: Path) -> datetime | None:
    """When the first of the certificates in a PEM file ends; None where there is none that can be read."""
    try:
        with path.open("rb") as file:
            found = x509.load_pem_x509_certificates(file.read(_MOST_BYTES))
    except (OSError, ValueError):
        return None
    return min(one.not_valid_after_utc for one in found)


def all_signals(ledger: Ledger, settings: Settings, now: datetime) -> Iterator[Signal]:
    """Everything of KINDS that is wrong now."""
    yield from disk(ledger, settings, now)
    yield from certificates(settings, now)
    yield from refusing(ledger, settings, now)
    yield from waiting(ledger, settings, now)
    yield from silent(ledger, settings, now)
