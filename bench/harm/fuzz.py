"""Malformed conversations and broken files, by the thousand: does a process of ours end, or stay ill?

    python bench/harm/fuzz.py [--minutes 10] [--files 10000] [--seed 0]

Conversations first: to a whole gateway on loopback THREADS peers say an echo, a store or both, mutated in the
bytes (flips, cuts, pieces inserted, lengths), the PDUs (type, order, repeats, fragments and their flags), the
elements of the command set or the items of the A-ASSOCIATE-RQ, in one piece or many, and close, half-close,
reset or stay. Meanwhile an honest C-ECHO is timed. Then files: phantoms in each transfer syntax, mutated in
bits, lengths, tags, VRs and nesting; all go through the decoder, one in STORED by C-STORE to the gateway too.

Counted as a fault: a process of the gateway that ended (but for the decoder's child, which is there to end),
an honest echo without an answer, a file that ends neither as a film nor with a reason, an acknowledged film
without a decision, a decoder that does not read a whole film after it was lost. The exit status says so too.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all of bench/ shares

from harm.broken_files import Master, dataset_at, masters, mutated
from harm.conversations import THREADS, Peers, honest
from harm.mutations import Rng
from harm.sending import send
from rig import Gateway, cpu_model, gateway, rss_mb, wait_for

from gateway.errors import DecodeError, NoTime
from gateway.sandbox.decoder import Decoder
from gateway.store import read_meta
from gateway.upper_layer.association import Target
from pipelines.film import Operations

STORED = 50  # one file in so many goes by C-STORE too
COPIED = 20  # of one in so many that decode a corrected copy is made
OURS = ("listen", "dispatch", "work", "console", "up", "redis-server")  # that must outlive it all


def costs(pid: int) -> dict[str, float]:
    here = Path(f"/proc/{pid}")
    return {
        "threads": len(list((here / "task").iterdir())),
        "file descriptors": len(list((here / "fd").iterdir())),
        "memory_mb": round(rss_mb(pid), 1),
    }


def ours(running: Gateway) -> dict[int, str]:
    """Processes that must not end."""
    return {pid: line for pid, line in running.pids().items() if any(f"{one} " in line for one in OURS)}


def conversations(running: Gateway, minutes: float, seed: int, files: Sequence[bytes]) -> dict[str, Any]:
    listener, lines = running.pid_of(" listen "), len(running.lines)
    words = honest(files)
    with Peers(running.port, words, seed):
        time.sleep(2)  # the first of each kind loads code
    wait_for(lambda: costs(listener)["threads"] < 2 * THREADS + 20, 60, "associations did not end")
    before = costs(listener)
    with Peers(running.port, words, seed + 1) as peers:
        time.sleep(60 * minutes)
    with suppress(TimeoutError):  # then it shows in the numbers
        wait_for(lambda: costs(listener)["file descriptors"] <= before["file descriptors"] + 2, 20, "")
    return {
        "conversations": sum(peers.ends.values()),
        "ends": dict(peers.ends.most_common()),
        "honest echoes": len(peers.echoes_s),
        "unanswered": peers.unanswered[:5] + peers.unanswered[5:][:1],
        "slowest_s": round(max(peers.echoes_s), 3),
        "listener before": before,
        "listener after": costs(listener),
        "log lines": len(running.lines) - lines,
        "said most": dict(Counter(map(_gist, running.lines[lines:])).most_common(8)),
    }


def _gist(line: str) -> str:
    """A line of the log without what differs from one to the next."""
    return re.sub(r"\d+|[A-Z]\w+=\S*", "#", line.strip())[25:90]


@dataclass
class Decoded:
    """What became of the files."""

    ends: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    lost: int = 0
    slowest_s: float = 0.0


def decode(folder: Path, whole: Sequence[Master], count: int, seed: int) -> Decoded:
    """Every file through the decoder: a film or a reason; when the child was lost, a whole film next."""
    rng, result, path, sound = Rng(seed), Decoded(), folder / "mutated.dcm", folder / "whole.dcm"
    sound.write_bytes(whole[0].file)
    with Decoder() as decoder:
        decoder.film(sound)
        for n in range(count):
            pid, began = decoder.pid, time.monotonic()
            path.write_bytes(mutated(whole[n % len(whole)], rng, dataset_only=False))
            try:
                result.ends[_film(decoder, path, copy=n % COPIED == 0)] += 1
            except Exception as error:  # noqa: BLE001 - whatever else comes out is what is looked for
                kept = folder / f"fault-{n}.dcm"
                kept.write_bytes(path.read_bytes())
                result.faults.append(f"{whole[n % len(whole)].name}, file {n}: {error!r}"[:300])
            result.slowest_s = max(result.slowest_s, time.monotonic() - began)
            if decoder.pid != pid:
                result.lost += 1
                decoder.film(sound)
        decoder.film(sound)
    return result


def _film(decoder: Decoder, path: Path, *, copy: bool) -> str:
    try:
        decoder.film(path)
        if copy:
            decoder.derive(path, Operations(turn=90), {}, path.with_name("copy.dcm"))
            decoder.pixel_digest(path)
    except DecodeError as error:
        return str(error.reason)
    except NoTime:
        return "no time"
    return "film"


def store(running: Gateway, whole: Sequence[Master], count: int, seed: int) -> tuple[Counter[str], set[str]]:
    """Mutated datasets by C-STORE: what was answered, and what was acknowledged."""
    rng, answers, kept = Rng(seed), Counter[str](), set[str]()
    target = Target("FILMGATE", "127.0.0.1", running.port)
    for n in range(count):
        master = whole[n % len(whole)].own(n + 1)
        meta = read_meta(BytesIO(master.file))
        dataset = mutated(master, rng, dataset_only=True)[dataset_at(master.file) :]
        answer = send(target, "FUZZ", meta, BytesIO(dataset))
        answers[answer.partition(":")[0]] += 1
        kept |= {meta.sop_instance_uid} if answer == "answered" else set()
    return answers, kept


def decided(running: Gateway, uids: set[str], timeout_s: float) -> tuple[Counter[str], list[str]]:
    """Wait for a decision of each; the decisions, and what has none."""
    until = time.monotonic() + timeout_s
    while True:
        films = {one["sop_instance_uid"]: one for one in running.films()}
        without = sorted(uid for uid in uids if not films.get(uid, {}).get("decision"))
        if not without or time.monotonic() > until:
            reasons = Counter(
                "|".join(films[uid]["reasons"]) or films[uid]["decision"] for uid in uids - set(without)
            )
            return reasons, without
        time.sleep(1)


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--minutes", type=float, default=1.0)
    options.add_argument("--files", type=int, default=1000)
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args()
    whole = masters(args.seed)
    with (
        tempfile.TemporaryDirectory(prefix="filmgate-fuzz-") as name,
        gateway(gateway={"deflated": True, "big_endian": True}, work={"workers": 1}) as running,
    ):
        processes = ours(running)
        small = [one for one in whole if one.name == "native, 8 bits"]
        files = [one.own(10**6 + n).file for one in small for n in range(4)]
        talked = conversations(running, args.minutes, args.seed, files)
        first = {"machine": cpu_model(), "seed": args.seed, "conversations": talked}
        print(json.dumps(first, indent=1), flush=True)
        began = time.monotonic()
        result = decode(Path(name), whole, args.files, args.seed)
        took_s = time.monotonic() - began
        answers, kept = store(running, whole, args.files // STORED, args.seed)
        reasons, without = decided(running, kept, 300)
        died = [line for pid, line in processes.items() if pid not in ours(running)]
        checked = running.cli("fsck")
        stopped_s = running.stop()
        code = running.process.returncode
    faults = [*talked["unanswered"], *result.faults, *without, *died]
    faults += [f"{answers[it]} associations {it}" for it in ("turned away",) if answers[it]]
    if code or checked.returncode:
        faults.append(f"`up` ended with {code}, fsck with {checked.returncode}: {checked.stdout[-500:]}")
    report = {
        "files": {
            "decoded": dict(result.ends.most_common()),
            "child lost": result.lost,
            "slowest_s": round(result.slowest_s, 1),
            "took_s": round(took_s),
            "stored": dict(answers.most_common()),
            "decided": dict(reasons.most_common()),
        },
        "stop_s": round(stopped_s, 1),
        "faults": faults,
    }
    print(json.dumps(report, indent=1))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
