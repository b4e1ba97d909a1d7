"""The keys 1 to 9: what a film shows. One table for pages, the sheet and `relabel`."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.ledger.labelling.words import CHEST, FRONTAL, LATERAL, NOT_CHEST, What


@dataclass(frozen=True, slots=True)
class KeyLabel:
    """One key and what it says."""

    key: str
    name: str
    view: str
    part: str

    @property
    def labels(self) -> dict[str, str]:
        """As `relabel` takes them."""
        return {What.VIEW.value: self.view, What.PART.value: self.part}


KEYS: tuple[KeyLabel, ...] = (
    KeyLabel("1", "frontal chest", FRONTAL, CHEST),
    KeyLabel("2", "lateral chest", LATERAL, CHEST),
    KeyLabel("3", "hand or wrist", NOT_CHEST, "hand"),
    KeyLabel("4", "arm or shoulder", NOT_CHEST, "arm"),
    KeyLabel("5", "leg, knee or foot", NOT_CHEST, "leg"),
    KeyLabel("6", "pelvis or hip", NOT_CHEST, "pelvis"),
    KeyLabel("7", "spine", NOT_CHEST, "spine"),
    KeyLabel("8", "abdomen", NOT_CHEST, "abdomen"),
    KeyLabel("9", "anything else", NOT_CHEST, "other"),
)
