"""One process of the gateway: how it is started, heard, asked to stop, and killed with all it started."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

log = structlog.get_logger()

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
HEALTHY_S = 60.0  # a child that lived so long starts again without delay

_PR_SET_PDEATHSIG = 1
_LONGEST_LINE = 1 << 16
_MOST_CHUNKS = 32  # of 64 KiB, read at once from a child that writes on and on


@dataclass(frozen=True, slots=True)
class Spec:
    """One process that should run."""

    role: str  # "redis", "listener", "dispatcher" or "worker"
    number: int
    command: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.role} {self.number}" if self.role in ("listener", "worker") else self.role


class Child:
    """A process that runs, or that waits for its time to be started again.

    `output` and `ready_pipe` are file descriptors to select on while the process runs, else -1.
    """

    def __init__(self, spec: Spec, *, after: Child | None = None) -> None:
        self.spec = spec
        self.pid = 0
        self.ready = False
        self.unwanted = False  # not to be started again
        self.output = -1
        self.ready_pipe = -1
        self._after = after  # started when this one is gone
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_at = 0.0
        self._failures = 0
        self._asked = False
        self._plain = False
        self._line = b""

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def failures(self) -> int:
        """How often it ended before its time, in a row."""
        return self._failures

    @property
    def healthy(self) -> bool:
        """Whether it has run for a while."""
        return self.running and time.monotonic() - self._started_at >= HEALTHY_S

    @property
    def due(self) -> bool:
        """Whether it is time to start it."""
        waits = self._after is not None and self._after.running
        return not (self.running or self.unwanted or waits) and time.monotonic() >= self._start_at

    def start(self, env: Mapping[str, str]) -> bool:
        """Start the process; False, and another time later, when that fails."""
        self.ready_pipe, ready_end = os.pipe()
        own = {"FILMGATE_READY_FD": str(ready_end), "FILMGATE_PROCESS": self.spec.name}
        self.output, output_end = os.pipe()
        os.set_blocking(self.output, False)
        try:
            self._process = subprocess.Popen(
                self.spec.command,
                stdin=subprocess.DEVNULL,
                stdout=output_end,
                stderr=output_end,
                env={**env, **own},
                pass_fds=(ready_end,),
                umask=0o077 if self.spec.role == "redis" else -1,  # its files are as open as that lets them
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops all in order
                preexec_fn=partial(tie_to_parent, os.getpid()),  # noqa: PLW1509  others only write
            )
        except OSError as error:
            log.error("process not started", name=self.spec.name, error=str(error))
            self._close()
            self._wait_longer()
            return False
        finally:
            os.close(ready_end)
            os.close(output_end)
        self.pid, self._started_at = self._process.pid, time.monotonic()
        return True

    def ended(self) -> str:
        """How it ended; "" while it runs. What it started itself ends too, and its next start is set."""
        if self._process is None or self._process.poll() is None:
            return ""
        code = self._process.returncode
        self.hear(plain=self._plain)
        if self._line:  # the last one, cut short
            self._pass_on(self._line)
            self._line = b""
        self._close()
        self._process, self.ready = None, False
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        if time.monotonic() - self._started_at >= HEALTHY_S:
            self._failures = 0
        self._wait_longer()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    @property
    def next_start_s(self) -> float:
        """Seconds until it is due again."""
        return max(0.0, round(self._start_at - time.monotonic(), 1))

    def ask(self) -> None:
        """Ask it, once, to finish what it does and stop; one that was halted (SIGSTOP) goes on to hear it."""
        if not self._asked and self._process is not None:
            self._asked = True
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it and all it started, now."""
        if self._process is not None and self._process.poll() is None:
            log.warning("process killed", name=self.spec.name)
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def hear_ready(self) -> None:
        """Take its word that it is ready, or the end of the pipe without it."""
        self.ready = bool(os.read(self.ready_pipe, 64))
        os.close(self.ready_pipe)
        self.ready_pipe = -1

    def hear(self, *, plain: bool = False) -> bool:
        """Pass on, whole line by whole line, what it wrote; False at the end of it.

        No more than _MOST_CHUNKS at once: the supervisor has others to hear, and signals.
        """
        self._plain = plain
        try:
            for _ in range(_MOST_CHUNKS):
                if not (chunk := os.read(self.output, 1 << 16)):
                    return False
                *lines, self._line = (self._line + chunk).split(b"\n")
                if len(self._line) > _LONGEST_LINE:
                    lines, self._line = [*lines, self._line], b""
                for line in lines:
                    self._pass_on(line)
        except BlockingIOError:
            pass
        return True

    def _pass_on(self, line: bytes) -> None:
        prefix = "" if self._plain else f"{self.spec.name:<10} | "
        sys.stderr.write(prefix + line.decode(errors="backslashreplace") + "\n")

    def _wait_longer(self) -> None:
        wait_s = min(FIRST_BACKOFF_S * 2**self._failures, LONGEST_BACKOFF_S)
        self._failures += 1
        self._start_at = time.monotonic() + wait_s

    def _close(self) -> None:
        for end in (self.output, self.ready_pipe):
            if end >= 0:
                os.close(end)
        self.output = self.ready_pipe = -1


def own_code(env: Mapping[str, str]) -> dict[str, str]:
    """Children are started with `-P`: a file in the working folder must not pass for a module.

    Where this process found its own code there, in a checkout that is not installed, they are told the place.
    """
    root = str(Path(__file__).parents[1])
    if sys.flags.safe_path or sys.path[:1] != [root]:
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, (root, env.get("PYTHONPATH"))))}


def tie_to_parent(parent: int) -> None:
    """For `preexec_fn`: the child is asked to stop when `parent` ends, whatever ends that."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
