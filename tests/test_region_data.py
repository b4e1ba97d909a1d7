"""What a region's manifest says of its films, and everything that can be wrong in it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from knee_region import BOXES, LABELS, SETTINGS, films, write

from pipelines.lab.films import region_data
from pipelines.lab.films.region_data import RegionError

__all__ = ["films", "write"]  # pytest finds fixtures by their names

HIP = Path(__file__).parent.parent / "config" / "regions" / "hip"
FILMS = Path(__file__).parent.parent.parent / "shared" / "films"


def test_a_manifest_says_what_each_film_is(write: Callable[..., Path], films: Path) -> None:
    """Patterns label whole folders, patients are told apart, boxes belong to their films."""
    region = region_data.read(write(), films, ready=False)
    labels = {film.name: (film.row.view, film.row.source, film.row.group) for film in region.films}
    assert labels["knees/a.png"] == ("yes", "knees", "p1")
    assert labels["knees/b.png"] == ("turned", "knees", "p2")
    assert labels["chests/c.png"][:2] == ("no", "chests")
    assert labels["chests/c.png"][2] != labels["chests/d.png"][2]  # nobody said, so each is a patient
    assert {film.name: len(film.boxes) for film in region.films if film.boxes} == {"knees/a.png": 2}
    assert region.alike == {"knees"}


def test_a_line_that_names_a_film_goes_before_a_pattern(write: Callable[..., Path], films: Path) -> None:
    labels = "file,label\nchests/c.png,exclude\n*,no\nknees/*,yes\n"
    region = region_data.read(write(labels=labels), films, ready=False)
    assert {film.name: film.row.view for film in region.films} == {
        "knees/a.png": "yes",
        "knees/b.png": "yes",
        "chests/d.png": "no",
    }
    assert region.excluded == 1


@pytest.mark.parametrize(
    ("part", "text", "told"),
    [
        ("boxes", "knees/a.png,10,20,50,60", "boxes.csv line 4: 60 is more than 1; write fractions"),
        ("boxes", "knees/a.png,.5,.2,.1,.6", "boxes.csv line 4: it must be 0 <= x0 < x1 <= 1"),
        ("boxes", "knees/a.png,.5,.2,x,.6", "boxes.csv line 4: x0, y0, x1, y1 must be numbers"),
        ("boxes", "knees/a.png,.1,.2,.5,.6", "boxes.csv line 4: the same box is drawn twice on knees/a.png"),
        ("boxes", "knees/a.png,.2,.2,.5,.6", "boxes.csv line 4: knees/a.png has more than 2 boxes"),
        ("boxes", "chests/c.png,.1,.2,.5,.6", "chests/c.png has a box but is labelled no"),
        ("boxes", "knees/aa.png,.1,.2,.5,.6", "not in the folder of films (do you mean knees/a.png?)"),
        ("labels", "knees/z.png,yes,", "labels.csv line 5: there is no film knees/z.png"),
        (
            "labels",
            "chests/c.png,nope,",
            "label 'nope' is none of yes, turned, no, exclude (do you mean no?)",
        ),
        ("labels", "spines/*,no,", "labels.csv line 5: no film is called spines/*"),
        ("labels", "knees/a.png,no,p1", "labels.csv line 5: knees/a.png is yes in line 2"),
        ("settings", "moist: 3", "region.yaml: unknown key 'moist' (do you mean most?)"),
        ("settings", "name: My Knee", "region.yaml: `name` must be small letters"),
        (
            "settings",
            "terms: {knees: opne}",
            "terms of knees: 'opne' is none of open, nc, unclear (do you mean open?)",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    write: Callable[..., Path], films: Path, part: str, text: str, told: str
) -> None:
    whole = {"settings": SETTINGS, "labels": LABELS, "boxes": BOXES}
    key = text.partition(":")[0] + ":"
    kept = [line for line in whole[part].splitlines() if part != "settings" or not line.startswith(key)]
    with pytest.raises(RegionError) as error:
        region_data.read(write(**{part: "\n".join([*kept, text, ""])}), films, ready=False)
    assert told in str(error.value)


def test_what_is_missing_is_told_in_numbers(write: Callable[..., Path], films: Path) -> None:
    """Every problem at once: a person mends the manifest in one go."""
    with pytest.raises(RegionError) as error:
        region_data.read(write(settings="name: knee\nmost: 2\nterms: {knees: open}\n"), films)
    text = str(error.value)
    assert "59 more patients with label yes are needed: 1 of 60 are there" in text
    assert "198 more patients with label no are needed" in text
    assert "78 more boxes are needed: 2 of 80 are drawn" in text
    assert "terms of chests: none given" in text


def test_films_that_a_collection_keeps_apart_are_never_used(write: Callable[..., Path], films: Path) -> None:
    """A row with a split or a flag is not there, whatever the labels say."""
    columns = list(region_data._STAGED)
    with (films / "manifest.csv").open("w", newline="") as handle:
        out = csv.DictWriter(handle, columns)
        out.writeheader()
        for name, split, flag in (("a", "", ""), ("b", "accept", ""), ("c", "", "inverted"), ("d", "", "")):
            folder = "knees" if name in "ab" else "chests"
            told = {"file": f"{folder}/{name}.png", "source": folder, "site": folder, "group": name}
            out.writerow(dict.fromkeys(columns, "") | told | {"split": split, "flag": flag})
    region = region_data.read(write(), films, ready=False)
    assert {film.name for film in region.films} == {"knees/a.png", "chests/d.png"}
    assert region.aside == 2


def test_our_own_manifest_of_hips_is_sound() -> None:
    """Each box lies on a film of the region, at most two a film, none of them a sliver."""
    labels = {line["file"]: line["label"] for line in _table(HIP / "labels.csv")}
    boxes: dict[str, list[list[float]]] = {}
    for line in _table(HIP / "boxes.csv"):
        boxes.setdefault(line["file"], []).append([float(line[key]) for key in ("x0", "y0", "x1", "y1")])
    assert sum(map(len, boxes.values())) == 222
    assert {labels[file] for file in boxes} == {"yes", "turned"}
    assert all(len(drawn) <= 2 for drawn in boxes.values())
    for x0, y0, x1, y1 in (box for drawn in boxes.values() for box in drawn):
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1
        assert 0.005 < (x1 - x0) * (y1 - y0) < 0.25


@pytest.mark.skipif(not FILMS.exists(), reason="the films are not here (../shared/films)")
def test_our_own_manifest_fits_the_films() -> None:
    region = region_data.read(HIP / "region.yaml", FILMS)
    assert len(region.boxes) == 119
    assert {film.row.terms for film in region.trained} == {"open"}


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))
