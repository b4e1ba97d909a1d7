"""What the film shows: frontal chest, lateral chest, another part, no radiograph, or nothing it knows."""

from __future__ import annotations

import math

import numpy as np

from models.asking import Ask, probability
from models.bundle import Bundle
from models.graphs import AP, CHILD, FRONTAL, LATERAL, NEAR, NO_FILM, PARTS
from pipelines.film import Film, Finding, Reason, Verdict
from pipelines.gates.pose import Eyes, Pose

KNOWN = 0.5  # a kind is named from here on; below, the film is nothing that the network knows
# The pose networks learned turn and polarity of frontal chests only, so they are seldom sure of anything
# else. Weights and zero points were chosen on films of sites left out (the model's card).
TURN_WEIGHT, TURN_ZERO = 0.25, 4.0
POLARITY_WEIGHT, POLARITY_ZERO = 0.5, 5.0
ADULT_YEARS = 18  # of the header; from ten years on a chest may look like either
SURE_OF_AGE = 0.95  # of being a child's, before the header is doubted


class AnatomyGate:
    """Good when surely a frontal chest; bad when surely something else that it knows; else unsure.

    The film is seen upright and of right polarity, as far as the pose networks can tell, and once more
    mirrored. Every kind is known by the distance to its own centre, against everything else, so that a
    film may be none of them. The score is the certainty of "a frontal chest, and nothing else".
    """

    name = "anatomy"
    needs = ("rotation", "inversion", "anatomy")

    def __init__(self, eyes: Eyes, anatomy: Bundle) -> None:
        self.eyes, self.net, self.card = eyes, anatomy.net, anatomy.card
        self.low, self.high = anatomy.card.thresholds["low"], anatomy.card.thresholds["high"]

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        pose = self.eyes.pose(film.pixels)
        odds = looked(self.net, pose)
        score, reason = judged(odds, pose)
        verdict = self._verdict(score, reason)
        if verdict is Verdict.GOOD:
            found = self._finding(verdict, score, None, odds)
            return (found, *self._age(film, probability(odds[CHILD])))
        return (self._finding(verdict, score, reason if verdict is Verdict.BAD else None, odds),)

    def _verdict(self, score: float, reason: Reason) -> Verdict:
        if score >= self.high:
            return Verdict.GOOD
        sure = score <= self.low and reason is not Reason.UNKNOWN_ANATOMY
        return Verdict.BAD if sure else Verdict.UNSURE

    def _finding(self, verdict: Verdict, score: float, reason: Reason | None, odds: list[float]) -> Finding:
        shares = [probability(x) for x in odds]
        if verdict is Verdict.UNSURE:
            reason = Reason.UNKNOWN_ANATOMY
        kind = max(range(len(PARTS)), key=shares.__getitem__)
        named = PARTS[kind] if shares[kind] >= KNOWN else f"nothing known, most like {PARTS[kind]}"
        facts = (("ap", round(shares[AP], 3)), ("child", round(shares[CHILD], 3)))
        return Finding(
            self.name,
            verdict,
            score,
            self.low,
            self.high,
            reason,
            f"{named}, p {shares[kind]:.3f}",
            model_digest=self.card.weights_sha256,
            facts=facts if verdict is Verdict.GOOD else (),
            place=place(odds),
        )

    def _age(self, film: Film, child: float) -> tuple[Finding, ...]:
        """A finding of its own when a frontal chest is surely a young child's and the header says adult.

        Not the other way round: most of fourteen children of three to nine years from another site looked
        like adults to the network, which has learned what one site's children of one to five look like.
        """
        age = film.header.age_years
        if age is None or age < ADULT_YEARS or child < SURE_OF_AGE:
            return ()
        return (
            Finding(
                self.name,
                Verdict.BAD,
                child,
                SURE_OF_AGE,
                SURE_OF_AGE,
                Reason.AGE_CONTRADICTS,
                f"a child's chest, p {child:.3f}; the header says {age:.0f} years",
                model_digest=self.card.weights_sha256,
            ),
        )


def looked(net: Ask, pose: Pose) -> list[float]:
    """Log-odds of each kind, of AP and of child: the mean of the upright film and its mirror image."""
    out: list[float] = net(np.concatenate([pose.upright, pose.mirrored])).mean(axis=0).tolist()
    return out


def place(odds: list[float]) -> tuple[float, ...]:
    """Where a film lies among others: how far it is from the centre of each kind (`models.nets.Parts`)."""
    return tuple(math.sqrt(max(NEAR - kind, 0.0)) for kind in odds[: len(PARTS)])


def judged(odds: list[float], pose: Pose) -> tuple[float, Reason]:
    """From the log-odds of each kind: the score, and the reason that a low one means."""
    other = max(range(LATERAL, len(PARTS)), key=odds.__getitem__)
    chest = min(odds[FRONTAL], -odds[other])
    chest += TURN_WEIGHT * (pose.turn_odds - TURN_ZERO)
    chest += POLARITY_WEIGHT * (pose.polarity_odds - POLARITY_ZERO)
    score = probability(chest)
    if odds[other] < 0:
        return score, Reason.UNKNOWN_ANATOMY
    return score, {LATERAL: Reason.LATERAL, NO_FILM: Reason.NOT_A_RADIOGRAPH}.get(other, Reason.OTHER_PART)
