"""From C-STORE to report and heat map in the archive: one film at a time, Orthanc or DCMTK as the archive.

    python bench/readings.py [--films 20] [--model chest14] [--archive orthanc]

The films are frontal phantoms of 2500 x 2048. The clock starts before the film is sent: association, transfer
and storing are in the figure.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flow import percentile
from orthanc_peer import orthanc
from rig import Gateway, big_films, cpu_model, gateway, wait_for

WARM = 3  # films that are not counted
OF_A_FILM = 3  # the film itself, its report, its heat map


@contextmanager
def running(folder: Path, model: str, archive: str) -> Iterator[tuple[Gateway, Any]]:
    """A gateway with the classifier behind it, and how to count what its archive has."""
    results = {"sr": ["archive"], "heatmap": ["archive"]}
    destinations = {"reader": {"kind": "classifier", "bundle": model, "results": results}}
    routes = {"always": ["archive"], "pass": ["reader"]}
    dcmtk = archive == "dcmtk"
    with gateway(
        folder, start_ai=False, start_archive=dcmtk, destinations=destinations, routes=routes
    ) as line:
        if dcmtk:
            yield line, lambda: len(line.archive.files())
            return
        with orthanc(folder, line.archive.ae_title, line.archive.port, line.port) as pacs:
            yield line, lambda: len(json.loads(pacs.ask("/instances")))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=20)
    parser.add_argument("--model", default="chest14")
    parser.add_argument("--archive", choices=("orthanc", "dcmtk"), default="orthanc")
    args = parser.parse_args()
    took: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = big_films(folder / "films", args.films + WARM, salt=f"readings-{time.time_ns()}")
        with running(folder, args.model, args.archive) as (line, count):
            for number, path in enumerate(paths, 1):
                began = time.monotonic()
                line.send(path)
                wait_for(lambda there=OF_A_FILM * number: count() >= there, 60, "no results in the archive")
                took.append(time.monotonic() - began)
    took = took[WARM:]
    told = {
        "films": len(took),
        "archive": args.archive,
        "model": args.model,
        "p50_s": round(statistics.median(took), 2),
        "p95_s": round(percentile(took, 0.95), 2),
        "max_s": round(max(took), 2),
    }
    print(json.dumps({"machine": cpu_model(), "readings": told}, indent=1))


if __name__ == "__main__":
    main()
