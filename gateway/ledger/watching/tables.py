"""The tables behind alarms and monitoring. No patient and no UID is in any of them."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text, text

from gateway.ledger.tables import UtcDateTime, id_type, metadata, own_id

watch_places = Table(  # how far the rows of other tables have been taken in here
    "watch_places",
    metadata,
    Column("name", String(16), primary_key=True),  # versions or decisions
    Column("place", BigInteger, nullable=False),  # the id of the last one
)

sender_totals = Table(
    "sender_totals",
    metadata,
    Column("sender", String(16), primary_key=True),  # calling AE title
    Column("films", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
)

sender_hours = Table(
    "sender_hours",
    metadata,
    Column("sender", String(16), primary_key=True),
    Column("hour", UtcDateTime, primary_key=True),  # its beginning
    Column("films", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Index("ix_sender_hours_hour", "hour"),
)

tallies = Table(  # counters that only grow
    "tallies",
    metadata,
    Column("figure", String(16), primary_key=True),  # decided, reason or alarm
    Column("label", String(32), primary_key=True),  # an act, a reason code, a kind of alarm
    Column("count", BigInteger, nullable=False),
)

watches = Table(
    "watches",
    metadata,
    Column("sender", String(16), primary_key=True),
    Column("rate", String(16), primary_key=True),  # pipelines.watching.Rate
    Column("body", JSON, nullable=False),  # pipelines.watching.Watch
)

alarms = Table(
    "alarms",
    metadata,
    own_id(),
    Column("kind", String(16), nullable=False),  # records.AlarmKind
    Column("subject", String(128), nullable=False),  # a sender, a destination, a file
    Column("what", String(32), nullable=False),  # of a rate: which; else ""
    Column("words", Text, nullable=False),
    Column("link", String(255), nullable=False),  # a page of the console, from its root
    Column("since", UtcDateTime, nullable=False),
    Column("over_at", UtcDateTime),  # NULL while it is on
    Index("ix_alarms_on", "kind", "subject", "what", unique=True, sqlite_where=text("over_at IS NULL")),
)

notices = Table(  # to whom it is still to be said, and how that went
    "notices",
    metadata,
    own_id(),
    Column("alarm_id", id_type, ForeignKey("alarms.id"), nullable=False),
    Column("news", String(8), nullable=False),  # on, over or test
    Column("way", String(8), nullable=False),  # webhook or mail
    Column("state", String(8), nullable=False),  # records.NoticeState
    Column("attempts", Integer, nullable=False),
    Column("next_at", UtcDateTime, nullable=False),
    Column("error", Text),
    Column("ended_at", UtcDateTime),
    Index("ix_notices_owed", "next_at", sqlite_where=text("state = 'owed'")),
    Index("ix_notices_alarm_id", "alarm_id"),
)
