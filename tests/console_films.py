"""A shell with films in it for tests of the console: kept and recorded as the listener does it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pydicom import Dataset

from gateway.bootstrap import Shell
from gateway.ledger.records import Job, Judged, Received
from pipelines.film import Act, Decision, Finding, Reason, Verdict
from pipelines.instance.part10 import parse

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ROTATED = Finding("rotation", Verdict.BAD, 0.01, 0.2, 0.5, Reason.ROTATED_180, "upside down, p 0.990")
HELD = Judged(
    Decision(Act.QUARANTINE, (Reason.ROTATED_180,), "can be put right", "it lies upside down"),
    (ROTATED,),
    "enforce",
    {},
    hold=True,
)


def received(shell: Shell, ds: Dataset, folder: Path) -> str:
    """Keep and record a film; its digest."""
    path = folder / "sent.dcm"
    ds.save_as(path, enforce_file_format=True)
    return kept(shell, path)


def kept(shell: Shell, path: Path) -> str:
    """The same of a file as it lies there."""
    part = parse(path)
    one = shell.store.put_file(path)
    uid = part.header.sop_instance_uid
    row = Received(
        part.header.sop_class_uid, uid, str(part.transfer_syntax), one.digest, one.size_bytes, None, NOW
    )
    shell.ledger.record([row])
    return one.digest


def judged(shell: Shell, judgement: Judged = HELD) -> Job:
    """Let the next film be judged so; its job."""
    job = shell.ledger.claim("w")
    assert job is not None
    header = parse(shell.store.path(job.digest)).header
    shell.ledger.judge(job, replace(judgement, header=header), now=NOW)
    return job
