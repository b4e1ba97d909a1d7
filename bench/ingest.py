"""How fast C-STORE is taken in: filmgate beside Orthanc and DCMTK's storescp, in one run on one machine.

    python bench/ingest.py [--rounds 3] [--senders 4] [--processes 1] [--workers N] [--json]

Each round starts every server on an empty folder and sends it the same films with DCMTK's dcmsend, several
at a time. filmgate answers 0x0000 only when file, folder and ledger are synced; the other two sync nothing.
Only films answered with 0x0000 count. With --workers it is all of `filmgate up`: gates run meanwhile.
Compare ratios within a run: the machine may have other things to do.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import structlog
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from gateway.ledger import Ledger
from gateway.listener import serve
from gateway.settings import GatewaySettings, Settings, StoreSettings
from gateway.store import Store

DCMSEND = "/usr/bin/dcmsend"
STORESCP = "/usr/bin/storescp"
ORTHANC = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
TARGETS = ("orthanc", "dcmtk", "filmgate")
SIZES = {"0.5 MB": (512, 512, 600), "10 MB": (2500, 2048, 64)}  # rows, columns, films of one round


@dataclass(frozen=True)
class Measured:
    size: str
    target: str
    films_per_s: float  # median of the rounds
    mb_per_s: float
    rounds: tuple[float, ...]  # films/s


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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command_of(target: str, folder: Path, port: int, processes: int, workers: int) -> list[str]:
    if target == "dcmtk":
        (folder / "received").mkdir()
        return [STORESCP, "--fork", "-od", str(folder / "received"), str(port)]
    if target == "orthanc":
        settings = {
            "Name": "bench",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "DicomPort": port,
            "DicomAet": "BENCH",
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True,
            "HttpServerEnabled": False,
            "Plugins": [],
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        assert ORTHANC is not None
        return [ORTHANC, str(folder / "orthanc.json")]
    if workers:
        config = {"gateway": {"port": port, "processes": processes}, "work": {"workers": workers}}
        (folder / "filmgate.yaml").write_text(json.dumps(config))
        filmgate = str(Path(sys.executable).with_name("filmgate"))
        return [filmgate, "up", "--config", str(folder / "filmgate.yaml"), "--state", str(folder / "state")]
    return [sys.executable, __file__, "--listen", str(folder / "state"), str(port), str(processes)]


def start(target: str, folder: Path, port: int, processes: int, workers: int) -> subprocess.Popen[bytes]:
    server = subprocess.Popen(
        command_of(target, folder, port, processes, workers),
        stdout=subprocess.DEVNULL,
        stderr=(folder / "log").open("wb"),
        start_new_session=True,
    )
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return server
    raise SystemExit(f"{target} did not start:\n{(folder / 'log').read_text()[-2000:]}")


def stop(server: subprocess.Popen[bytes]) -> None:
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
        mine = [str(film) for film in films[number::senders]]
        commands.append([DCMSEND, "-aec", "FILMGATE", "+crf", str(report), "127.0.0.1", str(port), *mine])
    began = time.monotonic()
    running = [
        subprocess.Popen(one, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for one in commands
    ]
    for one in running:
        one.wait()
    seconds = time.monotonic() - began
    stored = 0
    for number in range(senders):
        report = folder / f"report-{number}.txt"
        text = report.read_text() if report.exists() else ""
        found = re.search(r"with status SUCCESS\s*:\s*(\d+)", text)
        stored += int(found.group(1)) if found else 0
    return stored, seconds


def one_round(target: str, films: list[Path], work: Path, how: argparse.Namespace) -> float:
    """Films a second."""
    folder = Path(tempfile.mkdtemp(prefix=f"{target}-", dir=work))
    server = start(target, folder, port := free_port(), how.processes, how.workers)
    try:
        os.sync()  # what others left dirty is not this one's burden
        stored, seconds = send(films, folder, port, how.senders)
    finally:
        stop(server)
        log = (folder / "log").read_text(errors="replace")
        shutil.rmtree(folder, ignore_errors=True)
    if stored != len(films):
        print(
            f"{target}: {stored} of {len(films)} films were answered with 0x0000\n{log[-2000:]}",
            file=sys.stderr,
        )
    return stored / seconds


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


def measure(arguments: argparse.Namespace) -> list[Measured]:
    results = []
    with tempfile.TemporaryDirectory(prefix="filmgate-bench-", dir=arguments.folder) as work:
        for size in arguments.sizes:
            rows, columns, count = SIZES[size]
            source = Path(work, "films")
            source.mkdir()
            films = make_films(source, rows, columns, count)
            film_mb = films[0].stat().st_size / 1e6
            rates: dict[str, list[float]] = {target: [] for target in arguments.targets}
            for _ in range(arguments.rounds):
                for target in arguments.targets:
                    rates[target].append(one_round(target, films, Path(work), arguments))
            for target, measured in rates.items():
                middle = statistics.median(measured)
                rounds = tuple(round(one, 1) for one in measured)
                results.append(Measured(size, target, round(middle, 1), round(middle * film_mb, 1), rounds))
            shutil.rmtree(source)
    return results


def table(results: list[Measured]) -> str:
    lines = [f"{'films':8} {'server':10} {'films/s':>9} {'MB/s':>9}   rounds"]
    by = {(one.size, one.target): one for one in results}
    for one in results:
        lines.append(
            f"{one.size:8} {one.target:10} {one.films_per_s:9.1f} {one.mb_per_s:9.1f}   {one.rounds}"
        )
    for size in dict.fromkeys(one.size for one in results):
        ours = by.get((size, "filmgate"))
        for other in ("orthanc", "dcmtk"):
            theirs = by.get((size, other))
            if ours and theirs:
                lines.append(f"{size:8} filmgate is {ours.films_per_s / theirs.films_per_s:.2f} x {other}")
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
    parser.add_argument("--folder", default="/var/tmp", help="on the disk to measure, not on tmpfs")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = measure(arguments)
    print(json.dumps([asdict(one) for one in results], indent=1) if arguments.json else table(results))


if __name__ == "__main__":
    main()
