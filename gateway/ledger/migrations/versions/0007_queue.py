"""The queue: jobs that were put off have a time, deliveries a rank, and each look an index of its own.

Most of the indices are partial: what is done never stands in the way of what is still to do.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

PARTIAL = (
    ("ix_jobs_ready", "jobs", ["rank", "id"], "state = 'ready'"),
    ("ix_jobs_leased", "jobs", ["owner"], "state = 'leased'"),
    ("ix_deliveries_pending", "deliveries", ["destination", "rank", "id"], "state = 'pending'"),
    ("ix_deliveries_retry", "deliveries", ["destination", "next_at"], "state = 'retry'"),
    ("ix_deliveries_sending", "deliveries", ["destination", "id"], "state = 'sending'"),
    ("ix_deliveries_failed", "deliveries", ["destination", "id"], "state = 'failed'"),
    ("ix_jobs_delivery_id", "jobs", ["delivery_id"], "delivery_id IS NOT NULL"),
    ("ix_decisions_current", "decisions", ["film_id"], "superseded = 0"),
    ("ix_decisions_act", "decisions", ["act", "film_id"], "superseded = 0"),
    ("ix_holds_words", "holds", ["state", "id"], "state = 'open' AND words IS NOT NULL"),
)
RANKS = """
    UPDATE deliveries
    SET rank = coalesce(
        (SELECT min(jobs.rank) FROM jobs
         WHERE jobs.film_id = deliveries.film_id AND jobs.delivery_id IS NULL),
        rank
    )
    WHERE state != 'delivered'
"""


def upgrade() -> None:
    op.add_column("jobs", sa.Column("not_before", sa.DateTime(), nullable=True))
    op.add_column("jobs", sa.Column("postponed", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("deliveries", sa.Column("rank", sa.Integer(), nullable=False, server_default="1"))
    op.drop_index("ix_jobs_state", table_name="jobs")
    op.drop_index("ix_jobs_delivery_id", table_name="jobs")
    op.drop_index("ix_deliveries_due", table_name="deliveries")
    op.execute(RANKS)
    for name, table, columns, where in PARTIAL:
        op.create_index(name, table, columns, unique=False, sqlite_where=sa.text(where))
