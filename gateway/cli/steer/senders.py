"""`filmgate senders`: who sends, who was refused and why, who may send, and whose films are only observed."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from gateway.cli.options import Common, Signed, one_of
from gateway.cli.output import clean, counted, print_json, print_list, say, when
from gateway.cli.review.ledgers import open_ledger
from gateway.ledger.steering.records import MODES, Mode, Refused, SenderRow
from gateway.process import clock
from gateway.settings import load

DAYS = 30  # of refusals, unless told otherwise
USUAL = "usual"

Title = Annotated[str, typer.Argument(help="The calling AE title; upper and lower case count.")]
Address = Annotated[str, typer.Option("--from", help="Its address, or a range: 10.1.2.3 or 10.1.0.0/16.")]
AnyAddress = Annotated[
    str | None, typer.Option("--from", help="Only what was allowed from this address or range.")
]
ModeWord = Annotated[
    str,
    typer.Argument(
        callback=lambda word: one_of(word, (*MODES, USUAL)),
        help=f"observe: all its films go to AI; enforce; {USUAL}: as policy.mode says for all.",
    ),
]


def list_senders(common: Common) -> None:
    """List who sent the last films, with what was found in them, and how long they are silent."""
    settings = load(common.config, common.state)
    midnight = clock.midnight(settings.gateway.time_zone, datetime.now(UTC))
    with open_ledger(common) as ledger:
        rows = ledger.senders(midnight)
        steered = ledger.steered()
    usual = settings.policy.mode
    if common.json:
        print_json(
            asdict(row)
            | {"mode": steered.modes.get(row.ae_title, usual), "own_mode": row.ae_title in steered.modes}
            for row in rows
        )
        return
    columns = ("sender", "today", "last film", "held", "turned", "inverted", "mode", "from")
    print_list(columns, [_row(row, steered.modes.get(row.ae_title, usual)) for row in rows])


def list_refused(common: Common) -> None:
    """List who was refused in the last 30 days, and why."""
    with open_ledger(common) as ledger:
        rows = ledger.refused(datetime.now(UTC) - timedelta(days=DAYS))
    if common.json:
        print_json(map(asdict, rows))
        return
    columns = ("calling", "called", "from", "times", "last", "why")
    print_list(columns, map(_refused_row, rows))
    if rows:
        say("filmgate senders allow TITLE --from ADDRESS   lets one in, without a restart")


def list_allowed(common: Common) -> None:
    """List who may send: by the settings, and whom people allowed since."""
    settings = load(common.config, common.state)
    with open_ledger(common) as ledger:
        allowed = ledger.allowed()
    items: list[dict[str, Any]] = [
        {
            "ae_title": peer.ae_title,
            "from": peer.from_,
            "said_by": "the settings",
            "said_at": None,
            "note": "",
        }
        for peer in settings.gateway.allow
    ]
    for one in allowed:
        values = asdict(one)
        items.append(
            {"ae_title": one.ae_title, "from": one.network}
            | {k: values[k] for k in ("said_by", "said_at", "note")}
        )
    if common.json:
        print_json(items)
        return
    rows = ((i["ae_title"], i["from"], i["said_by"], when(i["said_at"]), i["note"]) for i in items)
    print_list(("sender", "from", "allowed by", "at", "note"), rows)


def allow(common: Common, title: Title, address: Address, signed: Signed) -> None:
    """Let an AE title send from an address, from its next association on."""
    with open_ledger(common) as ledger:
        ledger.allow(title, address, by=signed.person, note_text=signed.note, now=datetime.now(UTC))
    if common.json:
        print_json([{"ae_title": title, "from": address, "allowed": True}])
    else:
        say(f"{clean(title)} may send from {clean(address)}; no restart is needed")


def disallow(common: Common, title: Title, signed: Signed, address: AnyAddress = None) -> None:
    """Take back what people allowed an AE title; what the settings allow stays."""
    with open_ledger(common) as ledger:
        count = ledger.disallow(
            title, address, by=signed.person, note_text=signed.note, now=datetime.now(UTC)
        )
    if common.json:
        print_json([{"ae_title": title, "from": address, "allowed": False, "taken_back": count}])
    else:
        say(f"{counted(count, 'permission')} of {clean(title)} taken back; its next association is refused")


def mode(common: Common, title: Title, how: ModeWord, signed: Signed) -> None:
    """Observe or enforce the rules on one sender's films, from the next one on."""
    chosen: Mode | None = None if how == USUAL else ("observe" if how == "observe" else "enforce")
    with open_ledger(common) as ledger:
        ledger.set_mode(title, chosen, by=signed.person, note_text=signed.note, now=datetime.now(UTC))
    if common.json:
        print_json([{"ae_title": title, "mode": chosen}])
    else:
        say(f"{clean(title)}: {how}, from its next film on")


def _row(row: SenderRow, how: str) -> tuple[object, ...]:
    shares = (f"{share:.1%}" if row.decided else "" for share in (row.held, row.turned, row.inverted))
    return (row.ae_title, row.today, when(row.last_at), *shares, how, ", ".join(row.addresses))


def _refused_row(one: Refused) -> tuple[object, ...]:
    return one.calling, one.called, one.address, one.times, when(one.last_at), one.reason
