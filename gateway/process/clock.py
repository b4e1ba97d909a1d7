"""The hospital's clock: instants are aware UTC, but days are counted, and objects dated, in one zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from difflib import get_close_matches
from zoneinfo import ZoneInfo, available_timezones


class MachineZone(tzinfo):
    """The zone that the C library takes for local time: TZ, else /etc/localtime."""

    def utcoffset(self, at: datetime | None) -> timedelta | None:
        return at.replace(tzinfo=None).astimezone().utcoffset() if at else None

    def tzname(self, at: datetime | None) -> str | None:
        return at.replace(tzinfo=None).astimezone().tzname() if at else None

    def dst(self, _: datetime | None) -> None:
        return None

    def fromutc(self, at: datetime) -> datetime:
        there = at.replace(tzinfo=UTC).astimezone()
        local = there.replace(tzinfo=self)
        second = local.utcoffset() != there.utcoffset()  # of the two hours alike when summer time ends
        return local.replace(fold=1) if second else local


def zone(name: str) -> tzinfo:
    """The zone of this name, or the machine's own for ""."""
    return ZoneInfo(name) if name else MachineZone()


def today(name: str, at: datetime) -> date:
    """The day of the calendar in the zone of this name at `at` (aware)."""
    return at.astimezone(zone(name)).date()


def midnight(name: str, at: datetime) -> datetime:
    """When that day began there."""
    here = zone(name)
    return datetime.combine(at.astimezone(here).date(), datetime.min.time(), here).astimezone(UTC)


def known(name: str) -> str:
    """`name`, when it is "" or one of the time zone database. Raises ValueError, which names the nearest."""
    if not name:
        return name
    names = available_timezones()
    if name in names:
        return name
    if not names:
        raise ValueError("this machine has no time zone database: pip install tzdata, or leave it empty")
    alike = _nearest(name, names)
    hint = f"did you mean {alike!r}?" if alike else "say a place of the time zone database, as Europe/Berlin"
    raise ValueError(f"{name[:40]!r} is no time zone; {hint}")


def _nearest(name: str, names: set[str]) -> str:
    """A place that is alike as a whole, or by its city alone, whatever the case; "" when none is."""
    places = sorted(name for name in names if "/" in name)  # CEST is not a slip of EST
    whole = {place.lower(): place for place in places}
    cities = {place.rpartition("/")[2].lower(): place for place in places}
    wanted = name.strip().lower().replace(" ", "_")
    for table in (whole, cities):
        if nearest := get_close_matches(wanted, table, n=1, cutoff=0.8):
            return table[nearest[0]]
    return ""
