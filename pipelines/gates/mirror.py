"""Left and right exchanged: suspected, never corrected by machine (dextrocardia and situs inversus exist)."""

from __future__ import annotations

from models.asking import Ask, probability
from models.bundle import Bundle
from pipelines.film import Film, Finding, Header, Reason, Verdict
from pipelines.gates.pose import Eyes, Pose

TURNED_LOW = 0.3  # a film that lies turned is suspected from here on: see the gate
# So is one whose header calls it mirrored. Of 300 frontal films that trained nothing, 2 as they are and 282
# of their mirror images lie below; by the network alone none and 60 were suspected.
CLAIMED_LOW = 0.05

# Patient Orientation (PS3.3 C.7.6.1.1.1), where rows and columns lead to, of a mirrored frontal film in its
# four turns. L\F, H\L, R\H and F\R are the right way round.
MIRRORED = frozenset({("R", "F"), ("H", "R"), ("L", "H"), ("F", "L")})


class MirrorGate:
    """Bad only when all but sure, else good: a suspicion is worth a look, a doubt is not.

    It sees the film turned upright. A film flipped top to bottom is a mirrored film turned by 180 degrees;
    turning it back alone would hide that, and an upright copy of it would go to AI. Turned films are rare
    and their copies are gated again, so among them a doubt is worth a look, and costs clean films nothing.
    So is it where the header says, too, that the film is mirrored; by its word alone no film is held.
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
        claim = claimed(film.header)
        low = max(self.low, TURNED_LOW if pose.turn else 0.0, CLAIMED_LOW if claim else 0.0)
        suspected = score <= low
        return (
            Finding(
                self.name,
                Verdict.BAD if suspected else Verdict.GOOD,
                score,
                low,
                low,
                Reason.MIRROR_SUSPECTED if suspected else None,
                _told(score, low, claim),
                model_digest=self.card.weights_sha256,
            ),
        )


def looked(net: Ask, pose: Pose) -> float:
    """The probability that the film, seen upright, is not mirrored."""
    return probability(-float(net(pose.upright)[0, 0]))


def claimed(header: Header) -> str:
    """Patient Orientation where it says that the film is mirrored, or "": R\\F says so, upright."""
    orientation = header.orientation
    mirrored = len(orientation) == 2 and tuple(value[:1] for value in orientation) in MIRRORED
    return "\\".join(orientation) if mirrored else ""


def _told(score: float, low: float, claim: str) -> str:
    """In words, on the same side as the verdict: a doubt that is not enough is called one."""
    if score <= low:
        verdict_text = f"mirrored, p {1 - score:.4g}"
    elif score >= 0.5:
        verdict_text = f"not mirrored, p {score:.4g}"
    else:
        verdict_text = f"perhaps mirrored, p {1 - score:.4g}, which is suspected from {1 - low:.4g} on"
    if not claim:
        return verdict_text
    agrees = "says so, too" if score <= low else "says mirrored; the picture alone decides"
    return f"{verdict_text}; Patient Orientation {claim} {agrees}"
