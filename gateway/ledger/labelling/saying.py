"""Labels are written and taken back here, in the transaction of the act that they follow from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, or_, select, update

from gateway.ledger.labelling.tables import labels
from gateway.ledger.labelling.words import GATE_SAYS, GOOD_SAYS, Said, What
from gateway.ledger.moves import inserted
from gateway.ledger.tables import decisions, findings, versions

_CHUNK = 500  # ids in one IN (...): SQLite takes 999 at least

_STANDS = labels.c.ended_at.is_(None)
_REPLACE = (
    update(labels)
    .where(labels.c.film_id == bindparam("its_film"), labels.c.what == bindparam("its_what"))
    .where(labels.c.said_by == bindparam("its_person"), _STANDS, labels.c.id != bindparam("new_id"))
    .values(ended_at=bindparam("now", type_=labels.c.ended_at.type), ended_by=bindparam("its_person"))
    .values(successor_id=bindparam("new_id"))
)


def say_labels(db: Connection, said: Iterable[Said], *, by: str, now: datetime) -> list[int]:
    """Write what a person says of films: it takes the place of what the same person said of the same before.

    Their ids. What other people said stands beside it.
    """
    spoken = [one for one in said if one.labels]
    films = sorted({one.film_id for one in spoken})
    seen, gates = _digests(db, films), _gates(db, films)
    ids = []
    for one in spoken:
        for what, value in one.labels.items():
            row = {
                "film_id": one.film_id,
                "digest": seen[one.film_id],
                "what": what.value,
                "value": value,
                "said_by": by,
                "said_at": now,
                "source": one.source,
                "act_id": one.act_id,
                "gate_says": gates[one.film_id].get(what),
            }
            new_id = inserted(db, labels, row)
            its = {"its_film": one.film_id, "its_what": what.value, "its_person": by}
            db.execute(_REPLACE, its | {"new_id": new_id, "now": now})
            ids.append(new_id)
    return ids


def take_back_labels(db: Connection, act_ids: Collection[int], *, by: str, now: datetime) -> int:
    """Take back what followed from these acts; what stood before each stands again. How many there were."""
    rows = [row for some in _chunks(sorted(act_ids)) for row in db.execute(_of_acts(some))]
    for row in rows:
        if row.successor_id is not None:  # something later stands, and goes on doing so
            before = update(labels).where(labels.c.successor_id == row.id)
            db.execute(before.values(successor_id=row.successor_id))
    taken = [row.id for row in rows]
    for some in _chunks(taken):
        ended = update(labels).where(labels.c.id.in_(some))
        db.execute(ended.values(ended_at=now, ended_by=by, successor_id=None))
        again = update(labels).where(labels.c.successor_id.in_(some))
        db.execute(again.values(ended_at=None, ended_by=None, successor_id=None))
    return len(taken)


def _of_acts(act_ids: Sequence[int]) -> Select[Any]:
    """Those that were not taken back before, newest first."""
    not_taken_back = or_(_STANDS, labels.c.successor_id.is_not(None))
    its = select(labels.c.id, labels.c.successor_id).where(labels.c.act_id.in_(act_ids), not_taken_back)
    return its.order_by(labels.c.id.desc())


def _digests(db: Connection, films: Sequence[int]) -> dict[int, str]:
    """The last version of each film: the one that people are shown."""
    found: dict[int, str] = {}
    for some in _chunks(films):
        last = (
            select(func.max(versions.c.id)).where(versions.c.film_id.in_(some)).group_by(versions.c.film_id)
        )
        rows = db.execute(select(versions.c.film_id, versions.c.digest).where(versions.c.id.in_(last)))
        found |= {row.film_id: row.digest for row in rows}
    return found


def _gates(db: Connection, films: Sequence[int]) -> dict[int, dict[What, str]]:
    """What the gates said of the originals by the decision that stands, where one was sure."""
    said: dict[int, dict[What, str]] = defaultdict(dict)
    query = (
        select(decisions.c.film_id, findings.c.gate, findings.c.verdict, findings.c.body)
        .join(findings, findings.c.decision_id == decisions.c.id)
        .where(~decisions.c.superseded, ~findings.c.of_copy, findings.c.verdict.in_(("good", "bad")))
        .order_by(findings.c.id)
    )
    for some in _chunks(films):
        for row in db.execute(query.where(decisions.c.film_id.in_(some))):
            known = (
                GOOD_SAYS.get(row.gate) if row.verdict == "good" else GATE_SAYS.get(row.body.get("reason"))
            )
            if known:
                what, value = known
                said[row.film_id][what] = value
    return said


def _chunks(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
