"""Films are decoded, and corrected copies made, in a child: `gateway.sandbox.decoder_child` in a sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gateway.sandbox.parent import Sandbox, integer_in, value_in
from gateway.store import Store
from pipelines.film import PREVIEW_PX, REJECTION_TITLES, WHOLE, Damage, Film, Header, Operations, Rejected
from pipelines.instance.rejected import MOST
from pipelines.json_values import plain

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
        answer, raw = self._ask(path, {"do": "film", "long_side": long_side}, most=4 * long_side**2)
        try:
            return _film(answer, raw, long_side)
        except (KeyError, TypeError, ValueError) as error:
            raise self._distrust() from error

    def pixel_digest(self, path: Path) -> str:
        """sha256 of all stored values, the same in any transfer syntax; objects without pixels share one.

        Raises DecodeError.
        """
        answer, _ = self._ask(path, {"do": "digest"}, most=0)
        return str(answer.get("digest", ""))[:64]

    def header(self, path: Path) -> Header:
        """The header alone, of an object whose pixels nobody needs. Raises DecodeError."""
        answer, _ = self._ask(path, {"do": "header"}, most=0)
        try:
            return value_in(Header, answer["header"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._distrust() from error

    def rejected(self, path: Path) -> Rejected | None:
        """The instances that a Key Object rejects; None when it rejects none. Raises DecodeError."""
        answer, _ = self._ask(path, {"do": "rejected"}, most=0)
        try:
            return _rejected(answer) if answer else None
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
            "operations": plain(operations),
            "models": models,
            "zone": self._zone,
            "now": (now or datetime.now(UTC)).isoformat(),
        }
        answer, raw = self._ask(path, request, most=MAX_COPY)
        try:
            derived = value_in(Derived, answer)
        except (KeyError, TypeError, ValueError) as error:
            raise self._distrust() from error
        out.write_bytes(raw)
        return derived


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

    def at_hand(self, digest: str) -> Film | None:
        """The same if it is the last film; nothing is decoded for it."""
        return self._last[1] if self._last and self._last[0] == digest else None


def _film(answer: dict[str, Any], raw: bytearray, long_side: int) -> Film:
    height, width = (integer_in(value, 1, long_side) for value in answer["shape"])
    pixels = np.frombuffer(raw, dtype="<f4").reshape(height, width)
    if not (pixels.min() >= 0.0 and pixels.max() <= 1.0):  # false for NaN too
        raise ValueError("pixels outside [0, 1]")
    down, across = (float(value) for value in answer["scale"])
    damage = _damage(answer["damage"]) if answer["damage"] else None
    return Film(
        value_in(Header, answer["header"]), pixels, (down, across), float(answer["stored_range"]), damage
    )


def _damage(answer: dict[str, Any]) -> Damage:
    damage = value_in(Damage, answer)
    if not damage.box.inside(WHOLE):
        raise ValueError("a box outside the picture")
    return damage


def _rejected(answer: dict[str, Any]) -> Rejected:
    rejected = value_in(Rejected, answer, most=MOST + 1)
    if rejected.code not in REJECTION_TITLES or len(rejected.instances) > MOST:
        raise ValueError("no rejection that there is")
    return rejected
