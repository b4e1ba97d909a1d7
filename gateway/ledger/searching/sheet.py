"""The contact sheet: open holds by the page, sorted and grouped in the database.

All that they are sorted, grouped and chosen by lies in one index of the open ones, which is gone through; the
rest is read for the rows of one page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from gateway.ledger.moves import stands
from gateway.ledger.records import HoldState, Wanted
from gateway.ledger.searching.films import HEADER, header_of
from gateway.ledger.searching.paging import Key, beyond
from gateway.ledger.searching.records import (
    Card,
    ClosedHold,
    Group,
    Grouping,
    HeldFilm,
    SheetSort,
    masked,
)
from gateway.ledger.searching.rooms import Counting, answers, summed, those
from gateway.ledger.searching.tables import headers
from gateway.ledger.searching.wishes import conditions, matches
from gateway.ledger.tables import copies, findings, holds, instances, versions

LARGEST = 200  # cards of one page
_OWN = holds.c
GROUPINGS: Mapping[Grouping, tuple[ColumnElement[str], ...]] = {
    "reason": (_OWN.reason,),
    "sender": (_OWN.sender,),
    "device": (_OWN.device,),
    "accession": (_OWN.accession,),
    "room": (_OWN.sender, _OWN.device, _OWN.reason),  # one broken room is one block
}
SORTS: Mapping[SheetSort, tuple[Key, ...]] = {
    "oldest": (Key(_OWN.opened_at), Key(_OWN.id)),
    "newest": (Key(_OWN.opened_at, falling=True), Key(_OWN.id, falling=True)),
    "uncertain": (Key(_OWN.uncertainty, falling=True), Key(_OWN.opened_at), Key(_OWN.id)),
}
_open = stands(holds, HoldState.OPEN)


class Sheet(Counting):
    """What the page Quarantine asks."""

    def sheet(
        self,
        wanted: Wanted | None = None,
        *,
        sort: SheetSort = "oldest",
        group: Grouping | None = None,
        after: int | None = None,
        limit: int = 60,
    ) -> tuple[Card, ...]:
        """Open holds with all that their cards show, after the hold `after`.

        With a `group` those of one group stand together, and `sort` is their order within it. `wanted.reason`
        is the first reason of a hold, by which it is grouped; `since` and `until` are when it was opened.
        `wanted.after` and `wanted.sort` are of lists of films.
        """
        keys = (*map(Key, GROUPINGS[group] if group else ()), *SORTS[sort])
        query = select(_OWN.id).where(_open)
        with self.reading() as db:
            query = query.where(*_conditions(db, wanted or Wanted()))
            if after is not None:
                row = db.execute(select(*(key.column for key in keys)).where(_OWN.id == after)).one_or_none()
                if row is not None:
                    query = query.where(beyond(keys, row))
            query = query.order_by(*(key.order() for key in keys)).limit(min(limit, LARGEST))
            return tuple(_cards(db, db.scalars(query).all()))

    def cards(self, hold_ids: Sequence[int]) -> tuple[Card, ...]:
        """The same of these holds, in their order, whatever became of them; LARGEST at most."""
        with self.reading() as db:
            return tuple(_cards(db, hold_ids[:LARGEST]))

    def groups(self, by: Grouping, wanted: Wanted | None = None, *, limit: int = 200) -> tuple[Group, ...]:
        """How many open holds have what in common, the largest groups first."""
        asked, names = wanted or Wanted(), [column.name for column in GROUPINGS[by]]
        if by != "accession" and answers(asked):
            sums = summed(those(self.rooms(), asked), names)
            return tuple(_group(by, (*key, one.count, one.since, one.film_id)) for key, one in sums[:limit])
        columns = GROUPINGS[by]
        counted = (func.count(), func.min(_OWN.opened_at), func.min(_OWN.film_id))
        query = select(*columns, *counted).where(_open)
        with self.reading() as db:
            query = query.where(*_conditions(db, asked)).group_by(*columns)
            rows = db.execute(query.order_by(func.count().desc(), *columns).limit(limit)).all()
        return tuple(_group(by, row) for row in rows)

    def count_sheet(self, wanted: Wanted | None = None) -> int:
        """How many open holds meet these wishes."""
        asked = wanted or Wanted()
        if answers(asked):
            return sum(room.count for room in those(self.rooms(), asked))
        query = select(func.count()).select_from(holds).where(_open)
        with self.reading() as db:
            return db.scalar(query.where(*_conditions(db, asked))) or 0

    def meant(self, wanted: Wanted | None = None) -> tuple[HeldFilm, ...]:
        """All open holds that meet these wishes, as an act names them: for an act on a whole block."""
        query = select(_OWN.id, _OWN.film_id, _OWN.decision_id).where(_open)
        with self.reading() as db:
            rows = db.execute(query.where(*_conditions(db, wanted or Wanted())).order_by(_OWN.id)).all()
        return tuple(HeldFilm(row.id, row.film_id, row.decision_id) for row in rows)

    def held_again(self, hold_ids: Sequence[int]) -> tuple[HeldFilm, ...]:
        """Those of these holds that are open."""
        query = select(_OWN.id, _OWN.film_id, _OWN.decision_id)
        query = query.where(_OWN.id.in_(hold_ids), _OWN.state == HoldState.OPEN)
        with self.reading() as db:
            rows = db.execute(query.order_by(_OWN.id)).all() if hold_ids else ()
        return tuple(HeldFilm(row.id, row.film_id, row.decision_id) for row in rows)

    def closed_holds(self, hold_ids: Sequence[int]) -> tuple[ClosedHold, ...]:
        """Those of these holds that are not open any more, with who closed them."""
        columns = (_OWN.id, _OWN.state, _OWN.closed_by)
        query = select(*columns).where(_OWN.id.in_(hold_ids), _OWN.state != HoldState.OPEN)
        with self.reading() as db:
            rows = db.execute(query.order_by(_OWN.id)).all()
        return tuple(ClosedHold(row.id, HoldState(row.state), row.closed_by or "") for row in rows)


def _conditions(db: Connection, wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    """Those that the index answers, and those that are asked of the film."""
    for column, value in ((_OWN.reason, wanted.reason), (_OWN.sender, wanted.sender)):
        if value is not None:
            yield column == value
    for column, value in ((_OWN.device, wanted.device), (_OWN.accession, wanted.accession)):
        if value is not None:
            yield matches(column, value)
    if wanted.since is not None:
        yield _OWN.opened_at >= wanted.since
    if wanted.until is not None:
        yield _OWN.opened_at < wanted.until
    rest = replace(wanted, reason=None, sender=None, device=None, accession=None, since=None, until=None)
    yield from conditions(db, rest, _OWN.film_id)


def _group(by: Grouping, row: Any) -> Group:
    *values, count, since, film_id = row
    names = [column.name for column in GROUPINGS[by]]
    if by == "accession":  # the number stands in no URL: a film that has it does
        return Group({"accession_of": film_id}, (masked(values[0]),), count, since)
    return Group(dict(zip(names, values, strict=True)), tuple(values), count, since)


def _cards(db: Connection, hold_ids: Sequence[int]) -> Iterator[Card]:
    rows = {row.id: row for row in db.execute(_CARDS.where(_OWN.id.in_(hold_ids)))}
    by_decision: dict[int, list[Mapping[str, Any]]] = {row.decision_id: [] for row in rows.values()}
    found = select(findings.c.decision_id, findings.c.gate, findings.c.verdict, findings.c.body)
    found = found.where(findings.c.decision_id.in_(list(by_decision)), ~findings.c.of_copy)
    for one in db.execute(found.order_by(findings.c.id)):
        by_decision[one.decision_id].append({"gate": one.gate, "verdict": one.verdict} | one.body)
    for hold_id in hold_ids:
        if hold_id in rows:
            yield _card(rows[hold_id], tuple(by_decision[rows[hold_id].decision_id]))


_CARDS = (
    select(holds, instances.c.sop_instance_uid, instances.c.received_at, versions.c.digest, *HEADER)
    .add_columns(copies.c.digest.label("proposal"), copies.c.operations)
    .select_from(holds)
    .join(instances, instances.c.id == holds.c.film_id)
    .join(versions, versions.c.id == holds.c.version_id)
    .outerjoin(headers, headers.c.film_id == holds.c.film_id)
    .outerjoin(copies, copies.c.id == holds.c.copy_id)
)


def _card(row: Any, found: tuple[Mapping[str, Any], ...]) -> Card:
    return Card(
        hold_id=row.id,
        film_id=row.film_id,
        version_id=row.version_id,
        decision_id=row.decision_id,
        sop_instance_uid=row.sop_instance_uid,
        digest=row.digest,
        proposal=row.proposal,
        operations=row.operations or {},
        takers=tuple(row.takers),
        reasons=tuple(row.reasons),
        why=row.why,
        words=tuple(row.words or ()),
        findings=found,
        uncertainty=row.uncertainty,
        opened_at=row.opened_at,
        received_at=row.received_at,
        header=header_of(row),
    )
