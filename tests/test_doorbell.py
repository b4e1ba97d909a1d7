"""The doorbell on a real Redis: it rings, it survives Redis, it carries nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from gateway.doorbell import QUEUE, Doorbell
from gateway.redis_server import program


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A redis-server of our own on a unix socket."""
    socket = f"{tmp_path}/r.sock"
    binary = str(program())
    process = subprocess.Popen(
        [binary, "--port", "0", "--unixsocket", socket, "--save", ""], stdout=subprocess.DEVNULL
    )
    client = redis.Redis(
        unix_socket_path=socket, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 100)
    )
    client.ping()
    yield socket
    client.close()
    process.terminate()
    process.wait(10)


ANSWER = """
import sys
from threading import Event
from gateway.doorbell import Doorbell
bell = Doorbell(f"redis+socket://{sys.argv[1]}", f"unix://{sys.argv[1]}")
bell.answer(lambda: print("rung", flush=True), name="w", ready=lambda: None, stopping=Event())
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
            assert worker.wait(20) is not None
        finally:
            os.kill(pid, signal.SIGCONT)
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
