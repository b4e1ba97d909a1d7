"""`filmgate fsck`: is what the gateway keeps whole?"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.cli.options import Common
from gateway.cli.output import print_json, say
from gateway.cli.shell import open_shell
from gateway.cli.tables import print_table
from gateway.settings import load
from gateway.upkeep.fsck import check

Mend = Annotated[bool, typer.Option("--mend", help="Repair what can be repaired.")]
Deep = Annotated[bool, typer.Option("--deep", help="Also read every file and check its digest.")]


def fsck(common: Common, mend: Mend = False, deep: Deep = False) -> None:
    """Compare the store with the ledger, both ways; exit code 1 when something is left that is not right."""
    with open_shell(load(common.config, common.state)) as shell:
        results = list(
            check(
                shell.ledger,
                shell.store,
                mend=mend,
                deep=deep,
                always=shell.always,
                clock=lambda: datetime.now(UTC),
            )
        )
    if common.json:
        print_json(map(asdict, results))
    elif results:
        rows = ((one.digest[:16], one.trouble, one.mended) for one in results)
        print_table(("object", "trouble", "mended"), rows)
    else:
        say("store and ledger agree")
    if any(not one.mended or one.mended.startswith("not mended") for one in results):
        raise typer.Exit(1)
