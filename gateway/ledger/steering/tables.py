"""The tables of what people steer: each row is what somebody said, and stands until somebody ends it.

`steering` has one row: its revision grows with every change, so a look at it says whether anything did.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ForeignKey, Index, Integer, String, Table, Text, text

from gateway.ledger.tables import UtcDateTime, id_type, metadata, own_id


def _by() -> tuple[Column[Any], ...]:
    return (
        Column("said_by", String(128), nullable=False),
        Column("said_at", UtcDateTime, nullable=False),
        Column("note", Text, nullable=False),
    )


def _said(name: str, *columns: Column[Any], index: str) -> Table:
    ended = (Column("ended_by", String(128)), Column("ended_at", UtcDateTime))
    stands = Index(f"ix_{name}_stands", index, sqlite_where=text("ended_at IS NULL"))
    return Table(name, metadata, own_id(), *columns, *_by(), *ended, stands)


steering = Table(
    "steering",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, nullable=False),
)

policies = Table(  # the last row is in force; with none it is the settings' own rules
    "policies",
    metadata,
    own_id(),
    Column("text", Text),  # NULL: the rules of the settings, whatever they are by then
    Column("sha256", String(64), nullable=False),  # of the text
    Column("digest", String(64), nullable=False),  # of the rules; decisions have it
    *_by(),
    Column("again", id_type, ForeignKey("policies.id")),  # the version that was put in force once more
)

sender_modes = _said(
    "sender_modes",
    Column("ae_title", String(16), nullable=False),
    Column("mode", String(8), nullable=False),  # observe or enforce
    index="ae_title",
)

allowed_senders = _said(
    "allowed_senders",
    Column("ae_title", String(16), nullable=False),
    Column("network", String(64), nullable=False),  # an address, or a range
    index="ae_title",
)

pauses = _said("pauses", Column("destination", String(64), nullable=False), index="destination")

bypasses = _said("bypasses", Column("until", UtcDateTime, nullable=False), index="until")
