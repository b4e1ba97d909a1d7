"""Alarms: what senders did by the hour, the watches of their rates, alarms, and notices of them.

What is in the ledger already is taken in by the dispatcher, a batch at a time.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "watch_places",
        sa.Column("name", sa.String(length=16), primary_key=True),
        sa.Column("place", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "sender_totals",
        sa.Column("sender", sa.String(length=16), primary_key=True),
        sa.Column("films", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.DateTime(), nullable=False),
        sa.Column("last_at", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "sender_hours",
        sa.Column("sender", sa.String(length=16), primary_key=True),
        sa.Column("hour", sa.DateTime(), primary_key=True),
        sa.Column("films", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_sender_hours_hour", "sender_hours", ["hour"])
    op.create_table(
        "tallies",
        sa.Column("figure", sa.String(length=16), primary_key=True),
        sa.Column("label", sa.String(length=32), primary_key=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "watches",
        sa.Column("sender", sa.String(length=16), primary_key=True),
        sa.Column("rate", sa.String(length=16), primary_key=True),
        sa.Column("body", sa.JSON(), nullable=False),
    )
    op.create_table(
        "alarms",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("what", sa.String(length=32), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("link", sa.String(length=255), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("over_at", sa.DateTime()),
    )
    op.create_index(
        "ix_alarms_on",
        "alarms",
        ["kind", "subject", "what"],
        unique=True,
        sqlite_where=sa.text("over_at IS NULL"),
    )
    op.create_table(
        "notices",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("alarm_id", ID, sa.ForeignKey("alarms.id"), nullable=False),
        sa.Column("news", sa.String(length=8), nullable=False),
        sa.Column("way", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("ended_at", sa.DateTime()),
    )
    op.create_index("ix_notices_owed", "notices", ["next_at"], sqlite_where=sa.text("state = 'owed'"))
    op.create_index("ix_notices_alarm_id", "notices", ["alarm_id"])
