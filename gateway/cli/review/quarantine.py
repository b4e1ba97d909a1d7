"""`filmgate quarantine list` and `show`: the films that wait for a person."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from gateway.cli.options import Common
from gateway.cli.output import clean, counted, print_json, print_list, say, say_wrapped, when
from gateway.cli.review.ledgers import open_ledger
from gateway.ledger.records import Hold, HoldState, Question
from pipelines.film import REASON_TEXT, Reason

LISTED = 50  # unless --limit says how many

Held = Annotated[
    str, typer.Argument(help="SOP Instance UID, film id or hold name (h7) of `quarantine list`.")
]


def _hold_name(text: str) -> str:
    if not re.fullmatch(r"h?[0-9]{1,18}", text):
        raise typer.BadParameter("must be a hold of the list, such as h7")
    return text


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Which holds are listed."""

    everything: Annotated[
        bool, typer.Option("--all", help="Include holds that a person has already decided on.")
    ] = False
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"Show at most this many, oldest first; by default {LISTED}, with --json all."
        ),
    ] = None
    after: Annotated[
        str, typer.Option(callback=_hold_name, help="Go on after this hold (h7): the next newer ones.")
    ] = "h0"


def list_holds(common: Common, narrowed: Narrowed) -> None:
    """List the held films, oldest first."""
    which = None if narrowed.everything else HoldState.OPEN
    last = int(narrowed.after.removeprefix("h"))
    with open_ledger(common) as ledger:
        if common.json:
            print_json(map(item, ledger.each_hold(which, after=last, limit=narrowed.limit)))
            return
        holds = ledger.holds(which, after=last, limit=narrowed.limit or LISTED)
        more = ledger.count_holds(which, after=holds[-1].id) if holds else 0
        questions = ledger.questions()
    columns = ("film", "hold", "held since", "state", "reasons", "copy", "SOP Instance UID")
    print_list(columns, map(_row, holds), below=2)
    if more:
        say(f"{more} more. --after h{holds[-1].id} shows the next ones, --limit shows more at once.")
    for question in questions:
        say_wrapped(_question(question), "  ")


def show(common: Common, film: Held) -> None:
    """Show why a film is held, and what can be done."""
    with open_ledger(common) as ledger:
        hold = ledger.open_hold(film)
    if common.json:
        print_json([item(hold)])
        return
    say(f"film {hold.film_id}, held since {when(hold.opened_at)}")
    say(clean(hold.sop_instance_uid))
    say_wrapped(f"why: {clean(hold.why)}", "  ")
    for code in hold.reasons:
        say_wrapped(f"  {code}: {REASON_TEXT[Reason(code)]}", "    ")
    say("\nwhat you can do")
    for command, effect in _choices(hold):
        say(f"  filmgate quarantine {command}\n      {effect}")


def _choices(hold: Hold) -> list[tuple[str, str]]:
    """Commands of the group, and what each does."""
    name = f"h{hold.id}"
    rules = [
        (rule_command(hold.sender, word), "settles this and all films of this sender with this word")
        for word in hold.words
    ]
    release = (f"release {name}", "sends the film to the AI as it is")
    correct = (f"correct {name}", "sends the corrected copy that lies ready")
    if not hold.proposal:
        correct = (f"correct {name} --turn 90", "sends a copy turned by so much (or --invert)")
    return [*rules, release, correct, (f"reject {name}", "no AI gets the film; the archive keeps it")]


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
        "sender": hold.sender,
        "words": hold.words,
    }


def rule_command(sender: str, word: str) -> str:
    """The command of the group that settles a word of a sender."""
    return f"rule {clean(shlex.quote(sender))} {shlex.quote(word)} always|never"


def _question(question: Question) -> str:
    """One line for all films that one answer settles."""
    sender, word, films = question.sender, question.word, len(question.films)
    what = f"sender {clean(sender) or 'unknown'}, word {word}"
    waiting = f"{counted(films, 'film')} since {when(question.since)}"
    return f"One answer settles {waiting} ({what}): filmgate quarantine {rule_command(sender, word)}"


def _row(hold: Hold) -> tuple[object, ...]:
    shown = (hold.film_id, f"h{hold.id}", when(hold.opened_at), hold.state, ", ".join(hold.reasons))
    return (*shown, "corrected copy ready" if hold.proposal else "", hold.sop_instance_uid)
