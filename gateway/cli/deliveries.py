"""`filmgate deliveries`: what has not arrived, why, and how it is sent again."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import options
from gateway.cli.output import clean, print_json, print_table, say, when
from gateway.errors import NotFound, Trouble
from gateway.settings import load

if TYPE_CHECKING:
    from gateway.ledger import Ledger
    from gateway.ledger.records import Undelivered, Undone

app = typer.Typer(no_args_is_help=True, help="What has not arrived, why, and how it is sent again.")

TABLE_ROWS = 50
_UNSAID = {"pending": "not tried yet", "retry": "see its error", "failed": "see its error"}


def _trouble(text: str | None) -> str | None:
    if text is not None and text not in set(Trouble):
        raise typer.BadParameter(f"one of {', '.join(Trouble)}")
    return text


Failed = Annotated[bool, typer.Option("--failed", help="Those alone that are not tried again by themselves.")]
Destination = Annotated[str | None, typer.Option(help="To this destination alone.")]
To = Annotated[str, typer.Option("--destination", help="The destination that shall get them.")]
WithReason = Annotated[
    str | None,
    typer.Option("--reason", callback=_trouble, help="A word of `deliveries summary`, as `declined`."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="The oldest so many; a table shows 50 unless told.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many; change nothing.")]


@app.command("summary")
def summary(
    destination: Destination = None,
    reason: WithReason = None,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Count what has not arrived, by destination, state and reason."""
    with options.open_ledger(config, state) as ledger:
        _must_be_known(ledger, destination, config, state)
        groups = ledger.undone(destination, reason)
    if json:
        print_json(map(group_item, groups))
        return
    _print_groups(groups)


@app.command("list")
def list_deliveries(
    failed: Failed = False,
    destination: Destination = None,
    reason: WithReason = None,
    limit: Limit = None,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """List the objects that failed, or failed and are tried again, oldest first."""
    from gateway.ledger.records import DeliveryState

    states = [DeliveryState.FAILED] if failed else [DeliveryState.FAILED, DeliveryState.RETRY]
    with options.open_ledger(config, state) as ledger:
        _must_be_known(ledger, destination, config, state)
        most = limit if json or limit else TABLE_ROWS
        rows = ledger.undelivered(states, destination, reason, most)
        groups = [group for group in ledger.undone(destination, reason) if group.state in states]
    if json:
        print_json(map(item, rows))
        return
    columns = ("film", "object", "destination", "state", "reason", "since", "held against it", "error")
    print_table(columns, map(_row, rows))
    total = sum(group.count for group in groups)
    if total > len(rows):
        say(f"the oldest {len(rows)} of {total}; --limit shows more, `filmgate deliveries summary` counts")


@app.command()
def retry(
    destination: To,
    reason: WithReason = None,
    dry_run: DryRun = False,
    by: options.By = "",
    note: options.Note = "",
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Queue all failed deliveries to a destination once more, or those of one reason."""
    who = options.person(by)
    with options.open_ledger(config, state) as ledger:
        _must_be_known(ledger, destination, config, state)
        count = _failed(ledger, destination, reason)
        if not dry_run:
            now = datetime.now(UTC)
            count = ledger.send_all_again(destination, reason, by=who, note_text=note, now=now)
    if json:
        told = {"destination": destination, "reason": reason, "count": count, "queued": not dry_run}
        print_json([told])
        return
    objects = f"{count} object{'' if count == 1 else 's'}"
    say(f"{objects} would be queued; nothing was changed" if dry_run else f"{objects} queued")


def _must_be_known(ledger: Ledger, name: str | None, config: Path | None, state: Path | None) -> None:
    """
    Raises:
        NotFound: neither the settings nor anything that is owed know a destination of this name.
    """
    if name is None:
        return
    known = {*load(config, state).destinations, *(group.destination for group in ledger.undone())}
    if name not in known:
        raise NotFound(
            f"there is no destination {name!r}. Nothing was changed. "
            f"Known are: {', '.join(sorted(known)) or 'none'}."
        )


def _failed(ledger: Ledger, destination: str, reason: str | None) -> int:
    """
    Raises:
        NotFound: nothing failed there, for this reason.
    """
    from gateway.ledger.records import DeliveryState

    groups = ledger.undone(destination)
    failed = {group.trouble: group.count for group in groups if group.state == DeliveryState.FAILED}
    count = failed.get(reason, 0) if reason else sum(failed.values())
    if not count:
        waiting = sum(group.count for group in groups if group.state != DeliveryState.FAILED)
        why = f" as {reason}" if reason else ""
        raise NotFound(
            f"nothing failed at {destination!r}{why}; {waiting} objects wait for it and are tried by "
            "themselves. Nothing was changed. See `filmgate deliveries summary`."
        )
    return count


def item(one: Undelivered) -> dict[str, Any]:
    """What a program is given of an object that has not arrived."""
    told = asdict(one)
    return {"delivery": told.pop("id"), "object": told.pop("what"), "reason": told.pop("trouble")} | told


def group_item(group: Undone) -> dict[str, Any]:
    """What a program is given of all that one reason keeps from one destination."""
    told = asdict(group)
    return {"destination": told.pop("destination"), "reason": told.pop("trouble")} | told


def _print_groups(groups: list[Undone]) -> None:
    columns = ("destination", "state", "reason", "objects", "oldest since", "most held against one")
    rows = (
        (g.destination, g.state, g.trouble or _UNSAID[g.state], g.count, when(g.since), g.most_tries or "")
        for g in groups
    )
    print_table(columns, rows)
    for name in dict.fromkeys(group.destination for group in groups if group.state == "failed"):
        say(f"filmgate deliveries retry --destination {clean(name)}   queues what failed there once more")


def _row(one: Undelivered) -> tuple[object, ...]:
    return (
        one.film_id,
        one.what,
        one.destination,
        one.state,
        one.trouble,
        when(one.since),
        one.tries or "",
        one.error,
    )
