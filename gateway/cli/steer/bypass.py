"""`filmgate bypass`: for hours everything goes to AI, and the verdicts are only recorded."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from gateway.cli.options import By, Common, Signed, person
from gateway.cli.output import clean, print_json, say, when
from gateway.cli.review.ledgers import open_ledger
from gateway.ledger.steering.records import Bypass

Hours = Annotated[float, typer.Option("--hours", min=0.1, max=24, help="After so long it ends by itself.")]
Why = Annotated[
    str, typer.Option("--note", help="Why; it must be said, and every page of the console shows it.")
]


def switch_on(common: Common, note: Why, hours: Hours = 1.0, by: By = "") -> None:
    """Let every film go to AI as if the rules were only observed; a reason must be given."""
    now = datetime.now(UTC)
    with open_ledger(common) as ledger:
        ledger.begin_bypass(by=person(by), reason=note, until=now + timedelta(hours=hours), now=now)
        bypass = ledger.bypass(now)
    _show(common, bypass)


def switch_off(common: Common, signed: Signed) -> None:
    """End the bypass: the gates decide again what AI gets, from the next film on."""
    with open_ledger(common) as ledger:
        lasted = ledger.end_bypass(by=signed.person, note_text=signed.note, now=datetime.now(UTC))
    if common.json:
        print_json([{"bypassed": False, "ended": lasted}])
    else:
        say("the gates decide again, from the next film on" if lasted else "the gates were not bypassed")


def status(common: Common) -> None:
    """Say whether the gates are bypassed, by whom, why and until when."""
    with open_ledger(common) as ledger:
        bypass = ledger.bypass(datetime.now(UTC))
    _show(common, bypass)


def _show(common: Common, bypass: Bypass | None) -> None:
    if common.json:
        print_json([{"bypassed": bypass is not None} | (asdict(bypass) if bypass else {})])
    elif bypass is None:
        say("the gates decide what AI gets")
    else:
        say(f"the gates are bypassed until {when(bypass.until)}: every film goes to AI, and nothing is held")
        say(f"said {clean(bypass.said_by)} at {when(bypass.said_at)}: {clean(bypass.note)}")
