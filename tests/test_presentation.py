"""The region as graphics on the original: in the right place, and the film as it was."""

from __future__ import annotations

import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dx, part10, ramp, real_radiographs
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian
from readings import AT, EQUIPMENT, again, errors, needs_dciodvfy, reading, written

from pipelines.decode import decode_film
from pipelines.film import Operations
from pipelines.header import read_header
from pipelines.reading import Condition
from pipelines.report.presentation import presentation_state

needs_dcmp2pgm = pytest.mark.skipif(not Path("/usr/bin/dcmp2pgm").exists(), reason="needs the package dcmtk")
MONO1 = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}


def state(source: Dataset | None = None, operations: Operations | None = None, **changes: object) -> Dataset:
    made = presentation_state(
        source or dx(ramp()),
        reading(**changes),
        at=AT,
        equipment=EQUIPMENT,
        operations=operations or Operations(),
    )
    assert made is not None
    return again(made)


def lut(entries: int, start: int, top: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [entries, start, top.bit_length()])
    item.add_new("LUTData", "OW", (np.linspace(0, 1, entries) ** 2 * top).astype("<u2").tobytes())
    return item


# Graphics


def test_the_region_is_a_box_with_text_on_the_original():
    """In pixels of the film from its top left corner; what it is, how likely, by whom, and what not for."""
    made = state(dx(ramp(400, 200)))
    (annotation,) = made.GraphicAnnotationSequence
    assert annotation.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"
    (outline,), (words,) = annotation.GraphicObjectSequence, annotation.TextObjectSequence
    assert outline.GraphicData == [120, 80, 150, 80, 150, 180, 120, 180, 120, 80]
    assert (outline.GraphicAnnotationUnits, outline.GraphicType) == ("PIXEL", "POLYLINE")
    assert words.UnformattedTextValue == (
        "Pneumothorax 0.91 (threshold 0.30)\r\nchest14 1.0, not for diagnosis"
    )
    assert annotation.GraphicLayer == made.GraphicLayerSequence[0].GraphicLayer


def test_a_region_found_on_a_turned_copy_lies_on_the_original():
    """Upside down: what was at the upper right is at the lower left."""
    made = state(dx(ramp(400, 200)), Operations(turn=180))
    (outline,) = made.GraphicAnnotationSequence[0].GraphicObjectSequence
    assert outline.GraphicData[:2] == [50, 220]
    assert outline.GraphicData[4:6] == [80, 320]


@pytest.mark.parametrize("changes", [{"region": None}, {"shown": ""}, {"shown": "Mass"}])
def test_without_a_region_there_is_no_state(changes):
    """Nothing would be drawn."""
    assert presentation_state(dx(ramp()), reading(**changes), at=AT, equipment=EQUIPMENT) is None


def test_the_whole_film_is_shown_and_never_flipped_or_turned():
    """Displayed area from 1\\1 to the last column and row, to fit, with the film's spacing."""
    made = state(dx(ramp(400, 200), ImagerPixelSpacing=[0.1, 0.2]))
    (area,) = made.DisplayedAreaSelectionSequence
    assert area.DisplayedAreaTopLeftHandCorner == [1, 1]
    assert area.DisplayedAreaBottomRightHandCorner == [200, 400]
    assert (area.PresentationSizeMode, area.PresentationPixelSpacing) == ("SCALE TO FIT", [0.1, 0.2])
    assert "ImageHorizontalFlip" not in made
    assert "ImageRotation" not in made


def test_it_is_ours_and_the_same_each_time():
    """Own series in the film's study; a retry is the same instance."""
    made = state()
    assert made.SOPInstanceUID == state().SOPInstanceUID != state(version="2").SOPInstanceUID
    assert made.StudyInstanceUID == "1.2.3"
    assert made.SeriesInstanceUID != "1.2.3.1"
    assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.3.1"
    assert (made.Modality, made.PresentationCreationDate) == ("PR", "20261120")
    assert read_header(made).ours


# The film as it was


@needs_dcmp2pgm
@pytest.mark.parametrize(
    "grey",
    [
        {"WindowCenter": [1500, 300], "WindowWidth": [900, 10]},
        MONO1 | {"WindowCenter": 1500, "WindowWidth": 900},
        {"RescaleSlope": 0.5, "RescaleIntercept": -100, "WindowCenter": 900, "WindowWidth": 700},
        {"PixelRepresentation": 1, "WindowCenter": 0, "WindowWidth": 3000},
        {"VOILUTSequence": Sequence([lut(3000, 500, 4095)]), "WindowCenter": 1, "WindowWidth": 1},
        {"ModalityLUTSequence": Sequence([lut(4096, 0, 1023)]), "WindowCenter": 300, "WindowWidth": 400}
        | dict.fromkeys(("RescaleSlope", "RescaleIntercept", "RescaleType")),
    ],
    ids=lambda grey: ",".join(grey),
)
def test_the_film_looks_as_before(tmp_path, grey):
    """DCMTK renders the film with the state; it is what the film shows without one."""
    source = dx(ramp(400, 200), **grey)
    (tmp_path / "film.dcm").write_bytes(part10(source))
    (tmp_path / "state.dcm").write_bytes(written(state(source)))
    command = ["/usr/bin/dcmp2pgm", "-p", "state.dcm", "film.dcm", "shown.pgm"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    shown = np.asarray(Image.open(tmp_path / "shown.pgm"), float) / 255
    expected = decode_film(tmp_path / "film.dcm").pixels
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).max() < 0.01


def test_a_film_without_a_window_gets_none():
    """What the film lacks is not invented; its shutter is kept."""
    bare = dict.fromkeys(("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"))
    made = state(dx(ramp(), **bare))
    assert "SoftcopyVOILUTSequence" not in made
    assert "RescaleSlope" not in made
    shutter = {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [15, 9], "RadiusOfCircularShutter": 9}
    made = state(dx(ramp(), **shutter))
    assert (made.ShutterShape, made.CenterOfCircularShutter) == ("CIRCULAR", [15, 9])
    assert made.ShutterPresentationValue == 0


EDGES = {
    "ShutterLeftVerticalEdge": 3,
    "ShutterRightVerticalEdge": 25,
    "ShutterUpperHorizontalEdge": 4,
    "ShutterLowerHorizontalEdge": 36,
}
CIRCLE = {"CenterOfCircularShutter": [15, 9], "RadiusOfCircularShutter": 9}


@needs_dcmp2pgm
@pytest.mark.parametrize(
    ("shutter", "repeated"),
    [
        ({"ShutterShape": "RECTANGULAR"}, None),
        ({"ShutterShape": "RECTANGULAR", **EDGES}, "RECTANGULAR"),
        ({"ShutterShape": "RECTANGULAR", **EDGES, "ShutterRightVerticalEdge": None}, None),
        ({"ShutterShape": "RECTANGULAR", **EDGES, "ShutterRightVerticalEdge": 1}, None),
        ({"ShutterShape": ["RECTANGULAR", "CIRCULAR"], **CIRCLE}, "CIRCULAR"),
        ({"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [15, 9]}, None),
        ({"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 30, 1]}, None),
        ({"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 30, 1, 30, 20]}, "POLYGONAL"),
        ({"ShutterShape": "", **EDGES}, None),
    ],
)
def test_a_shutter_is_repeated_with_its_whole_outline_or_not(tmp_path, shutter, repeated):
    """DCMTK loads no state with a shutter that lacks an edge."""
    source = dx(ramp(), **shutter)
    made = state(source)
    assert made.get("ShutterShape") == repeated
    assert ("ShutterPresentationValue" in made) == bool(repeated)
    assert ("ShutterLeftVerticalEdge" in made) == (repeated == "RECTANGULAR")
    (tmp_path / "film.dcm").write_bytes(part10(source))
    (tmp_path / "state.dcm").write_bytes(written(made))
    command = ["/usr/bin/dcmp2pgm", "-p", "state.dcm", "film.dcm", "shown.pgm"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_a_big_endian_table_is_written_little_endian():
    """The same numbers, in the byte order of what we write."""
    item = lut(4096, 0, 65535)
    expected = item.LUTData
    item.LUTData = np.frombuffer(expected, "<u2").astype(">u2").tobytes()
    source = dx(ramp(dtype=">u2"), VOILUTSequence=[item])
    source = dcmread(BytesIO(part10(source, ExplicitVRBigEndian)))
    assert state(source).SoftcopyVOILUTSequence[0].VOILUTSequence[0].LUTData == expected


# The judges


@needs_dciodvfy
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        MONO1,
        {"VOILUTSequence": Sequence([lut(3000, 500, 4095)])},
        {"ModalityLUTSequence": Sequence([lut(4096, 0, 65535)])}
        | dict.fromkeys(("RescaleSlope", "RescaleIntercept", "RescaleType")),
        {"PatientName": None, "StudyID": None, "AccessionNumber": None, "PatientAge": "68"},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [15, 9], "RadiusOfCircularShutter": 9},
        {"PixelAspectRatio": [1, 2], "ImagerPixelSpacing": None},
    ],
    ids=repr,
)
def test_states_have_no_error(tmp_path, attributes):
    """Whatever the film's grey scale, and whatever it lacks."""
    assert not errors(state(dx(ramp(), **attributes)), tmp_path)


@needs_dciodvfy
@pytest.mark.parametrize("path", real_radiographs(), ids=lambda path: path.name)
def test_real_films_have_states_without_an_error(tmp_path, path):
    """Every grey radiograph among the real files."""
    assert not errors(state(dcmread(path, stop_before_pixels=True)), tmp_path)


def test_a_condition_without_threshold_is_said_without_one():
    """Only what is known."""
    made = state(conditions=(Condition("Pneumothorax", 0.5),))
    words = made.GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue
    assert words.startswith("Pneumothorax 0.50\r\n")
