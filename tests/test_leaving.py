"""What a person let go, through real dispatchers that are killed: it leaves once, and not before its time."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dicom_files import dx, part10, ramp
from polling import until

from gateway.bootstrap import Shell
from gateway.ledger.acting.records import Meant
from gateway.ledger.acting.table import DoneBy
from gateway.ledger.records import Judged, Received
from gateway.settings import load
from pipelines.film import Act, Decision, Reason

DELAY_S = 3
CONFIG = f"""
store: {{min_free_mb: 0}}
destinations:
  ai: {{kind: folder, path: ai}}
routes: {{pass: [ai]}}
quarantine: {{release_delay_s: {DELAY_S}}}
"""
HELD = Judged(
    Decision(Act.QUARANTINE, (Reason.BLANK,), "blank", "x"), (), "enforce", {}, hold=True, takers=("ai",)
)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Two held films whose files are in the store."""
    config = tmp_path / "filmgate.yaml"
    config.write_text(CONFIG)
    (tmp_path / "ai").mkdir()
    shell = Shell.open(load(config, tmp_path / "state"), migrate_first=True)
    for number in (1, 2):
        ds, path = dx(ramp(), SOPInstanceUID=f"1.2.3.{number}"), tmp_path / f"{number}.dcm"
        path.write_bytes(part10(ds))
        kept = shell.store.put_file(path)
        syntax, now = "1.2.840.10008.1.2.1", datetime.now(UTC)
        row = Received(ds.SOPClassUID, ds.SOPInstanceUID, syntax, kept.digest, kept.size_bytes, None, now)
        shell.ledger.record([row])
        job = shell.ledger.claim("w")
        assert job is not None
        shell.ledger.judge(job, HELD, now=now)
    yield shell
    shell.close()


@contextmanager
def dispatcher(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = ["dispatch", "--config", folder / "filmgate.yaml", "--state", folder / "state"]
    command = [sys.executable, "-m", "gateway.cli", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout
            process.stdout.readline()  # it is ready
            yield process
        finally:
            process.kill()


def test_a_killed_dispatcher_lets_nothing_go_early_twice_or_not_at_all(shell: Shell, tmp_path: Path) -> None:
    """Two films are released, one is undone; the dispatcher dies in between, and another takes over."""
    quarantine, ai = shell.quarantine(), tmp_path / "ai"
    with dispatcher(tmp_path) as first:
        kept, undone = quarantine.act(DoneBy.RELEASE, [Meant(1), Meant(2)], by="ann")
        assert kept.until is not None
        first.send_signal(signal.SIGKILL)
    assert quarantine.undo([undone.act_id or 0], by="ann")[0].ok
    with dispatcher(tmp_path):
        assert until(lambda: shell.ledger.film(1).deliveries[0]["state"] == "delivered")
    (left,) = (one for one in shell.ledger.events(1) if one["what"] == "delivered")
    assert left["at"] >= kept.until - timedelta(milliseconds=1)
    assert len([path for path in ai.rglob("*") if path.is_file()]) == 1
    assert shell.ledger.film(2).deliveries[0]["state"] == "cancelled"
