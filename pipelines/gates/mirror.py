"""Left and right exchanged: suspected, never corrected by machine (dextrocardia and situs inversus exist)."""

from __future__ import annotations

import torch

from models.bundle import Bundle
from pipelines.film import Film, Finding, Reason, Verdict
from pipelines.gates.eyes import Eyes


class MirrorGate:
    """Bad only when all but sure, else good: a suspicion is worth a look, a doubt is not.

    It sees the film turned upright. A film flipped top to bottom is a mirrored film turned by 180 degrees;
    turning it back alone would hide that. The score is the probability of *not* being mirrored.
    """

    name = "mirror"
    needs = ("rotation", "inversion", "mirror")

    def __init__(self, eyes: Eyes, rotation: Bundle, inversion: Bundle, mirror: Bundle) -> None:  # noqa: ARG002
        self.eyes, self.net, self.card = eyes, mirror.net, mirror.card
        self.low = mirror.card.thresholds["low"]

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        with torch.inference_mode():
            score = float(torch.sigmoid(-self.net(self.eyes.pose(film.pixels).upright)[0, 0]))
        suspected = score <= self.low
        return (
            Finding(
                self.name,
                Verdict.BAD if suspected else Verdict.GOOD,
                score,
                self.low,
                self.low,
                Reason.MIRROR_SUSPECTED if suspected else None,
                f"mirrored, p {1 - score:.3f}",
                model_digest=self.card.weights_sha256,
            ),
        )
