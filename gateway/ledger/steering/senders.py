"""Who sends, as the last films show it, and who was refused."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

from sqlalchemy import Text, and_, cast, func, literal_column, select

from gateway.ledger.engine import Database
from gateway.ledger.moves import stands
from gateway.ledger.steering.records import Refused, SenderRow
from gateway.ledger.tables import associations, decisions, deliveries, instances, versions
from pipelines.film import Act, Reason

LAST_FILMS = 5000  # that a sender's shares and times are counted from
_MOST_REFUSED = 5000  # rows, each of many associations
_TURNED = (Reason.ROTATED_90, Reason.ROTATED_180, Reason.ROTATED_270)
_FEW = 3  # films below which nobody can say what is usual


class Senders(Database):
    """What people are shown of senders."""

    def senders(self, midnight: datetime) -> list[SenderRow]:
        """Those who sent the last LAST_FILMS films, most films today first."""
        current = and_(decisions.c.film_id == instances.c.id, ~decisions.c.superseded)
        query = (
            select(associations.c.calling, associations.c.address, instances.c.received_at)
            .add_columns(decisions.c.act, cast(decisions.c.reasons, Text).label("reasons"))
            .join(versions, versions.c.film_id == instances.c.id)
            .join(associations, associations.c.id == versions.c.association_id)
            .outerjoin(decisions, current)
            .order_by(instances.c.id.desc())
            .limit(LAST_FILMS)
        )
        of_today = (
            select(associations.c.calling, func.count(versions.c.film_id.distinct()))
            .join(versions, versions.c.film_id == instances.c.id)
            .join(associations, associations.c.id == versions.c.association_id)
            .where(instances.c.received_at >= midnight)
            .group_by(associations.c.calling)
        )
        films = defaultdict[str, list[Any]](list)
        with self.reading() as db:
            today = {calling: count for calling, count in db.execute(of_today)}  # noqa: C416
            for calling, *its in db.execute(query):
                films[calling].append(its)
        rows = [_sender(name, its, today.get(name, 0)) for name, its in films.items()]
        return sorted(rows, key=lambda row: (-row.today, -row.films, row.ae_title))

    def refused(self, since: datetime) -> list[Refused]:
        """Who was refused since then and why, the last ones first."""
        own = associations.c
        refused = own.outcome == literal_column("'refused'")  # said in literals: see `tables._partial`
        last = select(own.id).where(refused).order_by(own.id.desc()).limit(_MOST_REFUSED)
        grouped = (own.calling, own.called, own.address, own.reason)
        times = (func.sum(own.times), func.min(own.started_at), func.max(own.ended_at))
        ended = func.coalesce(own.ended_at, own.started_at)
        query = (
            select(*grouped, *times)
            .where(own.id.in_(last.scalar_subquery()), refused, ended >= since)
            .group_by(*grouped)
        )
        with self.reading() as db:
            rows = [
                Refused(*row[:3], row[3] or "", int(row[4]), row[5], row[6] or row[5])
                for row in db.execute(query)
            ]
        return sorted(rows, key=lambda one: one.last_at, reverse=True)

    def delivered_since(self, names: Iterable[str], since: datetime) -> dict[str, int]:
        """How many objects each of these destinations took since then."""
        taken = stands(deliveries, "delivered") & (deliveries.c.ended_at >= since)
        with self.reading() as db:
            its = {name: taken & (deliveries.c.destination == name) for name in names}
            return {
                name: int(db.scalar(select(func.count()).where(those)) or 0) for name, those in its.items()
            }


def _sender(name: str, rows: list[Any], today: int) -> SenderRow:
    addresses, received, acts, reasons = zip(*rows, strict=True)
    decided = Counter((act, codes or "") for act, codes in zip(acts, reasons, strict=True) if act is not None)
    times = sorted(set(received))
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    return SenderRow(
        ae_title=name,
        addresses=tuple(dict.fromkeys(addresses))[:4],
        today=today,
        films=len(rows),
        decided=decided.total(),
        held=_share(decided, lambda act, _: act == Act.QUARANTINE),
        turned=_share(decided, lambda _, codes: any(f'"{code}"' in codes for code in _TURNED)),
        inverted=_share(decided, lambda _, codes: f'"{Reason.INVERTED}"' in codes),
        last_at=times[-1],
        usual_s=median(gaps) if len(times) >= _FEW else None,
        longest_s=max(gaps) if len(times) >= _FEW else None,
    )


def _share(decided: Counter[tuple[str, str]], hits: Callable[[str, str], bool]) -> float:
    """Of decided films, counted by their act and the text of their reasons."""
    return sum(count for kind, count in decided.items() if hits(*kind)) / max(decided.total(), 1)
