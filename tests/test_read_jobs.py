"""Readings: real ledger, store, decoder and maker of reports, and a tiny network with random weights."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
import torch
from highdicom.sr import srread
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom.dsutils import encode
from structlog.testing import capture_logs
from test_tasks import Says, receive

from gateway import bootstrap
from gateway.bootstrap import Shell
from gateway.errors import Missing, SettingsError
from gateway.ledger.records import Received
from gateway.process.priority import LedgerThread
from gateway.sandbox.decoder import Decoder
from gateway.sandbox.reporter import Reporter
from gateway.settings import Settings, load
from gateway.settings.classifier import acceptance
from gateway.supervisor.snapshot import write_snapshot
from gateway.supervisor.supervisor import load_all
from gateway.worker import Worker
from models.classifiers import bundle, nets, terms
from models.classifiers.accepts import Accepts
from models.classifiers.bundle import ClassifierCard, Input
from pipelines.film import Operations, Reason
from pipelines.lab.films.phantom_dx import phantom_dx
from pipelines.policy import Policy

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CLASSES = ("Effusion", "Mass", "No Finding")
WORKLIST = "1.2.840.10008.5.1.4.31"  # Modality Worklist Information Model - FIND
Children = tuple[Decoder, Reporter]
TO_ARCHIVE = {"sr": ["archive"], "heatmap": ["archive"], "gsps": ["archive"], "not_analysed": ["archive"]}
HELD = ("mirror", Reason.MIRROR_SUSPECTED)


def tiny(folder: Path, **words: Any) -> Path:
    """A bundle whose network is small and whose weights are random, and always the same."""
    torch.manual_seed(0)
    thresholds = {"Effusion": 0.0, "Mass": 1.0, "No Finding": None}
    card = ClassifierCard("tiny", "small", CLASSES, input=Input(px=64), thresholds=thresholds, **words)
    bundle.save(folder, card, nets.Small(len(CLASSES)).eval())
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def children() -> Iterator[tuple[Decoder, Reporter]]:
    with Decoder(timeout_s=30) as decoder, Reporter(timeout_s=60) as reporter:
        yield decoder, reporter


class Line:
    """A gateway with one classifier, and a worker that does all there is to do."""

    def __init__(self, tmp_path: Path, where: Path, children: Children, **more: Any) -> None:
        block = {"kind": "classifier", "bundle": str(where), "results": TO_ARCHIVE} | more.pop("block", {})
        tree = {
            "state": tmp_path,
            "store": {"min_free_mb": 0},
            "destinations": {
                "archive": {"kind": "folder", "path": tmp_path / "archive"},
                "hook": {"kind": "webhook", "url": "https://his.example/in"},
                "chest": block,
            },
            "routes": {"pass": ["chest"]},
        }
        self.tmp_path, self.children = tmp_path, children
        engines = tmp_path.parent / "engines"  # the network is made ready once for all tests
        engines.mkdir(exist_ok=True)
        if not (tmp_path / "engines").exists():
            (tmp_path / "engines").symlink_to(engines)
        self.shell = Shell.open(Settings.model_validate(tree | more), migrate_first=True)
        self.ledger = self.shell.ledger

    def examiner(self, *faults: tuple[str, Reason]) -> Worker:
        decoder, reporter = self.children
        says: Any = Says(*faults)
        return Worker(self.shell, decoder, says, Policy.default(), "w", LedgerThread(), reporter)

    def work(self, *faults: tuple[str, Reason]) -> None:
        self.examiner(*faults).work()

    def sent(self, ds: Dataset, *faults: tuple[str, Reason]) -> dict[str, Any]:
        """Receive a film and do all there is to do with it; its one result."""
        receive(self.shell, ds, self.tmp_path)
        self.work(*faults)
        (result,) = self.ledger.film(str(ds.SOPInstanceUID)).results
        return result

    def objects(self, destination: str = "archive") -> dict[str, Any]:
        """What is owed to a destination: dataset or JSON, by SOP class or media type."""
        owed = self.ledger.claim_deliveries(destination, 20, NOW)
        return {one.sop_class_uid or one.transfer_syntax_uid: self._content(one) for one in owed}

    def _content(self, delivery: Any) -> Any:
        meta, file = self.shell.store.open_dataset(delivery.digest)
        with file:
            if not meta.sop_class_uid:
                return json.loads(file.read())
        return pydicom.dcmread(self.shell.store.path(delivery.digest))

    def state(self) -> str:
        owed = self.ledger.film(1).deliveries
        return next((d["state"] for d in owed if d["destination"] == "chest"), "not owed")


@pytest.fixture
def line(tmp_path: Path, folder: Path, children: Children) -> Line:
    return Line(tmp_path, folder, children)


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
    line.shell.quarantine().correct(1, by="ann", note="", operations=Operations(turn=270))
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
    line.shell.quarantine().release(1, by="ann", note="looks right")
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
    line.shell.quarantine().release(1, by="ann", note="", to=("chest",))
    line.work()
    (result,) = line.ledger.film(1).results
    assert (result["not_read"], result["why"]) == ("OUTSIDE_CARD", "age 3 is under 10")


def test_what_a_classifier_takes_stands_on_its_card_or_in_the_settings(
    tmp_path: Path, children: Children
) -> None:
    """The settings replace single words of the card, also in the processes that are given all settings."""
    where = tiny(tmp_path / "kids", accepts=Accepts(min_age=1, max_age=5, views=("PA",)))
    plain = Line(tmp_path, where, children).shell.acceptances()["chest"]
    assert (plain.min_age, plain.max_age, plain.views) == (1, 5, ("PA",))
    line = Line(tmp_path, where, children, block={"accepts": {"max_age": 3}})
    told = line.shell.acceptances()["chest"]
    assert (told.min_age, told.max_age) == (1, 3)
    in_a_worker = load(write_snapshot(line.shell.settings), env={})
    assert acceptance(in_a_worker.classifiers["chest"], "chest") == told
    unknown = Line(tmp_path, tmp_path / "nothing", children).shell.acceptances()["chest"]
    assert (unknown.min_age, unknown.views) == (10, ("PA", "AP", "frontal"))


def test_the_terms_are_those_of_the_card(tmp_path: Path) -> None:
    """Read without torch, and the same."""
    where = tiny(tmp_path / "kids", accepts=Accepts(min_age=1, max_age=5), off=True)
    card, read = bundle.read_card(where), terms.read(where)
    assert (read.name, read.version, read.weights_sha256) == (card.name, card.version, card.weights_sha256)
    assert (read.off, read.weights) == (True, where / card.weights)
    assert read.accepts == card.accepts == Accepts(min_age=1, max_age=5)
    with pytest.raises(terms.NoTerms, match="no card"):
        terms.read(tmp_path)


def test_a_classifier_that_is_off_must_be_switched_on_by_name(tmp_path: Path) -> None:
    tiny(tmp_path / "kids", off=True)
    config = tmp_path / "filmgate.yaml"
    config.write_text("destinations: {kids: {kind: classifier, bundle: ./kids}}\nroutes: {pass: [kids]}\n")
    with pytest.raises(SettingsError, match=r"destinations.kids: this classifier is off.*say `on: true`"):
        load_all(config, tmp_path)
    config.write_text(config.read_text().replace("./kids", "./kids, on: true"))
    assert load_all(config, tmp_path).classifiers["kids"].on


def test_a_rejection_note_follows_a_named_persons_reject_alone(
    tmp_path: Path, folder: Path, children: Children
) -> None:
    """Off until switched on; the note names the film, and the one who rejected it."""
    notes = {"rejection_notes": ["archive"]}
    line = Line(tmp_path, folder, children, block={"results": {}}, quarantine=notes)
    ds = phantom_dx("frontal", 12)
    receive(line.shell, ds, tmp_path)
    line.work(HELD)
    assert line.objects() == {}
    line.shell.quarantine().reject(1, by="Ann Other", note="not a chest")
    note = line.objects()[KeyObjectSelectionDocumentStorage]
    assert str(ds.SOPInstanceUID) in str(note)
    assert "Ann" in str(note)


def test_what_no_note_can_name_is_rejected_without_one(
    tmp_path: Path, folder: Path, children: Children
) -> None:
    """A person can close its hold; a note that could never be made would keep it open."""
    notes = {"rejection_notes": ["archive"]}
    line = Line(tmp_path, folder, children, block={"results": {}}, quarantine=notes)
    ds = phantom_dx("frontal", 17)
    ds.StudyInstanceUID = ""
    receive(line.shell, ds, tmp_path)
    line.work(HELD)
    line.shell.quarantine().reject(1, by="Ann Other", note="junk")
    assert (line.ledger.holds(), line.objects()) == ([], {})


def test_a_film_whose_file_is_gone_stays_held_in_words(
    tmp_path: Path, folder: Path, children: Children
) -> None:
    """Neither a copy nor a note can be made of it; other films are not held up by a crash."""
    line = Line(
        tmp_path, folder, children, block={"results": {}}, quarantine={"rejection_notes": ["archive"]}
    )
    receive(line.shell, phantom_dx("frontal", 18), tmp_path)
    line.work(HELD)
    (held,) = line.ledger.holds()
    line.shell.store.remove(held.digest)
    quarantine = line.shell.quarantine()
    with pytest.raises(Missing, match="stays held"):
        quarantine.reject(1, by="Ann Other", note="")
    with pytest.raises(Missing, match="stays held"):
        quarantine.correct(1, by="Ann Other", note="", operations=Operations(turn=90))
    assert line.ledger.holds() == [held]


def test_rejecting_sends_no_note_unless_it_is_switched_on(line: Line) -> None:
    receive(line.shell, phantom_dx("frontal", 13), line.tmp_path)
    line.work(HELD)
    line.objects()
    line.shell.quarantine().reject(1, by="ann", note="")
    assert line.objects() == {}


def test_a_lost_maker_of_reports_is_replaced(children: Children, tmp_path: Path, folder: Path) -> None:
    """It died between two films: nobody notices."""
    line = Line(tmp_path, folder, children)
    assert line.sent(phantom_dx("frontal", 14))["objects"]
    _, reporter = children
    assert reporter.pid is not None
    os.kill(reporter.pid, signal.SIGKILL)
    assert len(line.sent(phantom_dx("frontal", 15))["objects"]) == 3


def test_children_are_ready_before_the_first_film(tmp_path: Path) -> None:
    """Warmed up, they have loaded what they need, and answer."""
    with Decoder() as decoder, Reporter(timeout_s=60) as reporter:
        for child in (decoder, reporter):
            child.warm_up(tmp_path)
            assert child._ask(tmp_path, {"do": "ready"}, most=0) == ({}, bytearray())
