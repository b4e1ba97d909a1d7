"""The doorbell on a real Redis: it rings, it survives Redis, it carries nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from disks import small_disk

from gateway.doorbell import QUEUE, Doorbell
from gateway.redis_server import program

Change = Callable[["redis.Redis", Path], None]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with redis_on(f"{tmp_path}/r.sock", tmp_path) as socket:
        yield socket


@contextmanager
def redis_on(socket: str, folder: Path) -> Iterator[str]:
    """A redis-server of our own on a unix socket, with its append-only file in a folder."""
    command = (str(program()), "--port", "0", "--unixsocket", socket, "--save", "", "--dir", str(folder))
    process = subprocess.Popen(
        (*command, "--appendonly", "yes", "--appendfsync", "everysec"), stdout=subprocess.DEVNULL
    )
    client = redis.Redis(
        unix_socket_path=socket, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 100)
    )
    try:
        client.ping()
        yield socket
    finally:
        client.close()
        process.kill()
        process.wait(10)


ANSWER = """
import sys
from threading import Event
import gateway.doorbell
from gateway.doorbell import Doorbell
from gateway.process.supervised import SupervisorPipe, stop_on_signals
gateway.doorbell.LISTEN_AGAIN_S = 0.2
stop = Event()
stop_on_signals(stop, SupervisorPipe(lambda: None))
bell = Doorbell(f"redis+socket://{sys.argv[1]}", f"unix://{sys.argv[1]}")
bell.answer(lambda: print("rung", flush=True), name="w", ready=lambda: None, stopping=stop)
"""


def pid_of(socket: str) -> int:
    client = redis.Redis(unix_socket_path=socket)
    pid = client.info("server")["process_id"]
    client.close()
    return int(pid)


@pytest.mark.timeout(90)
def test_a_redis_that_was_halted_keeps_no_worker_from_ending(server: str) -> None:
    """It holds the connection and says nothing: kombu would wait for ever."""
    pid = pid_of(server)
    command = [sys.executable, "-c", ANSWER, server]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        bell(server).ring()
        assert worker.stdout.readline() == "rung\n"
        os.kill(pid, signal.SIGSTOP)
        try:
            worker.terminate()
            assert worker.wait(20) == 0
        finally:
            os.kill(pid, signal.SIGCONT)
            worker.kill()


def test_celery_does_nothing_of_its_own_at_a_signal(server: str) -> None:
    """SIGHUP to all processes of a unit: it would begin the program anew, with another `sys.path`."""
    command = ["nohup", sys.executable, "-c", ANSWER, server]  # SIGHUP is ignored, as `up` has it
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout is not None
            bell(server).ring()
            assert worker.stdout.readline() == "rung\n"
            worker.send_signal(signal.SIGHUP)
            bell(server).ring()
            assert worker.stdout.readline() == "rung\n"
            status = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
            caught = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt"))
            assert not caught & (1 << signal.SIGHUP - 1 | 1 << signal.SIGQUIT - 1)
            worker.terminate()
            assert worker.wait(20) == 0
        finally:
            worker.kill()


def bell(socket: str) -> Doorbell:
    return Doorbell(f"redis+socket://{socket}", f"unix://{socket}")


def test_many_rings_leave_one_message(server: str) -> None:
    """Nobody answers yet: a second ring adds nothing, and the message has no arguments."""
    doorbell = bell(server)
    assert all(doorbell.ring() for _ in range(5))
    client = redis.Redis(unix_socket_path=server)
    messages = client.lrange(QUEUE, 0, -1)
    assert len(messages) == 1
    body = json.loads(messages[0])
    assert body["headers"]["argsrepr"] == "()"
    assert body["content-type"] == "application/json"
    client.close()


def test_without_redis_a_ring_says_so_and_raises_nothing(tmp_path: Path) -> None:
    assert bell(f"{tmp_path}/nobody.sock").ring() is False


def test_a_flushed_redis_is_rung_again(server: str) -> None:
    doorbell = bell(server)
    doorbell.ring()
    client = redis.Redis(unix_socket_path=server)
    client.flushall()
    assert doorbell.ring()
    assert client.llen(QUEUE) == 1
    client.close()


def ruin_replicas(client: redis.Redis, disk: Path) -> None:
    client.config_set("min-replicas-to-write", 1)


def mend_replicas(client: redis.Redis, disk: Path) -> None:
    client.config_set("min-replicas-to-write", 0)


def ruin_master(client: redis.Redis, disk: Path) -> None:
    client.execute_command("REPLICAOF", "127.0.0.1", "1")


def mend_master(client: redis.Redis, disk: Path) -> None:
    client.execute_command("REPLICAOF", "NO", "ONE")


def ruin_disk(client: redis.Redis, disk: Path) -> None:
    """Redis finds its disk full at the next write of its append-only file, and takes no more from then on."""
    with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))
    with contextlib.suppress(redis.ResponseError):
        while True:
            client.set("a", "b" * 1000)


def mend_disk(client: redis.Redis, disk: Path) -> None:
    (disk / "filler").unlink()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("ruin", "mend", "says"),
    [
        (ruin_replicas, mend_replicas, "NOREPLICAS"),
        (ruin_master, mend_master, "ReadOnlyError"),
        (ruin_disk, mend_disk, "MISCONF"),
    ],
)
def test_a_redis_that_answers_with_an_error_ends_no_worker(
    tmp_path: Path, ruin: Change, mend: Change, says: str
) -> None:
    """The worker says so once, lives, and hears rings again when Redis can be used again."""
    with small_disk(tmp_path / "disk", "1m") as disk, redis_on(f"{tmp_path}/r.sock", disk) as socket:
        command = [sys.executable, "-c", ANSWER, socket]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        client = redis.Redis(unix_socket_path=socket)
        with subprocess.Popen(command, **pipes) as worker:  # type: ignore[call-overload]
            try:
                bell(socket).ring()
                assert "rung\n" in worker.stdout
                ruin(client, disk)
                assert not bell(socket).ring()
                heard = next(line for line in worker.stdout if "redis is away" in line)
                assert says in heard
                mend(client, disk)
                next(line for line in worker.stdout if "redis is back" in line)
                while not bell(socket).ring():
                    pass
                assert "rung\n" in worker.stdout
            finally:
                worker.terminate()
                worker.communicate()
            assert worker.returncode == 0
        client.close()
