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

from gateway.sandbox.child import Actions, Answer, equipment_of, operations_of, our_version, serve
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

MEDIA_TYPES = {"json": "application/json", "fhir": "application/fhir+json"}

Fields = dict[str, Any]


def _sr(source: Dataset, request: Fields, occasion: Fields) -> Answer:
    return _object(reading_report(source, _reading(request["read"]), **occasion))


def _heatmap(source: Dataset, request: Fields, occasion: Fields) -> Answer:
    return _object(capture(source, _greys(request["pixels"]), _reading(request["read"]), **occasion))


def _gsps(source: Dataset, request: Fields, occasion: Fields) -> Answer:
    return _object(presentation_state(source, _reading(request["read"]), **occasion))


def _json(source: Dataset, request: Fields, occasion: Fields) -> Answer:
    return _payload("json", plain_result(source, _either(request["read"]), **occasion))


def _fhir(source: Dataset, request: Fields, occasion: Fields) -> Answer:
    return _payload(
        "fhir", diagnostic_report(source, _either(request["read"]), **request["systems"], **occasion)
    )


def _not_analysed(source: Dataset, request: Fields, occasion: Fields) -> Answer:
    read = _not_read(request["read"])
    return _object(not_analysed_report(source, read, at=occasion["at"], equipment=occasion["equipment"]))


def _rejection(source: Dataset, request: Fields, occasion: Fields) -> Answer:
    reasons = [Reason(reason) for reason in request["reasons"]]
    why = {
        "who": request["who"],
        "note": request["note"],
        "code": request["code"],
        "at": occasion["at"],
        "equipment": occasion["equipment"],
    }
    return _object(rejection_note(source, reasons, **why))


def _about(make: Callable[[Dataset, Fields, Fields], Answer]) -> Callable[[Path, Fields], Answer]:
    """`make` on the original's header, with what every result says."""

    def action(path: Path, request: Fields) -> Answer:
        occasion = {
            "at": datetime.fromisoformat(request["at"]),
            "equipment": equipment_of(request),
            "operations": operations_of(request),
        }
        return make(parse(path).ds, request, occasion)

    return action


def _ready(_path: Path, _request: Fields) -> Answer:
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


def _object(result: Dataset | None) -> Answer:
    """The bytes of its dataset; group 2 is the store's to write."""
    if result is None:
        return {}, b""
    written = DicomBytesIO()
    written.is_implicit_VR, written.is_little_endian = False, True
    write_dataset(written, result)
    answer = {
        "sop_class_uid": result.SOPClassUID,
        "sop_instance_uid": result.SOPInstanceUID,
        "transfer_syntax_uid": ExplicitVRLittleEndian,
    }
    return answer, written.getvalue()


def _payload(kind: str, content: Fields) -> Answer:
    uids = {"sop_class_uid": "", "sop_instance_uid": "", "transfer_syntax_uid": MEDIA_TYPES[kind]}
    return uids, json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def _either(fields: Fields) -> Reading | NotRead:
    return _not_read(fields) if "code" in fields else _reading(fields)


def _not_read(fields: Fields) -> NotRead:
    return NotRead(**{**fields, "code": Unread(fields["code"])})


def _reading(fields: Fields) -> Reading:
    conditions = tuple(Condition(**condition) for condition in fields["conditions"])
    region = Box(**fields["region"]) if fields["region"] else None
    heat = _greys(fields["heat"]) if fields["heat"] else None
    values = {"conditions": conditions, "crop": Box(**fields["crop"]), "region": region, "heat": heat}
    return Reading(**{**fields, **values})


def _greys(packed: Fields) -> NDArray[np.float32]:
    """(H, W) float32 in [0, 1]."""
    grey = np.frombuffer(base64.b64decode(packed["bytes"]), np.uint8).reshape(packed["shape"])
    return grey.astype(np.float32) / np.float32(255)


if __name__ == "__main__":
    serve(ACTIONS, refusals=(NotReportable,))
