"""The training films: what is left out, how patients are split, and the cache."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.lab.films import data

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


def test_a_round_leaves_out_its_sites_and_a_third_of_the_laterals_with_their_patients() -> None:
    """Over the rounds every site is left out once and every lateral patient once; no patient is split."""
    chests = [
        data.Row(f"{view}{n}", "cohen", "web", f"g{n}", view, "chest", "nc", "50", "", "")
        for n in range(9)
        for view in ("frontal", "lateral")
    ]
    hand = data.Row("hand", "rsna_boneage", "rsna_boneage", "h", "not_chest", "hand", "nc", "9", "", "")
    rows = (*chests, hand)
    out = {name: data.left_out(rows, name) for name in data.ROUNDS}
    laterals = np.array([row.view == "lateral" for row in rows])
    assert (sum(mask[laterals].astype(int) for mask in out.values()) == 1).all()
    assert out["web"][~laterals][:-1].all()
    assert [bool(mask[-1]) for mask in out.values()] == [True, False, False]
    gone = {row.group for row, left in zip(rows, out["nih"], strict=True) if left}
    assert not gone & {row.group for row, left in zip(rows, out["nih"], strict=True) if not left}
    assert len(gone) == 4  # three patients with a lateral, and the hand


def test_the_shared_films_lose_their_held_back_rows() -> None:
    """On the real manifest: no acceptance film and no film of the published test split is left."""
    if not SHARED.exists():
        pytest.skip(f"the shared films are not at {SHARED}")
    with (SHARED / "manifest.csv").open(newline="") as handle:
        held_back = {line["file"] for line in csv.DictReader(handle) if line["split"]}
    usable = {row.file for row in data.read_rows(SHARED)}
    assert len(held_back) > 2000
    assert not usable & held_back
