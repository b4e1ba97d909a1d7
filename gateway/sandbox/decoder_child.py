"""The child of `gateway.sandbox.decoder`: decodes hostile files, for the gates, for copies and for peers."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from dataclasses import asdict
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from gateway.sandbox.child import Actions, Answer, equipment_told, operations_told, serve
from pipelines.decode import decode_film, file_digest, stored_pixels
from pipelines.instance.rejected import rejected_by
from pipelines.instance.transcode import transcode
from pipelines.report.derived import NotDerivable, derive


def _film(path: Path, request: dict[str, Any]) -> Answer:
    film = decode_film(path, long_side=request["long_side"])
    told = {
        "header": asdict(film.header),
        "shape": film.pixels.shape,
        "scale": film.scale,
        "stored_range": film.stored_range,
        "damage": asdict(film.damage) if film.damage else None,
    }
    return told, film.pixels.astype("<f4", copy=False).data.cast("B")


def _digest(path: Path, _: dict[str, Any]) -> Answer:
    return {"digest": file_digest(path)}, b""


def _derive(path: Path, request: dict[str, Any]) -> Answer:
    ds, pixels = stored_pixels(path)
    made = derive(
        ds,
        pixels,
        operations_told(request["operations"]),
        equipment=equipment_told(request),
        now=datetime.fromisoformat(request["now"]),
    )
    written = BytesIO()
    made.save_as(written, enforce_file_format=True)
    told = {
        "sop_instance_uid": made.SOPInstanceUID,
        "sop_class_uid": made.SOPClassUID,
        "transfer_syntax_uid": made.file_meta.TransferSyntaxUID,
    }
    return told, written.getbuffer()


def _transcode(path: Path, request: dict[str, Any]) -> Answer:
    made = transcode(path, request["transfer_syntax"])
    told = {
        "size": len(made.dataset),
        "sha256": hashlib.sha256(made.dataset).hexdigest(),
        "pixels": made.pixels,
    }
    return told, made.dataset


def _rejected(path: Path, _: dict[str, Any]) -> Answer:
    found = rejected_by(path)
    return (asdict(found) if found else {}), b""


def _ready(_path: Path, _request: dict[str, Any]) -> Answer:
    return {}, b""


ACTIONS: Actions = {
    "ready": _ready,
    "film": _film,
    "digest": _digest,
    "derive": _derive,
    "transcode": _transcode,
    "rejected": _rejected,
}


def _misbehave_if_told() -> None:
    """FILMGATE_DECODER_TEST, off unless set: the faults that the parent must survive."""
    match os.environ.get("FILMGATE_DECODER_TEST"):
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(3600)
        case "spin":
            while True:
                pass
        case "hog":
            bytearray(6 * 2**30)
        case _:
            pass


if __name__ == "__main__":
    serve(ACTIONS, refusals=(NotDerivable,), before=_misbehave_if_told)
