"""Bytes to Film, against arrays that are known."""

from __future__ import annotations

import copy
import hashlib
import mmap
import struct
import time
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
from dicom_files import change, dx, part10, ramp, real_files
from pydicom import Dataset, uid
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


def shown(ds: Dataset, syntax: str = uid.ExplicitVRLittleEndian) -> np.ndarray:
    return decode_film(part10(ds, syntax)).pixels


def refused(data: bytes) -> Undecodable:
    with pytest.raises(Undecodable) as caught:
        decode_film(data)
    return caught.value


# Grey scale


def test_a_full_window_shows_the_stored_range():
    """12 bits in 16, LINEAR over all values: 0 is black, 4095 is white, straight between."""
    pixels = shown(dx(ramp()))
    assert pixels.dtype == np.float32
    assert pixels == pytest.approx(ramp() / 4095, abs=1e-6)


@pytest.mark.parametrize(
    ("photometric", "shape", "inverse"),
    [
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", None, True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", True),
    ],
)
def test_polarity_is_applied_once(photometric, shape, inverse):
    """MONOCHROME1 and INVERSE, said once or twice, invert once."""
    pixels = shown(dx(ramp(), PhotometricInterpretation=photometric, PresentationLUTShape=shape))
    assert pixels == pytest.approx(1 - ramp() / 4095 if inverse else ramp() / 4095, abs=1e-6)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", [0, 0.5 / 99, 49.5 / 99, 98.5 / 99, 1]),  # PS3.3 C.11.2.1.2.1, c 100, w 100
        ("LINEAR_EXACT", [0, 0, 0.49, 0.98, 1]),
        ("SIGMOID", 1 / (1 + np.exp(-4 * (np.array([0, 50, 99, 148, 4095]) - 100) / 100))),
    ],
)
def test_window_functions(function, expected):
    """The three functions of PS3.3 C.11.2.1."""
    stored = np.array([[0, 50, 99, 148, 4095]], dtype="<u2")
    pixels = shown(dx(stored, WindowCenter=100, WindowWidth=100, VOILUTFunction=function))
    assert pixels[0] == pytest.approx(expected, abs=0.006)


def test_of_several_windows_the_first_is_taken():
    """Window Center and Width may have several values."""
    several = shown(dx(ramp(), WindowCenter=[1000, 2048], WindowWidth=[500, 4096]))
    assert np.array_equal(several, shown(dx(ramp(), WindowCenter=1000, WindowWidth=500)))


def test_rescale_comes_before_the_window():
    """Slope and intercept, then the window in their output."""
    pixels = shown(dx(ramp(), RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=3096, WindowWidth=8192))
    assert pixels == pytest.approx((2 * ramp().astype(float) - 1000 + 1000.5) / 8191, abs=1e-3)


def lut(first: int, table: np.ndarray, bits: int, **extra) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(table) % 65536, first, bits]
    item["LUTDescriptor"].VR = "US"
    item.add_new("LUTData", "OW", table.astype("<u2").tobytes())
    return change(item, **extra)


def test_a_voi_lut_goes_before_the_window():
    """Entries below and above the table take its ends."""
    table = np.linspace(0, 1023, 1000).round() ** 2 / 1023
    item = lut(500, table, 10)
    pixels = shown(dx(ramp(), VOILUTSequence=[item]))
    expected = table.astype("u2")[np.clip(ramp().astype(int) - 500, 0, 999)] / 1023
    assert pixels == pytest.approx(expected, abs=1e-6)


def test_a_modality_lut_is_applied_before_the_window():
    """A table of 12 bits to 8, then a window of 8 bits."""
    item = lut(0, np.arange(4096) // 16, 8, ModalityLUTType="US")
    attributes = {"RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None}
    ds = dx(ramp(), ModalityLUTSequence=[item], WindowCenter=128, WindowWidth=256, **attributes)
    assert shown(ds) == pytest.approx((ramp() // 16) / 255, abs=1e-6)


def test_without_a_window_the_outermost_values_are_left_out():
    """More than 8 bits and no window: half a percent at each end is clipped."""
    pixels = shown(dx(ramp(top=1000), WindowCenter=None, WindowWidth=None))
    low, high = np.percentile(ramp(top=1000), (0.5, 99.5))
    assert pixels == pytest.approx(np.clip((ramp(top=1000) - low) / (high - low), 0, 1), abs=1e-5)


@pytest.mark.parametrize(
    "odd",
    [
        {"RescaleSlope": "0"},
        {"RescaleSlope": "NaN"},
        {"RescaleSlope": "inf"},
        {"RescaleIntercept": "-inf"},
        {"WindowWidth": "nan"},
        {"WindowCenter": "inf"},
    ],
)
def test_values_that_cannot_be_used_give_a_flat_picture(odd):
    """Never NaN: the exposure gate calls a flat picture blank."""
    film = decode_film(part10(dx(ramp(), **odd)))
    assert np.isfinite(film.pixels).all()
    assert np.ptp(film.pixels) == 0


@pytest.mark.parametrize("value", [0, 2000, 4095])
@pytest.mark.parametrize("windowed", [True, False])
def test_a_constant_film_is_flat(value, windowed):
    """One value everywhere, with a window and without."""
    ds = dx(np.full((40, 30), value, "<u2"))
    film = decode_film(part10(ds if windowed else change(ds, WindowCenter=None, WindowWidth=None)))
    assert np.isfinite(film.pixels).all()
    assert np.ptp(film.pixels) == 0
    assert film.stored_range == 0


def test_the_stored_range_tells_a_washed_out_film():
    """A tenth of the grey range, whatever the window makes of it."""
    film = decode_film(part10(dx((1800 + ramp() // 10).astype("<u2"))))
    assert film.stored_range == pytest.approx(0.098, abs=0.003)


# Stored values


def test_bits_beside_bits_stored_are_left_out():
    """An overlay in the high bits, and values shifted up (HighBit 15), give the same picture."""
    overlaid = (ramp() | 0x8000).astype("<u2")
    shifted = (ramp() << 4 | 0x5).astype("<u2")
    assert np.array_equal(shown(dx(overlaid)), shown(dx(ramp())))
    assert np.array_equal(shown(dx(shifted, HighBit=15)), shown(dx(ramp())))


def overlaid(position: int) -> Dataset:
    """A film with an overlay embedded in bit 15, and the group that says where."""
    bits = np.random.default_rng(0).integers(0, 2, (40, 30)).astype("<u2") << 15
    ds = dx(ramp() | bits)
    ds.add_new(0x60000010, "US", 40)
    ds.add_new(0x60000011, "US", 30)
    ds.add_new(0x60000100, "US", 16)
    ds.add_new(0x60000102, "US", position)
    return ds


WIDE = ramp(top=6000)  # needs 13 bits


@pytest.mark.parametrize(
    "wrapped",
    [
        dx(WIDE),
        dx(WIDE.astype("<i2") - 3000, PixelRepresentation=1),
        dx(ramp(dtype="<i2") - 100),  # signed, and not said to be
        overlaid(14),
    ],
    ids=["unsigned", "signed", "below zero", "an overlay elsewhere"],
)
def test_values_above_bits_stored_are_no_film(wrapped):
    """Masked, the brightest would be black: nobody took such a picture."""
    for read in (decode_film, stored_pixels):
        with pytest.raises(Undecodable, match="above the 12") as refused:
            read(part10(copy.deepcopy(wrapped)))
        assert refused.value.reason is Reason.PIXELS_MISMATCH


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (RLELossless, lambda a: rle(a)),
        (JPEGLosslessSV1, lambda a: imagecodecs.ljpeg_encode(a, bitspersample=16)),
        (JPEGLSLossless, imagecodecs.jpegls_encode),
        (JPEG2000Lossless, lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", reversible=True)),
    ],
)
def test_nor_are_they_when_compressed(syntax, encode):
    """RLE and codestreams of more bits than the header's; a preview at reduced resolution sees it, too."""
    wide = np.ascontiguousarray(np.kron(WIDE, np.ones((40, 40), "<u2")))
    for read in (decode_film, stored_pixels):
        with pytest.raises(Undecodable, match="above the 12"):
            read(part10(dx(wide), syntax, frames=[encode(wide)]))


def test_overlays_signs_and_padding_explain_the_bits_above_bits_stored():
    """An overlay where Overlay Bit Position says, and a padding value that no pixel can have."""
    assert np.array_equal(shown(overlaid(15)), shown(dx(ramp())))
    padded = ramp()
    padded[:5] = 0xFFFF
    assert shown(dx(padded, PixelPaddingValue=0xFFFF)).shape == (40, 30)


def test_signed_values_keep_their_sign():
    """12 bits signed in 16, sign extended or not."""
    values = ramp(dtype="<i2") - 2048
    window = {"WindowCenter": 0, "WindowWidth": 4096, "PixelRepresentation": 1}
    extended = shown(dx(values, **window))
    assert extended == pytest.approx(ramp() / 4095, abs=1e-6)
    assert np.array_equal(shown(dx(values & 0xFFF, **window)), extended)


@pytest.mark.parametrize(("bits", "dtype"), [(8, "u1"), (10, "<u2"), (16, "<u2"), (32, "<u4")])
def test_other_depths(bits, dtype):
    """8 to 32 bits."""
    top = 2**bits - 1
    depth = {"BitsAllocated": np.dtype(dtype).itemsize * 8, "BitsStored": bits, "HighBit": bits - 1}
    pixels = shown(dx(ramp(top=top, dtype=dtype), **depth, WindowCenter=2 ** (bits - 1), WindowWidth=2**bits))
    assert pixels == pytest.approx(np.linspace(0, 1, 1200).reshape(40, 30), abs=0.003)


def test_padding_is_left_out_of_the_average_and_shown_black():
    """A padded frame round a grey film: no grey bleeds, in either polarity."""
    stored = np.full((1200, 1200), 4095, "<u2")
    stored[100:1100, 103:1097] = 1000
    for photometric, grey in (("MONOCHROME2", 1000 / 4095), ("MONOCHROME1", 1 - 1000 / 4095)):
        film = decode_film(part10(dx(stored, PixelPaddingValue=4095, PhotometricInterpretation=photometric)))
        assert np.unique(film.pixels.round(3)) == pytest.approx([0, grey], abs=1e-3)


def test_a_range_of_padding():
    """PixelPaddingRangeLimit: everything between is padding."""
    stored = np.tile(np.array([0, 5, 10, 2000], "<u2"), (4, 1))
    film = decode_film(part10(dx(stored, PixelPaddingValue=0, PixelPaddingRangeLimit=10)))
    assert film.pixels[0] == pytest.approx([0, 0, 0, 2000 / 4095], abs=1e-6)


def colour(values: np.ndarray, photometric: str, **attributes) -> Dataset:
    attributes = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PlanarConfiguration": 0} | attributes
    ds = dx(np.ascontiguousarray(values), PhotometricInterpretation=photometric, **attributes)
    return change(ds, SamplesPerPixel=3, WindowCenter=None, WindowWidth=None)


def test_colour_becomes_luminance():
    """RGB in either planar configuration, YBR_FULL and YBR_FULL_422."""
    rgb = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype="u1")
    luminance = rgb @ [0.299, 0.587, 0.114] / 255
    planar = colour(rgb.transpose(2, 0, 1), "RGB", PlanarConfiguration=1, Rows=8, Columns=6)
    assert shown(colour(rgb, "RGB")) == pytest.approx(luminance, abs=1e-5)
    assert shown(planar) == pytest.approx(luminance, abs=1e-5)
    assert shown(colour(rgb, "YBR_FULL")) == pytest.approx(rgb[..., 0] / 255, abs=1e-6)
    packed = np.stack([rgb[:, ::2, 0], rgb[:, 1::2, 0], rgb[:, ::2, 1], rgb[:, ::2, 2]], axis=-1)
    ds = colour(packed, "YBR_FULL_422", Rows=8, Columns=6)
    assert shown(ds) == pytest.approx(rgb[..., 0] / 255, abs=1e-6)


def test_a_palette_is_looked_up_before_it_is_averaged():
    """Index 1 of a palette is white, 2 is black: their numbers mean nothing."""
    index = np.array([[0, 1], [2, 1]], dtype="u1")
    ds = dx(index)
    change(ds, PhotometricInterpretation="PALETTE COLOR", BitsAllocated=8, BitsStored=8, HighBit=7)
    for name in ("Red", "Green", "Blue"):
        ds.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [3, 0, 16])
        table = np.array([32768, 65535, 0], "<u2").tobytes()
        ds.add_new(f"{name}PaletteColorLookupTableData", "OW", table)
    assert shown(ds) == pytest.approx(np.array([[0.5, 1], [0, 1]]), abs=1e-4)


def test_one_bit_pixels():
    """Packed, the first pixel in the lowest bit (PS3.5 8.1.1)."""
    bits = np.random.default_rng(0).integers(0, 2, (16, 13), dtype="u1")
    packed = np.packbits(bits.ravel(), bitorder="little")
    packed = np.append(packed, np.zeros(len(packed) % 2, "u1"))
    depth = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "Rows": 16, "Columns": 13}
    ds = dx(packed[:, None], **depth, WindowCenter=None, WindowWidth=None)
    assert np.array_equal(shown(ds), bits)


# Size and shape


@pytest.mark.parametrize(("rows", "columns"), [(512, 400), (2500, 2048), (700, 513), (1023, 1), (3, 5000)])
def test_the_preview_is_an_area_average(rows, columns):
    """At most 512 long, the mean kept, nothing enlarged."""
    stored = np.random.default_rng(0).integers(0, 4096, (rows, columns)).astype("<u2")
    film = decode_film(part10(dx(stored)))
    assert max(film.pixels.shape) == min(512, max(rows, columns))
    assert film.scale == pytest.approx((rows / film.pixels.shape[0], columns / film.pixels.shape[1]))
    assert film.pixels.mean() == pytest.approx(stored.mean() / 4095, abs=0.01)


@pytest.mark.parametrize("white", [False, True], ids=["noise", "all white"])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("times", [1, 2, 3, 4, 5, 6, 8, 12])
def test_blocks_of_any_size_add_up(times, bits, white):
    """Sums in words that are as narrow as may be: each pixel is the mean of its block, white included."""
    top = (1 << bits) - 1
    noise = np.random.default_rng(times).integers(0, top + 1, (60 * times, 64 * times))
    stored = (np.full_like(noise, top) if white else noise).astype("u1" if bits == 8 else "<u2")
    depth = {"BitsAllocated": 8 if bits == 8 else 16, "BitsStored": bits, "HighBit": bits - 1}
    whole = {"WindowCenter": (top + 1) / 2, "WindowWidth": top + 1}
    film = decode_film(part10(dx(stored, **depth, **whole)), long_side=64)
    means = stored.reshape(60, times, 64, times).mean(axis=(1, 3))
    assert film.pixels == pytest.approx(means / top, abs=1e-6)


def test_a_gradient_stays_in_its_place():
    """The average does not shift the picture."""
    stored = np.broadcast_to(np.linspace(0, 4095, 1500).astype("<u2"), (1100, 1500))
    pixels = decode_film(part10(dx(np.ascontiguousarray(stored)))).pixels
    centres = (np.arange(512) + 0.5) / 512
    assert np.abs(pixels - centres).max() < 0.002


def test_pixels_are_made_square():
    """Rows twice as far apart as columns: the picture becomes half as wide."""
    stored = ramp(60, 60)
    assert shown(dx(stored, ImagerPixelSpacing=[0.4, 0.2])).shape == (60, 30)
    assert shown(dx(stored, ImagerPixelSpacing=None, PixelAspectRatio=[1, 2])).shape == (30, 60)
    assert shown(dx(stored, ImagerPixelSpacing=[0.0, 0.2])).shape == (60, 60)
    assert shown(dx(stored, ImagerPixelSpacing=[1000, 0.2])).shape == (60, 60)


def test_a_person_may_ask_for_a_larger_picture():
    """`long_side` is for the console."""
    film = decode_film(part10(dx(ramp(2000, 1000))), long_side=1024)
    assert film.pixels.shape == (1024, 512)


def test_from_a_path_a_map_or_bytes(tmp_path):
    """All three ways in give the same film."""
    path = tmp_path / "film.dcm"
    path.write_bytes(part10(dx(ramp())))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        films = [decode_film(source) for source in (path, mapped, path.read_bytes())]
    assert all(np.array_equal(film.pixels, films[0].pixels) for film in films)
    assert films[0].header.transfer_syntax_uid == uid.ExplicitVRLittleEndian


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


def rle(values: np.ndarray) -> bytes:
    """PS3.5 Annex G: the high bytes, then the low bytes, as literal runs."""
    segments = []
    for plane in (values >> 8, values & 0xFF):
        raw = plane.astype("u1").tobytes()
        pieces = [raw[i : i + 128] for i in range(0, len(raw), 128)]
        runs = b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)
        segments.append(runs + b"\0" * (len(runs) % 2))
    offsets = [2, 64, 64 + len(segments[0]), *[0] * 13]
    return struct.pack("<16I", *offsets) + b"".join(segments)


CODECS = {
    JPEGLosslessSV1: lambda a: imagecodecs.ljpeg_encode(a, bitspersample=12),
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEG2000Lossless: lambda a: imagecodecs.jpeg2k_encode(a, level=0, codecformat="j2k", bitspersample=12),
    HTJ2KLossless: imagecodecs.htj2k_encode,
    RLELossless: rle,
}


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


def padded(data: bytes, behind: bytes, size: int = 2400) -> bytes:
    """A native film whose Pixel Data element is longer than its pixels."""
    at = len(data) - size
    assert data[at - 4 : at] == struct.pack("<I", size)
    return data[: at - 4] + struct.pack("<I", size + len(behind)) + data[at:] + behind


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


# Hostile files

PREAMBLE = b"\0" * 128 + b"DICM"


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    if vr in (b"SQ", b"OB", b"OW", b"UN", b"UT"):
        return struct.pack("<HH2sHI", group, number, vr, 0, size) + value
    return struct.pack("<HH2sH", group, number, vr, size) + value


def head(ds: Dataset | None = None, syntax: str = uid.ExplicitVRLittleEndian) -> bytes:
    """A whole file without pixels, to be continued."""
    return part10(change(ds or dx(ramp()), PixelData=None), syntax)


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
    """Nested sequences, lengths of 4 GiB; in seconds, without the memory they ask for."""
    start = time.monotonic()
    error = refused(head() + tail)
    assert error.reason in (Reason.UNREADABLE, Reason.NO_PIXELS)
    assert time.monotonic() - start < 5


def test_half_a_million_elements():
    """The parser stops before they cost minutes."""
    many = b"".join(
        element(0x7001 + 2 * (i >> 15), i & 0x7FFF | 0x1000, b"LO", b"x ") for i in range(500_000)
    )
    start = time.monotonic()
    assert refused(head() + many).reason is Reason.UNREADABLE
    assert time.monotonic() - start < 10


def test_a_deflate_bomb_is_not_inflated():
    """1 GiB of zeros in a megabyte."""
    data = part10(dx(ramp()), DeflatedExplicitVRLittleEndian)
    at = data.index(DeflatedExplicitVRLittleEndian.encode())
    meta = data[: 132 + 12 + struct.unpack_from("<I", data, 140)[0]]
    assert at < len(meta)
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = b"".join(bomb.compress(b"\0" * 2**20) for _ in range(1024)) + bomb.flush()
    assert refused(meta + body).reason is Reason.UNREADABLE


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
    """A valid film, or a reason; in seconds."""
    start = time.monotonic()
    film_or_reason(path)
    assert time.monotonic() - start < 10


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
