"""The training films: what is left out, how patients are split, and the cache."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import data

FIELDS = ("file", "source", "site", "split", "body_part", "view")
FIELDS += ("age", "group", "terms", "lung_mask", "note", "flag")
SHARED = Path(__file__).parents[2] / "shared" / "films"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Twelve small films: two held back, one flagged, one with a mask."""
    with (tmp_path / "manifest.csv").open("w", newline="") as handle:
        table = csv.DictWriter(handle, FIELDS, restval="")
        table.writeheader()
        for n in range(12):
            Image.fromarray(np.full((40, 30), 20 * n, dtype=np.uint8)).save(tmp_path / f"{n}.png")
            row = {"file": f"{n}.png", "source": "nih_talo", "site": "nih", "view": "frontal", "age": "50"}
            row |= {"group": f"g{n // 2}", "terms": "open", "split": {0: "accept", 1: "test"}.get(n, "")}
            row |= {"flag": "inverted" if n == 2 else "", "lung_mask": "11.png" if n == 5 else ""}
            table.writerow(row)
    return tmp_path


def test_held_back_and_flagged_films_are_never_read(films: Path) -> None:
    """Rows of the splits accept and test and rows with a flag do not exist for training."""
    assert [row.file for row in data.read_rows(films)] == [f"{n}.png" for n in range(3, 12)]


def test_films_come_from_the_cache_the_second_time(films: Path, tmp_path: Path) -> None:
    """They are decoded once; afterwards the pictures may be gone."""
    first = data.load(films, tmp_path / "cache")
    for path in films.glob("*.png"):
        path.unlink()
    again = data.load(films, tmp_path / "cache")
    assert np.array_equal(first.greys, again.greys)
    assert again.greys.shape == (9, data.CACHE_PX, data.CACHE_PX)
    assert again.greys[0, 0, 0] == 60
    assert [bool(mask.any()) for mask in again.masks].count(True) == 1


def test_a_patient_is_on_one_side_of_the_split_only(films: Path, tmp_path: Path) -> None:
    """Every film is trained with or held out, and no group is on both sides."""
    loaded = data.load(films, tmp_path / "cache")
    inside, outside = loaded.with_group(held_out=False), loaded.with_group(held_out=True)
    assert len(inside) + len(outside) == len(loaded)
    assert not {row.group for row in inside.rows} & {row.group for row in outside.rows}


def test_the_shared_films_lose_their_held_back_rows() -> None:
    """On the real manifest: no acceptance film and no film of the published test split is left."""
    if not SHARED.exists():
        pytest.skip(f"the shared films are not at {SHARED}")
    with (SHARED / "manifest.csv").open(newline="") as handle:
        held_back = {line["file"] for line in csv.DictReader(handle) if line["split"]}
    usable = {row.file for row in data.read_rows(SHARED)}
    assert len(held_back) > 2000
    assert not usable & held_back
