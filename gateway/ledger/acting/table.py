"""State × act: the one table of what people can do with a film. Core, page and documents draw from it."""

from __future__ import annotations

from enum import StrEnum


class FilmState(StrEnum):
    """A film as people see it; the text is what they are shown."""

    UNDECIDED = "undecided"  # received; not examined yet, or being examined
    OBSERVED = "observed"  # judged while observing: everything went to AI as before
    PASSED = "passed"
    CORRECTED = "corrected"  # by the policy
    WITHHELD = "withheld"  # by the policy: not for AI, and nobody need look
    HELD = "held"
    PROPOSED = "held, with a correction ready"
    FAILED = "failed"  # could not be examined; held with its error
    GOING_OUT = "going out"  # released or corrected by a person, and nobody was sent it yet
    RELEASED = "released"  # by a person
    CORRECTED_BY_PERSON = "corrected by a person"
    REJECTED = "rejected"  # by a person
    REJECTED_ELSEWHERE = "rejected elsewhere"  # by a Key Object of a room or an archive
    OURS = "ours"  # an object that filmgate made and somebody sent back


class DoneBy(StrEnum):
    """An act of a person."""

    RELEASE = "release"
    ACCEPT = "accept"
    CORRECT = "correct"
    REJECT = "reject"
    RELABEL = "relabel"
    RESEND = "resend"
    GATE_AGAIN = "gate-again"
    NOTE = "note"
    UNDO = "undo"


_S, _A = FilmState, DoneBy

# (state, act). Whatever is not here is refused; a new act or state is a line.
TABLE: frozenset[tuple[FilmState, DoneBy]] = frozenset(
    {
        (_S.UNDECIDED, _A.NOTE),
        (_S.OBSERVED, _A.RELABEL),
        (_S.OBSERVED, _A.RESEND),
        (_S.OBSERVED, _A.GATE_AGAIN),
        (_S.OBSERVED, _A.NOTE),
        (_S.PASSED, _A.RELABEL),
        (_S.PASSED, _A.RESEND),
        (_S.PASSED, _A.GATE_AGAIN),
        (_S.PASSED, _A.NOTE),
        (_S.CORRECTED, _A.RELABEL),
        (_S.CORRECTED, _A.RESEND),
        (_S.CORRECTED, _A.GATE_AGAIN),
        (_S.CORRECTED, _A.NOTE),
        (_S.WITHHELD, _A.RELABEL),
        (_S.WITHHELD, _A.RESEND),
        (_S.WITHHELD, _A.GATE_AGAIN),
        (_S.WITHHELD, _A.NOTE),
        (_S.HELD, _A.RELEASE),
        (_S.HELD, _A.CORRECT),
        (_S.HELD, _A.REJECT),
        (_S.HELD, _A.RELABEL),
        (_S.HELD, _A.RESEND),
        (_S.HELD, _A.GATE_AGAIN),
        (_S.HELD, _A.NOTE),
        (_S.PROPOSED, _A.RELEASE),
        (_S.PROPOSED, _A.ACCEPT),
        (_S.PROPOSED, _A.CORRECT),
        (_S.PROPOSED, _A.REJECT),
        (_S.PROPOSED, _A.RELABEL),
        (_S.PROPOSED, _A.RESEND),
        (_S.PROPOSED, _A.GATE_AGAIN),
        (_S.PROPOSED, _A.NOTE),
        (_S.FAILED, _A.RELEASE),
        (_S.FAILED, _A.CORRECT),
        (_S.FAILED, _A.REJECT),
        (_S.FAILED, _A.RELABEL),
        (_S.FAILED, _A.RESEND),
        (_S.FAILED, _A.GATE_AGAIN),
        (_S.FAILED, _A.NOTE),
        (_S.GOING_OUT, _A.UNDO),
        (_S.GOING_OUT, _A.RELABEL),
        (_S.GOING_OUT, _A.NOTE),
        (_S.RELEASED, _A.REJECT),
        (_S.RELEASED, _A.RELABEL),
        (_S.RELEASED, _A.RESEND),
        (_S.RELEASED, _A.GATE_AGAIN),
        (_S.RELEASED, _A.NOTE),
        (_S.CORRECTED_BY_PERSON, _A.REJECT),
        (_S.CORRECTED_BY_PERSON, _A.RELABEL),
        (_S.CORRECTED_BY_PERSON, _A.RESEND),
        (_S.CORRECTED_BY_PERSON, _A.GATE_AGAIN),
        (_S.CORRECTED_BY_PERSON, _A.NOTE),
        (_S.REJECTED, _A.UNDO),
        (_S.REJECTED, _A.RELABEL),
        (_S.REJECTED, _A.RESEND),
        (_S.REJECTED, _A.NOTE),
        (_S.REJECTED_ELSEWHERE, _A.RELABEL),
        (_S.REJECTED_ELSEWHERE, _A.GATE_AGAIN),
        (_S.REJECTED_ELSEWHERE, _A.NOTE),
        (_S.OURS, _A.NOTE),
    }
)

HELD_STATES = frozenset({FilmState.HELD, FilmState.PROPOSED, FilmState.FAILED})
# An act that says what becomes of the film. The others (a label, a note) are undone whatever it is by now.
DECIDES = frozenset({DoneBy.RELEASE, DoneBy.ACCEPT, DoneBy.CORRECT, DoneBy.REJECT})
CAN_BE_UNDONE = DECIDES | {DoneBy.RELABEL, DoneBy.NOTE}


def may(state: FilmState, act: DoneBy) -> bool:
    """Whether the table has it."""
    return (state, act) in TABLE


def acts_of(state: FilmState) -> tuple[DoneBy, ...]:
    """What can be done with a film in this state, in the order of the acts."""
    return tuple(act for act in DoneBy if may(state, act))
