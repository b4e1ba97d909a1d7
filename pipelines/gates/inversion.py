"""Polarity: are black and white exchanged, as displayed."""

from __future__ import annotations

import torch

from models.bundle import Bundle
from models.nets import inverted_share
from pipelines.film import Film, Finding, Reason, Verdict
from pipelines.transforms import See, gate_input


class InversionGate:
    """Good when bone is bright, however the film lies. It speaks of frontal chests only."""

    name = "inversion"
    needs = ("inversion",)

    def __init__(self, inversion: Bundle, see: See = gate_input) -> None:
        self.see = see
        self.net, self.card = inversion.net, inversion.card
        self.low, self.high = inversion.card.thresholds["low"], inversion.card.thresholds["high"]

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        with torch.inference_mode():
            right = 1 - inverted_share(self.net, self.see(film.pixels)[None]).item()
        verdict, reason = self._verdict(right)
        detail = f"right polarity, p {right:.3f}" if right >= 0.5 else f"inverted, p {1 - right:.3f}"
        return (
            Finding(
                self.name,
                verdict,
                right,
                self.low,
                self.high,
                reason,
                detail,
                model_digest=self.card.weights_sha256,
            ),
        )

    def _verdict(self, right: float) -> tuple[Verdict, Reason | None]:
        if right >= self.high:
            return Verdict.GOOD, None
        if right <= self.low:
            return Verdict.BAD, Reason.INVERTED
        return Verdict.UNSURE, Reason.INVERSION_UNSURE
