"""The acts of people: one row a film and act, with what it takes to undo it; its event names the row."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text, text

from gateway.ledger.tables import UtcDateTime, metadata

_Id = BigInteger().with_variant(Integer, "sqlite")

acts = Table(
    "acts",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("film_id", _Id, ForeignKey("instances.id"), nullable=False, index=True),
    Column("act", String(16), nullable=False),
    Column("who", String(128), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("hold_id", _Id, ForeignKey("holds.id")),
    Column("decision_id", _Id, ForeignKey("decisions.id")),  # that the person saw
    Column("note", Text, nullable=False),
    Column("detail", JSON, nullable=False),  # to whom, for what reason, what was done to the pixels
    Column("until", UtcDateTime),  # nothing of it leaves before; NULL: nothing leaves by it
    Column("undo", JSON, nullable=False),  # records.Before
    Column("undone_by", String(128)),
    Column("undone_at", UtcDateTime),
    Column("request", String(32)),  # the id that who asked gave it; the same once more is no second act
    Index("ix_acts_who", "who", "id"),
    Index("ix_acts_request", "request", sqlite_where=text("request IS NOT NULL")),
)
