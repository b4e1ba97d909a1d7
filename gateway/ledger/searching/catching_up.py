"""The films of an older ledger: their headers are read a few at a time, by workers that have nothing to do.

Workers, because they have the decoder child and give way to everybody: neither the dispatcher nor the console
may read a stranger's header. What was read is never read again, so it goes on wherever it was stopped.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from gateway.ledger.engine import Database
from gateway.ledger.records import HoldState
from gateway.ledger.searching.keeping import keep_header
from gateway.ledger.searching.tables import headers
from gateway.ledger.searching.uncertainty import uncertainty
from gateway.ledger.tables import decisions, findings, holds, versions
from pipelines.film import Finding, Header
from pipelines.json_values import from_plain

BATCH = 16  # films of one transaction: milliseconds of the lock that every commit needs
_BATCHES = 8  # of the newest, one by chance: workers that look at once mostly read different films


@dataclass(frozen=True, slots=True)
class Unread:
    """A film whose header is still to be read, of the object with this digest."""

    film_id: int
    version_id: int
    digest: str


class CatchingUp(Database):
    """What an idle worker asks and writes."""

    def unread(self) -> tuple[Unread, ...]:
        """A few films whose headers are still to be read, of the newest ones; () when there are none."""
        with self.reading() as db:
            rows = db.execute(_UNREAD.limit(BATCH).offset(BATCH * random.randrange(_BATCHES))).all()  # noqa: S311
            rows = rows or db.execute(_UNREAD.limit(BATCH)).all()
        return tuple(Unread(*row) for row in rows)

    def catch_up(self, read: Sequence[tuple[Unread, Header | None]], *, now: datetime) -> None:
        """Keep what was read; None: nothing could be."""
        with self.writing(quiet=True) as db:
            for one, header in read:
                keep_header(db, one.film_id, one.version_id, header, now)
                _reckon(db, one.film_id)


def _reckon(db: Connection, film_id: int) -> None:
    """How sure the gates were, where nobody has reckoned it yet."""
    asked = select(decisions.c.id).where(decisions.c.film_id == film_id, decisions.c.uncertainty.is_(None))
    for decision_id in db.scalars(asked).all():
        of_it = (findings.c.decision_id == decision_id) & ~findings.c.of_copy
        doubt = uncertainty(_finding(row) for row in db.execute(select(findings).where(of_it)))
        db.execute(_DOUBT, {"its_decision": decision_id, "doubt": doubt})
        db.execute(_DOUBT_OF_HOLD, {"its_film": film_id, "its_decision": decision_id, "doubt": doubt})


def _finding(row: Any) -> Finding:
    body = {name: row.body.get(name) or 0.0 for name in ("score", "low", "high")}
    return from_plain(Finding, {"gate": row.gate, "verdict": row.verdict, **body})


_UNREAD = (
    select(headers.c.film_id, headers.c.version_id, versions.c.digest)
    .join(versions, versions.c.id == headers.c.version_id)
    .where(headers.c.read_at.is_(None))
    .order_by(headers.c.film_id.desc())
)
_DOUBT = (
    update(decisions)
    .where(decisions.c.id == bindparam("its_decision"))
    .values(uncertainty=bindparam("doubt"))
)
_DOUBT_OF_HOLD = (
    update(holds)
    .where(holds.c.film_id == bindparam("its_film"), holds.c.decision_id == bindparam("its_decision"))
    .where(holds.c.state == HoldState.OPEN)
    .values(uncertainty=bindparam("doubt"))
)
