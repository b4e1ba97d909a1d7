"""A whole gateway on loopback with DCMTK around it, for the benchmarks and the end-to-end tests."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from gateway.cli import app
from pipelines.lab.films.phantom_dx import phantom_dx

ROOT = Path(__file__).parents[1]
DCMSEND, STORESCP = "/usr/bin/dcmsend", "/usr/bin/storescp"
NO_CONSOLE = {"enabled": False}  # for tests of the line: it starts sooner
FILMGATE = (sys.executable, "-m", "gateway.cli")


def dcmsend(port: int, paths: Sequence[Path], note: Path, *words: str) -> list[str]:
    """The command that sends the files and writes into `note` what became of each."""
    to = ["-aec", "FILMGATE", "127.0.0.1", str(port)]
    return [DCMSEND, "--no-halt", "+crf", str(note), *words, *to, *map(str, paths)]


def acknowledged(note: Path) -> list[str]:
    """The SOP Instance UIDs that got 0x0000; dcmsend ends with 0 when none did."""
    text = note.read_text() if note.exists() else ""
    each = r"SOP Instance  : (\S+)(?:(?!SOP Instance).)*?DIMSE Status  : 0x0000"
    return re.findall(each, text, re.DOTALL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Receiver:
    """DCMTK's storescp, writing what it gets into a folder, bit for bit."""

    ae_title: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ["--fork", "+xa", "+B", "-aet", self.ae_title, "-od", str(self.folder)]
        self.process = subprocess.Popen(
            [STORESCP, *options, str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(lambda: listening(self.port), 10, f"{self.ae_title} did not start")

    def stop(self) -> None:
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def files(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.is_file()]


@dataclass
class Gateway:
    """`filmgate up` with its own state folder, an AI and an archive behind it."""

    root: Path
    port: int
    ai: Receiver
    archive: Receiver
    console_port: int
    env: Mapping[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] = field(init=False)
    _reader: threading.Thread = field(init=False)

    @property
    def config(self) -> Path:
        return self.root / "filmgate.yaml"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def start(self, wait_s: float = 90) -> None:
        """Start `filmgate up` and wait until it is ready, unless `wait_s` is 0."""
        self.process = subprocess.Popen(
            [*FILMGATE, "up", "--config", str(self.config), "--state", str(self.state)],
            cwd=ROOT,
            env={**os.environ, **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        ready = threading.Event()
        self._reader = threading.Thread(target=_read, args=(self, ready))
        self._reader.start()
        if wait_s and not ready.wait(wait_s):
            raise RuntimeError(f"filmgate up was not ready after {wait_s} s:\n" + "".join(self.lines[-40:]))

    def stop(self) -> float:
        """SIGTERM, as an operator does it; the seconds that the end took."""
        asked = time.monotonic()
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        took_s = time.monotonic() - asked
        self._reader.join()  # it ends when the last writer of the pipe does
        return took_s

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a filmgate command on this gateway's configuration and state."""
        where = ("--config", str(self.config), "--state", str(self.state))
        return subprocess.run(
            [*FILMGATE, *words, *where], cwd=ROOT, capture_output=True, text=True, check=False
        )

    def films(self) -> list[dict[str, Any]]:
        """`filmgate films list --json`, in this process: whoever waits for films looks often."""
        where = ["--config", str(self.config), "--state", str(self.state)]
        listed = CliRunner().invoke(app, ["films", "list", "--json", *where])
        if listed.exit_code:
            raise RuntimeError(listed.output) from listed.exception
        return list(json.loads(listed.stdout))

    def settled(self, uids: set[str], timeout_s: float) -> list[dict[str, Any]]:
        """Wait until every film of `uids` has a decision and nothing is on its way; all films then."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            began = time.monotonic()
            films = {f["sop_instance_uid"]: f for f in self.films()}
            if all(uid in films and _is_settled(films[uid]) for uid in uids):
                return list(films.values())
            time.sleep(max(0.1, 2 * (time.monotonic() - began)))  # a third of a core at most
        raise TimeoutError(f"not settled after {timeout_s} s")

    def send(self, *paths: Path, associations: int = 1, timeout_s: float = 600) -> float:
        """dcmsend the files over several associations at once; the seconds it took. All must get 0x0000."""
        parts = [part for part in (paths[n::associations] for n in range(associations)) if part]
        with tempfile.TemporaryDirectory() as folder:
            notes = [Path(folder) / f"{n}" for n in range(len(parts))]
            start = time.monotonic()
            senders = [
                subprocess.Popen(
                    dcmsend(self.port, part, note), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                for part, note in zip(parts, notes, strict=True)
            ]
            for sender in senders:
                sender.wait(timeout_s)
            took_s = time.monotonic() - start
            taken = sum(len(acknowledged(note)) for note in notes)
        if taken != len(paths):
            raise RuntimeError(f"{taken} of {len(paths)} films got 0x0000")
        return took_s

    def pids(self) -> dict[int, str]:
        """Process id -> command line of everything below `filmgate up`."""
        return below(self.process.pid)

    def pid_of(self, *words: str) -> int:
        """The newest process whose command line holds all `words`."""
        return max(pid for pid, line in self.pids().items() if all(word in line for word in words))


@contextmanager
def gateway(
    root: Path | None = None,
    *,
    start_ai: bool = True,
    start_archive: bool = True,
    env: Mapping[str, str] | None = None,
    **sections: Any,
) -> Iterator[Gateway]:
    """Start receivers and `filmgate up`; `sections` are merged over the configuration."""
    with ExitStack() as stack:
        root = root or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="filmgate-rig-")))
        ai = Receiver("CHEST_AI", free_port(), root / "ai")
        archive = Receiver("ARCHIVE", free_port(), root / "archive")
        port, console_port = free_port(), free_port()
        config: dict[str, Any] = {
            "gateway": {"port": port},
            "console": {"port": console_port},
            "destinations": {
                "chest-ai": {"kind": "dicom", "ae_title": ai.ae_title, "port": ai.port},
                "archive": {"kind": "dicom", "ae_title": archive.ae_title, "port": archive.port},
            },
            "routes": {"always": ["archive"], "pass": ["chest-ai"]},
            "policy": {"correct": "auto"},
        }
        for name, section in sections.items():
            config[name] = {**config.get(name, {}), **section}
        (root / "filmgate.yaml").write_text(yaml.safe_dump(config))
        for receiver, wanted in ((ai, start_ai), (archive, start_archive)):
            stack.callback(receiver.stop)
            receiver.folder.mkdir(parents=True, exist_ok=True)
            if wanted:
                receiver.start()
        running = Gateway(root, port, ai, archive, console_port, env or {})
        stack.callback(_stop, running)
        running.start()
        yield running


def _read(running: Gateway, ready: threading.Event) -> None:
    output = running.process.stdout
    assert output
    with output:
        for line in output:
            running.lines.append(line)
            if "filmgate is ready" in line:
                ready.set()


def _stop(running: Gateway) -> None:
    if hasattr(running, "process"):
        running.stop()


def _is_settled(film: dict[str, Any]) -> bool:
    waiting = {"leaving", "pending", "sending", "retry"}
    return bool(film["decision"]) and not any(d["state"] in waiting for d in film["deliveries"])


def below(pid: int) -> dict[int, str]:
    """Process id -> command line of a process and all its descendants."""
    found: dict[int, str] = {}
    todo = [pid]
    while todo:
        pid = todo.pop()
        with suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += [int(child) for child in (task / "children").read_text().split()]
    return found


def listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(true: Any, timeout_s: float, message: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(message)
        time.sleep(0.02)


def rss_mb(pid: int) -> float:
    """Resident memory of a process, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.split(':')[1].strip()}, {os.cpu_count()} cores"
    return "unknown processor"


def big_films(
    folder: Path, count: int, *, rows: int = 2500, columns: int = 2048, salt: str = ""
) -> list[Path]:
    """Frontal phantoms of rows x columns, 12 bits in 16, each its own instance."""
    folder.mkdir(parents=True, exist_ok=True)
    master = phantom_dx("frontal", 7, size=(rows, columns), salt=f"{salt}-master")
    paths = []
    for number in range(count):
        named = phantom_dx("frontal", 7, size=(64, 64), salt=f"{salt}-{number}")
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            setattr(master, keyword, getattr(named, keyword))
        master.file_meta.MediaStorageSOPInstanceUID = named.SOPInstanceUID
        paths.append(folder / f"{number:05d}.dcm")
        master.save_as(paths[-1], enforce_file_format=True)
    return paths
