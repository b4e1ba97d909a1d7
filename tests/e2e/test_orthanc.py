"""Orthanc, the open-source PACS, in every part that a peer can play: modality, archive and AI."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from orthanc_peer import ORTHANC, Orthanc, orthanc
from pydicom import Dataset
from rig import NO_CONSOLE, Gateway, gateway
from test_faults import film, push, saved, settled

pytestmark = [
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.skipif(not ORTHANC.exists(), reason=f"{ORTHANC} is missing: apt-get install orthanc"),
]


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Orthanc, Orthanc]]:
    """The gateway, its AI and its archive."""
    folder = tmp_path_factory.mktemp("orthanc")
    with (
        gateway(start_ai=False, start_archive=False, console=NO_CONSOLE, work={"workers": 1}) as line,
        orthanc(folder, line.ai.ae_title, line.ai.port, line.port) as ai,
        orthanc(folder, line.archive.ae_title, line.archive.port, line.port) as archive,
    ):
        yield line, ai, archive


def test_the_original_is_in_the_archive_and_the_copy_at_the_ai(
    peers: tuple[Gateway, Orthanc, Orthanc], tmp_path: Path
) -> None:
    line, ai, archive = peers
    ds = film(turn=90)
    push(line, saved(ds, tmp_path))
    (row,) = settled(line, [ds])
    assert row["decision"] == "correct"
    original = archive.instance(ds.SOPInstanceUID)
    assert archive.pixels(original["id"]) == ds.PixelData
    (copy,) = ai.copies_of(ds.SOPInstanceUID)
    assert len(ai.tags()) == 1
    assert (copy["Rows"], copy["Columns"]) == (str(ds.Columns), str(ds.Rows))
    assert copy["ImageType"].startswith("DERIVED\\PRIMARY")
    assert copy["SeriesDescription"].startswith("filmgate corrected")
    assert copy["StudyInstanceUID"] == ds.StudyInstanceUID
    assert copy["SeriesInstanceUID"] != ds.SeriesInstanceUID
    assert copy["ContributingEquipmentSequence"][0]["Manufacturer"]
    assert copy["PatientName"] == str(ds.PatientName)
    assert copy["DerivationDescription"]


def test_orthanc_sends_as_a_modality(peers: tuple[Gateway, Orthanc, Orthanc], tmp_path: Path) -> None:
    """A PACS passes a film on to the gateway, which passes it on to the AI and back to the PACS."""
    line, ai, archive = peers
    ds: Dataset = film()
    path = saved(ds, tmp_path)
    uploaded = json.loads(archive.ask("/instances", path.read_bytes()))["ID"]
    answer = json.loads(archive.ask("/modalities/filmgate/store", [uploaded]))
    assert (answer["InstancesCount"], answer["FailedInstancesCount"]) == (1, 0)
    (row,) = settled(line, [ds])
    assert row["decision"] == "pass"
    assert {d["state"] for d in row["deliveries"]} == {"delivered"}
    assert ai.pixels(ai.instance(ds.SOPInstanceUID)["id"]) == ds.PixelData
