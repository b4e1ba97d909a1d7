"""Kill -9 of a random process, again and again, while films are pushed; then the books must balance.

The sender (dcmsend) sends again what got no success, as a modality does, and keeps pace with the deaths, so
that films are under way until the last one. Victims are drawn from all that runs: listeners, dispatcher,
workers, their decoders, Redis, the console, and `up` itself, which is started again. A reviewer releases,
corrects, rejects and undoes meanwhile. At the end every SOP Instance UID that was acknowledged is listed,
its bytes lie in the store, it is delivered, withheld, held with a reason, or queued; the archive has every
byte of it; and the AI has at most one object a film, none that was undone, and none before its time.

    python bench/harm/survive.py [--films 500] [--deaths 50] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from os import kill
from pathlib import Path
from typing import Any

import pydicom

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all of bench/ shares

from harm.reviewing import Reviewer
from rig import Gateway, acknowledged, cpu_model, dcmsend, gateway

from pipelines.lab.films.phantom_dx import phantom_dx

GIVEN_UP = {"ATTEMPTS_EXHAUSTED", "DECODE_FAILED", "COPY_FAILED"}
# What a victim is called, what its command line holds, and how often it is drawn beside the others.
VICTIMS = (
    ("listener", " listen ", 4),
    ("dispatcher", " dispatch ", 3),
    ("worker", " work ", 4),
    ("decoder", "gateway.sandbox.decoder", 4),
    ("redis", "redis-server", 2),
    ("console", " console ", 1),
    ("up", " up ", 1),
)
PAUSE_S = (0.4, 1.6)  # from one death to the next
BATCH = 40  # films a push
MASTERS = 100  # films with pixels of their own; the others are further instances of them
SETTLE_S = 900.0
RELEASE_DELAY_S = 4.0


def films(folder: Path, count: int, salt: str) -> dict[str, Path]:
    """SOP Instance UID -> file: clean, turned, inverted, lateral and hand phantoms."""
    made = {}
    kinds = (
        ("frontal", 0, False),
        ("frontal", 90, False),
        ("frontal", 0, True),
        ("lateral", 0, False),
        ("hand", 0, False),
    )
    masters = []
    for number in range(min(count, MASTERS)):
        kind, turn, inverted = kinds[number % len(kinds)]
        masters.append(phantom_dx(kind, number // len(kinds), turn=turn, inverted=inverted, salt=salt))
    for number in range(count):
        ds, lap = masters[number % MASTERS], number // MASTERS
        if lap:
            ds.SOPInstanceUID = f"{_root(str(ds.SOPInstanceUID))}.{lap}"
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        path = folder / f"{number:05d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        made[str(ds.SOPInstanceUID)] = path
    return made


def _root(uid: str) -> str:
    """A phantom's UID is 2.25. and one number; further instances have another component."""
    return ".".join(uid.split(".")[:3])


def push(running: Gateway, todo: dict[str, Path], note: Path) -> set[str]:
    """One dcmsend over `todo`; the UIDs that got 0x0000."""
    with suppress(subprocess.TimeoutExpired):
        command = dcmsend(running.port, [*todo.values()], note, "-to", "10")
        subprocess.run(command, capture_output=True, timeout=120, check=False)
    taken = set(acknowledged(note))
    note.unlink(missing_ok=True)
    return taken


def deaths(running: Gateway, count: int, rng: random.Random, died: list[str]) -> None:
    """`count` times a process dies without a word; one that died just now, and is not there, is not drawn."""
    while len(died) < count:
        time.sleep(rng.uniform(*PAUSE_S))
        if running.process.poll() is not None:
            running.start(wait_s=0)
        ((name, word, _),) = rng.choices(VICTIMS, [weight for *_, weight in VICTIMS])
        pids = [pid for pid, line in running.pids().items() if word in line]
        with suppress(ProcessLookupError, IndexError):  # who died just now is not there
            kill(rng.choice(pids), signal.SIGKILL)
            died.append(name)
            if len(died) % 50 == 0:
                print(f"{len(died)} of {count} have died", file=sys.stderr)
    if died[-1:] == ["up"]:
        running.process.wait()
        running.start(wait_s=0)


def survive(count: int, dying: int, seed: int) -> dict[str, Any]:
    delay = {"release_delay_s": RELEASE_DELAY_S, "rejection_notes": ["archive"]}
    with tempfile.TemporaryDirectory() as name, gateway(quarantine=delay) as running:
        folder, rng = Path(name), random.Random(seed)
        sent = films(folder, count, salt=f"survive-{time.time_ns()}")
        taken, died = set[str](), list[str]()
        hunting = threading.Thread(target=deaths, args=(running, dying, rng, died))
        started = time.monotonic()
        hunting.start()
        deadline = started + 60 + dying * 10
        with Reviewer(running, seed) as reviewer:
            while len(taken) < count and time.monotonic() < deadline:
                if hunting.is_alive() and len(taken) * dying > count * (len(died) + 1):
                    time.sleep(0.05)  # ahead of the deaths
                    continue
                todo = [uid for uid in sent if uid not in taken][:BATCH]
                taken |= push(running, {uid: sent[uid] for uid in todo}, folder / "note")
            hunting.join()
        listed = {f["sop_instance_uid"]: f for f in running.settled(taken, SETTLE_S)}
        took = {"machine": cpu_model(), "seconds": round(time.monotonic() - started)}
        books = report(running, {uid: sent[uid] for uid in taken}, listed, died)
        return took | books | {"reviewer": reviewer.balance(RELEASE_DELAY_S, came_to_ai(running))}


def came_to_ai(running: Gateway) -> dict[str, list[datetime]]:
    """SOP Instance UID of a film -> when its objects came to the AI, as they are or as corrected copies."""
    came: dict[str, list[datetime]] = {}
    for path in running.ai.files():
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        sources = [str(item.ReferencedSOPInstanceUID) for item in ds.get("SourceImageSequence", [])]
        film = sources[0] if sources else str(ds.SOPInstanceUID)
        came.setdefault(film, []).append(datetime.fromtimestamp(path.stat().st_mtime, UTC))
    return came


def report(
    running: Gateway, acknowledged: dict[str, Path], listed: dict[str, Any], killed: list[str]
) -> dict[str, Any]:
    at_ai = came_to_ai(running)
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
            d["state"] not in ("delivered", "cancelled")
            for film in decided.values()
            for d in film.get("deliveries", ())
        ),
        "not at the archive": len(acknowledged.keys() - archived),
        "changed on the way": sum(
            dataset_bytes(acknowledged[uid]) != dataset_bytes(archived[uid])
            for uid in archived.keys() & acknowledged
        ),
        "two objects at the AI": sum(len(times) > 1 for times in at_ai.values()),
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
    parser.add_argument("--deaths", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(json.dumps(survive(args.films, args.deaths, args.seed), indent=1))


if __name__ == "__main__":
    main()
