"""How alarms are said: in plain words, with times by the hospital's clock, without patients and UIDs."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlencode

from gateway.errors import Trouble
from gateway.process import clock
from gateway.settings import DicomDestination, Settings
from pipelines.watching import Rate, Watch

_RATES = {
    Rate.TURNED: "turned",
    Rate.INVERTED: "inverted",
    Rate.HELD: "held for a person",
    Rate.WITHHELD: "withheld from AI",
}
_NOT_REACHED = frozenset({Trouble.UNREACHABLE, Trouble.TIMED_OUT, Trouble.INTERRUPTED})
UNKNOWN_SENDER = "an unknown sender"


class Clock:
    """Times for people: the hour of today, or the day with it."""

    def __init__(self, settings: Settings, now: datetime) -> None:
        self._zone = clock.zone(settings.gateway.time_zone)
        self._today = now.astimezone(self._zone).date()

    def __call__(self, at: datetime) -> str:
        local = at.astimezone(self._zone)
        return f"{local:%H:%M}" if local.date() == self._today else f"{local:%Y-%m-%d %H:%M}"


def rate(sender: str, which: Rate, watch: Watch) -> str:
    """`ROOM3: of its last 5 films 5 were turned; usual are 8 of 1,600.`"""
    past = f"{watch.events:,} of {watch.films:,}" if watch.films else "not known yet"
    seen = f"of its last {counted(watch.seen.films, 'film')} {watch.seen.events:,} were {_RATES[which]}"
    return f"{named(sender)}: {seen}; usual are {past}."


def silence(sender: str, since: str, usual: int, weeks: int) -> str:
    """`ROOM3 has sent nothing since 09:41; ...`"""
    return (
        f"{named(sender)} has sent nothing since {since}; in the same hours of each of the last {weeks} "
        f"weeks it sent {usual:,} films or more."
    )


def waiting(count: int, limit_h: float, oldest: str) -> str:
    """`12 films have waited for a person for more than 24 h; ...`"""
    have = "has" if count == 1 else "have"
    return f"{counted(count, 'film')} {have} waited for a person for more than {limit_h:g} h, since {oldest}."


def refusing(name: str, count: int, since: str, trouble: str) -> str:
    """`CHEST_AI has refused 12 films since 09:41: out of resources.`"""
    act = "has not taken" if trouble in _NOT_REACHED else "has refused"
    why = trouble.replace("-", " ") or "see the error of its deliveries"
    return f"{name} {act} {counted(count, 'film')} since {since}: {why}."


def given_up(name: str, count: int, since: str, trouble: str) -> str:
    """`CHEST_AI did not get 3 films that ...`"""
    why = trouble.replace("-", " ") or "see the error of its deliveries"
    return (
        f"{name} did not get {counted(count, 'film')}, the oldest owed since {since}, and they are not tried "
        f"again by themselves: {why}."
    )


def disk(free_mb: int, least_mb: int, hours: float | None) -> str:
    """`2,048 MiB are free for films ...`"""
    left = f", enough for {hours:.0f} h at the rate of the last day" if hours is not None else ""
    return f"{free_mb:,} MiB are free for films{left}; below {least_mb:,} MiB nothing more is accepted."


def certificate(what: str, ends: datetime, now: datetime) -> str:
    """`The certificate in ... ends on 2026-12-05.`"""
    verb = "ended" if ends <= now else "ends"
    return f"The certificate of {what} {verb} on {ends:%Y-%m-%d}."


def counted(count: int, thing: str) -> str:
    """`1 film`, `1,200 films`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def named(sender: str) -> str:
    """An AE title, or words for none; films that came by other ways than an association have none."""
    return sender or UNKNOWN_SENDER


def destination(settings: Settings, name: str) -> str:
    """The AE title by which people know it, else its name in the settings."""
    block = settings.destinations.get(name)
    return block.ae_title if isinstance(block, DicomDestination) else name


def films_of(sender: str, **wishes: str) -> str:
    """The page with its films."""
    return "/films?" + urlencode({"sender": sender} | wishes)
