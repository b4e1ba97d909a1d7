"""Polarity: are black and white exchanged, as displayed; and does the header say one thing of it."""

from __future__ import annotations

from models.bundle import Bundle
from pipelines.film import Film, Finding, Header, Reason, Verdict
from pipelines.gates.pose import Eyes

SHAPES = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}  # PS3.3 C.8.11.3.1.2: what belongs together


class InversionGate:
    """Good when bone is bright, however the film lies. It speaks of frontal chests only.

    Where Photometric Interpretation and Presentation LUT Shape disagree, some readers believe the one and
    some the other. Judged is the film as `pipelines.display` shows it; the doubt is a finding of its own.
    """

    name = "inversion"
    needs = ("rotation", "inversion")

    def __init__(self, eyes: Eyes, inversion: Bundle) -> None:
        self.eyes, self.card = eyes, inversion.card
        self.low, self.high = inversion.card.thresholds["low"], inversion.card.thresholds["high"]

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        right = self.eyes.pose(film.pixels).right
        verdict, reason = self._verdict(right)
        return (
            Finding(
                self.name,
                verdict,
                right,
                self.low,
                self.high,
                reason,
                f"right polarity, p {right:.3f}" if right >= 0.5 else f"inverted, p {1 - right:.3f}",
                model_digest=self.card.weights_sha256,
            ),
            *told_twice(film.header),
        )

    def _verdict(self, right: float) -> tuple[Verdict, Reason | None]:
        if right >= self.high:
            return Verdict.GOOD, None
        if right <= self.low:
            return Verdict.BAD, Reason.INVERTED
        return Verdict.UNSURE, Reason.INVERSION_UNSURE


def told_twice(header: Header) -> tuple[Finding, ...]:
    """POLARITY_AMBIGUOUS where the header's two words for the polarity disagree."""
    wanted, shape = SHAPES.get(header.photometric), header.presentation_shape
    if wanted is None or shape == wanted or shape not in SHAPES.values():
        return ()
    elements = f"Photometric Interpretation {header.photometric}, Presentation LUT Shape {shape}"
    found = Finding(
        InversionGate.name,
        Verdict.BAD,
        0.0,
        0.5,
        0.5,
        Reason.POLARITY_AMBIGUOUS,
        f"{elements}: shown inverted",
    )
    return (found,)
