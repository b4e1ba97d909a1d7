"""What can be said of a film: the question, the answers to it, and how a box is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway.errors import FilmgateError
from pipelines.film import WHOLE, Box, Reason


class What(StrEnum):
    """What a label is about. Each answers for the film as it was received, not for a copy of it."""

    VIEW = "view"
    PART = "part"
    TURNED = (
        "turned"  # how it lies: degrees clockwise from upright, as in ROTATED_90; to be turned back so far
    )
    POLARITY = "polarity"
    MIRROR = "mirror"
    EXPOSURE = "exposure"
    LUNG_BOX = "lung_box"  # round both lungs: "x0 y0 x1 y1" in fractions of the film as it was received


# The views are those of the manifests that `train` and `calibrate --site` take.
FRONTAL, LATERAL, NOT_CHEST = "frontal", "lateral", "not_chest"
CHEST = "chest"
ANSWERS: dict[What, tuple[str, ...]] = {
    What.VIEW: (FRONTAL, LATERAL, NOT_CHEST),
    What.PART: (CHEST, "hand", "arm", "leg", "pelvis", "spine", "abdomen", "skull", "other", "none"),
    What.TURNED: ("0", "90", "180", "270"),
    What.POLARITY: ("normal", "inverted"),
    What.MIRROR: ("normal", "flipped"),
    What.EXPOSURE: ("usable", "unusable"),
}

# What a gate's finding says by its reason code. A gate that is good of a film says the first answer below.
GATE_SAYS: dict[str, tuple[What, str]] = {
    Reason.LATERAL: (What.VIEW, LATERAL),
    Reason.OTHER_PART: (What.VIEW, NOT_CHEST),
    Reason.NOT_A_RADIOGRAPH: (What.VIEW, NOT_CHEST),
    Reason.ROTATED_90: (What.TURNED, "90"),
    Reason.ROTATED_180: (What.TURNED, "180"),
    Reason.ROTATED_270: (What.TURNED, "270"),
    Reason.INVERTED: (What.POLARITY, "inverted"),
    Reason.MIRROR_SUSPECTED: (What.MIRROR, "flipped"),
    Reason.BLANK: (What.EXPOSURE, "unusable"),
    Reason.WASHED_OUT: (What.EXPOSURE, "unusable"),
    Reason.CLIPPED: (What.EXPOSURE, "unusable"),
    Reason.OVEREXPOSED: (What.EXPOSURE, "unusable"),
    Reason.UNDEREXPOSED: (What.EXPOSURE, "unusable"),
}
GOOD_SAYS: dict[str, tuple[What, str]] = {
    "anatomy": (What.VIEW, FRONTAL),
    "rotation": (What.TURNED, "0"),
    "inversion": (What.POLARITY, "normal"),
    "mirror": (What.MIRROR, "normal"),
    "exposure": (What.EXPOSURE, "usable"),
}


class BadLabel(FilmgateError):
    """Raised when a label is none that there is; nothing was written."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one act says of one film."""

    film_id: int
    labels: Mapping[What, str]
    source: str  # the act: release, accept, correct, reject, relabel or blind
    act_id: int | None = None  # of the act whose undo takes it back


@dataclass(frozen=True, slots=True)
class Label:
    """One thing that one person said of one film."""

    id: int
    film_id: int
    digest: str  # of the version that the person saw
    what: What
    value: str
    by: str
    at: datetime
    source: str
    act_id: int | None
    gate_says: str | None  # what the gate said of the same then; None where none was sure
    ended_at: datetime | None  # None while it stands
    ended_by: str | None
    sender: str = ""


def checked(labels: Mapping[str, object]) -> dict[What, str]:
    """Labels as a page or a program sends them, as they are kept.

    Raises:
        BadLabel: a question or an answer is not known, or a view and a part contradict each other.
    """
    known = {_what(name): value for name, value in labels.items()}
    said = {what: _answer(what, value) for what, value in known.items()}
    view, part = said.get(What.VIEW), said.get(What.PART)
    if view and part and (view == NOT_CHEST) == (part == CHEST):
        raise BadLabel(f"a film cannot be {view} and show {part}. Nothing was written. Say one of the two.")
    return said


def box_of(value: str) -> Box:
    """The box that a label of LUNG_BOX names."""
    return Box(*map(float, value.split()))


def _what(name: str) -> What:
    try:
        return What(name)
    except ValueError:
        raise BadLabel(
            f"nothing is known of {name!r}. Nothing was written. Say one of {', '.join(What)}."
        ) from None


def _answer(what: What, value: object) -> str:
    if what is What.LUNG_BOX:
        return _box(value)
    answers = ANSWERS[what]
    text = str(value)
    if text not in answers:
        raise BadLabel(f"{what} is not {text!r}. Nothing was written. It is one of {', '.join(answers)}.")
    return text


def _box(value: object) -> str:
    """Four numbers, or the viewer's {"x0": .., "y0": .., "x1": .., "y1": ..}."""
    sides = value.split() if isinstance(value, str) else value
    if isinstance(sides, Mapping):
        sides = [sides.get(name) for name in ("x0", "y0", "x1", "y1")]
    try:
        x0, y0, x1, y1 = (round(float(side), 4) for side in sides)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError):
        raise BadLabel(
            "a lung box is four numbers: left, top, right and bottom in fractions of the film. "
            "Nothing was written."
        ) from None
    if not Box(x0, y0, x1, y1).inside(WHOLE):
        raise BadLabel(
            "the lung box has no area, or lies outside of the film. Nothing was written. Draw it again."
        )
    return f"{x0:g} {y0:g} {x1:g} {y1:g}"
