"""Which way is up: turned by 0, 90, 180 or 270 degrees clockwise."""

from __future__ import annotations

import torch

from models.bundle import Bundle
from models.nets import turn_shares
from pipelines.film import Film, Finding, Reason, Verdict
from pipelines.transforms import See, gate_input

TURNED = (None, Reason.ROTATED_90, Reason.ROTATED_180, Reason.ROTATED_270)


class RotationGate:
    """Good when upright. Blind to polarity and to mirroring; it speaks of frontal chests only."""

    name = "rotation"
    needs = ("rotation",)

    def __init__(self, rotation: Bundle, see: See = gate_input) -> None:
        self.see = see
        self.net, self.card = rotation.net, rotation.card
        self.low, self.high = rotation.card.thresholds["low"], rotation.card.thresholds["high"]

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        shares = self.shares(film)
        turn = max(range(4), key=shares.__getitem__)
        verdict, reason = self._verdict(turn, shares)
        detail = (
            f"turned {90 * turn} degrees, p {shares[turn]:.3f}" if turn else f"upright, p {shares[0]:.3f}"
        )
        return (
            Finding(
                self.name,
                verdict,
                shares[0],
                self.low,
                self.high,
                reason,
                detail,
                model_digest=self.card.weights_sha256,
            ),
        )

    def shares(self, film: Film) -> list[float]:
        """Probability of 0, 1, 2, 3 quarter turns clockwise."""
        with torch.inference_mode():
            out: list[float] = turn_shares(self.net, self.see(film.pixels)[None])[0].tolist()
        return out

    def _verdict(self, turn: int, shares: list[float]) -> tuple[Verdict, Reason | None]:
        if shares[0] >= self.high:
            return Verdict.GOOD, None
        if turn and shares[turn] >= 1 - self.low:
            return Verdict.BAD, TURNED[turn]
        return Verdict.UNSURE, Reason.ROTATION_UNSURE
