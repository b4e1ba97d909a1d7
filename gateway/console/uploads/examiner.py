"""One thread, one child: what was uploaded is examined, one file after the other, at low priority.

The child loads torch and the gates when there is work, and ends after some idle minutes. It crashes, hangs or
runs out of memory for itself: that file's state says so, and the next one gets a fresh child.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from gateway.console.uploads.shelf import Shelf, State, Upload
from gateway.process.own_time import OwnTime
from gateway.settings import Settings

log = structlog.get_logger()

MODULE = "gateway.cli.classify.uploaded"
MOST_ANSWER = 1 << 20  # bytes of a line
LOOK_S = 0.25  # between two looks at a child that does not answer
SWEEP_S = 600.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the child is waited for: time of its own (asleep or at work), and by the clock."""

    load_s: float = 120.0
    film_s: float = 60.0
    clock_s: float = 900.0
    idle_s: float = 120.0  # without work it ends


class ChildLost(Exception):
    """Raised when the child died, or did not answer in its time."""


class Examiner:
    """Examines what lies on the shelf until it is closed."""

    def __init__(self, settings: Settings, shelf: Shelf, patience: Patience = Patience()) -> None:
        self._settings = settings
        self._shelf = shelf
        self._patience = patience
        self._child: subprocess.Popen[bytes] | None = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
        self.problems: tuple[str, ...] = ()  # what the child said that cannot be used

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        child = self._child
        return child.pid if child else None

    def start(self) -> None:
        self._thread.start()

    def look(self) -> None:
        """Something was queued."""
        self._wake.set()

    def close(self) -> None:
        """End thread and child; what was not examined is at the next start."""
        self._closing.set()
        self._wake.set()
        child = self._child
        if child is not None:
            child.kill()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        swept_at = -SWEEP_S
        while not self._closing.is_set():
            try:
                if time.monotonic() - swept_at > SWEEP_S:
                    self._shelf.sweep()
                    swept_at = time.monotonic()
                self._examine_all()
            except OSError as error:
                log.warning(
                    "uploads cannot be examined", error=error.strerror, meaning="films are not touched"
                )
            if not self._closing.is_set() and not self._wake.wait(self._patience.idle_s):
                self._end()
            self._wake.clear()
        self._end()

    def _examine_all(self) -> None:
        for owner, upload in self._shelf.queued():
            if self._closing.is_set():
                return
            examining = self._shelf.put(owner, replace(upload, state=State.EXAMINING))
            ended = self._examined(owner, examining)
            if self._closing.is_set() and ended.state is State.FAILED:
                return  # it was us; it is examined at the next start
            if self._shelf.get(owner, upload.sha256) is not None:  # nobody took it away meanwhile
                self._shelf.put(owner, ended)

    def _examined(self, owner: str, upload: Upload) -> Upload:
        film, heat = (self._shelf.picture(owner, upload.sha256, heat=heat) for heat in (False, True))
        path = self._shelf.file(owner, upload.sha256)
        request = {"path": str(path), "film_png": str(film), "heat_png": str(heat)}
        try:
            answer = self._ask(request, self._patience.film_s)
        except ChildLost as error:
            self._end()
            words = f"{error}. The other files go on; films are not touched. Remove it, or try it again."
            return replace(upload, state=State.FAILED, error=words)
        if "error" in answer:
            return replace(upload, state=State.FAILED, error=str(answer["error"])[:500])
        return replace(upload, state=State.DONE, answer=answer)

    # The child

    def _ask(self, request: dict[str, Any], own_s: float) -> dict[str, Any]:
        if self._child is None or self._child.poll() is not None:
            self._end()
            self._begin()
        return self._exchange(json.dumps(request).encode(), own_s)

    def _begin(self) -> None:
        command = [sys.executable, "-P", "-m", MODULE, str(os.getpid())]
        environment = dict(os.environ) | {
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "OMP_NUM_THREADS": "1",
        }
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # codecs print what they find in files
            env=environment,
        )
        answer = self._exchange(self._settings.model_dump_json(by_alias=True).encode(), self._patience.load_s)
        if "error" in answer:
            raise ChildLost(f"the gates cannot be used: {answer['error']}")
        self.problems = tuple(str(problem) for problem in answer.get("ready", ()))

    def _exchange(self, line: bytes, own_s: float) -> dict[str, Any]:
        child = self._child
        assert child is not None
        assert child.stdin
        try:
            child.stdin.write(line + b"\n")
            child.stdin.flush()
            answer = json.loads(self._line(child, own_s))
        except (OSError, ValueError) as error:
            raise ChildLost("the program that examines files crashed at this one") from error
        if not isinstance(answer, dict):
            raise ChildLost("the program that examines files answered nonsense")
        return answer

    def _line(self, child: subprocess.Popen[bytes], own_s: float) -> bytes:
        """One line of its answer. Raises ChildLost, or ValueError for the end of its output."""
        assert child.stdout
        own_time = OwnTime(lambda: (child.pid,), most_s=2 * LOOK_S)
        until, got = time.monotonic() + self._patience.clock_s, bytearray()
        poll = select.poll()
        poll.register(child.stdout, select.POLLIN)
        while not got.endswith(b"\n"):
            if not poll.poll(LOOK_S * 1000):
                if own_time.look() >= own_s or time.monotonic() > until:
                    raise ChildLost("the program that examines files did not come to an end with this one")
                continue
            piece = os.read(child.stdout.fileno(), 1 << 16)
            if not piece or len(got) > MOST_ANSWER:
                raise ValueError("no whole line")
            got += piece
        return bytes(got)

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe:
                try:
                    pipe.close()
                except OSError:  # what was still to be written to it
                    continue
