"""One reading of lookup tables and windows: by display, copies, presentation states and peers alike."""

from __future__ import annotations

import copy
import subprocess
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from dicom_files import change, dx, part10, ramp
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from readings import AT, EQUIPMENT, again, errors, needs_dciodvfy, reading, written
from storage_peers import DX

from gateway.store import file_meta
from pipelines.decode import decode_film, stored_pixels
from pipelines.film import Operations
from pipelines.instance.transcode import transcode
from pipelines.pixels.luts import Lut, mend, read_lut, write_lut
from pipelines.report.derived import derive
from pipelines.report.presentation import presentation_state

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
NO_WINDOW = {"WindowCenter": None, "WindowWidth": None}
needs_dcmtk = pytest.mark.skipif(not Path("/usr/bin/dcmp2pgm").exists(), reason="needs the package dcmtk")


def item(table: np.ndarray, first: int, bits: int, *, entries: int | None = None, vr: str = "US") -> Dataset:
    """A lookup table as a sender may write it: `entries`, `first` and `bits` are what it says."""
    made = Dataset()
    entries = len(table) if entries is None else entries
    first = first - 65536 if vr == "SS" and first > 32767 else first
    made.add_new("LUTDescriptor", vr, [entries, first, bits])
    made.add_new("LUTData", "OW", table.astype("<u2").tobytes())
    return made


def packed(table: np.ndarray, first: int) -> Dataset:
    """Entries of 8 bits, two in a word."""
    made = item(table, first, 8)
    made.LUTData = table.astype("u1").tobytes()
    return made


def curve(entries: int = 4096, top: int = 4095) -> np.ndarray:
    return (np.linspace(0, 1, entries) ** 2 * top).round().astype("<u2")


FALLING = curve()[::-1]
TWELVE = ramp().astype(int)
SIGNED = {"PixelRepresentation": 1}
FULL = {"BitsStored": 16, "HighBit": 15}

# What a sender writes -> what is to be seen, as (H, W) in [0, 1]
FILMS = {
    "16 bits said, 12 filled": (dx(ramp(), VOILUTSequence=[item(curve(), 0, 16)]), curve()[TWELVE] / 4095),
    "16 bits said, 10 filled": (
        dx(ramp(), VOILUTSequence=[item(curve(top=1023), 0, 16)]),
        curve(top=1023)[TWELVE] / 1023,
    ),
    "16 bits said and filled": (
        dx(ramp(), VOILUTSequence=[item(curve(top=65535), 0, 16)]),
        curve(top=65535)[TWELVE] / 65535,
    ),
    "12 bits said, 11 filled": (
        dx(ramp(), VOILUTSequence=[item(curve(top=2000), 0, 12)]),
        curve(top=2000)[TWELVE] / 2047,
    ),
    "8 bits, packed": (dx(ramp(), VOILUTSequence=[packed(curve(top=255), 0)]), curve(top=255)[TWELVE] / 255),
    "8 bits, in words": (
        dx(ramp(), VOILUTSequence=[item(curve(top=255), 0, 8)]),
        curve(top=255)[TWELVE] / 255,
    ),
    "bits left out": (dx(ramp(), VOILUTSequence=[item(curve(), 0, 0)]), curve()[TWELVE] / 4095),
    "intercept -1024, US": (
        dx(ramp(), RescaleIntercept=-1024, VOILUTSequence=[item(curve(), 64512, 12)]),
        curve()[TWELVE] / 4095,
    ),
    "intercept -1024, SS": (
        dx(ramp(), RescaleIntercept=-1024, VOILUTSequence=[item(curve(), 64512, 12, vr="SS")]),
        curve()[TWELVE] / 4095,
    ),
    "signed pixels, US": (
        dx(ramp(dtype="<i2") - 2048, **SIGNED, VOILUTSequence=[item(curve(), 65536 - 2048, 12)]),
        curve()[TWELVE] / 4095,
    ),
    "unsigned pixels, SS 0x8000": (
        dx(ramp(top=65535), **FULL, VOILUTSequence=[item(curve(32768), 0x8000, 12, vr="SS")]),
        curve(32768)[np.maximum(ramp(top=65535).astype(int) - 32768, 0)] / 4095,
    ),
    "one entry more said, falling": (
        dx(ramp(), VOILUTSequence=[item(FALLING, 0, 12, entries=4097)]),
        FALLING[TWELVE] / 4095,
    ),
    "one entry fewer said, falling": (
        dx(ramp(), VOILUTSequence=[item(FALLING, 0, 12, entries=4095)]),
        FALLING[np.minimum(TWELVE, 4094)] / 4095,
    ),
    "longer than it says": (
        dx(ramp(), VOILUTSequence=[item(np.append(FALLING, [9] * 100), 0, 12, entries=4096)]),
        FALLING[TWELVE] / 4095,
    ),
    "an empty item beside a window": (
        dx(ramp(), VOILUTSequence=[Dataset()], WindowCenter=2048, WindowWidth=4096),
        TWELVE / 4095,
    ),
    "a modality table longer than it says": (
        dx(
            ramp(),
            ModalityLUTSequence=[
                change(item(np.append(FALLING, [7] * 9), 0, 12, entries=4096), ModalityLUTType="US")
            ],
            RescaleSlope=None,
            RescaleIntercept=None,
            RescaleType=None,
            WindowCenter=2048,
            WindowWidth=4096,
        ),
        FALLING[TWELVE] / 4095,
    ),
}
each_film = pytest.mark.parametrize(("film", "seen"), FILMS.values(), ids=FILMS)


def copied(source: bytes, operations: Operations) -> Dataset:
    ds, stored = stored_pixels(source)
    return again(derive(ds, stored, operations, equipment=EQUIPMENT, now=NOW))


def state(source: Dataset) -> Dataset:
    made = presentation_state(source, reading(), at=AT, equipment=EQUIPMENT)
    assert made is not None
    return again(made)


def by_pydicom(ds: Dataset) -> np.ndarray:
    """What pydicom's own reading of Modality and VOI LUT shows, to [0, 1]."""
    values = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds).astype(int), ds)
    tables = [ds[keyword].value[0] for keyword in ("ModalityLUTSequence", "VOILUTSequence") if keyword in ds]
    return values / (2.0 ** tables[-1].LUTDescriptor[2] - 1 if tables else 4095)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@each_film
def test_what_senders_write_is_shown_as_it_is_meant(film, seen, syntax):
    """The depth by the largest entry, the first value by the values there are, the entries by the data."""
    shown = decode_film(part10(copy.deepcopy(film), syntax)).pixels
    assert shown == pytest.approx(seen, abs=1e-4)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@each_film
def test_copies_show_the_same_to_us_and_to_others(film, seen, syntax):
    """Turned or inverted: what we show of the copy, and what pydicom shows of it, is what the film shows."""
    source = part10(copy.deepcopy(film), syntax)
    for operations, expected in (
        (Operations(turn=180), np.rot90(seen, 2)),
        (Operations(invert=True), 1 - seen),
    ):
        made = copied(source, operations)
        assert decode_film(written(made)).pixels == pytest.approx(expected, abs=1e-4)
        assert by_pydicom(made) == pytest.approx(expected, abs=2e-3)  # its window of 4096 has 4095 steps


@needs_dciodvfy
@each_film
def test_copies_and_states_of_them_have_no_error(tmp_path, film, seen):
    """Whatever was wrong with the film's own table; that a DX has other values is no concern of it."""
    source = part10(copy.deepcopy(film))
    before = {
        error
        for error in errors(dcmread(BytesIO(source)), tmp_path)
        if "LUT" not in error and "Lookup" not in error
    }
    for operations in (Operations(turn=90), Operations(invert=True)):
        assert not set(errors(copied(source, operations), tmp_path)) - before
    assert not errors(state(film), tmp_path)


@needs_dcmtk
@each_film
def test_dcmtk_shows_a_film_with_its_state_as_we_do(tmp_path, film, seen):
    """dcmp2pgm loads the state and renders the film with it."""
    (tmp_path / "film.dcm").write_bytes(part10(copy.deepcopy(film)))
    (tmp_path / "state.dcm").write_bytes(written(state(film)))
    command = ["/usr/bin/dcmp2pgm", "-p", "state.dcm", "film.dcm", "shown.pgm"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    shown = np.asarray(Image.open(tmp_path / "shown.pgm"), float) / 255
    assert np.abs(shown - seen).max() < 0.01


@each_film
def test_mending_twice_changes_nothing_more(film, seen):
    """What is written is read as what it was."""
    once = copy.deepcopy(film)
    mend(once)
    assert decode_film(part10(once)).pixels == pytest.approx(seen, abs=1e-4)
    twice = copy.deepcopy(once)
    mend(twice)
    assert twice == once


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("name", ["intercept -1024, US", "intercept -1024, SS", "signed pixels, US"])
def test_a_peer_of_another_transfer_syntax_is_told_what_lies_below_zero(name, syntax):
    """SS in Explicit VR (C.11.2.1.1): pydicom, at the other end, sees what we see; all else is as it was."""
    film, seen = FILMS[name]
    made = transcode(part10(copy.deepcopy(film), syntax), ExplicitVRLittleEndian)
    arrived = dcmread(BytesIO(made.dataset), force=True)
    arrived.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    (table,) = arrived.VOILUTSequence
    assert table["LUTDescriptor"].VR == "SS"
    assert table.LUTDescriptor[1] < 0
    assert by_pydicom(arrived) == pytest.approx(seen, abs=2e-3)
    assert np.array_equal(np.frombuffer(table.LUTData, "<u2"), curve())


@each_film
def test_a_table_goes_to_a_peer_of_another_transfer_syntax_as_it_is(film, seen):
    """What it shows to us is the same there."""
    implicit = part10(copy.deepcopy(film), ImplicitVRLittleEndian)
    made = bytes(transcode(implicit, ExplicitVRLittleEndian).dataset)
    meta = file_meta(DX, "1.2.3", ExplicitVRLittleEndian)
    assert decode_film(meta + made).pixels == pytest.approx(seen, abs=1e-4)


def test_values_below_zero_are_written_in_signed_words():
    """C.11.2.1.1: SS, also from Implicit VR."""
    table = item(curve(40000), 64512, 12)
    source = part10(dx(ramp(), RescaleIntercept=-1024, VOILUTSequence=[table]), ImplicitVRLittleEndian)
    (made,) = copied(source, Operations(turn=90)).VOILUTSequence
    assert made["LUTDescriptor"].VR == "SS"
    assert made.LUTDescriptor == [40000, -1024, 12]


def test_big_endian_tables_are_mended_once():
    """The words of OW are turned before: the copy holds them in little endian, and so they are read."""
    table = item(curve(), 0, 16)
    table.LUTData = np.frombuffer(table.LUTData, "<u2").astype(">u2").tobytes()
    source = part10(dx(ramp(dtype=">u2"), VOILUTSequence=[table]), ExplicitVRBigEndian)
    assert decode_film(source).pixels == pytest.approx(curve()[TWELVE] / 4095, abs=1e-4)
    (made,) = copied(source, Operations(turn=90)).VOILUTSequence
    assert np.array_equal(np.frombuffer(made.LUTData, "<u2"), curve())
    assert made.LUTDescriptor == [4096, 0, 12]


@pytest.mark.parametrize(
    ("start", "span"),
    [(-40, (0.0, 4095.0)), (4000, (0.0, 4095.0)), (70000, (0.0, 65535.0)), (40000, (-5.0, 65530.0))],
)
def test_a_table_that_starts_where_no_number_reaches_still_shows_the_same(start, span):
    """Cut off at the front, or its first entry repeated."""
    lut = Lut(start, curve(500).astype(np.float32) + 1, 4095)
    made = Dataset()
    write_lut(made, lut, span)
    read = read_lut(made, span, big=False)
    assert read is not None
    values = np.linspace(*span, 3000).round().astype(np.float32)
    assert np.array_equal(read.applied(values), lut.applied(values))


@pytest.mark.parametrize(
    "rescale", [("1", "1e9"), ("1", "1e300"), ("1e308", "0"), ("nan", "0"), ("1", "-inf")]
)
def test_values_beyond_all_tables_are_no_trouble(rescale):
    """The copy and the state of a film that shows nothing are made, in no time and little memory."""
    film = dx(ramp(), VOILUTSequence=[item(curve(), 0, 12)])
    change(film, RescaleSlope=rescale[0], RescaleIntercept=rescale[1])
    made = copied(part10(copy.deepcopy(film)), Operations(invert=True))
    assert len(made.VOILUTSequence[0].LUTData) <= 2 * 65536
    assert np.ptp(decode_film(written(made)).pixels) == 0
    assert len(written(state(film))) < 10**6


@pytest.mark.parametrize(
    "nothing",
    [
        {},
        {"LUTDescriptor": [4096, 0]},
        {"LUTData": b""},
        {"LUTData": b"\0" * 8192},
        {"LUTData": "no table"},
    ],
)
def test_what_holds_no_table_is_none(nothing):
    """An item without data, descriptor or light; nothing raises."""
    made = item(curve(), 0, 12) if nothing else Dataset()
    for keyword, value in nothing.items():
        if isinstance(value, str):
            del made[keyword]
            made.add_new(keyword, "LO", value)
        else:
            setattr(made, keyword, value)
    assert read_lut(made, (0.0, 4095.0)) is None


def test_an_empty_item_is_not_copied():
    """Readers that stumble over it find the window."""
    made = copied(part10(FILMS["an empty item beside a window"][0]), Operations(turn=90))
    assert "VOILUTSequence" not in made
    assert made.WindowWidth == 4096


def test_the_depth_of_a_dark_table_is_told_by_an_entry_that_no_value_reaches(tmp_path):
    """The inverse of a table without black has no white: its largest entry would tell too few bits."""
    bright = (3500 + ramp(1, 4096, 595)[0]).astype("<u2")
    source = part10(dx(ramp(), VOILUTSequence=[item(bright, 0, 12)]))
    made = copied(source, Operations(invert=True))
    assert decode_film(written(made)).pixels == pytest.approx(1 - bright[TWELVE] / 4095, abs=1e-4)
    assert made.VOILUTSequence[0].LUTDescriptor == [4097, 0, 12]
    assert np.frombuffer(made.VOILUTSequence[0].LUTData, "<u2")[-1] == 4095


# Windows


@pytest.mark.parametrize("width", [0, -100])
def test_a_window_of_no_width_is_none(width):
    """Shown as without one, or with the next that has a width; and a state says no such window."""
    film = dx(ramp(), WindowCenter=2048, WindowWidth=width)
    without = decode_film(part10(dx(ramp(), **NO_WINDOW))).pixels
    assert np.array_equal(decode_film(part10(copy.deepcopy(film))).pixels, without)
    assert "SoftcopyVOILUTSequence" not in state(film)
    next_one = dx(ramp(), WindowCenter=[9, 1000], WindowWidth=[width, 500])
    assert np.array_equal(
        decode_film(part10(copy.deepcopy(next_one))).pixels,
        decode_film(part10(dx(ramp(), WindowCenter=1000, WindowWidth=500))).pixels,
    )
    assert state(next_one).SoftcopyVOILUTSequence[0].WindowWidth == 500


@pytest.mark.parametrize("width", [0, -100])
@pytest.mark.parametrize("operations", [Operations(turn=90), Operations(turn=90, invert=True)], ids=repr)
def test_a_copy_says_no_window_of_no_width(width, operations):
    """pydicom raises for one, even where the next could be used; what is shown stays."""
    told = {
        "WindowCenter": [9, 1000, 2000],
        "WindowWidth": [width, 500, 900],
        "VOILUTFunction": "LINEAR_EXACT",
    }
    film = part10(dx(ramp(), **told, WindowCenterWidthExplanation=["NONE", "LUNG", "BONE"]))
    made = copied(film, operations)
    assert made.WindowWidth == [500, 900]
    assert made.WindowCenterWidthExplanation == ["LUNG", "BONE"]
    seen = apply_voi_lut(made.pixel_array, made) / 4095
    assert seen == pytest.approx(decode_film(written(made)).pixels, abs=0.01)
    shown = np.rot90(decode_film(film).pixels, -1)
    assert seen == pytest.approx(1 - shown if operations.invert else shown, abs=0.01)
    bare = copied(part10(dx(ramp(), WindowCenter=9, WindowWidth=width, VOILUTFunction="SIGMOID")), operations)
    assert not {"WindowCenter", "WindowWidth", "VOILUTFunction"} & set(bare.dir())


@pytest.mark.parametrize("window", [("2048", "nan"), ("inf", "4096")])
def test_a_window_that_is_no_number_is_copied_and_not_repeated(window):
    """Such a film is blank; a copy or a state of it is made all the same."""
    film = change(dx(ramp()), WindowCenter=window[0], WindowWidth=window[1])
    assert "SoftcopyVOILUTSequence" not in state(film)
    made = copied(part10(film), Operations(invert=True))
    assert np.ptp(decode_film(written(made)).pixels) == 0


def test_a_state_repeats_an_intercept_that_stands_alone():
    """Without a slope it is 1, for the display and for the state."""
    made = state(dx(ramp(), RescaleIntercept=-100, RescaleSlope=None))
    assert (made.RescaleSlope, made.RescaleIntercept) == (1, -100)


def test_lists_of_numbers_are_tables_too():
    """LUT Data in US instead of OW."""
    made = item(curve(), 0, 12)
    made.add_new("LUTData", "US", [int(value) for value in curve()])
    film = dcmread(BytesIO(part10(dx(ramp(), VOILUTSequence=[made]))))
    assert decode_film(part10(film)).pixels == pytest.approx(curve()[TWELVE] / 4095, abs=1e-4)
