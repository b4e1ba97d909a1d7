"""Why films are rejected: the reasons that the menu offers, each with its digit."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.film import REJECT_REASONS

_IN_ORDER = ("111209", "111210", "111211", "111212", "111213", "111207", "111219", "111218", "111220")


@dataclass(frozen=True, slots=True)
class Reject:
    """A line of the menu; the code is of PS3.16 CID 7011."""

    key: str
    code: str
    words: str


REJECTS = tuple(Reject(str(key), code, REJECT_REASONS[code]) for key, code in enumerate(_IN_ORDER, start=1))
