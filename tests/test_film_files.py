"""Which files are films, and what the gates see of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import dx, part10, ramp
from PIL import Image

from models.picture_files import PictureError
from models.pictures import Known
from pipelines.decode import Undecodable, decode_film
from pipelines.film import PREVIEW_PX
from pipelines.pixels.film_files import film_files, read_film


def test_films_of_a_folder(tmp_path: Path) -> None:
    """DICOM by its first bytes, whatever its name; pictures by their names; nothing hidden, no index."""
    film = part10(dx(ramp()))
    for name in ("one", "two.ima", "three.dcm", ".four.dcm", "DICOMDIR"):
        (tmp_path / name).write_bytes(film)
    for name in ("five.PNG", "._five.png", "six.txt"):
        Image.fromarray(ramp().astype(np.uint8)).save(tmp_path / name, format="PNG")
    (tmp_path / "seven.dcm").write_text("no film")
    assert [path.name for path in film_files(tmp_path)] == ["five.PNG", "one", "three.dcm", "two.ima"]


def test_a_picture_is_seen_as_large_as_a_dicom_film(tmp_path: Path) -> None:
    """Both are averaged to the size that the gates are shown at work."""
    y, x = np.ogrid[0:1200, 0:900]
    greys = (127 + 100 * np.sin(y / 90) * np.cos(x / 70)).astype(np.uint8)
    Image.fromarray(greys).save(tmp_path / "film.png")
    whole = {"WindowCenter": 128, "WindowWidth": 256}
    (tmp_path / "film").write_bytes(part10(dx(greys, BitsAllocated=8, BitsStored=8, HighBit=7, **whole)))
    picture, film = read_film(tmp_path / "film.png"), read_film(tmp_path / "film")
    assert picture.pixels.shape == film.pixels.shape == (PREVIEW_PX, 384)
    assert np.array_equal(film.pixels, decode_film(tmp_path / "film").pixels)
    assert picture.pixels == pytest.approx(film.pixels, abs=0.02)


def test_what_is_known_of_a_picture_is_heeded(tmp_path: Path) -> None:
    """Of DICOM the header says it."""
    Image.fromarray(ramp().astype(np.uint8)).save(tmp_path / "film.png")
    ends = Known(polarity="min-is-black"), Known(polarity="min-is-white")
    plain, turned = (read_film(tmp_path / "film.png", known).pixels for known in ends)
    assert plain == pytest.approx(1 - turned)


def test_what_is_no_film_says_so(tmp_path: Path) -> None:
    """Of each kind its own error."""
    (tmp_path / "film.png").write_bytes(b"no picture")
    (tmp_path / "film.dcm").write_bytes(b"no DICOM")
    with pytest.raises(PictureError, match="no picture"):
        read_film(tmp_path / "film.png")
    with pytest.raises(Undecodable):
        read_film(tmp_path / "film.dcm")
