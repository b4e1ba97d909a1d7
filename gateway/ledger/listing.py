"""LIST: what people and programs are shown of films, a line of JSON each.

A ledger has hundreds of thousands of films. So what is asked for is looked up in the database, page by page
in transactions of their own, and what the ledger keeps as JSON is handed on as it lies there: to take it
apart and put it together again would cost most of the time of a long list.
"""

from __future__ import annotations

import json
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from json.encoder import encode_basestring as quoted
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    Text,
    bindparam,
    cast,
    func,
    select,
)

from gateway.errors import NotFound
from gateway.ledger.engine import Database
from gateway.ledger.holding.taking_back import NOT_GONE
from gateway.ledger.moves import stands
from gateway.ledger.records import DeliveryState, FilmRow, HoldState, JobState, Wanted, shown_state
from gateway.ledger.searching.wishes import film_ids
from gateway.ledger.tables import (
    associations,
    decisions,
    deliveries,
    events,
    findings,
    holds,
    instances,
    jobs,
    objects,
    results,
    versions,
)

_PAGE = 500  # films in one transaction, and ids in one IN (...): SQLite takes 999 at least


class Listing(Database):
    """Lists for the command line and the console."""

    def film_lines(self, wanted: Wanted | None = None, *, limit: int | None = None) -> Iterator[str]:
        """Films, newest first, each a line of JSON with the keys of `films list --json`."""
        ids = self.film_ids(wanted, limit=limit)
        for start in range(0, len(ids), _PAGE):
            with self.reading() as db:
                lines = _lines(db, ids[start : start + _PAGE])
            yield from lines

    def films(self, wanted: Wanted | None = None, *, limit: int | None = None) -> list[FilmRow]:
        """The same as values."""
        return [film_row(line) for line in self.film_lines(wanted, limit=limit)]

    def film(self, film: str | int) -> FilmRow:
        """One film by SOP Instance UID or by film id.

        Raises:
            NotFound: there is no such film.
        """
        with self.reading() as db:
            (line,) = _lines(db, [film_id_of(db, film)])
        return film_row(line)

    def film_id(self, film: str | int) -> int:
        """The same film's id alone."""
        with self.reading() as db:
            return film_id_of(db, film)

    def latest_version_at(self, sop_instance_uid: str) -> datetime | None:
        """When the last version of an instance was received; None when none was."""
        its = select(func.max(versions.c.received_at)).join(instances, instances.c.id == versions.c.film_id)
        with self.reading() as db:
            at: datetime | None = db.scalar(its.where(instances.c.sop_instance_uid == sop_instance_uid))
            return at

    def film_ids(self, wanted: Wanted | None = None, *, limit: int | None = None) -> array[int]:
        """The ids of films in the order that is wanted."""
        with self.reading() as db:
            return film_ids(db, wanted or Wanted(), limit)

    def events(self, film_id: int) -> list[dict[str, Any]]:
        """The events of a film, oldest first."""
        with self.reading() as db:
            rows = db.execute(select(events).where(events.c.film_id == film_id).order_by(events.c.id))
            return [dict(at=r.at, what=r.what, who=r.who, **r.detail) for r in rows]

    def trace(self, film_id: int) -> list[dict[str, Any]]:
        """The policy, rule by rule, as it was applied to a film; empty while undecided."""
        current = (decisions.c.film_id == film_id) & ~decisions.c.superseded
        with self.reading() as db:
            return list(db.scalar(select(decisions.c.trace).where(current)) or ())

    def counts(self) -> dict[str, int]:
        """How many films, open holds, ready jobs and unfinished deliveries there are."""
        owed = (*NOT_GONE, DeliveryState.SENDING)
        queries_by_name = {
            "films": (select(func.count()).select_from(instances),),
            "held": (_count(stands(holds, HoldState.OPEN)),),
            "ready": (_count(stands(jobs, JobState.READY)),),
            "owed": tuple(_count(stands(deliveries, state)) for state in owed),  # an index each
            "failed": (_count(stands(deliveries, DeliveryState.FAILED)),),
        }
        with self.reading() as db:
            return {
                name: sum(db.scalar(query) or 0 for query in queries)
                for name, queries in queries_by_name.items()
            }

    def count_films(self) -> int:
        """How many films there are."""
        with self.reading() as db:
            return db.scalar(select(func.count()).select_from(instances)) or 0

    def refusals(self, limit: int = 100) -> list[dict[str, Any]]:
        """The latest associations that were not accepted."""
        query = select(associations).where(associations.c.outcome == "refused")
        with self.reading() as db:
            rows = db.execute(query.order_by(associations.c.id.desc()).limit(limit)).mappings()
            return [dict(row) for row in rows]


def film_id_of(db: Connection, film: str | int) -> int:
    """The id of a film that is named by SOP Instance UID or by id.

    Raises:
        NotFound: there is no such film.
    """
    by_uid = instances.c.sop_instance_uid == str(film)
    film_id = db.scalar(select(instances.c.id).where(by_uid))
    if film_id is None and str(film).isdigit() and len(str(film)) < 19:
        film_id = db.scalar(select(instances.c.id).where(instances.c.id == int(film)))
    if film_id is None:
        raise NotFound(f"there is no film {film}. Nothing was changed. See `filmgate films list`.")
    return int(film_id)


def _count(which: ColumnElement[bool]) -> Select[Any]:
    return select(func.count()).where(which)


def _lines(db: Connection, film_ids: Sequence[int]) -> list[str]:
    """One line a film, in the order of the ids."""

    def of(ids: Sequence[int | None], query: Select[Any]) -> Sequence[Any]:
        return db.execute(query, {"ids": ids}).all()

    films = {row.id: row for row in of(film_ids, _FILMS)}
    findings_of = _grouped(_findings(of([row.decision_id for row in films.values()], _FINDINGS)))
    job_of = {row.film_id: row for row in of(film_ids, _JOBS)}  # the last one
    object_rows = of(film_ids, _OBJECTS)
    kinds = {(row.film_id, row.digest): row.kind for row in object_rows}
    deliveries_of = _grouped(
        (row.film_id, _delivery(row, kinds.get((row.film_id, row.digest))))
        for row in of(film_ids, _DELIVERIES)
    )
    objects_of = _grouped((row.result_id, _object(row)) for row in object_rows)
    results_of = _grouped((row.film_id, _result(row, objects_of[row.id])) for row in of(film_ids, _RESULTS))
    rows = (films[film_id] for film_id in film_ids if film_id in films)
    return [
        _line(
            row, job_of.get(row.id), findings_of[row.decision_id], deliveries_of[row.id], results_of[row.id]
        )
        for row in rows
    ]


_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_FILMS = (
    select(instances.c.id, instances.c.sop_instance_uid, instances.c.received_at)
    .add_columns(decisions.c.id.label("decision_id"), decisions.c.act, decisions.c.rule, decisions.c.why)
    .add_columns(*(cast(decisions.c[name], Text).label(name) for name in ("reasons", "flags")))
    .outerjoin(decisions, (decisions.c.film_id == instances.c.id) & ~decisions.c.superseded)
    .where(instances.c.id.in_(_IDS))
)
_FINDINGS = (
    select(findings.c.decision_id, findings.c.gate, findings.c.verdict, findings.c.of_copy)
    .add_columns(cast(findings.c.body, Text))
    .where(findings.c.decision_id.in_(_IDS))
    .order_by(findings.c.id)
)
_DELIVERIES = (
    select(deliveries.c.film_id, deliveries.c.destination, deliveries.c.state, deliveries.c.kind)
    .add_columns(deliveries.c.sop_instance_uid, deliveries.c.digest, deliveries.c.attempts)
    .add_columns(deliveries.c.tries, deliveries.c.trouble, deliveries.c.error)
    .where(deliveries.c.film_id.in_(_IDS))
    .order_by(deliveries.c.id)
)
_JOBS = (
    select(jobs.c.film_id, jobs.c.state, jobs.c.error)
    .where(jobs.c.film_id.in_(_IDS), jobs.c.delivery_id.is_(None))
    .order_by(jobs.c.id)
)
_RESULTS = (
    select(results, cast(results.c.body, Text).label("body_text"))
    .where(results.c.film_id.in_(_IDS), ~results.c.superseded)
    .order_by(results.c.id)
)
_OBJECTS = select(objects).where(objects.c.film_id.in_(_IDS)).order_by(objects.c.id)


def _grouped(pairs: Iterable[tuple[int | None, str]]) -> defaultdict[int | None, list[str]]:
    grouped: defaultdict[int | None, list[str]] = defaultdict(list)
    for key, text in pairs:
        grouped[key].append(text)
    return grouped


def _findings(rows: Iterable[Any]) -> Iterator[tuple[int, str]]:
    """The findings of each gate, by decision; rows that were written before there were `facts` have none."""
    beginnings: dict[tuple[str, str, bool], str] = {}
    for decision_id, *what, body in rows:
        key = tuple(what)
        if key not in beginnings:
            beginning = json.dumps(
                dict(zip(("gate", "verdict", "of_copy"), key, strict=True)), ensure_ascii=False
            )
            beginnings[key] = beginning[:-1]
        facts = "" if '"facts"' in body else '"facts": {}, '
        yield decision_id, f"{beginnings[key]}, {facts}{body[1:]}"


def _line(
    row: Any, job: Any, finding_texts: list[str], delivery_texts: list[str], result_texts: list[str]
) -> str:
    """A film as programs read it."""
    return (
        f'{{"sop_instance_uid": {quoted(row.sop_instance_uid)}, '
        f'"received_at": "{row.received_at.isoformat()}", "decision": {_or_null(row.act)}, '
        f'"reasons": {row.reasons or "[]"}, "flags": {row.flags or "[]"}, '
        f'"findings": [{", ".join(finding_texts)}], "deliveries": [{", ".join(delivery_texts)}], '
        f'"results": [{", ".join(result_texts)}], "film_id": {row.id}, '
        f'"rule": {_or_null(row.rule)}, "why": {_or_null(row.why)}, '
        f'"job": {_or_null(job and job.state)}, "error": {_or_null(job and job.error)}}}'
    )


def _or_null(text: str | None) -> str:
    return "null" if text is None else quoted(text)


def _delivery(row: Any, object_kind: str | None) -> str:
    return (
        f'{{"destination": {quoted(row.destination)}, "state": "{shown_state(row.state)}", '
        f'"kind": "{row.kind}", "object": "{what_of(row.kind, object_kind)}", '
        f'"sop_instance_uid": {quoted(row.sop_instance_uid)}, '
        f'"attempts": {row.attempts}, "tries": {row.tries}, "trouble": {_or_null(row.trouble)}, '
        f'"error": {_or_null(row.error)}}}'
    )


def what_of(kind: str, object_kind: str | None) -> str:
    """What a delivery carries, in one word."""
    if object_kind:
        return object_kind
    return "copy" if kind == "copy" else "original"


def _result(row: Any, object_texts: list[str]) -> str:
    """The result of one classifier, with the objects that were made of it."""
    ending = {"version": row.version, "model_digest": row.model_digest, "made_at": row.made_at.isoformat()}
    beginning = f'"classifier": {quoted(row.classifier)}, {row.body_text[1:-1]}, {json.dumps(ending)[1:-1]}'
    return f'{{{beginning}, "objects": [{", ".join(object_texts)}]}}'


def _object(row: Any) -> str:
    return json.dumps({"kind": row.kind, "sop_instance_uid": row.sop_instance_uid, "digest": row.digest})


def film_row(line: str) -> FilmRow:
    """A line as a value."""
    film = json.loads(line)
    lists = {name: tuple(film[name]) for name in ("reasons", "flags", "findings", "deliveries", "results")}
    return FilmRow(**film | lists | {"received_at": datetime.fromisoformat(film["received_at"])})
