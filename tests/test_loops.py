"""No thread dies in silence: it goes on, or its process ends; and `filmgate doctor` says so."""

from __future__ import annotations

import json
import os
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.cli.upkeep.check import Check
from gateway.cli.upkeep.machine_checks import threads
from gateway.errors import LedgerBusy
from gateway.ledger import Ledger
from gateway.process import health, loops
from gateway.process.health import Health
from gateway.settings import Settings

PATIENCE_S = 60.0  # on a busy machine


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def rename(state: Path, old: str, new: str) -> None:
    with closing(sqlite3.connect(state / "ledger.sqlite", timeout=PATIENCE_S)) as ledger, ledger:
        ledger.execute(f"ALTER TABLE {old} RENAME TO {new}")


def test_doctor_names_a_thread_that_fails_in_a_running_process(tmp_path: Path) -> None:
    """A dispatcher whose ledger is damaged: told while it lasts, and no more when it is mended."""
    settings = Settings(state=tmp_path)
    Ledger.open(settings.ledger_url, migrate_first=True).close()
    heard, told = os.pipe()
    command = [sys.executable, "-m", "gateway.cli", "dispatch", "--state", str(tmp_path)]
    child = subprocess.Popen(
        command, env=os.environ | {"FILMGATE_READY_FD": str(told)}, pass_fds=(told,), stderr=subprocess.PIPE
    )
    try:
        os.close(told)
        assert select.select([heard], [], [], PATIENCE_S)[0]
        assert list(threads(settings)) == [
            Check("threads", "ok", "nothing fails in the processes that run (1)")
        ]
        rename(tmp_path, "deliveries", "elsewhere")
        until(lambda: any(one.result == "error" for one in threads(settings)))
        (found,) = (one for one in threads(settings) if "courier look" in one.detail)
        assert found.what == "dispatcher"
        assert f"process {child.pid} failed" in found.detail
        assert "no such table: deliveries" in found.detail
        rename(tmp_path, "elsewhere", "deliveries")
        until(lambda: [one.result for one in threads(settings)] == ["ok"])
        child.kill()
        child.wait()
        assert list(threads(settings)) == []
    finally:
        child.kill()
        log = child.communicate()[1].decode()
        os.close(heard)
    assert "ledger not readable" in log
    assert "a thread goes on" in log


@pytest.mark.parametrize("error", ["MemoryError()", "SystemExit(3)"])
def test_a_thread_that_cannot_go_on_ends_its_process(error: str) -> None:
    """The supervisor starts another; what led to it is the last line of the log."""
    code = f"""
import threading
from gateway import logs
from gateway.process import loops
from gateway.settings import LogSettings
logs.configure_service(LogSettings(json=True), process="worker 1")
def step(): raise {error}
guard = loops.Guard("worker look")
loops.start("worker look", lambda: guard(step))
threading.Event().wait({PATIENCE_S})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == loops.END_CODE
    last = json.loads(done.stderr.splitlines()[-1])
    assert (last["event"], last["thread"]) == ("the process ends itself", "worker look")
    assert error.partition("(")[0] in last["exception"]


def test_pauses_grow_and_nothing_is_done_in_them() -> None:
    """Failure by failure it is tried later, within bounds; what goes well ends that."""
    guard = loops.Guard("look", first_s=1000.0, longest_s=4000.0, health=Health())
    done: list[int] = []

    def fail() -> None:
        done.append(1)
        raise LedgerBusy("locked")

    pauses = []
    for _ in range(4):
        pauses.append(guard(fail))
        assert guard(fail) == pytest.approx(pauses[-1], abs=PATIENCE_S)  # it rests
        guard._again_at = 0.0  # the pause is over
    assert pauses == [1000.0, 2000.0, 4000.0, 4000.0]
    assert len(done) == 4
    assert guard(lambda: None) == 0.0
    assert guard(fail) == 1000.0


def test_a_long_trouble_is_told_now_and_then() -> None:
    """Not a traceback each time: the 1st, 2nd, 4th, 8th ... and the end of it."""
    noted = Health()
    guard = loops.Guard("look", longest_s=0.0, health=noted)

    def fail() -> None:
        raise RuntimeError("of a patient")

    with capture_logs() as logs:
        for _ in range(10):
            guard(fail)
        (trouble,) = noted.troubles()
        guard(lambda: None)
    assert [entry["failures"] for entry in logs] == [1, 2, 4, 8, 10]
    assert (trouble.what, trouble.failures) == ("look", 10)
    assert trouble.error.startswith("RuntimeError (its words are left out: they may quote a film), in fail (")
    assert noted.troubles() == ()


def test_files_of_processes_that_are_gone_count_no_more(tmp_path: Path) -> None:
    """Nor does one of a process whose number another one has now."""
    gone = tmp_path / "run" / "health" / "worker-1.4194304.json"
    reused = gone.with_name(f"worker-2.{os.getpid()}.json")
    gone.parent.mkdir(parents=True)
    told = {"process": "worker 1", "troubles": []}
    gone.write_text(json.dumps({**told, "pid": 4194304, "started": "1"}))
    reused.write_text(json.dumps({**told, "pid": os.getpid(), "started": "1"}))
    gone.with_name("half.1.json").write_text('{"process": ')
    assert health.reports(tmp_path) == []
    Health().keep_in(tmp_path, "worker 1")
    assert [one.process for one in health.reports(tmp_path)] == ["worker 1"]
    assert [path.name for path in gone.parent.iterdir()] == [f"worker-1.{os.getpid()}.json"]
