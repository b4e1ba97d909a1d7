"""Look, decide, correct, look again, with gates that see which way up a small picture stands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import pytest

from pipelines.examine import NotCorrected, Rules, examine, unreadable, with_other_pixels
from pipelines.film import Act, Film, Finding, Header, Operations, Reason, Verdict
from pipelines.lab.ask.chain import CLAIMS
from pipelines.policy import Acceptance, Mode, Policy

RULES = Rules(Policy.default(), date(2026, 11, 20), {"ai": Acceptance()})
UPRIGHT = np.array([[1.0, 1.0], [0.0, 0.0]], dtype=np.float32)  # bright above
TURNED = np.rot90(UPRIGHT, -1)
OTHERS = ("header", "exposure", "anatomy", "inversion", "mirror", "lungs")


def look(film: Film) -> tuple[Finding, ...]:
    """What all gates find: none has a fault to find but the one for rotation."""
    upright = bool(film.pixels[0].min() > film.pixels[1].max())
    verdict, reason = (Verdict.GOOD, None) if upright else (Verdict.BAD, Reason.ROTATED_90)
    good = (Finding(name, Verdict.GOOD) for name in OTHERS)
    return (*good, Finding("rotation", verdict, 0.9, reason=reason))


def turned_by(degrees: int | None) -> Callable[[Film, Operations], tuple[Film, int]]:
    """Turns a film so far, or as far as it is asked; what it keeps is how far."""

    def turn(film: Film, operations: Operations) -> tuple[Film, int]:
        by = operations.turn if degrees is None else degrees
        return Film(Header(ours=True), np.rot90(film.pixels, -by // 90)), by

    return turn


def test_a_good_film_passes_and_nobody_is_asked_to_correct_it() -> None:
    def never(*_: object) -> tuple[Film, int]:
        raise AssertionError

    examined = examine(Film(CLAIMS, UPRIGHT), look, RULES, correct=never)
    assert (examined.decision.act, examined.decision.destinations) == (Act.PASS, ("ai",))
    assert examined.corrected is None


def test_a_turned_film_is_looked_at_again_when_it_was_turned_back() -> None:
    """By the claims of its source: its own header says that we made it, and would be withheld."""
    examined = examine(Film(CLAIMS, TURNED), look, RULES, correct=turned_by(None))
    assert (examined.decision.act, examined.decision.reasons) == (Act.CORRECT, (Reason.ROTATED_90,))
    assert examined.corrected is not None
    assert examined.corrected.copy == 270
    assert {finding.verdict for finding in examined.corrected.findings} == {Verdict.GOOD}
    assert Verdict.BAD in {finding.verdict for finding in examined.findings}


def test_a_copy_that_is_not_clean_holds_the_film() -> None:
    examined = examine(Film(CLAIMS, TURNED), look, RULES, correct=turned_by(180))
    assert examined.decision.act is Act.QUARANTINE
    assert examined.decision.reasons == (Reason.ROTATED_90, Reason.COPY_FAILED)
    assert "the corrected copy was not clean" in examined.decision.why
    assert examined.decision.destinations == ()
    assert examined.corrected is not None  # the person who decides may see it


def test_a_copy_that_cannot_be_made_holds_the_film() -> None:
    def fails(*_: object) -> tuple[Film, int]:
        raise NotCorrected("several frames")

    examined = examine(Film(CLAIMS, TURNED), look, RULES, correct=fails)
    assert examined.decision.reasons == (Reason.ROTATED_90, Reason.COPY_FAILED)
    assert examined.decision.why.endswith("; several frames")
    assert examined.corrected is None


@pytest.mark.parametrize("mode", ["observe", "alone"])
def test_without_a_way_to_correct_the_decision_stands(mode: Mode) -> None:
    rules = Rules(RULES.policy, RULES.today, RULES.destinations, mode)
    examined = examine(Film(CLAIMS, TURNED), look, rules)
    assert (examined.decision.act, examined.corrected) == (Act.CORRECT, None)


def test_other_pixels_hold_what_would_have_passed_and_not_what_is_withheld() -> None:
    passed = examine(Film(CLAIMS, UPRIGHT), look, RULES)
    held = with_other_pixels(passed, compared=False).decision
    assert (held.act, held.reasons, held.destinations) == (Act.QUARANTINE, (Reason.OTHER_PIXELS,), ())
    assert "cannot be compared" in held.why
    report = unreadable(
        Header(sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33", modality="SR", no_pixels=True),
        Reason.DECODE_FAILED,
        "no pixels",
        RULES,
    )
    assert report.decision.act is Act.WITHHOLD
    assert with_other_pixels(report, compared=True).decision is report.decision
