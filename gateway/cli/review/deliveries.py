"""`filmgate deliveries`: what has not arrived, why, and how it is sent again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from gateway.cli.options import Common, Signed, one_of
from gateway.cli.output import clean, counted, print_json, print_list, say, when
from gateway.cli.review.ledgers import open_ledger
from gateway.errors import NotFound, Trouble
from gateway.ledger import Ledger
from gateway.ledger.records import DeliveryState, Undelivered, Undone
from gateway.settings import load

LISTED = 50  # unless --limit says how many
_UNSAID = {"pending": "not tried yet", "retry": "see its error", "failed": "see its error"}


def _trouble(text: str | None) -> str | None:
    return one_of(text, tuple(Trouble))


Reason = Annotated[
    str | None,
    typer.Option(
        "--reason",
        callback=_trouble,
        help="Only those with this reason of `deliveries summary`, such as declined.",
    ),
]


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Which deliveries are meant."""

    destination: Annotated[str | None, typer.Option(help="Only those to this destination.")] = None
    reason: Reason = None


Failed = Annotated[bool, typer.Option("--failed", help="Only those that are not tried again by themselves.")]
To = Annotated[str, typer.Option("--destination", help="The destination that is to get them.")]
Limit = Annotated[
    int | None,
    typer.Option(min=1, help=f"Show at most this many, oldest first; by default {LISTED}, with --json all."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many there are; change nothing.")]


def summary(common: Common, narrowed: Narrowed) -> None:
    """Count what has not arrived, by destination, state and reason."""
    with open_ledger(common) as ledger:
        _must_be_known(ledger, narrowed.destination, common)
        groups = ledger.undone(narrowed.destination, narrowed.reason)
    if common.json:
        print_json(map(group_item, groups))
    else:
        _say_groups(groups)


def list_deliveries(common: Common, narrowed: Narrowed, failed: Failed = False, limit: Limit = None) -> None:
    """List the objects that failed, or failed and are tried again, oldest first."""
    states = [DeliveryState.FAILED] if failed else [DeliveryState.FAILED, DeliveryState.RETRY]
    with open_ledger(common) as ledger:
        _must_be_known(ledger, narrowed.destination, common)
        most = limit if common.json or limit else LISTED
        rows = ledger.undelivered(states, narrowed.destination, narrowed.reason, most)
        groups = ledger.undone(narrowed.destination, narrowed.reason)
    if common.json:
        print_json(map(item, rows))
        return
    columns = ("film", "object", "destination", "state", "reason", "since", "tries", "error")
    print_list(columns, map(_row, rows), below=1)
    total = sum(group.count for group in groups if group.state in states)
    if total > len(rows):
        say(f"These are the oldest {len(rows)} of {total}; --limit shows more.")


def retry(
    common: Common, destination: To, signed: Signed, reason: Reason = None, dry_run: DryRun = False
) -> None:
    """Queue all failed deliveries to a destination once more, or those of one reason."""
    with open_ledger(common) as ledger:
        _must_be_known(ledger, destination, common)
        count = _failed(ledger, destination, reason)
        if not dry_run:
            count = ledger.send_all_again(
                destination, reason, by=signed.person, note_text=signed.note, now=datetime.now(UTC)
            )
    if common.json:
        print_json([{"destination": destination, "reason": reason, "count": count, "queued": not dry_run}])
        return
    objects = counted(count, "object")
    say(f"{objects} would be queued; nothing was changed" if dry_run else f"{objects} queued")


def _must_be_known(ledger: Ledger, name: str | None, common: Common) -> None:
    """
    Raises:
        NotFound: neither the settings nor anything that is owed know a destination of this name.
    """
    if name is None:
        return
    known = {
        *load(common.config, common.state).destinations,
        *(group.destination for group in ledger.undone()),
    }
    if name not in known:
        raise NotFound(
            f"there is no destination {name!r}. Nothing was changed. "
            f"The known ones are: {', '.join(sorted(known)) or 'none'}."
        )


def _failed(ledger: Ledger, destination: str, reason: str | None) -> int:
    """
    Raises:
        NotFound: nothing failed there, for this reason.
    """
    groups = ledger.undone(destination)
    failed = {group.trouble: group.count for group in groups if group.state == DeliveryState.FAILED}
    count = failed.get(reason, 0) if reason else sum(failed.values())
    if not count:
        waiting = sum(group.count for group in groups if group.state != DeliveryState.FAILED)
        why = f" as {reason}" if reason else ""
        raise NotFound(
            f"nothing failed at {destination!r}{why}; {waiting} objects wait for it and are tried again "
            "automatically. Nothing was changed. See `filmgate deliveries summary`."
        )
    return count


def item(one: Undelivered) -> dict[str, Any]:
    """What a program is given of an object that has not arrived."""
    values = asdict(one)
    renamed = {"delivery": values.pop("id"), "object": values.pop("what"), "reason": values.pop("trouble")}
    return renamed | values


def group_item(group: Undone) -> dict[str, Any]:
    """What a program is given of all that one reason keeps from one destination."""
    values = asdict(group)
    return {"destination": values.pop("destination"), "reason": values.pop("trouble")} | values


def _say_groups(groups: list[Undone]) -> None:
    columns = ("destination", "state", "reason", "objects", "oldest since", "most tries")
    rows = (
        (g.destination, g.state, g.trouble or _UNSAID[g.state], g.count, when(g.since), g.most_tries or "")
        for g in groups
    )
    print_list(columns, rows)
    for name in dict.fromkeys(group.destination for group in groups if group.state == "failed"):
        say(f"filmgate deliveries retry --destination {clean(name)}   queues what failed there once more")


def _row(one: Undelivered) -> tuple[object, ...]:
    since, tries = when(one.since), one.tries or ""
    return one.film_id, one.what, one.destination, one.state, one.trouble or "", since, tries, one.error or ""
