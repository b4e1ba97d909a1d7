"""What acts cost on a ledger of 200,000 films: a thousand at once, one at a time, and their way back.

    python bench/console/acts.py [--films 200000] [--state DIR]

Through the console's own API, as a page asks it, in one process. Server time is what the request took inside
it; the processor's time is given beside it, for on a busy machine the former counts what others did.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all of bench/ shares
sys.path.append(str(Path(__file__).parents[2] / "tests"))

from console_client import signed_in
from ledger import fill
from rig import cpu_model
from starlette.testclient import TestClient

from gateway.bootstrap import Shell
from gateway.console.doors import Role
from gateway.ledger.records import Hold
from gateway.settings import Settings

MANY, SINGLE = 1000, 200


class Clock:
    """Wall and processor time of what is done under it, in seconds."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    @contextmanager
    def once(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    def item(self) -> dict[str, float]:
        def p95(values: Sequence[float]) -> float:
            return round(sorted(values)[int(0.95 * (len(values) - 1))], 4)

        return {
            "times": len(self.wall),
            "wall_median_s": round(statistics.median(self.wall), 4),
            "wall_p95_s": p95(self.wall),
            "cpu_median_s": round(statistics.median(self.cpu), 4),
            "cpu_p95_s": p95(self.cpu),
        }


def acted(client: TestClient, clock: Clock, body: dict[str, Any]) -> list[dict[str, Any]]:
    with clock.once():
        answer = client.post("/api/acts", json=body)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    assert all(one["ok"] for one in results), next(one for one in results if not one["ok"])
    return results


def named(holds: Sequence[Hold]) -> list[dict[str, int]]:
    return [{"film": one.film_id, "hold": one.id, "decision": one.decision_id} for one in holds]


def measured(client: TestClient, holds: Sequence[Hold]) -> dict[str, Any]:
    """Each kind of act, on films that are held."""
    clocks = {name: Clock() for name in ("release 1000", "undo 1000", "reject 1000", "note 1000")}
    for start in range(0, 3 * MANY, MANY):
        films = named(holds[start : start + MANY])
        done = acted(client, clocks["release 1000"], {"act": "release", "films": films})
        acted(client, clocks["undo 1000"], {"act": "undo", "acts": [one["act_id"] for one in done]})
        acted(client, clocks["note 1000"], {"act": "note", "films": films, "note": "looked at"})
        acted(client, clocks["reject 1000"], {"act": "reject", "films": films, "reason": "111210"})
    single = {name: Clock() for name in ("release 1", "undo 1", "audit page", "own acts")}
    for hold in holds[3 * MANY : 3 * MANY + SINGLE]:
        (done_one,) = acted(client, single["release 1"], {"act": "release", "films": named([hold])})
        acted(client, single["undo 1"], {"act": "undo", "acts": [done_one["act_id"]]})
        with single["audit page"].once():
            assert client.get("/audit?who=reviewer").status_code == 200
        with single["own acts"].once():
            assert client.get("/api/acts/mine").status_code == 200
    return {name: clock.item() for name, clock in (clocks | single).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--films", type=int, default=200_000)
    parser.add_argument("--state", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        state = asked.state or Path(scratch) / "state"
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (state / "ledger.sqlite").exists():
            fill(state / "ledger.sqlite", asked.films)
        folders = {name: {"kind": "folder", "path": str(state / name)} for name in ("ai", "archive")}
        settings = Settings(state=state, destinations=folders, routes={"always": ["archive"], "pass": ["ai"]})
        shell = Shell.open(settings)
        with signed_in(shell, Role.REVIEWER) as client:
            holds = shell.ledger.holds(limit=4 * MANY)
            result = {"films": shell.ledger.count_films(), "cpu": cpu_model(), **measured(client, holds)}
        shell.close()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
