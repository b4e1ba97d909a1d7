"""A film whose every text is a script, on every page there is: inert, and in no address, log or figure."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from console_client import signed_in
from console_films import judged, received
from dicom_files import dx, part10, ramp
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from test_console_doors import routes

from gateway.bootstrap import Shell
from gateway.console.doors import Role
from gateway.settings import Settings

SCRIPT = "\"'><script>CANARY</script>{{12345679*8}}"
SHORT = "'><script>C"  # CS and SH hold 16 characters
TEXTS = {"PN", "LO", "LT", "ST", "UT", "UC", "SH", "CS", "AE", "AS"}
TAGS = (
    "PatientName",
    "PatientID",
    "PatientComments",
    "AccessionNumber",
    "InstitutionName",
    "StationName",
    "Manufacturer",
    "ManufacturerModelName",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "ReferringPhysicianName",
    "OperatorsName",
    "ImageComments",
    "BodyPartExamined",
    "ViewPosition",
    "DerivationDescription",
    "SoftwareVersions",
)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    settings = Settings.model_validate({"state": tmp_path / "state", "store": {"min_free_mb": 0}})
    one = Shell.open(settings, migrate_first=True)
    yield one
    one.close()


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of values that are too long or odd
def test_a_script_in_every_tag_is_inert_on_every_page(
    shell: Shell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Autoescape holds everywhere, nothing is a template, and no address or log line has a word of it."""
    film = dx(ramp(40, 30))
    for tag in TAGS:
        assert dictionary_VR(tag) in TEXTS
        setattr(film, tag, SHORT if dictionary_VR(tag) in ("CS", "SH") else SCRIPT)
    film.SOPInstanceUID = "1.2.3.1"
    received(shell, dcmread(BytesIO(part10(film))), tmp_path)
    judged(shell)
    shown = 0
    with signed_in(shell, Role.ADMIN) as client:
        for path, methods in routes():
            if "GET" not in methods:
                continue
            answer = client.get(path, headers={"Accept": "text/html"})
            assert answer.status_code < 500, path
            if "html" not in answer.headers.get("content-type", ""):
                continue
            assert "<script>C" not in answer.text, path
            assert "98765432" not in answer.text, path
            shown += "&lt;script&gt;C" in answer.text
        for path in ("/films?sender=", "/why?q=", "/quarantine?group=", "/audit?who="):
            text = client.get(path + "%22%3E%3Cscript%3ECANARY", headers={"Accept": "text/html"}).text
            assert "<script>C" not in text, path
        assert "CANARY" not in client.get("/metrics").text
    assert shown >= 1  # it was there to be seen
    assert "CANARY" not in capsys.readouterr().err
