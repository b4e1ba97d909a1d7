"""Phantom films that passed, in a real ledger and store, for tests of labels and of the blind check."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.bootstrap import Shell
from gateway.ledger.records import Judged, Received
from pipelines.film import Act, Decision, Finding, Header, Identity, Verdict
from pipelines.lab.films.phantom_dx import phantom_dx

SIZE = (200, 164)  # rows and columns: rendered in milliseconds
GOOD = tuple(
    Finding(gate, Verdict.GOOD, 0.97, 0.2, 0.6) for gate in ("anatomy", "rotation", "inversion", "mirror")
)
PASS = Judged(Decision(Act.PASS, rule="pass"), GOOD, "enforce", {})


def pass_film(
    shell: Shell,
    folder: Path,
    number: int,
    *,
    patient: str = "CANARY-ID-1",
    sender: str = "ROOM1",
    judged: Judged = PASS,
    at: datetime | None = None,
    **phantom: Any,
) -> int:
    """Receive and examine one film; its id."""
    now = at or datetime.now(UTC)
    dataset = phantom_dx(
        phantom.pop("kind", "frontal"), number, size=SIZE, salt=f"{number}", patient="CANARY^NAME", **phantom
    )
    path = folder / f"{number}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    digest = shell.store.put_file(path).digest
    association = shell.ledger.associate(calling=sender, called="FILMGATE", address="127.0.0.1", now=now)
    uid, syntax = str(dataset.SOPInstanceUID), str(dataset.file_meta.TransferSyntaxUID)
    received = Received(str(dataset.SOPClassUID), uid, syntax, digest, 10, association, now)
    (recorded,) = shell.ledger.record([received])
    job = shell.ledger.claim("test")
    assert job is not None
    identity = Identity("1.2.3", "1.2.3.4", "CANARY-7731", patient, "DX-EAST")
    header = Header(modality="DX", study_date="20261120", identity=identity)
    shell.ledger.judge(
        job,
        Judged(judged.decision, judged.findings, judged.mode, {}, header=header, hold=judged.hold),
        now=now,
    )
    return recorded.film_id
