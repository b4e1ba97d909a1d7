"""What `up` needs before it starts anything: lock, port, plan and a copy of the settings."""

from __future__ import annotations

import os
import queue
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from supervisor_stand_ins import ROLES, WAIT_S, Events, events, no_waits, settings, stand_ins, supervise

from gateway.errors import FilmgateError
from gateway.settings import (
    FolderDestination,
    Settings,
    load,
)
from gateway.supervisor import supervisor
from gateway.supervisor.lock import alone
from gateway.supervisor.plan import plan
from gateway.supervisor.port import check_port
from gateway.supervisor.processes import Spec
from gateway.supervisor.snapshot import child_environment, write_snapshot
from gateway.supervisor.supervisor import Supervisor

__all__ = ["events", "no_waits", "settings"]


def test_a_second_up_on_the_same_state_folder_is_refused(settings: Settings, events: Events) -> None:
    """Two supervisors would fight for the same films; the text names the first."""

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        second = [sys.executable, "-m", "gateway.cli", "up", "--state", str(settings.state)]
        shown = subprocess.run(second, capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert shown.returncode == 1
        assert f"another filmgate (process {os.getpid()}) runs on {settings.state}" in shown.stderr

    supervise(settings, act, stand_ins(events))


def test_a_taken_port_is_named_and_nothing_is_started(settings: Settings, events: Events) -> None:
    """SO_REUSEPORT would let two gateways share a port unseen."""
    with socket.create_server(("127.0.0.1", settings.gateway.port)):
        up = Supervisor(settings, reload=lambda: settings, say=print, plan=stand_ins(events))
        with pytest.raises(FilmgateError, match=f"port {settings.gateway.port} on 127.0.0.1 cannot be had"):
            up.run()
    check_port("127.0.0.1", settings.gateway.port)
    with pytest.raises(FilmgateError, match="cannot be had"):
        check_port("no.such.host.invalid", 104)


def test_after_an_up_that_was_killed_the_port_is_waited_for(settings: Settings, events: Events) -> None:
    """Its listeners finish what they receive first; who starts filmgate again need not try twice."""
    settings.state.mkdir(exist_ok=True)
    (settings.state / "up.lock").write_text("4242\n", encoding="ascii")
    last = socket.create_server(("127.0.0.1", settings.gateway.port))
    up = Supervisor(settings, reload=lambda: settings, say=print, plan=stand_ins(events))
    with capture_logs() as logs, ThreadPoolExecutor(1) as other:
        started = other.submit(until_said, logs, "the port is still taken", last.close)
        with alone(settings.state) as killed, up._take_port(killed) as port:
            assert port.getsockname()[1] == settings.gateway.port
        started.result()
    assert (settings.state / "up.lock").read_bytes() == b""
    with alone(settings.state) as killed:
        assert not killed


def until_said(logs: Sequence[Mapping[str, Any]], event: str, then: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not any(line["event"] == event for line in logs):
        assert time.monotonic() < end
        threading.Event().wait(0.01)
    then()


def test_children_end_with_a_supervisor_that_is_killed(
    tmp_path: Path, events: Events, free_port: int
) -> None:
    """kill -9 of the supervisor leaves nobody behind that holds port and files."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import supervisor_stand_ins as t
from pathlib import Path
settings = t.Settings(state=Path({str(tmp_path / "state")!r}), gateway=t.GatewaySettings(port={free_port}))
events = t.Events.__new__(t.Events)
events.path = {events.path!r}
t.supervisor.redis_server.answers = lambda _: True
t.Supervisor(settings, reload=lambda: settings, say=print, plan=t.stand_ins(events)).run()
"""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as up:
        try:
            for _ in ROLES:
                assert "started" in events.next()
        finally:  # else nobody ends it, and the test waits for it for ever
            up.kill()
        stopped = set()
        while stopped != set(ROLES):
            words = events.next()
            if "stopped" in words:
                stopped.add(words[0])


def test_children_read_a_private_copy_of_the_settings(settings: Settings) -> None:
    """The file that is edited meanwhile is not theirs; secrets in the copy are for this user alone."""
    path = write_snapshot(settings)
    assert load(path, settings.state, {}) == settings
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    env = {"FILMGATE_GATEWAY__PORT": "1", "FILMGATE_CRASH_AT": "commit:1", "HOME": "/"}
    assert child_environment(env) == {"FILMGATE_CRASH_AT": "commit:1", "HOME": "/"}


def test_children_read_the_characters_that_were_written(settings: Settings, tmp_path: Path) -> None:
    """Their copy is JSON, and they read it as YAML: beyond U+FFFF, and what YAML takes for a line's end."""
    letters = "\U00020bb7 \U0001f9b4 \u00e4 \u2028 \u2029 \u0085 \ufeff \uffff \t end"
    there = FolderDestination(kind="folder", path=tmp_path / letters)
    written = settings.model_copy(update={"destinations": {"archive": there}})
    (read,) = load(write_snapshot(written), settings.state).destinations.values()
    assert read == there


def test_the_plan_of_one_machine(settings: Settings) -> None:
    """Redis first, a worker a core unless told; neither Redis nor console where the settings say so."""
    names = [spec.name for spec in plan(settings, Path("c"))]
    assert names[:4] == ["redis", "listener 1", "dispatcher", "console"]
    assert len(names) == 4 + (os.cpu_count() or 1)
    env = {"FILMGATE_REDIS__URL": "redis://x", "FILMGATE_WORK__WORKERS": "3"}
    other = load(None, settings.state, env | {"FILMGATE_CONSOLE__ENABLED": "false"})
    names = [spec.name for spec in plan(other, Path("c"))]
    assert names == ["listener 1", "dispatcher", "worker 1", "worker 2", "worker 3"]


@pytest.mark.parametrize(
    ("wanted", "memory_mb", "running", "says"),
    [
        (0, 8192, 7, "7 of 16 cores: memory for 7"),
        (0, 65536, 16, ""),
        (12, 8192, 12, "more workers than memory"),
    ],
)
def test_workers_are_as_many_as_memory_is_for(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wanted: int,
    memory_mb: int,
    running: int,
    says: str,
) -> None:
    """A number that the settings name is taken, with a warning; a container's limit bounds the default."""
    monkeypatch.setattr("gateway.supervisor.machine.cores", lambda: 16)
    monkeypatch.setattr("gateway.supervisor.machine.memory_mb", lambda: memory_mb)
    work = settings.work.model_copy(update={"workers": wanted})
    specs = plan(settings.model_copy(update={"work": work}), Path("settings.json"))
    assert sum(spec.role == "worker" for spec in specs) == running
    told = capsys.readouterr().err
    assert says in told if says else told == ""


def test_a_console_that_never_comes_up_keeps_nothing_waiting(
    settings: Settings, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway is ready without it, and says where it would be; the others have not been touched."""
    monkeypatch.setattr(supervisor, "CONSOLE_WAIT_S", 0.2)
    dies = Spec("console", 1, (sys.executable, "-S", "-c", "raise SystemExit(1)"))
    plain = stand_ins(events)

    def specs(settings: Settings, config: Path) -> list[Spec]:
        return [*plain(settings, config), dies]

    def act(said: queue.Queue[str]) -> None:
        text = said.get(timeout=WAIT_S)
        assert text.startswith("filmgate is ready")
        assert f"no console at {settings.console.address} yet" in text

    supervise(settings, act, specs)
