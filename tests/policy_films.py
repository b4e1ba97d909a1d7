"""Headers, findings and rules from which the tests of the policy make their films."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
)

from pipelines.film import Box, Decision, Finding, Header, Reason, Verdict
from pipelines.policy import (
    DEFAULT_RULES,
    Acceptance,
    Policy,
    decide,
)

GATES = ("header", "exposure", "anatomy", "inversion", "rotation", "mirror", "lungs")
TODAY = date(2026, 11, 20)
CHEST = Header(
    sop_class_uid=DigitalXRayImageStorageForPresentation,
    modality="DX",
    part="chest",
    view="frontal",
    view_position="PA",
    age_years=50,
    study_date="20261101",
)
SILENT = replace(CHEST, part="", view="", view_position="")
HAND = replace(CHEST, part="other", view="", view_position="")
LATERAL = replace(CHEST, part="chest", view="lateral", view_position="LL")
CHEST_ANY_VIEW = replace(CHEST, view="", view_position="")
BOX = Box(0.3, 0.3, 0.6, 0.6)
DEFAULT_TEXT = DEFAULT_RULES.read_text(encoding="utf-8")


def gate_of(reason: Reason) -> str:
    """The gate that gives a reason."""
    names = {
        "exposure": (
            "BLANK",
            "WASHED_OUT",
            "CLIPPED",
            "BORDER",
            "OVEREXPOSED",
            "UNDEREXPOSED",
            "SEVERAL_FILMS",
        ),
        "integrity": ("PIXELS_DAMAGED",),
        "anatomy": ("LATERAL", "OTHER_PART", "NOT_A_RADIOGRAPH", "UNKNOWN_ANATOMY", "AGE_CONTRADICTS"),
        "inversion": ("INVERTED", "INVERSION_UNSURE", "POLARITY_AMBIGUOUS"),
        "rotation": ("ROTATED_90", "ROTATED_180", "ROTATED_270", "ROTATION_UNSURE"),
        "mirror": ("MIRROR_SUSPECTED",),
        "lungs": ("LUNGS_NOT_FOUND", "LUNGS_CUT_OFF", "LUNG_BY_SYMMETRY"),
        "history": ("OTHER_PIXELS", "ATTEMPTS_EXHAUSTED", "COPY_FAILED"),
        "decode": ("UNREADABLE", "UNSUPPORTED", "NO_PIXELS", "PIXELS_MISMATCH", "DECODE_FAILED"),
    }
    return next((gate for gate, reasons in names.items() if reason.value in reasons), "header")


def says(word: str, gate: str = "") -> Finding:
    """A finding from a word as the rules use them: "BLANK" is sure of it, "BLANK?" suspects it."""
    reason = Reason(word.removesuffix("?"))
    verdict = Verdict.UNSURE if word.endswith("?") else Verdict.BAD
    box = BOX if reason is Reason.BORDER else None
    return Finding(gate or gate_of(reason), verdict, 0.1, 0.2, 0.8, reason, box=box)


def film(*words: str) -> tuple[Finding, ...]:
    """The findings of every gate: good, except for those that say something."""
    said = tuple(says(word) for word in words)
    spoke = {finding.gate for finding in said if finding.reason is not Reason.AGE_CONTRADICTS}
    return (*(Finding(gate, Verdict.GOOD, 0.9, 0.2, 0.8) for gate in GATES if gate not in spoke), *said)


def judge(header: Header, findings: tuple[Finding, ...], **more: object) -> Decision:
    options = {"destinations": {"chest-ai": Acceptance()}, "today": TODAY, **more}
    return decide(Policy.default(), header, findings, **options)  # type: ignore[arg-type]


def rules(*lines: str) -> str:
    return "version: 1\nrequires: [anatomy]\nrules:\n" + "".join(f"  - {line}\n" for line in lines)


OK = "{name: hold, when: {any: [BLANK]}, act: quarantine, why: empty}"
