"""Peers that take another transfer syntax than the object has."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import tempfile
import tracemalloc
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np
import pytest
from dicom_destination import Connect, connect, encoded, jpegls, serve_pdus
from dicom_files import change, dx, part10, ramp
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
)
from storage_peers import (
    CR,
    DX,
    accept,
    dcmtk_storescp,
    kept,
    raw_peer,
    small_disk,
    storage_scp,
    take_pdu,
)

from gateway.destinations import dicom, transcode
from gateway.destinations.dicom import NotAccepted
from gateway.destinations.transcode import NotTranscodedNow, Transcoder
from gateway.errors import (
    Damaged,
    Rejected,
)
from pipelines.decode import decode_film

__all__ = ["connect"]


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
    with raw_peer(serve_pdus) as port, pytest.raises(Damaged):
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
