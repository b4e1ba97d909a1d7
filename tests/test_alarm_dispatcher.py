"""A running dispatcher tells of alarms, and one that is killed tells nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from alarm_films import TURNED, Site
from web_peer import Web, web

from gateway.process.health import reports

__all__ = ["web"]

WAIT_S = 30.0


@contextmanager
def dispatcher(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`filmgate dispatch` as it stands alone; killed at the end."""
    command = [sys.executable, "-m", "gateway.cli", "dispatch", "--config", str(file)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=dict(os.environ)) as process:
        try:
            yield process
        finally:
            process.kill()


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_dispatcher_tells_of_a_room_and_after_a_kill_not_again(tmp_path: Path, web: Web) -> None:
    """Killed once it has told, and started again: the next word is the end of the alarm."""
    site = Site(tmp_path, store={"min_free_mb": 0})
    site.now = datetime.now(UTC) - timedelta(hours=4)
    site.send("ROOM3", films=100)
    site.send("ROOM3", TURNED, films=6)
    site.ledger.close()
    file = tmp_path / "filmgate.yaml"
    said = {"state": str(tmp_path / "state"), "store": {"min_free_mb": 0}}
    said |= {"alarms": {"webhook": {"url": web.url}}, "redis": {"url": "redis://127.0.0.1:1/0"}}
    file.write_text(json.dumps(said))
    with dispatcher(file) as process:
        until(lambda: web.bodies)
        until(lambda: Site(tmp_path).ledger.notices_of(1)[0]["state"] == "sent")
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT_S)
    again = Site(tmp_path, store={"min_free_mb": 0})
    again.count, again.now = 200, datetime.now(UTC) - timedelta(hours=1)
    again.send("ROOM3", films=50)
    again.ledger.close()
    with dispatcher(file):
        until(lambda: len(web.bodies) > 1)
        troubles = [one.what for report in reports(tmp_path / "state") for one in report.troubles]
    told = [json.loads(body) for body in web.bodies]
    assert [(one["news"], one["subject"], one["rate"]) for one in told] == [
        ("on", "ROOM3", "turned"),
        ("over", "ROOM3", "turned"),
    ]
    assert "alarms" not in troubles
    assert "alarm notices" not in troubles
