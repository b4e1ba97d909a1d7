"""What is sent in another transfer syntax shows what was gated; other decoders are the second opinion."""

from __future__ import annotations

import struct
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from dicom_files import change, dx, in_syntax, part10, ramp
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEG2000MCLossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from transcoding import TARGETS, j2k, sent, values

from pipelines.decode import Undecodable, file_digest, stored_pixels
from pipelines.film import Reason
from pipelines.instance.transcode import transcode

EIGHT = {"BitsStored": 8, "HighBit": 7, "WindowCenter": 128, "WindowWidth": 256}
BYTES = {"BitsAllocated": 8, **EIGHT}
DCMCJPEG, DCMDJPEG = Path("/usr/bin/dcmcjpeg"), Path("/usr/bin/dcmdjpeg")


def squares(size: int = 256) -> np.ndarray:
    """Black and white of 12 bits, where lossy filters overshoot."""
    return np.where(np.indices((size, size)).sum(0) // 20 % 2, 4095, 0).astype("<u2")


def colours(rows: int = 64, columns: int = 48) -> np.ndarray:
    y, x = np.mgrid[0:rows, 0:columns]
    return np.stack([x * 5 % 256, y * 3 % 256, (x + y) * 2 % 256], axis=-1).astype("u1")


def coloured(pixels: np.ndarray, photometric: str = "RGB", **attributes: Any) -> Dataset:
    ds = dx(pixels, PhotometricInterpretation=photometric, **BYTES, **attributes)
    return change(ds, SamplesPerPixel=3, PlanarConfiguration=0, WindowCenter=None, WindowWidth=None)


# Values


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEG2000Lossless, j2k),
        (HTJ2KLossless, imagecodecs.htj2k_encode),
        (JPEGLSLossless, imagecodecs.jpegls_encode),
        (JPEGLosslessSV1, lambda a: imagecodecs.jpeg8_encode(a, lossless=True, predictor=1)),
    ],
)
def test_eight_bits_in_sixteen_stay_in_sixteen(syntax, encode, target):
    """The codestream has bytes, the header says words (C.8.11.3): a byte each would be half a picture."""
    eight = ramp(64, 48, top=255)
    got = sent(part10(dx(eight, **EIGHT), syntax, frames=[encode(eight.astype("u1"))]), target)
    assert (got.BitsAllocated, got.BitsStored, len(got.PixelData)) == (16, 8, eight.nbytes)
    assert np.array_equal(values(got), eight)


@pytest.mark.parametrize(
    ("syntax", "encode", "decode", "bits"),
    [
        (
            JPEG2000,
            lambda a: j2k(a, level=50, reversible=False, bitspersample=16),
            imagecodecs.jpeg2k_decode,
            12,
        ),
        (JPEGLSNearLossless, lambda a: imagecodecs.jpegls_encode(a, level=3), imagecodecs.jpegls_decode, 12),
        (
            JPEGExtended12Bit,
            lambda a: imagecodecs.jpeg8_encode(a, level=60, bitspersample=12),
            imagecodecs.jpeg8_decode,
            10,
        ),
    ],
)
def test_lossy_overshoot_is_clipped_never_masked(syntax, encode, decode, bits):
    """Values above Bits Stored would be black in every receiver that masks."""
    top = 2**bits - 1
    pixels = squares() >> (12 - bits)
    frame = encode(pixels)
    assert decode(frame).max() > top
    got = values(sent(part10(dx(pixels, BitsStored=bits, HighBit=bits - 1), syntax, frames=[frame])))
    assert np.array_equal(got, np.minimum(decode(frame), top))


@pytest.mark.parametrize("signed", [False, True])
def test_signed_values_in_a_codestream_marked_unsigned(signed):
    """Twos complement in the codestream; sign extended in what is sent."""
    stored = ramp(60, 50).astype("<i2") - 2048
    coded = stored if signed else (stored & 0xFFF).astype("<u2")
    data = part10(
        dx(coded, PixelRepresentation=1, WindowCenter=0),
        JPEG2000Lossless,
        frames=[j2k(coded, bitspersample=12)],
    )
    assert np.array_equal(values(sent(data), "<i2"), stored)


@pytest.mark.dcmtk
@pytest.mark.parametrize("options", [["+e1"], ["+e1", "+pt", "2"], ["+el", "+sv", "4"], ["+el", "+pt", "1"]])
@pytest.mark.parametrize("colour", [False, True])
def test_jpeg_lossless_as_dcmtk_decodes_it(tmp_path, options, colour):
    """Selection values and point transforms, grey and in colour: dcmdjpeg gives the same values."""
    ds = coloured(colours()) if colour else dx(ramp(64, 48))
    (tmp_path / "plain").write_bytes(part10(ds))
    subprocess.run([DCMCJPEG, *options, tmp_path / "plain", tmp_path / "jpeg"], check=True)
    subprocess.run([DCMDJPEG, "+cn", tmp_path / "jpeg", tmp_path / "theirs"], check=True)
    theirs = dcmread(tmp_path / "theirs")
    got = sent((tmp_path / "jpeg").read_bytes())
    assert got.PixelData == theirs.PixelData
    assert got.PhotometricInterpretation == theirs.PhotometricInterpretation
    ours = stored_pixels((tmp_path / "jpeg").read_bytes())[1]
    assert np.array_equal(ours.ravel(), np.frombuffer(theirs.PixelData, ours.dtype)[: ours.size])


@pytest.mark.dcmtk
@pytest.mark.parametrize("options", [["+eb"], ["+eb", "+cr"], ["+eb", "+s2"], ["+eb", "+s4"]])
def test_colour_jpeg_becomes_rgb_as_dcmtk_makes_it(tmp_path, options):
    """YBR_FULL_422 and RGB codestreams, subsampled or not."""
    (tmp_path / "plain").write_bytes(part10(coloured(colours())))
    subprocess.run([DCMCJPEG, *options, tmp_path / "plain", tmp_path / "jpeg"], check=True)
    subprocess.run([DCMDJPEG, tmp_path / "jpeg", tmp_path / "theirs"], check=True)
    got, theirs = sent((tmp_path / "jpeg").read_bytes()), dcmread(tmp_path / "theirs")
    assert (got.PhotometricInterpretation, got.PlanarConfiguration) == ("RGB", 0)
    apart = np.abs(values(got, "u1").astype(int) - values(theirs, "u1"))
    assert apart.mean() < 1.5
    assert (got.LossyImageCompression, got.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert float(got.LossyImageCompressionRatio) > 1


def test_a_header_that_says_rgb_of_a_codestream_without_markers():
    """No JFIF, no Adobe, no subsampling: the header alone knows the colour space, and is believed."""
    frame = imagecodecs.jpeg8_encode(colours(), level=95, colorspace="RGB", outcolorspace="RGB")
    adobe = struct.unpack_from(">H", frame, 4)[0]
    plain = frame[:2] + frame[4 + adobe :]
    start = plain.index(b"\xff\xc0")
    renamed = bytearray(plain)
    for number in range(3):
        renamed[start + 10 + 3 * number] = number + 1
    scan = plain.index(b"\xff\xda")
    for number in range(3):
        renamed[scan + 5 + 2 * number] = number + 1
    got = sent(part10(coloured(colours()), JPEGBaseline8Bit, frames=[bytes(renamed)]))
    assert np.abs(values(got, "u1").astype(int) - colours()).max() < 8


# Every syntax


def jpegxl_of_jpeg(pixels: np.ndarray) -> bytes:
    return imagecodecs.jpegxl_encode_jpeg(imagecodecs.jpeg8_encode(pixels, level=95))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        ("1.2.840.10008.1.2.4.110", lambda a: imagecodecs.jpegxl_encode(a, lossless=True)),
        ("1.2.840.10008.1.2.4.110", lambda a: imagecodecs.jpegxl_encode(a, lossless=True, bitspersample=12)),
        ("1.2.840.10008.1.2.1.98", lambda a: a.tobytes()),
        ("1.2.840.10008.1.2.8.1", lambda a: imagecodecs.deflate_encode(a.tobytes(), raw=True)),
        (JPEG2000MCLossless, j2k),
        (JPEGLossless, lambda a: imagecodecs.jpeg8_encode(a, lossless=True, predictor=6, bitspersample=12)),
    ],
)
def test_every_lossless_syntax_has_a_way_out(syntax, encode, target):
    """JPEG XL, frames in fragments, deflated frames, one component of JPEG 2000 part 2."""
    data = in_syntax(dx(ramp(64, 48)), syntax, frames=[encode(ramp(64, 48))])
    assert np.array_equal(stored_pixels(data)[1], ramp(64, 48))
    got = sent(data, target)
    assert np.array_equal(values(got), ramp(64, 48))
    assert got.LossyImageCompression == "00"


@pytest.mark.parametrize(
    ("syntax", "encode", "method"),
    [
        ("1.2.840.10008.1.2.4.111", jpegxl_of_jpeg, "ISO_18181_1"),
        ("1.2.840.10008.1.2.4.112", lambda a: imagecodecs.jpegxl_encode(a, distance=0.5), "ISO_18181_1"),
        (HTJ2K, lambda a: imagecodecs.htj2k_encode(a, reversible=False), "ISO_15444_15"),
    ],
)
def test_lossy_ones_say_that_they_were(syntax, encode, method):
    """Eight bits, grey and in colour, near enough; and the header says what happened to them."""
    smooth = np.ascontiguousarray(colours(96, 50)[..., 0])
    grey = in_syntax(dx(smooth, **BYTES), syntax, frames=[encode(smooth)])
    colour = in_syntax(coloured(colours(96, 50)), syntax, frames=[encode(colours(96, 50))])
    for data, pixels in ((grey, smooth), (colour, colours(96, 50))):
        got = sent(data)
        assert np.abs(values(got, "u1").astype(int) - pixels).mean() < 4
        assert (got.LossyImageCompression, got.LossyImageCompressionMethod) == ("01", method)


@pytest.mark.parametrize("shape", [(8, 8), (256, 256), (40, 30), (90, 120), (72, 128), (513, 9), (300, 400)])
def test_jpeg_xl_says_its_size_before_it_is_decoded(shape):
    """Small and large sizes, and the ratios that it has names for."""
    pixels = ramp(*shape)
    data = in_syntax(
        dx(pixels), "1.2.840.10008.1.2.4.110", frames=[imagecodecs.jpegxl_encode(pixels, lossless=True)]
    )
    assert np.array_equal(stored_pixels(data)[1], pixels)
    lie = in_syntax(
        dx(pixels, Rows=shape[0] + 1),
        "1.2.840.10008.1.2.4.110",
        frames=[imagecodecs.jpegxl_encode(pixels, lossless=True, bitspersample=12)],
    )
    with pytest.raises(Undecodable, match="the codestream") as caught:
        stored_pixels(lie)
    assert caught.value.reason is Reason.PIXELS_MISMATCH


def test_a_jpeg_xl_that_is_cut_off_is_refused():
    frame = imagecodecs.jpegxl_encode(ramp(64, 48), lossless=True)
    with pytest.raises(Undecodable):
        stored_pixels(in_syntax(dx(ramp(64, 48)), "1.2.840.10008.1.2.4.110", frames=[frame[:-40]]))


# Many frames


def cine(frames: int = 5) -> np.ndarray:
    return np.stack([np.roll(ramp(40, 30), number * 7) for number in range(frames)])


def multi(pixels: np.ndarray, **attributes: Any) -> Dataset:
    return change(dx(pixels, Rows=40, Columns=30, **attributes), NumberOfFrames=len(pixels))


@pytest.mark.parametrize("target", TARGETS)
def test_every_frame_is_sent(target):
    """One fragment a frame; several with a basic or an extended offset table, which then is gone."""
    frames = [imagecodecs.jpegls_encode(frame) for frame in cine()]
    plain = part10(multi(cine()), JPEGLSLossless, frames=frames)
    parts = multi(cine())
    parts.PixelData = encapsulate(frames, fragments_per_frame=3)
    extended = multi(cine())
    extended.PixelData, extended.ExtendedOffsetTable, extended.ExtendedOffsetTableLengths = (
        encapsulate_extended(frames)
    )
    without_table = multi(cine())
    without_table.PixelData = encapsulate(frames, fragments_per_frame=3, has_bot=False)
    for data in (plain, *(part10(ds, JPEGLSLossless) for ds in (parts, extended, without_table))):
        got = sent(data, target)
        assert np.array_equal(values(got), cine())
        assert int(got.NumberOfFrames) == 5
        assert "ExtendedOffsetTable" not in got
        assert "ExtendedOffsetTableLengths" not in got
        assert file_digest(data) == file_digest(part10(multi(cine())))


def test_a_frame_too_few_is_not_sent():
    """Nothing is made up for the missing one; nor is one too many dropped."""
    for count in (4, 6):
        frames = [imagecodecs.jpegls_encode(frame) for frame in cine(count)]
        with pytest.raises(Undecodable, match=f"{count} frames where 5"):
            transcode(part10(multi(cine()), JPEGLSLossless, frames=frames), ExplicitVRLittleEndian)


def test_frames_of_single_bits_are_packed_across_bytes():
    """13 x 5 bits a frame are no whole bytes (PS3.5 8.1.1)."""
    bits = np.random.default_rng(0).integers(0, 2, (3, 13, 5), dtype="u1")
    packed = np.packbits(bits.ravel(), bitorder="little")
    depth = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "WindowCenter": None, "WindowWidth": None}
    ds = change(dx(packed[:, None], **depth, Rows=13, Columns=5), NumberOfFrames=3)
    got = sent(part10(ds, JPEG2000Lossless, frames=[j2k(frame, bitspersample=1) for frame in bits]))
    assert got.PixelData[: len(packed)] == packed.tobytes()
    assert (got.BitsAllocated, len(got.PixelData) % 2) == (1, 0)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_planes_become_pixels_in_rle(photometric):
    """RLE has a segment a sample; what is sent has the samples of a pixel side by side, and says so."""
    pixels = colours(40, 30)
    ds = coloured(pixels, photometric)
    ds.file_meta = dcmread(BytesIO(part10(ds))).file_meta
    ds.compress(RLELossless, pixels, generate_instance_uid=False)
    got = sent(part10(change(ds, PlanarConfiguration=1), RLELossless))
    assert np.array_equal(values(got, "u1"), pixels)
    assert (got.PhotometricInterpretation, got.PlanarConfiguration) == (photometric, 0)
