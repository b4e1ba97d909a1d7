"""A test of a destination says in words what happened, what it means, and what to do; and always ends."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import evt
from storage_peers import dcmtk_storescp, raw_peer, storage_scp, take_pdu

from gateway.destinations import trial as trial_module
from gateway.destinations.trial import Trial, try_destination
from gateway.settings import Settings
from models.classifiers import terms


def tried(tmp_path: Path, **block: Any) -> Trial:
    kind = {"kind": "dicom", "ae_title": "ARCHIVE", "timeout_s": 1.0} if "kind" not in block else {}
    settings = Settings.model_validate({"state": tmp_path, "destinations": {"one": {**kind, **block}}})
    return try_destination("one", settings)


@pytest.mark.dcmtk
def test_a_receiver_that_answers(tmp_path: Path, free_port: int) -> None:
    with dcmtk_storescp(free_port, tmp_path / "got"):
        told = tried(tmp_path, port=free_port)
    assert told.ok
    assert "ARCHIVE at 127.0.0.1" in told.what
    assert "accepts us as FILMGATE and answers C-ECHO" in told.what
    assert "Films can be sent" in told.meaning


def test_a_receiver_that_does_not_know_us(tmp_path: Path, free_port: int) -> None:
    """Rejected with the reason of PS3.8 table 9-21, and what to have entered there."""
    with storage_scp(free_port, require_calling_aet=["SOMEBODY"]):
        told = tried(tmp_path, port=free_port)
    assert not told.ok
    assert "rejects our association: it does not know our AE title" in told.what
    assert "our AE title FILMGATE" in told.advice
    with storage_scp(free_port, require_called_aet=True):
        told = tried(tmp_path, port=free_port, ae_title="OTHER")
    assert "does not answer to this AE title" in told.what
    assert "its own AE title is OTHER" in told.advice


def test_nobody_listens(tmp_path: Path, free_port: int) -> None:
    told = tried(tmp_path, port=free_port)
    assert "nobody listens on port" in told.what
    assert "nothing is lost" in told.meaning


def test_a_name_that_no_machine_has(tmp_path: Path) -> None:
    told = tried(tmp_path, host="no-such-machine.invalid", port=104)
    assert told.what == "no machine is called no-such-machine.invalid"


def test_somebody_listens_who_is_no_receiver(tmp_path: Path) -> None:
    """One says nothing, the other speaks another protocol."""
    silent = threading.Event()
    with raw_peer(lambda _: assert_set(silent)) as port:
        told = tried(tmp_path, port=port, timeout_s=0.2)
        silent.set()
    assert "takes the connection and says nothing" in told.what
    with raw_peer(speaks_http) as port:
        told = tried(tmp_path, port=port)
    assert "not as a DICOM receiver does" in told.what


def assert_set(event: threading.Event) -> None:
    assert event.wait(20)


def speaks_http(peer: socket.socket) -> None:
    take_pdu(peer)
    peer.sendall(b"HTTP/1.1 400 Bad\r\n\r\n")


def test_a_receiver_in_trouble(tmp_path: Path, free_port: int) -> None:
    """It answers C-ECHO, and with a failure."""
    from pynetdicom import AE

    ae = AE("ARCHIVE")
    ae.add_supported_context("1.2.840.10008.1.1")
    server = ae.start_server(
        ("127.0.0.1", free_port), block=False, evt_handlers=[(evt.EVT_C_ECHO, lambda _: 0x0210)]
    )
    try:
        assert "answers C-ECHO with status 0x0210" in tried(tmp_path, port=free_port).what
    finally:
        server.shutdown()


def test_no_trial_takes_longer_than_its_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name service that hangs cannot be told to hurry; whoever asked is answered all the same."""
    hangs = threading.Event()
    monkeypatch.setattr(trial_module, "_dicom", lambda *_: hangs.wait(20))
    settings = Settings.model_validate(
        {"state": tmp_path, "destinations": {"one": {"kind": "dicom", "ae_title": "A", "port": 104}}}
    )
    told = try_destination("one", settings, deadline_s=0.1)
    hangs.set()
    assert (told.ok, told.what) == (False, "no result within 0.1 s")
    assert told.elapsed_ms < 10_000


def test_a_folder_and_a_web_address(tmp_path: Path, free_port: int) -> None:
    """Nothing is left in the folder, and nothing is sent to the address."""
    assert "no such file" in tried(tmp_path, kind="folder", path=str(tmp_path / "gone")).what
    assert tried(tmp_path, kind="folder", path=str(tmp_path)).ok
    assert list(tmp_path.iterdir()) == []
    url = f"http://127.0.0.1:{free_port}/results?token=secret"
    told = tried(tmp_path, kind="webhook", url=url)
    assert not told.ok
    assert "secret" not in str(told)


def test_a_classifier_is_opened_elsewhere(tmp_path: Path) -> None:
    """One that is whole, and one whose weights are not those of its card: that is seen without opening it."""
    told = tried(tmp_path, kind="classifier", bundle="chest14")
    assert told.ok, told
    copy = tmp_path / "copy"
    whole = terms.folder("chest14")
    for path in whole.rglob("*"):
        target = copy / path.relative_to(whole)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes() + (b"\0" if path.suffix == ".safetensors" else b""))
    told = tried(tmp_path, kind="classifier", bundle=str(copy))
    assert (told.ok, told.what) == (False, "its weights are not the ones its card names")
    assert "not read" in told.meaning
