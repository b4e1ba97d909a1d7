"""Films are taken in by the order of their rows, each once: what they add and how far that is, are one
commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, func, literal_column, select

from gateway.ledger.engine import Database
from gateway.ledger.moves import upsert
from gateway.ledger.tables import associations, decisions, findings, versions
from gateway.ledger.watching.records import JudgedFilm, ReceivedFilm, SenderTotal
from gateway.ledger.watching.tables import sender_hours, sender_totals, tallies, watch_places, watches
from pipelines.film import Act
from pipelines.json_values import from_plain, plain
from pipelines.watching import Rate, Watch

_GATES = {"rotation": Rate.TURNED, "inversion": Rate.INVERTED}


@dataclass(slots=True)
class TakenIn:
    """What a batch of films adds to the counts, and where watches stand after it."""

    received: list[ReceivedFilm] = field(default_factory=list)
    last_decision: int = 0
    tallied: Counter[tuple[str, str]] = field(default_factory=Counter)  # (figure, label)
    watches: dict[tuple[str, Rate], Watch] = field(default_factory=dict)  # those that changed


class TakingIn(Database):
    """Counts by sender and hour, and the watches of their rates."""

    def watch_places(self) -> tuple[int, int]:
        """The ids of the last version and the last decision that were taken in."""
        with self.reading() as db:
            places = {row[0]: row[1] for row in db.execute(select(watch_places))}
        return places.get("versions", 0), places.get("decisions", 0)

    def received_after(self, version_id: int, limit: int) -> list[ReceivedFilm]:
        """Versions in the order in which they were received."""
        own = versions.c
        query = (
            select(own.id, associations.c.calling, own.size_bytes, own.received_at)
            .outerjoin(associations, associations.c.id == own.association_id)
            .where(own.id > version_id)
            .order_by(own.id)
            .limit(limit)
        )
        with self.reading() as db:
            return [ReceivedFilm(row[0], row[1] or "", row[2], row[3]) for row in db.execute(query)]

    def judged_after(self, decision_id: int, limit: int) -> list[JudgedFilm]:
        """Decisions in the order in which they were made."""
        earlier = decisions.alias("earlier")
        own = decisions.c
        before = select(earlier.c.id).where(earlier.c.film_id == own.film_id, earlier.c.id < own.id)
        query = (
            select(own.id, own.film_id, associations.c.calling, own.act, own.reasons, own.decided_at)
            .add_columns(before.exists().label("again"))
            .join(versions, versions.c.id == own.version_id)
            .outerjoin(associations, associations.c.id == versions.c.association_id)
            .where(own.id > decision_id)
            .order_by(own.id)
            .limit(limit)
        )
        with self.reading() as db:
            rows = db.execute(query).all()
            bad = _bad_poses(db, [row.id for row in rows])
        return [_judged(row, bad.get(row.id, frozenset())) for row in rows]

    def watches(self) -> dict[tuple[str, Rate], Watch]:
        """Every rate that is followed, by sender."""
        with self.reading() as db:
            rows = db.execute(select(watches)).all()
        return {(row.sender, Rate(row.rate)): from_plain(Watch, row.body) for row in rows}

    def take_in(self, taken: TakenIn) -> None:
        """Keep it all in one commit. After a power cut it may be as before: then it is taken in once more."""
        hours = Counter[tuple[str, datetime]]()
        hour_bytes = Counter[tuple[str, datetime]]()
        for film in taken.received:
            hour = film.sender, film.received_at.replace(minute=0, second=0, microsecond=0)
            hours[hour] += 1
            hour_bytes[hour] += film.size_bytes
        places = [{"name": "versions", "place": taken.received[-1].id}] if taken.received else []
        if taken.last_decision:
            places.append({"name": "decisions", "place": taken.last_decision})
        with self.leasing() as db:
            for place in places:
                _put(db, watch_places, place, kept=("place",))
            for (sender, at), films in hours.items():
                row = {"sender": sender, "hour": at, "films": films, "size_bytes": hour_bytes[sender, at]}
                _put(db, sender_hours, row, added=("films", "size_bytes"))
            for total in _totals(taken.received):
                _put(db, sender_totals, total, added=("films", "size_bytes"), kept=("last_at",))
            for (figure, label), count in taken.tallied.items():
                _put(db, tallies, {"figure": figure, "label": label, "count": count}, added=("count",))
            for (sender, rate), watch in taken.watches.items():
                _put(db, watches, {"sender": sender, "rate": rate, "body": plain(watch)}, kept=("body",))

    def sender_totals(self) -> list[SenderTotal]:
        """Every sender, the one with the most films first."""
        query = select(sender_totals).order_by(sender_totals.c.films.desc(), sender_totals.c.sender)
        with self.reading() as db:
            return [SenderTotal(**row) for row in db.execute(query).mappings()]

    def films_by_hour(self, since: datetime) -> dict[str, dict[datetime, int]]:
        """How many films each sender sent in each hour since then."""
        own = sender_hours.c
        query = select(own.sender, own.hour, own.films).where(own.hour >= since)
        by_sender: dict[str, dict[datetime, int]] = {}
        with self.reading() as db:
            for sender, hour, films in db.execute(query):
                by_sender.setdefault(sender, {})[hour] = films
        return by_sender

    def bytes_since(self, since: datetime) -> int:
        """How many bytes were received, by whole hours."""
        query = select(func.sum(sender_hours.c.size_bytes)).where(sender_hours.c.hour >= since)
        with self.reading() as db:
            return int(db.scalar(query) or 0)


def _bad_poses(db: Connection, decision_ids: Sequence[int]) -> dict[int, frozenset[Rate]]:
    """Which decisions are of films that a gate surely saw turned or inverted, as they were received."""
    if not decision_ids:
        return {}
    own = findings.c
    query = select(own.decision_id, own.gate).where(
        own.decision_id.in_(decision_ids),
        own.gate.in_(tuple(_GATES)),
        own.verdict == "bad",
        ~own.of_copy,
    )
    bad: dict[int, frozenset[Rate]] = {}
    for decision_id, gate in db.execute(query):
        bad[decision_id] = bad.get(decision_id, frozenset()) | {_GATES[gate]}
    return bad


def _judged(row: Any, bad: frozenset[Rate]) -> JudgedFilm:
    return JudgedFilm(
        id=row.id,
        film_id=row.film_id,
        sender=row.calling or "",
        act=row.act,
        reasons=tuple(row.reasons),
        decided_at=row.decided_at,
        first=not row.again,
        turned=Rate.TURNED in bad,
        inverted=Rate.INVERTED in bad,
        held=row.act == Act.QUARANTINE,
    )


def _totals(received: Sequence[ReceivedFilm]) -> list[dict[str, Any]]:
    by_sender: dict[str, list[ReceivedFilm]] = {}
    for film in received:
        by_sender.setdefault(film.sender, []).append(film)
    return [
        {
            "sender": sender,
            "films": len(films),
            "size_bytes": sum(film.size_bytes for film in films),
            "first_at": films[0].received_at,
            "last_at": films[-1].received_at,
        }
        for sender, films in by_sender.items()
    ]


def _put(
    db: Connection,
    table: Table,
    row: Mapping[str, Any],
    *,
    added: tuple[str, ...] = (),
    kept: tuple[str, ...] = (),
) -> None:
    """Insert a row; where there is one with its key, add the columns `added` to it and replace those
    `kept`.
    """
    statement = upsert(db, table).values(**row)
    new = statement.excluded
    values: dict[str, Any] = {name: new[name] for name in kept}
    values |= {name: literal_column(f"{table.name}.{name}") + new[name] for name in added}
    db.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=values))
