"""What people search by: a row a film of its header, and a row a reason of its decision.

Each index of `headers` ends with the film's id, which is the row's own: so a list of the newest films with
one value is read off its index, and so is the next page of it.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, String, Table, text

from gateway.ledger.tables import UtcDateTime, id_type, metadata, own_id

SEARCHED = (
    "study_uid",
    "series_uid",
    "accession",
    "patient_id",
    "study_date",
    "device",
    "modality",
    "sender",
)

headers = Table(
    "headers",
    metadata,
    Column("film_id", id_type, ForeignKey("instances.id"), primary_key=True, autoincrement=False),
    Column("version_id", id_type, ForeignKey("versions.id"), nullable=False),  # which it was read of
    Column("study_uid", String(64), nullable=False, default="", server_default=""),
    Column("series_uid", String(64), nullable=False, default="", server_default=""),
    Column("accession", String(64), nullable=False, default="", server_default=""),
    Column("patient_id", String(64), nullable=False, default="", server_default=""),
    Column("study_date", String(8), nullable=False, default="", server_default=""),
    Column("device", String(64), nullable=False, default="", server_default=""),
    Column("modality", String(64), nullable=False, default="", server_default=""),
    Column("sender", String(16), nullable=False, default="", server_default=""),  # calling AE title
    Column("read_at", UtcDateTime),  # NULL: of an older ledger, and not read yet
    *(Index(f"ix_headers_{name}", name) for name in SEARCHED),
    Index("ix_headers_unread", "film_id", sqlite_where=text("read_at IS NULL")),
)

reasons = Table(  # as decisions.reasons and .flags have them, which stay the record
    "reasons",
    metadata,
    own_id(),
    Column("film_id", id_type, ForeignKey("instances.id"), nullable=False),
    Column("decision_id", id_type, ForeignKey("decisions.id"), nullable=False),
    Column("code", String(32), nullable=False),
    Column("flag", Boolean, nullable=False, default=False),  # noted, but not held for
    Column("place", Integer, nullable=False, default=0),  # 0: the first, by which open holds are grouped
    Column("current", Boolean, nullable=False, default=True),  # of the decision that stands
    Index("ix_reasons_decision_id", "decision_id"),
    Index("ix_reasons_film_id", "film_id", sqlite_where=text("current = 1")),
    Index("ix_reasons_code", "code", "film_id", sqlite_where=text("current = 1")),
)
