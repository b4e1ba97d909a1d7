"""`filmgate destinations`: how each stands, whether it answers, and whether something is sent to it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.cli.options import Common, Signed
from gateway.cli.output import clean, print_json, print_list, say, say_wrapped
from gateway.cli.quiet import quiet_logs
from gateway.cli.review.ledgers import open_ledger
from gateway.destinations.standing import standings
from gateway.destinations.trial import Trial, try_destination
from gateway.errors import NotFound
from gateway.process import clock
from gateway.settings import Settings, load

Name = Annotated[str, typer.Argument(help="A destination of the settings.")]
Names = Annotated[list[str] | None, typer.Argument(help="Destinations of the settings; without any, all.")]


def list_destinations(common: Common) -> None:
    """List the destinations: what they took today, what is owed, and what keeps them from taking it."""
    settings, now = load(common.config, common.state), datetime.now(UTC)
    midnight = clock.midnight(settings.gateway.time_zone, now)
    with open_ledger(common) as ledger:
        rows = standings(ledger, settings, midnight)
    if common.json:
        print_json(asdict(row) | {"text": row.text} for row in rows)
        return
    columns = ("destination", "kind", "today", "owed", "failed", "state")
    print_list(columns, [(r.name, r.kind, r.today, r.owed, r.failed, r.text) for r in rows])


def try_destinations(common: Common, names: Names = None) -> None:
    """Try whether destinations answer, in words; exit code 1 when one does not. No film is sent."""
    settings = load(common.config, common.state)
    quiet_logs()
    for name in names or ():
        _must_be_known(settings, name)
    trials = [try_destination(name, settings) for name in names or settings.destinations]
    if common.json:
        print_json(map(asdict, trials))
    else:
        for trial in trials:
            _say(trial)
    if not all(trial.ok for trial in trials):
        raise typer.Exit(1)


def pause(common: Common, name: Name, signed: Signed) -> None:
    """Send nothing more to a destination; what is owed to it waits until `resume`."""
    _must_be_known(load(common.config, common.state), name)
    with open_ledger(common) as ledger:
        changed = ledger.pause(name, by=signed.person, note_text=signed.note, now=datetime.now(UTC))
    if common.json:
        print_json([{"destination": name, "paused": True, "changed": changed}])
    else:
        say(
            f"{clean(name)}: paused; what is owed to it waits"
            if changed
            else f"{clean(name)}: paused already"
        )


def resume(common: Common, name: Name, signed: Signed) -> None:
    """Send again what waits for a destination that was paused."""
    with open_ledger(common) as ledger:
        changed = ledger.resume(name, by=signed.person, note_text=signed.note, now=datetime.now(UTC))
    if common.json:
        print_json([{"destination": name, "paused": False, "changed": changed}])
    else:
        say(f"{clean(name)}: {'what waits is sent' if changed else 'it was not paused'}")


def _must_be_known(settings: Settings, name: str) -> None:
    if name not in settings.destinations:
        raise NotFound(
            f"there is no destination {name!r}. Nothing was changed. "
            f"The known ones are: {', '.join(sorted(settings.destinations)) or 'none'}."
        )


def _say(trial: Trial) -> None:
    word = "ok" if trial.ok else "not ok"
    say(f"{clean(trial.destination)}: {word}, {trial.elapsed_ms} ms")
    for text in filter(None, (trial.what, trial.meaning, trial.advice)):
        say_wrapped(f"  {clean(text)}", "  ")
