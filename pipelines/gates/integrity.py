"""Integrity gate: whether all stored values show a picture that is whole.

They are looked at where they are decoded (`pipelines.pixels.damage`), row by row as they lie in the file: the
preview that the other gates see shows too little of it. A broken codestream never comes as far as this.
"""

from __future__ import annotations

from pipelines.film import Film, Finding, Reason, Verdict


class IntegrityGate:
    """Computed, no network: tells what decoding found."""

    name = "integrity"

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        if film.damage is None:
            return (Finding(self.name, Verdict.GOOD, 1.0),)
        damage = film.damage
        return (
            Finding(
                self.name,
                Verdict.BAD,
                reason=Reason.PIXELS_DAMAGED,
                detail=damage.words,
                box=damage.box,
            ),
        )
