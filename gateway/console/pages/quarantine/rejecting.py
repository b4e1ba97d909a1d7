"""Why films are rejected: the codes of PS3.16 CID 7011 that the menu offers, each with its digit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reject:
    """A line of the menu."""

    key: str
    code: str  # DCM
    words: str


REJECTS: tuple[Reject, ...] = (
    Reject("1", "111209", "Positioning"),
    Reject("2", "111210", "Motion blur"),
    Reject("3", "111211", "Under exposed"),
    Reject("4", "111212", "Over exposed"),
    Reject("5", "111213", "No image"),
    Reject("6", "111207", "Image artifact"),
    Reject("7", "111219", "Inappropriate image processing"),
    Reject("8", "111218", "Software failure"),
    Reject("9", "111220", "Other failure"),
)
