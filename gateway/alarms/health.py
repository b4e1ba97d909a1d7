"""How the gateway is, in one plain sentence, worst first, and what else is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.alarms import conditions, words
from gateway.errors import PolicyDamaged
from gateway.ledger import Ledger
from gateway.ledger.searching.records import Day
from gateway.ledger.watching.records import Alarm, AlarmKind
from gateway.process.health import Report
from gateway.settings import Settings

# (role of a process, what it means that none runs), the one that matters most first
ROLES = (
    ("listener", "No listener runs: no film is received, and senders keep theirs."),
    ("dispatcher", "No dispatcher runs: films are received and kept, and nothing is sent to archive or AI."),
    ("worker", "No worker runs: no film is gated; originals go to the archive all the same."),
)
GATE = "gate "  # begins what a worker reports of a gate that is closed
SOON_MIN = 1.0  # a destination that takes nothing for so long is worth a sentence, if not yet an alarm


@dataclass(frozen=True, slots=True)
class Said:
    """One sentence, and where to look."""

    kind: str  # bad, warn or good
    words: str
    link: str


def how_it_is(
    ledger: Ledger, settings: Settings, reports: Sequence[Report], day: Day, now: datetime
) -> list[Said]:
    """What is wrong, worst first; one good sentence where nothing is."""
    found = [
        *_processes(reports),
        *_steered(ledger, settings, now),
        *_now(ledger, settings, reports, now),
        *_alarms(ledger.alarms_on()),
    ]
    unique = list({(said.words, said.link): said for said in found}.values())
    where = "/quarantine" if any(day.held_for.values()) else "/films"
    return unique or [Said("good", _well(ledger, day, now), where)]


def _processes(reports: Sequence[Report]) -> Iterator[Said]:
    run = {report.process.split(" ", 1)[0] for report in reports}
    for role, meaning in ROLES:
        if role not in run:
            yield Said("bad", meaning, "/readyz")


def _steered(ledger: Ledger, settings: Settings, now: datetime) -> Iterator[Said]:
    """What people switched, and must not forget."""
    try:
        ledger.policy_version()
    except PolicyDamaged as error:
        yield Said("bad", str(error), "/policy")
    clock = words.Clock(settings, now)
    if bypass := ledger.bypass(now):
        text = f"The gates are bypassed until {clock(bypass.until)}: every film goes to AI. "
        yield Said("bad", f"{text}{bypass.said_by}: {bypass.note}", "/policy")
    for paused in ledger.paused():
        title = words.destination(settings, paused.destination)
        kind = "bad" if paused.destination in settings.routes.pass_ else "warn"
        text = (
            f"{title} is paused since {clock(paused.said_at)} by {paused.said_by}: what is owed to it waits."
        )
        yield Said(kind, text, "/destinations")


def _now(ledger: Ledger, settings: Settings, reports: Sequence[Report], now: datetime) -> Iterator[Said]:
    for signal in conditions.disk(ledger, settings, now):
        yield Said("bad", signal.words, signal.link)
    hasty = settings.alarms.model_copy(update={"refuses_min": min(SOON_MIN, settings.alarms.refuses_min)})
    for signal in conditions.refusing(ledger, settings.model_copy(update={"alarms": hasty}), now):
        yield Said("bad", signal.words, signal.link)
    for report in reports:
        for trouble in report.troubles:
            if trouble.what.startswith(GATE):
                text = f"The {trouble.what} of {report.process} cannot be used: {trouble.error}. "
                yield Said("bad", text + "Films that it should judge are held.", "/models")
    for way, count, error in ledger.notices_in_trouble():
        text = f"{words.counted(count, 'notice')} of alarms by {way} did not arrive: {error}."
        yield Said("warn", text, "/readyz")


def _alarms(alarms: Sequence[Alarm]) -> Iterator[Said]:
    """Those that are not asked for anew above."""
    for alarm in alarms:
        if alarm.kind not in (AlarmKind.DISK, AlarmKind.DESTINATION):
            yield Said("warn", alarm.words, alarm.link)


def _well(ledger: Ledger, day: Day, now: datetime) -> str:
    last = max((total.last_at for total in ledger.sender_totals()), default=None)
    if last is None:
        return "No film has come yet. Let a modality send to this gateway, or try filmgate send."
    ago = now - last
    came = f"{words.counted(day.received, 'film')} today, the last one {_ago(ago)} ago"
    waits = sum(day.held_for.values())
    if waits:
        return f"All is well: {came}; {words.counted(waits, 'film')} for you to look at."
    return f"All is well: {came}; nothing waits for anybody."


def _ago(span: timedelta) -> str:
    minutes = max(0, round(span.total_seconds() / 60))
    if minutes < 2:
        return "a minute"
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 2880 else f"{minutes // 1440} days"
