"""Pictures for people are made in a child: `gateway.sandbox.decoder_child` in a sandbox of its own.

What it answers goes to a browser. This side looks at sizes and types and at nothing else, without numpy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from gateway.sandbox.parent import Sandbox, integer_in, value_in
from pipelines.film import Header
from pipelines.instance.tags import Tag
from pipelines.json_values import from_stranger

VIEW_PX = 2000  # long side of the values for a browser
MOST_THUMB = 2**20  # bytes of a JPEG
MOST_PICTURE = 2**24
MOST_TAGS = 2**21
MOST_TABLE = 2**16
MOST_WINDOWS = 8
JPEG_BEGINS, JPEG_ENDS = b"\xff\xd8\xff", b"\xff\xd9"
PNG_BEGINS = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Values:
    """A film's values for a browser (`pipelines.pixels.viewing.View`): rows x columns of 16 bits, little
    endian, and behind them a table of one grey for each whole number from 0 to `entries` - 1.
    """

    raw: bytearray
    rows: int
    columns: int
    entries: int
    step: float  # a pixel's value is its whole number * step + offset
    offset: float
    windows: tuple[tuple[float, float], ...]  # centre and width, of values
    inverse: bool  # the lowest values are white
    padded: bool  # 0 is padding, and black
    bits: int  # Bits Stored
    spacing: tuple[float, float] | None  # mm between rows and between columns


@dataclass(frozen=True, slots=True)
class Tags:
    """What a header says: what the gates go by, and every attribute as it stands."""

    header: Header
    tags: tuple[Tag, ...]


class Renderer(Sandbox):
    """Makes pictures in a child process; one at a time, from any thread."""

    module = "gateway.sandbox.decoder_child"
    who = "maker of pictures"

    def thumb(self, path: Path) -> bytes:
        """A small JPEG of the film as displayed. Raises DecodeError, NoTime and FileNotFoundError."""
        _, raw = self._ask(path, {"do": "thumb"}, most=MOST_THUMB)
        if not (raw.startswith(JPEG_BEGINS) and raw.endswith(JPEG_ENDS)):
            raise self._distrust()
        return bytes(raw)

    def picture(self, path: Path) -> bytes:
        """A PNG of a picture that we made, such as a heat map. Raises as `thumb` does."""
        _, raw = self._ask(path, {"do": "picture"}, most=MOST_PICTURE)
        if not raw.startswith(PNG_BEGINS):
            raise self._distrust()
        return bytes(raw)

    def tags(self, path: Path, *, revealed: bool) -> Tags:
        """All that the header says; who the patient is only when `revealed`. Raises as `thumb` does."""
        answer, raw = self._ask(path, {"do": "tags", "revealed": revealed}, most=MOST_TAGS)
        try:
            rows = tuple(from_stranger(Tag, row) for row in json.loads(raw))
            return Tags(value_in(Header, answer["header"]), rows)
        except (KeyError, TypeError, ValueError) as error:
            raise self._distrust() from error

    def values(self, path: Path, *, long_side: int = VIEW_PX) -> Values:
        """The film's values for a browser. Raises DecodeError, NoTime and FileNotFoundError."""
        request = {"do": "pixels", "long_side": long_side}
        answer, raw = self._ask(path, request, most=2 * long_side**2 + MOST_TABLE)
        try:
            return _values(answer, raw, long_side)
        except (KeyError, TypeError, ValueError) as error:
            raise self._distrust() from error


def _values(answer: dict[str, Any], raw: bytearray, long_side: int) -> Values:
    rows, columns = (integer_in(answer[name], 1, long_side) for name in ("rows", "columns"))
    entries = integer_in(answer["entries"], 1, MOST_TABLE)
    if len(raw) != 2 * rows * columns + entries:
        raise ValueError("another number of bytes than it says")
    windows = tuple(_pair(window) for window in answer["windows"][:MOST_WINDOWS])
    return Values(
        raw,
        rows,
        columns,
        entries,
        _finite(answer["step"]),
        _finite(answer["offset"]),
        windows,
        bool(answer["inverse"]),
        bool(answer["padded"]),
        integer_in(answer["bits"], 1, 32),
        _pair(answer["spacing"]) if answer["spacing"] else None,
    )


def _pair(value: object) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise TypeError("not two numbers")
    return _finite(value[0]), _finite(value[1])


def _finite(value: object) -> float:
    if not isinstance(value, int | float) or not isfinite(value):
        raise ValueError("not a number")
    return float(value)
