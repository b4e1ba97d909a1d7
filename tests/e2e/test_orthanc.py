"""Orthanc, the open-source PACS, in every part that a peer can play: modality, archive and AI."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from rig import Gateway, free_port, gateway, listening, wait_for
from test_faults import film, push, saved, settled

ORTHANC = Path("/usr/sbin/Orthanc")
pytestmark = [
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.skipif(not ORTHANC.exists(), reason=f"{ORTHANC} is missing: apt-get install orthanc"),
]


@dataclass(frozen=True)
class Orthanc:
    """A running server, by its REST API."""

    http_port: int

    def ask(self, path: str, body: bytes | dict[str, Any] | list[str] | None = None) -> bytes:
        """GET, or POST when there is a body."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", data=data)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return bytes(answer.read())

    def tags(self) -> list[dict[str, Any]]:
        """The tags of every instance, by keyword."""
        found = json.loads(self.ask("/instances"))
        return [{"id": one, **json.loads(self.ask(f"/instances/{one}/simplified-tags"))} for one in found]

    def instance(self, uid: str) -> dict[str, Any]:
        (found,) = (tags for tags in self.tags() if tags["SOPInstanceUID"] == uid)
        return found

    def copies_of(self, uid: str) -> list[dict[str, Any]]:
        return [
            tags
            for tags in self.tags()
            if any(item["ReferencedSOPInstanceUID"] == uid for item in tags.get("SourceImageSequence", ()))
        ]

    def pixels(self, instance: str) -> bytes:
        return self.ask(f"/instances/{instance}/content/7fe0-0010/0")


@contextmanager
def orthanc(folder: Path, name: str, dicom_port: int, gateway_port: int) -> Iterator[Orthanc]:
    """An Orthanc of our own, which knows the gateway as the modality `filmgate`."""
    http_port = free_port()
    config = {
        "Name": name,
        "DicomAet": name,
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "StorageDirectory": str(folder / name),
        "DicomAlwaysAllowStore": True,
        "AuthenticationEnabled": False,
        "DicomModalities": {"filmgate": ["FILMGATE", "127.0.0.1", gateway_port]},
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    log = (folder / f"{name}.log").open("wb")
    with log, subprocess.Popen([ORTHANC, str(path)], stdout=log, stderr=log) as process:
        try:
            for port in (dicom_port, http_port):
                wait_for(lambda port=port: listening(port), 20, f"Orthanc {name} did not start")
            yield Orthanc(http_port)
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Orthanc, Orthanc]]:
    """The gateway, its AI and its archive."""
    folder = tmp_path_factory.mktemp("orthanc")
    with (
        gateway(start_ai=False, start_archive=False, work={"workers": 1}) as line,
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
