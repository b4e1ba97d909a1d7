"""`filmgate quarantine release`, `correct` and `reject`: what a person decides about held films."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from gateway.cli.options import Common, Signed
from gateway.cli.output import complain, print_json, say
from gateway.cli.shell import open_shell
from gateway.errors import FilmgateError
from gateway.ledger.records import Hold
from gateway.quarantine import Quarantine
from gateway.settings import load
from pipelines.film import Operations

Films = Annotated[
    list[str], typer.Argument(help="SOP Instance UIDs, film ids or hold names (h7) of `quarantine list`.")
]
To = Annotated[
    list[str] | None,
    typer.Option(
        "--to", help="Send to this destination, may be given again; else to those that accept such films."
    ),
]


def _turn(degrees: int) -> int:
    if degrees not in (0, 90, 180, 270):
        raise typer.BadParameter("must be 0, 90, 180 or 270")
    return degrees


Turn = Annotated[int, typer.Option(callback=_turn, help="Turn the film clockwise: 90, 180 or 270 degrees.")]
Invert = Annotated[bool, typer.Option("--invert", help="Exchange black and white.")]


def release(common: Common, films: Films, signed: Signed, to: To = None) -> None:
    """Send held films to the AI as they are."""

    def one(quarantine: Quarantine, film: str) -> Hold:
        return quarantine.release(film, by=signed.person, note=signed.note, to=tuple(to or ()))

    _each(common, films, "released", one)


def correct(
    common: Common,
    films: Films,
    signed: Signed,
    turn: Turn = 0,
    invert: Invert = False,
    to: To = None,
) -> None:
    """Send corrected copies: the proposal that lies ready, or one made as you say here."""
    operations = Operations(turn=turn, invert=invert) or None

    def one(quarantine: Quarantine, film: str) -> Hold:
        return quarantine.correct(
            film, by=signed.person, note=signed.note, operations=operations, to=tuple(to or ())
        )

    _each(common, films, "corrected", one)


def reject(common: Common, films: Films, signed: Signed) -> None:
    """Close the hold: no AI gets these films. The originals stay, here and in the archive."""

    def one(quarantine: Quarantine, film: str) -> Hold:
        return quarantine.reject(film, by=signed.person, note=signed.note)

    _each(common, films, "rejected", one)


def _each(common: Common, films: list[str], what: str, decide: Callable[[Quarantine, str], Hold]) -> None:
    """Decide on one film after the other; one that cannot be decided on does not stop the rest."""
    items: list[dict[str, Any]] = []
    with open_shell(load(common.config, common.state)) as shell:
        quarantine = shell.quarantine()
        for film in films:
            try:
                hold = decide(quarantine, film)
            except FilmgateError as error:
                complain(error)
                continue
            items.append({"film_id": hold.film_id, "sop_instance_uid": hold.sop_instance_uid, "done": what})
            if not common.json:
                say(f"film {hold.film_id} {what}")
    if common.json:
        print_json(items)
    if len(items) < len(films):
        raise typer.Exit(1)
