"""What the outputs of the anatomy network stand for, in their order."""

from __future__ import annotations

PARTS = (
    "frontal chest",
    "lateral chest",
    "pelvis or hip",
    "spine",
    "skull or jaw",
    "upper limb",
    "lower limb",
    "no radiograph",
)
FRONTAL, LATERAL, PELVIS, SPINE, SKULL, UPPER, LOWER, NO_FILM = range(len(PARTS))
AP, CHILD = len(PARTS), len(PARTS) + 1  # columns of the network's last two outputs
