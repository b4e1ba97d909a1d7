"""Kill -9 of every process in turn while 500 films are pushed; then the books must balance.

The sender (dcmsend) sends again what got no success, as a modality does. At the end every SOP Instance
UID that was acknowledged is listed, its bytes lie in the store, it is delivered, withheld, held with a
reason, or queued; the archive has every byte of it; and the AI has at most one object a film.

    python bench/survive.py [--films 500] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from os import kill
from pathlib import Path
from typing import Any

import pydicom
from rig import DCMSEND, Gateway, gateway

DEATHS = 3  # of each victim, at least
GIVEN_UP = {"ATTEMPTS_EXHAUSTED", "DECODE_FAILED", "COPY_FAILED"}
VICTIMS = (" listen ", " dispatch ", " work ", "gateway.decoder", "redis-server")


def films(folder: Path, count: int, salt: str) -> dict[str, Path]:
    """SOP Instance UID -> file: clean, turned, inverted, lateral and hand phantoms."""
    from pipelines.report.phantom_dx import phantom_dx

    made = {}
    kinds = (
        ("frontal", 0, False),
        ("frontal", 90, False),
        ("frontal", 0, True),
        ("lateral", 0, False),
        ("hand", 0, False),
    )
    for number in range(count):
        kind, turn, inverted = kinds[number % len(kinds)]
        ds = phantom_dx(kind, number // len(kinds), turn=turn, inverted=inverted, salt=salt)
        path = folder / f"{number:05d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        made[str(ds.SOPInstanceUID)] = path
    return made


def push(running: Gateway, todo: dict[str, Path], note: Path) -> set[str]:
    """One dcmsend over all that is still unacknowledged; the UIDs that got 0x0000."""
    command = [DCMSEND, "--no-halt", "+crf", str(note), "-aec", "FILMGATE", "-to", "10"]
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [*command, "127.0.0.1", str(running.port), *map(str, todo.values())],
            capture_output=True,
            timeout=120,
            check=False,
        )
    text = note.read_text() if note.exists() else ""
    note.unlink(missing_ok=True)
    return set(
        re.findall(r"SOP Instance  : (\S+)(?:(?!SOP Instance).)*?DIMSE Status  : 0x0000", text, re.DOTALL)
    )


def killer(running: Gateway, done: threading.Event, rng: random.Random, log: list[str]) -> None:
    """Every 1.5 to 3 s one of the processes dies without a word, until all is sent and each died often."""
    while not done.is_set() or len(log) < DEATHS * len(VICTIMS):
        time.sleep(rng.uniform(1.5, 3.0))
        victim = VICTIMS[len(log) % len(VICTIMS)]
        with suppress(ValueError, ProcessLookupError):
            kill(running.pid_of(victim), signal.SIGKILL)
            log.append(victim.strip())


def survive(count: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name, gateway() as running:
        folder = Path(name)
        sent = films(folder, count, salt=f"survive-{time.time_ns()}")
        acknowledged: set[str] = set()
        done, killed = threading.Event(), list[str]()
        hunting = threading.Thread(target=killer, args=(running, done, random.Random(seed), killed))
        hunting.start()
        deadline = time.monotonic() + 300
        while len(acknowledged) < count and time.monotonic() < deadline:
            acknowledged |= push(
                running, {u: p for u, p in sent.items() if u not in acknowledged}, folder / "note"
            )
        done.set()
        hunting.join()
        listed = {f["sop_instance_uid"]: f for f in running.settled(acknowledged, 300)}
        return report(running, {uid: sent[uid] for uid in acknowledged}, listed, killed)


def report(
    running: Gateway, acknowledged: dict[str, Path], listed: dict[str, Any], killed: list[str]
) -> dict[str, Any]:
    at_ai: dict[str, int] = {}
    for path in running.ai.files():
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        sources = [str(item.ReferencedSOPInstanceUID) for item in ds.get("SourceImageSequence", [])]
        film = sources[0] if sources else str(ds.SOPInstanceUID)
        at_ai[film] = at_ai.get(film, 0) + 1
    archived = {uid_in(path.name): path for path in running.archive.files()}
    decided = {uid: listed.get(uid, {}) for uid in acknowledged}
    return {
        "acknowledged": len(acknowledged),
        "killed": {victim: killed.count(victim) for victim in sorted(set(killed))},
        "not listed": sum(not film for film in decided.values()),
        "undecided": sum(bool(film) and not film["decision"] for film in decided.values()),
        "held without a reason": sum(
            film.get("decision") not in (None, "pass") and not film["reasons"] for film in decided.values()
        ),
        "given up": sum(bool(GIVEN_UP & set(film.get("reasons", ()))) for film in decided.values()),
        "undelivered": sum(
            d["state"] != "delivered" for film in decided.values() for d in film.get("deliveries", ())
        ),
        "not at the archive": len(acknowledged.keys() - archived),
        "changed on the way": sum(
            dataset_bytes(acknowledged[uid]) != dataset_bytes(archived[uid])
            for uid in archived.keys() & acknowledged
        ),
        "two objects at the AI": sum(count > 1 for count in at_ai.values()),
        "fsck": running.cli("fsck", "--deep", "--json").stdout.strip(),
        "decisions": {
            d: sum(f.get("decision") == d for f in decided.values())
            for d in ("pass", "correct", "withhold", "quarantine")
        },
        "reasons": Counter(code for film in decided.values() for code in film.get("reasons", ())),
    }


def uid_in(name: str) -> str:
    """storescp names files <modality>.<SOP Instance UID>."""
    return name.partition(".")[2]


def dataset_bytes(path: Path) -> bytes:
    """What follows group 2 of a Part 10 file."""
    data = path.read_bytes()
    return data[144 + int.from_bytes(data[140:144], "little") :]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(json.dumps(survive(args.films, args.seed), indent=1))


if __name__ == "__main__":
    main()
