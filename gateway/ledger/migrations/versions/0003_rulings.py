"""Rulings: what people said once for all of words in headers of one sender; holds that wait for that."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("holds", sa.Column("words", sa.JSON(), nullable=True))

    op.create_table(
        "rulings",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("sender", sa.String(length=16), nullable=False),
        sa.Column("word", sa.String(length=32), nullable=False),
        sa.Column("answer", sa.String(length=8), nullable=False),
        sa.Column("said_by", sa.String(length=128), nullable=False),
        sa.Column("said_at", sa.DateTime(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("ended_by", sa.String(length=128), nullable=True),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_rulings_sender", "rulings", ["sender", "word"], unique=False)
