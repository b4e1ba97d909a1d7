"""The frozen values of a classifier's answer: Condition, Reading, or NotRead with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pipelines.film import WHOLE, Box

if TYPE_CHECKING:  # results are listed without numpy
    import numpy as np
    from numpy.typing import NDArray

NOTHING = frozenset({"no finding", "normal"})  # labels that say: nothing was found


class Unread(StrEnum):
    """Why a film was not analysed; each is explained in UNREAD_TEXT and docs/reasons.md."""

    NOT_ACCEPTED = "NOT_ACCEPTED"
    NOT_QUALIFIED = "NOT_QUALIFIED"
    OUTSIDE_CARD = "OUTSIDE_CARD"
    NO_LUNG_BOX = "NO_LUNG_BOX"
    NOT_DECODED = "NOT_DECODED"
    MODEL_NOT_USABLE = "MODEL_NOT_USABLE"
    NOT_FINITE = "NOT_FINITE"


UNREAD_TEXT: dict[Unread, str] = {
    Unread.NOT_ACCEPTED: "the classifier takes no such films (region, view, age, modality or study age)",
    Unread.NOT_QUALIFIED: "the film was withheld or is held for a person, so no AI has read it",
    Unread.OUTSIDE_CARD: "the film is outside what the classifier's card covers",
    Unread.NO_LUNG_BOX: "the classifier reads the lung field, and no lung field was found",
    Unread.NOT_DECODED: "the pixels could not be decoded",
    Unread.MODEL_NOT_USABLE: "the model is missing or is not the one its card names",
    Unread.NOT_FINITE: "the network gave no finite number",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition that a classifier was trained for.

    `threshold` is None where the card gives none, because too few films had the condition.
    """

    name: str  # as on the card: "Pneumothorax"
    probability: float  # calibrated, in [0, 1]
    threshold: float | None = None

    @property
    def positive(self) -> bool | None:
        """At or above its threshold; None where there is none."""
        return None if self.threshold is None else self.probability >= self.threshold

    @property
    def nothing(self) -> bool:
        """That nothing was found: no condition to warn of, and it has no place in the film."""
        return self.name.casefold() in NOTHING


@dataclass(frozen=True, slots=True)
class Reading:
    """What a classifier says of one film.

    `conditions` are ranked, the most likely first; a condition that the classifier was never trained for is
    absent. `crop` is the part of the film that the network saw. `heat` (h, w) float32 in [0, 1] lies over
    `crop` and shows what spoke for the condition `shown`; `region` is the box round its hottest part, in
    fractions of the whole film.
    """

    classifier: str
    version: str
    model_digest: str  # sha256 of the weights
    conditions: tuple[Condition, ...]
    exclusive: bool = False  # one of them (softmax), or each by itself
    crop: Box = WHOLE
    shown: str = ""
    region: Box | None = None
    heat: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class NotRead:
    """That a film was not analysed, and why: silence must never be read as negative."""

    classifier: str
    version: str
    model_digest: str
    code: Unread
    why: str  # in words, for people
