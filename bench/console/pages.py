"""What a page costs on a ledger of 200,000 films, 80,000 of them held, while the gateway receives.

    python bench/console/pages.py [--films 200000] [--root DIR] [--rounds 30] [--a-second 10]

A whole `filmgate up` on a ledger that `bench/ledger.py` fills: its console is asked over HTTP by somebody who
signed in, one page after the other; films are pushed meanwhile by dcmsend, so many a second, gated and
delivered. `films list --limit 20` is timed as a whole command, and once its modules are loaded. A root that
was filled before is used as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all of bench/ shares

import httpx2 as httpx
import psutil
from ledger import accession, fastest, fill, in_process
from pydicom.uid import generate_uid
from rig import Gateway, acknowledged, cpu_model, dcmsend, gateway, rss_mb

from gateway.ledger import Ledger
from gateway.ledger.people import passwords
from gateway.ledger.people.records import Role
from pipelines.lab.films.phantom_dx import phantom_dx

PASSWORD = "correct horse battery staple"
PAGES = {
    "Films": "/films",
    "Films, deep": "/films?after=60000",
    "Films of an accession number": f"/films?accession={accession(100_000)}",
    "Films of a device": "/films?device=DX-3",
    "Films with a reason": "/films?reason=BLANK",
    "Films of a sender, held, of a device": "/films?sender=ROOM2&decision=quarantine&device=DX-3",
    "Films, least sure first": "/films?sort=uncertain",
    "Films of a month": "/films?first_day=2026-04-01&last_day=2026-04-30",
    "Films by anything": f"/films?text={accession(50_000)}",
    "Quarantine": "/quarantine",
    "Quarantine, by room": "/quarantine?group=room",
    "Quarantine, least sure first": "/quarantine?group=device&sort=uncertain",
    "Quarantine of a reason": "/quarantine?reason=BLANK",
    "Why": f"/why?q={accession(100_000)}",
}
AT_ONCE = 10  # films of one association


@contextmanager
def receiving(running: Gateway, folder: Path, a_second: float) -> Iterator[list[str]]:
    """Films are pushed meanwhile; the UIDs that got 0x0000 so far."""
    taken: list[str] = []
    over = threading.Event()
    film = phantom_dx("frontal", 1)

    def push() -> None:
        due = time.monotonic()
        while not over.is_set():
            paths = []
            for number in range(AT_ONCE):
                film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = generate_uid()
                paths.append(folder / f"{number}.dcm")
                film.save_as(paths[-1], enforce_file_format=True)
            note = folder / "note.txt"
            subprocess.run(dcmsend(running.port, paths, note), check=False, capture_output=True)
            taken.extend(acknowledged(note))
            due += AT_ONCE / a_second
            over.wait(max(0.0, due - time.monotonic()))

    thread = threading.Thread(target=push)
    thread.start()
    try:
        yield taken
    finally:
        over.set()
        thread.join(60)


@contextmanager
def signed_in(running: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{running.console_port}", timeout=60) as client:
        answer = client.post("/sign-in", data={"name": "bench", "password": PASSWORD})
        assert answer.status_code == 303, answer.text[:500]
        yield client


def asked(client: httpx.Client, console: psutil.Process, rounds: int) -> dict[str, Any]:
    """Milliseconds of each page as its reader waits for it, and of the console's processor time."""
    return {name: _asked(client, console, address, rounds) for name, address in PAGES.items()}


def _asked(client: httpx.Client, console: psutil.Process, address: str, rounds: int) -> dict[str, int]:
    client.get(address)
    before, waited_ms = sum(console.cpu_times()[:2]), []
    for _ in range(rounds):
        began = time.perf_counter()
        answer = client.get(address)
        waited_ms.append(1000 * (time.perf_counter() - began))
        assert answer.status_code == 200, (address, answer.status_code)
    used_ms = 1000 * (sum(console.cpu_times()[:2]) - before) / rounds
    times = {"p50_ms": statistics.median(waited_ms), "p95_ms": p95(waited_ms), "cpu_ms": used_ms}
    return {name: round(value) for name, value in times.items()}


def p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def all_of(pages: dict[str, Any], word: str) -> float:
    """The highest p95 of the pages of one name."""
    return max(float(one["p95_ms"]) for name, one in pages.items() if name.startswith(word))


def measured(root: Path, films: int, rounds: int, a_second: float) -> dict[str, Any]:
    path = root / "state" / "ledger.sqlite"
    if not path.exists():
        path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        fill(path, films)
    ledger = Ledger.open(f"sqlite:///{path}", migrate_first=True)
    if ledger.credentials("bench") is None:
        ledger.add_user(
            "bench", Role.ADMIN, by="bench", now=datetime.now(UTC), password_hash=passwords.hashed(PASSWORD)
        )
    ledger.close()
    result: dict[str, Any] = {"machine": cpu_model(), "films": films, "load_before": os.getloadavg()[0]}
    with gateway(root, start_archive=False) as running, tempfile.TemporaryDirectory() as folder:
        console = psutil.Process(running.pid_of(" console "))
        with receiving(running, Path(folder), a_second) as taken, signed_in(running) as client:
            began = time.monotonic()
            pages = asked(client, console, rounds)
            result["received_a_second"] = round(len(taken) / (time.monotonic() - began), 1)
            listing = ("films", "list", "--limit", "20")
            result["films list --limit 20"] = fastest(running.state, *listing) | {
                "loaded_s": in_process(running.state, *listing)
            }
        result["console_mb"] = round(rss_mb(console.pid))
    return result | {
        "pages": pages,
        "films_p95_ms": all_of(pages, "Films"),
        "quarantine_p95_ms": all_of(pages, "Quar"),
    }


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--films", type=int, default=200_000)
    options.add_argument("--root", type=Path)
    options.add_argument("--rounds", type=int, default=30)
    options.add_argument("--a-second", type=float, default=10.0)
    args = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="filmgate-pages-") as folder:
        root = args.root or Path(folder)
        print(json.dumps(measured(root, args.films, args.rounds, args.a_second), indent=1))


if __name__ == "__main__":
    main()
