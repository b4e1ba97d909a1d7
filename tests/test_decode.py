"""Bytes to Film, against arrays that are known."""

from __future__ import annotations

import copy
import mmap

import imagecodecs
import numpy as np
import pytest
from decoding import colour, rle, shown
from dicom_files import change, dx, part10, ramp
from pydicom import Dataset, uid
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pipelines.decode import Undecodable, decode_film, stored_pixels
from pipelines.film import Reason

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


# Hostile files

PREAMBLE = b"\0" * 128 + b"DICM"
