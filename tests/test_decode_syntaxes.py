"""Every transfer syntax is decoded to the values that went in, and padding is told from pixels."""

from __future__ import annotations

import hashlib
import struct

import imagecodecs
import numpy as np
import pytest
from decoding import CODECS, colour, padded, refused
from dicom_files import change, dx, part10, ramp
from pydicom import uid
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pipelines import decode
from pipelines.codecs.frames import stored_frame
from pipelines.codecs.layout import Layout
from pipelines.decode import Undecodable, decode_film, file_digest, pixel_digest, stored_pixels
from pipelines.film import Reason
from pipelines.instance.part10 import parse
from pipelines.pixels.shrinking import most_shrink

# Transfer syntaxes


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_native_transfer_syntaxes(syntax):
    """The same film, the same digest."""
    pixels = ramp(dtype=">u2") if syntax == ExplicitVRBigEndian else ramp()
    ds, stored = stored_pixels(part10(dx(pixels), syntax))
    assert np.array_equal(stored, ramp())
    assert pixel_digest(stored, ds) == pixel_digest(ramp(), dx(ramp()))


@pytest.mark.parametrize("syntax", list(CODECS))
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_transfer_syntaxes(syntax, signed):
    """Every stored value comes back, signed or not, and the digest is that of the native film."""
    values = ramp(60, 50) - 2048 if signed else ramp(60, 50)
    coded = (values & 0xFFF).astype("<u2")  # as encoders of signed pixels write them
    data = part10(dx(coded, PixelRepresentation=int(signed)), syntax, frames=[CODECS[syntax](coded)])
    ds, stored = stored_pixels(data)
    assert np.array_equal(stored, values.astype("<i2" if signed else "<u2"))
    native = dx(values, PixelRepresentation=int(signed))
    assert pixel_digest(stored, ds) == pixel_digest(stored_pixels(part10(native))[1], native)


def test_lossy_jpeg_of_8_and_12_bits():
    """JPEG baseline and extended, near enough."""
    eight = ramp(64, 48, top=255, dtype="u1")
    depth = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "WindowCenter": 128, "WindowWidth": 256}
    data = part10(
        dx(eight, **depth), uid.JPEGBaseline8Bit, frames=[imagecodecs.jpeg8_encode(eight, level=95)]
    )
    assert decode_film(data).pixels == pytest.approx(eight / 255, abs=0.03)
    twelve = imagecodecs.jpeg8_encode(ramp(64, 48), level=95, bitspersample=12)
    data = part10(dx(ramp(64, 48)), uid.JPEGExtended12Bit, frames=[twelve])
    assert decode_film(data).pixels == pytest.approx(ramp(64, 48) / 4095, abs=0.03)


@pytest.fixture
def stitched(monkeypatch):
    """Every film counts as one of those so large that JPEG 2000 is read at a lower resolution."""
    monkeypatch.setattr(decode, "MOST_IN_FULL", 0)


@pytest.mark.usefixtures("stitched")
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless])
def test_jpeg_2000_is_decoded_at_a_lower_resolution(syntax, signed):
    """The same picture as from all of it, in values too."""
    y, x = np.mgrid[0:1200, 0:1000]
    values = (2000 + 1500 * np.sin(x / 90) * np.cos(y / 120)).astype("<i2") - (2048 if signed else 0)
    values = values if signed else values.astype("<u2")
    frame = CODECS[syntax](values)
    window = {"WindowCenter": 0 if signed else 2048, "PixelRepresentation": int(signed)}
    native = decode_film(part10(dx(values, **window)))
    small = decode_film(part10(dx(values, **window), syntax, frames=[frame]))
    assert small.pixels.shape == native.pixels.shape
    assert np.abs(small.pixels - native.pixels).mean() < 0.005


@pytest.mark.usefixtures("stitched")
def test_a_lower_resolution_is_not_made_of_twos_complement():
    """Signed values in a codestream marked unsigned; and steep edges, where filters overshoot Bits Stored."""
    values = np.where(np.indices((1100, 1100)).sum(0) // 60 % 2, 2047, -2048).astype("<i2")
    for ds, coded in (
        (dx(values, PixelRepresentation=1, WindowCenter=0), values & 0xFFF),
        (dx((values + 2048).astype("<u2")), values + 2048),
    ):
        frame = imagecodecs.jpeg2k_encode(coded.astype("<u2"), level=0, codecformat="j2k")
        native = decode_film(part10(ds)).pixels
        shown_small = decode_film(part10(ds, JPEG2000Lossless, frames=[frame])).pixels
        assert np.abs(shown_small - native).mean() < 0.02
        assert np.abs(shown_small - native).max() < 0.5


@pytest.mark.usefixtures("stitched")
@pytest.mark.parametrize("levels", [1, 2, 6])
def test_jpeg_2000_without_a_lower_resolution_is_decoded_whole(levels):
    """Three halvings are wanted; an encoder may have left fewer, or none."""
    values = ramp(4100, 300)
    frame = imagecodecs.jpeg2k_encode(
        values, level=0, codecformat="j2k", bitspersample=12, resolutions=levels
    )
    film = decode_film(part10(dx(values), JPEG2000Lossless, frames=[frame]))
    assert film.pixels.shape == (512, 37)
    assert np.abs(film.pixels - decode_film(part10(dx(values))).pixels).mean() < 0.01


def test_several_fragments_are_one_frame():
    """Fragments are joined; with frames, the first one is shown."""
    from pydicom.encaps import encapsulate

    frame = imagecodecs.jpegls_encode(ramp())
    ds = dx(ramp())
    ds.PixelData = encapsulate([frame], fragments_per_frame=3)
    assert np.array_equal(stored_pixels(part10(ds, JPEGLSLossless))[1], ramp())
    two = change(dx(ramp()), NumberOfFrames=2)
    data = part10(two, JPEGLSLossless, frames=[frame, imagecodecs.jpegls_encode(4095 - ramp())])
    assert decode_film(data).pixels == pytest.approx(ramp() / 4095, abs=1e-6)
    with pytest.raises(Undecodable, match="MULTI_FRAME"):
        stored_pixels(data)


@pytest.mark.usefixtures("stitched")
def test_padding_does_not_switch_off_the_lower_resolution():
    """Padding is black, the film beside it is what it is in full; no grey between the two is padding's."""
    y, x = np.mgrid[0:2300, 0:1900]
    film = (1800 + 900 * np.sin(x / 290) * np.cos(y / 320)).astype("<u2")
    for padding in (0, 4095):
        stored = film.copy()
        stored[:203] = stored[:, -157:] = padding
        stored[x + y < 900] = padding
        attributes = {"PixelPaddingValue": padding}
        frame = CODECS[JPEG2000Lossless](stored)
        data = part10(dx(stored, **attributes), JPEG2000Lossless, frames=[frame])
        assert _reduced_shape(data) == (575, 475)
        native, small = decode_film(part10(dx(stored, **attributes))), decode_film(data)
        apart = np.abs(native.pixels - small.pixels)
        assert apart.mean() < 0.005
        assert (apart > 0.05).mean() < 0.01
        assert ((native.pixels == 0) != (small.pixels == 0)).mean() < 0.01
        assert small.stored_range == pytest.approx(native.stored_range, abs=0.005)


@pytest.mark.usefixtures("stitched")
def test_a_film_of_padding_alone_is_black_at_a_lower_resolution():
    """Nothing is left to average, and nothing warns of it."""
    stored = np.full((1100, 1100), 4095, "<u2")
    data = part10(
        dx(stored, PixelPaddingValue=4095), JPEG2000Lossless, frames=[CODECS[JPEG2000Lossless](stored)]
    )
    assert decode_film(data).pixels.max() == 0


@pytest.mark.usefixtures("stitched")
@pytest.mark.parametrize("spacing", [[0.2, 0.21], [0.2, 0.1], [0.1, 0.3]])
def test_oblong_pixels_do_not_switch_off_the_lower_resolution(spacing):
    """The side with the longer pixels sets how much smaller the picture may come."""
    y, x = np.mgrid[0:2300, 0:1900]
    stored = (2000 + 1500 * np.sin(x / 90) * np.cos(y / 120)).astype("<u2")
    ds = dx(stored, ImagerPixelSpacing=spacing)
    data = part10(ds, JPEG2000Lossless, frames=[CODECS[JPEG2000Lossless](stored)])
    assert _reduced_shape(data)[0] < 1200
    small, native = (
        decode_film(data).pixels,
        decode_film(part10(dx(stored, ImagerPixelSpacing=spacing))).pixels,
    )
    assert small.shape == native.shape
    assert np.abs(small - native).mean() < 0.01  # OpenJPEG's lower resolutions lie half a pixel off


def _reduced_shape(data: bytes) -> tuple[int, ...]:
    """What the codec is asked for, for a preview."""
    part = parse(data)
    layout = Layout.of(part.ds)
    return stored_frame(part, layout, shrink=most_shrink(part.ds, layout, 512)).shape


@pytest.mark.parametrize("behind", [b"\0" * 7, b"\0" * 4096, b"\xff" * 64, b"\0\xff" * 8, b" "])
@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLosslessSV1, JPEG2000Lossless, HTJ2KLossless])
def test_padding_behind_a_codestream(syntax, behind):
    """However long; a codestream that is cut off is refused, padded as it may be."""
    frame = CODECS[syntax](ramp())
    assert np.array_equal(stored_pixels(part10(dx(ramp()), syntax, frames=[frame + behind]))[1], ramp())
    cut = part10(dx(ramp()), syntax, frames=[frame[: len(frame) * 3 // 4] + behind])
    assert refused(cut).reason is Reason.PIXELS_MISMATCH


@pytest.mark.parametrize("behind", [b"\0\0", b"\x17\x2a", bytes(16), bytes(58), bytes(512), b"\xff" * 4096])
def test_padding_behind_native_pixels(behind):
    """PS3.5 8.1.1 asks for an even length; some write whole blocks."""
    stored = stored_pixels(padded(part10(dx(ramp())), behind))[1]
    assert np.array_equal(stored, ramp())


@pytest.mark.parametrize(
    "behind",
    [bytes(60), bytes(80), bytes(2400), b"\x17" * 512, b"\x17" * 62],
    ids=["a row", "a column", "a film", "no padding", "more than a row"],
)
def test_more_pixels_than_the_header_says_are_no_padding(behind):
    """A row, a column or a frame more: the header may lie."""
    assert refused(padded(part10(dx(ramp())), behind)).reason is Reason.PIXELS_MISMATCH


def test_a_pixel_sequence_without_a_frame():
    """A basic offset table and nothing more, of one frame and of two."""
    for frames in (1, 2):
        ds = change(dx(ramp()), NumberOfFrames=frames)
        ds.PixelData = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
        for syntax in (JPEGLSLossless, JPEG2000Lossless, RLELossless):
            assert refused(part10(ds, syntax)).reason in (Reason.DECODE_FAILED, Reason.PIXELS_MISMATCH)


def test_half_a_pair_of_pixels_has_no_chroma():
    """4:2:2 is for an even number of columns."""
    ds = colour(np.zeros((4, 2), "u1"), "YBR_FULL_422", Rows=4, Columns=1)
    assert refused(part10(ds)).reason is Reason.PIXELS_MISMATCH


def test_data_set_trailing_padding():
    """(FFFC,FFFC), behind native and behind encapsulated pixels (PS3.10 7.2)."""
    trailing = struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 64) + bytes(64)
    frame = imagecodecs.jpegls_encode(ramp())
    for data in (part10(dx(ramp())), part10(dx(ramp()), JPEGLSLossless, frames=[frame])):
        assert np.array_equal(stored_pixels(data + trailing)[1], ramp())


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_unknown_vr_of_undefined_length_is_implicit_little_endian_in_any_file(syntax):
    """PS3.5 6.2.2: a sequence that a system forwarded without knowing it."""
    pixels = ramp(dtype=">u2") if syntax == ExplicitVRBigEndian else ramp()
    whole = part10(dx(pixels), syntax)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    at = whole.index(struct.pack(order + "HH", 0x0020, 0x0010))
    item = struct.pack("<HHI", 0x0008, 0x0100, 4) + b"CODE"
    items = struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    head = struct.pack(order + "HH", 0x0019, 0x1010)
    head += struct.pack("<I", 0xFFFFFFFF) if syntax == ImplicitVRLittleEndian else b"UN\0\0\xff\xff\xff\xff"
    data = whole[:at] + head + items + whole[at:]
    ds, stored = stored_pixels(data)
    assert np.array_equal(stored, ramp())
    assert ds[0x00191010].value[0].CodeValue == "CODE"
    assert decode_film(data).header.age_years == 50


def test_colours_that_differ_in_chroma_have_two_digests():
    """JPEG, 4:2:2, RLE planes and palettes: the luminance is the same, the picture is not."""
    grey = np.full((16, 16, 3), 128, "u1")
    tinted = grey.copy()
    tinted[..., 1] = 90
    jpegs = [imagecodecs.jpeg8_encode(p, colorspace="YCBCR", outcolorspace="YCBCR") for p in (grey, tinted)]
    digests = set()
    for frame in jpegs:
        ds = colour(grey, "YBR_FULL_422")
        digests.add(file_digest(part10(ds, uid.JPEGBaseline8Bit, frames=[frame])))
    for pixels in (grey, tinted):
        packed = np.stack(
            [pixels[:, ::2, 0], pixels[:, 1::2, 0], pixels[:, ::2, 1], pixels[:, ::2, 2]], axis=-1
        )
        digests.add(file_digest(part10(colour(packed, "YBR_FULL_422", Rows=16, Columns=16))))
        digests.add(file_digest(part10(colour(pixels, "RGB"))))
    assert len(digests) == 6 - 1  # the grey JPEG shows what the grey RGB does


def test_a_long_cine_is_compared_by_its_bytes(monkeypatch):
    """Decoding every frame of it takes longer than a decoder has."""
    frames = [imagecodecs.jpegls_encode(ramp()) for _ in range(3)]
    ds = change(dx(np.stack([ramp()] * 3), Rows=40, Columns=30), NumberOfFrames=3)
    native, coded = part10(ds), part10(ds, JPEGLSLossless, frames=frames)
    assert file_digest(native) == file_digest(coded)
    monkeypatch.setattr(decode, "MAX_COMPARED", 3599)
    assert file_digest(native) != file_digest(coded)
    part = parse(coded)
    assert file_digest(coded) == hashlib.sha256(coded[part.pixel_at :]).hexdigest()


def test_a_digest_counts_every_frame_and_the_palette():
    """A second frame that differs; an index that stands for another colour."""
    frames = np.stack([ramp(), ramp()])
    other = np.stack([ramp(), ramp()[::-1]])
    stacks = [change(dx(stack, Rows=40, Columns=30), NumberOfFrames=2) for stack in (frames, other)]
    assert len({file_digest(part10(ds)) for ds in stacks}) == 2
    digests = set()
    for blue in (0, 255):
        ds = dx(np.zeros((4, 4), "u1"), BitsAllocated=8, BitsStored=8, HighBit=7)
        change(ds, PhotometricInterpretation="PALETTE COLOR")
        for name, entry in (("Red", 9), ("Green", 9), ("Blue", blue)):
            ds.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [1, 0, 16])
            table = np.array([entry * 257], "<u2").tobytes()
            ds.add_new(f"{name}PaletteColorLookupTableData", "OW", table)
        digests.add(file_digest(part10(ds)))
    assert len(digests) == 2
