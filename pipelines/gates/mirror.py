"""Left and right exchanged: suspected, never corrected by machine (dextrocardia and situs inversus exist)."""

from __future__ import annotations

import torch

from models.bundle import Bundle
from models.nets import mirrored_share
from pipelines.film import Film, Finding, Reason, Verdict
from pipelines.transforms import See, gate_input


class MirrorGate:
    """Bad only above a high threshold, else good: a suspicion is worth a look, a doubt is not.

    It turns the film upright by the rotation network first. A film flipped top to bottom is a mirrored
    film turned by 180 degrees; turning it back alone would hide that.
    """

    name = "mirror"
    needs = ("rotation", "mirror")

    def __init__(self, rotation: Bundle, mirror: Bundle, see: See = gate_input) -> None:
        self.see = see
        self.rotation, self.net, self.card = rotation.net, mirror.net, mirror.card
        self.low, self.high = mirror.card.thresholds["low"], mirror.card.thresholds["high"]

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        with torch.inference_mode():
            x = self.see(film.pixels)[None]
            turn = int(
                self.rotation(x).argmax()
            )  # one look: when it is in doubt the rotation gate holds the film
            share = mirrored_share(self.net, torch.rot90(x, turn, dims=(-2, -1))).item()
        suspected = share >= self.high
        return (
            Finding(
                self.name,
                Verdict.BAD if suspected else Verdict.GOOD,
                share,
                self.low,
                self.high,
                Reason.MIRROR_SUSPECTED if suspected else None,
                f"mirrored, p {share:.3f}",
                model_digest=self.card.weights_sha256,
            ),
        )
