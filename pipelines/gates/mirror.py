"""Left and right exchanged: suspected, never corrected by machine (dextrocardia and situs inversus exist)."""

from __future__ import annotations

import torch
from torch import nn

from models.bundle import Bundle
from pipelines.film import Film, Finding, Reason, Verdict
from pipelines.gates.eyes import Eyes, Pose

TURNED_LOW = 0.3  # a film that lies turned is suspected from here on: see the gate


class MirrorGate:
    """Bad only when all but sure, else good: a suspicion is worth a look, a doubt is not.

    It sees the film turned upright. A film flipped top to bottom is a mirrored film turned by 180 degrees;
    turning it back alone would hide that, and an upright copy of it would go to AI. Turned films are rare
    and their copies are gated again, so among them a doubt is worth a look, and costs clean films nothing.
    The score is the probability of *not* being mirrored.
    """

    name = "mirror"
    needs = ("rotation", "inversion", "mirror")

    def __init__(self, eyes: Eyes, mirror: Bundle) -> None:
        self.eyes, self.net, self.card = eyes, mirror.net, mirror.card
        self.low = mirror.card.thresholds["low"]

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        pose = self.eyes.pose(film.pixels)
        score = looked(self.net, pose)
        low = max(self.low, TURNED_LOW) if pose.turn else self.low
        suspected = score <= low
        return (
            Finding(
                self.name,
                Verdict.BAD if suspected else Verdict.GOOD,
                score,
                low,
                low,
                Reason.MIRROR_SUSPECTED if suspected else None,
                f"mirrored, p {1 - score:.3f}",
                model_digest=self.card.weights_sha256,
            ),
        )


def looked(net: nn.Module, pose: Pose) -> float:
    """The probability that the film, seen upright, is not mirrored."""
    with torch.inference_mode():
        return float(torch.sigmoid(-net(pose.upright)[0, 0]))
