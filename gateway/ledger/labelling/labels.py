"""Labels as pages and exports ask for them."""

from __future__ import annotations

import hmac
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, distinct, func, select, true

from gateway.ledger.engine import Database
from gateway.ledger.labelling.saying import say_labels, take_back_labels
from gateway.ledger.labelling.tables import labelling, labels
from gateway.ledger.labelling.words import Label, Said, What
from gateway.ledger.listing import film_id_of
from gateway.ledger.moves import note
from gateway.ledger.searching.tables import headers
from gateway.ledger.tables import associations, instances, versions

GROUP_DIGITS = 12  # hex: of 100,000 patients two share a number with a chance of 2 in 100,000


@dataclass(frozen=True, slots=True)
class LabelsWanted:
    """Which labels are listed: those that meet each wish that is not None."""

    what: What | None = None
    value: str | None = None
    by: str | None = None
    sender: str | None = None  # calling AE title
    film: int | None = None
    differs: str | None = None  # "gate": other than the gate says; "people": two persons differ
    ended: bool = False  # also those that do not stand any more
    before: int | None = None  # the label's id before which the list, newest first, goes on


@dataclass(frozen=True, slots=True)
class Labelled:
    """A film about which people agree, as an export writes it."""

    film_id: int
    digest: str
    said: Mapping[What, str]
    people: tuple[str, ...]
    received_at: datetime
    group: str  # of the patient: the same for films of one patient, and nobody can read back whose


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """How many labels stand, by what they say; and of how many films, people and disagreements."""

    answers: tuple[tuple[What, str, int], ...]
    films: int
    people: int
    against_gate: int  # films of which a person says otherwise than the gate said
    between_people: int


class Labelling(Database):
    """What people said of films."""

    def label(self, said: Sequence[Said], *, by: str, now: datetime) -> list[int]:
        """Keep what a person says of films, each with an event; the ids of the labels.

        Raises:
            NotFound: there is no such film; nothing is kept.
        """
        with self.writing(quiet=True) as db:
            for one in said:
                film_id_of(db, one.film_id)
                detail = {what.value: value for what, value in one.labels.items()}
                note(db, now, "label", film_id=one.film_id, who=by, **detail)
            return say_labels(db, said, by=by, now=now)

    def take_back_labels(self, act_ids: Sequence[int], *, by: str, now: datetime) -> int:
        """Take back what followed from these acts; what stood before each stands again."""
        with self.writing(quiet=True) as db:
            return take_back_labels(db, act_ids, by=by, now=now)

    def labels_of(self, film_id: int, *, ended: bool = False) -> list[Label]:
        """What people say of one film, oldest first."""
        return self.labels(LabelsWanted(film=film_id, ended=ended), limit=None)[::-1]

    def labels(self, wanted: LabelsWanted | None = None, *, limit: int | None = 60) -> list[Label]:
        """Labels, newest first."""
        query = _LABELS.where(_those(wanted or LabelsWanted())).order_by(labels.c.id.desc()).limit(limit)
        with self.reading() as db:
            return [_label(row) for row in db.execute(query)]

    def label_counts(self) -> LabelCounts:
        """How many labels stand."""
        grouped = select(labels.c.what, labels.c.value, func.count()).where(_STANDS)
        answers = grouped.where(labels.c.what != What.LUNG_BOX).group_by(labels.c.what, labels.c.value)
        boxes = grouped.where(labels.c.what == What.LUNG_BOX).group_by(labels.c.what)
        whole = select(func.count(distinct(labels.c.film_id)), func.count(distinct(labels.c.said_by)))
        against = select(func.count(distinct(labels.c.film_id))).where(_STANDS, _AGAINST_GATE)
        with self.reading() as db:
            rows = [(What(row[0]), row[1], row[2]) for row in db.execute(answers)]
            rows += [(What.LUNG_BOX, "", row[2]) for row in db.execute(boxes)]
            films, people = db.execute(whole.where(_STANDS)).one()
            between = db.scalar(select(func.count()).select_from(_BETWEEN_PEOPLE.subquery())) or 0
            return LabelCounts(tuple(rows), films, people, db.scalar(against) or 0, between)

    def labellers(self) -> list[str]:
        """Who said something that stands."""
        with self.reading() as db:
            return list(
                db.scalars(select(labels.c.said_by).distinct().where(_STANDS).order_by(labels.c.said_by))
            )

    def labelled(self, films: Iterable[int] | None = None) -> tuple[list[Labelled], int]:
        """Films about which people agree, oldest first; and of how many others they do not.

        Lung boxes are drawn by hand and never agree to the pixel: the last one counts.
        """
        query = _LABELS.where(_STANDS).order_by(labels.c.film_id, labels.c.id)
        query = query.add_columns(instances.c.received_at, headers.c.patient_id)
        if films is not None:
            query = query.where(labels.c.film_id.in_(list(films)))
        rows_by_film: dict[int, list[Any]] = defaultdict(list)
        with self.reading() as db:
            secret = bytes.fromhex(db.scalar(select(labelling.c.secret)) or "")
            for row in db.execute(query):
                rows_by_film[row.film_id].append(row)
        agreed = [_labelled(secret, rows) for rows in rows_by_film.values()]
        return [one for one in agreed if one is not None], agreed.count(None)


_STANDS = labels.c.ended_at.is_(None)
_AGAINST_GATE = labels.c.gate_says.is_not(None) & (labels.c.gate_says != labels.c.value)
_BETWEEN_PEOPLE = (
    select(labels.c.film_id, labels.c.what)
    .where(_STANDS, labels.c.what != What.LUNG_BOX)
    .group_by(labels.c.film_id, labels.c.what)
    .having(func.count(distinct(labels.c.value)) > 1)
)
_LABELS: Select[Any] = (
    select(labels, associations.c.calling)
    .join(instances, instances.c.id == labels.c.film_id)
    .outerjoin(versions, and_(versions.c.film_id == labels.c.film_id, versions.c.digest == labels.c.digest))
    .outerjoin(associations, associations.c.id == versions.c.association_id)
    .outerjoin(headers, headers.c.film_id == labels.c.film_id)
)


def _those(wanted: LabelsWanted) -> ColumnElement[bool]:
    named = (
        (labels.c.what, wanted.what),
        (labels.c.value, wanted.value),
        (labels.c.said_by, wanted.by),
        (associations.c.calling, wanted.sender),
        (labels.c.film_id, wanted.film),
    )
    those = and_(true(), *(column == value for column, value in named if value is not None))
    if not wanted.ended:
        those &= _STANDS
    if wanted.before is not None:
        those &= labels.c.id < wanted.before
    if wanted.differs == "gate":
        those &= _AGAINST_GATE
    if wanted.differs == "people":
        between = _BETWEEN_PEOPLE.subquery()
        pairs = select(labels.c.id).join(
            between, and_(between.c.film_id == labels.c.film_id, between.c.what == labels.c.what)
        )
        those &= labels.c.id.in_(pairs.where(_STANDS))
    return those


def _label(row: Any) -> Label:
    return Label(
        id=row.id,
        film_id=row.film_id,
        digest=row.digest,
        what=What(row.what),
        value=row.value,
        by=row.said_by,
        at=row.said_at,
        source=row.source,
        act_id=row.act_id,
        gate_says=row.gate_says,
        ended_at=row.ended_at,
        ended_by=row.ended_by,
        sender=row.calling or "",
    )


def _labelled(secret: bytes, rows: Sequence[Any]) -> Labelled | None:
    """What is agreed on one film; None when two people, or view and part of two, contradict each other."""
    said: dict[What, str] = {}
    for row in rows:
        what = What(row.what)
        if what is not What.LUNG_BOX and said.setdefault(what, row.value) != row.value:
            return None
        said[what] = row.value
    last = rows[-1]
    people = tuple(dict.fromkeys(row.said_by for row in rows))
    return Labelled(last.film_id, last.digest, said, people, last.received_at, _group(secret, last))


def _group(secret: bytes, row: Any) -> str:
    known = f"patient {row.patient_id}" if row.patient_id else f"film {row.film_id}"
    return hmac.digest(secret, known.encode(), "sha256").hex()[:GROUP_DIGITS]
