"""Which films somebody takes: a classifier, by its card, or a destination, by the settings' `accepts`.

The words are those of the Standard, and nobody takes films by a word that none has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

# A film's view, and the modality of a projection radiograph (PS3.3 C.7.3.1.1.1; DR is what some rooms write).
VIEWS = ("PA", "AP", "frontal", "lateral", "other")
MODALITIES = ("CR", "DX", "DR", "RG", "RF", "XA", "MG", "IO", "PX", "OT")


@dataclass(frozen=True, slots=True)
class Accepts:
    """The films that are taken; ages are completed years."""

    views: tuple[str, ...] = ("PA", "AP", "frontal")
    min_age: float = 10.0
    max_age: float = 200.0
    unknown_age: bool = False
    modalities: tuple[str, ...] = ("CR", "DX", "DR", "RG")

    @classmethod
    def read(cls, card: Mapping[str, Any]) -> Accepts:
        """From the `accepts` of a card; what it does not say is as here.

        Raises:
            ValueError, TypeError: a key or a word that is not known, or an age that is none.
        """
        return Accepts(**{key: _READERS[key](value) for key, value in card.items() if _known(key)})


def view(word: str) -> str:
    """A word of `views`. Raises ValueError."""
    return _spelt(word, VIEWS, "view")


def modality(word: str) -> str:
    """A word of `modalities`. Raises ValueError."""
    return _spelt(word, MODALITIES, "modality")


def _spelt(word: str, known: tuple[str, ...], what: str) -> str:
    """One of the known words, whatever its case."""
    spelling = {one.lower(): one for one in known}.get(word.strip().lower())
    if spelling is not None:
        return spelling
    close = [one for one in known if get_close_matches(word.strip().lower(), [one.lower()], cutoff=0.5)]
    hint = f"did you mean {' or '.join(close[:2])}?" if close else f"known are {', '.join(known)}"
    raise ValueError(f"unknown {what} {word[:20]!r}, which no film has; {hint}")


def _known(key: str) -> bool:
    if key not in _READERS:
        raise ValueError(f"unknown key {key[:20]!r} in accepts")
    return True


def _views(words: Any) -> tuple[str, ...]:
    return tuple(view(str(word)) for word in words)


def _modalities(words: Any) -> tuple[str, ...]:
    return tuple(modality(str(word)) for word in words)


def _age(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError("an age is a number of years")
    return value


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("unknown_age is true or false")  # noqa: TRY004 - a card's value, no argument's type
    return value


_READERS: dict[str, Callable[[Any], Any]] = dict(
    zip((field.name for field in fields(Accepts)), (_views, _age, _age, _yes_or_no, _modalities), strict=True)
)
