"""Who is owed what: the table of `pipelines.policy.owing`, row by row."""

from __future__ import annotations

import pytest

from pipelines.film import Act, Decision, Header, Operations, Reason
from pipelines.policy import Correct, Mode
from pipelines.policy.owing import Owing, Routes, owing

FILM = Header(sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1", modality="DX")
REPORT = Header(sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33", modality="SR")
ROUTES = Routes(ai=("ai",), film_readers=("ai", "chest14"), copies=("archive", "ai"))
AS_IT_IS, TURNED, RELABELLED = Operations(), Operations(turn=90), Operations(relabel=True)


def decided(act: Act, operations: Operations = AS_IT_IS, *reasons: Reason) -> Decision:
    takers = ("ai", "kids") if act in (Act.PASS, Act.CORRECT) else ()
    return Decision(act, reasons, operations=operations, destinations=takers)


@pytest.mark.parametrize(
    ("decision", "correct", "owed"),
    [
        (decided(Act.PASS), "propose", Owing(original_to=("ai", "kids"))),
        (decided(Act.WITHHOLD), "auto", Owing()),
        (decided(Act.QUARANTINE), "auto", Owing(hold=True)),
        (decided(Act.CORRECT, TURNED), "propose", Owing(hold=True)),
        (decided(Act.CORRECT, TURNED), "auto", Owing(copy_to=("ai", "kids", "archive"))),
        (decided(Act.CORRECT, RELABELLED), "propose", Owing(copy_to=("ai", "kids", "archive"))),
    ],
)
def test_enforcing_only_what_passes_goes_to_the_ai(decision: Decision, correct: Correct, owed: Owing) -> None:
    """A copy that no person need see goes at once; it goes to routes.copies as well, once to each."""
    assert owing(decision, FILM, "enforce", correct, ROUTES) == owed


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize("correct", ["propose", "auto"])
def test_observing_everything_goes_where_it_went_before(act: Act, correct: Correct) -> None:
    """Films to our classifiers too; what could not be read may be no film, and goes to the AI alone."""
    decision = decided(act, TURNED)
    assert owing(decision, FILM, "observe", correct, ROUTES) == Owing(original_to=("ai", "chest14"))
    for header in (REPORT, None):
        assert owing(decision, header, "observe", correct, ROUTES) == Owing(original_to=("ai",))


@pytest.mark.parametrize(("mode", "hold"), [("observe", False), ("enforce", True)])
def test_another_picture_under_a_known_uid_goes_to_nobody(mode: Mode, hold: bool) -> None:
    decision = decided(Act.QUARANTINE, AS_IT_IS, Reason.OTHER_PIXELS)
    assert owing(decision, FILM, mode, "auto", ROUTES) == Owing(hold=hold)
