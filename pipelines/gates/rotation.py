"""Which way is up: turned by 0, 90, 180 or 270 degrees clockwise."""

from __future__ import annotations

from collections.abc import Sequence

from models.bundle import Bundle
from pipelines.film import Film, Finding, Reason, Verdict
from pipelines.gates.pose import Eyes

TURNED = (Reason.ROTATION_UNSURE, Reason.ROTATED_90, Reason.ROTATED_180, Reason.ROTATED_270)


class RotationGate:
    """Good when upright, to within a slouch. Blind to polarity and to mirroring; it speaks of frontal chests.

    The score is the probability of lying upright or, where another turn is likelier, half of what that turn
    lacks to certainty. The tilt that remains is told in degrees; nothing is done about it.
    """

    name = "rotation"
    needs = ("rotation", "inversion")

    def __init__(self, eyes: Eyes, rotation: Bundle) -> None:
        self.eyes, self.card = eyes, rotation.card
        self.low, self.high = rotation.card.thresholds["low"], rotation.card.thresholds["high"]

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        pose = self.eyes.pose(film.pixels)
        score, named = judged(pose.shares)
        verdict, reason = self._verdict(score, named)
        sure = pose.shares[pose.turn]
        pose_text = f"turned {90 * pose.turn} degrees" if pose.turn else "upright"
        return (
            Finding(
                self.name,
                verdict,
                score,
                self.low,
                self.high,
                reason,
                f"{pose_text}, p {sure:.3f}",
                model_digest=self.card.weights_sha256,
                facts=(("tilt_deg", round(pose.tilt_deg, 1)),),
            ),
        )

    def _verdict(self, score: float, named: Reason) -> tuple[Verdict, Reason | None]:
        if score >= self.high:
            return Verdict.GOOD, None
        return (Verdict.BAD, named) if score <= self.low else (Verdict.UNSURE, Reason.ROTATION_UNSURE)


def judged(shares: Sequence[float]) -> tuple[float, Reason]:
    """From the probabilities of the four turns: the score, and the reason that a low one means.

    Where another turn is the likeliest the score is half of what that turn lacks to certainty, so that no
    film is called upright which is likelier turned.
    """
    turn = max(range(4), key=shares.__getitem__)
    return ((1 - shares[turn]) / 2, TURNED[turn]) if turn else (shares[0], Reason.ROTATION_UNSURE)
