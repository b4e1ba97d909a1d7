"""Labels: what people said of films, and the blind check of passed ones, which begins with the next film."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "labels",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("film_id", _ID, sa.ForeignKey("instances.id"), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("what", sa.String(16), nullable=False),
        sa.Column("value", sa.String(64), nullable=False),
        sa.Column("said_by", sa.String(128), nullable=False),
        sa.Column("said_at", sa.DateTime(), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("act_id", _ID),
        sa.Column("gate_says", sa.String(64)),
        sa.Column("ended_at", sa.DateTime()),
        sa.Column("ended_by", sa.String(128)),
        sa.Column("successor_id", _ID),
    )
    op.create_index("ix_labels_film_id", "labels", ["film_id"])
    _partial("ix_labels_act_id", "labels", ["act_id"], "act_id IS NOT NULL")
    _partial("ix_labels_standing", "labels", ["film_id", "what"], "ended_at IS NULL")
    _partial("ix_labels_successor_id", "labels", ["successor_id"], "successor_id IS NOT NULL")
    op.create_table(
        "blind_checks",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("film_id", _ID, sa.ForeignKey("instances.id"), nullable=False, unique=True),
        sa.Column("decision_id", _ID, sa.ForeignKey("decisions.id"), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("sender", sa.String(16), nullable=False),
        sa.Column("share_ppm", sa.Integer(), nullable=False),
        sa.Column("decided_at", sa.DateTime(), nullable=False),
        sa.Column("put_off", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("good", sa.Boolean()),
        sa.Column("answered_by", sa.String(128)),
        sa.Column("answered_at", sa.DateTime()),
    )
    _partial("ix_blind_checks_waiting", "blind_checks", ["put_off", "id"], "good IS NULL")
    op.create_table(
        "blind_counts",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("sender", sa.String(16), primary_key=True),
        sa.Column("share_ppm", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("passed", sa.Integer(), nullable=False),
        sa.Column("drawn", sa.Integer(), nullable=False),
    )
    state = op.create_table(
        "labelling",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.Column("last_decision_id", _ID, nullable=False),
    )
    last = op.get_bind().scalar(sa.text("SELECT max(id) FROM decisions")) or 0
    op.bulk_insert(state, [{"id": 1, "secret": secrets.token_hex(32), "last_decision_id": last}])


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, unique=False, sqlite_where=sa.text(where))
