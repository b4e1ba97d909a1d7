"""The child's side of a sandbox: reads requests, runs the core on hostile files, answers. Loads no torch.

python -m MODULE PARENT_PID MEMORY_MB TIMEOUT_S
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
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import config

from gateway.process import clock
from gateway.sandbox import ANSWER, REQUEST
from pipelines.film import Box, Operations, Reason
from pipelines.part10 import Undecodable
from pipelines.report.identity import Equipment

PR_SET_PDEATHSIG = 1  # linux/prctl.h

Answer = tuple[dict[str, Any], bytes | memoryview]
Actions = Mapping[str, Callable[[Path, dict[str, Any]], Answer]]


def serve(
    actions: Actions, *, refusals: tuple[type[Exception], ...] = (), before: Callable[[], object] = bool
) -> None:
    """Serve until the parent closes the pipe, or dies. `refusals` are answered with their text."""
    parent_pid, memory_mb, timeout_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    requests, answers = _own_pipes()
    _limit(parent_pid, memory_mb)
    config.settings.reading_validation_mode = config.settings.writing_validation_mode = config.IGNORE
    while head := requests.read(REQUEST.size):
        request = json.loads(requests.read(REQUEST.unpack(head)[0]))
        _allow_cpu(timeout_s)
        before()
        answer, raw = _answer(actions, request, refusals)
        text = json.dumps(answer).encode()
        answers.write(ANSWER.pack(len(text), len(raw)) + text)
        answers.write(raw)
        answers.flush()


def _answer(actions: Actions, request: dict[str, Any], refusals: tuple[type[Exception], ...]) -> Answer:
    try:
        return actions[request["do"]](Path(request["path"]), request)
    except Undecodable as error:
        header = asdict(error.header) if error.header else None
        return {"error": error.reason.value, "text": str(error), "header": header}, b""
    except refusals as error:
        return {"error": Reason.COPY_FAILED.value, "text": str(error)}, b""
    except MemoryError:
        raise  # a process that ran out of memory is not worth keeping
    except Exception as error:  # noqa: BLE001 - hostile files find every bug; where it was helps, values stay here
        at = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__} in {at.name}, line {at.lineno}"
        return {"error": Reason.DECODE_FAILED.value, "text": text}, b""


def operations_of(request: dict[str, Any]) -> Operations:
    """The operations in a request, which is ours; this child loads no more for them than it must."""
    fields = request["operations"]
    crop = Box(**fields["crop"]) if fields["crop"] else None
    return Operations(**{**fields, "crop": crop})


def equipment_of(request: dict[str, Any]) -> Equipment:
    """Who makes the object: our version, the models that the request names, and its zone's clock."""
    return Equipment(our_version(), request["models"], clock.zone(request["zone"]))


def our_version() -> str:
    """The version that objects name."""
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
    for one in (signal.SIGINT, signal.SIGTERM):  # they are for the parent, who closes the pipe in the end
        signal.signal(one, signal.SIG_IGN)
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
