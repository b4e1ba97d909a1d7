"""PEOPLE: who may sign in, and everything that an admin does about it; each act is an audit row."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.errors import FilmgateError, NotFound
from gateway.ledger.engine import Database
from gateway.ledger.moves import note
from gateway.ledger.people import backoff
from gateway.ledger.people.records import Credentials, Role, User
from gateway.ledger.people.tables import devices, guesses, people, sessions

LONGEST_NAME = 64


class CannotChangePerson(FilmgateError):
    """Raised when what is asked of a person's account cannot be, such as to disable the last admin."""


class Peopling(Database):
    """Accounts, as the console's page and `filmgate users` change them."""

    def add_user(
        self,
        name: str,
        role: Role,
        *,
        by: str,
        now: datetime,
        password_hash: str | None = None,
        subject: str = "",
        must_change: bool = False,
    ) -> User:
        """A new person; the name is free, or it is refused.

        Raises:
            CannotChangePerson: the name is taken or cannot be one.
        """
        need_name(name)
        row = {
            "name": name,
            "folded": name.casefold(),
            "subject": subject or None,
            "password": password_hash,
            "role": role.value,
            "disabled": False,
            "must_change": must_change,
            "made_by": by,
            "made_at": now,
            "form_key": secrets.token_hex(32),
        }
        with self.writing(quiet=True) as db:
            if db.execute(select(people.c.id).where(people.c.folded == name.casefold())).first():
                raise CannotChangePerson(f"there is a person named {name} already. Nobody was added.")
            try:
                db.execute(insert(people).values(row))
            except IntegrityError:
                raise CannotChangePerson(f"{name} is known under another name. Nobody was added.") from None
            note(db, now, "user added", film_id=None, who=by, user=name, role=role.value)
            return user_of(_row(db, name))

    def users(self, *, now: datetime, open_since: datetime) -> list[User]:
        """Everybody, by name, with the sessions that were used after `open_since`."""
        open_ones = (
            select(sessions.c.person_id, func.count().label("open"))
            .where(sessions.c.seen_at > open_since, sessions.c.seen_at <= now)
            .group_by(sessions.c.person_id)
            .subquery()
        )
        query = (
            select(people, func.coalesce(open_ones.c.open, 0).label("open"))
            .join(open_ones, open_ones.c.person_id == people.c.id, isouter=True)
            .order_by(people.c.folded)
        )
        with self.reading() as db:
            return [user_of(row, row.open) for row in db.execute(query)]

    def user(self, name: str) -> User:
        """
        Raises:
            NotFound: there is nobody of that name.
        """
        with self.reading() as db:
            return user_of(_row(db, name))

    def user_of_subject(self, subject: str) -> User | None:
        """Who somebody is that a provider or proxy vouches for; None when they were never here."""
        with self.reading() as db:
            row = db.execute(select(people).where(people.c.subject == subject)).first()
            return None if row is None else user_of(row)

    def credentials(self, name: str) -> Credentials | None:
        """A person with a password, whether disabled or not; None when there is none of that name."""
        query = select(people).where(people.c.folded == name.casefold(), people.c.password.is_not(None))
        with self.reading() as db:
            row = db.execute(query).first()
            return None if row is None else Credentials(user_of(row), row.password)

    def has_admin(self) -> bool:
        """Whether somebody can sign in who may add others."""
        with self.reading() as db:
            return bool(_admins(db))

    def set_role(self, name: str, role: Role, *, by: str, now: datetime) -> None:
        """Their open sessions have the new role at once.

        Raises:
            NotFound: there is nobody of that name.
            CannotChangePerson: nobody could add others any more.
        """
        with self.writing(quiet=True) as db:
            row = _row(db, name)
            if role is not Role.ADMIN:
                _need_another_admin(db, row)
            db.execute(update(people).where(people.c.id == row.id).values(role=role.value))
            note(db, now, "user role", film_id=None, who=by, user=row.name, role=role.value, before=row.role)

    def follow_role(self, user: User, role: Role, *, by: str, now: datetime) -> None:
        """A role that a provider or proxy says, whoever is left; nothing when it is the one they have."""
        with self.writing(quiet=True) as db:
            db.execute(update(people).where(people.c.id == user.user_id).values(role=role.value))
            details = {"user": user.name, "role": role.value, "before": user.role.value}
            note(db, now, "user role", film_id=None, who=by, **details)

    def set_disabled(self, name: str, disabled: bool, *, by: str, now: datetime) -> None:
        """A person who is disabled is signed out everywhere, and cannot sign in.

        Raises:
            NotFound: there is nobody of that name.
            CannotChangePerson: nobody could add others any more.
        """
        with self.writing(quiet=True) as db:
            row = _row(db, name)
            if disabled:
                _need_another_admin(db, row)
                _end_sessions(db, row.id)
            db.execute(update(people).where(people.c.id == row.id).values(disabled=disabled))
            note(
                db, now, "user disabled" if disabled else "user enabled", film_id=None, who=by, user=row.name
            )

    def set_password(
        self, name: str, password_hash: str, *, by: str, now: datetime, must_change: bool, keep: str = ""
    ) -> None:
        """All their sessions end but the one with this token digest, and nobody waits for the name any more.

        Raises:
            NotFound: there is nobody of that name.
            CannotChangePerson: they sign in elsewhere.
        """
        with self.writing(quiet=True) as db:
            row = _row(db, name)
            if row.subject is not None:
                raise CannotChangePerson(f"{name} signs in elsewhere, and has no password here.")
            values = {"password": password_hash, "must_change": must_change}
            db.execute(update(people).where(people.c.id == row.id).values(values))
            _end_sessions(db, row.id, keep)
            if by != row.name:
                db.execute(delete(devices).where(devices.c.person_id == row.id))
            db.execute(delete(guesses).where(guesses.c.source == backoff.of_name(row.name).text))
            note(db, now, "user password", film_id=None, who=by, user=row.name)

    def end_sessions(self, name: str, *, by: str, now: datetime) -> int:
        """Sign a person out everywhere; how many sessions that were.

        Raises:
            NotFound: there is nobody of that name.
        """
        with self.writing(quiet=True) as db:
            row = _row(db, name)
            count = _end_sessions(db, row.id)
            note(db, now, "user signed out", film_id=None, who=by, user=row.name, sessions=count)
            return count


def need_name(name: str) -> None:
    """
    Raises:
        CannotChangePerson: nobody can be called that.
    """
    plain = name == unicodedata.normalize("NFKC", name) and all(c.isalnum() or c in "._@+-" for c in name)
    alphabets = {unicodedata.name(c, "").partition(" ")[0] for c in name if c.isalpha()}
    if not (0 < len(name) <= LONGEST_NAME and plain and len(alphabets) <= 1):
        raise CannotChangePerson(
            f"a name has 1 to {LONGEST_NAME} letters of one alphabet, digits and . _ @ + - without spaces. "
            "Nobody was added."
        )


def _row(db: Connection, name: str) -> Row[Any]:
    row = db.execute(select(people).where(people.c.folded == name.casefold())).first()
    if row is None:
        raise NotFound(f"there is nobody named {name}. Nothing was changed. `filmgate users list` names all.")
    return row


def _admins(db: Connection) -> Sequence[int]:
    query = select(people.c.id).where(people.c.role == Role.ADMIN.value, people.c.disabled.is_(False))
    return db.execute(query).scalars().all()


def _need_another_admin(db: Connection, row: Row[Any]) -> None:
    if list(_admins(db)) == [row.id]:
        raise CannotChangePerson(
            f"{row.name} is the only admin: nobody could add people any more. Nothing was changed. Make "
            "somebody else an admin first."
        )


def _end_sessions(db: Connection, person_id: int, keep: str = "") -> int:
    theirs = sessions.c.person_id == person_id
    return db.execute(delete(sessions).where(theirs, sessions.c.token_digest != keep)).rowcount


def user_of(row: Row[Any], open_sessions: int = 0) -> User:
    return User(
        row.id,
        row.name,
        Role(row.role),
        row.disabled,
        row.must_change,
        row.subject or "",
        row.made_by,
        row.made_at,
        row.signed_in_at,
        row.form_key,
        open_sessions,
    )
