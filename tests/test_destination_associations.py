"""Associations with a destination: those that are not had, and those that break."""

from __future__ import annotations

import socket
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from dicom_destination import Connect, connect
from pydicom.uid import (
    ExplicitVRLittleEndian,
)
from pynetdicom import AllStoragePresentationContexts
from storage_peers import (
    CR,
    DX,
    WAIT_S,
    accept,
    answer,
    dataset_of,
    kept,
    raw_peer,
    storage_scp,
    take_message,
    take_pdu,
)
from structlog.testing import capture_logs

from gateway.destinations import build, dicom
from gateway.destinations.dicom import Duplicate
from gateway.errors import (
    Busy,
    DeliveryError,
    Refused,
    SettingsError,
    Unreachable,
)
from gateway.settings import DicomDestination as DicomSettings
from gateway.upper_layer.association import Interrupted, Unwelcome

__all__ = ["connect"]


def test_nobody_listens(connect: Connect, free_port: int, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="connection refused"):
        connect(free_port).deliver(*kept(tmp_path, b"12"))


@pytest.mark.parametrize("host", ["nobody.invalid", "no..host"])
def test_no_such_host(free_port: int, tmp_path: Path, host: str) -> None:
    """The second is no name at all: settings refuse it first, and the resolver raises UnicodeError."""
    there = DicomSettings(ae_title="ARCHIVE", port=free_port).model_copy(update={"host": host})
    with (
        closing(build("archive", there, "FILMGATE")) as destination,
        pytest.raises(Unreachable, match="cannot be reached"),
    ):
        destination.deliver(*kept(tmp_path, b"12"))


def test_our_ae_title_is_not_known(connect: Connect, free_port: int, tmp_path: Path) -> None:
    with (
        storage_scp(free_port, require_calling_aet=["ELSE"]),
        pytest.raises(Unwelcome, match="does not know our AE title"),
    ):
        connect(free_port).deliver(*kept(tmp_path, b"12"))


def test_its_limit_is_reached(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """pynetdicom's local limit is transient; so is congestion that a peer calls permanent."""
    with storage_scp(free_port, maximum_associations=1):
        first, second = connect(free_port), connect(free_port)
        first.deliver(*kept(tmp_path, b"12"))  # and keeps its association
        with pytest.raises(Busy, match="limit of associations"):
            second.deliver(*kept(tmp_path, b"12"))

    def congested(connection: socket.socket) -> None:
        take_pdu(connection)
        connection.sendall(bytes.fromhex("030000000004 00010301"))

    with raw_peer(congested) as port, pytest.raises(Busy, match="congestion"):
        connect(port).deliver(*kept(tmp_path, b"12"))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not DICOM"),
        (bytes.fromhex("0200ffffffff"), "not DICOM"),
        (bytes.fromhex("07000000000400000200"), "aborted"),
        (bytes.fromhex("02000000004a") + bytes(68) + bytes.fromhex("210000ff0000"), "not DICOM"),
        (bytes.fromhex("02000000004a") + bytes(68) + bytes.fromhex("9900ffff0000"), "not DICOM"),
        (bytes.fromhex("02000000004a") + bytes(68) + bytes.fromhex("210000020100"), "not DICOM"),
        (bytes.fromhex("020000000028") + bytes(40), "not DICOM"),
    ],
)
def test_what_answers_is_no_scp(connect: Connect, tmp_path: Path, answer: bytes, text: str) -> None:
    def script(connection: socket.socket) -> None:
        take_pdu(connection)
        connection.sendall(answer)

    with raw_peer(script) as port, pytest.raises(Unreachable, match=text) as raised:
        connect(port).deliver(*kept(tmp_path, b"12"))
    assert not isinstance(raised.value, Interrupted)


@pytest.mark.parametrize(
    ("more", "user"),
    [
        (b"\x99\0\0\3abc\0\0\0\0", b""),
        (b"\x20\0\0\0\x10\0\0\2\xff\xff", b""),
        (bytes.fromhex("21000008 63000300 40000000"), b""),
        (bytes.fromhex("21000009 63000300 40000001 ff"), b""),
        (bytes.fromhex("21000009 63000000 30000001 31"), b""),
        (b"", b"\x5a\0\0\1x\0\0\0\0"),
        (b"", b"\x55\0\0\6Ger\xe4t2" + b"\x52\0\0\1\xff"),
        (b"", b"\x55\0\0\x28" + b"X" * 40),
        (b"", bytes.fromhex("53000000 54000000 56000000 57000000 58000000 59000000")),
        (b"", b"\x54\0\0\x09\0\5" + b"1.2.3" + b"\7\7"),
    ],
)
def test_items_of_an_answer_that_we_do_not_use_are_skipped(
    connect: Connect, tmp_path: Path, more: bytes, user: bytes
) -> None:
    """Ignored and skipped (PS3.8 section 9.3.1): unknown ones, odd ones, contexts that are not accepted."""
    taken: list[bytes] = []

    def script(connection: socket.socket) -> None:
        accept(connection, more=more, user=user)
        taken.append(take_message(connection))
        answer(connection, taken[-1])

    with raw_peer(script) as port:
        connect(port).deliver(*kept(tmp_path, b"12"))
    assert len(taken) == 1


def test_an_ae_title_must_be_ascii() -> None:
    """Settings refuse such a title first; what is built without them does so too."""
    titled = DicomSettings(ae_title="ARCHIV", port=1).model_copy(update={"ae_title": "ÄRCHIV"})
    with pytest.raises(SettingsError, match="ASCII"):
        build("archive", titled, "FILMGATE")


def test_a_uid_that_is_none_is_refused(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """It would spoil the association for every other object."""
    path, delivery = kept(tmp_path, b"12")
    path.write_bytes(path.read_bytes().replace(b"1.2.3.4", b"../../x"))
    with pytest.raises(Refused, match="not a UID"):
        connect(free_port).deliver(path, delivery)


def test_one_association_for_many_objects(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """It stays open between deliveries, and is released when it was idle for long enough."""
    with storage_scp(free_port) as peer:
        destination = connect(free_port)
        for number in range(5):
            destination.deliver(*kept(tmp_path, b"12", uid=f"1.2.{number}"))
        destination.rest()
        assert not peer.released.is_set()
        assert peer.accepted == 1


def test_an_idle_association_is_released(
    connect: Connect, free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom, "IDLE_S", 0.0)
    with storage_scp(free_port) as peer:
        destination = connect(free_port)
        destination.deliver(*kept(tmp_path, b"12"))
        destination.rest()
        assert peer.released.wait(WAIT_S)


def test_another_kind_gets_an_association_with_both(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """A context that is missing costs one new association; after that both kinds share it."""
    first, second = kept(tmp_path, b"12"), kept(tmp_path, b"34", uid="1.2.9", sop_class=CR)
    with storage_scp(free_port, {DX: [ExplicitVRLittleEndian], CR: [ExplicitVRLittleEndian]}) as peer:
        destination = connect(free_port)
        for path, delivery in (first, second, first, second):
            destination.deliver(path, delivery)
    assert (len(peer.datasets), peer.accepted) == (4, 2)


def test_more_kinds_than_one_association_takes(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """Of 70 SOP classes the ones used last are proposed, 128 contexts at most."""
    storage = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    images = [uid for uid in storage if uid.startswith("1.2.840.10008.5.1.4.1.1.")]
    classes = {uid: [str(ExplicitVRLittleEndian)] for uid in images[:70]}
    with storage_scp(free_port, classes) as peer:
        destination = connect(free_port)
        for sop_class in classes:
            destination.deliver(*kept(tmp_path, b"12", sop_class=sop_class))
    assert len(peer.datasets) == 70


def test_a_peer_that_came_back_is_noticed_at_once(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """An association that the peer ended while it was idle is replaced, without an error."""
    destination = connect(free_port)
    with storage_scp(free_port) as before:
        destination.deliver(*kept(tmp_path, b"12"))
    with storage_scp(free_port) as after:
        destination.deliver(*kept(tmp_path, b"34"))
    assert (before.datasets, after.datasets) == ([b"12"], [b"34"])


def test_a_pooled_association_that_breaks_is_tried_once_more(connect: Connect, tmp_path: Path) -> None:
    """The second object meets a peer that drops the connection; a fresh association delivers it."""
    connections: list[int] = []

    def drops_the_second(connection: socket.socket) -> None:
        connections.append(1)
        accept(connection)
        answer(connection, take_message(connection))
        if len(connections) == 1:
            take_pdu(connection)
            return
        answer(connection, take_message(connection))

    with raw_peer(drops_the_second) as port:
        destination = connect(port)
        destination.deliver(*kept(tmp_path, b"12"))
        destination.deliver(*kept(tmp_path, b"12" * 100_000))
    assert len(connections) == 2


def test_a_fresh_association_that_breaks_is_unreachable(connect: Connect, tmp_path: Path) -> None:
    """No second try at once: the object itself may be what the peer cannot stand."""
    connections: list[int] = []

    def aborts(connection: socket.socket) -> None:
        connections.append(1)
        accept(connection)
        take_message(connection)
        connection.sendall(bytes.fromhex("07000000000400000201"))

    with raw_peer(aborts) as port, pytest.raises(Interrupted, match="DICOM layer aborted"):
        connect(port).deliver(*kept(tmp_path, b"12"))
    assert len(connections) == 1


def test_an_object_that_had_arrived_is_delivered(connect: Connect, tmp_path: Path) -> None:
    """The pooled association ends before the answer; on the next one the peer says 0x0111, it is there."""
    connections: list[int] = []

    def answers_too_late(connection: socket.socket) -> None:
        connections.append(1)
        accept(connection)
        if len(connections) == 1:
            answer(connection, take_message(connection))
            take_message(connection)
            return
        answer(connection, take_message(connection), 0x0111)

    with raw_peer(answers_too_late) as port, capture_logs() as logs:
        destination = connect(port)
        destination.deliver(*kept(tmp_path, b"12"))
        destination.deliver(*kept(tmp_path, b"34", uid="1.2.9"))
    (warning,) = [entry for entry in logs if entry["event"] == "the peer had it already"]
    assert "0x0111" in warning["status"]


@pytest.mark.parametrize(("whole", "unanswered"), [(True, True), (False, False)])
def test_only_what_was_sent_whole_may_have_arrived(
    connect: Connect, tmp_path: Path, whole: bool, unanswered: bool
) -> None:
    """An object of which the peer got a part cannot be what it has."""

    def breaks(connection: socket.socket) -> None:
        accept(connection)
        if whole:
            take_message(connection)
        else:
            connection.recv(1000)

    with raw_peer(breaks) as port, pytest.raises(Interrupted) as raised:
        connect(port).deliver(*kept(tmp_path, bytes(50_000_000)))
    assert raised.value.unanswered is unanswered


def test_a_duplicate_is_delivered_unless_it_may_be_another_version(
    connect: Connect, free_port: int, tmp_path: Path
) -> None:
    """The archive has the original; an AI has it when an earlier try sent it and got no answer."""
    path, delivery = kept(tmp_path, b"12")
    to_ai = replace(delivery, kind="ai")
    with storage_scp(free_port) as peer:
        peer.status = 0x0111
        destination = connect(free_port)
        destination.deliver(path, delivery)
        destination.deliver(path, replace(to_ai, unanswered=True))
        for other in (to_ai, replace(delivery, sole=False), replace(to_ai, unanswered=True, sole=False)):
            with pytest.raises(Duplicate, match="there already"):
                destination.deliver(path, other)


def test_closing_breaks_off_what_is_under_way(connect: Connect, tmp_path: Path) -> None:
    """A stop need not wait for a peer that hangs."""
    sent = threading.Event()

    def hangs(connection: socket.socket) -> None:
        accept(connection)
        take_message(connection)
        sent.set()
        connection.recv(1)

    errors: list[DeliveryError] = []
    with raw_peer(hangs) as port:
        destination = connect(port)

        def deliver() -> None:
            try:
                destination.deliver(*kept(tmp_path, b"12"))
            except DeliveryError as error:
                errors.append(error)

        thread = threading.Thread(target=deliver)
        thread.start()
        assert sent.wait(WAIT_S)
        destination.close()
        thread.join(WAIT_S)
    assert isinstance(errors[0], Interrupted)
    with pytest.raises(Unreachable, match="stopping"):
        destination.deliver(*kept(tmp_path, b"12"))


@pytest.mark.parametrize(
    "answer",
    [
        bytes.fromhex("040000000006 00000002 0103"),  # an empty command set
        bytes.fromhex("040000000006 000000ff 0103"),  # a fragment longer than its PDU
        bytes.fromhex("040000000006 00000002 0102"),  # a dataset
        bytes.fromhex("050000000004 00000000"),  # A-RELEASE-RQ in the middle of an operation
        bytes.fromhex("0400000fffff"),  # longer than we offered to take
    ],
)
def test_a_response_that_is_none(connect: Connect, tmp_path: Path, answer: bytes) -> None:
    def script(connection: socket.socket) -> None:
        accept(connection)
        take_message(connection)
        connection.sendall(answer)
        connection.recv(1)

    with raw_peer(script) as port, pytest.raises(Interrupted):
        connect(port).deliver(*kept(tmp_path, b"12"))


def test_a_response_to_another_message(connect: Connect, tmp_path: Path) -> None:
    """It says nothing about ours."""

    def script(connection: socket.socket) -> None:
        accept(connection)
        take_message(connection)
        answer(connection, b"\x63\x00")
        connection.recv(1)

    with raw_peer(script) as port, pytest.raises(Interrupted, match="another message"):
        connect(port).deliver(*kept(tmp_path, b"12"))


def test_many_threads_share_a_destination(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """Each has an association for itself; each object arrives once."""
    jobs = [kept(tmp_path, bytes([number] * 1000), uid=f"1.2.{number}") for number in range(12)]
    with storage_scp(free_port) as peer:
        destination = connect(free_port, associations=3)
        parts = [jobs[first::3] for first in range(3)]
        threads = [
            threading.Thread(target=lambda p=p: [destination.deliver(*job) for job in p]) for p in parts
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
    assert sorted(peer.datasets) == sorted(dataset_of(path) for path, _ in jobs)
    assert peer.accepted <= 3
