"""What an act says of a film, beyond what the person names: no more than the act truly says.

| act | says |
|---|---|
| release, of a film held as turned or perhaps turned | turned: 0 |
| release, held as (perhaps) inverted or of unclear polarity | polarity: normal |
| release, held as perhaps mirrored | mirror: normal |
| release, held as badly exposed | exposure: usable |
| accept or correct | turned: as far as it was put back; polarity: inverted where it was inverted, else |
| | normal; mirror: flipped where it was flipped, else normal where it was held for that; exposure: usable |
| reject, with a reason of CID 7011 that is about exposure | exposure: unusable |
| a key 1 to 9, a drawn box, relabel | what it names |
| blind check, "yes" | frontal chest, turned: 0, polarity: normal, mirror: normal, exposure: usable |
| anything else | nothing |

A release says nothing of view and part: which AI gets the film is the person's business. A rejection for any
other reason says nothing of the picture: the patient may be the wrong one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gateway.ledger.labelling.words import CHEST, FRONTAL, What
from pipelines.film import Operations, Reason

_EXPOSURES = (Reason.BLANK, Reason.WASHED_OUT, Reason.CLIPPED, Reason.OVEREXPOSED, Reason.UNDEREXPOSED)
RELEASED: dict[str, tuple[What, str]] = {
    Reason.ROTATED_90: (What.TURNED, "0"),
    Reason.ROTATED_180: (What.TURNED, "0"),
    Reason.ROTATED_270: (What.TURNED, "0"),
    Reason.ROTATION_UNSURE: (What.TURNED, "0"),
    Reason.INVERTED: (What.POLARITY, "normal"),
    Reason.INVERSION_UNSURE: (What.POLARITY, "normal"),
    Reason.POLARITY_AMBIGUOUS: (What.POLARITY, "normal"),
    Reason.MIRROR_SUSPECTED: (What.MIRROR, "normal"),
    **dict.fromkeys(_EXPOSURES, (What.EXPOSURE, "usable")),
}
# PS3.16 CID 7011: Double exposure, Under exposed, Over exposed, No image
ABOUT_EXPOSURE = frozenset({"113026", "111211", "111212", "111213"})
ALL_RIGHT: dict[What, str] = {
    What.VIEW: FRONTAL,
    What.PART: CHEST,
    What.TURNED: "0",
    What.POLARITY: "normal",
    What.MIRROR: "normal",
    What.EXPOSURE: "usable",
}


def said_by(
    act: str,
    *,
    reasons: Collection[str] = (),
    operations: Operations | None = None,
    flip: bool = False,
    reason: str = "",
    labels: Mapping[What, str] | None = None,
) -> dict[What, str]:
    """What one act says.

    Args:
        act: a word of the console's and of the command line's acts.
        reasons: that the film was held for.
        operations: what was done to the stored film, as Operations: of the proposal that was accepted, too.
        flip: it was flipped left to right as well.
        reason: the code of CID 7011 that a rejection names, or "".
        labels: what the person named; it goes before what the act says.
    """
    said: dict[What, str] = {}
    if act == "release":
        said = dict(RELEASED[one] for one in reasons if one in RELEASED)
    elif act in ("accept", "correct") and operations is not None:
        said = _corrected(operations, flip=flip, suspected=Reason.MIRROR_SUSPECTED in reasons)
    elif act == "reject" and reason in ABOUT_EXPOSURE:
        said = {What.EXPOSURE: "unusable"}
    return said | dict(labels or {})


def _corrected(operations: Operations, *, flip: bool, suspected: bool) -> dict[What, str]:
    said = {
        What.TURNED: str((360 - operations.turn) % 360),
        What.POLARITY: "inverted" if operations.invert else "normal",
        What.EXPOSURE: "usable",
    }
    if flip or suspected:
        said[What.MIRROR] = "flipped" if flip else "normal"
    return said
