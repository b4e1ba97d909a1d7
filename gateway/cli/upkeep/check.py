"""One line of `filmgate doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    what: str
    result: str  # "ok", "warning" or "error"
    detail: str
