"""Broken pixels that decode all the same are told from whole ones, in every codec; whole films stay free."""

from __future__ import annotations

import csv
import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from encoded import CODECS, Codec, written
from harm.damage import DAMAGES, WRONG, deepened, sources, wrong
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit

from models import jpeg
from pipelines.decode import Undecodable, decode_film, stored_pixels
from pipelines.film import Film, Header, Reason, Verdict
from pipelines.gates.integrity import IntegrityGate
from pipelines.lab.films import phantom
from pipelines.pixels.damage import damage
from pipelines.pixels.wavelets import inversion
from tests.dicom_files import dx, part10

FILMS = Path(__file__).parents[2] / "shared" / "films"
NAMES = {codec.name: codec for codec in CODECS}
NATIVE = NAMES["native, explicit little"]
BASELINE, LOSSLESS = NAMES["JPEG baseline"], NAMES["JPEG lossless"]
WAVELETS = NAMES["JPEG 2000 lossless"]


@cache
def film(seed: int, bits: int) -> np.ndarray:
    """A frontal phantom of so many bits, with the noise of a detector."""
    greys = np.rint(phantom.render("frontal", seed, (384, 320)) * 255).astype(np.uint8)
    return deepened(greys, bits, np.random.default_rng(seed))


def found(codec: Codec, pixels: np.ndarray, data: bytes) -> str:
    """What decoding says of it; "" where it says nothing."""
    try:
        seen = decode_film(written(codec, pixels, data)).damage
    except Undecodable as error:
        return str(error.reason)
    return seen.words if seen else ""


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_a_whole_film_is_whole_in_every_codec(codec: Codec) -> None:
    """Nothing is found in what an encoder wrote."""
    for seed in (1, 2):
        pixels = film(seed, codec.bits)
        assert found(codec, pixels, codec.encode(pixels)) == ""


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_of_broken_films_hardly_any_goes_unseen(codec: Codec) -> None:
    """Each kind of damage once; by what decoding finds alone, without the other gates."""
    pixels, other = film(3, codec.bits), codec.encode(film(4, codec.bits))
    data = codec.encode(pixels)
    whole = pixels if codec.decode is None else codec.decode(data)
    passed = {n: hurt for n, hurt in _hurt(data, other, random.Random(5)) if not found(codec, pixels, hurt)}
    shares = {name: wrong(codec, hurt, whole) for name, hurt in passed.items()}
    unseen = {name: share for name, share in shares.items() if share is None or share >= WRONG}
    assert len(unseen) <= 1, unseen


def _hurt(data: bytes, other: bytes, rng: random.Random) -> list[tuple[str, bytes]]:
    return [(name, hurt(data, other, rng)) for name, hurt in DAMAGES.items() if name != "four bits flipped"]


def test_a_jpeg_that_ends_early_and_one_that_leaves_bytes() -> None:
    """The decoder says nothing of either: it fills with grey, and stops when it has enough."""
    pixels = film(1, 8)
    data = imagecodecs.jpeg8_encode(pixels, level=90)
    early, more = data[: len(data) // 2] + b"\xff\xd9", data[:-2] + bytes(range(64)) + b"\xff\xd9"
    assert imagecodecs.jpeg8_decode(early).shape == imagecodecs.jpeg8_decode(more).shape == pixels.shape
    with pytest.raises(Undecodable, match=r"damaged: .*ends before the picture does"):
        stored_pixels(written(BASELINE, pixels, early))
    with pytest.raises(Undecodable, match=r"damaged: .*goes on behind the end"):
        stored_pixels(written(BASELINE, pixels, more))


def test_two_codestreams_in_one_are_no_film() -> None:
    """Decoders show the first one."""
    pixels = film(1, 8)
    data = imagecodecs.jpeg8_encode(pixels, level=90)
    with pytest.raises(Undecodable, match=r"damaged: .*bytes are left"):
        stored_pixels(written(BASELINE, pixels, data + data))
    twelve = film(1, 12)
    data = WAVELETS.encode(twelve)
    with pytest.raises(Undecodable, match=r"damaged: .*bytes are left"):
        stored_pixels(written(WAVELETS, twelve, data + data))


def test_restart_intervals_are_counted(tmp_path: Path) -> None:
    """One interval missing, or out of turn, is a damaged film; all of them in order are none."""
    pixels = film(1, 8)
    path = tmp_path / "film.jpg"
    Image.fromarray(pixels).save(path, quality=90, restart_marker_rows=1)
    data = path.read_bytes()
    assert np.array_equal(stored_pixels(written(BASELINE, pixels, data))[1], imagecodecs.jpeg8_decode(data))
    coded = jpeg.segments(data)
    assert len(coded.segments) == pixels.shape[0] // 8
    begin, end = coded.segments[7]
    for hurt in (data[: begin - 2] + data[end:], data[: begin + 9] + data[end - 9 :]):
        with pytest.raises(Undecodable, match="damaged: "):
            stored_pixels(written(BASELINE, pixels, hurt))


@pytest.mark.parametrize("how", [{"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 3}])
def test_jpegs_of_other_encoders_are_whole(how: dict[str, object], tmp_path: Path) -> None:
    """Progressive scans, tables of their own, restarts within a row."""
    pixels = film(2, 8)
    path = tmp_path / "film.jpg"
    Image.fromarray(pixels).save(path, quality=85, **how)
    assert found(BASELINE, pixels, path.read_bytes()) == ""


def test_colour_is_checked_likewise(tmp_path: Path) -> None:
    """4:2:0 and 4:4:4, whole and cut."""
    grey = film(1, 8)
    colours = np.stack([grey, grey // 2, 255 - grey], axis=2)
    for sampling in (0, 2):
        path = tmp_path / f"{sampling}.jpg"
        Image.fromarray(colours).save(path, quality=90, subsampling=sampling)
        data = path.read_bytes()
        ds = dx(grey, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=0)
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        assert decode_film(part10(ds, JPEGBaseline8Bit, frames=[data])).damage is None
        with pytest.raises(Undecodable, match="damaged: "):
            decode_film(part10(ds, JPEGBaseline8Bit, frames=[data[: len(data) // 2] + b"\xff\xd9"]))


def test_a_marker_within_code_blocks_is_no_encoders() -> None:
    """OpenJPEG decodes it without a word."""
    pixels = film(1, 12)
    data = WAVELETS.encode(pixels)
    at = len(data) // 2
    hurt = data[:at] + b"\xff\xc8" + data[at + 2 :]
    assert imagecodecs.jpeg2k_decode(hurt).shape == pixels.shape
    with pytest.raises(Undecodable, match=r"damaged: .*no encoder writes there"):
        decode_film(written(WAVELETS, pixels, hurt))


def test_code_blocks_of_another_film_are_seen_in_full_resolution() -> None:
    """Their bytes are such as an encoder writes; only the detail that they make is not."""
    pixels, data, other = film(1, 12), WAVELETS.encode(film(1, 12)), WAVELETS.encode(film(2, 12))
    at = len(data) // 2
    hurt = data[:at] + other[-(len(data) - at) :]
    seen = decode_film(written(WAVELETS, pixels, hurt)).damage
    assert seen is not None
    assert "code blocks" in seen.words
    assert inversion(pixels)[0] < 1.5


def cut(pixels: np.ndarray, at: int, value: int = 0) -> np.ndarray:
    flat = pixels.ravel().copy()
    flat[at:] = value
    return flat.reshape(pixels.shape)


def test_a_film_that_is_filled_from_within_a_row_on() -> None:
    """With zeros or ones, to the end or over a piece; the box is where."""
    pixels = film(1, 12)
    at = 250 * 320 + 130
    for value in (0, 4095):
        seen = damage(cut(pixels, at, value))
        assert seen is not None
        assert (seen.box.y0, seen.box.y1) == (250 / 384, 1.0)
    hole = pixels.ravel().copy()
    hole[at : at + 5000] = 0
    seen = damage(hole.reshape(pixels.shape))
    assert seen is not None
    assert "is one value" in seen.words


def test_noise_and_what_moved() -> None:
    """Random bytes, and bytes that are missing, so that all behind them moves up and sideways."""
    pixels, rng = film(1, 12), np.random.default_rng(1)
    noisy = pixels.copy()
    noisy[200:240] = rng.integers(0, 4096, noisy[200:240].shape)
    assert "as noise has" in damage(noisy).words
    flat = pixels.ravel()
    moved = np.concatenate([flat[: 200 * 320 + 77], flat[220 * 320 + 200 :], flat[: 20 * 320 + 123]])
    assert "the picture breaks" in damage(moved.reshape(pixels.shape)).words


@pytest.mark.parametrize("bits", [8, 12])
def test_what_rooms_do_to_a_film_is_no_damage(bits: int) -> None:
    """Sharp collimators and shutters, straight or turned, black or white; markers, strips, borders."""
    y, x = np.mgrid[0:384, 0:320]
    top = (1 << bits) - 1
    strip = np.where((x // 7 + y // 11) % 3 == 0, top, 0)
    for seed in range(1, 7):
        for value in (0, top, top // 2):
            for shown in (
                y < 256,  # the lower third of a babygram
                (y > 40) & (y < 350) & (x > 30) & (x < 290),
                (y - 192) ** 2 + (x - 160) ** 2 < 150**2,
                y + x * 0.05 < 300,
                y - x * 0.4 < 200,
                x > 100,
                ~((y > 300) & (y < 340) & (x > 20) & (x < 90)),
            ):
                pixels = np.where(shown, film(seed, bits), value).astype(film(seed, bits).dtype)
                assert damage(pixels, wavelets=True, blocks=True) is None
        lettered = film(seed, bits).copy()
        lettered[330:350, 20:110] = strip[330:350, 20:110]
        lettered[10:40, 250:300] = top
        assert damage(lettered, blocks=True) is None


def test_noise_that_comes_twice() -> None:
    """At any distance, in whole rows or not; a film that starts again; a film filled with its own bytes."""
    for bits in (8, 12):
        pixels = film(1, bits)
        flat = pixels.ravel()
        for at, length in ((150 * 320, 40 * 320), (150 * 320 + 77, 30 * 320 + 5)):
            twice = np.concatenate([flat[:at], flat[at - length : at], flat[at:]])[: flat.size]
            again = np.concatenate([flat[:at], flat])[: flat.size]
            for hurt in (twice, again):
                seen = damage(hurt.reshape(pixels.shape))
                assert seen is not None
                assert "a second time" in seen.words or "the picture breaks" in seen.words


def test_another_film_below_a_line() -> None:
    """Of the same width the greys jump up and down all along the line; of another width rows are sheared."""
    pixels, flat = film(1, 12), film(1, 12).ravel()
    at = 180 * 320 + 100
    upside_down = film(5, 12)[::-1, ::-1].ravel()
    seam = np.concatenate([flat[:at], upside_down[at:]]).reshape(pixels.shape)
    wider = np.rint(phantom.render("frontal", 6, (384, 427)) * 4095).astype(np.uint16).ravel()
    sheared = np.concatenate([flat[:at], wider[at : flat.size]]).reshape(pixels.shape)
    assert damage(seam) is not None
    assert "have nothing to do with each other" in damage(sheared).words


def strips(bits: int) -> list[np.ndarray]:
    """What is printed over half of the width or all of it: a chequerboard, a grey wedge, bars."""
    y, x = np.mgrid[0:40, 0:320]
    top = (1 << bits) - 1
    return [
        np.where((x // 8 + y // 8) % 2, top, 0),
        np.where((x + y) % 2, top, 0),
        x * top // 319,
        np.where(x // 3 % 2, top, top // 3),
        np.where((x * 7 + y * 3) % 11 < 3, top, 0),
    ]


@pytest.mark.parametrize("bits", [8, 12])
def test_what_is_printed_over_a_film_is_no_damage(bits: int) -> None:
    """Over half of its width or all of it, once or twice, at the first and the last row too."""
    for strip in strips(bits):
        for width in (160, 320):
            for rows in ((0, 344), (101, 296)):
                pixels = film(2, bits).copy()
                for row in rows:
                    pixels[row : row + 40, :width] = strip[:, :width]
                assert damage(pixels) is None
                assert damage(pixels, blocks=True) is None


@pytest.mark.parametrize("bits", [8, 12])
def test_what_detectors_and_programs_do_to_a_film_is_no_damage(bits: int) -> None:
    """Tiles of unlike gain, dead lines, a grid, enlargement, few greys, inversion, a sign, no noise."""
    pixels = film(3, bits)
    top, y, x = (1 << bits) - 1, *np.mgrid[0:384, 0:320]
    tiles = np.where(y < 192, 1.0, 1.06) * np.where(x < 160, 1.0, 0.97)
    dead = pixels.copy()
    dead[200], dead[250:252], dead[:, 77] = 0, dead[249], dead[:, 76]
    clean = np.rint(phantom.render("frontal", 3, (384, 320)) * top).astype(pixels.dtype)
    films = {
        "tiles": np.clip(pixels * tiles, 0, top).astype(pixels.dtype),
        "dead": dead,
        "grid across": np.clip(pixels + top * 0.04 * np.sin(x * 2.9), 0, top).astype(pixels.dtype),
        "grid down": np.clip(pixels + top * 0.04 * np.sin(y * 2.9), 0, top).astype(pixels.dtype),
        "twice as large": np.repeat(np.repeat(pixels, 2, 0), 2, 1),
        "four times as large": np.repeat(np.repeat(pixels, 4, 0), 4, 1),
        "sixteen greys": (pixels // (top // 15)) * (top // 15),
        "inverted": top - pixels,
        "signed": pixels.astype(np.int16) - (top + 1) // 2,
        "no noise": clean,
        "no noise, twice as large": np.repeat(np.repeat(clean, 2, 0), 2, 1),
    }
    held = {name: seen.words for name, one in films.items() if (seen := damage(one))}
    held |= {f"{name}, JPEG": seen.words for name, one in films.items() if (seen := damage(one, blocks=True))}
    assert not held


def test_the_gate_says_what_decoding_found() -> None:
    """A box and words, and nothing of a film without damage."""
    seen = Film(Header(), np.zeros((8, 8), np.float32))
    (good,) = IntegrityGate()(seen)
    assert (good.verdict, good.reason) == (Verdict.GOOD, None)
    mark = damage(cut(film(1, 12), 250 * 320 + 130))
    (bad,) = IntegrityGate()(replace(seen, damage=mark))
    assert (bad.verdict, bad.reason, bad.box) == (Verdict.BAD, Reason.PIXELS_DAMAGED, mark.box)


def test_htj2k_is_never_read_in_part() -> None:
    """A lower resolution would not meet the broken code blocks."""
    codec, pixels = NAMES["HTJ2K"], film(1, 12)
    data = codec.encode(pixels)
    hurt = data[: len(data) // 2] + data[100 : 100 + len(data) // 2 - 2] + b"\xff\xd9"
    with pytest.raises(Undecodable):
        decode_film(written(codec, pixels, hurt), long_side=64)


@pytest.mark.skipif(not (FILMS / "manifest.csv").exists(), reason="the shared films are not there")
def test_no_real_film_is_held_and_hardly_a_broken_one_goes_unseen() -> None:
    """A sample of films that chose no threshold; broken in twelve ways as native, JPEG and JPEG 2000."""
    with (FILMS / "manifest.csv").open(newline="") as handle:
        lines = [line for line in csv.DictReader(handle) if line["split"] == "accept"]
    rng = random.Random(8)
    for line in rng.sample(lines, 150):
        with Image.open(FILMS / line["file"]) as picture:
            assert damage(np.asarray(picture.convert("L")), wavelets=True, blocks=True) is None, line["file"]
    broken, unseen, films = 0, [], sources(FILMS, "accept", rng)
    noise = np.random.default_rng(8)
    for codec in (NATIVE, BASELINE, WAVELETS):
        (_, first), (_, second) = next(films), next(films)
        pixels = deepened(first, codec.bits, noise)
        data, other = codec.encode(pixels), codec.encode(deepened(second, codec.bits, noise))
        whole = pixels if codec.decode is None else codec.decode(data)
        for name, hurt in _hurt(data, other, rng):
            share = wrong(codec, hurt, whole)
            if share is not None and share >= WRONG:
                broken += 1
                unseen += [name] if not found(codec, pixels, hurt) else []
    assert broken > 25
    assert len(unseen) <= 0.12 * broken, unseen
