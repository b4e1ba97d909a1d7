"""How fast a film goes through a whole gateway, and what it costs.

    python bench/flow.py latency     0x0000 to arrival at the AI, idle machine, films one at a time
    python bench/flow.py sustained   films a second end to end, sender included
    python bench/flow.py archive     0x0000 to arrival at the archive; also without workers and Redis
    python bench/flow.py memory      listener under eight associations of 30 MB films; worker with decoder

Films are frontal phantoms of 2500 x 2048, 12 bits in 16, uncompressed. DCMTK sends and receives.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from os import kill
from pathlib import Path
from typing import Any

import pydicom
from rig import DCMSEND, Gateway, Receiver, big_films, cpu_model, gateway, rss_mb, wait_for


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def arrival(receiver: Receiver, sent: Path, timeout_s: float = 30) -> float:
    """Wall-clock time at which the receiver had written the whole object, s."""
    uid, size = uid_of(sent), dataset_size(sent)

    def whole() -> list[Path]:
        mine = [path for path in receiver.files() if path.name.endswith(uid)]
        return [path for path in mine if path.stat().st_size > 144 and dataset_size(path) == size]

    wait_for(whole, timeout_s, "did not arrive")
    return whole()[0].stat().st_mtime


def dataset_size(path: Path) -> int:
    """Bytes of what follows group 2."""
    with path.open("rb") as file:
        head = file.read(144)
    return path.stat().st_size - 144 - int.from_bytes(head[140:144], "little")


def uid_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def latency(films: int) -> dict[str, Any]:
    """One film, wait for it at the AI, the next."""
    took = []
    with tempfile.TemporaryDirectory() as folder, gateway() as running:
        for path in big_films(Path(folder), films + 3, salt=f"latency-{time.time_ns()}"):
            running.send(path)
            answered = time.time()  # when dcmsend ended: it has its 0x0000 and released
            took.append(max(0.0, arrival(running.ai, path) - answered))
            time.sleep(0.2)
    took = took[3:]  # the first ones warm caches
    return {
        "films": len(took),
        "p50_s": round(statistics.median(took), 3),
        "p99_s": round(percentile(took, 0.99), 3),
        "max_s": round(max(took), 3),
    }


def sustained(films: int) -> dict[str, Any]:
    """All films over four associations; until the last one is at the AI and at the archive."""
    with tempfile.TemporaryDirectory() as folder, gateway() as running:
        paths = big_films(Path(folder), films, salt=f"sustained-{time.time_ns()}")
        running.send(paths[0])
        wait_for(lambda: len(running.ai.files()) == 1, 30, "warm-up film did not arrive")
        start = time.monotonic()
        running.send(*paths[1:], associations=4)
        sent_s = time.monotonic() - start
        wait_for(lambda: len(running.ai.files()) == films, 300, "films missing at the AI")
        ai_s = time.monotonic() - start
        wait_for(lambda: len(running.archive.files()) == films, 300, "films missing at the archive")
        both_s = time.monotonic() - start
    rate = (films - 1) / max(ai_s, both_s)
    return {
        "films": films - 1,
        "sent_s": round(sent_s, 2),
        "at_ai_s": round(ai_s, 2),
        "at_archive_s": round(both_s, 2),
        "films_per_s": round(rate, 2),
    }


def archive(films: int) -> dict[str, Any]:
    """Arrival at the archive, with everything running and with workers and Redis stopped (SIGSTOP)."""
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, gateway() as running:
        for name in ("running", "workers and Redis stopped"):
            paths = big_films(
                Path(folder) / name, films, rows=1024, columns=1024, salt=f"{name}-{time.time_ns()}"
            )
            stopped = _others(running) if name != "running" else []
            for pid in stopped:
                kill(pid, signal.SIGSTOP)
            result[name] = _archived(running, paths)
            for pid in stopped:
                kill(pid, signal.SIGCONT)
    return result


def _others(running: Gateway) -> list[int]:
    return [pid for pid, line in running.pids().items() if " work " in f"{line} " or "redis-server" in line]


def _archived(running: Gateway, paths: list[Path]) -> dict[str, Any]:
    took, identical = [], 0
    for path in paths:
        running.send(path)
        answered = time.time()
        uid = uid_of(path)
        took.append(max(0.0, arrival(running.archive, path) - answered))
        stored = next(p for p in running.archive.files() if p.name.endswith(uid))
        identical += _dataset_digest(path) == _dataset_digest(stored)
    return {
        "films": len(paths),
        "identical": identical,
        "p95_s": round(percentile(took, 0.95), 3),
        "max_s": round(max(took), 3),
    }


def _dataset_digest(path: Path) -> str:
    """sha256 of the dataset's bytes: what follows group 2."""
    data = path.read_bytes()
    length = int.from_bytes(data[140:144], "little")
    return hashlib.sha256(data[144 + length :]).hexdigest()


def memory(films: int) -> dict[str, Any]:
    """Peak resident memory of the listener, small and large films, and of one worker with its decoder."""
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, gateway() as running:
        listener, worker = running.pid_of(" listen "), running.pid_of(" work ")
        result["listener idle"] = round(rss_mb(listener))
        for name, rows, columns in (("1 MB films", 724, 724), ("30 MB films", 4096, 3840)):
            paths = big_films(
                Path(folder) / str(rows), 1, rows=rows, columns=columns, salt=f"m{rows}-{time.time_ns()}"
            )
            paths = _variants(paths[0], films)
            peak = _peak(lambda: rss_mb(listener), partial(running.send, *paths, associations=8))
            result[f"listener, eight associations, {name}"] = round(peak)
        uids = {uid_of(path) for path in paths}
        decoder = running.pid_of("gateway.sandbox.decoder")
        both = _peak(lambda: rss_mb(worker) + rss_mb(decoder), lambda: running.settled(uids, 600))
        result["worker with decoder"] = round(both)
    return result


def _variants(path: Path, count: int) -> list[Path]:
    """Copies of one film, each with a SOP Instance UID of its own."""
    ds = pydicom.dcmread(path)
    paths = []
    for number in range(count):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        paths.append(path.with_name(f"variant{number:04d}.dcm"))
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def _peak(measure: Callable[[], float], act: Callable[[], Any]) -> float:
    done = threading.Event()
    seen = [measure()]

    def watch() -> None:
        while not done.wait(0.05):
            seen.append(measure())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        act()
    finally:
        done.set()
        watcher.join()
    return max(seen)


KINDS: dict[str, tuple[Callable[[int], dict[str, Any]], int]] = {
    "latency": (latency, 50),
    "sustained": (sustained, 121),
    "archive": (archive, 40),
    "memory": (memory, 40),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--films", type=int)
    args = parser.parse_args()
    subprocess.run([DCMSEND, "--version"], check=True, stdout=subprocess.DEVNULL)
    measure, films = KINDS[args.kind]
    print(json.dumps({"machine": cpu_model(), args.kind: measure(args.films or films)}, indent=1))


if __name__ == "__main__":
    main()
