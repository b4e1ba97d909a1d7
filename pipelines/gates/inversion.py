"""Polarity: are black and white exchanged, as displayed."""

from __future__ import annotations

from models.bundle import Bundle
from pipelines.film import Film, Finding, Reason, Verdict
from pipelines.gates.eyes import Eyes


class InversionGate:
    """Good when bone is bright, however the film lies. It speaks of frontal chests only."""

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
        )

    def _verdict(self, right: float) -> tuple[Verdict, Reason | None]:
        if right >= self.high:
            return Verdict.GOOD, None
        if right <= self.low:
            return Verdict.BAD, Reason.INVERTED
        return Verdict.UNSURE, Reason.INVERSION_UNSURE
