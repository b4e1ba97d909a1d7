"""Processes that stand in for those of a gateway, and a supervisor that runs them while a test acts."""

from __future__ import annotations

import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.settings import (
    GatewaySettings,
    Settings,
)
from gateway.supervisor import supervisor
from gateway.supervisor.plan import plan
from gateway.supervisor.processes import Spec
from gateway.supervisor.supervisor import Supervisor

ROLES = ("redis", "listener", "dispatcher", "worker")
WAIT_S = 90.0  # on a machine that others use
# Tells the test what it does; is ready at once; stops when asked, or never ("stubborn"); as a worker writes
# on and on ("loud"). Says nothing to a supervisor that was killed meanwhile.
STAND_IN = """
import os, signal, socket, sys, threading
events = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
events.connect(sys.argv[1])
name, say = os.environ["FILMGATE_PROCESS"], lambda text: events.send(text.encode())
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("a line of", name, flush=True)
def shout():
    while True: os.write(2, b"%4000d\\n" % 1)
if "loud" in sys.argv and "worker" in name: threading.Thread(target=shout, daemon=True).start()
say(f"{name} started {os.getpid()}")
pipe = int(os.environ["FILMGATE_READY_FD"])
try: os.write(pipe, b"ready")
except BrokenPipeError: pass
if "mute" not in sys.argv: os.close(pipe)
signal.sigwait({signal.SIGTERM})
say(f"{name} stopped {os.getpid()}")
if "stubborn" in sys.argv: signal.pause()
"""


class Events:
    """What the stand-ins tell, in order."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "events")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(WAIT_S)

    def next(self, start: str = "") -> list[str]:
        """Wait for the next one (that starts so), as words after the process's name."""
        while True:
            text = self._socket.recv(200).decode()
            if text.startswith(start):
                return text.split()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def events(tmp_path: Path) -> Iterator[Events]:
    heard = Events(tmp_path)
    yield heard
    heard.close()


@pytest.fixture
def settings(tmp_path: Path, free_port: int) -> Settings:
    return Settings(state=tmp_path / "state", gateway=GatewaySettings(port=free_port))


def stand_ins(events: Events, *extra: str) -> Callable[[Settings, Path], list[Spec]]:
    command = (sys.executable, "-S", "-c", STAND_IN, events.path, *extra)
    return lambda settings, _: [
        Spec(role, number, command)
        for role in ROLES
        for number in range(1, settings.gateway.processes + 1 if role == "listener" else 2)
    ]


Act = Callable[["queue.Queue[str]"], None]


def supervise(
    settings: Settings,
    act: Act,
    specs: Callable[[Settings, Path], list[Spec]],
    reload: Callable[[], Settings] | None = None,
    hang_s: float = supervisor.HANG_S,
    taken: Callable[[Settings], None] = lambda _: None,
) -> None:
    """Supervise in this thread while `act` does things in another; SIGTERM when it is done."""
    said: queue.Queue[str] = queue.Queue()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            act(said)
        except BaseException as error:  # noqa: BLE001  told to the test below
            failed.append(error)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=run)
    up = Supervisor(
        settings,
        reload=reload or (lambda: settings),
        say=said.put,
        plan=specs,
        hang_s=hang_s,
        taken=taken,
    )
    thread.start()
    up.run()
    thread.join()
    if failed:
        raise failed[0]


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.redis_server.answers", lambda _: True)
    monkeypatch.setattr(supervisor, "PORT_WAIT_S", 0.0)


def impatient(settings: Settings) -> Settings:
    """Nobody waits long for this ledger, so a loop that stands still can be told soon."""
    return settings.model_copy(update={"ledger": settings.ledger.model_copy(update={"busy_timeout_s": 0.1})})


def real(events: Events) -> Callable[[Settings, Path], list[Spec]]:
    """Real listeners and a real dispatcher; a stand-in for the worker, which loads networks."""

    def specs(settings: Settings, config: Path) -> list[Spec]:
        roles = ("listener", "dispatcher")
        ours = [spec for spec in plan(settings, config) if spec.role in roles]
        return ours + [spec for spec in stand_ins(events)(settings, config) if spec.role == "worker"]

    return specs


def children(role: str) -> list[int]:
    """The processes of that command which the supervisor, in the main thread, started."""
    found = []
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with suppress(OSError):
            if f"\0{role}\0" in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(int(pid))
    return found


def await_another(role: str, old: int) -> None:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        if (now := children(role)) and old not in now:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"no other {role}")
