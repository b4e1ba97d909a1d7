"""All that the ledger knows of one film, for its page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from gateway.ledger.engine import Database
from gateway.ledger.records import DeliveryState
from gateway.ledger.tables import (
    associations,
    copies,
    decisions,
    deliveries,
    events,
    findings,
    holds,
    jobs,
    objects,
    results,
    versions,
)

OWN_EVENTS = frozenset({"received", "decided", "read"})  # rows of their own say more


@dataclass(frozen=True, slots=True)
class Version:
    """One object that was received under the film's SOP Instance UID."""

    id: int
    digest: str
    transfer_syntax_uid: str
    size_bytes: int
    received_at: datetime
    calling: str  # AE title and address of its association; "" where nobody knows
    address: str
    association: int | None


@dataclass(frozen=True, slots=True)
class CopyOf:
    """A corrected copy."""

    digest: str
    sop_instance_uid: str
    operations: dict[str, Any]
    state: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class HoldOf:
    """One hold, open or closed."""

    id: int
    decision_id: int
    digest: str
    proposal: str | None  # digest
    takers: tuple[str, ...]
    state: str


@dataclass(frozen=True, slots=True)
class Score:
    """What one gate found."""

    gate: str
    verdict: str
    of_copy: bool
    body: dict[str, Any]  # score, low, high, reason, detail, box, facts


@dataclass(frozen=True, slots=True)
class Decided:
    """The decision that stands."""

    id: int
    act: str
    mode: str
    rule: str
    why: str
    reasons: tuple[str, ...]
    flags: tuple[str, ...]
    trace: tuple[dict[str, Any], ...]
    digests: dict[str, str]
    decided_at: datetime
    version_id: int


@dataclass(frozen=True, slots=True)
class ResultOf:
    """What a classifier said, or why it did not."""

    id: int
    classifier: str
    version: str
    body: dict[str, Any]
    made_at: datetime
    heatmap: bool  # there is a picture of it


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the film's history."""

    at: datetime
    what: str
    detail: str
    who: str = ""
    kind: str = ""  # good, warn or bad


@dataclass(frozen=True, slots=True)
class Dossier:
    """One film."""

    versions: tuple[Version, ...]  # oldest first
    decided: Decided | None
    scores: tuple[Score, ...]
    copies: tuple[CopyOf, ...]
    holds: tuple[HoldOf, ...]  # oldest first
    results: tuple[ResultOf, ...]
    moments: tuple[Moment, ...]  # oldest first

    @property
    def digest(self) -> str:
        """Of the version that was judged last, else received last."""
        judged = self.decided.version_id if self.decided else None
        return next((one.digest for one in self.versions if one.id == judged), self.versions[-1].digest)

    @property
    def hold(self) -> HoldOf | None:
        """The one that is open."""
        return next((one for one in reversed(self.holds) if one.state == "open"), None)

    @property
    def proposal(self) -> CopyOf | None:
        """The corrected copy that belongs to what stands: it is proposed, or was sent."""
        return next((one for one in reversed(self.copies) if one.state != "discarded"), None)


class Dossiers(Database):
    """What the page of a film asks."""

    def dossier(self, film_id: int) -> Dossier | None:
        """All of one film; None where there is none."""
        with self.reading() as db:
            received = tuple(_versions(db, film_id))
            if not received:
                return None
            decided = _decided(db, film_id)
            its_copies = tuple(_copies(db, film_id))
            its_results = tuple(_results(db, film_id))
            scores = tuple(_scores(db, decided.id)) if decided else ()
            moments = [
                *(_arrival(version, number) for number, version in enumerate(received)),
                *_job_moments(db, film_id),
                *_decision_moments(db, film_id),
                *_delivery_moments(db, film_id),
                *_event_moments(db, film_id),
            ]
            moments.sort(key=lambda moment: moment.at)
            its_holds = tuple(_holds(db, film_id))
            return Dossier(received, decided, scores, its_copies, its_holds, its_results, tuple(moments))

    def heatmap(self, digest: str, result_id: int) -> str | None:
        """The digest of the picture of a result, where it is a result of the film that `digest` is of."""
        film = select(versions.c.film_id).where(versions.c.digest == digest)
        query = select(objects.c.digest).where(objects.c.result_id == result_id, objects.c.kind == "heatmap")
        with self.reading() as db:
            found: str | None = db.scalar(query.where(objects.c.film_id.in_(film)).limit(1))
            return found


def _versions(db: Connection, film_id: int) -> Iterator[Version]:
    query = (
        select(versions, associations.c.calling, associations.c.address)
        .outerjoin(associations, associations.c.id == versions.c.association_id)
        .where(versions.c.film_id == film_id)
        .order_by(versions.c.id)
    )
    for row in db.execute(query):
        said = (row.transfer_syntax_uid, row.size_bytes, row.received_at)
        yield Version(row.id, row.digest, *said, row.calling or "", row.address or "", row.association_id)


def _decided(db: Connection, film_id: int) -> Decided | None:
    standing = select(decisions).where(decisions.c.film_id == film_id, ~decisions.c.superseded)
    row = db.execute(standing).one_or_none()
    if row is None:
        return None
    lists = (tuple(row.reasons), tuple(row.flags), tuple(row.trace))
    return Decided(
        row.id, row.act, row.mode, row.rule, row.why, *lists, row.digests, row.decided_at, row.version_id
    )


def _scores(db: Connection, decision_id: int) -> Iterator[Score]:
    query = select(findings).where(findings.c.decision_id == decision_id).order_by(findings.c.id)
    for row in db.execute(query):
        yield Score(row.gate, row.verdict, row.of_copy, row.body)


def _copies(db: Connection, film_id: int) -> Iterator[CopyOf]:
    for row in db.execute(select(copies).where(copies.c.film_id == film_id).order_by(copies.c.id)):
        yield CopyOf(row.digest, row.sop_instance_uid, row.operations, row.state, row.made_at)


def _holds(db: Connection, film_id: int) -> Iterator[HoldOf]:
    query = (
        select(holds, versions.c.digest, copies.c.digest.label("proposal"))
        .join(versions, versions.c.id == holds.c.version_id)
        .outerjoin(copies, copies.c.id == holds.c.copy_id)
        .where(holds.c.film_id == film_id)
        .order_by(holds.c.id)
    )
    for row in db.execute(query):
        yield HoldOf(row.id, row.decision_id, row.digest, row.proposal, tuple(row.takers), row.state)


def _results(db: Connection, film_id: int) -> Iterator[ResultOf]:
    pictured = set(
        db.scalars(
            select(objects.c.result_id).where(objects.c.film_id == film_id, objects.c.kind == "heatmap")
        )
    )
    query = select(results).where(results.c.film_id == film_id, ~results.c.superseded)
    for row in db.execute(query.order_by(results.c.id)):
        yield ResultOf(row.id, row.classifier, row.version, row.body, row.made_at, row.id in pictured)


# The history


def _arrival(version: Version, number: int) -> Moment:
    what = "received and stored" if not number else "another version received and stored"
    whence = f"from {version.calling} at {version.address}" if version.calling else ""
    association = f"association {version.association}" if version.association else ""
    size = f"{version.size_bytes / 1e6:,.1f} MB"
    return Moment(version.received_at, what, ", ".join(filter(None, (whence, association, size))))


def _job_moments(db: Connection, film_id: int) -> Iterator[Moment]:
    """Of the gates' jobs what did not go as usual; the decision says the rest."""
    query = select(jobs).where(jobs.c.film_id == film_id, jobs.c.delivery_id.is_(None)).order_by(jobs.c.id)
    for row in db.execute(query):
        if row.state in ("ready", "leased"):
            words = "is being decoded and gated" if row.state == "leased" else "waits for a worker"
            yield Moment(row.created_at, words, row.error or "", kind="warn" if row.error else "")
        elif row.state == "parked" and row.done_at is not None:
            yield Moment(row.done_at, "could not be examined", row.error or "", kind="bad")


def _decision_moments(db: Connection, film_id: int) -> Iterator[Moment]:
    for row in db.execute(select(decisions).where(decisions.c.film_id == film_id).order_by(decisions.c.id)):
        later = " (superseded since)" if row.superseded else ""
        yield Moment(row.decided_at, f"decoded, gated and decided: {row.act}{later}", f"rule {row.rule}")


def _delivery_moments(db: Connection, film_id: int) -> Iterator[Moment]:
    kinds = {
        row.digest: row.kind
        for row in db.execute(select(objects.c.digest, objects.c.kind).where(objects.c.film_id == film_id))
    }
    query = select(deliveries).where(deliveries.c.film_id == film_id).order_by(deliveries.c.id)
    for row in db.execute(query):
        what = kinds.get(row.digest) or ("copy" if row.kind == "copy" else "original")
        tries = f"{row.attempts} attempts" if row.attempts > 1 else ""
        detail = ", ".join(filter(None, (row.error or "", tries)))
        state = DeliveryState(row.state)
        if state is DeliveryState.DELIVERED:
            yield Moment(
                row.ended_at or row.created_at, f"{what} delivered to {row.destination}", detail, kind="good"
            )
        elif state is DeliveryState.FAILED:
            at = row.ended_at or row.created_at
            yield Moment(at, f"{what} not delivered to {row.destination}", detail, kind="bad")
        elif state is not DeliveryState.CANCELLED:
            kind = "warn" if row.error else ""
            yield Moment(row.created_at, f"{what} owed to {row.destination}: {state}", detail, kind=kind)


def _event_moments(db: Connection, film_id: int) -> Iterator[Moment]:
    arrived = select(deliveries.c.destination, deliveries.c.ended_at).where(deliveries.c.film_id == film_id)
    told = {(row.destination, row.ended_at) for row in db.execute(arrived)}  # a delivery's own row says it
    for row in db.execute(select(events).where(events.c.film_id == film_id).order_by(events.c.id)):
        if row.what not in OWN_EVENTS and (row.detail.get("destination"), row.at) not in told:
            detail = "; ".join(f"{name} {_plain(value)}" for name, value in row.detail.items() if value)
            yield Moment(row.at, row.what, detail, row.who)


def _plain(value: object) -> str:
    if isinstance(value, dict):  # the operations of a copy: those that it had
        return ", ".join(
            name if its is True else f"{name} {_plain(its)}" for name, its in value.items() if its
        )
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
