"""`filmgate quarantine rule`, `rulings` and `take-back`: what a word in headers means."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.cli.options import Common, Signed
from gateway.cli.output import clean, counted, print_json, print_list, say, when
from gateway.cli.review.ledgers import open_ledger
from gateway.errors import NotFound
from pipelines.film import Answer, Ruling
from pipelines.words.special_words import SPELLINGS, word_named

Sender = Annotated[
    str, typer.Argument(help="The calling AE title in `quarantine list`; '' where it is unknown.")
]
Word = Annotated[str, typer.Argument(help="The word in the header, as `quarantine list` names it.")]
Answered = Annotated[
    Answer, typer.Argument(help="always: films like any other; never: such pictures are not for AI.")
]
Ended = Annotated[bool, typer.Option("--all", help="Include rulings that were taken back or replaced.")]


def rule(common: Common, sender: Sender, word: Word, answer: Answered, signed: Signed) -> None:
    """Say once and for all what a word in one sender's headers means, for waiting films and new ones."""
    sender, who, known = sender.strip(), signed.person, _known(word)
    with open_ledger(common) as ledger:
        films = ledger.rule(sender, known, answer, by=who, note_text=signed.note, now=datetime.now(UTC))
        waiting = [question.sender for question in ledger.questions() if question.word == known]
    if common.json:
        print_json([{"sender": sender, "word": known, "answer": answer, "examined_again": films}])
        return
    say(f"{known} from {_name(sender)}: {answer}, says {who}")
    if films:
        verbs = ("was", "is") if len(films) == 1 else ("were", "are")
        say(f"{counted(len(films), 'film')} {verbs[0]} waiting for this and {verbs[1]} examined again")
        return
    say("no film was waiting for this; it holds for those to come")
    if others := ", ".join(_name(other) for other in waiting if other != sender):
        say(f"films with this word are waiting from {others} (upper and lower case differ)")


def take_back(common: Common, sender: Sender, word: Word, signed: Signed) -> None:
    """End a ruling: films that come from now on wait for a person again."""
    sender, who, known = sender.strip(), signed.person, _known(word)
    with open_ledger(common) as ledger:
        ledger.take_back(sender, known, by=who, note_text=signed.note, now=datetime.now(UTC))
    if common.json:
        print_json([{"sender": sender, "word": known, "taken_back_by": who}])
        return
    say(f"{known} from {_name(sender)}: taken back; films that come from now on are held again")
    say("earlier decisions stand; `filmgate films gate-again` examines single films once more")


def list_rulings(common: Common, everything: Ended = False) -> None:
    """List what people said once and for all about words in headers, oldest first."""
    with open_ledger(common) as ledger:
        rulings = ledger.rulings(ended=everything)
    if common.json:
        print_json(map(asdict, rulings))
        return
    columns = ("sender", "word", "answer", "said by", "at", "note", "ended")
    print_list(columns, map(_row, rulings), below=2)


def _row(ruling: Ruling) -> tuple[object, ...]:
    ended = f"ended by {ruling.ended_by} at {when(ruling.ended_at)}" if ruling.ended_by else ""
    said = (ruling.sender or "unknown", ruling.word, ruling.answer, ruling.by, when(ruling.at))
    return (*said, ruling.note, ended)


def _name(sender: str) -> str:
    return clean(sender) or "unknown senders"


def _known(text: str) -> str:
    """The word of pipelines.words.special_words that is meant.

    Raises:
        NotFound: none is, or it may be several.
    """
    names = word_named(text)
    if len(names) != 1:
        raise NotFound(
            f"{text!r} is not a word that films are held for. Nothing was changed. "
            f"Name one of: {', '.join(names or SPELLINGS)}."
        )
    return names[0]
