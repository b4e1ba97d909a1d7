"""What the exposure gate says of computed pictures, of phantoms and, where they are, of real films."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from pipelines.film import Box, Film, Finding, Header, Reason, Verdict
from pipelines.gates.exposure import JUDGED_PX, ExposureGate, exposed_areas, reduced
from pipelines.lab.films import phantom
from pipelines.lab.films.exposure_faults import FAULTS, Fault, Frame, exposed, framed, resized

FILMS = Path(__file__).parents[2] / "shared" / "films"
A_SITE = 25  # about so many real films of each site are looked at

Greys = NDArray[np.float32]
needs_films = pytest.mark.skipif(not FILMS.exists(), reason="the real films are not here (../shared/films)")


def look(greys: NDArray[np.floating]) -> tuple[Finding, ...]:
    return ExposureGate()(Film(Header(), greys.astype(np.float32)))


def said(greys: NDArray[np.floating]) -> set[Reason]:
    return {finding.reason for finding in look(greys) if finding.reason}


def noise(shape: tuple[int, int], sd: float = 0.02) -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(0, sd, shape)


def chest(height: int = 384, width: int = 320) -> Greys:
    """A crude chest: a bright body with two dark lungs, on dark air."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    body = 0.75 * np.exp(-((x / 0.9) ** 6))
    lungs = sum(0.5 * np.exp(-(((x - side) / 0.28) ** 4) - ((y / 0.7) ** 4)) for side in (-0.42, 0.42))
    return np.clip(0.08 + body - lungs + noise((height, width), 0.01), 0, 1).astype(np.float32)


def averaged(greys: NDArray[np.floating], times: int) -> NDArray[np.floating]:
    """Area-averaged, as the decoder makes the preview of a native film."""
    height, width = (n // times for n in greys.shape)
    return greys[: height * times, : width * times].reshape(height, times, width, times).mean(axis=(1, 3))


@cache
def real_films() -> tuple[tuple[str, Greys], ...]:
    """A few clean frontal films of each site, never of the accept and test splits."""
    with (FILMS / "manifest.csv").open(newline="") as lines:
        clean = [
            r for r in csv.DictReader(lines) if r["view"] == "frontal" and not r["split"] and not r["flag"]
        ]
    sites = {site: [r for r in clean if r["site"] == site] for site in sorted({r["site"] for r in clean})}
    some = [(site, row) for site, rows in sites.items() for row in rows[:: max(1, len(rows) // A_SITE)]]
    return tuple((site, open_film(FILMS / row["file"])) for site, row in some)


def open_film(path: Path) -> Greys:
    return np.asarray(Image.open(path).convert("L"), dtype=np.float32) / 255


KINDS = (
    "BLANK",
    "WASHED_OUT",
    "CLIPPED",
    "OVEREXPOSED",
    "UNDEREXPOSED",
    "BORDER",
    "SEVERAL_FILMS",
)


@cache
def phantoms() -> tuple[Greys, ...]:
    return tuple(phantom.render("frontal", seed, (384, 320)) for seed in range(6))


def spoilt(fault: Fault, film: Greys) -> NDArray[np.floating]:
    return fault.make(film, np.random.default_rng(1), phantoms()[0])


def test_an_ordinary_film_is_good_in_every_respect() -> None:
    findings = look(chest())
    assert len(findings) == len(KINDS)
    assert all(
        f.verdict is Verdict.GOOD and f.reason is None and f.score >= f.high and f.detail for f in findings
    )


# Blank


@pytest.mark.parametrize("shape", [(64, 64), (224, 224), (384, 320), (512, 420)])
def test_noise_is_blank_at_every_size(shape: tuple[int, int]) -> None:
    assert said(np.clip(0.5 + noise(shape), 0, 1)) == {Reason.BLANK}


def test_noise_averaged_down_from_a_native_plate_is_blank() -> None:
    assert said(averaged(np.clip(0.5 + noise((2500, 2050)), 0, 1), 5)) == {Reason.BLANK}


def test_noise_that_a_narrow_window_stretched_over_all_greys_is_blank() -> None:
    assert said(np.clip(0.5 + noise((512, 400), 0.25), 0, 1)) == {Reason.BLANK}


def test_an_even_exposure_with_a_heel_effect_is_blank() -> None:
    y, x = np.mgrid[-1:1:400j, -1:1:300j]
    assert said(0.5 + 0.15 * y - 0.1 * x**2 + noise((400, 300))) == {Reason.BLANK}


def test_a_blank_plate_with_a_marker_or_a_collimator_is_blank() -> None:
    plate = np.clip(0.5 + noise((512, 420)), 0, 1)
    plate[40:80, 330:360] = 1
    assert said(plate) == {Reason.BLANK}
    plate[:60], plate[-60:], plate[:, :50], plate[:, -50:] = 0, 0, 0, 0
    assert said(plate) == {Reason.BLANK}


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0, -7.0, 1e30])
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (3, 2), (512, 512)])
def test_one_grey_is_blank(grey: float, shape: tuple[int, int]) -> None:
    assert said(np.full(shape, grey)) == {Reason.BLANK}


@pytest.mark.parametrize(
    "greys", [np.full((9, 9), np.nan), np.array([[0.1, np.inf]]), np.zeros((0, 5)), np.zeros(4)]
)
def test_what_is_no_picture_is_blank(greys: Greys) -> None:
    assert said(greys) == {Reason.BLANK}


def test_one_pixel_that_is_no_number_is_enough() -> None:
    greys = chest()
    greys[5, 5] = np.nan
    assert said(greys) == {Reason.BLANK}


# Every fault of the list

COMPUTED = [fault for fault in FAULTS if fault.barred and fault.reason != Reason.SEVERAL_FILMS]


def test_the_list_of_faults_has_every_kind_and_no_name_twice() -> None:
    assert {fault.reason for fault in FAULTS} == set(KINDS)
    assert len({(fault.reason, fault.name) for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("fault", COMPUTED, ids=lambda fault: f"{fault.reason}: {fault.name}")
def test_a_fault_made_of_a_phantom_is_found_by_its_name(fault: Fault) -> None:
    for film in phantoms():
        assert said(spoilt(fault, film)) & {fault.reason, *fault.also}


def test_phantoms_are_good_films() -> None:
    assert [said(film) for film in phantoms()] == [set()] * len(phantoms())


def test_films_are_judged_alike_at_every_size() -> None:
    film = phantom.render("frontal", 3, (512, 420))
    for shape in ((512, 420), (256, 210), (129, 105)):
        scores = [finding.score for finding in look(resized(film, shape))]
        assert scores == pytest.approx([f.score for f in look(film)], abs=0.05)


def test_a_large_film_is_judged_on_a_reduction_with_the_same_mean() -> None:
    film = np.random.default_rng(0).random((512, 400), dtype=np.float32)
    small = reduced(film)
    assert max(small.shape) == JUDGED_PX
    assert small.mean() == pytest.approx(film.mean(), abs=1e-5)
    assert small[3, 5] == pytest.approx(film[6:8, 10:12].mean(), abs=1e-6)


# Washed out, clipped, too dark, too bright


def test_a_black_frame_lends_a_washed_out_film_no_contrast() -> None:
    assert Reason.WASHED_OUT in said(np.pad(0.45 + 0.1 * chest(), 40))


def test_a_window_far_too_narrow_is_clipped() -> None:
    # its edges are as sharp as a seam's
    assert said(np.clip((chest() - 0.5) * 40, 0, 1)) == {Reason.CLIPPED, Reason.SEVERAL_FILMS}


def test_black_air_and_collimator_round_a_chest_are_not_clipping() -> None:
    greys = chest()
    greys[:, :50], greys[:, -50:] = 0, 0
    assert said(greys) == set()


@pytest.mark.parametrize(("steps", "reason"), [(3.5, Reason.OVEREXPOSED), (-3.5, Reason.UNDEREXPOSED)])
def test_an_exposure_far_off_is_named(steps: float, reason: Reason) -> None:
    assert all(reason in said(exposed(film, steps)) for film in phantoms())


@pytest.mark.parametrize("steps", [-0.7, 0.7])
def test_an_exposure_a_little_off_is_no_alarm(steps: float) -> None:
    assert all(said(exposed(film, steps)) == set() for film in phantoms())


def test_a_film_with_one_white_lung_is_no_alarm() -> None:
    y, x = np.mgrid[-1:1:384j, -1:1:320j]
    lung = np.exp(-(((x + 0.42) / 0.28) ** 4) - ((y / 0.7) ** 4))
    for film in phantoms():
        assert said(film * (1 - lung) + 0.9 * lung) == set()


# Border


def in_border(film: Greys, **how: float) -> Greys:
    return framed(film, np.random.default_rng(0), Frame(**how))


def sides(findings: tuple[Finding, ...]) -> tuple[float, float, float, float]:
    (box,) = [f.box for f in findings if f.reason is Reason.BORDER]
    assert box is not None
    return box.x0, box.y0, 1 - box.x1, 1 - box.y1


@pytest.mark.parametrize("times", [2, 3, 5])
@pytest.mark.parametrize("level", [0.0, 0.7, 1.0])
def test_a_small_film_in_a_border_is_found_with_its_box(times: int, level: float) -> None:
    findings = look(in_border(chest(), part=1 / times, level=level))
    assert {f.reason: f.verdict for f in findings if f.reason} == {Reason.BORDER: Verdict.BAD}
    expected = 0.5 - 0.5 / times
    assert all(expected - 0.03 < side < expected + 0.005 for side in sides(findings))


def test_a_crop_leaves_a_film_its_own_dark_air() -> None:
    film = chest()
    film[:, :80] = 0.015 + np.abs(noise((384, 80), 0.004))
    findings = look(in_border(film, part=1 / 2))
    assert sides(findings)[0] <= 0.25


def test_a_crop_leaves_a_tilted_film_its_corners() -> None:
    film = np.full((384, 384), 0.5, np.float32) + (chest(384, 384) - 0.4) / 2
    findings = look(in_border(film, part=1 / 2, tilt=10))
    corner = 0.5 - 0.25 * (np.cos(np.deg2rad(10)) + np.sin(np.deg2rad(10)))
    assert all(side < corner + 0.006 for side in sides(findings))


def test_a_crop_keeps_the_frame_that_belongs_to_a_film() -> None:
    inside = np.pad(in_border(chest(), part=0.8, level=1.0), 200)
    assert all(side <= 200 / min(inside.shape) for side in sides(look(inside)))


def test_a_border_with_noise_is_a_border() -> None:
    noisy = np.clip(in_border(chest(), part=1 / 3, level=0.4) + noise((384, 320)), 0, 1)
    assert said(noisy) == {Reason.BORDER}


def test_a_white_frame_inside_a_black_border_is_trimmed_too() -> None:
    inside = np.pad(in_border(chest(), part=1 / 2, level=1.0), 60)
    rows, columns = exposed_areas(inside)[-1]
    assert inside[rows, columns].size < 0.3 * inside.size


def test_a_marker_in_the_border_does_not_hide_it() -> None:
    greys = in_border(chest(), part=1 / 3)
    greys[20:40, 30:45] = 1
    assert Reason.BORDER in said(greys)


def test_collimation_of_a_few_per_cent_is_no_border() -> None:
    findings = look(np.pad(chest(), 16))
    assert all(f.verdict is Verdict.GOOD for f in findings)
    assert next(f.box for f in findings if f.box) != Box(0, 0, 1, 1)


# Several films

SEEN_GAPS = [fault for fault in FAULTS if fault.reason == Reason.SEVERAL_FILMS and "white gap" in fault.name]


@pytest.mark.parametrize("fault", SEEN_GAPS, ids=lambda fault: fault.name)
def test_two_films_with_a_white_gap_are_several(fault: Fault) -> None:
    assert all(Reason.SEVERAL_FILMS in said(spoilt(fault, film)) for film in phantoms()[1:])


def test_a_seam_is_found_in_both_directions_and_polarities() -> None:
    picture = np.hstack([phantoms()[1], np.ones((384, 12), np.float32), phantoms()[2]])
    for film in (picture, np.rot90(picture), 1 - picture):
        assert Reason.SEVERAL_FILMS in said(film)


def test_a_box_drawn_on_a_film_is_no_seam() -> None:
    film = phantoms()[3].copy()
    film[10:370, 120:122], film[10:370, 300:302], film[10:12, 120:302], film[368:370, 120:302] = 1, 1, 1, 1
    assert said(film) == set()


# Any array


@settings(max_examples=150, deadline=None)
@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_no_array_makes_it_raise(greys: Greys) -> None:
    findings = look(greys)
    assert findings
    assert all(np.isfinite(f.score) and (f.reason is None) == (f.verdict is Verdict.GOOD) for f in findings)


# Real films


@needs_films
def test_real_frontal_films_of_every_site_are_good() -> None:
    wrong = [(site, said(greys)) for site, greys in real_films() if said(greys)]
    assert len(real_films()) > A_SITE
    assert wrong == []


SHORT = (
    "window 6 times too narrow",
    "level half a window off",
)  # of .98, by docs/exposure-gate.md: 176 of 180


@needs_films
@pytest.mark.parametrize("fault", COMPUTED, ids=lambda fault: f"{fault.reason}: {fault.name}")
def test_a_fault_made_of_real_films_is_found(fault: Fault) -> None:
    films = real_films()[::3]
    missed = [site for site, greys in films if not said(spoilt(fault, greys))]
    assert len(missed) <= (fault.name in SHORT), missed
