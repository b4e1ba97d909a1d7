"""Phantom films that are held, in a real ledger and store, as a worker leaves them; for tests too."""

from __future__ import annotations

import hashlib
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from gateway.bootstrap import Shell
from gateway.ledger.records import CopyMade, CopyState, Judged, Received
from pipelines.film import Act, Box, Decision, Finding, Header, Identity, Operations, Reason, Verdict
from pipelines.json_values import plain
from pipelines.lab.films.phantom_dx import phantom_dx

SIZE = (200, 164)  # rows and columns: rendered in milliseconds
LUNGS = Finding("lungs", Verdict.GOOD, 0.97, 0.3, 0.6, box=Box(0.18, 0.16, 0.82, 0.74))
_numbers = count()


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a film, what the gates say of it, and what would mend it."""

    reason: Reason
    finding: Finding
    operations: Operations | None = None
    turn: int = 0
    inverted: bool = False
    kind: str = "frontal"


# A gate's score is the chance that all is well, whatever its words say.
INVERTED = Fault(
    Reason.INVERTED,
    Finding("inversion", Verdict.BAD, 0.002, 0.2, 0.8, Reason.INVERTED, "inverted, p 0.998"),
    Operations(invert=True),
    inverted=True,
)
TURNED = Fault(
    Reason.ROTATED_90,
    Finding("rotation", Verdict.BAD, 0.009, 0.3, 0.7, Reason.ROTATED_90, "turned 90 degrees, p 0.991"),
    Operations(turn=270),
    turn=90,
)
UNSURE = Fault(
    Reason.INVERSION_UNSURE,
    Finding("inversion", Verdict.UNSURE, 0.48, 0.2, 0.8, Reason.INVERSION_UNSURE, "inverted, p 0.520"),
)
LATERAL = Fault(
    Reason.LATERAL,
    Finding("anatomy", Verdict.UNSURE, 0.39, 0.3, 0.7, Reason.LATERAL, "lateral, p 0.610"),
    kind="lateral",
)
ROOM_1, ROOM_2 = ("ROOM1", "DX-EAST"), ("ROOM2", "DX-WEST")


@dataclass(frozen=True, slots=True)
class Held:
    """One film as it lies there."""

    film: int
    hold: int
    digest: str
    proposal: str | None


def hold_films(
    shell: Shell,
    fault: Fault,
    number: int = 1,
    *,
    room: tuple[str, str] = ROOM_1,
    accession: str = "CANARY-7731",
    at: datetime | None = None,
    folder: Path | None = None,
) -> list[Held]:
    """Receive, examine and hold films with a fault; each has pixels of its own in the store."""
    folder = folder or shell.settings.state.parent
    at = at or datetime.now(UTC)
    sender, device = room
    association = shell.ledger.associate(calling=sender, called="FILMGATE", address="127.0.0.1", now=at)
    came = _Came(association, accession, device, folder)
    films = (_phantom(fault.kind, fault.turn, fault.inverted) for _ in range(number))
    times = (at + timedelta(seconds=one) for one in range(number))
    return [_held(shell, fault, film, came, time) for film, time in zip(films, times, strict=True)]


@dataclass(frozen=True, slots=True)
class _Came:
    """How the films of one call came."""

    association: int
    accession: str
    device: str
    folder: Path  # for what is written on the way to the store


@cache
def _rendered(kind: str, seed: int, turn: int, inverted: bool) -> Dataset:
    return phantom_dx(kind, seed, size=SIZE, turn=turn, inverted=inverted)


def _phantom(kind: str, turn: int = 0, inverted: bool = False) -> Dataset:
    """One of a few pictures, as an instance of its own."""
    dataset = deepcopy(_rendered(kind, next(_numbers) % 4, turn, inverted))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return dataset


def _held(shell: Shell, fault: Fault, dataset: Dataset, came: _Came, at: datetime) -> Held:
    digest = _kept(shell, dataset, came.folder)
    uid = str(dataset.SOPInstanceUID)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    received = Received(str(dataset.SOPClassUID), uid, syntax, digest, 10, came.association, at)
    (recorded,) = shell.ledger.record([received], always=("archive",))
    job = shell.ledger.claim("test")
    assert job is not None
    assert job.film_id == recorded.film_id
    copy = _copy(shell, fault, came.folder) if fault.operations else None
    decision = Decision(
        Act.QUARANTINE,
        (fault.reason,),
        "turned-or-inverted" if copy else "unsure",
        f"{fault.finding.detail}: the rules hold such a film",
    )
    identity = Identity("1.2.3", "1.2.3.4", came.accession, "CANARY-ID-1", came.device)
    header = Header(modality="DX", study_date="20261120", identity=identity)
    judged = Judged(
        decision,
        (fault.finding, LUNGS),
        "enforce",
        {},
        copy=copy,
        hold=True,
        takers=("chest-ai",),
        header=header,
    )
    shell.ledger.judge(job, judged, now=at)
    hold = shell.ledger.open_hold(recorded.film_id)
    return Held(recorded.film_id, hold.id, digest, copy.digest if copy else None)


def _copy(shell: Shell, fault: Fault, folder: Path) -> CopyMade:
    """The film as it should have been; a copy has a UID of its own."""
    upright = _phantom(fault.kind)
    digest = _kept(shell, upright, folder)
    return CopyMade(
        str(upright.SOPInstanceUID),
        str(upright.SOPClassUID),
        str(upright.file_meta.TransferSyntaxUID),
        digest,
        plain(fault.operations),
        CopyState.PROPOSED,
    )


def _kept(shell: Shell, dataset: Dataset, folder: Path) -> str:
    path = folder / f"{hashlib.sha256(str(dataset.SOPInstanceUID).encode()).hexdigest()[:16]}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    try:
        return shell.store.put_file(path).digest
    finally:
        path.unlink()
