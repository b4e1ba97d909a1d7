"""Orthanc takes every kind of result by C-STORE, and files it under the film's patient and study."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from orthanc_peer import ORTHANC, orthanc
from readings import AT, EQUIPMENT, NOT_READ, reading, written
from rig import free_port

from pipelines.film import Reason
from pipelines.lab.films.phantom import render
from pipelines.lab.films.phantom_dx import phantom_dx
from pipelines.report.capture import capture
from pipelines.report.measurement_report import not_analysed_report, reading_report
from pipelines.report.presentation import presentation_state
from pipelines.report.rejection import rejection_note

STORESCU = Path("/usr/bin/storescu")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ORTHANC.exists(), reason=f"{ORTHANC} is missing: apt-get install orthanc"),
    pytest.mark.skipif(not STORESCU.exists(), reason=f"{STORESCU} is missing: apt-get install dcmtk"),
]


def test_orthanc_takes_every_kind_of_result(tmp_path: Path) -> None:
    """Six series of one study: the film, and each kind of result in one of its own."""
    film = phantom_dx("frontal", 3, patient="Grüße^Jörg")
    film.SpecificCharacterSet = "ISO_IR 100"
    said = {"at": AT, "equipment": EQUIPMENT}
    state = presentation_state(film, reading(), **said)
    assert state is not None
    made = {
        "DX": film,
        "SR": reading_report(film, reading(), **said),
        "SR of nothing": not_analysed_report(film, NOT_READ, **said),
        "OT": capture(film, render("frontal", 3, (512, 420)), reading(), **said),
        "PR": state,
        "KO": rejection_note(film, [Reason.BLANK], who="Radiographer^Anna", note="again", **said),
    }
    for name, ds in made.items():
        (tmp_path / f"{name}.dcm").write_bytes(written(ds))
    port = free_port()
    with orthanc(tmp_path, "ARCHIVE", port, free_port()) as archive:
        command = [STORESCU, "-R", "-aec", "ARCHIVE", "127.0.0.1", str(port), *tmp_path.glob("*.dcm")]
        subprocess.run(command, check=True, capture_output=True)
        (study,) = json.loads(archive.ask("/studies?expand"))
        assert study["PatientMainDicomTags"]["PatientName"] == "Grüße^Jörg"
        assert len(study["Series"]) == len(made)
        stored = {tags["SOPInstanceUID"]: tags for tags in archive.tags()}
        assert {ds.SOPInstanceUID: ds.Modality for ds in made.values()} == {
            uid: tags["Modality"] for uid, tags in stored.items()
        }
        shown = archive.ask(f"/instances/{stored[made['OT'].SOPInstanceUID]['id']}/preview")
        assert shown.startswith(b"\x89PNG")
