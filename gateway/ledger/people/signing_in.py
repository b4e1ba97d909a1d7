"""SIGN IN: sessions, and the failures that make whoever guesses wait."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from gateway.ledger.engine import Database
from gateway.ledger.moves import note
from gateway.ledger.people import backoff
from gateway.ledger.people.backoff import Kind, Source
from gateway.ledger.people.peopling import user_of
from gateway.ledger.people.records import Lifetimes, User
from gateway.ledger.people.tables import devices, guesses, people, sessions

TOUCH_S = 60.0  # that a session is used is written so often at most
MOST_SESSIONS = 20  # of one person; the oldest ends when there is one more
MOST_DEVICES = 20
DEVICE_DAYS = 90


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the browser gets, as the digests that are kept."""

    session: str
    device: str
    device_before: str = ""


class SigningIn(Database):
    """Sessions as the console opens, uses and ends them."""

    def device_knows(self, device_digest: str, name: str, *, now: datetime) -> bool:
        """Whether this person has signed in with this browser before."""
        query = (
            select(devices.c.person_id)
            .join(people, people.c.id == devices.c.person_id)
            .where(
                devices.c.token_digest == device_digest,
                devices.c.seen_at > now - timedelta(days=DEVICE_DAYS),
                people.c.folded == name.casefold(),
            )
        )
        with self.reading() as db:
            return db.execute(query).first() is not None

    def begin_try(self, sources: Sequence[Source], *, now: datetime) -> float:
        """Count a try as failed before its password is looked at, so that many at once are not free.

        How long it must wait instead, in seconds; 0.0 when it may go on, and was counted.
        """
        with self.writing(quiet=True) as db:
            db.execute(delete(guesses).where(guesses.c.last_at < backoff.forgotten_before(now)))
            counts = {source: _failures(db, source, now) for source in sources}
            if wait_s := backoff.longest(wait_s for _, wait_s in counts.values()):
                return wait_s
            for source, (failures, _) in counts.items():
                db.execute(delete(guesses).where(guesses.c.source == source.text))
                row = {"source": source.text, "failures": failures + 1, "last_at": now}
                db.execute(insert(guesses).values(row))
            return 0.0

    def failed(self, name: str, address: str, *, now: datetime) -> None:
        """Write down that a sign-in failed; `name` is that of a person there is, or ""."""
        with self.writing(quiet=True) as db:
            note(db, now, "sign-in failed", film_id=None, who=name or "unknown", address=address)

    def sign_in(
        self,
        user: User,
        tokens: Tokens,
        *,
        address: str,
        how: str,
        sources: Sequence[Source] = (),
        lifetimes: Lifetimes,
        now: datetime,
    ) -> None:
        """Open a session. The try that led to it is taken back; other failures of the address stay."""
        with self.writing(quiet=True) as db:
            for source in sources:
                if source.kind is Kind.ADDRESS:
                    fewer = update(guesses).where(guesses.c.source == source.text)
                    db.execute(fewer.values(failures=guesses.c.failures - 1))
                else:
                    db.execute(delete(guesses).where(guesses.c.source == source.text))
            _sweep(db, user.user_id, lifetimes, now)
            opened = {"token_digest": tokens.session, "person_id": user.user_id, "address": address[:64]}
            db.execute(insert(sessions).values({**opened, "made_at": now, "seen_at": now}))
            same = update(devices).where(devices.c.token_digest == tokens.device_before)
            db.execute(same.values(token_digest=tokens.device))  # of everybody who shares that browser
            theirs = devices.c.person_id == user.user_id
            db.execute(delete(devices).where(theirs, devices.c.token_digest == tokens.device))
            device = {"token_digest": tokens.device, "person_id": user.user_id, "seen_at": now}
            db.execute(insert(devices).values(device))
            db.execute(update(people).where(people.c.id == user.user_id).values(signed_in_at=now))
            note(db, now, "signed in", film_id=None, who=user.name, address=address, how=how)

    def person_of(
        self, token_digest: str, *, lifetimes: Lifetimes, now: datetime, touch: bool = True
    ) -> User | None:
        """Whose open session this is; None when there is none.

        With `touch` this use keeps it open: what a page asks by itself, with nobody there, does not.
        """
        query = (
            select(people, sessions.c.made_at.label("began_at"), sessions.c.seen_at)
            .join(sessions, sessions.c.person_id == people.c.id)
            .where(sessions.c.token_digest == token_digest, people.c.disabled.is_(False))
        )
        with self.reading() as db:
            row = db.execute(query).first()
        if row is None:
            return None
        unused_s, whole_s = (now - row.seen_at).total_seconds(), (now - row.began_at).total_seconds()
        if unused_s >= lifetimes.idle_s or whole_s >= lifetimes.longest_s:
            return None
        if touch and unused_s >= min(TOUCH_S, lifetimes.idle_s / 2):
            with self.leasing() as db:
                its = sessions.c.token_digest == token_digest
                db.execute(update(sessions).where(its).values(seen_at=now))
        return user_of(row)

    def arrived(self, user: User, *, address: str, how: str, now: datetime) -> None:
        """Write down that somebody is here whom another one vouches for, with each request anew."""
        with self.writing(quiet=True) as db:
            db.execute(update(people).where(people.c.id == user.user_id).values(signed_in_at=now))
            note(db, now, "signed in", film_id=None, who=user.name, address=address, how=how)

    def sign_out(self, token_digest: str, *, by: str, now: datetime) -> None:
        """End one session."""
        with self.writing(quiet=True) as db:
            if db.execute(delete(sessions).where(sessions.c.token_digest == token_digest)).rowcount:
                note(db, now, "signed out", film_id=None, who=by)


def digest(token: str) -> str:
    """What is kept of a token. It is random, so that no salt is needed."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _failures(db: Connection, source: Source, now: datetime) -> tuple[int, float]:
    row = db.execute(select(guesses).where(guesses.c.source == source.text)).first()
    if row is None:
        return 0, 0.0
    return row.failures, source.wait_s(row.failures, row.last_at, now)


def _sweep(db: Connection, person_id: int, lifetimes: Lifetimes, now: datetime) -> None:
    """Remove sessions that are over, devices not seen for long, and the oldest of too many."""
    unused = sessions.c.seen_at < now - timedelta(seconds=lifetimes.idle_s)
    too_long = sessions.c.made_at < now - timedelta(seconds=lifetimes.longest_s)
    db.execute(delete(sessions).where(unused | too_long))
    db.execute(delete(devices).where(devices.c.seen_at < now - timedelta(days=DEVICE_DAYS)))
    for table, most in ((sessions, MOST_SESSIONS), (devices, MOST_DEVICES)):
        theirs = select(table.c.token_digest).where(table.c.person_id == person_id)
        kept = theirs.order_by(table.c.seen_at.desc()).limit(most - 1)
        surplus = (table.c.person_id == person_id) & table.c.token_digest.not_in(kept)
        db.execute(delete(table).where(surplus))
