"""Sending to a storage SCP: the object's own bytes, each failure in its class, associations reused."""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np
import pytest
from dicom_files import change, dx, part10, ramp
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
)
from pynetdicom import AllStoragePresentationContexts
from storage_peers import (
    CR,
    DX,
    WAIT_S,
    accept,
    answer,
    dataset_of,
    dcmtk_storescp,
    kept,
    raw_peer,
    small_disk,
    storage_scp,
    take_message,
    take_pdu,
)
from structlog.testing import capture_logs

from gateway.destinations import DicomDestination, build, dicom, transcode
from gateway.destinations.dicom import Duplicate, NotAccepted, OutOfResources
from gateway.destinations.transcode import NotTranscodedNow, Transcoder
from gateway.errors import (
    Busy,
    Damaged,
    Declined,
    DeliveryError,
    Refused,
    Rejected,
    SettingsError,
    Unreachable,
)
from gateway.ledger.records import Delivery
from gateway.settings import DicomDestination as DicomSettings
from gateway.store import read_meta
from gateway.upper_layer import association
from gateway.upper_layer.association import Interrupted, TimedOut, Unwelcome
from pipelines.decode import decode_film

Connect = Callable[..., DicomDestination]
SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGLosslessSV1,
    JPEG2000Lossless,
    "1.2.826.0.1.3680043.9.9",
]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes destinations at a port, and closes them."""
    made: list[DicomDestination] = []

    def connected(port: int, **settings: object) -> DicomDestination:
        block = DicomSettings(ae_title="ARCHIVE", port=port, **settings)  # type: ignore[arg-type]
        destination = build("archive", block, "FILMGATE")
        assert isinstance(destination, DicomDestination)
        made.append(destination)
        return destination

    yield connected
    for one in made:
        one.close()


def encoded(ds: Dataset, syntax: str, frames: list[bytes] | None = None) -> bytes:
    """The dataset bytes that pydicom writes."""
    file = BytesIO(part10(ds, syntax, frames=frames))
    read_meta(file)
    return file.read()


# The bytes


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_bytes_go_out_as_they_lie(connect: Connect, free_port: int, tmp_path: Path, syntax: str) -> None:
    """Nobody parses the dataset on the way: it need not even be one."""
    data = bytes(np.random.default_rng(1).integers(0, 256, 300_002, dtype=np.uint8))
    path, delivery = kept(tmp_path, data, syntax=syntax)
    with storage_scp(free_port, {DX: SYNTAXES}) as peer:
        connect(free_port).deliver(path, delivery)
    assert (peer.datasets, peer.syntaxes, peer.uids) == ([data], [syntax], [delivery.sop_instance_uid])


@pytest.mark.dcmtk
def test_dcmtk_keeps_what_the_modality_sent(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """storescp in bit-preserving mode has the same dataset, though pydicom would write it otherwise."""
    sequence = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + bytes.fromhex(
        "feffdde000000000"
    )
    plain = encoded(dx(ramp(500, 400)), ExplicitVRLittleEndian)
    cut = plain.index(struct.pack("<HH", 0x0008, 0x2218))  # AnatomicRegionSequence
    path, delivery = kept(tmp_path, plain[:cut] + sequence + plain[cut:])
    with dcmtk_storescp(free_port, tmp_path / "out", "+B") as out:
        connect(free_port).deliver(path, delivery)
        (stored,) = out.iterdir()
        assert dataset_of(stored) == dataset_of(path)


@pytest.mark.dcmtk
@pytest.mark.parametrize("size", [999, 1 << 20, (1 << 20) + 1, (1 << 21) - 1])
def test_an_odd_dataset_ends_with_a_nul(connect: Connect, free_port: int, tmp_path: Path, size: int) -> None:
    """A deflated dataset may have an odd length, a fragment may not: DCMTK aborts over one."""
    data = bytes(number % 251 + 1 for number in range(size))
    path, delivery = kept(tmp_path, data, syntax=DeflatedExplicitVRLittleEndian)
    with dcmtk_storescp(free_port, tmp_path / "out", "+B", "+xd") as out:
        connect(free_port).deliver(path, delivery)
        (stored,) = out.iterdir()
        assert dataset_of(stored) == data + bytes(size % 2)


@pytest.mark.parametrize("max_pdu", [512, 4097, 16382, 0])
def test_no_pdu_is_longer_than_the_peer_takes(
    connect: Connect, free_port: int, tmp_path: Path, max_pdu: int
) -> None:
    """P-DATA-TF PDUs keep to the maximum length of the A-ASSOCIATE-AC (PS3.8 D.1); 0 is any."""
    data = bytes(range(256)) * 1000
    path, delivery = kept(tmp_path, data)
    with storage_scp(free_port, max_pdu=max_pdu) as peer:
        connect(free_port).deliver(path, delivery)
    assert peer.datasets == [data]
    assert max(peer.pdu_lengths) <= (max_pdu or 256 * 1024 + 6)


def test_memory_does_not_grow_with_the_object(connect: Connect, tmp_path: Path) -> None:
    """64 MB go out through one block of 1 MB."""
    path, delivery = kept(tmp_path, bytes(64 << 20))
    with raw_peer(lambda c: _serve(c)) as port:
        destination = connect(port)
        tracemalloc.start()
        destination.deliver(path, delivery)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 6 << 20


# Other transfer syntaxes


def test_a_peer_of_another_syntax_gets_it_transcoded(
    connect: Connect, free_port: int, tmp_path: Path
) -> None:
    """JPEG-LS for a peer that takes Implicit VR Little Endian only: the same pixels under the same UID."""
    pixels = ramp(300, 200)
    data = encoded(dx(pixels), JPEGLSLossless, [imagecodecs.jpegls_encode(pixels)])
    path, delivery = kept(tmp_path, data, syntax=JPEGLSLossless)
    with storage_scp(free_port, {DX: [ImplicitVRLittleEndian]}) as peer:
        connect(free_port).deliver(path, delivery)
    assert peer.syntaxes == [ImplicitVRLittleEndian]
    got = dcmread(BytesIO(peer.datasets[0]), force=True)
    assert got.PixelData == pixels.tobytes()
    assert got.SOPInstanceUID == "1.2.3.4"


@pytest.mark.parametrize(
    "syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1]
)
def test_every_syntax_has_a_way_to_explicit(
    connect: Connect, free_port: int, tmp_path: Path, syntax: str
) -> None:
    """Big endian words are turned, deflate is inflated, codestreams are decoded; no other value changes."""
    pixels = ramp(60, 50)
    frames = None
    if syntax == JPEG2000Lossless:
        frames = [imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k")]
    elif syntax == JPEGLosslessSV1:
        frames = [imagecodecs.ljpeg_encode(pixels, bitspersample=16)]
    film = dx(pixels.byteswap() if syntax == ExplicitVRBigEndian else pixels)
    path, delivery = kept(tmp_path, encoded(film, syntax, frames), syntax=syntax)
    with storage_scp(free_port, {DX: [ExplicitVRLittleEndian]}) as peer:
        connect(free_port).deliver(path, delivery)
    assert peer.syntaxes == [ExplicitVRLittleEndian]
    got = dcmread(BytesIO(peer.datasets[0]), force=True)
    assert (got.PixelData, got.Rows, str(got.PatientName)) == (pixels.tobytes(), 60, "Film^Test")


def test_the_own_syntax_is_preferred(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """A peer that likes Implicit best, but takes JPEG-LS too, gets the bytes as they are."""
    path, delivery = kept(tmp_path, b"not to be looked at", syntax=JPEGLSLossless)
    with storage_scp(free_port, {DX: [ImplicitVRLittleEndian, JPEGLSLossless]}) as peer:
        connect(free_port).deliver(path, delivery)
    assert peer.syntaxes == [JPEGLSLossless]


def test_what_cannot_be_decoded_is_rejected(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """The text says what the peer does not take, and that there is no other way."""
    path, delivery = kept(tmp_path, encoded(dx(ramp()), JPEGLSLossless, [b"rubbish!"]), syntax=JPEGLSLossless)
    with storage_scp(free_port) as peer:  # noqa: SIM117 # the peer outlives the failure
        with pytest.raises(Rejected, match=r"takes no Digital X-Ray.*as it is.*could not be decoded"):
            connect(free_port).deliver(path, delivery)
    assert peer.datasets == []


@pytest.mark.dcmtk
@pytest.mark.parametrize("signed", [False, True])
def test_dcmtk_gets_the_pixels_that_were_gated(
    connect: Connect, free_port: int, tmp_path: Path, signed: bool
) -> None:
    """storescp that takes Implicit VR Little Endian alone: 8 bits in 16, twos complement, from JPEG 2000."""
    stored = ramp(300, 200, top=255).astype("<i2") - (128 if signed else 0)
    coded = (stored & 0xFF).astype("u1")
    bits = {"BitsStored": 8, "HighBit": 7, "PixelRepresentation": int(signed)}
    film = dx(stored, **bits, WindowCenter=0 if signed else 128, WindowWidth=256)
    frame = imagecodecs.jpeg2k_encode(coded, level=0, codecformat="j2k")
    path, delivery = kept(tmp_path, encoded(film, JPEG2000Lossless, [frame]), syntax=JPEG2000Lossless)
    with dcmtk_storescp(free_port, tmp_path / "out", "+xi") as out:
        connect(free_port).deliver(path, delivery)
        got = dcmread(next(out.iterdir()))
    assert got.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert got.PixelData == stored.tobytes()
    assert np.array_equal(decode_film(path).pixels, decode_film(part10(got, ImplicitVRLittleEndian)).pixels)


def jpegls(tmp_path: Path, pixels: np.ndarray, uid: str = "1.2.3.4") -> tuple[Path, Delivery]:
    data = encoded(dx(pixels), JPEGLSLossless, [imagecodecs.jpegls_encode(pixels)])
    return kept(tmp_path, data, uid=uid, syntax=JPEGLSLossless)


def test_one_decoder_makes_many_datasets(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """It lives on between films, and ends with the destination."""
    with storage_scp(free_port) as peer:
        destination = connect(free_port)
        for number in range(3):
            destination.deliver(*jpegls(tmp_path, ramp(60, 50 + number), f"1.2.3.{number}"))
        (transcoder,) = destination._transcoders
        pid = transcoder.pid
        destination.deliver(*jpegls(tmp_path, ramp(60, 50)))
        assert (len(peer.datasets), transcoder.pid) == (4, pid)
        destination.close()
    assert transcoder.pid is None


def test_memory_does_not_grow_with_what_is_decoded(tmp_path: Path) -> None:
    """48 MB of frames go from the decoder to a file, and from there to the peer, a block at a time."""
    frames = [np.full((2000, 1000), number, "<u2") for number in range(12)]
    film = change(dx(np.stack(frames), Rows=2000, Columns=1000), NumberOfFrames=12)
    data = encoded(film, JPEGLSLossless, [imagecodecs.jpegls_encode(frame) for frame in frames])
    path, _ = kept(tmp_path, data, syntax=JPEGLSLossless)
    with closing(Transcoder()) as transcoder:
        tracemalloc.start()
        with transcoder.transcode(path, ImplicitVRLittleEndian) as made:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            pixels = dcmread(made, force=True).PixelData
    assert pixels == np.stack(frames).tobytes()
    assert peak < 8 << 20


def test_an_idle_decoder_ends(connect: Connect, free_port: int, tmp_path: Path, monkeypatch) -> None:
    """It holds memory; the next film starts another one."""
    monkeypatch.setattr(dicom, "DECODER_IDLE_S", 0.0)
    with storage_scp(free_port) as peer:
        destination = connect(free_port)
        destination.deliver(*jpegls(tmp_path, ramp(60, 50)))
        (transcoder,) = destination._transcoders
        destination.rest()
        assert (destination._transcoders, transcoder.pid) == ([], None)
        destination.deliver(*jpegls(tmp_path, ramp(60, 50)))
    assert len(peer.datasets) == 2


@pytest.mark.parametrize("room", [100_000, 600_000])  # the last bytes fail only when they are flushed
def test_no_room_for_the_temporary_file_is_not_the_films_fault(
    connect: Connect, free_port: int, tmp_path: Path, room: int
) -> None:
    """The disk ends in the middle (here by a limit on file sizes): nothing is sent, later all of it is."""
    film, delivery = jpegls(tmp_path, ramp(600, 500))
    with storage_scp(free_port) as peer:
        destination = connect(free_port)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            with pytest.raises(NotTranscodedNow, match="temporary folder"):
                destination.deliver(film, delivery)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert peer.datasets == []
        destination.deliver(film, delivery)
    assert dcmread(BytesIO(peer.datasets[0]), force=True).PixelData == ramp(600, 500).tobytes()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_temporary_folder_costs_time_only(
    connect: Connect, free_port: int, tmp_path: Path, monkeypatch, unbuffered: str
) -> None:
    """A real disk of 1 MB for a film of 1.6 MB, with PYTHONUNBUFFERED as in a container and without."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    film, delivery = jpegls(tmp_path, ramp(900, 900))
    with storage_scp(free_port) as peer, small_disk(tmp_path / "small", 1024) as small:
        destination = connect(free_port)
        monkeypatch.setattr(tempfile, "tempdir", str(small))
        with pytest.raises(NotTranscodedNow, match="No space left"):
            destination.deliver(film, delivery)
        assert peer.datasets == []
        monkeypatch.setattr(tempfile, "tempdir", None)
        destination.deliver(film, delivery)
    assert dcmread(BytesIO(peer.datasets[0]), force=True).PixelData == ramp(900, 900).tobytes()


def test_what_became_shorter_on_its_way_is_not_sent(
    connect: Connect, free_port: int, tmp_path: Path, monkeypatch
) -> None:
    """The file lost its end, and no call said so: length and digest of what was made say it."""
    real = Transcoder._pour

    def short(self: Transcoder, fd: int, size: int, deadline: float, into: BinaryIO) -> None:
        real(self, fd, size, deadline, into)
        into.truncate(size - 512)

    monkeypatch.setattr(Transcoder, "_pour", short)
    with storage_scp(free_port) as peer:  # noqa: SIM117 # the peer outlives the failure
        with pytest.raises(NotTranscodedNow, match="not what was made"):
            connect(free_port).deliver(*jpegls(tmp_path, ramp(600, 500)))
    assert peer.datasets == []


def test_a_decoder_that_crashes_rejects_the_film(
    connect: Connect, free_port: int, tmp_path: Path, monkeypatch
) -> None:
    """Twice; then it is this film, and a person hears of it."""
    monkeypatch.setenv("FILMGATE_DECODER_TEST", "crash")
    with storage_scp(free_port) as peer:  # noqa: SIM117 # the peer outlives the failure
        with pytest.raises(Rejected, match=r"could not be decoded: the decoder crashed.*2 times"):
            connect(free_port).deliver(*jpegls(tmp_path, ramp(60, 50)))
    assert peer.datasets == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_decoder_that_somebody_kills_is_not_the_films_fault(
    connect: Connect, free_port: int, tmp_path: Path, monkeypatch, number: int
) -> None:
    """As a kernel does that is short of memory: later, not for a person."""
    real = Transcoder._start

    def killed(self: Transcoder) -> subprocess.Popen[bytes]:
        child = real(self)
        child.send_signal(number)
        return child

    with storage_scp(free_port) as peer:
        destination = connect(free_port)
        with monkeypatch.context() as patch:
            patch.setattr(Transcoder, "_start", killed)
            with pytest.raises(NotTranscodedNow, match=f"was killed \\(signal {int(number)}\\), 2 times"):
                destination.deliver(*jpegls(tmp_path, ramp(60, 50)))
        destination.deliver(*jpegls(tmp_path, ramp(60, 50)))
    assert len(peer.datasets) == 1


def test_a_film_that_takes_too_long_is_tried_again(
    connect: Connect, free_port: int, tmp_path: Path, monkeypatch
) -> None:
    """A disk that hangs looks the same."""
    monkeypatch.setenv("FILMGATE_DECODER_TEST", "hang")
    monkeypatch.setattr(transcode, "TIMEOUT_S", 0.3)
    with storage_scp(free_port), pytest.raises(NotTranscodedNow, match="did not answer in time"):
        connect(free_port).deliver(*jpegls(tmp_path, ramp(60, 50)))


def test_what_a_disk_spoiled_is_not_sent(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """Be it sent as it is, or as something else that is made of it; the peer gets the whole one later."""
    whole, delivery = kept(tmp_path, bytes(3_000_000))
    film, of_film = jpegls(tmp_path, ramp(600, 500), "1.2.9")
    for path in (whole, film):
        data = bytearray(path.read_bytes())
        data[-100] ^= 1
        path.with_suffix(".bad").write_bytes(data)
    with storage_scp(free_port) as peer:
        destination = connect(free_port)
        for path, owed in ((whole, delivery), (film, of_film)):
            with pytest.raises(Damaged, match="not what was received"):
                destination.deliver(path.with_suffix(".bad"), owed)
        assert peer.datasets == []
        destination.deliver(whole, delivery)
        destination.deliver(film, of_film)
    assert len(peer.datasets) == 2


def test_what_becomes_shorter_while_it_is_sent_never_arrives(connect: Connect, tmp_path: Path) -> None:
    """Somebody cuts the file after the first of it went out: the peer sees no end, and we say why."""
    path, delivery = kept(tmp_path, bytes(64 << 20))
    ended: list[bool] = []

    def cuts(connection: socket.socket) -> None:
        accept(connection)
        take_pdu(connection)
        os.truncate(path, 2 << 20)
        while True:
            kind, body = take_pdu(connection)
            ended.append(kind == 4 and body[5] == 2)

    with raw_peer(cuts) as port, pytest.raises(OSError, match="shorter"):
        connect(port).deliver(path, delivery)
    assert not any(ended)
    with raw_peer(_serve) as port, pytest.raises(Damaged):
        connect(port).deliver(path, delivery)


def test_no_association_is_open_while_a_film_is_transcoded(
    connect: Connect, free_port: int, tmp_path: Path, monkeypatch
) -> None:
    """The peer ends what is idle; the first film asks what it takes, the next ones are made before."""
    open_then: list[int] = []
    real = Transcoder.transcode

    def watched(self: Transcoder, path: Path, transfer_syntax: str) -> BinaryIO:
        open_then.append(len(destination._busy))
        for idle in destination._idle:
            idle.sever()  # as if the peer's patience had ended
        return real(self, path, transfer_syntax)

    monkeypatch.setattr(Transcoder, "transcode", watched)
    with storage_scp(free_port) as peer:
        destination = connect(free_port)
        for number in range(3):
            destination.deliver(*jpegls(tmp_path, ramp(60, 50 + number), f"1.2.3.{number}"))
    assert open_then == [0, 0, 0]
    assert len(peer.datasets) == 3


def test_a_sop_class_that_the_peer_does_not_know(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """No context at all: it may be set up wrongly; what it does take still goes on the same association."""
    other = kept(tmp_path, b"1234", uid="1.2.9", sop_class=CR)
    with storage_scp(free_port) as peer:
        destination = connect(free_port)
        destination.deliver(*kept(tmp_path, b"12"))
        with pytest.raises(NotAccepted, match="takes no Computed Radiography") as raised:
            destination.deliver(*other)
        assert raised.value.retry
        destination.deliver(*kept(tmp_path, b"12"))
    assert (len(peer.datasets), peer.accepted) == (2, 2)


# Statuses


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007])
def test_success_and_warnings_are_delivered(
    connect: Connect, free_port: int, tmp_path: Path, status: int
) -> None:
    with storage_scp(free_port) as peer:
        peer.status = status
        connect(free_port).deliver(*kept(tmp_path, b"12"))
    assert len(peer.datasets) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0xA700, OutOfResources),
        (0xA7FF, OutOfResources),
        (0x0110, OutOfResources),
        (0x0213, OutOfResources),
        (0xA900, Refused),
        (0x0106, Refused),
        (0x0117, Refused),
        (0xC000, Declined),
        (0xCFFF, Declined),
        (0x0122, Declined),
        (0x0124, Declined),
        (0x0211, Declined),
        (0xFE00, Declined),
        (0xA800, Declined),
    ],
)
def test_failures_by_class(
    connect: Connect, free_port: int, tmp_path: Path, status: int, error: type[DeliveryError]
) -> None:
    """What may pass, or may be the peer's, is tried again; the rest is for a person."""
    with storage_scp(free_port) as peer:
        destination = connect(free_port)
        peer.status = status
        with pytest.raises(DeliveryError, match=f"0x{status:04X}") as raised:
            destination.deliver(*kept(tmp_path, b"12"))
        peer.status = 0
        destination.deliver(*kept(tmp_path, b"12"))
    assert type(raised.value) is error
    assert raised.value.retry is (error is not Refused)
    assert peer.accepted == 1


def test_patients_stay_out_of_a_refusal(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """The peer's comment is quoted without what looks like a name or number."""
    answer = Dataset()
    answer.Status, answer.ErrorComment = 0xC123, "bad date for DOE^JANE id 1234567 in 1.2.3.4.5"
    with storage_scp(free_port) as peer:
        peer.status = answer
        with pytest.raises(Refused) as raised:
            connect(free_port).deliver(*kept(tmp_path, b"12"))
    assert str(raised.value) == "the peer refuses it: 0xC123 cannot understand (bad date for … id … in …)"


# Associations that are not had


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


# Associations that break


def _serve(connection: socket.socket) -> None:
    """Accept, then take and answer C-STORE for ever."""
    accept(connection)
    while True:
        message_id = take_message(connection)
        answer(connection, message_id)


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


def test_a_peer_that_hangs_after_the_object(connect: Connect, tmp_path: Path) -> None:
    """No response within the timeout."""

    def hangs(connection: socket.socket) -> None:
        accept(connection)
        take_message(connection)
        connection.recv(1)

    with raw_peer(hangs) as port, pytest.raises(TimedOut, match="no response"):
        connect(port, timeout_s=0.2).deliver(*kept(tmp_path, b"12"))


@pytest.mark.parametrize("size", [20 << 20, 200_000])
def test_a_peer_that_takes_a_byte_a_second(connect: Connect, tmp_path: Path, size: int) -> None:
    """Neither the kernel's buffers nor trickling progress hide it, be the object large or small."""
    enough = threading.Event()

    def crawls(connection: socket.socket) -> None:
        accept(connection)
        while not enough.wait(0.05):
            connection.recv(1)

    began = time.monotonic()
    with raw_peer(crawls) as port:
        with pytest.raises(TimedOut):
            connect(port, timeout_s=0.3).deliver(*kept(tmp_path, bytes(size)))
        enough.set()
    assert time.monotonic() - began < 5


def test_a_slow_link_is_not_a_hanging_peer(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object that takes many timeouts' time goes through, as long as enough of it moves in each."""
    monkeypatch.setattr(association, "SLOWEST_BYTES_S", 1 << 20)
    pause = threading.Event()

    def slow(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        accept(connection)
        take = connection.recv

        class Slowly:
            def recv(self, count: int) -> bytes:
                pause.wait(0.002)
                return take(count)

        answer(connection, take_message(Slowly()))  # type: ignore[arg-type]
        connection.recv(1)

    with raw_peer(slow) as port:
        began = time.monotonic()
        connect(port, timeout_s=0.2).deliver(*kept(tmp_path, bytes(12 << 20)))
    assert time.monotonic() - began > 0.4


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
