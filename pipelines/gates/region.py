"""A body region other than the chest: does the film show it, and where. Made from a bundle, not written.

Any bundle that `filmgate region train` makes becomes a gate of the name on its card (docs/new-gate.md). What
it finds holds no chest; pipelines.policy.regions says what follows from it.
"""

from __future__ import annotations

from models.asking import probability
from models.bundle import Bundle
from models.region_boxes import Boxes, objects
from pipelines.film import Box, Film, Finding, Reason, Verdict
from pipelines.gates.pose import Eyes


class RegionGate:
    """Good when the film surely shows its region, upright and of right polarity, and a box was found in it.

    Nobody puts a film of another region right, so the network was taught to be in doubt of one that is turned
    or inverted. The finding's box goes round all boxes; `facts` has each of them in fractions of the film,
    with its probability: ("box1_x0", 0.21), ... ("box1_p", 0.98), the surest first.
    """

    def __init__(self, eyes: Eyes, region: Bundle) -> None:
        self.name = region.card.name
        self.eyes, self.net, self.card = eyes, region.net, region.card
        thresholds = region.card.thresholds
        self.low, self.high = thresholds["low"], thresholds["high"]
        self.least, self.most = thresholds["box"], int(thresholds["most"])

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        maps = self.net(self.eyes.see(film.pixels))[0]  # (6, GRID, GRID)
        sure = probability(float(maps[0, 0, 0]))
        found = objects(maps, self.least, self.most)  # (n, 5)
        verdict, reason = self._verdict(sure, len(found))
        detail = f"{self.name}, p {sure:.3f}, {len(found)} found"
        score = sure if len(found) else min(sure, (self.low + self.high) / 2)
        return (
            Finding(
                self.name,
                verdict,
                score,
                self.low,
                self.high,
                reason,
                detail,
                around(found) if verdict is not Verdict.BAD else None,
                self.card.weights_sha256,
                facts=_facts(found) if verdict is not Verdict.BAD else (),
            ),
        )

    def _verdict(self, sure: float, found: int) -> tuple[Verdict, Reason | None]:
        if sure >= self.high and found:
            return Verdict.GOOD, None
        if sure <= self.low:
            return Verdict.BAD, Reason.NOT_THIS_REGION
        return Verdict.UNSURE, Reason.REGION_UNSURE


def around(found: Boxes) -> Box | None:
    """The box round all boxes (n, 5); None when there is none."""
    if not len(found):
        return None
    (x0, y0), (x1, y1) = found[:, :2].min(axis=0).tolist(), found[:, 2:4].max(axis=0).tolist()
    return Box(x0, y0, x1, y1)


def _facts(found: Boxes) -> tuple[tuple[str, float], ...]:
    names = ("x0", "y0", "x1", "y1", "p")
    return tuple(
        (f"box{number}_{name}", round(value, 4))
        for number, box in enumerate(found.tolist(), start=1)
        for name, value in zip(names, box, strict=True)
    )
