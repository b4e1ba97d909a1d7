"""The limited child: what it answers, and what the parent survives."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from busy import busy, starve
from dicom_files import change, deflated_zeros, dx, part10, ramp
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from gateway.errors import DecodeError, NoTime
from gateway.sandbox import parent as parent
from gateway.sandbox.decoder import Decoder
from pipelines.decode import decode_film, pixel_digest
from pipelines.film import Box, Operations, Reason


@pytest.fixture(scope="module")
def shared():
    with Decoder() as decoder:
        yield decoder


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.dcm"
    path.write_bytes(part10(dx(ramp(700, 600))))
    return path


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone_soon(pid: int) -> bool:
    """Whether the process is gone within a few seconds; a zombie of somebody else's counts as gone."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False


# Answers


def test_the_child_reads_words_and_ages_as_we_do(shared, tmp_path):
    """In any language and character set; what could not be read of the age comes through as well."""
    path = tmp_path / "film.dcm"
    odd = {"PatientAge": "XX", "PatientBirthDate": "19000101", "ViewPosition": "LEFT LAT"}
    made = dx(ramp(700, 600), BodyPartExamined="TORAX", AnatomicRegionSequence=None, **odd)
    path.write_bytes(part10(made).replace(b"CS\x06\x00TORAX ", b"CS\x06\x00" + "TÓRAX".encode()))
    header = shared.film(path).header
    assert header == decode_film(path).header
    assert (header.body_part, header.part, header.view) == ("TÓRAX", "chest", "lateral")
    assert header.age_years is None
    assert header.age_doubt.startswith("the age 'XX' could not be read; the birth date is one that people")


def test_the_child_gives_the_same_film(shared, film):
    """Pixels, scale and header come through the pipe unchanged."""
    theirs, ours = shared.film(film), decode_film(film)
    assert theirs.header == ours.header
    assert np.array_equal(theirs.pixels, ours.pixels)
    assert (theirs.scale, theirs.stored_range) == (ours.scale, ours.stored_range)
    assert shared.film(film, long_side=600).pixels.shape == (600, 514)


def test_the_digest_is_that_of_the_pixels(shared, film):
    """Of the values, whatever the header; of the bytes where there are no values to be had."""
    assert shared.pixel_digest(film) == pixel_digest(ramp(700, 600), dx(ramp(700, 600)))
    digests = []
    for patient in ("One", "Two"):
        for lacking in ({"PixelData": None}, {"NumberOfFrames": 2}, {"BitsAllocated": 12}):
            film.write_bytes(part10(dx(ramp(), PatientName=patient, **lacking)))
            digests.append(shared.pixel_digest(film))
    assert digests[:3] == digests[3:]


def test_a_copy_is_written_where_it_is_wanted(shared, film, tmp_path):
    """The child may write no file; its bytes come through the pipe."""
    operations = Operations(crop=Box(0.25, 0.0, 1.0, 0.5), turn=90, invert=True)
    out = tmp_path / "copy.dcm"
    now = datetime(2026, 11, 1, 12, tzinfo=UTC)
    made = shared.derive(film, operations, {"rotation": "ab" * 32}, out, now=now)
    again = shared.derive(film, operations, {"rotation": "cd" * 32}, tmp_path / "again.dcm")
    ds = dcmread(out)
    assert made == again
    assert made.sop_instance_uid == ds.SOPInstanceUID
    assert made.transfer_syntax_uid == ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert np.array_equal(ds.pixel_array, np.rot90(4095 - ramp(700, 600)[:350, 150:], -1))
    assert "ab" * 32 in ds.ContributingEquipmentSequence[-1].ContributionDescription


def test_an_error_brings_the_reason_and_the_header(shared, tmp_path):
    """An SR has no pixels, but a header; rubbish has neither."""
    report = tmp_path / "sr.dcm"
    report.write_bytes(part10(dx(ramp(), PixelData=None, Modality="SR")))
    with pytest.raises(DecodeError) as caught:
        shared.film(report)
    assert caught.value.reason is Reason.NO_PIXELS
    assert caught.value.header.modality == "SR"
    report.write_bytes(b"rubbish")
    with pytest.raises(DecodeError) as caught:
        shared.film(report)
    assert (caught.value.reason, caught.value.header) == (Reason.UNREADABLE, None)


def test_what_cannot_be_copied_says_so(shared, tmp_path):
    """Several frames, and a fluoroscopy."""
    path = tmp_path / "film.dcm"
    fluoroscopy = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.12.2"}
    for ds, reason in (
        (dx(np.stack([ramp(), ramp()]), Rows=40, Columns=30, NumberOfFrames=2), Reason.MULTI_FRAME),
        (dx(ramp(), **fluoroscopy), Reason.COPY_FAILED),
    ):
        path.write_bytes(part10(ds))
        with pytest.raises(DecodeError) as caught:
            shared.derive(path, Operations(turn=90), {}, tmp_path / "out.dcm")
        assert caught.value.reason is reason
    assert not (tmp_path / "out.dcm").exists()


def test_a_lost_file_is_not_the_films_fault(shared, tmp_path):
    """FileNotFoundError, not a DecodeError."""
    with pytest.raises(FileNotFoundError):
        shared.film(tmp_path / "nowhere.dcm")


# Faults


def test_a_child_killed_between_requests_is_replaced(film):
    """The next film is decoded by another process."""
    with Decoder() as decoder:
        decoder.film(film)
        first = decoder.pid
        os.kill(first, signal.SIGKILL)
        assert gone_soon(first)
        assert decoder.film(film).pixels.shape == (512, 439)
        assert decoder.pid != first


@pytest.mark.parametrize(("fault", "timeout_s"), [("crash", 10), ("hang", 2), ("spin", 2), ("hog", 10)])
def test_crash_hang_and_greed_are_tried_twice(film, monkeypatch, fault, timeout_s):
    """DECODE_FAILED after one retry in a fresh child; the parent lives, and decodes again."""
    monkeypatch.setenv("FILMGATE_DECODER_TEST", fault)
    started = count_starts(monkeypatch)
    with Decoder(timeout_s=timeout_s) as decoder:
        with pytest.raises(DecodeError) as caught:
            decoder.film(film)
        assert caught.value.reason is Reason.DECODE_FAILED
        assert len(started) == 2
        monkeypatch.delenv("FILMGATE_DECODER_TEST")
        assert decoder.film(film).pixels.shape == (512, 439)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and SCHED_IDLE")
def test_a_busy_machine_makes_a_film_late_and_not_broken(film):
    """The decoder at the lowest priority beside two busy loops, for longer than two timeouts."""

    def decoded() -> tuple[int, ...]:
        starve()  # and so is the child that this thread starts
        with Decoder(timeout_s=2) as decoder:
            return decoder.film(film).pixels.shape

    with ThreadPoolExecutor(1) as thread, busy(6):
        assert thread.submit(decoded).result(timeout=120) == (512, 439)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and SCHED_IDLE")
def test_a_machine_that_stays_busy_is_no_fault_of_the_film(film):
    """NoTime, not DECODE_FAILED, after a bounded time; that child ends, another decodes the film later."""

    def kept_waiting(decoder: Decoder) -> None:
        starve()
        decoder.film(film)

    with Decoder(timeout_s=3, wait_s=0) as decoder:
        with ThreadPoolExecutor(1) as thread, busy(30), pytest.raises(NoTime, match="other programs use"):
            thread.submit(kept_waiting, decoder).result(timeout=120)
        assert decoder.pid is None
    with Decoder() as later:
        assert later.film(film).pixels.shape == (512, 439)


def count_starts(monkeypatch) -> list[int]:
    started = []
    start = Decoder._start

    def counted(self):
        started.append(1)
        return start(self)

    monkeypatch.setattr(Decoder, "_start", counted)
    return started


def test_a_film_may_not_ask_for_more_than_the_limit(tmp_path):
    """A film that is honest, but larger than the child may hold."""
    path = tmp_path / "large.dcm"
    path.write_bytes(part10(dx(np.zeros((9000, 9000), "<u2"), PixelPaddingValue=1)))
    with Decoder(memory_mb=256) as decoder, pytest.raises(DecodeError) as caught:
        decoder.film(path)
    assert caught.value.reason is Reason.DECODE_FAILED


def test_a_deflate_bomb_stays_in_the_child(shared, tmp_path):
    """UNREADABLE, within seconds and the limit, by the same child."""
    data = part10(dx(ramp()), DeflatedExplicitVRLittleEndian)
    path = tmp_path / "bomb.dcm"
    path.write_bytes(data[: 144 + struct.unpack_from("<I", data, 140)[0]] + deflated_zeros(512))
    with pytest.raises(DecodeError) as caught:
        shared.film(path)
    assert caught.value.reason is Reason.UNREADABLE


def test_the_child_ends_with_close_and_with_its_parent(film, tmp_path):
    """No decoder is left behind, not even when the worker is killed."""
    decoder = Decoder()
    decoder.film(film)
    pid = decoder.pid
    decoder.close()
    assert not alive(pid)
    script = (
        "import sys, time; from pathlib import Path; from gateway.sandbox.decoder import Decoder\n"
        f"d = Decoder(); d.film(Path({str(film)!r})); print(d.pid, flush=True); time.sleep(60)"
    )
    root = str(Path(__file__).parents[1])
    worker = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=root)
    pid = int(worker.stdout.readline())
    worker.kill()
    worker.communicate()
    assert gone_soon(pid)


def test_the_child_sees_no_secrets_and_loads_no_torch(shared, film, monkeypatch):
    """Its environment is short, its start quick, its memory small."""
    monkeypatch.setenv("FILMGATE_CONSOLE__PASSWORD", "secret")
    with Decoder() as decoder:
        decoder.film(film)
        proc = Path(f"/proc/{decoder.pid}")
        assert b"secret" not in (proc / "environ").read_bytes()
        assert "torch" not in (proc / "maps").read_text()
        resident_kb = int((proc / "status").read_text().split("VmRSS:")[1].split()[0])
        own_ticks = sum(map(int, (proc / "stat").read_text().rpartition(")")[2].split()[11:13]))
    assert own_ticks / os.sysconf("SC_CLK_TCK") < 2  # of the processor: a busy machine does not count
    assert resident_kb < 200_000


# Answers of a child that was taken over


def answer(told: dict, raw: bytes = b"") -> tuple[dict, bytearray]:
    return json.loads(json.dumps(told)), bytearray(raw)


@pytest.mark.parametrize(
    "damage",
    [
        {"shape": [100000, 100000]},
        {"shape": [2, 2]},
        {"shape": "ab"},
        {"scale": [1]},
        {"header": {}},
        {"header": {"rows": "12"}},
        {"header": None},
        {"stored_range": None},
    ],
)
def test_nonsense_is_not_believed(film, monkeypatch, damage):
    """Sizes and types are checked before anything is used."""
    ours = decode_film(film)
    told = {"header": asdict(ours.header), "shape": ours.pixels.shape, "scale": [1, 1], "stored_range": 1}
    header = damage.get("header")
    if isinstance(header, dict) and header:
        damage = {"header": asdict(ours.header) | header}
    monkeypatch.setattr(Decoder, "_ask", lambda *_, **__: answer(told | damage, ours.pixels.tobytes()))
    with pytest.raises(DecodeError) as caught:
        Decoder().film(film)
    assert caught.value.reason is Reason.DECODE_FAILED


def test_pixels_that_are_not_numbers_are_not_believed(film, monkeypatch):
    """NaN never comes out of the decoder."""
    ours = decode_film(film)
    told = {"header": asdict(ours.header), "shape": [1, 2], "scale": [1, 1], "stored_range": 1}
    for values in ([np.nan, 0.5], [0.0, 1.5], [-1.0, 0.0]):
        raw = np.array(values, "<f4").tobytes()
        monkeypatch.setattr(Decoder, "_ask", lambda *_, raw=raw, **__: answer(told, raw))
        with pytest.raises(DecodeError):
            Decoder().film(film)


def test_an_answer_may_not_be_larger_than_asked_for(film, monkeypatch):
    """A length in the answer reserves nothing beyond what the request allows."""
    with Decoder() as decoder:
        decoder.film(film)
        monkeypatch.setattr(parent, "MAX_JSON", 10)
        with pytest.raises(DecodeError) as caught:
            decoder.film(film)
    assert caught.value.reason is Reason.DECODE_FAILED


def test_two_threads_share_one_child(shared, tmp_path):
    """Requests are served one after another, each with its own answer."""
    paths = []
    for size in range(10, 30):
        paths.append(tmp_path / f"{size}.dcm")
        paths[-1].write_bytes(part10(change(dx(ramp(size, size)))))
    with ThreadPoolExecutor(4) as pool:
        shapes = [film.pixels.shape for film in pool.map(shared.film, paths)]
    assert shapes == [(size, size) for size in range(10, 30)]
