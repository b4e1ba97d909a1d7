"""What a film may show, as the anatomy network tells it apart: the order of its answers."""

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
AP, CHILD = len(PARTS), len(PARTS) + 1  # the network's last two answers, beside the kinds
