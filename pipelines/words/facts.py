"""Measured values of a finding (`Finding.facts`) in plain words. Nothing is held for them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable


def in_words(facts: Iterable[tuple[str, float]]) -> str:
    """`(("tilt_deg", 3.1), ("ap", 0.97))` is "tilted 3 degrees clockwise; AP, p .97".

    A value that is not finite is left out, and so are coordinates of boxes, which are for programs; a name
    that is not known here is shown as it is.
    """
    texts = (_text(name, value) for name, value in facts if math.isfinite(value))
    return "; ".join(filter(None, texts))


def _text(name: str, value: float) -> str:
    if name in WORDS:
        return WORDS[name](value)
    box = BOX.fullmatch(name)
    if not box:
        return f"{name} {value:.4g}"
    return f"box {box[1]}, p {_share(value)}" if box[2] == "p" else ""


def _tilt(degrees: float) -> str:
    """Positive is clockwise, as displayed."""
    whole = round(abs(degrees))
    if not whole:
        return "not tilted"
    way = "clockwise" if degrees > 0 else "counter-clockwise"
    return f"tilted {whole} degree{'s' if whole > 1 else ''} {way}"


def _either(first: str, second: str) -> Callable[[float], str]:
    """Words for a probability of `first` against `second`."""
    return lambda p: f"{first}, p {_share(p)}" if p >= 0.5 else f"{second}, p {_share(1 - p)}"


def _share(p: float) -> str:
    return f"{p:.2f}".removeprefix("0")


BOX = re.compile(r"box(\d+)_(x0|y0|x1|y1|p)")  # of a region gate: each of its boxes
WORDS: dict[str, Callable[[float], str]] = {
    "tilt_deg": _tilt,
    "ap": _either("AP", "PA"),
    "child": _either("a child's chest", "an adult's chest"),
}
