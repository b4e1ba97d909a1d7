"""OWE: a decision, the mode and the routes -> who is owed the film or its copy, and whether it is held.

| mode | decision | the original to | the copy to | held |
|---|---|---|---|---|
| enforce | pass | who takes it | | |
| enforce | correct, sent at once | | who takes it, and routes.copies | |
| enforce | correct, proposed | | | yes |
| enforce | withhold | | | |
| enforce | quarantine | | | yes |
| observe | another picture under a known UID | | | |
| observe | any other | who gets everything | | |

Observing, an AI is owed every object when it arrives; to be owed it twice is to be owed it once.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.film import Act, Decision, Header, Reason
from pipelines.policy.correction import sent_at_once
from pipelines.policy.values import Correct, Mode
from pipelines.words.kinds import is_film


@dataclass(frozen=True, slots=True)
class Routes:
    """To whom films go, by the names of destinations.

    `ai` get every object while the policy only observes, `film_readers` every film: they are the same and the
    classifiers of our own. `copies` get corrected copies, beside those who take the film.
    """

    ai: tuple[str, ...] = ()
    film_readers: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Owing:
    """Who is owed what, and whether the film waits for a person."""

    original_to: tuple[str, ...] = ()
    copy_to: tuple[str, ...] = ()
    hold: bool = False


def owing(decision: Decision, header: Header | None, mode: Mode, correct: Correct, routes: Routes) -> Owing:
    """What follows from a decision; `header` is None where it could not be read."""
    if mode == "observe":
        if Reason.OTHER_PIXELS in decision.reasons:
            return Owing()
        return Owing(original_to=routes.film_readers if header and is_film(header) else routes.ai)
    match decision.act:
        case Act.PASS:
            return Owing(original_to=decision.destinations)
        case Act.CORRECT if sent_at_once(decision.operations, correct):
            return Owing(copy_to=tuple(dict.fromkeys(decision.destinations + routes.copies)))
        case Act.CORRECT | Act.QUARANTINE:
            return Owing(hold=True)
        case Act.WITHHOLD:
            return Owing()
