"""The child of `gateway.decoder`: reads requests, runs the core on hostile files, answers. Loads no torch.

python -m gateway.decoder_child PARENT_PID MEMORY_MB TIMEOUT_S
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import config

from gateway.decoder import ANSWER, REQUEST
from pipelines.decode import Undecodable, decode_film, file_digest, stored_pixels
from pipelines.film import Box, Operations, Reason
from pipelines.report.derived import Equipment, NotDerivable, derive

PR_SET_PDEATHSIG = 1  # linux/prctl.h

Answer = tuple[dict[str, Any], bytes | memoryview]


def main() -> None:
    """Serve until the parent closes the pipe, or dies."""
    parent_pid, memory_mb, timeout_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    requests, answers = _own_pipes()
    _limit(parent_pid, memory_mb)
    config.settings.reading_validation_mode = config.settings.writing_validation_mode = config.IGNORE
    while head := requests.read(REQUEST.size):
        request = json.loads(requests.read(REQUEST.unpack(head)[0]))
        _allow_cpu(timeout_s)
        _misbehave_if_told()
        told, raw = _answer(request)
        text = json.dumps(told).encode()
        answers.write(ANSWER.pack(len(text), len(raw)) + text)
        answers.write(raw)
        answers.flush()


def _answer(request: dict[str, Any]) -> Answer:
    try:
        return ACTIONS[request["do"]](Path(request["path"]), request)
    except Undecodable as error:
        header = asdict(error.header) if error.header else None
        return {"error": error.reason.value, "text": str(error), "header": header}, b""
    except NotDerivable as error:
        return {"error": Reason.COPY_FAILED.value, "text": str(error)}, b""
    except MemoryError:
        raise  # a process that ran out of memory is not worth keeping
    except Exception as error:  # noqa: BLE001 - hostile files find every bug; where it was helps, values stay here
        at = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__} in {at.name}, line {at.lineno}"
        return {"error": Reason.DECODE_FAILED.value, "text": text}, b""


def _film(path: Path, request: dict[str, Any]) -> Answer:
    film = decode_film(path, long_side=request["long_side"])
    told = {
        "header": asdict(film.header),
        "shape": film.pixels.shape,
        "scale": film.scale,
        "stored_range": film.stored_range,
    }
    return told, film.pixels.astype("<f4", copy=False).data.cast("B")


def _digest(path: Path, _: dict[str, Any]) -> Answer:
    return {"digest": file_digest(path)}, b""


def _derive(path: Path, request: dict[str, Any]) -> Answer:
    ds, pixels = stored_pixels(path)
    made = derive(
        ds,
        pixels,
        _operations(request["operations"]),
        equipment=Equipment(_version(), request["models"]),
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


ACTIONS: dict[str, Callable[[Path, dict[str, Any]], Answer]] = {
    "film": _film,
    "digest": _digest,
    "derive": _derive,
}


def _operations(told: dict[str, Any]) -> Operations:
    crop = Box(**told["crop"]) if told["crop"] else None
    return Operations(crop=crop, turn=told["turn"], invert=told["invert"])


def _version() -> str:
    try:
        return version("filmgate")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


# Limits


def _own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Our pipes under other numbers: what a library prints must not get into an answer."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    return requests, answers


def _limit(parent_pid: int, memory_mb: int) -> None:
    """Heap, no files written, no core dumps; gone when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who then closes the pipe
    if sys.platform == "linux":  # when the thread that started us ends; its next request starts another child
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit()
    _lower(resource.RLIMIT_DATA, memory_mb * 2**20)  # files that are mapped do not count, so large ones open
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_CORE, 0)


def _lower(what: int, limit: int) -> None:
    hard = resource.getrlimit(what)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(what, (limit, limit))


def _allow_cpu(timeout_s: float) -> None:
    """SIGXCPU kills us, should the parent be unable to."""
    used = time.process_time()
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + timeout_s) + 2, hard))


def _misbehave_if_told() -> None:
    """FILMGATE_DECODER_TEST, off unless set: the faults that the parent must survive."""
    match os.environ.get("FILMGATE_DECODER_TEST"):
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(3600)
        case "hog":
            bytearray(6 * 2**30)
        case _:
            pass


if __name__ == "__main__":
    main()
