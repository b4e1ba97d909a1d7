"""How fast C-STORE is taken in: filmgate beside Orthanc and DCMTK's storescp, in one run on one machine.

    python bench/ingest.py [--rounds 3] [--senders 4] [--processes 1] [--workers N] [--before CHECKOUT]

Each round starts every server on an empty folder and sends it the same films with DCMTK's dcmsend, several
at a time. Only films answered with 0x0000 count. What that answer stands for differs: filmgate says it when
file, folder and ledger are synced; Orthanc when the file is (SyncStorageArea, its default), but neither the
file's name nor its index; without SyncStorageArea, and storescp, when nothing is. With --workers it is all of
`filmgate up`, ready: gates run meanwhile. With --before another checkout of filmgate takes its turn.
Compare ratios within a run: the machine may have other things to do. Processor time is steadier than films a
second; it is of the process that receives, whatever else it does.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import structlog
from orthanc_peer import ORTHANC, configuration
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from rig import ROOT, STORESCP, acknowledged, below, dcmsend, free_port, listening

from gateway.ledger import Ledger
from gateway.listener import serve
from gateway.settings import GatewaySettings, Settings, StoreSettings
from gateway.store import Store

TARGETS = ("orthanc", "orthanc-nosync", "dcmtk", "filmgate")
BEFORE = "before"
SIZES = {"0.5 MB": (512, 512, 600), "10 MB": (2500, 2048, 64)}  # rows, columns, films of one round
START_S = 90


@dataclass(frozen=True)
class Measured:
    size: str
    target: str
    films_per_s: float  # median of the rounds
    mb_per_s: float
    cpu_ms: float  # processor time a film, of the process that receives; median
    rounds: tuple[float, ...]  # films/s


@dataclass(frozen=True)
class Round:
    films_per_s: float
    cpu_ms: float


def make_films(folder: Path, rows: int, columns: int, count: int) -> list[Path]:
    """Synthetic 16-bit DX films that differ in their UIDs."""
    placeholder = "1.2.826.0.1.3680043.9.9999.1.1%09d"
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.SOPClassUID = DigitalXRayImageStorageForPresentation
    film.SOPInstanceUID = placeholder % 0
    film.StudyInstanceUID = film.SeriesInstanceUID = "1.2.826.0.1.3680043.9.9999.2.1"
    film.PatientID = film.StudyID = film.AccessionNumber = "BENCH"
    film.PatientName, film.Modality, film.StudyDate = "Bench^Film", "DX", "20260101"
    film.PatientBirthDate, film.PatientSex, film.StudyTime = "19700101", "O", "120000"
    film.SeriesNumber = film.InstanceNumber = "1"
    film.Rows, film.Columns, film.SamplesPerPixel = rows, columns, 1
    film.PhotometricInterpretation, film.PixelRepresentation = "MONOCHROME2", 0
    film.BitsAllocated, film.BitsStored, film.HighBit = 16, 12, 11
    noise = np.random.default_rng(1).integers(0, 4096, (rows, columns), dtype=np.uint16)
    film.add_new(0x7FE00010, "OW", noise.tobytes())
    first = folder / "template.dcm"
    film.save_as(first, enforce_file_format=True)
    template = first.read_bytes()
    first.unlink()
    paths = []
    for number in range(count):
        paths.append(folder / f"{number:05d}.dcm")
        paths[-1].write_bytes(template.replace((placeholder % 0).encode(), (placeholder % number).encode()))
    return paths


def command_of(target: str, folder: Path, port: int, how: argparse.Namespace) -> list[str]:
    if target == "dcmtk":
        (folder / "received").mkdir()
        return [STORESCP, "--fork", "-od", str(folder / "received"), str(port)]
    if target.startswith("orthanc"):
        sync = target == "orthanc"
        return [str(ORTHANC), str(configuration(folder, "BENCH", port, SyncStorageArea=sync))]
    if how.workers:
        config = {"gateway": {"port": port, "processes": how.processes}, "work": {"workers": how.workers}}
        (folder / "filmgate.yaml").write_text(json.dumps(config))
        where = ["--config", str(folder / "filmgate.yaml"), "--state", str(folder / "state")]
        return [sys.executable, "-m", "gateway.cli", "up", *where]
    return [sys.executable, __file__, "--listen", str(folder / "state"), str(port), str(how.processes)]


def start(target: str, folder: Path, port: int, how: argparse.Namespace) -> subprocess.Popen[bytes]:
    checkout = how.before if target == BEFORE else ROOT
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command_of(target, folder, port, how),
            stdout=output,
            stderr=output,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            start_new_session=True,
        )
    whole = how.workers and target in ("filmgate", BEFORE)
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.poll() is None:
        if "filmgate is ready" in log.read_text(errors="replace") if whole else listening(port):
            return server
        time.sleep(0.05)
    stop(server)
    raise SystemExit(f"{target} did not start:\n{log.read_text()[-2000:]}")


def stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is not None:
        return
    os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(timeout=15)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def send(films: list[Path], folder: Path, port: int, senders: int) -> tuple[int, float]:
    """Films answered with 0x0000, and seconds."""
    commands = []
    for number in range(senders):
        report = folder / f"report-{number}.txt"
        mine = films[number::senders]
        commands.append(dcmsend(port, mine, report))
    began = time.monotonic()
    running = [
        subprocess.Popen(one, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for one in commands
    ]
    for one in running:
        one.wait()
    seconds = time.monotonic() - began
    stored = sum(len(acknowledged(folder / f"report-{number}.txt")) for number in range(senders))
    return stored, seconds


def receiving_s(server: subprocess.Popen[bytes]) -> float:
    """Processor time so far: of `filmgate listen`, else of the server and its children that ended."""
    listeners = [pid for pid, line in below(server.pid).items() if " listen " in line]
    return sum(_cpu_s(pid) for pid in listeners or [server.pid])


def _cpu_s(pid: int) -> float:
    """proc(5): utime, stime, cutime and cstime."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def one_round(target: str, films: list[Path], work: Path, how: argparse.Namespace) -> Round:
    folder = Path(tempfile.mkdtemp(prefix=f"{target}-", dir=work))
    server = start(target, folder, port := free_port(), how)
    try:
        os.sync()  # what others left dirty is not this one's burden
        before_s = receiving_s(server)
        stored, seconds = send(films, folder, port, how.senders)
        cpu_ms = (receiving_s(server) - before_s) * 1e3
    finally:
        stop(server)
    if stored != len(films):
        log = (folder / "log").read_text(errors="replace")
        print(
            f"{target}: {stored} of {len(films)} films were answered with 0x0000\n{log[-2000:]}",
            file=sys.stderr,
        )
    give_room_back(folder)
    return Round(stored / seconds, cpu_ms / max(stored, 1))


def give_room_back(folder: Path) -> None:
    """Empty the files, but let them be: ext4 makes a detour round inodes that were freed minutes ago.

    The server whose turn is next would pay for it with a seventh of its time.
    """
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.truncate(path, 0)


def listen(state: Path, port: int, processes: int) -> None:
    """The filmgate side: `processes` listeners on one port, with the real ledger and store."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    settings = Settings(gateway=GatewaySettings(port=port), store=StoreSettings(min_free_mb=100), state=state)
    Ledger.open(settings.ledger_url, migrate_first=True).close()
    for _ in range(processes - 1):
        if os.fork() == 0:
            break
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    ledger = Ledger.open(settings.ledger_url)
    store = Store(settings.state, settings.store.min_free_mb)
    serve(settings, ledger, store, reuse_port=processes > 1, ready=lambda: None, stop=done, drain_s=1)


def measured(size: str, target: str, film_mb: float, rounds: Sequence[Round]) -> Measured:
    films_per_s = statistics.median(one.films_per_s for one in rounds)
    return Measured(
        size=size,
        target=target,
        films_per_s=round(films_per_s, 1),
        mb_per_s=round(films_per_s * film_mb, 1),
        cpu_ms=round(statistics.median(one.cpu_ms for one in rounds), 2),
        rounds=tuple(round(one.films_per_s, 1) for one in rounds),
    )


def measure(arguments: argparse.Namespace) -> list[Measured]:
    results = []
    with tempfile.TemporaryDirectory(prefix="filmgate-bench-", dir=arguments.folder) as work:
        for size in arguments.sizes:
            rows, columns, count = SIZES[size]
            source = Path(work, "films")
            source.mkdir()
            films = make_films(source, rows, columns, count)
            film_mb = films[0].stat().st_size / 1e6
            rounds: dict[str, list[Round]] = {target: [] for target in arguments.targets}
            for _ in range(arguments.rounds):
                for target in arguments.targets:
                    rounds[target].append(one_round(target, films, Path(work), arguments))
            results += [measured(size, target, film_mb, of_it) for target, of_it in rounds.items()]
            shutil.rmtree(source)
    return results


def table(results: list[Measured]) -> str:
    lines = [f"{'films':8} {'server':15} {'films/s':>9} {'MB/s':>9} {'CPU ms/film':>12}   rounds"]
    by = {(one.size, one.target): one for one in results}
    lines += [
        f"{one.size:8} {one.target:15} {one.films_per_s:9.1f} {one.mb_per_s:9.1f} {one.cpu_ms:12.2f}"
        f"   {one.rounds}"
        for one in results
    ]
    for one in results:
        ours = by.get((one.size, "filmgate"))
        if ours is not None and one is not ours and one.films_per_s:
            lines.append(f"{one.size:8} filmgate is {ours.films_per_s / one.films_per_s:.2f} x {one.target}")
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--listen"]:
        listen(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--processes", type=int, default=1, help="filmgate listeners on one port")
    parser.add_argument("--workers", type=int, default=0, help="run `filmgate up` with so many workers")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--before", type=Path, help="another checkout of filmgate, measured in turn")
    parser.add_argument("--folder", default="/var/tmp", help="on the disk to measure, not on tmpfs")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.before:
        arguments.targets = [BEFORE, *arguments.targets]
    results = measure(arguments)
    print(json.dumps([asdict(one) for one in results], indent=1) if arguments.json else table(results))


if __name__ == "__main__":
    main()
