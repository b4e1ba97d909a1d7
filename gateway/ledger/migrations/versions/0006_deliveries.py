"""Deliveries: how many failed tries are held against the object, and why the last one failed, in one word."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("tries", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("deliveries", sa.Column("trouble", sa.String(length=24), nullable=True))
