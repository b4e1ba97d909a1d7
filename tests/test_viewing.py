"""What a browser gets of a film, against values that are known."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from dicom_files import change, dx, part10, ramp
from PIL import Image
from pydicom import Dataset

from pipelines.decode import decode_film
from pipelines.pixels.viewing import View, png_of, thumbnail_of, view

FEW = np.array([[0, 100, 2000], [4000, 4095, 7]], np.uint16)


def seen(ds: Dataset, **wishes: int) -> View:
    return view(part10(ds), **wishes)


def values(shown: View) -> np.ndarray:
    """What the numbers stand for."""
    return shown.pixels * shown.step + shown.offset


def greys(shown: View) -> np.ndarray:
    return shown.table[shown.pixels]


def lut(entries: list[int], start: int = 0, bits: int = 16) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), start, bits]
    item.LUTData = np.array(entries, "<u2").tobytes()
    return item


def test_stored_values_come_as_they_are() -> None:
    """The numbers begin at the lowest value, and nothing is rounded."""
    shown = seen(dx(FEW))
    assert values(shown).tolist() == FEW.tolist()
    assert shown.step == 1


def test_signed_values_go_below_zero() -> None:
    signed = np.array([[-2048, -1], [0, 2047]], np.int16)
    shown = seen(dx(signed.astype(np.int16), PixelRepresentation=1))
    assert values(shown).tolist() == signed.tolist()


def test_slope_and_intercept_are_applied() -> None:
    """Windows speak of values after them (PS3.3 C.11.1)."""
    shown = seen(change(dx(FEW), RescaleSlope="0.5", RescaleIntercept="-1000"))
    assert values(shown).tolist() == (FEW * 0.5 - 1000).tolist()
    assert shown.step == 0.5


def test_a_modality_lut_is_applied() -> None:
    """Values above its last entry take that."""
    shown = seen(
        change(dx(FEW), RescaleSlope=None, RescaleIntercept=None, ModalityLUTSequence=[lut([5, 900, 300])])
    )
    assert values(shown).tolist() == [[5, 300, 300], [300, 300, 300]]


def test_values_too_many_for_16_bits_are_spaced_evenly() -> None:
    """A table has 65,536 entries at most."""
    wide = np.array([[0, 1 << 20], [1 << 30, (1 << 31) - 1]], np.uint32)
    shown = seen(dx(wide, BitsAllocated=32, BitsStored=32, HighBit=31))
    assert len(shown.table) <= 65536
    assert np.abs(values(shown) - wide).max() <= shown.step


@pytest.mark.parametrize(
    "attributes",
    [
        {"WindowCenter": "2000", "WindowWidth": "1000"},
        {"WindowCenter": "2000", "WindowWidth": "1000", "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": "2000", "WindowWidth": "1000", "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": None, "WindowWidth": None, "VOILUTSequence": [lut(list(range(0, 65536, 16)))]},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        {"RescaleSlope": "2", "RescaleIntercept": "-100", "WindowCenter": "3000", "WindowWidth": "4000"},
        {"PixelPaddingValue": 0},
    ],
    ids=["window", "sigmoid", "exact", "none", "lut", "monochrome1", "rescaled", "padding"],
)
def test_it_is_shown_first_as_the_gates_see_it(attributes: dict[str, object]) -> None:
    """By the film's own window, table and polarity; one grey of 255 is the rounding."""
    ds = change(dx(ramp(60, 50)), **attributes)
    expected = decode_film(part10(ds)).pixels
    assert np.abs(greys(seen(ds)) / 255 - expected).max() <= 0.6 / 255


def test_windows_are_those_of_the_header() -> None:
    """All of them, in their order, in values."""
    ds = change(dx(FEW), WindowCenter=["2000", "100"], WindowWidth=["1000", "50"])
    assert seen(ds).windows == ((2000.0, 1000.0), (100.0, 50.0))


def test_without_a_window_the_first_is_what_is_shown() -> None:
    """A hand that drags goes on from what it sees."""
    shown = seen(change(dx(ramp(60, 50)), WindowCenter=None, WindowWidth=None))
    ((centre, width),) = shown.windows
    inside = (values(shown) > centre - width / 2) & (values(shown) < centre + width / 2)
    assert 0.9 < inside.mean() < 1


def test_monochrome1_is_white_at_the_low_end() -> None:
    shown = seen(
        change(dx(ramp(60, 50)), PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    )
    assert shown.inverse
    assert shown.table[0] == 255 > shown.table[-1]


def test_padding_has_a_number_of_its_own_and_is_black() -> None:
    """Also where the lowest values are white."""
    pixels = np.full((20, 20), 3000, np.uint16)
    pixels[:10] = 0
    inverse = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
    shown = seen(change(dx(pixels), PixelPaddingValue=0, **inverse))
    assert shown.padded
    assert not shown.pixels[:10].any()
    assert shown.pixels[10:].all()
    assert shown.table[0] == 0


def test_colours_come_as_their_luminance() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    ds = dx(
        red, BitsAllocated=8, BitsStored=8, HighBit=7, PhotometricInterpretation="RGB", PlanarConfiguration=0
    )
    shown = seen(change(ds, SamplesPerPixel=3, WindowCenter=None, WindowWidth=None))
    assert set(np.unique(shown.pixels)) == {76}


def test_a_large_film_is_made_smaller_and_says_how_far_apart_its_pixels_are() -> None:
    """Spacing is that of the picture that comes, not of the detector."""
    shown = seen(
        change(dx(ramp(400, 300)), ImagerPixelSpacing=["0.2", "0.2"], PixelSpacing=None), long_side=100
    )
    assert shown.pixels.shape == (100, 75)
    assert shown.spacing == pytest.approx((0.8, 0.8))


def test_values_that_are_no_numbers_end_in_a_flat_picture() -> None:
    """An overflow in slope and intercept harms nobody."""
    shown = seen(change(dx(FEW), RescaleSlope="1e300", RescaleIntercept="1e300"))
    assert shown.pixels.shape == FEW.shape
    assert np.isfinite([shown.step, shown.offset]).all()


def test_a_thumbnail_is_within_its_size_and_not_enlarged() -> None:
    for shape, size in (((700, 600), (274, 320)), ((90, 80), (80, 90)), ((300, 900), (480, 160))):
        picture = Image.open(BytesIO(thumbnail_of(part10(dx(ramp(*shape))))))
        assert (picture.format, picture.mode) == ("JPEG", "L")
        assert picture.size == pytest.approx(size, abs=1)


def test_a_picture_of_ours_keeps_its_colours() -> None:
    """A heat map is 8 bits in three samples."""
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 200
    ds = dx(
        red, BitsAllocated=8, BitsStored=8, HighBit=7, PhotometricInterpretation="RGB", PlanarConfiguration=0
    )
    picture = Image.open(BytesIO(png_of(part10(change(ds, SamplesPerPixel=3)))))
    assert picture.size == (6, 4)
    assert picture.getpixel((0, 0)) == (200, 0, 0)
