"""What people steer while the gateway runs: rules, modes, the bypass, pauses, senders.

Decisions from now on keep what they rest on, so that other rules can be tried on them. Who was refused is
looked up by an index.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _said(table: str, *columns: sa.Column[Any], index: str) -> None:
    """A table of what somebody said, and who ended it when."""
    op.create_table(
        table,
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        *columns,
        sa.Column("said_by", sa.String(128), nullable=False),
        sa.Column("said_at", sa.DateTime(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("ended_by", sa.String(128)),
        sa.Column("ended_at", sa.DateTime()),
    )
    where = sa.text("ended_at IS NULL")
    op.create_index(f"ix_{table}_stands", table, [index], unique=False, sqlite_where=where)


def upgrade() -> None:
    steering = op.create_table(
        "steering",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("revision", sa.Integer(), nullable=False),
    )
    op.bulk_insert(steering, [{"id": 1, "revision": 0}])
    op.create_table(
        "policies",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("text", sa.Text()),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("said_by", sa.String(128), nullable=False),
        sa.Column("said_at", sa.DateTime(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("again", _ID, sa.ForeignKey("policies.id")),
    )
    ae_title = sa.Column("ae_title", sa.String(16), nullable=False)
    mode = sa.Column("mode", sa.String(8), nullable=False)
    _said("sender_modes", ae_title, mode, index="ae_title")
    ae_title = sa.Column("ae_title", sa.String(16), nullable=False)
    network = sa.Column("network", sa.String(64), nullable=False)
    _said("allowed_senders", ae_title, network, index="ae_title")
    _said("pauses", sa.Column("destination", sa.String(64), nullable=False), index="destination")
    _said("bypasses", sa.Column("until", sa.DateTime(), nullable=False), index="until")
    op.add_column("decisions", sa.Column("grounds", sa.JSON(), nullable=True))
    refused = sa.text("outcome = 'refused'")
    op.create_index("ix_associations_refused", "associations", ["id"], sqlite_where=refused)
