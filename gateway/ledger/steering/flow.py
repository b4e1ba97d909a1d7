"""STEER: what holds from the next object on, in every process: modes, bypass, pauses, who may send.

Whoever acts by it asks `steered`: one row says whether anything changed since it asked last.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

from sqlalchemy import Connection, Table, func, select, update

from gateway.errors import FilmgateError, NotFound
from gateway.ledger.engine import Database, driver_of
from gateway.ledger.moves import inserted, note
from gateway.ledger.steering.records import (
    Allowed,
    Bypass,
    Mode,
    Paused,
    SenderMode,
    Steered,
)
from gateway.ledger.steering.tables import (
    allowed_senders,
    bypasses,
    pauses,
    policies,
    sender_modes,
    steering,
)
from gateway.ledger.tables import associations, versions

LONGEST_BYPASS = timedelta(hours=24)


class Steering(Database):
    """What is in force, and how people change it."""

    _last_steered = Steered()

    def steered(self) -> Steered:
        """All that is in force."""
        with self.reading() as db:
            return self.steered_in(db)

    def steered_in(self, db: Connection) -> Steered:
        """The same within a transaction; the tables are read when the revision is another one."""
        revision = _revision(db)
        if revision != self._last_steered.revision:
            self._last_steered = _read(db, revision)
        return self._last_steered

    def admits(self, calling: str, address: str) -> bool:
        """Whether a person allowed this AE title to send from this address."""
        return self.steered().admits(calling, address)

    # Who may send

    def allowed(self) -> tuple[Allowed, ...]:
        """The AE titles that people allowed and nobody took back, oldest first."""
        return self.steered().allowed

    def allow(self, ae_title: str, network: str, *, by: str, note_text: str, now: datetime) -> None:
        """Let an AE title send from an address or range, from its next association on.

        Raises:
            FilmgateError: it is no AE title, or no address.
        """
        title, where = ae_title.strip(), str(_network(network))
        if not 0 < len(title) <= 16 or title == "*" or not title.isprintable() or "\\" in title:
            raise FilmgateError(
                f"{ae_title!r} is no AE title: it has 1 to 16 characters, and `*` is for the settings alone. "
                "Nothing was changed."
            )
        with self.writing(quiet=True) as db:
            same = (allowed_senders.c.ae_title == title) & (allowed_senders.c.network == where)
            _end(db, allowed_senders, same, by, now)
            _say(db, allowed_senders, by, note_text, now, ae_title=title, network=where)
            note(
                db, now, "sender allowed", film_id=None, who=by, ae_title=title, network=where, note=note_text
            )

    def disallow(self, ae_title: str, network: str | None, *, by: str, note_text: str, now: datetime) -> int:
        """Take back what people allowed an AE title, at one address or all; how many rows that were.

        Raises:
            NotFound: nobody allowed it. What the settings allow, only they can take back.
        """
        with self.writing(quiet=True) as db:
            which = allowed_senders.c.ae_title == ae_title.strip()
            if network is not None:
                which &= allowed_senders.c.network == str(_network(network))
            count = _end(db, allowed_senders, which, by, now)
            if not count:
                raise NotFound(
                    f"nobody allowed {ae_title!r} to send here beside the settings. Nothing was changed. "
                    "What gateway.allow says is changed in filmgate.yaml."
                )
            note(db, now, "sender no longer allowed", film_id=None, who=by, ae_title=ae_title, note=note_text)
            return count

    # Modes and the bypass

    def modes(self) -> list[SenderMode]:
        """The senders that have a mode of their own."""
        query = (
            select(sender_modes).where(sender_modes.c.ended_at.is_(None)).order_by(sender_modes.c.ae_title)
        )
        with self.reading() as db:
            return [
                SenderMode(row.ae_title, row.mode, row.said_by, row.said_at, row.note)
                for row in db.execute(query)
            ]

    def set_mode(self, ae_title: str, mode: Mode | None, *, by: str, note_text: str, now: datetime) -> None:
        """Observe or enforce the rules on the films of one sender; None: as the settings say for all."""
        title = ae_title.strip()[:16]
        with self.writing(quiet=True) as db:
            _end(db, sender_modes, sender_modes.c.ae_title == title, by, now)
            if mode is not None:
                _say(db, sender_modes, by, note_text, now, ae_title=title, mode=mode)
            note(
                db,
                now,
                "sender mode",
                film_id=None,
                who=by,
                ae_title=title,
                mode=mode or "as usual",
                note=note_text,
            )

    def bypass(self, now: datetime) -> Bypass | None:
        """The bypass that lasts, or None."""
        found = self.steered().bypass
        return found if found is not None and found.lasts(now) else None

    def begin_bypass(self, *, by: str, reason: str, until: datetime, now: datetime) -> None:
        """Let everything go to AI until then, with the verdicts recorded.

        Raises:
            FilmgateError: no reason, or an end that is past or too far away.
        """
        if not reason.strip():
            raise FilmgateError(
                "the bypass needs a reason. Nothing was changed: the gates decide what AI gets."
            )
        if not now < until <= now + LONGEST_BYPASS:
            raise FilmgateError(
                f"the bypass ends by itself after {LONGEST_BYPASS // timedelta(hours=1)} hours at most, and "
                "not in the past. Nothing was changed: the gates decide what AI gets."
            )
        with self.writing(quiet=True) as db:
            _end(db, bypasses, bypasses.c.id > 0, by, now)
            _say(db, bypasses, by, reason.strip(), now, until=until)
            note(db, now, "bypass on", film_id=None, who=by, until=until.isoformat(), note=reason.strip())

    def end_bypass(self, *, by: str, note_text: str = "", now: datetime) -> bool:
        """End it early; False when none lasted."""
        with self.writing(quiet=True) as db:
            lasted = _end(db, bypasses, bypasses.c.until > now, by, now) > 0
            if lasted:
                note(db, now, "bypass off", film_id=None, who=by, note=note_text)
            return lasted

    # Destinations

    def paused(self) -> tuple[Paused, ...]:
        """The destinations to which nothing is sent."""
        query = select(pauses).where(pauses.c.ended_at.is_(None)).order_by(pauses.c.destination)
        with self.reading() as db:
            return tuple(
                Paused(row.destination, row.said_by, row.said_at, row.note) for row in db.execute(query)
            )

    def pause(self, destination: str, *, by: str, note_text: str, now: datetime) -> bool:
        """Send nothing more to a destination; what is owed waits. False when it was paused already."""
        with self.writing() as db:
            its = (pauses.c.destination == destination) & pauses.c.ended_at.is_(None)
            if db.scalar(select(pauses.c.id).where(its)) is not None:
                return False
            _say(db, pauses, by, note_text, now, destination=destination)
            note(db, now, "paused", film_id=None, who=by, destination=destination, note=note_text)
            return True

    def resume(self, destination: str, *, by: str, note_text: str, now: datetime) -> bool:
        """Send again what waits; False when it was not paused."""
        with self.writing() as db:
            resumed = _end(db, pauses, pauses.c.destination == destination, by, now) > 0
            if resumed:
                note(db, now, "resumed", film_id=None, who=by, destination=destination, note=note_text)
            return resumed


def mode_of_version(db: Connection, version_id: int, usual: str, now: datetime) -> Mode:
    """How the sender of a version is treated now: for what happens seldom."""
    its = select(associations.c.calling).join(versions, versions.c.association_id == associations.c.id)
    sender = db.scalar(its.where(versions.c.id == version_id)) or ""
    return _read(db, 0).mode(sender, usual, now)


def grown(db: Connection) -> None:
    """Something was changed: whoever looks reads it anew."""
    db.execute(update(steering).values(revision=steering.c.revision + 1))


def _revision(db: Connection) -> int:
    """Asked with every object that comes: SQLAlchemy's way to the driver takes ten times as long."""
    if db.dialect.name == "sqlite":
        return int(driver_of(db).execute("SELECT revision FROM steering").fetchone()[0])
    return int(db.execute(select(steering.c.revision)).scalar_one())


def _read(db: Connection, revision: int) -> Steered:
    modes = select(sender_modes.c.ae_title, sender_modes.c.mode).where(sender_modes.c.ended_at.is_(None))
    rows = select(allowed_senders).where(allowed_senders.c.ended_at.is_(None)).order_by(allowed_senders.c.id)
    its = ("id", "ae_title", "network", "said_by", "said_at", "note")
    last = select(bypasses).where(bypasses.c.ended_at.is_(None)).order_by(bypasses.c.id.desc()).limit(1)
    began = db.execute(last).one_or_none()
    bypass = Bypass(began.said_by, began.said_at, began.note, began.until) if began else None
    return Steered(
        revision=revision,
        policy_id=db.scalar(select(func.max(policies.c.id))),
        modes={title: mode for title, mode in db.execute(modes)},  # noqa: C416  rows are no pairs to mypy
        allowed=tuple(Allowed(*(getattr(row, name) for name in its)) for row in db.execute(rows)),
        paused=frozenset(db.scalars(select(pauses.c.destination).where(pauses.c.ended_at.is_(None)))),
        bypass=bypass,
    )


def _say(db: Connection, table: Table, by: str, note_text: str, now: datetime, **values: Any) -> None:
    inserted(db, table, {**values, "said_by": by[:128], "said_at": now, "note": note_text})
    grown(db)


def _end(db: Connection, table: Table, which: Any, by: str, now: datetime) -> int:
    ending = update(table).where(which, table.c.ended_at.is_(None))
    count = db.execute(ending.values(ended_by=by[:128], ended_at=now)).rowcount
    if count:
        grown(db)
    return count


def _network(text: str) -> Any:
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError:
        raise FilmgateError(
            f"{text!r} is no address and no range of addresses (10.1.2.3, or 10.1.0.0/16). "
            "Nothing was changed."
        ) from None
