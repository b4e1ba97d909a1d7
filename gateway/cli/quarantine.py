"""`filmgate quarantine`: the films that wait for a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import options
from gateway.cli.output import clean, complain, print_json, print_table, say, when
from gateway.errors import FilmgateError
from gateway.settings import load
from pipelines.film import REASON_TEXT, Operations, Reason

if TYPE_CHECKING:
    from gateway.ledger.records import Hold

app = typer.Typer(no_args_is_help=True, help="The films that wait for a person.")

Films = Annotated[
    list[str], typer.Argument(help="SOP Instance UIDs, film ids or hold names (h7) of `quarantine list`.")
]
Held = Annotated[
    str, typer.Argument(help="SOP Instance UID, film id or hold name (h7) of `quarantine list`.")
]
To = Annotated[
    list[str] | None, typer.Option("--to", help="Destinations; else those that accept such films.")
]


def _turn(degrees: int) -> int:
    if degrees not in (0, 90, 180, 270):
        raise typer.BadParameter("0, 90, 180 or 270")
    return degrees


Turn = Annotated[int, typer.Option(callback=_turn, help="Turn the film clockwise: 90, 180 or 270 degrees.")]
Invert = Annotated[bool, typer.Option("--invert", help="Exchange black and white.")]
All = Annotated[bool, typer.Option("--all", help="Those that were decided on, too.")]


@app.command("list")
def list_holds(
    everything: All = False,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """List the held films, oldest first."""
    from gateway.ledger.records import HoldState

    with options.open_ledger(config, state) as ledger:
        holds = ledger.holds(None if everything else HoldState.OPEN)
    if json:
        print_json(map(item, holds))
        return
    print_table(
        ("film", "hold", "held since", "state", "reasons", "corrected copy", "SOP Instance UID"),
        (
            (
                h.film_id,
                f"h{h.id}",
                when(h.opened_at),
                h.state,
                ", ".join(h.reasons),
                _copy(h),
                h.sop_instance_uid,
            )
            for h in holds
        ),
    )


@app.command()
def show(
    film: Held,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Show why a film is held, and what can be done."""
    with options.open_ledger(config, state) as ledger:
        hold = ledger.open_hold(film)
    if json:
        print_json([item(hold)])
        return
    say(f"film {hold.film_id}  {clean(hold.sop_instance_uid)}  held since {when(hold.opened_at)}")
    say(f"why: {hold.why}")
    for code in hold.reasons:
        say(f"  {code}: {REASON_TEXT[Reason(code)]}")
    say(f"filmgate quarantine release h{hold.id}   sends it to the AI as it is")
    if hold.proposal:
        say(f"filmgate quarantine correct h{hold.id}   sends the corrected copy that lies ready")
    else:
        say(f"filmgate quarantine correct h{hold.id} --turn 90   sends a copy turned so (or --invert)")
    say(f"filmgate quarantine reject h{hold.id}    no AI gets it; the archive has it")


@app.command()
def release(
    films: Films,
    to: To = None,
    by: options.By = "",
    note: options.Note = "",
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Send held films to the AI as they are."""
    who, receivers = options.person(by), tuple(to or ())
    with options.open_shell(load(config, state)) as shell:
        quarantine = shell.quarantine()
        _each(films, "released", json, lambda film: quarantine.release(film, by=who, note=note, to=receivers))


@app.command()
def correct(
    films: Films,
    turn: Turn = 0,
    invert: Invert = False,
    to: To = None,
    by: options.By = "",
    note: options.Note = "",
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Send corrected copies: the proposal that lies ready, or one made as told."""
    asked = Operations(turn=turn, invert=invert) or None
    who, receivers = options.person(by), tuple(to or ())
    with options.open_shell(load(config, state)) as shell:
        quarantine = shell.quarantine()

        def one(film: str) -> Hold:
            return quarantine.correct(film, by=who, note=note, operations=asked, to=receivers)

        _each(films, "corrected", json, one)


@app.command()
def reject(
    films: Films,
    by: options.By = "",
    note: options.Note = "",
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Close the hold: no AI gets these films. The originals stay, here and in the archive."""
    who = options.person(by)
    with options.open_shell(load(config, state)) as shell:
        quarantine = shell.quarantine()
        _each(films, "rejected", json, lambda film: quarantine.reject(film, by=who, note=note))


def item(hold: Hold) -> dict[str, Any]:
    """What a program is given of a hold."""
    return {
        "film_id": hold.film_id,
        "hold": f"h{hold.id}",
        "sop_instance_uid": hold.sop_instance_uid,
        "takers": hold.takers,
        "reasons": hold.reasons,
        "why": hold.why,
        "state": hold.state,
        "opened_at": hold.opened_at,
        "closed_at": hold.closed_at,
        "closed_by": hold.closed_by,
        "note": hold.note,
        "copy_ready": hold.proposal is not None,
    }


def _copy(hold: Hold) -> str:
    return "ready" if hold.proposal else ""


def _each(films: list[str], what: str, json: bool, decide: Callable[[str], Hold]) -> None:
    """Decide on one film after the other; one that cannot be decided on does not stop the rest."""
    done: list[dict[str, Any]] = []
    failed = False
    for film in films:
        try:
            hold = decide(film)
        except FilmgateError as error:
            failed = True
            complain(error)
            continue
        done.append({"film_id": hold.film_id, "sop_instance_uid": hold.sop_instance_uid, "done": what})
        if not json:
            say(f"film {hold.film_id} {what}")
    if json:
        print_json(done)
    if failed:
        raise typer.Exit(1)
