"""EXAMINE: look, decide, correct, look again: one way for the worker, `classify` and the laboratory.

It is a pure function of a film, its gates and the rules. How a corrected film comes to be is handed in: a
worker has a copy written and decodes that, the laboratory turns the pixels that it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Generic, TypeVar

from pipelines.film import Act, Decision, Film, Finding, Header, Identity, Operations, Reason, Sender
from pipelines.grounds import Fault, Grounds, OtherPixels
from pipelines.policy import (
    NOBODY,
    Acceptance,
    Correct,
    Mode,
    Policy,
    decide,
    decide_unreadable,
    would_take,
)

C = TypeVar("C")  # what the caller keeps of a corrected copy

Look = Callable[[Film], tuple[Finding, ...]]
Correcting = Callable[[Film, Operations], tuple[Film, C]]


class NotCorrected(Exception):
    """Raised by a `Correcting` when no honest copy of a film can be made; the film is held."""


@dataclass(frozen=True, slots=True)
class Rules:
    """By what films are decided today: the policy, and what the settings say beside it.

    `destinations` are the AI destinations of routes.pass by name, `region_gates` the names of the gates for
    regions other than the chest.
    """

    policy: Policy
    today: date
    destinations: Mapping[str, Acceptance] = field(default_factory=dict)
    mode: Mode = "enforce"
    correct: Correct = "propose"
    region_gates: Collection[str] = ()

    def decide(self, header: Header, findings: tuple[Finding, ...], sender: Sender = NOBODY) -> Decision:
        return decide(
            self.policy,
            header,
            findings,
            destinations=self.destinations,
            today=self.today,
            mode=self.mode,
            correct=self.correct,
            region_gates=self.region_gates,
            sender=sender,
        )

    def takers(self, header: Header | None, findings: tuple[Finding, ...]) -> tuple[str, ...]:
        """The AI destinations that accept such a film: where a person's release or correction sends it."""
        if header is None:
            return ()
        return would_take(
            header,
            findings,
            destinations=self.destinations,
            today=self.today,
            region_gates=self.region_gates,
        )


@dataclass(frozen=True, slots=True)
class Corrected(Generic[C]):
    """A corrected film as the gates saw it, what they found in it, and what the caller keeps of it."""

    film: Film
    findings: tuple[Finding, ...]
    copy: C


@dataclass(frozen=True, slots=True)
class Examination(Generic[C]):
    """What came of one film; `header` is None when not even that could be read."""

    header: Header | None
    findings: tuple[Finding, ...]
    decision: Decision
    corrected: Corrected[C] | None = None
    fault: Fault | None = None  # why it had no pixels
    sender: Sender = NOBODY  # as the decision knew it
    other_pixels: OtherPixels = ""

    def grounds(self, rules: Rules) -> Grounds:
        """What the decision rests on beside the policy and the findings, to be kept."""
        header = self.header and replace(
            self.header, sop_instance_uid="", transfer_syntax_uid="", identity=Identity()
        )
        return Grounds(
            day=rules.today.isoformat(),
            mode=rules.mode,
            header=header,
            fault=self.fault,
            operations=self.decision.operations,
            other_pixels=self.other_pixels,
            sender=self.sender,
            region_gates=tuple(rules.region_gates),
        )


def examine(
    film: Film,
    look: Look,
    rules: Rules,
    *,
    sender: Sender = NOBODY,
    correct: Correcting[C] | None = None,
) -> Examination[C]:
    """Look at a film and decide; where it is to be corrected, look at the corrected one in full.

    A copy that is not clean, or that cannot be made, holds the film. Without `correct` none is made, and the
    decision stays what it is. `sender` is who sent the film, where that matters.
    """
    corrected: list[Corrected[C]] = []

    def look_again(operations: Operations) -> tuple[Finding, ...]:
        assert correct is not None
        corrected_film, copy = correct(film, operations)
        # The copy says of itself that it is derived and ours; it is judged by the claims of its source.
        seen = look(corrected_film.claiming(film.header))
        corrected.append(Corrected(corrected_film, seen, copy))
        return seen

    findings = look(film)
    decision = conclude(film.header, findings, rules, sender, look_again if correct else None)
    return Examination(film.header, findings, decision, corrected[0] if corrected else None, sender=sender)


def conclude(
    header: Header,
    findings: tuple[Finding, ...],
    rules: Rules,
    sender: Sender = NOBODY,
    look_again: Callable[[Operations], tuple[Finding, ...]] | None = None,
) -> Decision:
    """The decision on what the gates found, and, where the film is to be corrected, on its copy.

    `look_again` gives what the gates find in the copy that these operations make; it raises NotCorrected
    where there is none. Without it none is made, and the decision stays what it is.
    """
    decision = rules.decide(header, findings, sender)
    if decision.act is not Act.CORRECT or look_again is None:
        return decision
    try:
        second = rules.decide(header, look_again(decision.operations), sender)
    except NotCorrected as error:
        return _copy_failed(decision, str(error))
    if second.act is not Act.PASS:
        return _copy_failed(decision, f"the corrected copy was not clean: {second.why}")
    return decision


def unreadable(
    header: Header | None, reason: Reason, detail: str, rules: Rules, *, sender: Sender = NOBODY
) -> Examination[Any]:
    """What comes of an object that no pixels could be had from."""
    decision = decide_unreadable(rules.policy, header, reason, detail, mode=rules.mode, sender=sender)
    return Examination(header, (), decision, fault=Fault(reason, detail), sender=sender)


def with_other_pixels(examination: Examination[C], *, compared: bool) -> Examination[C]:
    """The same SOP Instance UID with another picture: both are kept, and a person decides.

    What is withheld stays so: no AI gets it anyway. `compared` is false where the pixels of one of the two
    cannot be had.
    """
    decision = held_for_other_pixels(examination.decision, compared=compared)
    return replace(examination, decision=decision, other_pixels="compared" if compared else "not compared")


def held_for_other_pixels(decision: Decision, *, compared: bool) -> Decision:
    """The same of the decision alone."""
    if decision.act is Act.WITHHOLD:
        return decision
    what = "with other pixels" if compared else "and the pixels of the two cannot be compared"
    return replace(
        decision,
        act=Act.QUARANTINE,
        reasons=(Reason.OTHER_PIXELS, *decision.reasons),
        rule="other-pixels",
        why=f"this SOP Instance UID was received before {what}; both objects are kept",
        destinations=(),
    )


def _copy_failed(decision: Decision, why: str) -> Decision:
    reasons = (*decision.reasons, Reason.COPY_FAILED)
    return replace(
        decision, act=Act.QUARANTINE, reasons=reasons, why=f"{decision.why}; {why}", destinations=()
    )
