"""Refused associations are counted: one row stands for all that an address was refused in a minute."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("associations", sa.Column("times", sa.Integer(), server_default="1", nullable=False))
