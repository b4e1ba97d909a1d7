"""The cache of thumbnails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.process import private
from gateway.store.thumbs import FOLDERS, LOOK_EVERY, Thumbs

JPEG = b"\xff\xd8\xff" + b"x" * 1000 + b"\xff\xd9"


def digest(number: int, folder: str = "ab") -> str:
    return folder + f"{number:062x}"


def test_what_is_put_is_got_and_private(tmp_path: Path) -> None:
    """Films are for the gateway's user: nobody else reads them."""
    thumbs = Thumbs(tmp_path)
    assert thumbs.get(digest(1)) is None
    thumbs.put(digest(1), JPEG)
    assert thumbs.get(digest(1)) == JPEG
    (kept,) = (tmp_path / "thumbs").rglob("*.*")
    assert not kept.stat().st_mode & private.OTHERS
    assert not kept.parent.stat().st_mode & private.OTHERS
    assert private.is_ours("thumbs")


def test_no_path_is_made_of_anything_but_a_digest(tmp_path: Path) -> None:
    thumbs = Thumbs(tmp_path)
    for name in ("../../etc/passwd", "A" * 64, "", "ab/" + "0" * 61):
        with pytest.raises(ValueError, match="not a sha256"):
            thumbs.get(name)
        with pytest.raises(ValueError, match="not a sha256"):
            thumbs.put(name, JPEG)


def test_what_was_looked_at_last_stays(tmp_path: Path) -> None:
    """Each folder has its part of the room; the least recently used go first."""
    thumbs = Thumbs(tmp_path, most_bytes=FOLDERS * 20 * len(JPEG))
    for number in range(3 * LOOK_EVERY):
        thumbs.put(digest(number), JPEG)
        path = tmp_path / "thumbs" / "ab" / f"{digest(number)}.jpg"
        if path.exists():
            os.utime(path, (number, number))
        thumbs.get(digest(0))  # a person looks at the first one again and again
    there = {path.stem for path in (tmp_path / "thumbs").rglob("*.jpg")}
    assert len(there) < 20 + LOOK_EVERY
    assert digest(0) in there
    assert digest(3 * LOOK_EVERY - 1) in there
    assert digest(1) not in there


def test_a_folder_that_cannot_be_written_costs_no_film(tmp_path: Path) -> None:
    """It is a cache: what is not kept is made again."""
    (tmp_path / "thumbs").write_text("a file stands in its place")
    thumbs = Thumbs(tmp_path)
    thumbs.put(digest(1), JPEG)
    assert thumbs.get(digest(1)) is None
