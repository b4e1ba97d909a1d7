"""What the film shows: frontal chest, lateral chest, another part, no radiograph, or nothing it knows."""

from __future__ import annotations

import torch

from models.bundle import Bundle
from models.nets import look
from pipelines.film import Film, Finding, Reason, Verdict
from pipelines.transforms import See, gate_input

NAMES = ("frontal chest", "lateral chest", "another body part", "not a radiograph")
REASONS = (None, Reason.LATERAL, Reason.OTHER_PART, Reason.NOT_A_RADIOGRAPH)


class AnatomyGate:
    """Good when surely a frontal chest, in any turn and polarity; bad when surely something else.

    A film that lies far from all training films in feature space is not known, whatever the
    probabilities say: far off they mean nothing.
    """

    name = "anatomy"
    needs = ("anatomy",)

    def __init__(self, anatomy: Bundle, see: See = gate_input) -> None:
        self.see = see
        self.net, self.card = anatomy.net, anatomy.card
        thresholds = anatomy.card.thresholds
        self.low, self.high = thresholds["low"], thresholds["high"]
        self.far_frontal, self.far = thresholds["far_frontal"], thresholds["far"]

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        with torch.inference_mode():
            logits, distances = look(self.net, self.see(film.pixels)[None])
        shares, apart = torch.softmax(logits[0], dim=0).tolist(), distances[0].tolist()
        seen = max(range(len(NAMES)), key=shares.__getitem__)
        verdict, reason = self._verdict(seen, shares[0], apart)
        detail = f"{NAMES[seen]}, p {shares[seen]:.3f}, distance {min(apart):.1f}"
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

    def _verdict(self, seen: int, frontal: float, apart: list[float]) -> tuple[Verdict, Reason | None]:
        if frontal >= self.high and apart[0] <= self.far_frontal:
            return Verdict.GOOD, None
        if frontal <= self.low and seen and min(apart) <= self.far:
            return Verdict.BAD, REASONS[seen]
        return Verdict.UNSURE, Reason.UNKNOWN_ANATOMY
