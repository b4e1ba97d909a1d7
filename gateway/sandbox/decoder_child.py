"""The child of `gateway.sandbox.decoder`: decodes hostile files, for gates, copies, peers and people."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from dataclasses import asdict, replace
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from gateway.sandbox.child import Actions, Answer, equipment_of, operations_of, serve
from pipelines.decode import decode_film, file_digest, stored_pixels
from pipelines.film import Identity
from pipelines.instance.part10 import parse
from pipelines.instance.rejected import rejected_by
from pipelines.instance.tags import tags_of
from pipelines.instance.transcode import transcode
from pipelines.pixels.viewing import png_of, thumbnail_of, view
from pipelines.report.derived import NotDerivable, derive


def _film(path: Path, request: dict[str, Any]) -> Answer:
    film = decode_film(path, long_side=request["long_side"])
    answer = {
        "header": asdict(film.header),
        "shape": film.pixels.shape,
        "scale": film.scale,
        "stored_range": film.stored_range,
        "damage": asdict(film.damage) if film.damage else None,
    }
    return answer, film.pixels.astype("<f4", copy=False).data.cast("B")


def _header(path: Path, _: dict[str, Any]) -> Answer:
    return {"header": asdict(parse(path).header)}, b""


def _digest(path: Path, _: dict[str, Any]) -> Answer:
    return {"digest": file_digest(path)}, b""


def _derive(path: Path, request: dict[str, Any]) -> Answer:
    ds, pixels = stored_pixels(path)
    copy = derive(
        ds,
        pixels,
        operations_of(request),
        equipment=equipment_of(request),
        now=datetime.fromisoformat(request["now"]),
    )
    written = BytesIO()
    copy.save_as(written, enforce_file_format=True)
    answer = {
        "sop_instance_uid": copy.SOPInstanceUID,
        "sop_class_uid": copy.SOPClassUID,
        "transfer_syntax_uid": copy.file_meta.TransferSyntaxUID,
    }
    return answer, written.getbuffer()


def _transcode(path: Path, request: dict[str, Any]) -> Answer:
    transcoded = transcode(path, request["transfer_syntax"])
    answer = {
        "size": len(transcoded.dataset),
        "sha256": hashlib.sha256(transcoded.dataset).hexdigest(),
        "pixels": transcoded.pixels,
    }
    return answer, transcoded.dataset


def _rejected(path: Path, _: dict[str, Any]) -> Answer:
    rejected = rejected_by(path)
    return (asdict(rejected) if rejected else {}), b""


def _thumb(path: Path, _: dict[str, Any]) -> Answer:
    return {}, thumbnail_of(path)


def _pixels(path: Path, request: dict[str, Any]) -> Answer:
    """Of a `View`: the numbers in the answer; pixels, then the table, in the raw bytes."""
    shown = view(path, long_side=request["long_side"])
    answer = {
        "rows": shown.pixels.shape[0],
        "columns": shown.pixels.shape[1],
        "entries": len(shown.table),
        "step": shown.step,
        "offset": shown.offset,
        "windows": shown.windows,
        "inverse": shown.inverse,
        "padded": shown.padded,
        "bits": shown.bits,
        "spacing": shown.spacing,
    }
    return answer, shown.pixels.astype("<u2", copy=False).tobytes() + shown.table.tobytes()


def _picture(path: Path, _: dict[str, Any]) -> Answer:
    return {}, png_of(path)


def _tags(path: Path, request: dict[str, Any]) -> Answer:
    part = parse(path)
    tags = [asdict(tag) for tag in tags_of(part, revealed=request["revealed"])]
    header = asdict(replace(part.header, identity=Identity()))
    return {"header": header}, json.dumps(tags, ensure_ascii=False).encode("utf-8", "replace")


def _ready(_path: Path, _request: dict[str, Any]) -> Answer:
    return {}, b""


ACTIONS: Actions = {
    "ready": _ready,
    "film": _film,
    "header": _header,
    "digest": _digest,
    "derive": _derive,
    "transcode": _transcode,
    "rejected": _rejected,
    "thumb": _thumb,
    "pixels": _pixels,
    "picture": _picture,
    "tags": _tags,
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
