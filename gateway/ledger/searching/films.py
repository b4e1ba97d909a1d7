"""Pages of films, and what became of one that somebody asks for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, case, func, literal, select

from gateway.ledger.engine import Database
from gateway.ledger.listing import film_id_of
from gateway.ledger.moves import note
from gateway.ledger.records import DeliveryState, Wanted
from gateway.ledger.searching.records import Found, Searched
from gateway.ledger.searching.tables import SEARCHED, headers
from gateway.ledger.searching.wishes import film_ids
from gateway.ledger.tables import decisions, deliveries, holds, instances, jobs, results, versions

LARGEST = 500  # films of one page
HEADER = (
    *(headers.c[name].label(f"header_{name}") for name in SEARCHED),
    headers.c.read_at.label("header_read_at"),
)


def header_of(row: Any) -> Searched:
    """Of a row that has the columns HEADER; one of a film that nobody has read yet has none."""
    if row.header_sender is None:
        return Searched()
    values = {name: getattr(row, f"header_{name}") for name in SEARCHED}
    return Searched(**values, read=row.header_read_at is not None)


class Searching(Database):
    """What the page Films asks."""

    def search(self, wanted: Wanted | None = None, *, limit: int = 50) -> tuple[Found, ...]:
        """One page of films: the next one is asked for with `after` the last of these."""
        with self.reading() as db:
            return tuple(_found(db, film_ids(db, wanted or Wanted(), min(limit, LARGEST))))

    def searched(self, film_id: int) -> Searched:
        """What is kept of a film's header; nothing while nobody has read it."""
        with self.reading() as db:
            row = db.execute(select(*HEADER).where(headers.c.film_id == film_id)).one_or_none()
        return header_of(row) if row else Searched()

    def siblings(self, film_id: int, *, limit: int = 60) -> tuple[Found, ...]:
        """The other films of its study, newest first."""
        with self.reading() as db:
            study = db.scalar(select(headers.c.study_uid).where(headers.c.film_id == film_id))
            ids = film_ids(db, Wanted(study_uid=study), limit + 1) if study else ()
            return tuple(_found(db, [one for one in ids if one != film_id][:limit]))

    def reveal(self, film: str | int, *, by: str, now: datetime) -> Searched:
        """A film's numbers of the patient, for a person who asked: an event says so.

        Raises:
            NotFound: there is no such film.
        """
        with self.writing(quiet=True) as db:
            film_id = film_id_of(db, film)
            row = db.execute(select(*HEADER).where(headers.c.film_id == film_id)).one_or_none()
            note(db, now, "shown to a person", film_id=film_id, who=by)
        return header_of(row) if row else Searched()

    def why(self, text: str, *, limit: int = 20) -> tuple[Found, ...]:
        """The films that an accession number, patient id, UID or film id names, newest first."""
        return self.search(Wanted(text=text), limit=limit)

    def unread_headers(self) -> int:
        """How many films of an older ledger cannot be found by their headers yet."""
        with self.reading() as db:
            return db.scalar(select(func.count()).where(headers.c.read_at.is_(None))) or 0


_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_any = versions.alias("any_version")
_latest = select(func.max(_any.c.id)).where(_any.c.film_id == instances.c.id).scalar_subquery()
_FILMS = (
    select(instances.c.id, instances.c.sop_instance_uid, instances.c.received_at, versions.c.digest)
    .add_columns(*(decisions.c[name] for name in ("act", "rule", "why", "reasons", "flags", "uncertainty")))
    .add_columns(decisions.c.decided_at, *HEADER)
    .select_from(instances)
    .join(versions, versions.c.id == _latest)
    .outerjoin(decisions, (decisions.c.film_id == instances.c.id) & ~decisions.c.superseded)
    .outerjoin(headers, headers.c.film_id == instances.c.id)
    .where(instances.c.id.in_(_IDS))
)
_JOBS = (
    select(jobs.c.film_id, jobs.c.state, jobs.c.error)
    .where(jobs.c.film_id.in_(_IDS), jobs.c.delivery_id.is_(None))
    .order_by(jobs.c.id)
)
_HOLD = ("id", "state", "opened_at", "closed_at", "closed_by")
_HOLDS = (
    select(holds.c.film_id, *(holds.c[name] for name in _HOLD))
    .where(holds.c.film_id.in_(_IDS))
    .order_by(holds.c.id)
)
_DELIVERY = ("destination", "state", "kind", "trouble", "error", "created_at", "ended_at")
_SHOWN = case(  # as records.shown_state
    (deliveries.c.state == DeliveryState.LEAVING, literal(DeliveryState.PENDING.value)),
    else_=deliveries.c.state,
).label("state")
_DELIVERIES = (
    select(deliveries.c.film_id, *(_SHOWN if name == "state" else deliveries.c[name] for name in _DELIVERY))
    .where(deliveries.c.film_id.in_(_IDS))
    .order_by(deliveries.c.id)
)
_RESULT = ("classifier", "made_at", "not_read", "why")
_RESULTS = (
    select(results.c.film_id, results.c.classifier, results.c.made_at)
    .add_columns(*(results.c.body[name].as_string().label(name) for name in ("not_read", "why")))
    .where(results.c.film_id.in_(_IDS), ~results.c.superseded)
    .order_by(results.c.id)
)

Facts = Mapping[str, Any]


def _found(db: Connection, ids: Sequence[int]) -> list[Found]:
    """Films in the order of their ids."""
    asked = {"ids": list(ids)}
    rows = {row.id: row for row in db.execute(_FILMS, asked)}
    job_of = {row.film_id: row for row in db.execute(_JOBS, asked)}  # the last one
    holds_of = _by_film(db.execute(_HOLDS, asked), _HOLD)
    owed_of = _by_film(db.execute(_DELIVERIES, asked), _DELIVERY)
    results_of = _by_film(db.execute(_RESULTS, asked), _RESULT)
    return [
        _row(rows[one], job_of.get(one), holds_of[one], owed_of[one], results_of[one])
        for one in ids
        if one in rows
    ]


def _by_film(rows: Iterable[Any], names: Sequence[str]) -> defaultdict[int, list[Facts]]:
    grouped: defaultdict[int, list[Facts]] = defaultdict(list)
    for film_id, *values in rows:
        grouped[film_id].append(dict(zip(names, values, strict=True)))
    return grouped


def _row(row: Any, job: Any, held: list[Facts], owed: list[Facts], read: list[Facts]) -> Found:
    return Found(
        film_id=row.id,
        sop_instance_uid=row.sop_instance_uid,
        digest=row.digest,
        received_at=row.received_at,
        decision=row.act,
        rule=row.rule or "",
        why=row.why or "",
        reasons=tuple(row.reasons or ()),
        flags=tuple(row.flags or ()),
        uncertainty=row.uncertainty,
        decided_at=row.decided_at,
        job=job and job.state,
        error=(job and job.error) or "",
        holds=tuple(held),
        deliveries=tuple(owed),
        results=tuple(read),
        header=header_of(row),
    )
