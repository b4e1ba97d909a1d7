"""`filmgate quarantine`: the films that wait for a person."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import options
from gateway.cli.output import clean, complain, print_json, print_table, say, when
from gateway.errors import FilmgateError, NotFound
from gateway.settings import load
from pipelines.film import REASON_TEXT, Answer, Operations, Reason, Ruling
from pipelines.words.special_words import SPELLINGS, word_named

if TYPE_CHECKING:
    from gateway.ledger.records import Hold, Question

TABLE_ROWS = 50

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


def _hold_name(text: str) -> str:
    if not re.fullmatch(r"h?[0-9]{1,18}", text):
        raise typer.BadParameter("a hold of the list, such as h7")
    return text


Limit = Annotated[int | None, typer.Option(min=1, help="So many; a table shows 50 unless told.")]
After = Annotated[
    str, typer.Option(callback=_hold_name, help="The holds that come after this one (h7) in the list.")
]
All = Annotated[bool, typer.Option("--all", help="Those that were decided on, too.")]
Sender = Annotated[
    str, typer.Argument(help="The calling AE title of `quarantine list`; '' where nobody knows.")
]
Word = Annotated[str, typer.Argument(help="The word in the header, as `quarantine list` names it.")]
Answered = Annotated[
    Answer, typer.Argument(help="always: films like any other; never: such pictures are not for AI.")
]
Ended = Annotated[bool, typer.Option("--all", help="Those that were taken back or replaced, too.")]


@app.command("list")
def list_holds(
    everything: All = False,
    limit: Limit = None,
    after: After = "h0",
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """List the held films, oldest first."""
    from gateway.ledger.records import HoldState

    which, last = None if everything else HoldState.OPEN, int(after.removeprefix("h"))
    with options.open_ledger(config, state) as ledger:
        if json:
            print_json(map(item, ledger.each_hold(which, after=last, limit=limit)))
            return
        holds = ledger.holds(which, after=last, limit=limit or TABLE_ROWS)
        more = ledger.count_holds(which, after=holds[-1].id) if holds else 0
        questions = ledger.questions()
    columns = ("film", "hold", "held since", "state", "reasons", "corrected copy", "SOP Instance UID")
    print_table(columns, map(_row, holds))
    if more:
        say(f"{more} more; --after h{holds[-1].id} shows the next, --limit more at once")
    for question in questions:
        say(_asked(question))


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
    for word in hold.words:
        say(f"{_rule(hold.sender, word)}   settles all films of this sender with this word")
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


@app.command()
def rule(
    sender: Sender,
    word: Word,
    answer: Answered,
    by: options.By = "",
    note: options.Note = "",
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Say once for all what a word in headers of one sender means: for films that wait, and all to come."""
    who, known = options.person(by), _known(word)
    with options.open_ledger(config, state) as ledger:
        films = ledger.rule(sender.strip(), known, answer, by=who, note_text=note, now=datetime.now(UTC))
        waiting = [question.sender for question in ledger.questions() if question.word == known]
    if json:
        print_json([{"sender": sender.strip(), "word": known, "answer": answer, "examined_again": films}])
        return
    say(f"{known} from {clean(sender.strip()) or 'unknown senders'}: {answer}, said {who}")
    if films:
        count = f"{len(films)} film{'s' if len(films) > 1 else ''}"
        say(f"{count} waited for this and {'are' if len(films) > 1 else 'is'} examined again")
        return
    others = ", ".join(clean(other) or "unknown senders" for other in waiting if other != sender.strip())
    near = f"; films with this word wait from {others} (upper and lower case differ)" if others else ""
    say(f"no film waited for this; it holds for those to come{near}")


@app.command("take-back")
def take_back(
    sender: Sender,
    word: Word,
    by: options.By = "",
    note: options.Note = "",
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """End a ruling: films that come from now on wait for a person again."""
    who, known = options.person(by), _known(word)
    with options.open_ledger(config, state) as ledger:
        ledger.take_back(sender.strip(), known, by=who, note_text=note, now=datetime.now(UTC))
    if json:
        print_json([{"sender": sender.strip(), "word": known, "taken_back_by": who}])
        return
    say(
        f"{known} from {clean(sender.strip()) or 'unknown senders'}: taken back. Films that come now are held"
    )
    say("films decided on before stay as they are; `filmgate films gate-again` examines single ones anew")


@app.command("rulings")
def list_rulings(
    everything: Ended = False,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """List what people said once for all of words in headers, oldest first."""
    with options.open_ledger(config, state) as ledger:
        rulings = ledger.rulings(ended=everything)
    if json:
        print_json(map(asdict, rulings))
        return
    print_table(
        ("sender", "word", "answer", "said by", "at", "note", "ended by", "at"), map(_ruling, rulings)
    )


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


def _known(text: str) -> str:
    """The word of pipelines.words.special_words that is meant.

    Raises:
        NotFound: none is, or it may be several.
    """
    found = word_named(text)
    if len(found) != 1:
        raise NotFound(
            f"{text!r} is no word that films are held for. Nothing was changed. "
            f"Name one of: {', '.join(found or SPELLINGS)}."
        )
    return found[0]


def _asked(question: Question) -> str:
    """One line for all films that one answer settles."""
    sender, word, films = question.sender, question.word, len(question.films)
    count = f"{films} film{'' if films == 1 else 's'} since {when(question.since)}"
    what = f"sender {clean(sender) or 'unknown'}, word {word} ({count})"
    return f"waits for one answer: {what}: {_rule(sender, word)}"


def _rule(sender: str, word: str) -> str:
    return f"filmgate quarantine rule {clean(shlex.quote(sender))} {shlex.quote(word)} always|never"


def _ruling(one: Ruling) -> tuple[object, ...]:
    said = (one.sender or "unknown", one.word, one.answer, one.by, when(one.at), one.note)
    return (*said, one.ended_by or "", when(one.ended_at))


def _row(hold: Hold) -> tuple[object, ...]:
    shown = (hold.film_id, f"h{hold.id}", when(hold.opened_at), hold.state, ", ".join(hold.reasons))
    return (*shown, "ready" if hold.proposal else "", hold.sop_instance_uid)


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
