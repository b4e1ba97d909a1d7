"""/pictures: what a browser gets, and what nobody gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from console_client import signed_in, stranger
from console_films import received
from dicom_files import dx, part10, ramp
from pydicom import dcmread

from gateway.bootstrap import Shell
from gateway.console.pictures.placeholder import placeholder
from gateway.settings import Settings


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    settings = Settings.model_validate({"state": tmp_path / "state", "store": {"min_free_mb": 0}})
    one = Shell.open(settings, migrate_first=True)
    yield one
    one.close()


@pytest.fixture
def digest(shell: Shell, tmp_path: Path) -> str:
    return received(shell, dcmread(BytesIO(part10(dx(ramp(70, 60))))), tmp_path)


def test_a_thumbnail_is_made_once_and_kept_by_the_browser(shell: Shell, digest: str) -> None:
    """The second look costs a file, the third not even that."""
    with signed_in(shell) as client:
        first = client.get(f"/pictures/{digest}/thumb.jpg")
        assert first.headers["content-type"] == "image/jpeg"
        assert "immutable" in first.headers["cache-control"]
        assert "private" in first.headers["cache-control"]
        shell.store.remove(digest)
        assert client.get(f"/pictures/{digest}/thumb.jpg").content == first.content
        again = client.get(f"/pictures/{digest}/thumb.jpg", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_values_come_with_what_a_browser_needs_to_show_them(shell: Shell, digest: str) -> None:
    with signed_in(shell) as client:
        answer = client.get(f"/pictures/{digest}/pixels")
    said = {
        name[2:]: json.loads(value)
        for name, value in answer.headers.items()
        if name.startswith("x-") and name[2:] in ("rows", "columns", "entries", "scale", "window", "inverse")
    }
    assert said == {
        "rows": 70,
        "columns": 60,
        "entries": 4096,
        "scale": [1.0, 0.0],
        "window": [[2048.0, 4096.0]],
        "inverse": 0,
    }
    pixels = np.frombuffer(answer.content, "<u2", 70 * 60).reshape(70, 60)
    assert (pixels == ramp(70, 60)).all()


@pytest.mark.parametrize("what", ["thumb.jpg", "pixels", "heatmap/1.png"])
def test_what_the_ledger_does_not_know_is_not_there(shell: Shell, digest: str, what: str) -> None:
    """A file in the state folder is no picture, and a digest is hex alone."""
    with signed_in(shell) as client:
        for name in ("0" * 64, digest.upper(), "..%2f..%2fledger.sqlite", digest[:63], digest + "0"):
            assert client.get(f"/pictures/{name}/{what}").status_code in (404, 422)


def test_nobody_sees_a_film_without_having_signed_in(shell: Shell, digest: str) -> None:
    with stranger(shell) as client:
        for what in ("thumb.jpg", "pixels"):
            answer = client.get(f"/pictures/{digest}/{what}")
            assert answer.status_code in (303, 401)


@pytest.mark.parametrize("fault", ["crash", "hang"])
def test_a_child_that_fails_leaves_words_where_the_picture_was(
    shell: Shell, digest: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a 500; and the next time the child is not asked again."""
    monkeypatch.setenv("FILMGATE_DECODER_TEST", fault)
    monkeypatch.setattr("gateway.console.pictures.making.ATTEMPT_S", 0.3)
    with signed_in(shell) as client:
        answer = client.get(f"/pictures/{digest}/thumb.jpg")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
        assert answer.headers["cache-control"] == "no-store"
        assert "Decoding crashed" in answer.text
        values = client.get(f"/pictures/{digest}/pixels")
        assert values.status_code == 422
        assert "ecoding" in values.json()["detail"]
        monkeypatch.delenv("FILMGATE_DECODER_TEST")
        assert client.get(f"/pictures/{digest}/thumb.jpg").headers["content-type"] == "image/svg+xml"


def test_a_file_that_is_gone_is_said(shell: Shell, digest: str) -> None:
    shell.store.remove(digest)
    with signed_in(shell) as client:
        assert "fsck" in client.get(f"/pictures/{digest}/thumb.jpg").text
        assert client.get(f"/pictures/{digest}/pixels").status_code == 503


def test_words_in_a_picture_are_words() -> None:
    """No markup of a stranger's gets into it."""
    assert b"<script>" not in placeholder("<script>alert(1)</script> & more " * 20)
