"""The heat map and ranked conditions as a picture, and as a Secondary Capture."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from dicom_files import dx, ramp, real_radiographs
from pydicom import dcmread
from readings import AT, EQUIPMENT, again, errors, needs_dciodvfy, reading

from pipelines.decode import decode_film
from pipelines.film import WHOLE, Box, Operations
from pipelines.header import read_header
from pipelines.lab.films.phantom import render
from pipelines.lab.films.phantom_dx import phantom_dx
from pipelines.reading import Condition
from pipelines.report.capture import (
    ABOVE,
    BELOW,
    FILM_HEIGHT,
    GAP,
    HEAD,
    MARGIN,
    MARK,
    REGION,
    WIDTH,
    capture,
    painted,
)

GREY = np.full((320, 240), 0.5, np.float32)
FILM = 424  # px: the width of a film that is broad enough


@cache
def film() -> np.ndarray:
    return render("frontal", 3, (320, 280)).astype(np.float32)


def count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((picture == colour).all(axis=-1).sum())


def panels(picture: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """The plain film and the film with heat, without their outermost pixels."""
    scale = min(FILM / columns, FILM_HEIGHT / rows)
    width, height = round(columns * scale), round(rows * scale)
    left = picture[HEAD : HEAD + height, MARGIN : MARGIN + width]
    right = picture[HEAD : HEAD + height, MARGIN + width + GAP : MARGIN + 2 * width + GAP]
    return left[2:-2, 2:-2].astype(int), right[2:-2, 2:-2].astype(int)


# The picture


@pytest.mark.parametrize("shape", [(320, 240), (240, 320), (500, 80), (40, 400), (1, 1)])
def test_the_picture_is_1200_wide_whatever_the_film(shape):
    """RGB, and the same reading the same picture."""
    picture = painted(np.full(shape, 0.5, np.float32), reading(), at=AT)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (WIDTH, 3)
    assert np.array_equal(picture, painted(np.full(shape, 0.5, np.float32), reading(), at=AT))


def test_the_film_is_shown_as_it_is_beside_the_film_with_heat():
    """Heat where the network saw it, none where it did not look, and no colour on the plain film."""
    heat = np.zeros((10, 10), np.float32)
    heat[:, 5:] = 1
    said = reading(heat=heat, crop=Box(0.0, 0.5, 1.0, 1.0), region=None)
    plain, warm = panels(painted(GREY, said), *GREY.shape)
    assert np.abs(plain - 128).max() <= 1
    height, width = warm.shape[:2]
    red = warm[..., 0] - warm[..., 2]
    assert red[: height // 2 - 8].max() == 0
    assert red[height * 3 // 4, width * 7 // 8] > 40
    assert abs(red[height * 3 // 4, width // 8]) <= 3


def test_the_region_is_framed_where_it_lies():
    """Its corners are on the frame's colour, in fractions of the film."""
    picture = painted(GREY, reading(heat=None, region=Box(0.25, 0.5, 0.75, 0.75)))
    _, warm = panels(picture, *GREY.shape)
    framed = np.argwhere(np.abs(warm - REGION).max(axis=-1) < 60)
    (top, left), (bottom, right) = framed.min(axis=0), framed.max(axis=0)
    height, width = warm.shape[:2]
    assert (top / height, bottom / height) == pytest.approx((0.5, 0.75), abs=0.02)
    assert (left / width, right / width) == pytest.approx((0.25, 0.75), abs=0.02)


def test_bars_are_as_long_as_probabilities_and_amber_from_the_threshold_on():
    """Ranked as they come; a mark at each threshold; what is healthy is never amber."""
    one = painted(GREY, reading(conditions=(Condition("Mass", 0.8, 0.3),), shown="", heat=None, region=None))
    low = painted(GREY, reading(conditions=(Condition("Mass", 0.4, 0.9),), shown="", heat=None, region=None))
    well = reading(conditions=(Condition("No Finding", 0.8, 0.3),), shown="", heat=None, region=None)
    amber, blue = count(one[HEAD:], ABOVE), count(low[HEAD:], BELOW)
    assert amber / blue == pytest.approx(2, rel=0.1)
    assert count(one, MARK) > 10
    assert count(low[HEAD:], ABOVE) == count(painted(GREY, well)[HEAD:], ABOVE) == 0


def test_what_is_odd_is_painted_too():
    """No conditions, many, no heat, a heat of NaN, a crop of one pixel, long names, numbers beyond [0, 1]."""
    many = tuple(Condition(f"Condition with a long name {n}", 1 - n / 30, 0.5) for n in range(30))
    wild = (Condition("x" * 300, 1.7, -0.2), Condition("", -0.5, None))
    nan = np.full((4, 4), np.nan, np.float32)
    for said in (
        reading(conditions=(), shown="", region=None),
        reading(conditions=many),
        reading(conditions=wild, heat=nan),
        reading(crop=Box(0.999, 0.999, 1.0, 1.0)),
        reading(heat=None, region=None, crop=WHOLE, exclusive=True),
    ):
        assert painted(film(), said, operations=Operations(turn=90)).shape[1] == WIDTH


# The object


def test_the_capture_shows_the_picture_and_says_whose_it_is():
    """WSD, derived from the original, in its study, in a series of its own, and ours."""
    source = dx(ramp())
    made = again(capture(source, film(), reading(), at=AT, equipment=EQUIPMENT))
    assert np.array_equal(made.pixel_array, painted(film(), reading(), at=AT))
    assert (made.ConversionType, made.ImageType) == ("WSD", ["DERIVED", "SECONDARY"])
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert made.StudyInstanceUID == source.StudyInstanceUID
    assert made.SeriesInstanceUID != source.SeriesInstanceUID
    assert (made.PatientName, made.PatientID) == ("Film^Test", "F1")
    header = read_header(made)
    assert header.ours


def test_the_same_reading_makes_the_same_capture():
    """A retry is the same instance; of a corrected copy it is another."""
    said = {"at": AT, "equipment": EQUIPMENT}
    one, two = (capture(dx(ramp()), film(), reading(), **said) for _ in range(2))
    turned = capture(dx(ramp()), film(), reading(), operations=Operations(turn=180), **said)
    assert one.SOPInstanceUID == two.SOPInstanceUID != turned.SOPInstanceUID
    assert one.SeriesInstanceUID == turned.SeriesInstanceUID


def test_nothing_of_the_patient_is_burned_in():
    """The picture depends on the film and the reading alone; the film's own burned-in text is told of."""
    plain = capture(dx(ramp()), film(), reading(), at=AT, equipment=EQUIPMENT)
    named = dx(ramp(), PatientName="Someone^Else", PatientID="9", AccessionNumber="8", StudyDate="20200101")
    other = capture(named, film(), reading(), at=AT, equipment=EQUIPMENT)
    assert plain.PixelData == other.PixelData
    assert plain.BurnedInAnnotation == "NO"
    for told in ("YES", None):
        made = capture(dx(ramp(), BurnedInAnnotation=told), film(), reading(), at=AT, equipment=EQUIPMENT)
        assert made.get("BurnedInAnnotation") == told


def test_what_was_lossy_stays_lossy():
    """PS3.3 C.7.6.1.1.5."""
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "12.5"}
    source = dx(ramp(), **lossy, LossyImageCompressionMethod="ISO_10918_1")
    made = capture(source, film(), reading(), at=AT, equipment=EQUIPMENT)
    assert (made.LossyImageCompression, made.LossyImageCompressionRatio) == ("01", 12.5)
    assert made.LossyImageCompressionMethod == "ISO_10918_1"


@needs_dciodvfy
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"BodyPartExamined": None, "Laterality": "R"},
        {"PatientName": None, "StudyID": None, "AccessionNumber": None, "PatientAge": "68"},
        {"LossyImageCompression": "01", "LossyImageCompressionRatio": "12.5"},
    ],
    ids=repr,
)
def test_captures_have_no_error(tmp_path, attributes):
    """Of phantoms, and whatever the source lacks."""
    source = phantom_dx("frontal", 3)
    for keyword, value in attributes.items():
        if keyword in source:
            delattr(source, keyword)
        if value is not None:
            source.add(dx(ramp(), **{keyword: value})[keyword])
    assert not errors(capture(source, film(), reading(), at=AT, equipment=EQUIPMENT), tmp_path)


@needs_dciodvfy
@pytest.mark.parametrize("path", real_radiographs(), ids=lambda path: path.name)
def test_real_films_have_captures_without_an_error(tmp_path, path):
    """Every grey radiograph among the real files, with its own pixels."""
    source = dcmread(path, stop_before_pixels=True)
    made = capture(source, decode_film(path).pixels, reading(), at=AT, equipment=EQUIPMENT)
    assert not errors(made, tmp_path)
