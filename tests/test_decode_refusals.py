"""What is no film ends with a reason: lies, broken codestreams, hostile files; and real files."""

from __future__ import annotations

import struct
import time
from typing import Any

import imagecodecs
import numpy as np
import pytest
from decoding import CODECS, head, refused, shown
from dicom_files import deflated_zeros, dx, part10, ramp, real_files
from pydicom import Dataset, uid
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEGLSLossless,
)

from pipelines.decode import Undecodable, decode_film, pixel_digest, stored_pixels
from pipelines.film import Reason
from pipelines.instance import part10 as part10_files

# Refusals


def test_objects_without_pixels_still_have_a_header():
    """A structured report, or a film whose pixels are empty or missing."""
    report = dx(ramp(), SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR", PixelData=None, Rows=None)
    for ds in (report, dx(ramp(), PixelData=b"")):
        error = refused(part10(ds))
        assert error.reason is Reason.NO_PIXELS
        assert error.header.sop_instance_uid == "1.2.3.4"


@pytest.mark.parametrize(
    "lie",
    [
        {"Rows": 41},
        {"Rows": 39},
        {"Columns": 31},
        {"Columns": 65535},
        {"Rows": 65535, "Columns": 65535},
        {"Rows": 0},
        {"Rows": None},
        {"BitsStored": 17},
        {"BitsStored": 0},
        {"HighBit": 3},
        {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7},
    ],
)
def test_a_lie_about_native_pixels_is_never_guessed_at(lie):
    """Sizes that disagree with the data."""
    assert refused(part10(dx(ramp(), **lie))).reason is Reason.PIXELS_MISMATCH


@pytest.mark.parametrize("syntax", list(CODECS))
@pytest.mark.parametrize(
    "lie",
    [{"Rows": 41}, {"Columns": 29}, {"Rows": 80}, {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}],
)
def test_a_lie_about_encapsulated_pixels_is_never_guessed_at(syntax, lie):
    """The codestream says its size before it is decoded."""
    data = part10(dx(ramp(), **lie), syntax, frames=[CODECS[syntax](ramp())])
    assert refused(data).reason is Reason.PIXELS_MISMATCH


def test_one_byte_short():
    """Cut at the end, native and encapsulated."""
    native = part10(dx(ramp()))
    assert refused(native[:-1]).reason is Reason.PIXELS_MISMATCH
    assert refused(native[:-2000]).reason is Reason.PIXELS_MISMATCH
    frame = imagecodecs.jpegls_encode(ramp())
    cut = part10(dx(ramp()), JPEGLSLossless, frames=[frame[: len(frame) // 2]])
    assert refused(cut).reason is Reason.PIXELS_MISMATCH
    whole = part10(dx(ramp()), JPEGLSLossless, frames=[frame])
    assert refused(whole[:-30]).reason is Reason.PIXELS_MISMATCH


def test_one_pixel_is_a_film():
    """1 x 1 is odd, but says what it is; the exposure gate calls it blank."""
    assert shown(dx(np.array([[4095]], "<u2"))).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("attributes", "syntax"),
    [
        ({"PhotometricInterpretation": "CMYK"}, uid.ExplicitVRLittleEndian),
        ({"PhotometricInterpretation": "RGB"}, uid.ExplicitVRLittleEndian),
        ({"BitsAllocated": 12}, uid.ExplicitVRLittleEndian),
        ({}, "1.2.840.10008.1.2.4.95"),
        ({}, "1.2.3.4.5.6"),
    ],
)
def test_what_is_not_supported_says_so(attributes, syntax):
    """Unknown photometric interpretations and transfer syntaxes; the header is read all the same."""
    frames = None if syntax == uid.ExplicitVRLittleEndian else [b"\0" * 100]
    ds = dx(ramp(), **attributes)
    error = refused(_with_syntax(ds, syntax, frames))
    assert error.reason is Reason.UNSUPPORTED
    assert error.header.modality == "DX"


def _with_syntax(ds: Dataset, syntax: str, frames: list[bytes] | None) -> bytes:
    """pydicom writes no syntax that it does not know: write JPEG-LS and rename it."""
    if frames is None:
        return part10(ds)
    data = part10(ds, JPEGLSLossless, frames=frames)
    return data.replace(JPEGLSLossless.encode(), syntax.encode().ljust(len(JPEGLSLossless), b"\0"), 1)


BROKEN = (Reason.DECODE_FAILED, Reason.PIXELS_MISMATCH, Reason.PIXELS_DAMAGED)


@pytest.mark.parametrize("syntax", list(CODECS))
def test_broken_codestreams_fail_cleanly(syntax):
    """Noise between a true header and a true end: a film of noise at worst."""
    noise = np.random.default_rng(0).integers(0, 255, 3000, dtype="u1").tobytes()
    frame = CODECS[syntax](ramp())
    data = part10(dx(ramp()), syntax, frames=[frame[:110] + noise + frame[-2:]])
    assert film_or_reason(data) in (None, *BROKEN)


def film_or_reason(source: Any) -> Reason | None:
    """None for a film in which nothing is wrong."""
    try:
        film = decode_film(source)
    except Undecodable as error:
        return error.reason
    assert film.pixels.dtype == np.float32
    assert np.isfinite(film.pixels).all()
    assert film.pixels.min() >= 0
    assert film.pixels.max() <= 1
    assert max(film.pixels.shape) <= 512
    assert 0 <= film.stored_range <= 1
    return None


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    if vr in (b"SQ", b"OB", b"OW", b"UN", b"UT"):
        return struct.pack("<HH2sHI", group, number, vr, 0, size) + value
    return struct.pack("<HH2sH", group, number, vr, size) + value


def nested(depth: int) -> bytes:
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return (element(0x0040, 0x0275, b"SQ", b"", 0xFFFFFFFF) + item) * depth


@pytest.mark.parametrize(
    "tail",
    [
        nested(300),
        nested(100_000),
        element(0x7001, 0x1001, b"OB", b"x" * 8, 0xFFFFFFF0),
        element(0x7001, 0x1001, b"UT", b"x" * 8, 0xFFFFFFFE),
        b"\x01\x70\x01\x10",
    ],
    ids=["300 deep", "100,000 deep", "4 GiB", "4 GiB text", "half a tag"],
)
def test_hostile_datasets_are_unreadable_at_once(tail):
    """Nested sequences, lengths of 4 GiB: little work, without the memory they ask for."""
    start = time.thread_time()
    error = refused(head() + tail)
    assert error.reason in (Reason.UNREADABLE, Reason.NO_PIXELS)
    assert time.thread_time() - start < 5


def test_half_a_million_elements(monkeypatch):
    """The parser stops before they cost minutes; here at a hundredth of what it reads otherwise."""
    many = b"".join(element(0x7001, i | 0x1000, b"LO", b"x ") for i in range(5000))
    assert film_or_reason(head() + many) is Reason.NO_PIXELS
    assert part10_files.MAX_READS < 2 * 500_000
    monkeypatch.setattr(part10_files, "MAX_READS", part10_files.MAX_READS // 100)
    assert refused(head() + many).reason is Reason.UNREADABLE


def test_a_deflate_bomb_is_not_inflated():
    """1 GiB of zeros in a megabyte."""
    data = part10(dx(ramp()), DeflatedExplicitVRLittleEndian)
    at = data.index(DeflatedExplicitVRLittleEndian.encode())
    meta = data[: 132 + 12 + struct.unpack_from("<I", data, 140)[0]]
    assert at < len(meta)
    assert refused(meta + deflated_zeros(1024)).reason is Reason.UNREADABLE


def test_a_header_that_is_cut_off_is_unreadable():
    """Anywhere; but between two elements nothing can tell that more were meant to come."""
    whole = part10(dx(ramp()))
    reasons = [film_or_reason(whole[:size]) for size in range(0, len(whole) - 2400, 3)]
    assert set(reasons) <= {Reason.UNREADABLE, Reason.NO_PIXELS, Reason.PIXELS_MISMATCH}
    assert reasons.count(Reason.UNREADABLE) > 0.9 * len(reasons)


@pytest.mark.parametrize(
    "data", [b"", b"DICM", b"\0" * 200, b"GET / HTTP/1.1\r\n" * 20, b"\0" * 128 + b"DICM"]
)
def test_what_is_not_dicom_is_unreadable(data):
    """Nothing, rubbish, and a preamble with nothing behind it."""
    error = refused(data)
    assert error.reason is Reason.UNREADABLE
    assert error.header is None


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, *CODECS])
def test_any_damage_ends_in_a_film_or_a_reason(syntax):
    """Files with flipped bytes: never another exception."""
    rng = np.random.default_rng(0)
    frames = [CODECS[syntax](ramp())] if syntax in CODECS else None
    whole = part10(dx(ramp()), syntax, frames=frames)
    for _ in range(400):
        data = bytearray(whole)
        for at in rng.integers(132, len(data), 6):
            data[at] = rng.integers(0, 256)
        film_or_reason(bytes(data))


# Real files


@pytest.mark.parametrize("path", real_files(), ids=lambda path: path.name)
def test_real_files_become_films_or_reasons(path):
    """A valid film, or a reason."""
    film_or_reason(path)


@pytest.mark.parametrize(
    "names",
    [
        ("4.57.dcm", "4.70.dcm", "4.80.dcm", "4.90.dcm", "1.2.5.dcm", "1.99.dcm"),
        ("RG2_RLE", "RG2_JPLL", "RG2_J2KR"),
    ],
)
def test_one_picture_in_many_transfer_syntaxes_has_one_digest(names):
    """A CT and a hip, lossless in every way."""
    files = [path for path in real_files(*names) if path.name.startswith(("CTImage", "RG2"))]
    if not files:
        pytest.skip("the real DICOM files are not here")
    assert len({pixel_digest(stored, ds) for ds, stored in map(stored_pixels, files)}) == 1
