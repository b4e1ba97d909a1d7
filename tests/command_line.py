"""Commands of filmgate on a small gateway: in this process, or in one of their own as a shell sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.ledger import Ledger
from gateway.ledger.records import Judged, Received
from pipelines.film import Act, Decision, Finding, Reason, Verdict

NOW = datetime(2026, 3, 2, 8, 15, tzinfo=UTC)
EXPLICIT = "1.2.840.10008.1.2.1"

Run = Callable[..., Result]


def commands_on(folder: Path) -> Run:
    """A filmgate command on a gateway whose archive and AI are folders; its state is in folder/state."""
    config = folder / "filmgate.yaml"
    config.write_text(
        "destinations:\n  archive: {kind: folder, path: archive}\n  chest-ai: {kind: folder, path: ai}\n"
        "routes: {always: [archive], pass: [chest-ai]}\nstore: {min_free_mb: 0}\n"
    )

    def invoke(*words: str | Path) -> Result:
        where = ["--config", str(config), "--state", str(folder / "state")]
        return CliRunner().invoke(app, [*map(str, words), *where])

    return invoke


def filmgate(*words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A real process: exit codes and streams as a shell sees them."""
    command = [sys.executable, "-m", "gateway.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **env})


@contextmanager
def three_films(state: Path) -> Iterator[Ledger]:
    """A ledger with three films: one passed, one held, one undecided."""
    opened = Ledger.open(f"sqlite:///{state}/ledger.sqlite", migrate_first=True)
    passed = Decision(Act.PASS, rule="qualified", why="every gate is satisfied", destinations=("chest-ai",))
    finding = Finding(
        "rotation", Verdict.UNSURE, 0.6, 0.1, 0.9, Reason.ROTATION_UNSURE, "perhaps on its side"
    )
    held = Decision(Act.QUARANTINE, (Reason.ROTATION_UNSURE,), "not sure", "a gate is not sure")
    judged: list[Judged | None] = [
        Judged(passed, (), "enforce", {}, send_original_to=("chest-ai",)),
        Judged(held, (finding,), "enforce", {}, hold=True, takers=("chest-ai",)),
        None,
    ]
    for number, judgement in enumerate(judged, 1):
        at = NOW + timedelta(hours=number)
        received = Received("1.2", f"1.2.{number}", EXPLICIT, f"{number}" * 64, 10, None, at)
        opened.record([received], always=("archive",))
        if judgement:
            job = opened.claim("me:1")
            assert job is not None
            opened.judge(job, judgement, now=at)
    try:
        yield opened
    finally:
        opened.close()


def items(result: Result) -> list[dict[str, Any]]:
    """What `--json` printed."""
    assert result.exit_code == 0, result.output
    return list(json.loads(result.stdout))
