"""What lists and looks cost on a ledger of 200,000 films: lists for people, looks of the dispatcher, claims.

    python bench/ledger.py [--films 200000] [--state DIR] [--idle-s 20]

Fills a ledger as months of a hospital would: of ten films four are held, eight are owed to an archive that
is away, and a quarter waits for a classifier. A folder that was filled before is used as it is. `films list`
is a whole command in a process of its own, as its user waits for it; write locks are timed where they are
taken; the dispatcher is `filmgate dispatch` with nothing to do but look.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from rig import FILMGATE, cpu_model, free_port
from sqlalchemy import event
from typer.testing import CliRunner

from gateway.cli import app
from gateway.ledger import Ledger
from gateway.store import Store

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
CR, EXPLICIT = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.1.2.1"
SENDERS = ("ROOM1", "ROOM2", "ROOM3", "MOBILE", "PACS")
GATES = ("header", "exposure", "anatomy", "inversion", "rotation", "mirror", "lungs")
HELD_FOR = ("ROTATION_UNSURE", "BLANK", "UNKNOWN_ANATOMY", "INVERTED", "MIRROR_SUSPECTED")
DIGESTS = json.dumps(dict.fromkeys(("policy", "code", *GATES), "d" * 64))
TRACE = json.dumps(
    [{"rule": f"rule-{n}", "fired": n == 21, "because": "anatomy.verdict is bad"} for n in range(22)]
)
DECISIONS = (
    "id, film_id, version_id, act, mode, rule, why, reasons, flags, trace, digests, decided_at, superseded, "
    "uncertainty"
)
DELIVERIES = (
    "film_id, destination, kind, digest, sop_class_uid, sop_instance_uid, transfer_syntax_uid, state, "
    "attempts, next_at, created_at"
)
HEADERS = (
    "film_id, version_id, study_uid, series_uid, accession, patient_id, study_date, device, modality, "
    "sender, read_at"
)
HOLDS = (
    "film_id, version_id, decision_id, takers, reasons, why, state, opened_at, words, reason, sender, "
    "device, accession, uncertainty"
)
PER_ASSOCIATION = 10
CHEST = ("chest14",)

Row = tuple[Any, ...]


def at(second: float) -> str:
    """As SQLAlchemy writes a time into SQLite."""
    return (START + timedelta(seconds=second)).strftime("%Y-%m-%d %H:%M:%S.%f")


def held(film: int) -> bool:
    return film % 10 in (1, 4, 6, 9)


def fill(path: Path, films: int) -> None:
    """Write `films` films, with all that belongs to them, in bulk."""
    Ledger.open(f"sqlite:///{path}", migrate_first=True).close()
    digest, numbers = _kept(path.parent), range(1, films + 1)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA synchronous=OFF")
        for table, columns, rows in _tables(numbers, digest):
            marks = ", ".join("?" * len(columns.split(", ")))
            db.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)
        db.commit()


def _kept(state: Path) -> str:
    """The digest of the one object in the store, which all films share: a courier opens what it carries."""
    incoming = Store(state, 0).begin(CR, "1.2.826.0.1.1", EXPLICIT)
    incoming.write(bytes(1000))
    return incoming.finish().digest


def _tables(films: range, digest: str) -> Iterator[tuple[str, str, Iterable[Row]]]:
    called = "id, calling, called, address, started_at, ended_at, outcome, objects, size_bytes"
    yield "associations", called, _associations(films)
    yield (
        "instances",
        "id, sop_instance_uid, sop_class_uid, received_at, ours",
        ((n, f"1.2.826.0.1.{n}", CR, at(60 * n), 0) for n in films),
    )
    yield (
        "versions",
        "id, film_id, digest, sop_class_uid, transfer_syntax_uid, size_bytes, association_id, received_at",
        ((n, n, digest, CR, EXPLICIT, 8_000_000, 1 + n // PER_ASSOCIATION, at(60 * n)) for n in films),
    )
    yield (
        "jobs",
        "id, film_id, version_id, state, rank, attempts, token, beat, created_at, done_at",
        ((n, n, n, "done", 1, 1, 1, 0, at(60 * n), at(60 * n + 1)) for n in films),
    )
    yield (
        "decisions",
        DECISIONS,
        map(_decision, films),
    )
    yield (
        "findings",
        "decision_id, of_copy, gate, verdict, body",
        (one for n in films for one in _findings(n)),
    )
    yield (
        "deliveries",
        DELIVERIES,
        (one for n in films for one in _deliveries(n, digest)),
    )
    yield (
        "headers",
        HEADERS,
        map(_header, films),
    )
    yield (
        "reasons",
        "film_id, decision_id, code, flag, place, current",
        (one for n in films for one in _reasons(n)),
    )
    yield (
        "holds",
        HOLDS,
        (_hold(n) for n in films if held(n)),
    )
    yield "events", "film_id, at, what, who, detail", (one for n in films for one in _events(n))


def sender(n: int) -> str:
    """Who sent a film."""
    return SENDERS[(1 + n // PER_ASSOCIATION) % len(SENDERS)]


def doubt(n: int) -> float:
    """How unsure the gates were of a film."""
    return n * 37 % 1000 / 1000


def accession(n: int) -> str:
    """Three films a study."""
    return f"ACC{n // 3:07d}"


def _header(n: int) -> Row:
    """A patient comes four times, and each of twelve devices makes as many films as the next."""
    day = (START + timedelta(seconds=60 * n)).strftime("%Y%m%d")
    study, series = f"1.2.826.0.2.{n // 3}", f"1.2.826.0.3.{n}"
    found = (study, series, accession(n), f"PAT{n // 12:07d}", day, f"DX-{n % 12}", "DX")
    return (n, n, *found, sender(n), at(60 * n + 1))


def _reasons(n: int) -> Iterator[Row]:
    if held(n):
        yield n, n, HELD_FOR[n % len(HELD_FOR)], 0, 0, 1
    if n % 50 == 0:
        yield n, n, "INCOMPLETE_CHEST", 1, 0, 1


def _associations(films: range) -> Iterator[Row]:
    for n in range(1, len(films) // PER_ASSOCIATION + 2):
        calling = SENDERS[n % len(SENDERS)]
        yield n, calling, "FILMGATE", "10.0.0.7", at(600 * n), at(600 * n + 9), "released", 10, 80_000_000


def _decision(n: int) -> Row:
    reason = HELD_FOR[n % len(HELD_FOR)]
    act, reasons = ("quarantine", [reason]) if held(n) else ("pass", [])
    why = f"the network is not sure ({reason})" if held(n) else "a frontal chest film, upright"
    flags = ["INCOMPLETE_CHEST"] if n % 50 == 0 else []
    told = (act, "enforce", act, why, json.dumps(reasons), json.dumps(flags), TRACE, DIGESTS)
    return (n, n, n, *told, at(60 * n + 1), 0, doubt(n))


def _findings(n: int) -> Iterator[Row]:
    for gate in GATES:
        body = {"score": 0.98, "low": 0.1, "high": 0.9, "reason": None, "detail": "", "box": None}
        facts = {"tilt_deg": 1.25, "share": 0.5} if gate in ("rotation", "lungs") else {}
        yield n, 0, gate, "good", json.dumps(body | {"model_digest": "d" * 64, "facts": facts})


def _deliveries(n: int, digest: str) -> Iterator[Row]:
    away = n % 10 not in (0, 5)
    owed = [("archive", "always", "pending" if away else "delivered")]
    if not held(n):
        owed.append(("chest-ai", "ai", "delivered"))
    if n % 4 == 0:
        owed.append((*CHEST, "ai", "pending"))
    for name, kind, state in owed:
        attempts = 0 if state == "pending" else 1
        what = (digest, CR, f"1.2.826.0.1.{n}", EXPLICIT)
        yield (n, name, kind, *what, state, attempts, at(60 * n), at(60 * n))


def _hold(n: int) -> Row:
    words = json.dumps(["PORTABLE"]) if n % 40 == 1 else None
    why, reasons = "the network is not sure", json.dumps([HELD_FOR[n % len(HELD_FOR)]])
    told = (n, n, n, json.dumps(["chest-ai"]), reasons, why, "open", at(60 * n + 1), words)
    return (*told, HELD_FOR[n % len(HELD_FOR)], sender(n), f"DX-{n % 12}", accession(n), doubt(n))


def _events(n: int) -> Iterator[Row]:
    yield n, at(60 * n), "received", "listener", json.dumps({"association": 1 + n // PER_ASSOCIATION})
    yield n, at(60 * n + 1), "decided", "worker", json.dumps({"act": "pass", "rule": "pass"})
    yield n, at(60 * n + 2), "delivered", "courier", json.dumps({"destination": "chest-ai"})


def command(state: Path, *words: str) -> dict[str, float]:
    """One command in a process of its own: seconds, bytes of output, and the most memory it had."""
    with tempfile.TemporaryFile() as out:
        start = time.monotonic()
        process = subprocess.Popen([*FILMGATE, *words, "--state", str(state)], stdout=out, env=_installed())
        _, status, used = os.wait4(process.pid, 0)
        took, cpu = time.monotonic() - start, used.ru_utime + used.ru_stime
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, words
        return {
            "s": round(took, 2),
            "cpu_s": round(cpu, 2),
            "rss_mb": used.ru_maxrss >> 10,
            "output_mb": round(out.seek(0, 2) / 1e6, 1),
        }


def _installed() -> dict[str, str]:
    """Where Python may keep what it compiled, as it may where filmgate is installed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def fastest(state: Path, *words: str) -> dict[str, float]:
    return min((command(state, *words) for _ in range(3)), key=lambda one: one["s"])


def in_process(state: Path, *words: str) -> float:
    """Seconds of a command once its modules are loaded."""
    took = []
    for _ in range(4):
        start = time.perf_counter()
        result = CliRunner().invoke(app, [*words, "--state", str(state)])
        took.append(time.perf_counter() - start)
        assert result.exit_code == 0, result.output
    return round(min(took), 3)


def looks(ledger: Ledger) -> dict[str, float]:
    """Milliseconds of processor time of one look, and what all looks of a dispatcher take of a core."""
    now = datetime.now(UTC)
    asked: dict[str, tuple[Callable[[], object], float]] = {
        "due_destinations": (lambda: ledger.due_destinations(now, most=1), 20.0),
        "ready_jobs": (lambda: ledger.ready_jobs(CHEST, now=now, most=1), 10.0),
        "leases": (ledger.leases, 1.0),
    }
    found, share = {}, 0.0
    for name, (look, a_second) in asked.items():
        for _ in range(20):
            look()
        start = time.process_time()
        for _ in range(200):
            look()
        one_ms = (time.process_time() - start) * 5
        found[f"{name}_ms"] = round(one_ms, 3)
        share += one_ms * a_second / 10
    return found | {"percent_of_a_core": round(share, 2)}


def claims(ledger: Ledger, claim: Callable[[], object], count: int = 40) -> dict[str, float]:
    """Milliseconds for which a claim held the write lock."""
    held_ms: list[float] = []
    began: list[float] = []
    engine = ledger._leases  # noqa: SLF001 # the lock is taken nowhere else

    def begin(_: object) -> None:
        began.append(time.perf_counter())

    def commit(_: object) -> None:
        held_ms.append(1000 * (time.perf_counter() - began.pop()))

    event.listen(engine, "begin", begin)
    event.listen(engine, "commit", commit)
    try:
        for _ in range(count):
            assert claim()
    finally:
        event.remove(engine, "begin", begin)
        event.remove(engine, "commit", commit)
    return {"p50_ms": round(statistics.median(held_ms), 2), "max_ms": round(max(held_ms), 2)}


def dispatcher(state: Path, idle_s: float) -> dict[str, float]:
    """`filmgate dispatch` for whose archive nobody listens: its share of a core."""
    config = state / "filmgate.yaml"
    away = {"kind": "dicom", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": free_port()}
    away["retry"] = {"give_up_h": 1e5}  # its films are of last spring
    config.write_text(json.dumps({"destinations": {"archive": away}, "routes": {"always": ["archive"]}}))
    command_line = [*FILMGATE, "dispatch", "--config", str(config), "--state", str(state)]
    process = subprocess.Popen(command_line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        seen = psutil.Process(process.pid)
        time.sleep(20)  # it loads its modules, and tries the archive
        before = seen.cpu_times()  # a busy machine needs longer for that: then the share is too high
        time.sleep(idle_s)
        after = seen.cpu_times()
        assert process.poll() is None, "the dispatcher ended"
    finally:
        process.terminate()
        process.wait(30)
    used_s = after.user + after.system - before.user - before.system
    return {"percent_of_a_core": round(100 * used_s / idle_s, 2)}


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--films", type=int, default=200_000)
    options.add_argument("--state", type=Path)
    options.add_argument("--idle-s", type=float, default=20.0)
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measured(args.state or Path(folder), args.films, args.idle_s), indent=1))


def measured(state: Path, films: int, idle_s: float) -> dict[str, Any]:
    path = state / "ledger.sqlite"
    result: dict[str, Any] = {"machine": cpu_model(), "films": films}
    if not path.exists():
        state.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        fill(path, films)
        result["filled_s"] = round(time.monotonic() - start, 1)
    result["size_mb"] = path.stat().st_size >> 20
    page = ("films", "list", "--limit", "50")
    result["films list --limit 50"] = fastest(state, *page) | {"in_process_s": in_process(state, *page)}
    for option in ("--decision quarantine", "--reason BLANK", "--sender ROOM2", "--delivery failed"):
        result[f"films list {option}"] = in_process(state, *page, *option.split())
    everything = command(state, "films", "list", "--json")
    result["films list --json"] = everything | {"films_a_second": round(films / everything["s"])}
    result["quarantine list"] = fastest(state, "quarantine", "list") | {
        "in_process_s": in_process(state, "quarantine", "list")
    }
    result["quarantine list --json"] = command(state, "quarantine", "list", "--json")
    ledger = Ledger.open(f"sqlite:///{path}")
    result["looks"] = looks(ledger)
    now = datetime.now(UTC)
    result["claim of a reading holds the write lock"] = claims(ledger, lambda: ledger.claim("bench", CHEST))
    result["claim of deliveries holds the write lock"] = claims(
        ledger, lambda: ledger.claim_deliveries("archive", 8, now)
    )
    ledger.close()
    result["dispatcher"] = dispatcher(state, idle_s)
    return result


if __name__ == "__main__":
    sys.exit(main())
