"""What the ledger says of people, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """What a person may do; each may what those before it may."""

    VIEWER = "viewer"
    REVIEWER = "reviewer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class User:
    """A person who may sign in. `subject` is who they are at a provider or proxy, else ""."""

    user_id: int
    name: str
    role: Role
    disabled: bool
    must_change: bool
    subject: str
    made_by: str
    made_at: datetime
    signed_in_at: datetime | None
    form_key: str
    sessions: int = 0  # that are open, where they were counted


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long a session lasts, in seconds: unused, and at most."""

    idle_s: float
    longest_s: float


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and the hash of their password."""

    user: User
    password_hash: str
