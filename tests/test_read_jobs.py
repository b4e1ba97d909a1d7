"""Readings: real ledger, store, decoder and maker of reports, and a tiny network with random weights."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from highdicom.sr import srread
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom.dsutils import encode
from read_line import HELD, NOW, Children, Line, children, folder, line
from structlog.testing import capture_logs
from test_tasks import Says, receive

from gateway import bootstrap
from gateway.ledger.acting.table import DoneBy
from gateway.ledger.records import Received
from gateway.process.priority import LedgerThread
from gateway.worker import Worker
from pipelines.film import Operations, Reason
from pipelines.lab.films.phantom_dx import phantom_dx
from pipelines.policy import Policy

__all__ = ["children", "folder", "line"]

WORKLIST = "1.2.840.10008.5.1.4.31"  # Modality Worklist Information Model - FIND


def test_a_film_that_qualified_is_read_at_once_and_its_results_are_owed(line: Line) -> None:
    """In the same round of work: gated, read, and three objects about the original on their way."""
    ds = phantom_dx("frontal", 1)
    result = line.sent(ds)
    told = [c["probability"] for c in result["conditions"]]
    assert told == sorted(told, reverse=True)
    assert {c["name"]: c["positive"] for c in result["conditions"]} == {
        "Effusion": True,
        "Mass": False,
        "No Finding": None,
    }
    assert [made["kind"] for made in result["objects"]] == ["sr", "heatmap", "gsps"]
    assert line.state() == "delivered"
    made = line.objects()
    report = srread(BytesIO(_bytes_of(made[ComprehensiveSRStorage])))
    (film,) = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert film.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == ds.SOPInstanceUID
    picture = made[SecondaryCaptureImageStorage]
    assert picture.pixel_array.std() > 1
    assert {o.StudyInstanceUID for o in made.values()} == {ds.StudyInstanceUID}


def _bytes_of(ds: Dataset) -> bytes:
    written = BytesIO()
    ds.save_as(written)
    return written.getvalue()


def test_reading_once_more_makes_the_same_objects(line: Line) -> None:
    """A worker that died before it could record leaves nothing behind that its successor does not make."""
    receive(line.shell, phantom_dx("frontal", 2), line.tmp_path)
    gate_only(line)
    job = line.ledger.claim("w", ("chest",))
    assert job is not None
    readings = line.examiner().readings
    assert readings is not None
    once, again = readings.read(job), readings.read(job)
    assert once == again
    assert len({made.digest for made in once.made}) == 3
    line.ledger.read(job, again, now=NOW)
    assert {*line.shell.store.digests()} == line.ledger.digests()


def gate_only(line: Line) -> None:
    """What a worker does until the film is judged."""
    decoder, _ = line.children
    says: Any = Says()
    Worker(line.shell, decoder, says, Policy.default(), "w", LedgerThread()).work()


def test_a_corrected_copy_is_read_and_the_original_is_reported_on(line: Line) -> None:
    """Not analysed until a person accepts the copy; then the report names the film as it was received."""
    ds = phantom_dx("frontal", 3, turn=90)
    assert line.sent(ds, HELD)["not_read"] == "NOT_QUALIFIED"
    line.shell.quarantine().one(
        DoneBy.CORRECT, 1, delayed=False, by="ann", note="", operations=Operations(turn=270)
    )
    line.work()
    (result,) = line.ledger.film(1).results
    assert result["conditions"]
    assert str(ds.SOPInstanceUID) in str(line.objects()[ComprehensiveSRStorage])


@pytest.mark.parametrize(
    ("film", "faults", "code", "why"),
    [
        ({"age": "003Y"}, (), "NOT_ACCEPTED", "age 3 is under 10"),
        ({}, (HELD,), "NOT_QUALIFIED", "left-right"),
    ],
)
def test_a_film_that_no_gate_let_through_is_reported_as_not_analysed(
    line: Line,
    film: dict[str, Any],
    faults: tuple[tuple[str, Reason], ...],
    code: str,
    why: str,
) -> None:
    """Silence must never be read as negative."""
    result = line.sent(phantom_dx("frontal", 4, **film), *faults)
    assert result["not_read"] == code
    assert why in result["why"]
    (report,) = line.objects().values()
    assert (report.SOPClassUID, line.state()) == (EnhancedSRStorage, "not owed")


def test_a_held_film_is_read_when_a_person_releases_it(line: Line) -> None:
    """The real report follows the one that said: not analysed."""
    assert line.sent(phantom_dx("frontal", 5), HELD)["not_read"] == "NOT_QUALIFIED"
    line.shell.quarantine().one(DoneBy.RELEASE, 1, delayed=False, by="ann", note="looks right")
    line.work()
    (result,) = line.ledger.film(1).results
    assert [made["kind"] for made in result["objects"]] == ["sr", "heatmap", "gsps"]


def test_a_film_that_is_held_while_it_is_read_has_no_result(line: Line) -> None:
    """One worker reads it, another one gates it again and holds it: what the first one found is not kept."""
    receive(line.shell, phantom_dx("frontal", 21), line.tmp_path)
    slow = line.examiner()
    gating = line.ledger.claim("w")
    assert gating is not None
    slow._attempt(gating)
    reading = line.ledger.claim("w", ["chest"])
    assert reading is not None
    assert reading.reading is not None
    assert line.ledger.gate_again(1, by="ann", now=NOW)
    line.work(HELD)
    slow._attempt(reading)
    film = line.ledger.film(1)
    assert (film.decision, line.state()) == ("quarantine", "cancelled")
    assert [result.get("not_read") for result in film.results] == ["NOT_QUALIFIED"]
    assert list(line.objects()) == [EnhancedSRStorage]  # not analysed


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_a_worklist_item_needs_nobodys_look(
    tmp_path: Path, folder: Path, children: Children, mode: str
) -> None:
    """Neither SOP class nor pixels, as a worklist is dumped: kept, explained, and no error logged."""
    line = Line(tmp_path, folder, children, policy={"mode": mode})
    item, step = Dataset(), Dataset()
    step.Modality, step.ScheduledStationAETitle = "CR", "ROOM1"
    item.PatientID, item.AccessionNumber, item.ScheduledProcedureStepSequence = "1", "2", [step]
    incoming = line.shell.store.begin(WORKLIST, "1.2.3", ExplicitVRLittleEndian)
    incoming.write(encode(item, is_implicit_vr=False, is_little_endian=True) or b"")
    kept = incoming.finish()
    row = Received(WORKLIST, "1.2.3", ExplicitVRLittleEndian, kept.digest, kept.size_bytes, None, NOW)
    line.ledger.record([row])
    with capture_logs() as logs:
        line.work()
    film = line.ledger.film(1)
    assert (film.decision, film.reasons[0], line.ledger.holds()) == ("withhold", "NOT_A_FILM", [])
    assert "neither a SOP class nor a picture" in (film.why or "")
    assert (film.results, line.objects()) == ((), {})
    assert [log for log in logs if log["log_level"] not in ("info", "debug")] == []


def test_payloads_go_to_webhooks(tmp_path: Path, folder: Path, children: Children) -> None:
    """As JSON and as FHIR, also when the film was not read: the one who waits is told."""
    line = Line(tmp_path, folder, children, block={"results": {"json": ["hook"], "fhir": ["hook"]}})
    ds = phantom_dx("frontal", 6)
    line.sent(ds)
    made = line.objects("hook")
    assert made["application/json"]["sop_instance_uid"] == ds.SOPInstanceUID
    assert made["application/fhir+json"]["resourceType"] == "Bundle"
    assert line.objects() == {}


def test_each_webhook_is_told_what_its_own_block_asks_for(
    tmp_path: Path, folder: Path, children: Children
) -> None:
    """Patient and order by identifier for one, neither for the other, and never in plain JSON."""
    named = {"patient_system": "urn:oid:1.2.3", "accession_system": "urn:oid:1.2.4"}
    hooks = {name: {"kind": "webhook", "url": "https://his.example/in"} for name in ("plain", "more", "his")}
    for name in ("more", "his"):
        hooks[name] |= {"fhir": named}
    to = {"json": list(hooks), "fhir": list(hooks)}
    chest = {"kind": "classifier", "bundle": str(folder), "results": to}
    line = Line(tmp_path, folder, children, destinations=hooks | {"chest": chest})
    ds = phantom_dx("frontal", 6, patient="Geheim^Gerda")
    ds.PatientID, ds.AccessionNumber = "SECRET-1", "SECRET-2"
    line.sent(ds)
    owed = {name: line.ledger.claim_deliveries(name, 9, NOW) for name in hooks}
    for name, deliveries in owed.items():
        said = {one.transfer_syntax_uid: json.dumps(line._content(one)) for one in deliveries}
        assert "SECRET" not in said["application/json"]
        for secret in ("SECRET-1", "SECRET-2"):
            assert (secret in said["application/fhir+json"]) == (name != "plain")
        assert "Geheim" not in "".join(said.values())
    digests = {name: {one.digest for one in deliveries} for name, deliveries in owed.items()}
    assert digests["more"] == digests["his"] != digests["plain"]  # those alike get the same bytes


def test_a_film_passed_over_is_reported_by_the_day_of_its_decision(
    tmp_path: Path, folder: Path, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study is as old in the word of it as in the decision; the report is dated where the hospital is."""
    monkeypatch.setattr(bootstrap, "now", lambda: datetime(2026, 1, 6, 16, 0, tzinfo=UTC))
    block = {"accepts": {"max_study_age_days": 1}}
    line = Line(tmp_path, folder, children, block=block, gateway={"time_zone": "Asia/Tokyo"})
    assert "2 days old" in line.sent(phantom_dx("frontal", 9))["why"]
    assert "2 days old" in line.ledger.film(1).why


def test_a_classifier_that_cannot_be_used_fails_and_the_gateway_goes_on(
    tmp_path: Path, folder: Path, children: Children
) -> None:
    """The film is decided, its result says why it was not read; mended, it is read after send-again."""
    where = tmp_path / "bundles" / "tiny"
    shutil.copytree(folder, where)
    (where / "models" / "model.safetensors").write_bytes(b"damaged")
    line = Line(tmp_path, where, children)
    result = line.sent(phantom_dx("frontal", 7))
    assert (result["not_read"], line.state()) == ("MODEL_NOT_USABLE", "failed")
    assert line.ledger.film(1).decision == "pass"
    assert list(line.objects()) == [EnhancedSRStorage]
    line.ledger.send_again(1, by="ann", now=NOW)
    line.work()
    assert (line.state(), line.objects()) == ("failed", {})  # the same words again are the same report
    shutil.copytree(folder, where, dirs_exist_ok=True)
    line.ledger.send_again(1, by="ann", now=NOW)
    line.work()
    assert line.state() == "delivered"


def test_a_card_that_nobody_foresaw_keeps_no_worker_from_its_gates(
    tmp_path: Path, folder: Path, children: Children
) -> None:
    """Words where a number belongs: the worker starts, and the film is decided."""
    where = tmp_path / "bundles" / "tiny"
    shutil.copytree(folder, where)
    card = where / "configs" / "metadata.json"
    told = json.loads(card.read_text())
    told["filmgate"]["input"]["low"] = "dark"
    card.write_text(json.dumps(told))
    line = Line(tmp_path, where, children)
    readings = line.examiner().readings
    assert readings is not None
    readings.prepare()
    assert line.sent(phantom_dx("frontal", 16))["not_read"] == "MODEL_NOT_USABLE"
    assert line.ledger.film(1).decision == "pass"


def test_what_cannot_be_reported_on_is_read_and_fails(line: Line) -> None:
    """A film without a study: there is a result, and no object could name the film."""
    ds = phantom_dx("frontal", 8)
    ds.StudyInstanceUID = ""
    result = line.sent(ds)
    assert result["conditions"]
    (owed,) = line.ledger.film(1).deliveries
    assert (owed["state"], "StudyInstanceUID" in owed["error"]) == ("failed", True)


def test_observing_every_film_is_read_that_the_card_covers(
    tmp_path: Path, folder: Path, children: Children
) -> None:
    """Everything goes to the AI as before; a hand is no film for it, whatever its header says."""
    line = Line(tmp_path, folder, children, policy={"mode": "observe"})
    assert line.shell.always == ()
    assert line.sent(phantom_dx("frontal", 9), HELD)["conditions"]
    assert line.sent(phantom_dx("hand", 9), ("anatomy", Reason.OTHER_PART))["not_read"] == "OUTSIDE_CARD"
    ds = phantom_dx("frontal", 10)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    receive(line.shell, ds, tmp_path)
    line.work(("header", Reason.SECONDARY))
    assert line.ledger.film(str(ds.SOPInstanceUID)).results == ()


def test_a_film_outside_the_card_is_not_read_even_when_a_person_sends_it(line: Line) -> None:
    line.sent(phantom_dx("frontal", 11, age="003Y"), HELD)
    line.shell.quarantine().one(DoneBy.RELEASE, 1, delayed=False, by="ann", note="", to=("chest",))
    line.work()
    (result,) = line.ledger.film(1).results
    assert (result["not_read"], result["why"]) == ("OUTSIDE_CARD", "age 3 is under 10")
