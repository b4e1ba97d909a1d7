"""The doorbell on a real Redis: it rings, it survives Redis, it carries nothing."""

from __future__ import annotations

import json
import subprocess
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
