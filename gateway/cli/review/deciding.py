"""`filmgate quarantine release`, `correct`, `reject`, `note`, `undo`: what a person does with films."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from gateway.cli.options import Common, Signed
from gateway.cli.output import complain, print_json, say
from gateway.cli.shell import open_shell
from gateway.errors import FilmgateError
from gateway.ledger.acting.records import Acted, Meant
from gateway.ledger.acting.table import DoneBy
from gateway.quarantine import Quarantine
from gateway.settings import load
from pipelines.film import REJECT_REASONS, Operations

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


def _reason(code: str | None) -> str | None:
    if code is not None and code not in REJECT_REASONS:
        known = ", ".join(f"{code} {meaning}" for code, meaning in REJECT_REASONS.items())
        raise typer.BadParameter(f"must be one of {known}")
    return code


Reason = Annotated[
    str | None,
    typer.Option(
        callback=_reason,
        help="Why, as a code of the Standard (PS3.16 CID 7011, or 113037); the rejection note carries it.",
    ),
]
AtOnce = Annotated[
    bool, typer.Option("--at-once", help="Do not wait quarantine.release_delay_s: it cannot be undone then.")
]
Acts = Annotated[list[int], typer.Argument(min=1, help="Numbers of acts, as they were printed.")]
NotedFilms = Annotated[list[str], typer.Argument(help="SOP Instance UIDs or film ids of `films list`.")]
Turn = Annotated[int, typer.Option(callback=_turn, help="Turn the film clockwise: 90, 180 or 270 degrees.")]
Invert = Annotated[bool, typer.Option("--invert", help="Exchange black and white.")]


Flip = Annotated[bool, typer.Option("--flip", help="Exchange left and right, after the turn.")]


def release(common: Common, films: Films, signed: Signed, to: To = None, at_once: AtOnce = False) -> None:
    """Send held films to the AI as they are."""

    def one(quarantine: Quarantine, film: str) -> Acted:
        return quarantine.one(
            DoneBy.RELEASE, film, **_signed(signed), to=tuple(to or ()), delayed=not at_once
        )

    _each(common, films, "released", one)


def correct(
    common: Common,
    films: Films,
    signed: Signed,
    turn: Turn = 0,
    invert: Invert = False,
    flip: Flip = False,
    to: To = None,
    at_once: AtOnce = False,
) -> None:
    """Send corrected copies: the proposal that lies ready, or one made as you say here."""
    operations = Operations(turn=turn, invert=invert, flip=flip) or None
    act = DoneBy.CORRECT if operations else DoneBy.ACCEPT
    how: dict[str, Any] = {"operations": operations, "to": tuple(to or ()), "delayed": not at_once}

    def one(quarantine: Quarantine, film: str) -> Acted:
        return quarantine.one(act, film, **_signed(signed), **how)

    _each(common, films, "corrected", one)


def reject(
    common: Common, films: Films, signed: Signed, reason: Reason = None, at_once: AtOnce = False
) -> None:
    """Close the hold: no AI gets these films. The originals stay, here and in the archive."""

    def one(quarantine: Quarantine, film: str) -> Acted:
        return quarantine.one(
            DoneBy.REJECT, film, **_signed(signed), reason=reason or "", delayed=not at_once
        )

    _each(common, films, "rejected", one)


def note(common: Common, films: NotedFilms, signed: Signed) -> None:
    """Keep a note with films; it is seen wherever they are shown."""
    with open_shell(load(common.config, common.state)) as shell:
        ids = [Meant(shell.ledger.film_id(film)) for film in films]
        _tell(common, "noted", shell.quarantine().act(DoneBy.NOTE, ids, **_signed(signed)))


def undo(common: Common, acts: Acts, signed: Signed) -> None:
    """Take back what people did, by the numbers of their acts: what has not left yet never leaves."""
    with open_shell(load(common.config, common.state)) as shell:
        undone = shell.quarantine().undo(acts, **_signed(signed), anybodys=True)
        _tell(common, "as it was before", undone)


def _tell(common: Common, what: str, answers: list[Acted]) -> None:
    """Say what became of each film; exit code 1 when something was refused."""
    for acted in answers:
        if not acted.ok:
            complain(FilmgateError(acted.error))
        elif not common.json:
            say(f"film {acted.film} {what}")
    if common.json:
        print_json([item(acted, what) for acted in answers if acted.ok])
    if not all(acted.ok for acted in answers):
        raise typer.Exit(1)


def item(acted: Acted, what: str) -> dict[str, Any]:
    """What a program is given of one act."""
    return {
        "film_id": acted.film,
        "done": what,
        "act": acted.act_id,
        "state": acted.state,
        "leaves_at": acted.until,
    }


def _signed(signed: Signed) -> dict[str, Any]:
    return {"by": signed.person, "note": signed.note}


def _each(common: Common, films: list[str], what: str, decide: Callable[[Quarantine, str], Acted]) -> None:
    """Decide on one film after the other; one that cannot be decided on does not stop the rest."""
    items: list[dict[str, Any]] = []
    with open_shell(load(common.config, common.state)) as shell:
        quarantine = shell.quarantine()
        for film in films:
            try:
                acted = decide(quarantine, film)
            except FilmgateError as error:
                complain(error)
                continue
            uid = shell.ledger.film(acted.film).sop_instance_uid
            items.append({"sop_instance_uid": uid} | item(acted, what))
            if not common.json:
                say(f"film {acted.film} {what}{_leaving(acted)}")
    if common.json:
        print_json(items)
    if len(items) < len(films):
        raise typer.Exit(1)


def _leaving(acted: Acted) -> str:
    """When it goes out, and how that is stopped."""
    if acted.until is None:
        return ""
    until = acted.until.astimezone().strftime("%H:%M:%S")
    return f"; it leaves at {until}. Until then: filmgate quarantine undo {acted.act_id}"
