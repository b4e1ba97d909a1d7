"""Films, decisions and readings that several tests of the ledger share."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.ledger import Ledger
from gateway.ledger.records import (
    Job,
    Judged,
    Made,
    Read,
    Received,
)
from pipelines.film import Act, Decision, Reason

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PASS = Judged(Decision(Act.PASS, rule="pass"), (), "enforce", {}, send_original_to=("ai",))
HELD = Judged(Decision(Act.QUARANTINE, (Reason.BLANK,), "blank", "blank"), (), "enforce", {}, hold=True)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", busy_timeout_s=0.2, migrate_first=True)


def received(uid: str = "1.2.3", digest: str = "a", **values: object) -> Received:
    fixed = {"sop_class_uid": "1.2", "transfer_syntax_uid": "1.2.840.10008.1.2.1", "size_bytes": 10}
    row = fixed | {"association_id": None, "received_at": NOW} | values
    return Received(sop_instance_uid=uid, digest=digest * 64, **row)  # type: ignore[arg-type]


def claimed(ledger: Ledger, owner: str = "w") -> Job:
    job = ledger.claim(owner)
    assert job is not None
    return job


CHEST = ("chest14",)
FOR_CHEST14 = replace(PASS, send_original_to=("ai", "chest14"))
SR = Made("sr", "5" * 64, ("archive",), "1.2.840.10008.5.1.4.1.1.88.33", "2.25.5", "1.2.840.10008.1.2.1")
PAYLOAD = Made("json", "6" * 64, ("hook",), transfer_syntax_uid="application/json")
ANSWER = Read("chest14", "1", "d" * 64, {"conditions": [{"name": "Mass", "probability": 0.7}]}, (SR, PAYLOAD))


def handed_over(ledger: Ledger, judged: Judged = FOR_CHEST14) -> None:
    """One film, judged, and owed to the classifier."""
    ledger.record([received()])
    ledger.judge(claimed(ledger), judged, now=NOW)


def reading(ledger: Ledger, owner: str = "w") -> Job:
    job = ledger.claim(owner, CHEST)
    assert job is not None
    assert job.reading is not None
    return job


def state_at(ledger: Ledger, destination: str) -> str:
    return next(d["state"] for d in ledger.film(1).deliveries if d["destination"] == destination)


WITHHELD = Judged(Decision(Act.WITHHOLD, (Reason.OTHER_PART,), "part", "a hand"), (), "enforce", {})
OTHER = Judged(
    Decision(Act.QUARANTINE, (Reason.OTHER_PIXELS,), "other-pixels", "other"), (), "enforce", {}, hold=True
)
WAITS = Judged(
    Decision(Act.QUARANTINE, (Reason.HEADER_WORD,), "word of a special picture", "x", words=("BONE",)),
    (),
    "enforce",
    {},
    hold=True,
)
