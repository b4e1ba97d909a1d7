#!/usr/bin/env bash
# Celery 5.7.0 with redis-py 8.1.0 and Kombu 5.7.0: a Redis that takes no writes for a while (seen with Redis server 7.0.15).
#
# Redis answers READONLY once a failover has made it a replica, and NOREPLICAS while it has fewer replicas than
# min-replicas-to-write. Both pass by themselves. Celery documents that a worker retries a lost broker.
#
# Expected: the worker waits and tries again, as it does when the server is stopped, or out of memory (OOM).
# Seen: with the server stopped it tries for ever. With NOREPLICAS and after REPLICAOF it logs "Unrecoverable error" and ends
# with 1 within seconds: the answer is a ResponseError, which counts as an error of the program and not of the connection.
# After REPLICAOF the answer is READONLY, or UNBLOCKED where the worker stood in BRPOP. redis-py drops the word READONLY from
# the message (ReadOnlyError), so that a search of the logs for it finds nothing.
#
# Why it matters: the failover that was to keep the queue alive ends all the workers at once, and they stay away unless
# something starts them again.
set -euo pipefail
command -v redis-server >/dev/null || { echo "needs redis-server"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "celery==5.7.0" "kombu==5.7.0" "redis==8.1.0" "packaging==26.4"
cd "$work"
redis-server --version
venv/bin/python - <<'PY'
import socket
import subprocess
import sys
import time
from pathlib import Path

import redis

with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    PORT = one.getsockname()[1]
BROKER = f"redis://127.0.0.1:{PORT}/0"


def until(condition, seconds=300):
    for _ in range(seconds * 10):
        if condition():
            return
        time.sleep(0.1)
    sys.exit("waited in vain")


def answers():
    try:
        return redis.Redis(port=PORT).ping()
    except redis.ConnectionError:
        return False


def outcome(fault):
    """How the worker ends after the fault, or "tries again" once it has tried twice to connect."""
    log = Path("worker.log")
    server = subprocess.Popen(
        ["redis-server", "--port", str(PORT), "--bind", "127.0.0.1", "--save", ""], stdout=subprocess.DEVNULL
    )
    until(answers)
    with log.open("w") as out:
        command = [sys.executable, "-m", "celery", "-b", BROKER, "worker", "--pool", "solo", "--loglevel", "info"]
        worker = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        until(lambda: " ready." in log.read_text() or worker.poll() is not None)
        fault(server, redis.Redis(port=PORT))
        until(lambda: worker.poll() is not None or log.read_text().count("Cannot connect") >= 2)
        errors = [line for line in log.read_text().splitlines() if line.startswith("redis.exceptions")]
        return ("tries again", "") if worker.poll() is None else (worker.poll(), errors[-1])
    finally:
        worker.terminate()
        worker.wait(60)
        server.terminate()
        server.wait(60)


def stopped(server, client):
    server.terminate()
    server.wait(60)


seen = [
    outcome(stopped),
    outcome(lambda server, client: client.config_set("min-replicas-to-write", 1)),
    outcome(lambda server, client: client.replicaof("127.0.0.1", "1")),
]
for name, (ended, error) in zip(("server stopped", "NOREPLICAS", "a replica now"), seen, strict=True):
    print(f"{name:15} -> {ended} {error}")
sys.exit(0 if [ended for ended, _ in seen] == ["tries again", 1, 1] else "the behaviour has changed")
PY
