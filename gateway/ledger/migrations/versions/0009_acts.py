"""Acts of people, each with what it takes to undo it; and what leaves only after a few seconds."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

BY_PEOPLE = "who NOT IN ('worker', 'courier', 'dispatcher', 'listener', 'fsck')"


ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "acts",
        sa.Column("id", ID, primary_key=True),
        sa.Column("film_id", ID, sa.ForeignKey("instances.id"), nullable=False),
        sa.Column("act", sa.String(length=16), nullable=False),
        sa.Column("who", sa.String(length=128), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("hold_id", ID, sa.ForeignKey("holds.id"), nullable=True),
        sa.Column("decision_id", ID, sa.ForeignKey("decisions.id"), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("until", sa.DateTime(), nullable=True),
        sa.Column("undo", sa.JSON(), nullable=False),
        sa.Column("undone_by", sa.String(length=128), nullable=True),
        sa.Column("undone_at", sa.DateTime(), nullable=True),
        sa.Column("request", sa.String(length=32), nullable=True),
    )
    op.create_index("ix_acts_film_id", "acts", ["film_id"])
    op.create_index("ix_acts_who", "acts", ["who", "id"])
    asked = sa.text("request IS NOT NULL")
    op.create_index("ix_acts_request", "acts", ["request"], sqlite_where=asked)
    leaving = sa.text("state = 'leaving'")
    op.create_index("ix_deliveries_leaving", "deliveries", ["next_at"], sqlite_where=leaving)
    people = sa.text(BY_PEOPLE)
    op.create_index("ix_events_people", "events", ["id"], sqlite_where=people)
    op.create_index("ix_events_people_who", "events", ["who", "id"], sqlite_where=people)
    op.create_index("ix_events_people_what", "events", ["what", "id"], sqlite_where=people)
