"""Alarms: each is told once until it is over, and what is owed of that survives a restart."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, literal_column, select, update

from gateway.ledger.engine import Database
from gateway.ledger.moves import inserted, note, stands
from gateway.ledger.records import DeliveryState, HoldState, Undone
from gateway.ledger.tables import deliveries, holds, versions
from gateway.ledger.watching.films import _put
from gateway.ledger.watching.records import Alarm, AlarmKind, Notice, NoticeState, Signal
from gateway.ledger.watching.tables import alarms, notices, tallies

WHO = "watch"
_OWED = notices.c.state == literal_column("'owed'")
_ON = alarms.c.over_at.is_(None)


class Alarming(Database):
    """What is wrong now, and who was told."""

    def alarms_on(self) -> list[Alarm]:
        """Those that are not over, oldest first."""
        with self.reading() as db:
            return [_alarm(row) for row in db.execute(select(alarms).where(_ON).order_by(alarms.c.id))]

    def alarms(self, limit: int | None = None) -> list[Alarm]:
        """All of them, newest first."""
        with self.reading() as db:
            rows = db.execute(select(alarms).order_by(alarms.c.id.desc()).limit(limit))
            return [_alarm(row) for row in rows]

    def set_alarms(
        self, signals: Sequence[Signal], kinds: Collection[str], ways: Sequence[str], now: datetime
    ) -> tuple[list[Alarm], list[Alarm]]:
        """Of these kinds exactly the `signals` hold now: the alarms that began, and those that are over.

        Each of them is an audit row and a notice by each of the `ways`, in one commit with itself.
        """
        wanted = {signal.key: signal for signal in signals}
        on = {(a.kind, a.subject, a.what): a for a in self.alarms_on() if a.kind in kinds}
        changed = [(on[key], one) for key, one in wanted.items() if key in on and on[key].words != one.words]
        new = [signal for key, signal in wanted.items() if key not in on]
        over = [alarm for key, alarm in on.items() if key not in wanted]
        if not (new or over or changed):
            return [], []
        with self.writing(quiet=True) as db:
            for alarm, signal in changed:
                db.execute(update(alarms).where(alarms.c.id == alarm.id).values(words=signal.words))
            begun = [_begin(db, signal, ways, now) for signal in new]
            for alarm in over:
                db.execute(update(alarms).where(alarms.c.id == alarm.id).values(over_at=now))
                _tell(db, alarm.id, "over", ways, now)
                note(db, now, "alarm over", film_id=None, who=WHO, **_detail(alarm.id, alarm))
        return begun, over

    def test_alarm(self, signal: Signal, ways: Sequence[str], by: str, now: datetime) -> Alarm:
        """An alarm that is over as it begins, to see whether word of it arrives."""
        with self.writing(quiet=True) as db:
            row = _row(signal, now) | {"over_at": now}
            alarm_id = inserted(db, alarms, row)
            _tell(db, alarm_id, "test", ways, now)
            note(db, now, "alarm tested", film_id=None, who=by, alarm=alarm_id)
        return Alarm(id=alarm_id, **row)

    def notices_due(self, now: datetime, alarm_id: int | None = None) -> list[Notice]:
        """What is to be said now, oldest first; of one alarm where that is named."""
        query = (
            select(notices, alarms)
            .join(alarms, alarms.c.id == notices.c.alarm_id)
            .where(_OWED, notices.c.next_at <= now)
            .order_by(notices.c.id)
        )
        if alarm_id is not None:
            query = query.where(notices.c.alarm_id == alarm_id)
        with self.reading() as db:
            return [_notice(row) for row in db.execute(query).mappings()]

    def claim_notice(self, notice_id: int, now: datetime, until: datetime) -> bool:
        """Whether it is ours to send until then: somebody else, a command say, may have been faster."""
        due = (notices.c.id == notice_id) & _OWED & (notices.c.next_at <= now)
        with self.writing(quiet=True) as db:
            return db.execute(update(notices).where(due).values(next_at=until)).rowcount == 1

    def notice_sent(self, notice_id: int, now: datetime) -> None:
        self._end(notice_id, NoticeState.SENT, now, None)

    def notice_failed(self, notice_id: int, error: str, now: datetime, again_at: datetime | None) -> None:
        """It was not taken; it is tried again then, or given up."""
        if again_at is None:
            self._end(notice_id, NoticeState.FAILED, now, error)
            return
        values = {"attempts": notices.c.attempts + 1, "next_at": again_at, "error": error}
        with self.writing(quiet=True) as db:
            db.execute(update(notices).where(notices.c.id == notice_id, _OWED).values(**values))

    def notices_of(self, alarm_id: int) -> list[dict[str, Any]]:
        """How telling of an alarm went."""
        query = select(notices).where(notices.c.alarm_id == alarm_id).order_by(notices.c.id)
        with self.reading() as db:
            return [dict(row) for row in db.execute(query).mappings()]

    def notices_in_trouble(self) -> list[tuple[str, int, str]]:
        """(way, how many, the last error) of notices that were not taken since the way last worked."""
        own = notices.c
        worked = select(own.way, func.max(own.id)).where(own.state == NoticeState.SENT).group_by(own.way)
        bad = (
            select(own.way, own.id, own.error)
            .where(own.state != NoticeState.SENT, own.error.is_not(None))
            .order_by(own.id)
        )
        with self.reading() as db:
            last: dict[str, int] = {row[0]: row[1] for row in db.execute(worked)}
            troubles: dict[str, tuple[int, str]] = {}
            for way, notice_id, error in db.execute(bad):
                if notice_id > last.get(way, 0):
                    troubles[way] = (troubles.get(way, (0, ""))[0] + 1, error)
        return [(way, count, error) for way, (count, error) in sorted(troubles.items())]

    def refused_deliveries(self) -> list[Undone]:
        """What was tried and did not arrive, by destination and reason: of what was not tried yet nothing."""
        own = deliveries.c
        grouped = (own.destination, own.state, own.trouble)
        counted = (func.count(), func.min(own.created_at), func.max(own.tries))
        with self.reading() as db:
            rows = [
                row
                for state in (DeliveryState.RETRY, DeliveryState.FAILED)
                for row in db.execute(
                    select(*grouped, *counted).where(stands(deliveries, state)).group_by(*grouped)
                )
            ]
        return [Undone(row[0], DeliveryState(row[1]), row[2] or "", *row[3:]) for row in rows]

    def held_digest(self, sender: str | None) -> str | None:
        """The object of a sender's newest open hold; without a sender, of the oldest hold of all."""
        waits = select(versions.c.digest).join(holds, holds.c.version_id == versions.c.id)
        waits = waits.where(stands(holds, HoldState.OPEN)).limit(1)
        if sender is None:
            waits = waits.order_by(holds.c.opened_at, holds.c.id)
        else:
            waits = waits.where(holds.c.sender == sender).order_by(holds.c.id.desc())
        with self.reading() as db:
            digest: str | None = db.scalar(waits)
            return digest

    def waiting_since(self, before: datetime) -> tuple[int, datetime | None]:
        """How many films have been held since before then, and the oldest one's time."""
        waits = stands(holds, HoldState.OPEN) & (holds.c.opened_at < before)
        with self.reading() as db:
            count, oldest = db.execute(select(func.count(), func.min(holds.c.opened_at)).where(waits)).one()
        return count, oldest

    def _end(self, notice_id: int, state: NoticeState, now: datetime, error: str | None) -> None:
        values = {"state": state, "attempts": notices.c.attempts + 1, "ended_at": now, "error": error}
        with self.writing(quiet=True) as db:
            db.execute(update(notices).where(notices.c.id == notice_id, _OWED).values(**values))


def _begin(db: Connection, signal: Signal, ways: Sequence[str], now: datetime) -> Alarm:
    row = _row(signal, now)
    alarm_id = inserted(db, alarms, row)
    _tell(db, alarm_id, "on", ways, now)
    _put(db, tallies, {"figure": "alarm", "label": signal.kind, "count": 1}, added=("count",))
    alarm = Alarm(id=alarm_id, over_at=None, **row)
    note(db, now, "alarm", film_id=None, who=WHO, **_detail(alarm_id, alarm))
    return alarm


def _row(signal: Signal, now: datetime) -> dict[str, Any]:
    names = ("kind", "subject", "what", "words", "link")
    return {name: getattr(signal, name) for name in names} | {"since": now}


def _detail(alarm_id: int, alarm: Alarm) -> dict[str, Any]:
    return {"alarm": alarm_id, "kind": alarm.kind, "subject": alarm.subject, "rate": alarm.what}


def _tell(db: Connection, alarm_id: int, news: str, ways: Sequence[str], now: datetime) -> None:
    fixed = {"alarm_id": alarm_id, "news": news, "state": NoticeState.OWED, "attempts": 0, "next_at": now}
    if ways:
        db.execute(insert(notices), [fixed | {"way": way} for way in ways])


def _alarm(row: Any) -> Alarm:
    names = ("id", "subject", "what", "words", "link", "since", "over_at")
    return Alarm(kind=AlarmKind(row.kind), **{name: getattr(row, name) for name in names})


def _notice(row: Any) -> Notice:
    names = ("subject", "what", "words", "link", "since", "over_at")
    alarm = Alarm(
        id=row[alarms.c.id],
        kind=AlarmKind(row[alarms.c.kind]),
        **{name: row[alarms.c[name]] for name in names},
    )
    own = notices.c
    return Notice(row[own.id], alarm, row[own.news], row[own.way], row[own.attempts])
