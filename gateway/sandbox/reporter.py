"""Results are made in a child, as films are decoded: the header that they repeat is a stranger's.

`reporter_child` reads the original's header, and writes one report, picture, note or payload. It
is another child than the decoder's, because it loads what only results need.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from gateway.ledger.records import Made
from gateway.sandbox.parent import Sandbox, short_text
from gateway.store import Store
from pipelines.film import Film, Operations
from pipelines.json_values import plain
from pipelines.reading import NotRead, Reading

MAX_RESULT = 64 * 2**20  # bytes of a report, a picture or a payload


@dataclass(frozen=True, slots=True)
class Occasion:
    """What every result of one film says beside what was found: when, by what, and of which copy.

    `at` is stated in the objects. The same occasion makes the same bytes, so that a worker that died in
    between leaves nothing behind that its successor does not make again.
    """

    at: datetime
    models: dict[str, str]
    operations: Operations = Operations()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class Systems:
    """Who assigns the identifiers by which a result in FHIR names patient and order; None: it names none."""

    patient_system: str | None = None
    accession_system: str | None = None


class Reporter(Sandbox):
    """Makes results in a child process; one at a time, from any thread."""

    module = "gateway.sandbox.reporter_child"
    who = "maker of reports"

    def result(
        self,
        kind: str,
        path: Path,
        read: Reading | NotRead,
        occasion: Occasion,
        film: Film | None = None,
        systems: Systems | None = None,
    ) -> Result | None:
        """One result about the original at `path`; `film` is what the classifier saw, for the picture.

        `systems` are those of a result in FHIR. None when there is nothing to show of this kind. Raises
        DecodeError.
        """
        about: dict[str, Any] = {"read": _fields(read), "systems": plain(systems or Systems())}
        if film is not None:
            about["pixels"] = _packed(np.round(film.pixels * 255).astype(np.uint8))
        return self._result(kind, path, about, occasion)

    def rejection(
        self,
        path: Path,
        reasons: tuple[str, ...],
        *,
        who: str,
        note: str,
        occasion: Occasion,
        code: str = "",
    ) -> Result | None:
        """The Key Object note that a named person rejected the original at `path`, as `code` says, or for the
        `reasons` it was held for. Raises DecodeError."""
        about = {"reasons": list(reasons), "who": who, "note": note, "code": code}
        return self._result("rejection", path, about, occasion)

    def _result(self, kind: str, path: Path, about: dict[str, Any], occasion: Occasion) -> Result | None:
        dated = {"at": occasion.at.isoformat(), "models": occasion.models, "zone": self._zone}
        request = {"do": kind, "operations": plain(occasion.operations), **dated, **about}
        answer, raw = self._ask(path, request, most=MAX_RESULT)
        if not raw:
            return None
        try:
            keys = ("sop_class_uid", "sop_instance_uid", "transfer_syntax_uid")
            return Result(kind, bytes(raw), *(short_text(answer[key])[:64] for key in keys))
        except (KeyError, TypeError, ValueError) as error:
            raise self._distrust() from error


@dataclass(frozen=True, slots=True)
class Result:
    """A result that was made, and is not kept yet: the dataset of an object, or a payload."""

    kind: str
    data: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str  # of a payload: its media type

    def keep(self, store: Store, to: tuple[str, ...]) -> Made:
        """Into the store, as what we made ourselves. Raises StoreError."""
        uids = (self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid)
        incoming = store.begin(*uids, copy=True)
        incoming.write(self.data)
        kept = incoming.finish()
        return Made(self.kind, kept.digest, to, *uids)


def _fields(read: Reading | NotRead) -> dict[str, Any]:
    """A reading as JSON takes it."""
    if isinstance(read, NotRead):
        return plain(read)
    fields = {
        name: getattr(read, name) for name in ("classifier", "version", "model_digest", "exclusive", "shown")
    }
    fields["conditions"] = [plain(condition) for condition in read.conditions]
    fields["crop"] = plain(read.crop)
    fields["region"] = plain(read.region) if read.region else None
    fields["heat"] = None if read.heat is None else _packed(np.round(read.heat * 255).astype(np.uint8))
    return fields


def _packed(grey: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, Any]:
    return {"shape": list(grey.shape), "bytes": base64.b64encode(grey.tobytes()).decode()}
