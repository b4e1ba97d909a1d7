"""The tables of the ledger, and the one table of allowed state changes.

"film" in a column name is an instance row: one SOP Instance UID as somebody sent it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

from gateway.ledger.records import ORDINARY, CopyState, DeliveryState, HoldState, JobState

SCHEMA = "0014"  # the Alembic revision that this code reads and writes

# (what, from, to). A new state is one line here; Ledger refuses every change that is not.
TRANSITIONS: frozenset[tuple[str, str, str]] = frozenset(
    {
        ("job", JobState.READY, JobState.LEASED),
        ("job", JobState.LEASED, JobState.DONE),
        ("job", JobState.LEASED, JobState.READY),  # failed or its worker died; tried again
        ("job", JobState.LEASED, JobState.PARKED),  # failed for good
        ("job", JobState.PARKED, JobState.READY),  # a person asks for another try
        ("job", JobState.DONE, JobState.READY),  # gated again
        ("job", JobState.READY, JobState.DONE),  # a person decided before it was examined again
        ("job", JobState.READY, JobState.PARKED),  # a reading of a film that is held by now
        ("delivery", DeliveryState.PENDING, DeliveryState.SENDING),
        ("delivery", DeliveryState.PENDING, DeliveryState.CANCELLED),
        ("delivery", DeliveryState.SENDING, DeliveryState.DELIVERED),
        ("delivery", DeliveryState.SENDING, DeliveryState.RETRY),
        ("delivery", DeliveryState.SENDING, DeliveryState.FAILED),
        (
            "delivery",
            DeliveryState.SENDING,
            DeliveryState.PENDING,
        ),  # its sender died, or another picture of the film is held
        (
            "delivery",
            DeliveryState.SENDING,
            DeliveryState.CANCELLED,
        ),  # a reading of a film that is held by now
        ("delivery", DeliveryState.RETRY, DeliveryState.SENDING),
        ("delivery", DeliveryState.RETRY, DeliveryState.CANCELLED),
        ("delivery", DeliveryState.FAILED, DeliveryState.PENDING),  # sent again
        ("delivery", DeliveryState.CANCELLED, DeliveryState.PENDING),  # sent again
        ("delivery", DeliveryState.DELIVERED, DeliveryState.PENDING),  # a person wants it sent once more
        ("delivery", DeliveryState.LEAVING, DeliveryState.PENDING),  # its seconds are over
        ("delivery", DeliveryState.LEAVING, DeliveryState.CANCELLED),  # undone: nobody ever got it
        ("delivery", DeliveryState.FAILED, DeliveryState.LEAVING),
        ("delivery", DeliveryState.CANCELLED, DeliveryState.LEAVING),
        ("hold", HoldState.OPEN, HoldState.RELEASED),
        ("hold", HoldState.OPEN, HoldState.CORRECTED),
        ("hold", HoldState.OPEN, HoldState.REJECTED),
        ("hold", HoldState.OPEN, HoldState.SUPERSEDED),
        ("hold", HoldState.RELEASED, HoldState.OPEN),  # undone
        ("hold", HoldState.CORRECTED, HoldState.OPEN),
        ("hold", HoldState.REJECTED, HoldState.OPEN),
        ("hold", HoldState.RELEASED, HoldState.REJECTED),  # a person thinks better of it after it went out
        ("hold", HoldState.CORRECTED, HoldState.REJECTED),
        ("hold", HoldState.REJECTED, HoldState.RELEASED),  # and that is undone
        ("hold", HoldState.REJECTED, HoldState.CORRECTED),
        ("copy", CopyState.PROPOSED, CopyState.ACCEPTED),
        ("copy", CopyState.PROPOSED, CopyState.DISCARDED),
        ("copy", CopyState.ACCEPTED, CopyState.PROPOSED),  # undone
        ("copy", CopyState.DISCARDED, CopyState.PROPOSED),
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in, aware UTC out; SQLite forgets the zone otherwise."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC)


# Who writes events without being a person; what remains is the audit of people (as its indices say).
MACHINES = ("worker", "courier", "dispatcher", "listener", "fsck")
BY_PEOPLE = "who NOT IN ('worker', 'courier', 'dispatcher', 'listener', 'fsck')"

metadata = MetaData()
id_type = BigInteger().with_variant(Integer, "sqlite")  # SQLite's rowid needs INTEGER


def own_id() -> Column[Any]:
    """The key of a row, which grows."""
    return Column("id", id_type, primary_key=True, autoincrement=True)


def _film(nullable: bool = False) -> Column[Any]:
    return Column("film_id", id_type, ForeignKey("instances.id"), nullable=nullable, index=True)


def _partial(name: str, *columns: str, where: str) -> Index:
    """An index of the few rows that somebody looks for.

    A look finds it when its own words say the same in literals (`moves.stands`): a bound value tells nothing.
    """
    return Index(name, *columns, sqlite_where=text(where))


SHEET_KEYS = ("state", "reason", "sender", "device", "accession", "opened_at", "uncertainty")

associations = Table(
    "associations",
    metadata,
    own_id(),
    Column("calling", String(16), nullable=False),
    Column("called", String(16), nullable=False),
    Column("address", String(64), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("outcome", String(16)),  # released, aborted, refused, ...; NULL while open
    Column("reason", Text),
    Column("objects", Integer, nullable=False, default=0),
    Column("size_bytes", BigInteger, nullable=False, default=0),
    Column("times", Integer, nullable=False, default=1, server_default="1"),  # how many the row stands for
    _partial("ix_associations_refused", "id", where="outcome = 'refused'"),
)

instances = Table(
    "instances",
    metadata,
    own_id(),
    Column("sop_instance_uid", String(64), nullable=False, unique=True),
    Column("sop_class_uid", String(64), nullable=False),
    Column("received_at", UtcDateTime, nullable=False, index=True),
    Column("ours", Boolean, nullable=False, default=False),
)

versions = Table(
    "versions",
    metadata,
    own_id(),
    _film(),
    Column("digest", String(64), nullable=False, index=True),
    Column("sop_class_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("association_id", id_type, ForeignKey("associations.id")),
    Column("received_at", UtcDateTime, nullable=False),
    UniqueConstraint("film_id", "digest"),
)

jobs = Table(
    "jobs",
    metadata,
    own_id(),
    _film(),
    Column("version_id", id_type, ForeignKey("versions.id"), nullable=False),
    Column("state", String(8), nullable=False),
    Column("rank", Integer, nullable=False),  # URGENT, ORDINARY, CAN_WAIT: in this order
    Column("attempts", Integer, nullable=False, default=0),
    Column("token", Integer, nullable=False, default=0),
    Column("beat", Integer, nullable=False, default=0),
    Column("owner", String(128)),
    Column("error", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("done_at", UtcDateTime),
    Column("delivery_id", id_type, ForeignKey("deliveries.id")),  # to a classifier; NULL: gate it
    Column("not_before", UtcDateTime),  # of one that was put off, for want of room, time or a lock
    Column("postponed", Integer, nullable=False, default=0, server_default="0"),  # how often, in all
    _partial("ix_jobs_ready", "rank", "id", where="state = 'ready'"),  # the order in which they are claimed
    _partial("ix_jobs_leased", "owner", where="state = 'leased'"),
    _partial("ix_jobs_delivery_id", "delivery_id", where="delivery_id IS NOT NULL"),
)

decisions = Table(
    "decisions",
    metadata,
    own_id(),
    _film(),
    Column("version_id", id_type, ForeignKey("versions.id"), nullable=False),
    Column("act", String(16), nullable=False),
    Column("mode", String(8), nullable=False),
    Column("rule", String(64), nullable=False),
    Column("why", Text, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("flags", JSON, nullable=False),
    Column("trace", JSON, nullable=False),
    Column("digests", JSON, nullable=False),  # policy, code, and one a model
    Column("decided_at", UtcDateTime, nullable=False),
    Column("superseded", Boolean, nullable=False, default=False),
    Column(
        "grounds", JSON(none_as_null=True)
    ),  # pipelines.grounds.Grounds; NULL: not kept, or no rule decided
    Column("uncertainty", Float),  # searching.uncertainty of its findings; NULL: not reckoned yet
    _partial("ix_decisions_current", "film_id", where="superseded = 0"),
    _partial("ix_decisions_act", "act", "film_id", where="superseded = 0"),
    _partial("ix_decisions_uncertainty", "uncertainty", "film_id", where="superseded = 0"),
)

findings = Table(
    "findings",
    metadata,
    own_id(),
    Column("decision_id", id_type, ForeignKey("decisions.id"), nullable=False, index=True),
    Column("of_copy", Boolean, nullable=False, default=False),
    Column("gate", String(32), nullable=False),
    Column("verdict", String(8), nullable=False),
    Column("body", JSON, nullable=False),  # score, low, high, reason, detail, box, model_digest, facts
)

copies = Table(
    "copies",
    metadata,
    own_id(),
    _film(),
    Column("decision_id", id_type, ForeignKey("decisions.id")),
    Column("sop_instance_uid", String(64), nullable=False, index=True),
    Column("sop_class_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("operations", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    UniqueConstraint("film_id", "digest"),
)

deliveries = Table(
    "deliveries",
    metadata,
    own_id(),
    _film(),
    Column("destination", String(64), nullable=False),
    Column("kind", String(8), nullable=False),  # always, ai, copy or result
    Column("digest", String(64), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),  # of a payload: its media type
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("tries", Integer, nullable=False, default=0, server_default="0"),  # held against the object
    Column("next_at", UtcDateTime, nullable=False),
    Column("trouble", String(24)),  # errors.Trouble, of its last try
    Column("error", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("rank", Integer, nullable=False, default=ORDINARY, server_default=str(ORDINARY)),  # of its film
    UniqueConstraint("film_id", "destination", "digest"),
    _partial("ix_deliveries_pending", "destination", "rank", "id", where="state = 'pending'"),
    _partial("ix_deliveries_retry", "destination", "next_at", where="state = 'retry'"),
    _partial("ix_deliveries_sending", "destination", "id", where="state = 'sending'"),
    _partial("ix_deliveries_failed", "destination", "id", where="state = 'failed'"),
    _partial("ix_deliveries_leaving", "next_at", where="state = 'leaving'"),
    _partial("ix_deliveries_delivered", "destination", "ended_at", where="state = 'delivered'"),
)

results = Table(
    "results",
    metadata,
    own_id(),
    _film(),
    Column("delivery_id", id_type, ForeignKey("deliveries.id")),  # NULL: the film was never handed to it
    Column("classifier", String(64), nullable=False),  # the destination's name
    Column("version", String(32), nullable=False),
    Column("model_digest", String(64), nullable=False),
    Column("body", JSON, nullable=False),  # conditions, crop, region, shown; or not_read and why
    Column("made_at", UtcDateTime, nullable=False),
    Column("superseded", Boolean, nullable=False, default=False),
)

objects = Table(
    "objects",
    metadata,
    own_id(),
    _film(),
    Column("result_id", id_type, ForeignKey("results.id"), index=True),  # NULL: a rejection note
    Column("kind", String(16), nullable=False),  # sr, heatmap, gsps, json, fhir, not_analysed or rejection
    Column("sop_class_uid", String(64), nullable=False),  # "" of a payload
    Column("sop_instance_uid", String(64), nullable=False, index=True),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("made_at", UtcDateTime, nullable=False),
    UniqueConstraint("film_id", "digest"),
)

holds = Table(
    "holds",
    metadata,
    own_id(),
    _film(),
    Column("version_id", id_type, ForeignKey("versions.id"), nullable=False),
    Column("decision_id", id_type, ForeignKey("decisions.id"), nullable=False),
    Column("copy_id", id_type, ForeignKey("copies.id")),
    Column("takers", JSON, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("why", Text, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
    Column("closed_by", String(128)),
    Column("note", Text),
    Column("words", JSON(none_as_null=True)),  # of the header, that a person must speak about; NULL: none
    # What the open ones are sorted and grouped by, once more, so that one index has all of it.
    Column("reason", String(32), nullable=False, default="", server_default=""),  # the first one
    Column("sender", String(16), nullable=False, default="", server_default=""),
    Column("device", String(64), nullable=False, default="", server_default=""),
    Column("accession", String(64), nullable=False, default="", server_default=""),
    Column("uncertainty", Float, nullable=False, default=0.0, server_default="0"),
    _partial("ix_holds_words", "state", "id", where="state = 'open' AND words IS NOT NULL"),
    _partial("ix_holds_sheet", *SHEET_KEYS, "film_id", where="state = 'open'"),
)

rulings = Table(
    "rulings",
    metadata,
    own_id(),
    Column("sender", String(16), nullable=False),  # calling AE title
    Column("word", String(32), nullable=False),
    Column("answer", String(8), nullable=False),  # always or never
    Column("said_by", String(128), nullable=False),
    Column("said_at", UtcDateTime, nullable=False),
    Column("note", Text, nullable=False),
    Column("ended_by", String(128)),  # NULL while it is in force
    Column("ended_at", UtcDateTime),
    Index("ix_rulings_sender", "sender", "word"),
)

rejections = Table(  # by Key Objects that rooms and archives send (IHE IOCM)
    "rejections",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),  # which may never have been here
    Column("code", String(16), nullable=False),  # of the document's title, PS3.16 CID 7010
    Column("sender", String(16), nullable=False),  # calling AE title of who sent it, or ""
    Column("film_id", id_type, ForeignKey("instances.id"), nullable=False),  # the document
    Column("said_at", UtcDateTime, nullable=False),
)

events = Table(
    "events",
    metadata,
    own_id(),
    _film(nullable=True),
    Column("at", UtcDateTime, nullable=False),
    Column("what", String(32), nullable=False),
    Column("who", String(128), nullable=False),
    Column("detail", JSON, nullable=False),
    _partial("ix_events_people", "id", where=BY_PEOPLE),
    _partial("ix_events_people_who", "who", "id", where=BY_PEOPLE),
    _partial("ix_events_people_what", "what", "id", where=BY_PEOPLE),
)
