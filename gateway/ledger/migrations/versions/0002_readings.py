"""Classifiers: readings are jobs, their results and the objects made of them are rows."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("delivery_id", _ID, nullable=True))
        batch_op.create_foreign_key("fk_jobs_delivery_id", "deliveries", ["delivery_id"], ["id"])
        batch_op.create_index(batch_op.f("ix_jobs_delivery_id"), ["delivery_id"], unique=False)

    op.create_table(
        "results",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("film_id", _ID, nullable=False),
        sa.Column("delivery_id", _ID, nullable=True),
        sa.Column("classifier", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("model_digest", sa.String(length=64), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("made_at", sa.DateTime(), nullable=False),
        sa.Column("superseded", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"]),
        sa.ForeignKeyConstraint(["film_id"], ["instances.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("results", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_results_film_id"), ["film_id"], unique=False)

    op.create_table(
        "objects",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("film_id", _ID, nullable=False),
        sa.Column("result_id", _ID, nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["film_id"], ["instances.id"]),
        sa.ForeignKeyConstraint(["result_id"], ["results.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("film_id", "digest"),
    )
    with op.batch_alter_table("objects", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_objects_digest"), ["digest"], unique=False)
        batch_op.create_index(batch_op.f("ix_objects_film_id"), ["film_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_objects_result_id"), ["result_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_objects_sop_instance_uid"), ["sop_instance_uid"], unique=False)
