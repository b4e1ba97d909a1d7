"""The child of `gateway.sandbox.reporter`: reads a hostile film's header, and writes what was found of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from gateway.sandbox.child import Actions, Answer, equipment_told, operations_told, our_version, serve
from gateway.sandbox.reporter import MEDIA_TYPES
from pipelines.film import Box, Reason
from pipelines.instance.part10 import parse
from pipelines.reading import Condition, NotRead, Reading, Unread
from pipelines.report.capture import capture
from pipelines.report.fhir import diagnostic_report
from pipelines.report.identity import Equipment, NotReportable
from pipelines.report.measurement_report import not_analysed_report, reading_report
from pipelines.report.plain import plain_result
from pipelines.report.presentation import presentation_state
from pipelines.report.rejection import rejection_note

Told = dict[str, Any]


def _sr(source: Dataset, told: Told, said: Told) -> Answer:
    return _object(reading_report(source, _reading(told["read"]), **said))


def _heatmap(source: Dataset, told: Told, said: Told) -> Answer:
    return _object(capture(source, _greys(told["pixels"]), _reading(told["read"]), **said))


def _gsps(source: Dataset, told: Told, said: Told) -> Answer:
    return _object(presentation_state(source, _reading(told["read"]), **said))


def _json(source: Dataset, told: Told, said: Told) -> Answer:
    return _payload("json", plain_result(source, _either(told["read"]), **said))


def _fhir(source: Dataset, told: Told, said: Told) -> Answer:
    return _payload("fhir", diagnostic_report(source, _either(told["read"]), **told["systems"], **said))


def _not_analysed(source: Dataset, told: Told, said: Told) -> Answer:
    read = _not_read(told["read"])
    return _object(not_analysed_report(source, read, at=said["at"], equipment=said["equipment"]))


def _rejection(source: Dataset, told: Told, said: Told) -> Answer:
    reasons = [Reason(reason) for reason in told["reasons"]]
    why = {"who": told["who"], "note": told["note"], "at": said["at"], "equipment": said["equipment"]}
    return _object(rejection_note(source, reasons, **why))


def _about(make: Callable[[Dataset, Told, Told], Answer]) -> Callable[[Path, Told], Answer]:
    """`make` on the original's header, with what every result says."""

    def action(path: Path, told: Told) -> Answer:
        said = {
            "at": datetime.fromisoformat(told["at"]),
            "equipment": equipment_told(told),
            "operations": operations_told(told["operations"]),
        }
        return make(parse(path).ds, told, said)

    return action


def _ready(_path: Path, _told: Told) -> Answer:
    """A first report of nothing: highdicom and pydicom look up most of what they need once."""
    film = Dataset()
    film.SOPClassUID = DigitalXRayImageStorageForPresentation
    film.SOPInstanceUID, film.StudyInstanceUID, film.SeriesInstanceUID = "2.25.1", "2.25.2", "2.25.3"
    nothing = Reading("none", "0", "0" * 64, (Condition("Effusion", 0.0),))
    reading_report(film, nothing, at=datetime.now(UTC), equipment=Equipment(our_version(), {}))
    return {}, b""


ACTIONS: Actions = {
    "ready": _ready,
    "sr": _about(_sr),
    "heatmap": _about(_heatmap),
    "gsps": _about(_gsps),
    "json": _about(_json),
    "fhir": _about(_fhir),
    "not_analysed": _about(_not_analysed),
    "rejection": _about(_rejection),
}


def _object(made: Dataset | None) -> Answer:
    """The bytes of its dataset; group 2 is the store's to write."""
    if made is None:
        return {}, b""
    written = DicomBytesIO()
    written.is_implicit_VR, written.is_little_endian = False, True
    write_dataset(written, made)
    told = {
        "sop_class_uid": made.SOPClassUID,
        "sop_instance_uid": made.SOPInstanceUID,
        "transfer_syntax_uid": ExplicitVRLittleEndian,
    }
    return told, written.getvalue()


def _payload(kind: str, content: Told) -> Answer:
    uids = {"sop_class_uid": "", "sop_instance_uid": "", "transfer_syntax_uid": MEDIA_TYPES[kind]}
    return uids, json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def _either(told: Told) -> Reading | NotRead:
    return _not_read(told) if "code" in told else _reading(told)


def _not_read(told: Told) -> NotRead:
    return NotRead(**{**told, "code": Unread(told["code"])})


def _reading(told: Told) -> Reading:
    conditions = tuple(Condition(**condition) for condition in told["conditions"])
    region = Box(**told["region"]) if told["region"] else None
    heat = _greys(told["heat"]) if told["heat"] else None
    found = {"conditions": conditions, "crop": Box(**told["crop"]), "region": region, "heat": heat}
    return Reading(**{**told, **found})


def _greys(packed: Told) -> NDArray[np.float32]:
    """(H, W) float32 in [0, 1]."""
    grey = np.frombuffer(base64.b64decode(packed["bytes"]), np.uint8).reshape(packed["shape"])
    return grey.astype(np.float32) / np.float32(255)


if __name__ == "__main__":
    serve(ACTIONS, refusals=(NotReportable,))
