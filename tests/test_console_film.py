"""The page of one film."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from console_client import signed_in
from console_films import HELD, judged, received
from dicom_files import dx, part10, ramp
from pydicom import Dataset, dcmread

from gateway.bootstrap import Shell
from gateway.console.doors import Role
from gateway.ledger.picturing.dossier import _plain
from gateway.settings import Settings
from pipelines.film import Finding, Reason, Verdict

SCRIPT = "CANARY^<script>alert(1)</script>"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    settings = Settings.model_validate({"state": tmp_path / "state", "store": {"min_free_mb": 0}})
    one = Shell.open(settings, migrate_first=True)
    yield one
    one.close()


def film(number: int = 1, **attributes: object) -> Dataset:
    odd = {"AccessionNumber": "CANARYACC", "PatientID": "CANARYID", "StationName": "ROOM 7"}
    ds = dx(ramp(40, 30), **(odd | attributes))
    ds.SOPInstanceUID = f"1.2.3.{number}"
    return dcmread(BytesIO(part10(ds)))


def test_it_says_why_with_values_and_thresholds(shell: Shell, tmp_path: Path) -> None:
    """The rule, what it saw, and the gate's score between its marks."""
    received(shell, film(), tmp_path)
    trace = (
        {"rule": "can be put right", "fired": True, "because": "rotation bad 0.01 (thresholds 0.2, 0.5)"},
    )
    judged(shell, replace(HELD, decision=replace(HELD.decision, trace=trace)))
    with signed_in(shell, Role.VIEWER) as client:
        page = client.get("/films/1").text
    assert "It lies upside down" in page or "it lies upside down" in page
    assert "rotation bad 0.01 (thresholds 0.2, 0.5)" in page
    assert "score 0.01, thresholds 0.2 and 0.5" in page
    assert "received and stored" in page
    assert "ROOM 7" in page


def test_what_a_person_did_to_a_film_is_said_in_words() -> None:
    """Those operations that a copy had, and not the others."""
    assert _plain({"crop": None, "turn": 270, "invert": True, "flip": False}) == "turn 270, invert"
    assert _plain({"crop": [1, 2, 30, 40]}) == "crop 1, 2, 30, 40"


def test_the_header_stands_beside_the_pixels(shell: Shell, tmp_path: Path) -> None:
    """A hand that is called a chest is marked."""
    received(shell, film(), tmp_path)
    hand = Finding("anatomy", Verdict.BAD, 0.01, 0.1, 0.3, Reason.OTHER_PART, "upper limb, p 0.990")
    judged(shell, replace(HELD, findings=(hand,)))
    with signed_in(shell) as client:
        part = client.get("/films/1/header").text
    line = part[part.index("part and view") - 60 :]
    assert "CHEST PA" in line
    assert "upper limb" in line
    assert 'class="bad"' in line


def test_who_the_patient_is_is_shown_to_who_asks_and_that_is_kept(shell: Shell, tmp_path: Path) -> None:
    received(shell, film(PatientName="CANARY^NAME"), tmp_path)
    judged(shell)
    with signed_in(shell) as client:
        for address in ("/films/1", "/films/1/header"):
            text = client.get(address).text
            assert "CANARY^NAME" not in text
            assert "CANARYACC" not in text
            assert "CANARYID" not in text
        before = shell.ledger.events(1)
        shown = client.post("/films/1/header")
    assert "CANARY^NAME" in shown.text
    assert "CANARYACC" in shown.text
    assert shown.headers["cache-control"] == "no-store"
    (event,) = [one for one in shell.ledger.events(1) if one not in before]
    assert event["who"] == "reviewer"
    assert "CANARY" not in str(event)


def test_tags_are_looked_for_by_words(shell: Shell, tmp_path: Path) -> None:
    received(shell, film(), tmp_path)
    judged(shell)
    with signed_in(shell) as client:
        part = client.get("/films/1/header", params={"q": "photometric"}).text
    assert "Photometric Interpretation" in part
    assert "Bits Stored" not in part


def test_what_a_stranger_wrote_is_text(shell: Shell, tmp_path: Path) -> None:
    """A name with a script in it, 64 k of LT, and a room with markup."""
    odd = film(
        PatientName=SCRIPT, ImageComments="<img src=x onerror=alert(1)>" * 2300, StationName="<b>ROOM</b>"
    )
    received(shell, odd, tmp_path)
    judged(shell)
    with signed_in(shell) as client:
        pages = [client.get("/films/1"), client.get("/films/1/header"), client.post("/films/1/header")]
    for page in pages:
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
        assert "<b>ROOM" not in page.text
        assert len(page.text) < 200_000
    assert "&lt;script&gt;" in pages[2].text


def test_what_cannot_be_read_still_has_its_page(shell: Shell, tmp_path: Path) -> None:
    """Its history is there; the header says why there is nothing."""
    digest = received(shell, film(), tmp_path)
    shell.store.path(digest).write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 300)
    with signed_in(shell) as client:
        assert client.get("/films/1").status_code == 200
        part = client.get("/films/1/header")
    assert part.status_code == 200
    assert "cannot be parsed" in part.text


def test_a_film_that_is_not_there(shell: Shell) -> None:
    with signed_in(shell) as client:
        for address in ("/films/1", "/films/1/header", "/films/999999999999"):
            assert client.get(address).status_code == 404
        assert client.get("/films/0").status_code in (404, 422)


def test_films_of_the_study_and_of_the_device_are_one_click_away(shell: Shell, tmp_path: Path) -> None:
    for number in (1, 2):
        received(shell, film(number), tmp_path)
        judged(shell)
    with signed_in(shell) as client:
        page = client.get("/films/1").text
    assert 'href="/films/2"' in page
