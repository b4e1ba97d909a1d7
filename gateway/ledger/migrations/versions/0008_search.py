"""What people search by: the headers of films, reasons a row each, and what open holds are sorted by.

Of the films that are here the senders are filled in at once. Their headers are read by the workers when they
have nothing else to do: that takes a decoder, and hours where there are many.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_SEARCHED = (
    ("study_uid", 64),
    ("series_uid", 64),
    ("accession", 64),
    ("patient_id", 64),
    ("study_date", 8),
    ("device", 64),
    ("modality", 64),
    ("sender", 16),
)
_SHEET = ["state", "reason", "sender", "device", "accession", "opened_at", "uncertainty", "film_id"]

SENDERS = """
    INSERT INTO headers (film_id, version_id, sender)
    SELECT latest.film_id, latest.id, coalesce(associations.calling, '')
    FROM (SELECT film_id, max(id) AS id FROM versions GROUP BY film_id) AS latest
    JOIN versions ON versions.id = latest.id
    LEFT JOIN associations ON associations.id = versions.association_id
    ORDER BY latest.film_id
"""
REASONS = """
    INSERT INTO reasons (film_id, decision_id, code, flag, place, current)
    SELECT decisions.film_id, decisions.id, each.value, 0, each.key, NOT decisions.superseded
    FROM decisions, json_each(decisions.reasons) AS each
"""
FLAGS = """
    INSERT INTO reasons (film_id, decision_id, code, flag, place, current)
    SELECT decisions.film_id, decisions.id, each.value, 1, each.key, NOT decisions.superseded
    FROM decisions, json_each(decisions.flags) AS each
    WHERE NOT EXISTS (
        SELECT 1 FROM json_each(decisions.reasons) AS held_for WHERE held_for.value = each.value)
"""
HELD = """
    UPDATE holds
    SET reason = coalesce(json_extract(reasons, '$[0]'), ''),
        sender = coalesce(
            (SELECT associations.calling FROM versions
             JOIN associations ON associations.id = versions.association_id
             WHERE versions.id = holds.version_id), '')
"""


def _text(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=length), nullable=False, server_default="")


def upgrade() -> None:
    op.create_table(
        "headers",
        sa.Column("film_id", _ID, autoincrement=False, nullable=False),
        sa.Column("version_id", _ID, nullable=False),
        *(_text(name, length) for name, length in _SEARCHED),
        sa.Column("read_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["film_id"], ["instances.id"]),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"]),
        sa.PrimaryKeyConstraint("film_id"),
    )
    op.create_table(
        "reasons",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("film_id", _ID, nullable=False),
        sa.Column("decision_id", _ID, nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("flag", sa.Boolean(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["decision_id"], ["decisions.id"]),
        sa.ForeignKeyConstraint(["film_id"], ["instances.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.add_column("decisions", sa.Column("uncertainty", sa.Float(), nullable=True))
    for name, length in (("reason", 32), ("sender", 16), ("device", 64), ("accession", 64)):
        op.add_column("holds", _text(name, length))
    op.add_column("holds", sa.Column("uncertainty", sa.Float(), nullable=False, server_default="0"))
    for statement in (SENDERS, REASONS, FLAGS, HELD):
        op.execute(statement)
    for name, _ in _SEARCHED:
        op.create_index(f"ix_headers_{name}", "headers", [name])
    op.create_index("ix_headers_unread", "headers", ["film_id"], sqlite_where=sa.text("read_at IS NULL"))
    op.create_index("ix_reasons_decision_id", "reasons", ["decision_id"])
    op.create_index("ix_reasons_film_id", "reasons", ["film_id"], sqlite_where=sa.text("current = 1"))
    op.create_index("ix_reasons_code", "reasons", ["code", "film_id"], sqlite_where=sa.text("current = 1"))
    uncertain, standing = ["uncertainty", "film_id"], sa.text("superseded = 0")
    op.create_index("ix_decisions_uncertainty", "decisions", uncertain, sqlite_where=standing)
    op.create_index("ix_holds_sheet", "holds", _SHEET, sqlite_where=sa.text("state = 'open'"))
    delivered = sa.text("state = 'delivered'")
    op.create_index(
        "ix_deliveries_delivered", "deliveries", ["destination", "ended_at"], sqlite_where=delivered
    )
