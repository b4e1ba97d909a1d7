"""The tables of labels and of the blind check."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, String, Table, text

from gateway.ledger.tables import UtcDateTime, id_type, metadata, own_id

labels = Table(
    "labels",
    metadata,
    own_id(),
    Column("film_id", id_type, ForeignKey("instances.id"), nullable=False, index=True),
    Column("digest", String(64), nullable=False),  # of the version that the person saw
    Column("what", String(16), nullable=False),  # words.What
    Column("value", String(64), nullable=False),
    Column("said_by", String(128), nullable=False),
    Column("said_at", UtcDateTime, nullable=False),
    Column("source", String(16), nullable=False),  # the act that it follows from
    Column("act_id", id_type),  # whose undo takes it back
    Column("gate_says", String(64)),  # of the same, then; NULL where none was sure
    Column("ended_at", UtcDateTime),  # NULL while it stands
    Column("ended_by", String(128)),
    Column("successor_id", id_type),  # the same person's label in its place; NULL: it was taken back
    Index("ix_labels_act_id", "act_id", sqlite_where=text("act_id IS NOT NULL")),
    Index("ix_labels_standing", "film_id", "what", sqlite_where=text("ended_at IS NULL")),
    Index("ix_labels_successor_id", "successor_id", sqlite_where=text("successor_id IS NOT NULL")),
)

blind_checks = Table(  # films that were drawn: passed ones, and some that were held so that nobody can know
    "blind_checks",
    metadata,
    own_id(),
    Column("film_id", id_type, ForeignKey("instances.id"), nullable=False, unique=True),
    Column("decision_id", id_type, ForeignKey("decisions.id"), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("sender", String(16), nullable=False),  # calling AE title, or ""
    Column("share_ppm", Integer, nullable=False),  # of passed films that were drawn then
    Column("decided_at", UtcDateTime, nullable=False),
    Column("put_off", Integer, nullable=False, default=0, server_default="0"),  # how often
    Column("good", Boolean),  # NULL until somebody answered
    Column("answered_by", String(128)),
    Column("answered_at", UtcDateTime),
    Index("ix_blind_checks_waiting", "put_off", "id", sqlite_where=text("good IS NULL")),
)

blind_counts = Table(  # what was drawn from: passed films, by day (UTC), sender and share
    "blind_counts",
    metadata,
    Column("day", String(10), primary_key=True),
    Column("sender", String(16), primary_key=True),
    Column("share_ppm", Integer, primary_key=True, autoincrement=False),
    Column("passed", Integer, nullable=False),
    Column("drawn", Integer, nullable=False),
)

labelling = Table(  # one row
    "labelling",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("secret", String(64), nullable=False),  # the key of what is drawn, and of patients in exports
    Column("last_decision_id", id_type, nullable=False),  # up to which films were drawn
)
