"""Films are decoded, and corrected copies made, in a child: `gateway.sandbox.decoder_child` in a sandbox."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gateway.sandbox.parent import Sandbox, header_told, integer_told, short_text
from gateway.store import Store
from pipelines.film import PREVIEW_PX, REJECTION_TITLES, Box, Damage, Film, Operations, Rejected
from pipelines.rejected import MOST

MAX_COPY = 2**30  # bytes of a corrected copy


@dataclass(frozen=True, slots=True)
class Derived:
    """What was written as a corrected copy."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str


class Decoder(Sandbox):
    """Decodes films in a child process; one request at a time, from any thread."""

    module = "gateway.sandbox.decoder_child"
    who = "decoder"

    def film(self, path: Path, *, long_side: int = PREVIEW_PX) -> Film:
        """The film for the gates or, with a larger `long_side`, for a person. Raises DecodeError."""
        told, raw = self._ask(path, {"do": "film", "long_side": long_side}, most=4 * long_side**2)
        try:
            return _film(told, raw, long_side)
        except (KeyError, TypeError, ValueError) as error:
            raise self._distrust() from error

    def pixel_digest(self, path: Path) -> str:
        """sha256 of all stored values, the same in any transfer syntax; objects without pixels share one.

        Raises DecodeError.
        """
        told, _ = self._ask(path, {"do": "digest"}, most=0)
        return str(told.get("digest", ""))[:64]

    def rejected(self, path: Path) -> Rejected | None:
        """The instances that a Key Object rejects; None when it rejects none. Raises DecodeError."""
        told, _ = self._ask(path, {"do": "rejected"}, most=0)
        try:
            return _rejected(told) if told else None
        except (KeyError, TypeError, ValueError) as error:
            raise self._distrust() from error

    def derive(
        self,
        path: Path,
        operations: Operations,
        models: dict[str, str],
        out: Path,
        *,
        now: datetime | None = None,
    ) -> Derived:
        """Write the corrected copy of `path` to `out`; `models` are the digests that it names.

        Raises DecodeError: COPY_FAILED or MULTI_FRAME when no honest copy can be made, or as `film` does.
        """
        request = {
            "do": "derive",
            "operations": asdict(operations),
            "models": models,
            "zone": self._zone,
            "now": (now or datetime.now(UTC)).isoformat(),
        }
        told, raw = self._ask(path, request, most=MAX_COPY)
        try:
            made = Derived(**{field.name: short_text(told[field.name]) for field in fields(Derived)})
        except (KeyError, TypeError, ValueError) as error:
            raise self._distrust() from error
        out.write_bytes(raw)
        return made


class LastFilm:
    """Films from the store. The last one is kept: whoever reads it comes right after the gates."""

    def __init__(self, store: Store, decoder: Decoder) -> None:
        self._store = store
        self._decoder = decoder
        self._last: tuple[str, Film] | None = None

    def __call__(self, digest: str) -> Film:
        """The film of this digest. Raises DecodeError, and FileNotFoundError."""
        if self._last is None or self._last[0] != digest:
            self._last = (digest, self._decoder.film(self._store.path(digest)))
        return self._last[1]


def _film(told: dict[str, Any], raw: bytearray, long_side: int) -> Film:
    height, width = (integer_told(value, 1, long_side) for value in told["shape"])
    pixels = np.frombuffer(raw, dtype="<f4").reshape(height, width)
    if not (pixels.min() >= 0.0 and pixels.max() <= 1.0):  # false for NaN too
        raise ValueError("pixels outside [0, 1]")
    down, across = (float(value) for value in told["scale"])
    damage = _damage(told["damage"]) if told["damage"] else None
    return Film(header_told(told["header"]), pixels, (down, across), float(told["stored_range"]), damage)


def _damage(told: dict[str, Any]) -> Damage:
    x0, y0, x1, y1 = (float(told["box"][side]) for side in ("x0", "y0", "x1", "y1"))
    if not (0.0 <= x0 < x1 <= 1.0 and 0.0 <= y0 < y1 <= 1.0):
        raise ValueError("a box outside the picture")
    return Damage(short_text(told["words"]), Box(x0, y0, x1, y1))


def _rejected(told: dict[str, Any]) -> Rejected:
    code, named = told["code"], tuple(map(short_text, told["instances"]))
    if code not in REJECTION_TITLES or len(named) > MOST:
        raise ValueError("no rejection that there is")
    return Rejected(code, named)
