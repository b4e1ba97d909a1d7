"""Files that people drop: pieces, limits, what the child says of them; nothing is sent or kept for long."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from console_client import signed_in
from PIL import Image
from polling import until
from starlette.testclient import TestClient

from gateway.bootstrap import Shell
from gateway.console.uploads import shelf as limits
from gateway.console.uploads.examiner import Examiner, Patience
from gateway.console.uploads.shelf import CannotTake, OtherOffset, Shelf, State, owner_of
from gateway.settings import Settings
from pipelines.lab.films import phantom
from pipelines.lab.films.phantom_dx import phantom_dx

ANN, BEN = owner_of("ann"), owner_of("ben")
LONG_S = 120.0  # the first file waits for torch, on a busy machine


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell.open(Settings(state=tmp_path / "state"), migrate_first=True)
    yield shell
    shell.close()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path, 0)


def named(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def laid(shelf: Shelf, content: bytes, name: str = "a.png", owner: str = ANN) -> str:
    """A whole file on the shelf."""
    shelf.announce(owner, named(content), name, len(content))
    shelf.append(owner, named(content), 0, content)
    return named(content)


def a_film(tmp_path: Path, seed: int = 3) -> bytes:
    path = tmp_path / "made.png"
    pixels = np.rint(np.asarray(phantom.render("frontal", seed)) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path.read_bytes()


def a_dicom_film(tmp_path: Path) -> bytes:
    path = tmp_path / "made.dcm"
    phantom_dx("frontal", 1, turn=90).save_as(path, enforce_file_format=True)
    return path.read_bytes()


def test_a_file_comes_in_pieces_and_goes_on_where_it_stopped(shelf: Shelf, tmp_path: Path) -> None:
    content = b"0123456789"
    shelf.announce(ANN, named(content), "../../etc/passwd", 10)
    assert shelf.append(ANN, named(content), 0, b"0123").offset == 4
    with pytest.raises(OtherOffset) as caught:  # the piece was kept, and its answer was lost
        shelf.append(ANN, named(content), 0, b"0123")
    assert caught.value.offset == 4
    anew = Shelf(tmp_path, 0)  # the console was started anew, and the page reloaded
    assert anew.announce(ANN, named(content), "other.dcm", 10).offset == 4
    assert anew.append(ANN, named(content), 4, b"456789").state is State.QUEUED
    assert anew.file(ANN, named(content)).read_bytes() == content
    assert {path.parent.name for path in (tmp_path / "uploads").rglob("*.*")} == {ANN}


def test_what_is_not_the_file_that_was_announced_fails(shelf: Shelf) -> None:
    shelf.announce(ANN, named(b"good"), "a", 4)
    assert shelf.append(ANN, named(b"good"), 0, b"evil").state is State.FAILED
    assert not shelf.file(ANN, named(b"good")).exists()


def test_one_persons_files_are_nobody_elses(shelf: Shelf) -> None:
    key = laid(shelf, b"mine")
    assert shelf.get(BEN, key) is None
    assert [one.sha256 for one in shelf.of(ANN)] == [key]
    assert (
        shelf.file(ANN, key).stat().st_mode & 0o777,
        shelf.file(ANN, key).parent.stat().st_mode & 0o777,
    ) == (
        0o600,
        0o700,
    )


def test_files_that_are_too_many_too_large_or_without_room_are_refused(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (0, limits.FILE_BYTES + 1):
        with pytest.raises(CannotTake, match="256 MiB"):
            shelf.announce(ANN, named(b"x"), "a", size)
    with pytest.raises(CannotTake, match="no room"):
        Shelf(tmp_path, 1 << 40).announce(ANN, named(b"x"), "a", 1)
    monkeypatch.setattr(limits, "PERSON_FILES", 1)
    laid(shelf, b"first")
    with pytest.raises(CannotTake, match="1 or 1024 MiB is the most"):
        shelf.announce(ANN, named(b"x"), "a", 1)
    laid(shelf, b"x", owner=BEN)
    monkeypatch.setattr(limits, "TOTAL_BYTES", 6)
    with pytest.raises(CannotTake, match="no room"):
        shelf.announce(owner_of("eve"), named(b"y"), "a", 1)


def test_after_a_day_everything_is_deleted(tmp_path: Path) -> None:
    times = [0.0]
    shelf = Shelf(tmp_path, 0, clock=lambda: times[0])
    key = laid(shelf, b"mine")
    shelf.picture(ANN, key).write_bytes(b"png")
    assert shelf.sweep() == 0
    times[0] = limits.KEPT_S + 1
    assert shelf.sweep() == 1
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_gigabyte_in_one_request_is_refused(shell: Shell) -> None:
    """Neither by what its header says nor by what comes is more than a piece ever held."""
    content = bytes(limits.PIECE_BYTES + 1)
    with signed_in(shell) as client:
        client.post(
            "/api/uploads", json={"files": [{"name": "a", "size": len(content), "sha256": named(content)}]}
        )
        address = f"/api/uploads/{named(content)}?offset=0"
        assert client.put(address, content=content).status_code == 413
        assert client.put(address, content=iter([content[:-1], b"12"])).status_code == 413
        assert client.put(address, content=content[:-1]).json()["offset"] == limits.PIECE_BYTES
        assert client.put(address, content=b"1").headers["x-offset"] == str(limits.PIECE_BYTES)
        assert client.put(f"/api/uploads/{'e' * 64}?offset=0", content=b"1").status_code == 404


def uploaded(client: TestClient, content: bytes, name: str) -> str:
    key = named(content)
    announced = {"files": [{"name": name, "size": len(content), "sha256": key}]}
    assert client.post("/api/uploads", json=announced).json()["uploads"][0]["error"] == ""
    assert client.put(f"/api/uploads/{key}?offset=0", content=content).status_code == 200
    return key


def ended(client: TestClient) -> dict[str, Any]:
    """All uploads by key, once each of them ended."""

    def known() -> dict[str, Any]:
        all_known = client.get("/api/uploads").json()["uploads"]
        return {one["sha256"]: one for one in all_known if one["state"] in ("done", "failed")}

    count = len(client.get("/api/uploads").json()["uploads"])
    assert until(lambda: len(known()) == count, LONG_S)
    return known()


def test_films_are_examined_and_nothing_else_happens(shell: Shell, tmp_path: Path) -> None:
    """A DICOM film, a picture and what is neither: verdicts, conditions, a heat map; no film, no delivery."""
    with signed_in(shell) as client:
        film = uploaded(client, a_dicom_film(tmp_path), "PATIENT^NAME.dcm")
        picture = uploaded(client, a_film(tmp_path), "<img src=x>.png")
        broken = uploaded(client, b"neither DICOM nor a picture", "notes.txt")
        states = ended(client)
        assert (states[film]["state"], states[picture]["state"]) == ("done", "done")
        assert states[broken]["state"] == "failed"
        assert "no picture" in states[broken]["error"]
        page = client.get(f"/upload?file={picture}").text
        assert "&lt;img src=x&gt;.png" in page
        assert "anatomy" in page
        assert client.get(f"/upload/{picture}/film.png").content.startswith(b"\x89PNG")
        assert (states[picture]["act"], states[film]["words"]) == ("pass", "to correct")
        assert "Pneumothorax" in page
        assert "The copy for AI would be turned 270 degrees clockwise" in client.get(f"/upload/{film}").text
        assert shell.ledger.films() == []
        assert shell.ledger.digests() == set()
        assert client.delete(f"/api/uploads/{film}").json()["uploads"][0]["sha256"] != film
        assert client.get(f"/upload/{film}").status_code == 404
        assert client.delete("/api/uploads").json() == {"uploads": []}


@pytest.fixture
def examined(shelf: Shelf, tmp_path: Path) -> Iterator[Callable[..., Examiner]]:
    """Starts an examiner of the shelf; it ends with the test."""
    running: list[Examiner] = []

    def start(**patience: float) -> Examiner:
        examiner = Examiner(Settings(state=tmp_path), shelf, replace(Patience(), **patience))
        running.append(examiner)
        examiner.start()
        return examiner

    yield start
    for examiner in running:
        examiner.close()


def of_state(shelf: Shelf, key: str) -> State:
    upload = shelf.get(ANN, key)
    assert upload is not None
    return upload.state


@pytest.mark.slow
def test_a_child_that_crashes_or_hangs_fails_its_file_and_the_others_go_on(
    shelf: Shelf, tmp_path: Path, examined: Callable[..., Examiner]
) -> None:
    first, second = laid(shelf, a_film(tmp_path, 1)), laid(shelf, a_film(tmp_path, 2))
    examiner = examined(idle_s=0.2)
    assert until(lambda: examiner.pid is not None, LONG_S)
    os.kill(examiner.pid or 0, signal.SIGSEGV)  # while it loads: the file in hand is the first
    assert until(lambda: of_state(shelf, second) is State.DONE, LONG_S)
    assert of_state(shelf, first) is State.FAILED
    assert "crashed" in (shelf.of(ANN)[-2].error + shelf.of(ANN)[-1].error)
    assert until(lambda: examiner.pid is None, LONG_S)  # idle: torch is gone with it


def test_a_child_that_hangs_is_not_waited_for(
    shelf: Shelf, tmp_path: Path, examined: Callable[..., Examiner]
) -> None:
    key = laid(shelf, a_film(tmp_path))
    examiner = examined(load_s=0.5)
    assert until(lambda: examiner.pid is not None, LONG_S)
    os.kill(examiner.pid or 0, signal.SIGSTOP)
    assert until(lambda: of_state(shelf, key) is State.FAILED, LONG_S)
    upload = shelf.get(ANN, key)
    assert upload is not None
    assert "did not come to an end" in upload.error


def test_what_was_not_examined_is_at_the_next_start(
    shelf: Shelf, tmp_path: Path, examined: Callable[..., Examiner]
) -> None:
    """Whatever it had time for before: no file is forgotten, and none failed."""
    keys = [laid(shelf, a_film(tmp_path, seed)) for seed in range(8)]
    examiner = examined()
    assert until(lambda: any(of_state(shelf, key) is State.EXAMINING for key in keys), LONG_S)
    examiner.close()
    left = [key for key in keys if of_state(shelf, key) is not State.DONE]
    assert left
    assert {of_state(shelf, key) for key in left} <= {State.EXAMINING, State.QUEUED}
    assert sorted(upload.sha256 for _, upload in shelf.queued()) == sorted(left)


def test_the_console_loads_nothing_that_its_child_is_for() -> None:
    """Neither to serve the page nor to read cards of models."""
    code = (
        "import sys, gateway.console.app; "
        "print(*set(sys.modules) & {'torch', 'monai', 'scipy', 'sklearn', 'onnxruntime', 'ncnn'})"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == []
