"""Hostile input stays outside: a long-lived, limited child decodes, and is killed when it does not answer.

The child (`gateway.decoder_child`) runs `pipelines.decode` and `pipelines.report.derived` under limits on
memory, CPU time and files, without our secrets in its environment. What it answers is data from a stranger:
sizes and types are checked, nothing is unpickled. A child that crashes, hangs or runs out of memory is
replaced, and what it was asked is asked once more; then it is a DecodeError of the film.

On the pipes: a request is `>I` length and JSON; an answer is `>IQ` lengths, JSON and raw bytes.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from gateway.errors import DecodeError
from pipelines.film import PREVIEW_PX, Film, Header, Operations, Reason

REQUEST = struct.Struct(">I")
ANSWER = struct.Struct(">IQ")
MAX_TOLD = 2**20  # bytes of JSON in an answer
MAX_COPY = 2**30  # bytes of a corrected copy
ATTEMPTS = 2
KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "FILMGATE_DECODER_TEST")


@dataclass(frozen=True, slots=True)
class Derived:
    """What was written as a corrected copy."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str


class Decoder:
    """Decodes films in a child process; one request at a time, from any thread."""

    def __init__(self, timeout_s: float = 10.0, memory_mb: int = 2048) -> None:
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The child's process id; None before the first request and after `close`."""
        return self._child.pid if self._child else None

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
            "now": (now or datetime.now(UTC)).isoformat(),
        }
        told, raw = self._ask(path, request, most=MAX_COPY)
        try:
            made = Derived(**{field.name: _short_text(told[field.name]) for field in fields(Derived)})
        except (KeyError, TypeError, ValueError) as error:
            raise self._distrust() from error
        out.write_bytes(raw)
        return made

    def close(self) -> None:
        """Ends the child."""
        with self._lock:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Asking

    def _ask(self, path: Path, request: dict[str, Any], *, most: int) -> tuple[dict[str, Any], bytearray]:
        """Raises DecodeError, and FileNotFoundError at once: a lost file is nothing that the film did."""
        path.stat()
        request = {**request, "path": str(path.absolute())}
        with self._lock:
            for _ in range(ATTEMPTS):
                try:
                    told, raw = self._exchange(json.dumps(request).encode(), most)
                    break
                except _ChildLost as lost:
                    why = str(lost)
                    self._end(at_once=True)
            else:
                raise DecodeError(Reason.DECODE_FAILED, f"the decoder {why}, {ATTEMPTS} times")
        if "error" in told:
            raise _error(told)
        return told, raw

    def _exchange(self, request: bytes, most: int) -> tuple[dict[str, Any], bytearray]:
        child = self._running()
        deadline = time.monotonic() + self._timeout_s
        assert child.stdin
        assert child.stdout
        try:
            child.stdin.write(REQUEST.pack(len(request)) + request)
            child.stdin.flush()
        except OSError as error:
            raise _ChildLost("crashed") from error
        told_size, raw_size = ANSWER.unpack(_read(child.stdout.fileno(), ANSWER.size, deadline))
        if told_size > MAX_TOLD or raw_size > most:
            raise _ChildLost("answered nonsense")
        told = _read(child.stdout.fileno(), told_size, deadline)
        raw = _read(child.stdout.fileno(), raw_size, deadline)
        try:
            answer = json.loads(told)
        except ValueError as error:
            raise _ChildLost("answered nonsense") from error
        if not isinstance(answer, dict):
            raise _ChildLost("answered nonsense")
        return answer, raw

    def _distrust(self) -> DecodeError:
        self.close()
        return DecodeError(Reason.DECODE_FAILED, "the decoder answered nonsense")

    # The child

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child and self._child.poll() is not None:
            self._end(at_once=True)
        if not self._child:
            self._child = self._start()
        return self._child

    def _start(self) -> subprocess.Popen[bytes]:
        limits = [str(os.getpid()), str(self._memory_mb), str(self._timeout_s)]
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "gateway.decoder_child", *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # codecs print what they find in files
            env=_environment(),
            pipesize=2**20,
        )
        assert child.stdout
        os.set_blocking(child.stdout.fileno(), False)
        return child

    def _end(self, *, at_once: bool = False) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin
        assert child.stdout
        if at_once:
            child.kill()
        try:
            child.stdin.close()  # end of input: an idle child leaves
        except OSError:
            child.kill()
        try:
            child.wait(1.0)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()


class _ChildLost(Exception):
    """Raised when the child died, or did not answer in time."""


def _environment() -> dict[str, str]:
    """Nothing secret, one thread, one heap."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    return {**kept, **single, "PYTHONPATH": str(Path(__file__).parents[1])}


def _read(fd: int, size: int, deadline: float) -> bytearray:
    """Exactly `size` bytes before the deadline."""
    data = bytearray(size)
    view, got = memoryview(data), 0
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while got < size:
        left_ms = (deadline - time.monotonic()) * 1000
        if left_ms <= 0 or not poll.poll(left_ms):
            raise _ChildLost("did not answer in time")
        count = os.readv(fd, [view[got:]])
        if not count:
            raise _ChildLost("crashed or ran out of memory")
        got += count
    return data


# Answers, checked


def _film(told: dict[str, Any], raw: bytearray, long_side: int) -> Film:
    height, width = (_integer(value, 1, long_side) for value in told["shape"])
    pixels = np.frombuffer(raw, dtype="<f4").reshape(height, width)
    if not (pixels.min() >= 0.0 and pixels.max() <= 1.0):  # false for NaN too
        raise ValueError("pixels outside [0, 1]")
    down, across = (float(value) for value in told["scale"])
    return Film(_header(told["header"]), pixels, (down, across), float(told["stored_range"]))


def _error(told: dict[str, Any]) -> DecodeError:
    try:
        header = None if told.get("header") is None else _header(told["header"])
        return DecodeError(Reason(told["error"]), str(told.get("text", ""))[:300], header)
    except (KeyError, TypeError, ValueError):
        return DecodeError(Reason.DECODE_FAILED, "the decoder answered nonsense")


def _header(told: dict[str, Any]) -> Header:
    """Every field there, of the type of its default, nothing else."""
    blank = Header()
    found: dict[str, Any] = {
        field.name: _like(getattr(blank, field.name), told[field.name]) for field in fields(Header)
    }
    return Header(**found)


def _like(default: object, value: object) -> object:
    if default is None:  # age_years
        return None if value is None else float(str(value))
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(_short_text(item) for item in value[:100])
    if type(value) is not type(default):
        raise TypeError(f"{type(value).__name__} where {type(default).__name__} belongs")
    return _short_text(value) if isinstance(value, str) else value


def _short_text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 1024:
        raise TypeError("not a short text")
    return value


def _integer(value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or not low <= value <= high:
        raise ValueError("not a number in its range")
    return value
