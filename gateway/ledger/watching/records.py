"""The frozen values of WATCH."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class ReceivedFilm:
    """One version that was received, as far as senders are counted by it."""

    id: int
    sender: str  # calling AE title; "" where nobody knows
    size_bytes: int
    received_at: datetime


@dataclass(frozen=True, slots=True)
class JudgedFilm:
    """One decision, and what of it counts for the rates of its sender."""

    id: int
    film_id: int
    sender: str
    act: str
    reasons: tuple[str, ...]
    decided_at: datetime
    first: bool  # of its film: one that is gated again does not count twice
    turned: bool
    inverted: bool
    held: bool


@dataclass(frozen=True, slots=True)
class SenderTotal:
    """What one sender sent in all."""

    sender: str
    films: int
    size_bytes: int
    first_at: datetime
    last_at: datetime


class AlarmKind(StrEnum):
    """What an alarm is about; docs/monitoring.md explains each."""

    RATE = "rate"
    SILENCE = "silence"
    WAITING = "waiting"
    DESTINATION = "destination"
    DISK = "disk"
    CERTIFICATE = "certificate"
    TEST = "test"  # `filmgate alarms test`: it is over as it begins


@dataclass(frozen=True, slots=True)
class Signal:
    """Something that is wrong now, in words that hold no patient and no UID."""

    kind: AlarmKind
    subject: str
    words: str
    link: str
    what: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.kind, self.subject, self.what)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A signal that people were told of, once, until it is over."""

    id: int
    kind: AlarmKind
    subject: str
    what: str
    words: str
    link: str
    since: datetime
    over_at: datetime | None


class NoticeState(StrEnum):
    """How far a notice is."""

    OWED = "owed"
    SENT = "sent"
    FAILED = "failed"  # given up


@dataclass(frozen=True, slots=True)
class Notice:
    """Word of an alarm that is owed one way."""

    id: int
    alarm: Alarm
    news: str  # "on", "over" or "test"
    way: str  # "webhook" or "mail"
    attempts: int
