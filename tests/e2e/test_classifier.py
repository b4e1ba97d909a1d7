"""A clean film in by C-STORE; its report and its heat map in the archive, and in Orthanc, a moment later."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
import torch
from orthanc_peer import ORTHANC, Orthanc, orthanc
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, EnhancedSRStorage, SecondaryCaptureImageStorage
from rig import DCMSEND, NO_CONSOLE, STORESCP, Gateway, gateway, wait_for
from test_faults import film, history, push, saved, settled

from models.classifiers import bundle, nets
from models.classifiers.bundle import ClassifierCard, Input

pytestmark = [pytest.mark.dcmtk, pytest.mark.redis, pytest.mark.slow]

RESULTS = {"sr": ["archive"], "heatmap": ["archive"], "not_analysed": ["archive"]}
SLOW_S = 20.0  # a result is there within two seconds; a machine that tests everything at once has more time


def configured(folder: Path, workers: int = 2) -> dict[str, Any]:
    """Sections with a classifier beside the rig's AI: a tiny network with random weights.

    Workers that only get what others leave of the processor would make this a test of the machine.
    """
    torch.manual_seed(0)
    card = ClassifierCard("tiny", "small", ("Effusion", "Mass", "No Finding"), input=Input(px=64))
    bundle.save(folder / "tiny", card, nets.Small(3).eval())
    tiny = {"kind": "classifier", "bundle": str(folder / "tiny"), "results": RESULTS}
    return {
        "destinations": {"tiny": tiny},
        "routes": {"always": ["archive"], "pass": ["chest-ai", "tiny"]},
        "work": {"workers": workers, "nice": 10},
    }


@pytest.fixture(scope="module")
def lots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file here kills the worker that passes the stage which it names: see gateway/process/crash.py."""
    return tmp_path_factory.mktemp("lots")


@pytest.fixture(scope="module")
def line(lots: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    for program in (DCMSEND, STORESCP):
        if not os.access(program, os.X_OK):
            pytest.skip(f"{program} is missing: apt-get install dcmtk")
    folder = tmp_path_factory.mktemp("bundles")
    with gateway(env={"FILMGATE_CRASH_AT": str(lots)}, console=NO_CONSOLE, **configured(folder)) as running:
        yield running


def results_at(line: Gateway, ds: Dataset) -> list[Dataset]:
    """What the archive has about a film beside the film."""
    found = [pydicom.dcmread(path) for path in line.archive.files()]
    return [
        one
        for one in found
        if one.StudyInstanceUID == ds.StudyInstanceUID and one.SOPInstanceUID != ds.SOPInstanceUID
    ]


def kinds(made: list[Dataset]) -> list[str]:
    return sorted(str(one.SOPClassUID) for one in made)


READ = sorted(map(str, (ComprehensiveSRStorage, SecondaryCaptureImageStorage)))


def test_a_clean_film_is_read_and_its_results_reach_the_archive(line: Gateway, tmp_path: Path) -> None:
    """The report names the film; `films list` says what was found and what was made of it."""
    ds = film()
    path = saved(ds, tmp_path)
    began = time.monotonic()
    line.send(path)
    wait_for(lambda: len(line.archive.files()) >= 3, SLOW_S, "no results")
    took_s = time.monotonic() - began
    print(f"from dcmsend to report and heat map in the archive: {took_s:.2f} s")
    (row,) = settled(line, [ds])
    assert kinds(results_at(line, ds)) == READ
    (result,) = row["results"]
    assert (result["classifier"], len(result["conditions"])) == ("tiny", 3)
    assert {d["state"] for d in row["deliveries"]} == {"delivered"}
    report = next(one for one in results_at(line, ds) if one.SOPClassUID == ComprehensiveSRStorage)
    assert str(ds.SOPInstanceUID) in str(report)
    assert report.PatientName == ds.PatientName


@pytest.mark.parametrize("stage", ["reading", "results"])
def test_a_worker_that_dies_while_it_reads_leaves_one_result(
    line: Gateway, lots: Path, tmp_path: Path, stage: str
) -> None:
    """kill -9 amid a reading: another worker reads it again; one result, one report."""
    ds = film()
    (lots / f"{stage}.1").touch()
    push(line, saved(ds, tmp_path))
    (row,) = settled(line, [ds])
    assert list(lots.iterdir()) == [], "no worker died"
    assert len(row["results"]) == 1
    assert history(line, ds).count("read") == 1
    assert kinds(results_at(line, ds)) == READ


def test_a_dispatcher_that_dies_takes_no_reading_with_it(line: Gateway, tmp_path: Path) -> None:
    """Its successor puts back what it carried itself, and not what workers read."""
    films = [film() for _ in range(6)]
    push(line, *(saved(ds, tmp_path) for ds in films))
    os.kill(line.pid_of(" dispatch "), signal.SIGKILL)
    rows = settled(line, films)
    assert all(history(line, ds).count("read") == 1 for ds in films)
    assert {d["state"] for row in rows for d in row["deliveries"]} == {"delivered"}


def test_what_was_withheld_is_reported_as_not_analysed(line: Gateway, tmp_path: Path) -> None:
    ds = film(age="003Y")
    push(line, saved(ds, tmp_path))
    (row,) = settled(line, [ds])
    assert row["decision"] == "withhold"
    assert kinds(results_at(line, ds)) == [str(EnhancedSRStorage)]
    assert [result["not_read"] for result in row["results"]] == ["NOT_ACCEPTED"]


def test_our_results_that_an_archive_reflects_are_never_gated(line: Gateway, tmp_path: Path) -> None:
    """They come back, are kept, and nothing more becomes of them: no loop."""
    ds = film()
    push(line, saved(ds, tmp_path))
    settled(line, [ds])
    made = results_at(line, ds)
    before = len(line.archive.files())
    push(line, *(saved(one, tmp_path) for one in made))
    for row in settled(line, made):
        assert (row["decision"], row["reasons"], row["deliveries"]) == ("withhold", ["OURS"], [])
        assert row["results"] == []
    assert len(line.archive.files()) == before


def test_the_books_balance_with_results_in_them(line: Gateway) -> None:
    done = line.cli("fsck", "--deep", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


@pytest.mark.skipif(not ORTHANC.exists(), reason=f"{ORTHANC} is missing: apt-get install orthanc")
def test_orthanc_has_report_and_heat_map_beside_the_film(tmp_path: Path) -> None:
    """A PACS as archive: it takes both, in the study of the film."""
    with (
        gateway(
            tmp_path,
            start_ai=False,
            start_archive=False,
            console=NO_CONSOLE,
            **configured(tmp_path, workers=1),
        ) as line,
        orthanc(tmp_path, line.archive.ae_title, line.archive.port, line.port) as archive,
    ):
        ds = film()
        path = saved(ds, tmp_path)
        began = time.monotonic()
        push(line, path)
        wait_for(lambda: _count(archive) >= 3, SLOW_S, "no results in Orthanc")
        print(f"from C-STORE to report and heat map in Orthanc: {time.monotonic() - began:.2f} s")
        tags = archive.tags()
        assert {one["StudyInstanceUID"] for one in tags} == {ds.StudyInstanceUID}
        assert sorted(one["SOPClassUID"] for one in tags) == sorted([*READ, str(ds.SOPClassUID)])
        (report,) = (one for one in tags if one["SOPClassUID"] == ComprehensiveSRStorage)
        assert report["ContributingEquipmentSequence"][0]["Manufacturer"]


def _count(archive: Orthanc) -> int:
    return len(json.loads(archive.ask("/instances")))
