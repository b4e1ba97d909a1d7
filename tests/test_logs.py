"""The log never stops the gateway and holds nothing of patients: real processes whose output goes nowhere."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from dicom_peers import echo
from supervisor_stand_ins import Events
from test_loops import until

from gateway.cli.upkeep.machine_checks import threads
from gateway.ledger import Ledger
from gateway.process.standard_streams import QueuedStream
from gateway.settings import Settings

CANARY = "ZZCANARY"
PATIENCE_S = 60.0  # on a busy machine


def full_pipe() -> tuple[int, int]:
    """A pipe with no room left: whoever writes to it waits for a reader that never comes."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    return reader, writer


@contextmanager
def nobody_reads() -> Iterator[int]:
    reader, writer = full_pipe()
    yield writer
    os.close(writer)
    os.close(reader)


@contextmanager
def reader_gone() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def no_room() -> Iterator[int]:
    writer = os.open("/dev/full", os.O_WRONLY)
    yield writer
    os.close(writer)


NOWHERE = pytest.mark.parametrize(
    "nowhere", [nobody_reads, reader_gone, no_room], ids=lambda one: one.__name__
)


@NOWHERE
def test_a_listener_whose_log_cannot_be_written_receives_and_stops(
    nowhere: Callable[[], Iterator[int]], tmp_path: Path, free_port: int
) -> None:
    """A pager that nobody scrolls, `filmgate up | head`, a full disk: films do not wait for the log."""
    Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", migrate_first=True).close()
    heard, told = os.pipe()
    env = os.environ | {"FILMGATE_GATEWAY__PORT": str(free_port), "FILMGATE_READY_FD": str(told)}
    command = [sys.executable, "-m", "gateway.cli", "listen", "--state", str(tmp_path)]
    with nowhere() as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, env=env, pass_fds=(told,))
        try:
            os.close(told)
            assert select.select([heard], [], [], PATIENCE_S)[0]
            assert os.read(heard, 6) == b"ready\n"
            assert all(echo(free_port) for _ in range(25))
            if nowhere is not nobody_reads:  # of one that hangs nobody is sure before HANGS_S
                until(lambda: [check.result for check in threads(Settings(state=tmp_path))] == ["error"])
                (check,) = threads(Settings(state=tmp_path))
                assert "the log cannot be written: " in check.detail
            child.terminate()
            assert child.wait(PATIENCE_S) == 0
        finally:
            child.kill()
            child.wait()
            os.close(heard)


SUPERVISOR = """
import sys
sys.path.insert(0, {tests!r})
import supervisor_stand_ins as t
from pathlib import Path
from gateway import logs
from gateway.cli.output import say
from gateway.settings import LogSettings
logs.configure_service(LogSettings(), process="supervisor")
settings = t.Settings(state=Path({state!r}), gateway=t.GatewaySettings(port={port}))
events = t.Events.__new__(t.Events)
events.path = {events!r}
t.supervisor.redis_server.answers = lambda _: True
t.Supervisor(settings, reload=lambda: settings, say=say, plan=t.stand_ins(events, "loud")).run()
"""


def test_a_supervisor_passes_on_what_nobody_reads(tmp_path: Path, free_port: int) -> None:
    """Its children write without end; it hears of them and of signals, and ends all in order."""
    events = Events(tmp_path)
    where = {"state": str(tmp_path / "state"), "port": free_port, "events": events.path}
    code = SUPERVISOR.format(tests=str(Path(__file__).parent), **where)
    with nobody_reads() as output:
        up = subprocess.Popen([sys.executable, "-c", code], stdout=output, stderr=output)
        try:
            for _ in range(4):
                assert "started" in events.next()
            up.send_signal(signal.SIGTERM)
            order = [events.next()[0] for _ in range(4)]
            assert (order[0], order[-1]) == ("listener", "redis")
            assert up.wait(PATIENCE_S) == 0
        finally:
            up.kill()
            up.wait()
            events.close()


def test_what_finds_the_queue_full_is_counted_in_its_place() -> None:
    """Lines keep their order, and none is missing unsaid."""
    reader, writer = full_pipe()
    queued = QueuedStream(writer, most=10)
    for number in range(100):
        queued.write(f"line {number}\n")
    assert not queued.settle(0.01)
    assert queued.lost >= 100 - 2 * 10  # a batch in hand, and a full queue
    with os.fdopen(reader, "rb", buffering=0) as stream:
        told = b""
        while b"were not written\n" not in told:
            told += stream.read(1 << 16)
        queued.write("after")
        queued.write("wards\n")
        assert queued.settle(PATIENCE_S)
        told += stream.read(1 << 16)
    os.close(writer)
    lines = told.decode().lstrip("x").splitlines()
    kept = 100 - queued.lost
    assert lines == [
        *(f"line {number}" for number in range(kept)),
        f"filmgate: {queued.lost} lines were not written",
        "afterwards",
    ]


SAYS_TOO_MUCH = f"""
import logging, threading, warnings
from pydicom.dataset import Dataset
from gateway import logs
from gateway.settings import LogSettings
logs.configure_service(LogSettings(json=True), process="worker 1")
Dataset().PatientBirthDate = "{CANARY}"
logging.getLogger("pydicom").warning("cannot read %s", "{CANARY}")
logging.getLogger("celery").warning("the broker is away")
logging.getLogger("models.classifiers.engine").warning("no GPU")
class Careless:
    def __del__(self): raise ValueError("{CANARY}")
del (lambda: Careless())().__dict__
def fail(): raise ValueError("{CANARY}")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
try:
    fail()
except ValueError:
    logs.log.exception("a film cannot be examined")
raise KeyError("{CANARY}")
"""


def test_what_libraries_and_tracebacks_quote_is_not_in_the_log() -> None:
    """pydicom's warnings hold the value that it minds; a traceback's last line does, too."""
    done = subprocess.run(
        [sys.executable, "-c", SAYS_TOO_MUCH], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert CANARY not in done.stdout + done.stderr
    assert [line["event"].partition(" at ")[0] for line in lines] == [
        "pydicom complains",  # it logs each of its warnings, too
        "a library warns",
        "pydicom complains",
        "the broker is away",
        "no GPU",
        "an error while tidying up",
        "a thread ended by an error in filmgate",
        "a film cannot be examined",
        "the process ends by an error in filmgate",
    ]
    assert "pydicom/valuerep.py" in lines[1]["where"]
    assert "ValueError (its words are left out" in lines[7]["exception"]
    assert ", in fail" in lines[7]["exception"]
    assert done.returncode == 1


def test_commands_do_not_quote_films_in_warnings() -> None:
    """What they print of them goes into tickets and mails."""
    code = f"""
import sys, warnings
from gateway import cli
@cli.app.command("odd")
def odd() -> None: warnings.warn("Invalid value for VR DA: '{CANARY}'.", stacklevel=1)
sys.argv = ["filmgate", "odd"]
cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert CANARY not in done.stdout + done.stderr
    assert "a library warns" in done.stderr
    assert done.stdout == ""


def test_a_closed_standard_error_is_no_open_file_of_ours(tmp_path: Path) -> None:
    """`2>&-`: the next file that is opened would get the log."""
    code = (
        "from gateway.process import standard_streams; import sys; standard_streams.need_standard_files()\n"
        f"kept = open({str(tmp_path / 'film')!r}, 'w')\n"
        "print('a line', file=sys.stderr); sys.exit(kept.fileno() < 3)"
    )
    subprocess.run(["/bin/sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, code], check=True)
    assert (tmp_path / "film").read_text() == ""
