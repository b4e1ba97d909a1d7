"""SIGTERM of each process under load: what is in hand is finished, nothing is lost, the next goes on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dicom_peers import DX, RawPeer, SlowSender, echo, encoded, files, film
from pydicom.dataset import Dataset
from storage_peers import storage_scp

from gateway.bootstrap import Shell
from gateway.ledger.records import Received
from gateway.redis_server import program
from gateway.settings import Settings
from pipelines.lab.films.phantom_dx import phantom_dx

ROOT = Path(__file__).parents[1]
WAIT_S = 60.0
FILMGATE = (sys.executable, "-m", "gateway.cli")
EXPLICIT = "1.2.840.10008.1.2.1"

# A process as `filmgate listen` and `filmgate dispatch` make them, with times that suit a test.
LISTEN = """
import sys
from threading import Event
from gateway.process import supervised
from gateway.bootstrap import Shell
from gateway.listener import serve
from gateway.settings import load
stop, pipe = Event(), supervised.SupervisorPipe(lambda: print("ready", flush=True))
shell = Shell.open(load(None, sys.argv[1]))
supervised.stop_on_signals(stop, pipe)
serve(shell.settings, shell.ledger, shell.store, reuse_port=True, ready=pipe.ready, stop=stop, drain_s=1.0)
"""
DISPATCH = """
import sys
from threading import Event
from gateway.dispatcher import dispatcher
from gateway.process import supervised
from gateway.bootstrap import Shell
from gateway.settings import load
stop, pipe = Event(), supervised.SupervisorPipe(lambda: print("ready", flush=True))
shell = Shell.open(load(None, sys.argv[1]))
supervised.stop_on_signals(stop, pipe)
dispatcher.run(shell, ready=pipe.ready, stop=stop, drain_s=0.2)
"""
# A worker's doorbell; what is done for a ring ends when the test says so.
ANSWER = """
import sys
from functools import partial
from threading import Event
from gateway.process import supervised
from gateway.doorbell import Doorbell
bell = Doorbell(f"redis+socket://{sys.argv[1]}", f"unix://{sys.argv[1]}")
say, stop = partial(print, flush=True), Event()
supervised.stop_on_signals(stop, supervised.SupervisorPipe(bool))
bell.answer(lambda: say("begun", sys.stdin.readline().strip()), name="w", ready=bool, stopping=stop)
say("ended")
"""


@pytest.fixture
def shell(tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A gateway's ledger and store; its processes read the same settings from the environment."""
    monkeypatch.setenv("FILMGATE_GATEWAY__PORT", str(free_port))
    monkeypatch.setenv("FILMGATE_STORE__MIN_FREE_MB", "0")
    monkeypatch.setenv("FILMGATE_WORK__WORKERS", "1")
    monkeypatch.setenv("FILMGATE_WORK__NICE", "0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    settings = Settings.model_validate(
        {"state": tmp_path / "state", "gateway": {"port": free_port}, "store": {"min_free_mb": 0}}
    )
    one = Shell.open(settings, migrate_first=True)
    yield one
    one.close()


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A process of the gateway."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def await_line(process: subprocess.Popen[str], word: str) -> str:
    """Wait for a line with that word on its standard output."""
    assert process.stdout is not None
    return next(line for line in iter(process.stdout.readline, "") if word in line)


def state_of(shell: Shell) -> str:
    return str(shell.settings.state)


def await_refusal(port: int) -> None:
    """Wait until nobody listens there any more."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=WAIT_S).close()
        except (ConnectionRefusedError, ConnectionResetError):
            return
        threading.Event().wait(0.01)
    raise AssertionError("somebody still listens")


def test_a_listener_finishes_what_it_receives(shell: Shell) -> None:
    """Whichever of its threads the signal reaches; nobody else gets in meanwhile."""
    port = shell.settings.gateway.port
    with running(*FILMGATE, "listen", "--state", state_of(shell)) as listener:
        await_line(listener, "ready")
        slow = SlowSender(port)
        masks = [
            line.split()[1]
            for task in Path(f"/proc/{listener.pid}/task").iterdir()
            for line in (task / "status").read_text().splitlines()
            if line.startswith("SigBlk")
        ]
        assert sum(int(mask, 16) == 0 for mask in masks) > 1  # libraries' threads among them
        listener.terminate()
        await_refusal(port)
        slow.more()
        assert slow.finish() == 0x0000
        assert listener.wait(WAIT_S) == 0
    assert [row.sop_instance_uid for row in shell.ledger.films()] == [slow.film.SOPInstanceUID]


def test_who_is_slower_than_the_drain_is_aborted_after_it(shell: Shell) -> None:
    """With an A-ABORT, no row and no part file: the sender has it still."""
    with running(sys.executable, "-c", LISTEN, state_of(shell)) as listener:
        await_line(listener, "ready")
        slow = SlowSender(shell.settings.gateway.port)
        asked_at = time.monotonic()
        listener.terminate()
        slow.feed_until_aborted()
        assert time.monotonic() - asked_at >= 1.0
        assert listener.wait(WAIT_S) == 0
    assert shell.ledger.films() == []
    assert files(shell.settings.state / "incoming") == []


def test_who_connected_before_the_stop_is_served(shell: Shell) -> None:
    """The system had said that we are here: its request may still come."""
    port = shell.settings.gateway.port
    with running(sys.executable, "-c", LISTEN, state_of(shell)) as listener:
        await_line(listener, "ready")
        assert echo(port)
        with RawPeer(port) as peer:
            held = SlowSender(port)  # the door, which takes one after the other, has both
            listener.terminate()
            await_refusal(port)
            peer.associate()
            assert peer.store("1.2.3", encoded(film_named("1.2.3"))) == 0x0000
        assert held.finish() == 0x0000
        assert listener.wait(WAIT_S) == 0


def film_named(uid: str) -> Dataset:
    one = film()
    one.SOPInstanceUID = uid
    return one


def test_a_second_signal_ends_it_at_once(shell: Shell) -> None:
    """Ctrl-C, and again: a person does not want to wait."""
    with running(*FILMGATE, "listen", "--state", state_of(shell)) as listener:
        await_line(listener, "ready")
        slow = SlowSender(shell.settings.gateway.port)
        listener.send_signal(signal.SIGINT)
        await_refusal(shell.settings.gateway.port)
        listener.send_signal(signal.SIGINT)
        assert listener.wait(WAIT_S) == 128 + signal.SIGINT
        with pytest.raises((ConnectionError, AssertionError)):
            slow.finish()


def owed_to_archive(shell: Shell, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One object is owed to an archive on `port`."""
    monkeypatch.setenv(
        "FILMGATE_DESTINATIONS", f'{{"archive": {{"kind": "dicom", "port": {port}, "ae_title": "ARCHIVE"}}}}'
    )
    monkeypatch.setenv("FILMGATE_ROUTES__ALWAYS", '["archive"]')
    incoming = shell.store.begin(DX, "1.2.3", EXPLICIT)
    incoming.write(encoded(film_named("1.2.3")))
    kept = incoming.finish()
    row = Received(DX, "1.2.3", EXPLICIT, kept.digest, kept.size_bytes, None, datetime.now(UTC))
    shell.ledger.record([row], always=["archive"])


def delivery_state(shell: Shell) -> str:
    ((row,),) = [one.deliveries for one in shell.ledger.films()]
    return str(row["state"])


@pytest.fixture
def archive_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_dispatcher_finishes_what_it_sends(
    shell: Shell, archive_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer answers after the signal: delivered, once."""
    owed_to_archive(shell, archive_port, monkeypatch)
    with storage_scp(archive_port) as peer:
        peer.go_on.clear()
        with running(*FILMGATE, "dispatch", "--state", state_of(shell)) as dispatcher:
            assert peer.began.wait(WAIT_S)
            dispatcher.terminate()
            with pytest.raises(subprocess.TimeoutExpired):
                dispatcher.wait(0.3)
            peer.go_on.set()
            assert dispatcher.wait(WAIT_S) == 0
        assert peer.uids == ["1.2.3"]
    assert delivery_state(shell) == "delivered"


def test_what_was_broken_off_is_sent_after_the_next_start(
    shell: Shell, archive_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that is slower than the drain: the delivery is neither lost nor parked."""
    owed_to_archive(shell, archive_port, monkeypatch)
    with storage_scp(archive_port) as peer:
        peer.go_on.clear()
        with running(sys.executable, "-c", DISPATCH, state_of(shell)) as dispatcher:
            assert peer.began.wait(WAIT_S)
            dispatcher.terminate()
            assert dispatcher.wait(WAIT_S) == 0
        assert delivery_state(shell) in ("pending", "retry")
        peer.go_on.set()
        with running(sys.executable, "-c", DISPATCH, state_of(shell)):
            until = time.monotonic() + WAIT_S
            while delivery_state(shell) != "delivered" and time.monotonic() < until:
                threading.Event().wait(0.05)
    assert delivery_state(shell) == "delivered"


@pytest.mark.redis
def test_a_worker_finishes_what_it_was_rung_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM in the middle of it, and one more as a service manager may send: Celery ends after it."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    ready, ready_end = os.pipe()
    monkeypatch.setenv("FILMGATE_READY_FD", str(ready_end))
    address = f"{tmp_path}/r.sock"
    server = [str(program()), "--port", "0", "--unixsocket", address, "--save", ""]
    with subprocess.Popen(server, stdout=subprocess.DEVNULL) as redis:
        try:
            with subprocess.Popen(
                [sys.executable, "-c", ANSWER, address],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(ready_end,),
                text=True,
            ) as worker:
                try:
                    ring(address)
                    await_empty(address)
                    worker.terminate()
                    assert os.read(ready, 64) == b"leaving\n"
                    worker.terminate()
                    assert worker.stdin is not None
                    worker.stdin.write("and done\n")
                    worker.stdin.flush()
                    assert "begun and done" in await_line(worker, "begun")
                    assert await_line(worker, "ended")
                    assert worker.wait(WAIT_S) == 0
                finally:
                    worker.kill()
        finally:
            redis.kill()
            os.close(ready)
            os.close(ready_end)


def ring(address: str) -> None:
    from gateway.doorbell import Doorbell

    bell = Doorbell(f"redis+socket://{address}", f"unix://{address}")
    until = time.monotonic() + WAIT_S
    while not bell.ring() and time.monotonic() < until:
        threading.Event().wait(0.02)


def await_empty(address: str) -> None:
    """Wait until a worker took the ring."""
    import redis

    client = redis.Redis(unix_socket_path=address)
    until = time.monotonic() + WAIT_S
    while client.llen("filmgate") and time.monotonic() < until:
        threading.Event().wait(0.02)
    client.close()


@pytest.mark.timeout(180)
def test_a_worker_finishes_the_film_in_its_hand(shell: Shell, tmp_path: Path) -> None:
    """A real worker, and no Redis: it looked by itself; the film is decided, and no lease is left."""
    sent = tmp_path / "sent.dcm"
    dataset = phantom_dx("frontal", 1)
    dataset.save_as(sent, enforce_file_format=True)
    with running(*FILMGATE, "work", "--state", state_of(shell)) as worker:
        await_line(worker, "ready")
        kept = shell.store.put_file(sent)
        row = (DX, dataset.SOPInstanceUID, EXPLICIT, kept.digest, kept.size_bytes)
        shell.ledger.record([Received(*row, None, datetime.now(UTC))])
        until = time.monotonic() + WAIT_S
        while not shell.ledger.leases() and time.monotonic() < until:
            threading.Event().wait(0.005)
        assert shell.ledger.leases()
        worker.terminate()
        assert worker.wait(WAIT_S) == 0
    assert not shell.ledger.leases()
    assert [one.decision for one in shell.ledger.films()] != [None]


def test_up_finishes_what_is_received_when_all_its_processes_are_told_at_once(shell: Shell) -> None:
    """As systemd does it: supervisor and children have the signal at the same moment, some have it twice.

    SIGHUP before it is none of the children's (`systemctl kill -s HUP`): they go on.
    """
    port = shell.settings.gateway.port
    with running(*FILMGATE, "up", "--state", state_of(shell)) as up:
        await_listening(port)
        slow = SlowSender(port)
        children = children_of(up.pid)
        for pid in children:
            os.kill(pid, signal.SIGHUP)
        slow.more()
        for pid in (up.pid, *children):
            os.kill(pid, signal.SIGTERM)
        await_refusal(port)
        slow.more()
        assert slow.finish() == 0x0000
        assert up.wait(WAIT_S) == 0
    assert [row.sop_instance_uid for row in shell.ledger.films()] == [slow.film.SOPInstanceUID]


def await_listening(port: int) -> None:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=WAIT_S).close()
            return
        threading.Event().wait(0.05)
    raise AssertionError("nobody listens")


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
