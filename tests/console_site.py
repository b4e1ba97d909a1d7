"""`filmgate demo` as a hospital would have it after a day: two rooms, an AI that is away, somebody refused.

What came before today stands in the ledger beforehand; everything else is sent by dcmsend and gated for real.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from browser import Console
from passed_films import pass_film
from rig import DCMSEND, FILMGATE, ROOT, acknowledged, dcmsend, free_port, wait_for

from gateway.bootstrap import Shell
from gateway.settings import load
from pipelines.lab.films.phantom_dx import phantom_dx

READY_S = 180  # the first start reads torch from a cold disk
DECIDED_S = 120
ROOMS = ("ROOM1", "ROOM2")


class Site:
    """The gateway, its console, and the way in that the demonstration prints."""

    def __init__(self, console: Console, port: int, folder: Path, password: str) -> None:
        self.console = console
        self.password = password
        self._port, self._folder = port, folder

    def send(self, room: str, count: int, kind: str = "frontal", **phantom: object) -> list[str]:
        """Films of a room by dcmsend, all answered 0x0000: their SOP Instance UIDs."""
        films = [
            phantom_dx(kind, 20 + number, salt=f"{room}-{count}", **phantom)  # type: ignore[arg-type]
            for number in range(count)
        ]
        paths = [self._folder / f"{number}.dcm" for number in range(count)]
        for film, path in zip(films, paths, strict=True):
            film.StationName = f"DX {room[-1]}"
            film.save_as(path, enforce_file_format=True)
        note = self._folder / "sent.txt"
        self._dcmsend(paths, note, "-aet", room)
        uids = [str(film.SOPInstanceUID) for film in films]
        assert sorted(acknowledged(note)) == sorted(uids)
        return uids

    def knock(self, ae_title: str) -> None:
        """Somebody who is not in the settings tries to send, and is refused."""
        path = self._folder / "knock.dcm"
        phantom_dx("frontal", 1, size=(64, 64)).save_as(path, enforce_file_format=True)
        note = self._folder / "knocked.txt"
        self._dcmsend([path], note, "-aet", ae_title)
        assert acknowledged(note) == []

    def await_decisions(self, uids: list[str]) -> None:
        ledger = self.console.shell.ledger
        wait_for(lambda: all(ledger.film(uid).decision for uid in uids), DECIDED_S, "films were not decided")

    def _dcmsend(self, paths: list[Path], note: Path, *words: str) -> None:
        subprocess.run(dcmsend(self._port, paths, note, *words), capture_output=True, timeout=60, check=False)


@contextmanager
def demonstration() -> Iterator[Site]:
    """`filmgate demo` stays up with its ten films, after a day of two rooms."""
    if not os.access(DCMSEND, os.X_OK):
        pytest.skip(f"{DCMSEND} is missing (make peers)")
    with tempfile.TemporaryDirectory(prefix="hospital-") as folder:  # a short path, as it is in the pictures
        yield from _demonstration(Path(folder))


def _demonstration(folder: Path) -> Iterator[Site]:
    port, config, state = free_port(), folder / "filmgate.yaml", folder / "state"
    config.write_text(yaml.safe_dump(_settings(folder, port)))
    _yesterday(config, state)
    command = [*FILMGATE, "demo", "--config", str(config), "--state", str(state)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        address, password = _way_in(process)
        shell = Shell.open(load(config, state))
        try:
            yield Site(Console(shell, address), port, folder, password)
        finally:
            shell.close()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        if process.stdout:
            process.stdout.close()


def _settings(folder: Path, port: int) -> dict[str, object]:
    for name in ("archive", "chest-ai"):
        (folder / name).mkdir()
    return {
        "gateway": {
            "port": port,
            "allow": [{"ae_title": one, "from": "127.0.0.1/32"} for one in ("DEMO", *ROOMS)],
        },
        "console": {"port": free_port()},
        "destinations": {
            "archive": {"kind": "folder", "path": str(folder / "archive")},
            "chest-ai": {"kind": "folder", "path": str(folder / "chest-ai")},
            "bone-age": {"kind": "dicom", "ae_title": "BONE_AGE", "port": free_port()},  # nobody is there
            "chest14": {"kind": "classifier", "results": {"sr": ["archive"], "heatmap": ["archive"]}},
        },
        "routes": {"always": ["archive"], "pass": ["chest-ai", "bone-age", "chest14"]},
        "quarantine": {"blind_share": 0.5},
        "alarms": {"refuses_min": 0.05},
    }


def _yesterday(config: Path, state: Path) -> None:
    """Films that passed, every two hours from each room, until an hour ago."""
    shell = Shell.open(load(config, state), migrate_first=True)
    now = datetime.now(UTC)
    try:
        for number in range(24):
            at = now - timedelta(hours=1 + 1.9 * (23 - number), minutes=7 * (number % 5))
            pass_film(shell, state.parent, number, sender=ROOMS[number % 2], at=at)
    finally:
        shell.close()


def _way_in(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The address and the password of `demo` in the last line that the demonstration prints."""
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=lambda: [lines.put(line) for line in process.stdout or ()], daemon=True).start()
    said, until = list[str](), time.monotonic() + READY_S
    while (left := until - time.monotonic()) > 0 and process.poll() is None:
        try:
            said.append(lines.get(timeout=min(left, 1)))
        except queue.Empty:
            continue
        if found := re.match(r"console: (\S+)  sign in as demo / (\S+)", said[-1]):
            return found[1], found[2]
    raise RuntimeError("the demonstration did not start:\n" + "".join(said))
