"""`filmgate send` and `filmgate echo`: what is sent, what is not, and what is said about it."""

from __future__ import annotations

import socket
from io import BytesIO
from pathlib import Path

import pytest
from dicom_files import change, dx, part10, ramp, real_files
from pydicom import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless
from storage_peers import (
    CR,
    DX,
    accept,
    dataset_of,
    dcmtk_storescp,
    kept,
    raw_peer,
    storage_scp,
    take_pdu,
)

from gateway.destinations import scu
from gateway.errors import FilmgateError, Refused, Rejected, Unreachable
from gateway.store import file_meta

BOTH = {DX: [ExplicitVRLittleEndian, ImplicitVRLittleEndian], CR: [ExplicitVRLittleEndian]}


def film(folder: Path, number: int) -> Path:
    path = folder / f"{number}.dcm"
    path.write_bytes(part10(change(dx(ramp()), SOPInstanceUID=f"1.2.{number}")))
    return path


def sent(port: int, *paths: Path, **options: object) -> list[scu.SentResult]:
    return list(scu.send(paths, "127.0.0.1", port, "ARCHIVE", **options))  # type: ignore[arg-type]


# Targets and echo


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("ARCHIVE@10.0.0.7:104", ("ARCHIVE", "10.0.0.7", 104)),
        ("A B-C@pacs.example:11112", ("A B-C", "pacs.example", 11112)),
        ("X@[::1]:104", ("X", "::1", 104)),
    ],
)
def test_targets(text: str, parts: tuple[str, str, int]) -> None:
    target = scu.parse_target(text)
    assert (target.ae_title, target.host, target.port) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ARCHIVE",
        "ARCHIVE@host",
        "@host:1",
        "A@:1",
        "A@h:0",
        "A@h:65536",
        "A@h:x",
        "A" * 17 + "@h:1",
        "A@h:²",
    ],
)
def test_no_targets(text: str) -> None:
    with pytest.raises(FilmgateError, match="AET@HOST:PORT"):
        scu.parse_target(text)


def test_echo(free_port: int) -> None:
    with storage_scp(free_port):
        result = scu.echo("127.0.0.1", free_port, "ARCHIVE", calling="TEST")
    assert result.ok
    assert result.elapsed_ms > 0


def test_echo_without_an_answer(free_port: int) -> None:
    with pytest.raises(Unreachable, match="connection refused"):
        scu.echo("127.0.0.1", free_port, "ARCHIVE")


def test_echo_of_a_stranger(free_port: int) -> None:
    with storage_scp(free_port, require_calling_aet=["ELSE"]), pytest.raises(Rejected):
        scu.echo("127.0.0.1", free_port, "ARCHIVE")


def test_a_peer_without_verification() -> None:
    """It associates, but accepts no context."""

    def script(connection: socket.socket) -> None:
        take_pdu(connection)
        connection.sendall(bytes.fromhex("02000000004c") + bytes(68) + bytes.fromhex("2100000401000300"))
        connection.recv(1)

    with raw_peer(script) as port, pytest.raises(Refused, match="Verification"):
        scu.echo("127.0.0.1", port, "ARCHIVE", timeout_s=2)


# Sending


def test_files_and_folders_are_sent_as_they_are(free_port: int, tmp_path: Path) -> None:
    """In order, on one association, each with its own bytes; progress counts them."""
    (tmp_path / "sub").mkdir()
    paths = [film(tmp_path, 1), film(tmp_path, 2), film(tmp_path / "sub", 3)]
    steps: list[tuple[int, int]] = []
    with storage_scp(free_port, BOTH) as peer:
        results = sent(free_port, tmp_path, on_progress=lambda done, total: steps.append((done, total)))
    assert [result.path for result in results] == paths
    assert [(result.status, result.ok) for result in results] == [(0, True)] * 3
    assert peer.uids == ["1.2.1", "1.2.2", "1.2.3"]
    assert peer.datasets == [dataset_of(path) for path in paths]
    assert (peer.accepted, steps) == (1, [(1, 3), (2, 3), (3, 3)])


@pytest.mark.dcmtk
def test_real_files_reach_dcmtk_bit_by_bit(free_port: int, tmp_path: Path) -> None:
    """Whatever transfer syntax they have, storescp stores the same dataset."""
    paths = [path for path in real_files(".dcm") if path.stat().st_size < 3_000_000][:40]
    if not paths:
        pytest.skip("no real files beside the repository")
    with dcmtk_storescp(free_port, tmp_path / "out", "+B", "+xa", "+uf") as out:
        results = sent(free_port, *paths)
        stored = {dataset_of(path) for path in out.iterdir()}
    good = [result for result in results if result.ok]
    assert len(good) > len(paths) / 2
    for result in good:
        whole = result.path.read_bytes()
        whole += bytes(len(whole) % 2)
        assert any(whole.endswith(dataset) for dataset in stored), result.path.name


def test_text_named_dcm_is_told(free_port: int, tmp_path: Path) -> None:
    """Nothing is sent of it, and the next file is."""
    text = tmp_path / "0.dcm"
    text.write_text("This is a shopping list, not a film. " * 20)
    with storage_scp(free_port, BOTH) as peer:
        bad, good = sent(free_port, text, film(tmp_path, 1))
    assert (bad.ok, bad.status, bad.sop_instance_uid) == (False, None, "")
    assert bad.text.startswith("not DICOM: no DICM prefix")
    assert "nothing was sent" in bad.text
    assert good.ok
    assert len(peer.datasets) == 1


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "no DICM prefix"),
        (bytes(128) + b"DICM", "not DICOM"),
        (bytes(128) + b"DICM" + bytes.fromhex("02000200554940001234"), "cut off"),
        (bytes(132), "no DICM prefix"),
        (file_meta("1.2.840.10008.5.1.4.1.1.1", "", "1.2.840.10008.1.2.1"), "UID is missing"),
        (file_meta("1.2.840.10008.1.3.10", "1.2.3", "1.2.840.10008.1.2.1"), "a DICOMDIR"),
    ],
)
def test_other_files_that_hold_no_object(free_port: int, tmp_path: Path, data: bytes, text: str) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(data)
    (result,) = sent(free_port, path)
    assert text in result.text
    assert result.text.endswith("nothing was sent")


def test_a_file_that_is_not_there(free_port: int, tmp_path: Path) -> None:
    (result,) = sent(free_port, tmp_path / "none.dcm")
    assert result.text == "cannot be read: no such file or directory; nothing was sent"


@pytest.mark.parametrize("implicit", [True, False])
def test_a_dataset_without_group_2(free_port: int, tmp_path: Path, implicit: bool) -> None:
    """Old files begin with group 8; their transfer syntax shows in the first element."""
    ds = dx(ramp())
    written = BytesIO()
    dcmwrite(written, ds, implicit_vr=implicit, little_endian=True)
    path = tmp_path / "bare.dcm"
    path.write_bytes(written.getvalue())
    with storage_scp(free_port, BOTH) as peer:
        (result,) = sent(free_port, path)
    assert result.ok
    assert peer.datasets == [written.getvalue()]
    assert peer.syntaxes == [ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian]


def test_the_dataset_knows_its_uid_best(free_port: int, tmp_path: Path) -> None:
    """Anonymisers forget group 2; the SCP compares with the dataset."""
    path = film(tmp_path, 7)
    path.write_bytes(path.read_bytes().replace(b"1.2.7\0", b"1.2.8\0", 1))
    with storage_scp(free_port, BOTH) as peer:
        (result,) = sent(free_port, path)
    assert peer.uids == [result.sop_instance_uid] == ["1.2.7"]


def test_hidden_files_and_dicomdir_are_left_out(free_port: int, tmp_path: Path) -> None:
    for name in (".hidden.dcm", "DICOMDIR"):
        film(tmp_path, 1).rename(tmp_path / name)
    assert sent(free_port, tmp_path) == []


def test_what_the_peer_does_not_take(free_port: int, tmp_path: Path) -> None:
    """The text names class and transfer syntax; the other file goes."""
    path, _ = kept(tmp_path, b"1234", syntax=JPEGLSLossless)
    with storage_scp(free_port, BOTH):
        bad, good = sent(free_port, path, film(tmp_path, 1))
    assert "takes no Digital X-Ray Image Storage" in bad.text
    assert "JPEG-LS" in bad.text
    assert good.ok


@pytest.mark.parametrize(
    ("status", "ok"), [(0xB000, True), (0xA700, False), (0xC000, False), (0x0124, False)]
)
def test_the_answer_is_handed_on(free_port: int, tmp_path: Path, status: int, ok: bool) -> None:
    answer = Dataset()
    answer.Status, answer.ErrorComment = status, "shelf is full"
    with storage_scp(free_port, BOTH) as peer:
        peer.status = answer
        (result,) = sent(free_port, film(tmp_path, 1))
    assert (result.status, result.ok) == (status, ok)
    assert f"0x{status:04X}" in result.text
    assert "shelf is full" in result.text


def test_an_abort_costs_one_file(tmp_path: Path) -> None:
    """The next file goes on a new association."""
    count: list[int] = []

    def aborts(connection: socket.socket) -> None:
        count.append(1)
        accept(connection)
        take_pdu(connection)
        connection.sendall(bytes.fromhex("07000000000400000200"))

    with raw_peer(aborts) as port:
        results = sent(port, film(tmp_path, 1), film(tmp_path, 2))
    assert ["aborted" in result.text or "broke" in result.text for result in results] == [True, True]
    assert len(count) == 2


def test_a_dead_peer_is_asked_once(tmp_path: Path) -> None:
    """A thousand files do not wait for a thousand timeouts."""
    count: list[int] = []

    def rejects(connection: socket.socket) -> None:
        count.append(1)
        take_pdu(connection)
        connection.sendall(bytes.fromhex("030000000004 00020302"))

    with raw_peer(rejects) as port:
        results = sent(port, *(film(tmp_path, number) for number in range(5)))
    assert {result.text for result in results} == {
        "the peer rejects the association: its limit of associations is reached"
    }
    assert len(count) == 1


def test_more_kinds_than_contexts(free_port: int, tmp_path: Path) -> None:
    """150 kinds of objects need two associations, and every one is sent."""
    syntaxes = [f"1.2.826.0.1.7.{number}" for number in range(150)]
    for number, syntax in enumerate(syntaxes):
        kept(tmp_path, b"12", uid=f"1.2.{number}", syntax=syntax)
    with storage_scp(free_port, {DX: syntaxes}) as peer:
        results = sent(free_port, tmp_path)
    assert all(result.ok for result in results)
    assert (len(peer.datasets), peer.accepted) == (150, 2)
