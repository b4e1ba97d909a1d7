"""Hostile input stays outside: a long-lived, limited child does what must not hang or harm us.

The child runs one of our modules under limits on memory, CPU time and files, without our secrets in its
environment. What it answers is data from a stranger: sizes and types are checked, nothing is unpickled. A
child that crashes, hangs or runs out of memory is replaced, and what it was asked is asked once more; then it
is a DecodeError of the film. A child hangs when it spent its time asleep or on the processor; one that is
ready to run and gets no processor is waited for much longer, and is no fault of any film (NoTime).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, ClassVar, Self, TypeVar

from gateway.errors import DecodeError, NoTime, TookTooLong
from gateway.process.own_time import OwnTime
from gateway.sandbox import ANSWER, REQUEST
from pipelines.film import Header, Reason
from pipelines.json_values import from_stranger

T = TypeVar("T")

MAX_JSON = 2**20  # bytes of JSON in an answer
MOST_ITEMS = 100  # values of one attribute
BLOCK = 2**20  # bytes of an answer on their way to a file
ATTEMPTS = 2
LONGEST_WAIT_S = 200.0  # for the machine; with a film's own time it stays below a worker's LONGEST_JOB_S
_KILLS = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT}  # nobody's own fault, as SIGSEGV is
LOOK_S = 0.25  # between two looks at a child that does not answer
# glibc's own limits when it has learned (mallopt(3)). Left to learn, it may instead give all pages back
# after each film and take new ones: 1,300 page faults and a third more time for a film of 10 MB.
HEAP = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20)}
KEPT_ENVIRONMENT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "TMPDIR",
    "TZ",
    "PYTHONTZPATH",
    "FILMGATE_DECODER_TEST",
)


class Sandbox:
    """One child and what it is asked; one request at a time, from any thread.

    Args:
        timeout_s: of one request: what the child may spend on the processor or asleep.
        memory_mb: of its heap.
        wait_s: how much longer it is waited for while others keep it from the processor.
    """

    module: ClassVar[str]  # what the child runs
    who: ClassVar[str]  # in words

    def __init__(
        self,
        timeout_s: float = 10.0,
        memory_mb: int = 2048,
        zone: str = "",
        wait_s: float = LONGEST_WAIT_S,
    ) -> None:
        """`zone` is the name of the zone that what the child makes is dated in; "" is the machine's."""
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._zone = zone
        self._wait_s = wait_s
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The child's process id; None before the first request and after `close`."""
        return self._child.pid if self._child else None

    def warm_up(self, path: Path) -> None:
        """Start the child, so that the first film need not wait for what it loads. Any `path` will do."""
        try:
            self._ask(path, {"do": "ready"}, most=0, patient=False)
        except (DecodeError, NoTime):
            return  # it is started anew when there is something to do

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
    def _ask(
        self,
        path: Path,
        request: dict[str, Any],
        *,
        most: int,
        patient: bool = True,
        into: BinaryIO | None = None,
    ) -> tuple[dict[str, Any], bytearray]:
        """Ask the child, and a fresh one when it is lost.

        The raw bytes of the answer are written `into` a file where there is one: they may be many.

        Raises:
            DecodeError: it crashed, hung (TookTooLong) or ran out of memory, twice; or it says what is wrong
                with the film.
            NoTime: others kept it from the processor for too long, or killed it, twice.
            FileNotFoundError: a lost file is nothing that the film did.
            OSError: `into` cannot be written.
        """
        path.stat()
        request = {**request, "path": str(path.absolute())}
        with self._lock:
            wait_s = self._wait_s if patient else 0.0
            until = time.monotonic() + wait_s + ATTEMPTS * self._timeout_s
            lost = _ChildLost("")
            for _ in range(ATTEMPTS):
                try:
                    answer, raw = self._exchange(json.dumps(request).encode(), most, until, into)
                    break
                except NoTime:
                    self._end(at_once=True)  # else it answers this request when it is asked the next one
                    raise
                except _ChildLost as error:
                    lost = self._looked_at(error)
                    self._end(at_once=True)
            else:
                raise lost.as_error(self.who)
        if "error" in answer:
            raise _error(answer)
        return answer, raw

    def _exchange(
        self, request: bytes, most: int, until: float, into: BinaryIO | None
    ) -> tuple[dict[str, Any], bytearray]:
        child = self._running()
        patience = _Patience(child.pid, self.who, self._timeout_s, until)
        assert child.stdin
        assert child.stdout
        try:
            child.stdin.write(REQUEST.pack(len(request)) + request)
            child.stdin.flush()
        except OSError as error:
            raise _ChildEnded("crashed") from error
        json_size, raw_size = ANSWER.unpack(_read(child.stdout.fileno(), ANSWER.size, patience))
        if json_size > MAX_JSON or raw_size > most:
            raise _ChildLost("answered nonsense")
        answer_json = _read(child.stdout.fileno(), json_size, patience)
        raw = _read(child.stdout.fileno(), 0 if into else raw_size, patience)
        if into:
            self._pour(child.stdout.fileno(), raw_size, patience, into)
        try:
            answer = json.loads(answer_json)
        except ValueError as error:
            raise _ChildLost("answered nonsense") from error
        if not isinstance(answer, dict):
            raise _ChildLost("answered nonsense")
        return answer, raw

    def _pour(self, fd: int, size: int, patience: _Patience, into: BinaryIO) -> None:
        try:
            into.seek(0)
            into.truncate()
            into.writelines(_read(fd, min(BLOCK, size - at), patience) for at in range(0, size, BLOCK))
        except OSError:  # the rest of the answer is still to come
            self._end(at_once=True)
            raise

    def _looked_at(self, lost: _ChildLost) -> _ChildLost:
        """What became of a child that ended by itself: one that was killed had no part in it."""
        if not isinstance(lost, _ChildEnded) or self._child is None:
            return lost
        with suppress(subprocess.TimeoutExpired):
            signal_number = -self._child.wait(1.0)
            if signal_number in _KILLS:
                return _ChildKilled(f"was killed (signal {signal_number})")
        return lost

    def _distrust(self) -> DecodeError:
        self.close()
        return DecodeError(Reason.DECODE_FAILED, f"the {self.who} answered nonsense")

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
            [sys.executable, "-P", "-m", self.module, *limits],
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

    def as_error(self, who: str) -> DecodeError | NoTime:
        """Of the last of ATTEMPTS."""
        return DecodeError(Reason.DECODE_FAILED, self._text(who))

    def _text(self, who: str) -> str:
        return f"the {who} {self}, {ATTEMPTS} times"


class _ChildEnded(_ChildLost):
    """Raised when the child's pipes are closed."""


class _ChildLate(_ChildLost):
    """Raised when the child spent its time."""

    def as_error(self, who: str) -> DecodeError:
        return TookTooLong(Reason.DECODE_FAILED, self._text(who))


class _ChildKilled(_ChildLost):
    """Raised when somebody else ended the child: a person, or a kernel that is short of memory."""

    def as_error(self, who: str) -> NoTime:
        return NoTime(f"{self._text(who)}: this machine is short of memory, or somebody ends its processes")


class _Patience:
    """How much longer a child that was asked something is waited for."""

    def __init__(self, pid: int, who: str, timeout_s: float, until: float) -> None:
        self._pid = pid
        self._own_time: OwnTime | None = None  # from the first look on: most children answer before
        self._who = who
        self._timeout_s = timeout_s
        self._until = until

    def look(self) -> None:
        """
        Raises:
            _ChildLost: it had its time, and did not answer.
            NoTime: it did not have its time, for as long as we may wait.
        """
        if self._own_time is None:
            self._own_time = OwnTime(lambda: (self._pid,), most_s=2 * LOOK_S)
        elif self._own_time.look() >= self._timeout_s:
            raise _ChildLate("did not answer in time")
        self.look_at_the_clock()

    def look_at_the_clock(self) -> None:
        """
        Raises:
            NoTime: so long we may not wait, even for one that answers bit by bit.
        """
        if time.monotonic() >= self._until:
            raise NoTime(
                f"the {self._who} did not get to its work, other programs use the processor. "
                "Nothing happened to the film; it can be tried again later"
            )


def _environment() -> dict[str, str]:
    """Nothing secret, one thread, one heap, which keeps what a film needs for the next one."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    return {**kept, **single, **HEAP, "PYTHONPATH": str(Path(__file__).parents[2])}


def _read(fd: int, size: int, patience: _Patience) -> bytearray:
    """Exactly `size` bytes, unless patience ends before."""
    data = bytearray(size)
    view, got = memoryview(data), 0
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while got < size:
        while not poll.poll(LOOK_S * 1000):
            patience.look()
        patience.look_at_the_clock()
        count = os.readv(fd, [view[got:]])
        if not count:
            raise _ChildEnded("crashed or ran out of memory")
        got += count
    return data


# Answers, checked


def _error(answer: dict[str, Any]) -> DecodeError:
    try:
        header = None if answer.get("header") is None else value_in(Header, answer["header"])
        return DecodeError(Reason(answer["error"]), str(answer.get("text", ""))[:300], header)
    except (KeyError, TypeError, ValueError):
        return DecodeError(Reason.DECODE_FAILED, "the decoder answered nonsense")


def value_in(kind: type[T], answer: dict[str, Any], most: int = MOST_ITEMS) -> T:
    """A value of the core as it stands in an answer: every field there, each of its own type, texts short,
    and of each list the first `most` items.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    kept = {field.name: _bounded(answer[field.name], most) for field in fields(kind)}  # type: ignore[arg-type]
    return from_stranger(kind, kept)


def _bounded(value: object, most: int) -> object:
    if isinstance(value, str):
        return short_text(value)
    if isinstance(value, list):
        return [_bounded(item, most) for item in value[:most]]
    if isinstance(value, dict):
        return {short_text(key): _bounded(item, most) for key, item in value.items()}
    return value


def short_text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 1024:
        raise TypeError("not a short text")
    return value


def integer_in(value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or not low <= value <= high:
        raise ValueError("not a number in its range")
    return value
