"""Headers that nobody decodes pixels for: of later versions, and of an older ledger's films."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from sqlalchemy import update
from test_tasks import NOW, Says, examine, receive, shell

from gateway.ledger.records import Wanted
from gateway.ledger.searching.tables import headers
from gateway.process.priority import LedgerThread
from gateway.sandbox.decoder import Decoder
from gateway.sandbox.headers import HeaderReader
from gateway.worker import Worker
from pipelines.film import Identity, Reason
from pipelines.header import quietly
from pipelines.instance.identity import read_identity
from pipelines.instance.part10 import parse
from pipelines.lab.films.phantom_dx import phantom_dx
from pipelines.policy import Policy


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as one:
        yield one


def test_the_worker_keeps_whose_film_it_is(tmp_path: Path, decoder: Decoder) -> None:
    one = shell(tmp_path)
    ds = phantom_dx("frontal", 1)
    ds.AccessionNumber, ds.PatientID, ds.StationName = "ACC1", "PAT1", "TABLE 1"
    receive(one, ds, tmp_path)
    examine(one, decoder, Says(("mirror", Reason.MIRROR_SUSPECTED)))
    (card,) = one.ledger.sheet(Wanted(accession="ACC1", device="TABLE 1"))
    assert (card.header.study_uid, card.header.patient_id) == (ds.StudyInstanceUID, "PAT1")
    assert one.ledger.search(Wanted(patient_id="PAT1"))[0].film_id == 1


def test_the_same_pixels_of_another_patient_are_found_by_the_other(tmp_path: Path, decoder: Decoder) -> None:
    """Corrected demographics: daily routine of a PACS."""
    one = shell(tmp_path)
    ds = phantom_dx("frontal", 1)
    ds.PatientID = "WRONG"
    receive(one, ds, tmp_path)
    examine(one, decoder, Says())
    ds.PatientID = "RIGHT"
    receive(one, ds, tmp_path)
    examine(one, decoder, Says())
    assert one.ledger.events(1)[-1]["what"] == "same pixels"
    assert [len(one.ledger.search(Wanted(patient_id=name))) for name in ("WRONG", "RIGHT")] == [0, 1]


def test_what_shows_no_pixels_is_found_by_its_header(tmp_path: Path, decoder: Decoder) -> None:
    one = shell(tmp_path)
    ds = phantom_dx("frontal", 1)
    ds.AccessionNumber = "ACC1"
    del ds.PixelData
    receive(one, ds, tmp_path)
    examine(one, decoder, Says())
    assert [film.reasons for film in one.ledger.search(Wanted(accession="ACC1"))] == [("NO_PIXELS",)]


def forget(one: object) -> None:
    """As the ledger of an older filmgate was, after its migration."""
    with one.ledger.writing() as db:  # type: ignore[attr-defined]
        db.execute(update(headers).values(read_at=None, accession="", patient_id=""))


def test_a_worker_that_has_nothing_to_do_reads_the_headers_of_an_older_ledger(
    tmp_path: Path, decoder: Decoder
) -> None:
    """Also those of which the file is gone, or is no DICOM: they are not tried again."""
    one = shell(tmp_path)
    for seed in range(3):
        ds = phantom_dx("frontal", seed)
        ds.AccessionNumber = f"ACC{seed}"
        receive(one, ds, tmp_path)
    its_worker = examine(one, decoder, Says())
    forget(one)
    gone, broken, _ = (film.digest for film in one.ledger.search(Wanted(sort="oldest")))
    one.store.path(gone).unlink()
    one.store.path(broken).chmod(0o600)
    one.store.path(broken).write_bytes(b"no DICOM")
    its_worker.catch_up()
    assert one.ledger.unread_headers() == 0
    assert [film.film_id for film in one.ledger.search(Wanted(accession="ACC*"))] == [3]


def test_a_film_that_comes_goes_first(tmp_path: Path, decoder: Decoder) -> None:
    """No batch is begun while the worker is needed; it goes on where it stopped."""
    one = shell(tmp_path)
    for seed in range(2):
        receive(one, phantom_dx("frontal", seed), tmp_path)
    its_worker = examine(one, decoder, Says())
    forget(one)
    reader = HeaderReader(one.ledger, one.store, decoder, LedgerThread(), lambda: NOW)
    reader.catch_up(lambda: True)
    assert one.ledger.unread_headers() == 2
    its_worker.stopping.set()
    its_worker.catch_up()
    assert one.ledger.unread_headers() == 2
    reader.catch_up(lambda: False)
    assert one.ledger.unread_headers() == 0


def test_a_worker_catches_up_between_its_looks(tmp_path: Path, decoder: Decoder) -> None:
    one = shell(tmp_path)
    receive(one, phantom_dx("frontal", 1), tmp_path)
    examine(one, decoder, Says())
    forget(one)
    its_worker = Worker(one, decoder, Says(), Policy.default(), "w", LedgerThread())  # type: ignore[arg-type]

    def catch_up() -> None:
        its_worker.catch_up()
        its_worker.stopping.set()

    its_worker.look_alone(lambda: 0.0, catch_up)
    assert one.ledger.unread_headers() == 0


def test_an_identity_is_read_whatever_a_stranger_wrote() -> None:
    """Several values, lengths beyond the Standard, names for numbers; a model where there is no station."""
    ds = phantom_dx("frontal", 1)
    ds.StationName, ds.Manufacturer, ds.ManufacturerModelName = "", "Maker", "Model 7"
    assert read_identity(ds).device == "Maker Model 7"
    with quietly():
        ds.StationName = "  ROOM 3 \\ SECOND"
        ds.AccessionNumber, ds.PatientID = "A" * 500, "<script>\x00alert(1)</script>"
        ds.StudyInstanceUID = None
        identity = read_identity(ds)
    assert identity.device == "ROOM 3"
    assert len(identity.accession) == 64
    assert (identity.patient_id, identity.study_uid) == ("<script>alert(1)</script>", "")


def test_no_traceback_says_whose_film_it_is(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    ds = phantom_dx("frontal", 1)
    ds.PatientID = "PAT1"
    ds.save_as(path, enforce_file_format=True)
    header = parse(path).header
    assert asdict(header)["identity"]["patient_id"] == "PAT1"
    assert header.identity != Identity()
    assert "PAT1" not in repr(header)
