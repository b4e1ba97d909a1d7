"""The tables of people: who may sign in, who has, and who only tried."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Integer, String, Table, Text

from gateway.ledger.tables import UtcDateTime, id_type, metadata, own_id

people = Table(
    "people",
    metadata,
    own_id(),
    Column("name", String(64), nullable=False),
    Column("folded", String(192), nullable=False, unique=True),  # by which it is found, whatever its case
    Column("subject", String(320), unique=True),  # at a provider or proxy; NULL: signs in here, by password
    Column("password", Text),  # its argon2id hash, with salt and costs
    Column("role", String(8), nullable=False),
    Column("disabled", Boolean, nullable=False, default=False),
    Column("must_change", Boolean, nullable=False, default=False),  # of the password, at the next sign-in
    Column("made_by", String(128), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("signed_in_at", UtcDateTime),
    Column(
        "form_key", String(64), nullable=False
    ),  # random; CSRF tokens of who has no session are made of it
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_digest", String(64), primary_key=True),  # sha256 of what the browser has
    Column("person_id", id_type, ForeignKey("people.id"), nullable=False, index=True),
    Column("address", String(64), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)

devices = Table(  # browsers from which somebody has signed in: OWASP, "device cookies"
    "devices",
    metadata,
    Column("token_digest", String(64), primary_key=True),  # several people may share a browser
    Column("person_id", id_type, ForeignKey("people.id"), primary_key=True, index=True),
    Column("seen_at", UtcDateTime, nullable=False),
)

guesses = Table(
    "guesses",
    metadata,
    Column("source", String(80), primary_key=True),  # backoff.Source as text
    Column("failures", Integer, nullable=False),  # in a row, those under way among them
    Column("last_at", UtcDateTime, nullable=False),
)
