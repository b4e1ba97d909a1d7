"""One film in every container that hospitals send is one film to every reader."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from models import picture_files, pictures
from models.picture_files import PictureError
from models.pictures import Known
from pipelines import gates
from pipelines.film import Reason
from pipelines.lab.ask import site
from pipelines.lab.films import data, phantom, samples
from pipelines.pixels.film_files import picture_film

FILM = phantom.render("frontal", 3)  # (H, W) in [0, 1], brightest 0.97


def whole(bits: int) -> NDArray[Any]:
    """The film in whole numbers of so many bits."""
    return np.rint(FILM * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def colours(values: NDArray[Any], *more: NDArray[Any]) -> NDArray[Any]:
    return np.stack([values, values, values, *more], axis=-1)


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[picture_files.ORIENTATION] = orientation
    return made


def pgm(values: NDArray[Any], white: int) -> bytes:
    stored = values.astype(">u2" if white > 255 else "u1")
    return b"P5\n# a comment\n%d %d\n%d\n" % (values.shape[1], values.shape[0], white) + stored.tobytes()


def tiff(values: NDArray[Any], **how: Any) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, values, **how)


def packed(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def drawn(values: NDArray[Any], mode: str = "L", **how: Any) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(values).convert(mode).save(path, **how)


EIGHT, LOSSY = 0.51 / 255, 6 / 255  # half a step of 8 bits; what JPEG may cost
J2K: dict[str, Any] = {"level": 0, "codecformat": "jp2"}
full = np.full(FILM.shape, 65535, np.uint16)
turned = np.rot90(whole(8))  # EXIF's 6 turns it back

# name: how it is written, how far a value may be off, what is noted
CONTAINERS: dict[str, tuple[Callable[[Path], None], float, str]] = {
    "grey8.png": (drawn(whole(8)), EIGHT, ""),
    "grey8.bmp": (drawn(whole(8)), EIGHT, ""),
    "grey8.gif": (drawn(whole(8)), EIGHT, ""),
    "grey8.webp": (drawn(whole(8), "RGB", lossless=True), EIGHT, ""),
    "grey8.jp2": (packed(imagecodecs.jpeg2k_encode(whole(8), **J2K)), EIGHT, ""),
    "grey8.pgm": (packed(pgm(whole(8), 255)), EIGHT, ""),
    "grey8.jpg": (drawn(whole(8), quality=98), LOSSY, ""),
    "palette.png": (drawn(whole(8), "P"), EIGHT, ""),
    "palette.tif": (drawn(whole(8), "P"), EIGHT, ""),
    "rgba8.png": (drawn(whole(8), "RGBA"), EIGHT, ""),
    "rgb8.tif": (tiff(colours(whole(8)), photometric="rgb"), EIGHT, ""),
    "planes8.tif": (
        tiff(np.stack([whole(8)] * 3), photometric="rgb", planarconfig="separate"),
        EIGHT,
        "",
    ),
    "jpeg8.tif": (drawn(whole(8), "RGB", compression="jpeg", quality=98), LOSSY, ""),
    "exif.jpg": (drawn(turned, quality=98, exif=exif(6)), LOSSY, "Orientation 6"),
    "exif.png": (drawn(turned, exif=exif(6)), EIGHT, "Orientation 6"),
    "turned.tif": (tiff(turned, extratags=[(274, "H", 1, 6, True)]), EIGHT, "Orientation 6"),
    "10in16.png": (packed(imagecodecs.png_encode(whole(10))), 1e-3, "read as 10 bits"),
    "12in16.png": (packed(imagecodecs.png_encode(whole(12))), 2e-4, "read as 12 bits"),
    "14in16.png": (packed(imagecodecs.png_encode(whole(14))), 1e-4, "read as 14 bits"),
    "16.png": (packed(imagecodecs.png_encode(whole(16))), 1e-5, "read as 16 bits"),
    "alpha16.png": (
        packed(imagecodecs.png_encode(np.stack([whole(12), full], axis=-1))),
        2e-4,
        "read as 12 bits",
    ),
    "rgb16.png": (packed(imagecodecs.png_encode(colours(whole(12)))), 2e-4, "read as 12 bits"),
    "rgba16.png": (packed(imagecodecs.png_encode(colours(whole(16), full))), 1e-5, "read as 16 bits"),
    "white8.tif": (tiff(255 - whole(8), photometric="miniswhite"), EIGHT, "low values are white"),
    "white12.tif": (tiff(4095 - whole(12), photometric="miniswhite"), 2e-4, "low values are white"),
    "white16.tif": (tiff(65535 - whole(16), photometric="miniswhite"), 1e-5, "low values are white"),
    "12in16.tif": (tiff(whole(12)), 2e-4, "read as 12 bits"),
    "big-endian.tif": (tiff(whole(12).astype(">u2"), byteorder=">"), 2e-4, "read as 12 bits"),
    "tiles.tif": (tiff(whole(16), tile=(64, 64), compression="zlib", predictor=True), 1e-5, "16 bits"),
    "lzw.tif": (tiff(whole(16), compression="lzw"), 1e-5, "16 bits"),
    "bigtiff.tif": (tiff(whole(16), bigtiff=True), 1e-5, "16 bits"),
    "rgb16.tif": (tiff(colours(whole(12)), photometric="rgb"), 2e-4, "read as 12 bits"),
    "int16.tif": (tiff(whole(12).astype(np.int16)), 2e-4, "read as 12 bits"),
    "int32.tif": (tiff(whole(12).astype(np.int32)), 2e-4, "read as 12 bits"),
    "uint32.tif": (tiff(whole(16).astype(np.uint32)), 1e-5, "read as 16 bits"),
    "pages.tif": (tiff(np.stack([whole(16)] * 3), photometric="minisblack"), 1e-5, "the first of 3 pages"),
    "float1.tif": (tiff(FILM.astype(np.float32)), 1e-6, "read as 0 to 1"),
    "float255.tif": (tiff((FILM * 255).astype(np.float32)), 1e-6, "read as 8 bits"),
    "float4095.tif": (tiff(FILM.astype(np.float64) * 4095), 1e-6, "read as 12 bits"),
    "12.jpg": (packed(imagecodecs.jpeg8_encode(whole(12), level=98, bitspersample=12)), LOSSY, "4095"),
    "lossless.jpg": (packed(imagecodecs.ljpeg_encode(whole(14), bitspersample=14)), 1e-4, "16383"),
    "12.jp2": (packed(imagecodecs.jpeg2k_encode(whole(12), bitspersample=12, **J2K)), 2e-4, "4095"),
    "12in16.jp2": (packed(imagecodecs.jpeg2k_encode(whole(12), **J2K)), 2e-4, "read as 12 bits"),
    "12.pgm": (packed(pgm(whole(12), 4095)), 2e-4, "white is 4095, as the file says"),
    "16.pgm": (packed(pgm(whole(16), 65535)), 1e-5, "white is 65535, as the file says"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The film in all containers."""
    made = tmp_path_factory.mktemp("containers")
    for name, (write, _, _) in CONTAINERS.items():
        write(made / name)
    return made


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_film_is_the_same_film_in_every_container(name: str, folder: Path) -> None:
    """Depth, polarity and orientation are taken from the file or by the rule, and the notes say which."""
    _, tolerance, noted = CONTAINERS[name]
    picture = pictures.read(folder / name)
    assert picture.pixels.shape == FILM.shape
    assert picture.pixels.dtype == np.float32
    assert np.abs(picture.pixels - FILM).max() <= tolerance
    assert np.abs(picture.eights / 255.0 - FILM).max() <= tolerance + EIGHT
    assert noted in "; ".join(picture.notes)
    assert bool(noted) == bool(picture.notes)


@pytest.mark.parametrize("name", CONTAINERS)
def test_training_calibration_and_use_see_the_same_values(name: str, folder: Path) -> None:
    """The laboratory's two caches, a hospital's calibration and `classify`, all by the one reader."""
    greys = pictures.read(folder / name).pixels
    cached = data.decode(folder / name).astype(int)
    assert np.abs(cached - data.decode(folder / "grey8.png")).max() <= (8 if name.endswith("jpg") else 2)
    assert np.abs(samples.decode(folder / name, data.CACHE_PX) - cached).max() == 0
    shown: list[NDArray[np.float32]] = []
    (only,) = [film for film in site.site_films(folder) if film.file == name]
    shown.append(site._read(folder / only.file, only.known)[0])
    shown.append(picture_film(pictures.read(folder / name)).pixels)
    for seen in shown:
        assert np.array_equal(seen, greys)


@pytest.mark.parametrize("name", ["grey8.png", "grey8.jpg", "rgba8.png", "palette.png"])
def test_eight_bits_are_read_as_the_shipped_networks_were_taught(name: str, folder: Path) -> None:
    """Bit for bit what Pillow alone gave before there was one reader, in the caches and in use."""
    with Image.open(folder / name) as picture:
        grey = picture.convert("L")
        floats = grey.convert("F")
    square = (data.CACHE_PX, data.CACHE_PX)
    cached = np.asarray(grey.resize(square, Image.Resampling.BOX))
    assert np.array_equal(pictures.read_pixels(folder / name), np.asarray(grey, np.float32) / np.float32(255))
    assert np.array_equal(data.decode(folder / name), cached)
    assert np.array_equal(samples.decode(folder / name, data.CACHE_PX), cached)
    enlarged = np.asarray(grey.resize((600, 600), Image.Resampling.BILINEAR))
    assert np.array_equal(samples.decode(folder / name, 600), enlarged)
    small = np.asarray(floats.resize((164, 200), Image.Resampling.BOX)) / np.float32(255)
    assert np.array_equal(picture_film(pictures.read(folder / name), long_side=200).pixels, small)


def test_a_large_film_is_averaged_in_strips_as_in_one(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """No float copy of the whole is made, and the result does not show it."""
    picture = pictures.read(folder / "12in16.png")
    at_once = picture.reduced(200)
    monkeypatch.setattr(picture_files, "STRIP_PX", 7 * FILM.shape[1])
    assert np.array_equal(picture.reduced(200), at_once)


@pytest.fixture(scope="module")
def ready() -> gates.Gates:
    return gates.load()


@pytest.mark.parametrize(
    "name", ["12in16.png", "white16.tif", "float255.tif", "exif.jpg", "12.jp2", "rgb16.png"]
)
def test_the_gates_judge_the_film_and_not_its_container(name: str, folder: Path, ready: gates.Gates) -> None:
    """Exposure, inversion, rotation and all others say of it what they say of its 8-bit PNG: it is good."""
    plain = ready.look(picture_film(pictures.read(folder / "grey8.png")))
    found = ready.look(picture_film(pictures.read(folder / name)))
    assert [(one.gate, one.verdict, one.reason) for one in found] == [
        (one.gate, one.verdict, one.reason) for one in plain
    ]
    assert not {Reason.INVERTED, Reason.BLANK, Reason.UNDEREXPOSED, Reason.ROTATED_90} & {
        one.reason for one in found
    }


# --- what the file does not say -----------------------------------------------------------------------------


def test_a_person_may_say_how_many_bits_are_used_and_which_end_is_white(tmp_path: Path) -> None:
    """A dark film in 12 of 16 bits would be taken for 10; an inverted PNG says nothing of it."""
    dark = whole(12) // 5
    Image.fromarray(dark).save(tmp_path / "dark.png")
    Image.fromarray(4095 - whole(12)).save(tmp_path / "inverted.png")
    assert pictures.read(tmp_path / "dark.png").white == 1023
    told = pictures.read(tmp_path / "dark.png", Known(bits=12))
    assert np.abs(told.pixels - dark / 4095).max() < 1e-6
    assert "read as 12 bits, as told" in told.notes
    turned_round = pictures.read(tmp_path / "inverted.png", Known(12, pictures.MIN_IS_WHITE))
    assert np.abs(turned_round.pixels - FILM).max() < 2e-4
    assert "min-is-white, as told" in turned_round.notes
    with pytest.raises(PictureError, match=r"reach from \d+ to 4\d+, which 10 bits do not hold"):
        pictures.read(tmp_path / "inverted.png", Known(bits=10))


def test_a_person_overrules_the_polarity_of_a_file(folder: Path) -> None:
    """Some makers write MinIsWhite on films that are not."""
    told = pictures.read(folder / "white8.tif", Known(polarity=pictures.MIN_IS_BLACK))
    assert np.abs(told.pixels - (1 - FILM)).max() <= EIGHT


def test_values_on_no_known_scale_are_spread_and_the_notes_say_so(tmp_path: Path) -> None:
    """Floats with values under 0 have no white of their own; a gap in them is black."""
    odd = (FILM * 3000 - 1000).astype(np.float32)
    odd[0, 0] = np.nan
    tifffile.imwrite(tmp_path / "odd.tif", odd)
    picture = pictures.read(tmp_path / "odd.tif")
    assert (float(picture.pixels.min()), float(picture.pixels.max())) == (0, 1)
    assert np.isfinite(picture.pixels).all()
    assert any("its own ends are black and white" in note for note in picture.notes)
    assert any("no finite numbers" in note for note in picture.notes)


@pytest.mark.parametrize("over", [0.98, 1.0, 1.04])
def test_a_float_a_little_over_white_is_still_white(over: float, tmp_path: Path) -> None:
    """Resampling overshoots; a film of 0..1 must not become one of 0..255 for it."""
    tifffile.imwrite(tmp_path / "film.tif", (FILM / FILM.max() * over - 0.01).astype(np.float32))
    picture = pictures.read(tmp_path / "film.tif")
    assert picture.white == 1
    assert (picture.pixels.min(), picture.pixels.max()) == pytest.approx((0, min(over - 0.01, 1)), abs=1e-6)


def test_transparent_parts_are_shown_over_black(tmp_path: Path) -> None:
    alpha = np.full(FILM.shape, 255, np.uint8)
    alpha[:100] = 0
    Image.fromarray(np.dstack([whole(8), alpha]), "LA").save(tmp_path / "8.png")
    deep = np.dstack([whole(16), alpha.astype(np.uint16) * 257])
    (tmp_path / "16.png").write_bytes(imagecodecs.png_encode(deep))
    for name in ("8.png", "16.png"):
        picture = pictures.read(tmp_path / name)
        assert picture.pixels[:100].max() == 0
        assert np.abs(picture.pixels[100:] - FILM[100:]).max() <= EIGHT
        assert picture_files.OVER_BLACK in picture.notes


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_viewers_do(orientation: int, tmp_path: Path) -> None:
    """As Pillow's own exif_transpose, which is what people see in a viewer."""
    from PIL import ImageOps

    Image.fromarray(whole(8)).save(tmp_path / "film.png", exif=exif(orientation))
    with Image.open(tmp_path / "film.png") as stored:
        shown = np.asarray(ImageOps.exif_transpose(stored))
    assert np.array_equal(pictures.read(tmp_path / "film.png").eights, shown)
    tiffs: dict[str, Any] = {
        "palette.tif": {"mode": "P"},
        "packed.tif": {"mode": "CMYK", "compression": "tiff_lzw"},
        "grey.tif": {"mode": "L"},
    }
    for name, how in tiffs.items():
        made = Image.fromarray(whole(8)).convert(how.pop("mode"))
        made.save(tmp_path / name, tiffinfo={picture_files.ORIENTATION: orientation}, **how)
        seen = pictures.read(tmp_path / name).eights
        assert seen.shape == shown.shape
        assert np.abs(seen.astype(int) - shown).max() <= 1  # CMYK goes by way of three colours


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    mask = FILM > 0.5
    Image.fromarray(mask).save(tmp_path / "mask.png")
    tifffile.imwrite(tmp_path / "mask.tif", mask, photometric="minisblack")
    for name in ("mask.png", "mask.tif"):
        assert np.array_equal(pictures.read(tmp_path / name).eights, mask * np.uint8(255))


def test_a_manifest_says_bits_and_polarity(tmp_path: Path) -> None:
    """Columns that may be absent; a word that is neither polarity is refused with its film."""
    Image.fromarray(4095 - whole(12) // 5).save(tmp_path / "film.png")
    lines = "file,bits,polarity\nfilm.png,12,min-is-white\n"
    (tmp_path / "manifest.csv").write_text(lines)
    (film,) = site.site_films(tmp_path)
    assert film.known == Known(12, pictures.MIN_IS_WHITE)
    assert np.abs(site._read(tmp_path / film.file, film.known)[0] - whole(12) // 5 / 4095).max() < 1e-6
    assert Known.of_line({"file": "film.png"}) == pictures.NOTHING
    with pytest.raises(PictureError, match=r"bits 'twelve' of film\.png"):
        Known.of_line({"file": "film.png", "bits": "twelve"})
    with pytest.raises(PictureError, match="neither min-is-black nor min-is-white"):
        Known.of_line({"polarity": "upside-down"})


# --- what is no film ----------------------------------------------------------------------------------------


def png(columns: int, rows: int, line: bytes, bits: int = 8) -> bytes:
    """A grey PNG of equal lines, small however large it claims to be."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    shrink = zlib.compressobj(1)
    lines = b"".join(shrink.compress(b"\0" + line) for _ in range(rows)) + shrink.flush()
    head = struct.pack(">IIBBBBB", columns, rows, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def test_a_stitched_film_is_read_beyond_the_limit_of_pillow(tmp_path: Path) -> None:
    """95 million pixels: more than Pillow opens without complaint, less than ours."""
    columns, rows = 9_500, 10_000
    (tmp_path / "stitched.png").write_bytes(
        png(columns, rows, bytes(columns // 2) + b"\xff" * (columns // 2))
    )
    theirs = Image.MAX_IMAGE_PIXELS
    film = picture_film(pictures.read(tmp_path / "stitched.png"))
    assert theirs is not None
    assert Image.MAX_IMAGE_PIXELS == theirs < columns * rows
    assert film.pixels.shape == (512, 486)
    assert (film.pixels[:, :243].max(), film.pixels[:, 243:].min()) == (0, 1)


@pytest.mark.parametrize("name", ["bomb.png", "bomb.tif", "bomb.jpg"])
def test_a_bomb_is_refused_before_anything_is_decoded(name: str, tmp_path: Path) -> None:
    """The size that a header claims is enough."""
    if name == "bomb.png":
        content = png(60_000, 1, bytes(7_500), bits=1)
        head = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
        crc = struct.pack(">I", zlib.crc32(b"IHDR" + head))
        content = content[:16] + head + crc + content[33:]
    elif name == "bomb.jpg":
        content = imagecodecs.jpeg8_encode(whole(12), bitspersample=12)
        at = content.index(b"\xff\xc1") + 5
        content = content[:at] + struct.pack(">HH", 60_000, 60_000) + content[at + 4 :]
    else:
        tifffile.imwrite(tmp_path / name, whole(8))
        made = bytearray((tmp_path / name).read_bytes())
        with tifffile.TiffFile(tmp_path / name) as file:
            for tag in ("ImageWidth", "ImageLength"):
                at = file.pages.first.tags[tag].offset
                made[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 60_000)
        content = bytes(made)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PictureError, match=r"400 million .*nothing of it was decoded.*raise the limit"):
        pictures.read(tmp_path / name)


def test_the_limit_can_be_another(folder: Path) -> None:
    with pytest.raises(PictureError, match=r"0\.1 million"):
        pictures.read(folder / "16.png", most_px=100_000)


@pytest.mark.parametrize(
    "name", ["16.png", "grey8.jpg", "12.jpg", "lzw.tif", "tiles.tif", "white16.tif", "12.pgm", "12.jp2"]
)
def test_a_film_that_was_cut_off_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    """A half that was filled up with grey or black would be judged as a film."""
    content = (folder / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(PictureError, match=name.replace(".", r"\.")):
        pictures.read(tmp_path / name)


@pytest.mark.parametrize("name", ["grey8.jpg", "12.jpg"])
def test_a_jpeg_cut_off_and_closed_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    """Its end is there, and decoders fill with grey what is missing, without a word."""
    content = (folder / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2] + b"\xff\xd9")
    assert imagecodecs.jpeg8_decode((tmp_path / name).read_bytes()).any()
    with pytest.raises(PictureError, match=r"damaged: a scan ends before the picture does"):
        pictures.read(tmp_path / name)


@pytest.mark.parametrize("head", [b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe0\0", b"\xff\xd8\xff\xfe\0\0"])
def test_a_jpeg_that_breaks_off_in_its_first_bytes_ends_the_reading(head: bytes, tmp_path: Path) -> None:
    """A marker without its length leads nowhere, and surely not back to itself for ever."""
    (tmp_path / "copied.jpg").write_bytes(head)
    with pytest.raises(PictureError, match=r"copied\.jpg"):
        pictures.read(tmp_path / "copied.jpg")


def test_what_is_no_picture_is_said_in_words(tmp_path: Path) -> None:
    """One kind of error for a dozen codecs; a file that is not there is an OSError."""
    (tmp_path / "text.png").write_text("no film")
    tifffile.imwrite(tmp_path / "nan.tif", np.full((8, 8), np.nan, np.float32))
    tifffile.imwrite(tmp_path / "complex.tif", np.zeros((8, 8), np.complex64))
    for name, said in (
        ("text.png", "no picture of a kind that is read"),
        ("nan.tif", "finite"),
        ("complex.tif", "complex"),
    ):
        with pytest.raises(PictureError, match=said):
            pictures.read(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        pictures.read(tmp_path / "absent.png")
