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

from gateway.process.own_time import OwnTime
from gateway.process.supervised import LEAVING, LISTEN_FD, READY_FD

log = structlog.get_logger()

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
HEALTHY_S = 60.0  # a child that lived so long starts again without delay
LOOK_S = 1.0  # between two looks at a process that is not heard
KILL_WAIT_S = 1.0  # for the end of a process that was killed: one that waits for a disk may be long

_PR_SET_PDEATHSIG = 1
_LONGEST_LINE = 1 << 16
_MOST_CHUNKS = 32  # of 64 KiB, read at once from a child that writes on and on


@dataclass(frozen=True, slots=True)
class Spec:
    """One process that should run."""

    role: str  # "redis", "listener", "dispatcher", "console" or "worker"
    number: int
    command: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.role} {self.number}" if self.role in ("listener", "worker") else self.role


class Silence:
    """How long a process has sent no heartbeat, in time of its own: `OwnTime`.

    Nothing is looked at before `look_s` of silence. A supervisor that looks late, because it was stopped or
    had no processor, has not seen the process silent meanwhile: a look adds two of `look_s` at most.
    """

    def __init__(self, pid: int, look_s: float) -> None:
        self._pid = pid
        self._look_s = look_s
        self.broken()

    def broken(self) -> None:
        """A heartbeat came."""
        self._own: OwnTime | None = None
        self._look_at = time.monotonic() + self._look_s
        self._lasts_s = 0.0

    def lasts_s(self) -> float:
        """Look at it, if it is time to, and say for how long it is silent."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + self._look_s
            if self._own is None:
                self._own = OwnTime(lambda: (self._pid,), most_s=2 * self._look_s)
            self._lasts_s = self._own.look()
        return self._lasts_s


class Child:
    """A process that runs, or that waits for its time to be started again.

    `output` and `ready_pipe` are file descriptors to select on while the process runs, else -1.

    Args:
        spec: the process.
        after: another that must have ended before this one is started.
        look_s: how often it is looked at while it is silent.
    """

    def __init__(self, spec: Spec, *, after: Child | None = None, look_s: float = LOOK_S) -> None:
        self.spec = spec
        self._look_s = look_s
        self.pid = 0
        self.ready = False
        self.leaves = False  # it was told to stop, and takes nothing new
        self.unwanted = False  # not to be started again
        self.output = -1
        self.ready_pipe = -1
        self._after = after
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_at = 0.0
        self._failures = 0
        self._asked = False
        self._plain = False
        self._killed = False
        self._silence: Silence | None = None
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

    @property
    def after(self) -> Child | None:
        """The process that must end before this one starts."""
        return self if self.running else self._after

    def start(self, env: Mapping[str, str], listening: int = -1) -> bool:
        """Start the process; False, and another time later, when that fails.

        `listening` is the file descriptor of a socket that it may accept connections from.
        """
        self.ready_pipe, ready_end = os.pipe()
        own = {READY_FD: str(ready_end), "FILMGATE_PROCESS": self.spec.name}
        if listening >= 0:
            own[LISTEN_FD] = str(listening)
        self.output, output_end = os.pipe()
        os.set_blocking(self.output, False)
        try:
            self._process = subprocess.Popen(
                self.spec.command,
                stdin=subprocess.DEVNULL,
                stdout=output_end,
                stderr=output_end,
                env={**env, **own},
                pass_fds=[fd for fd in (ready_end, listening) if fd >= 0],
                umask=0o077 if self.spec.role == "redis" else -1,  # its files are as open as that lets them
                # Ctrl-C reaches the supervisor alone, which stops all in order. No session of its own: Linux
                # shares the processor out among sessions, and a worker would give way within its own alone.
                process_group=0,
                preexec_fn=partial(_begin, os.getpid()),  # noqa: PLW1509  others only write
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
        self.leaves = self._asked = self._killed = False
        self._silence = None
        return True

    def ended(self) -> str:
        """How it ended; "" while it runs. What it started is ended too, and its next start is planned."""
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
        return f"killed by {_signal_name(-code)}" if code < 0 else f"exit code {code}"

    @property
    def next_start_s(self) -> float:
        """Seconds until it is due again."""
        return max(0.0, round(self._start_at - time.monotonic(), 1))

    def ask(self) -> None:
        """Ask it, once, to finish what it does and stop; one that was halted (SIGSTOP) goes on to hear it."""
        if not self._asked and self._process is not None:
            self._asked = True
            self._silence = Silence(self.pid, self._look_s)
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)

    @property
    def asked(self) -> bool:
        return self._asked and self.running

    def kill(self) -> None:
        """End it and all it started, now."""
        if self._process is not None and not self._killed and self._process.poll() is None:
            self._killed = True
            log.warning("process killed", name=self.spec.name)
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_WAIT_S)

    def hear_heartbeat(self) -> bool:
        """Read whether it is ready, alive or leaving; False at the end of the pipe.

        A process that closes the pipe, or is not ready yet, is not watched: it may load networks for minutes.
        """
        words = os.read(self.ready_pipe, 1 << 12)
        if not words:
            os.close(self.ready_pipe)
            self.ready_pipe = -1
            self._silence = self._silence if self._asked else None
            return False
        self.ready = True
        self.leaves = self.leaves or LEAVING in words
        if not self._asked:
            self._silence = self._silence or Silence(self.pid, self._look_s)
            self._silence.broken()
        return True

    def silent_s(self) -> float:
        """For how long its loop did not go round, or since when it was asked to stop, in time of its own.

        0 when it is not watched, or killed already.
        """
        watched = self.running and not self._killed
        return self._silence.lasts_s() if watched and self._silence is not None else 0.0

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

    Where this process found its own code there, in a checkout that is not installed, PYTHONPATH names it.
    """
    root = str(Path(__file__).parents[2])
    if sys.flags.safe_path or sys.path[:1] != [root]:
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, (root, env.get("PYTHONPATH"))))}


def _begin(parent: int) -> None:
    """In the child, before its program: SIGHUP is for the supervisor, and passes over what it runs.

    `systemctl kill -s HUP` and `pkill -HUP -f` send it to all of them, and it would end a listener in the
    middle of a film. An ignored signal stays ignored in the program that is begun.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    tie_to_parent(parent)


def _signal_name(number: int) -> str:
    """ "SIGKILL"; those for real time have no names of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def tie_to_parent(parent: int) -> None:
    """For `preexec_fn`: the child is asked to stop when `parent` ends, whatever ends that."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
