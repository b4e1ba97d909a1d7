"""The films of classifiers: three kinds of lists, what is left out, the cache, and the split by patient."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.classifiers.inputs import prepared
from pipelines.lab.films import samples as films
from pipelines.lab.films.labels import CHEST14, TASKS, Task
from pipelines.lab.films.samples import Listing, Sample, Samples, SamplesError
from pipelines.transforms import as_batch

CHEST, CHILD = TASKS["chest14"], TASKS["pneumonia3"]
SHARED = Path(__file__).parents[2] / "shared" / "films"


def picture(path: Path, grey: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 30), grey, dtype=np.uint8)).save(path)
    return path


def table(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as handle:
        out = csv.DictWriter(handle, list(dict.fromkeys(key for row in rows for key in row)), restval="")
        out.writeheader()
        out.writerows(rows)
    return path


def nih(name: str, findings: str, patient: str, age: str = "058Y", view: str = "PA") -> dict[str, str]:
    """A row as NIH writes it."""
    told = {"Image Index": name, "Finding Labels": findings, "Patient ID": patient}
    return told | {"Patient Age": age, "View Position": view}


def invented(patients: int = 60, seed: int = 0) -> Samples:
    """Films of invented patients, one to three each; the second label is rare, the third unknown for some."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        for n in range(int(rng.integers(1, 4))):
            targets = (float(rng.random() < 0.5), float(patient % 15 == 0), float(rng.random() < 0.3))
            if n == 0 and patient % 4 == 0:
                targets = (*targets[:2], math.nan)
            rows.append(Sample(f"{patient}-{n}", Path("x"), f"p{patient}", "PA", "", targets))
    greys = np.zeros((len(rows), 8, 8), dtype=np.uint8)
    task = Task("t", ("often", "rare", "partly"))
    return Samples(task, tuple(rows), greys, np.array([row.targets for row in rows], dtype=np.float32))


def test_a_table_of_nih_gives_labels_patients_ages_and_views(tmp_path: Path) -> None:
    """Findings are joined by |, ages are written in two ways, and pictures lie in several folders."""
    for n, folder in enumerate(("images_001/images", "images_002/images")):
        picture(tmp_path / folder / f"{n}.png")
    rows = [
        nih("0.png", "Mass|Pleural_Thickening", "7"),
        nih("1.png", "No Finding", "8", age="61", view="AP"),
        nih("2.png", "Hernia", "9"),
        nih("3.png", "Mass", "10", age="006Y"),
    ]
    folders = [tmp_path / "images_001", tmp_path / "images_002"]
    found = films.from_nih(table(tmp_path / "Data_Entry_2017_v2020.csv", rows), folders, CHEST)
    first, second = found.rows
    assert [label for label, y in zip(CHEST.labels, first.targets, strict=True) if y == 1] == [
        "Mass",
        "Pleural_Thickening",
    ]
    assert (second.patient, second.age, second.group, second.targets[-1]) == ("8", 61.0, "AP", 1.0)
    assert found.left_out == {"no such picture": 1, "younger than 10 years": 1}
    assert found.told() == (
        "2 films of 2 patients; 1 left out: no such picture; 1 left out: younger than 10 years"
    )


def test_the_test_list_of_nih_is_set_aside(tmp_path: Path) -> None:
    """What stands in test_list.txt beside the table is never trained with."""
    for n in range(3):
        picture(tmp_path / "images" / f"{n}.png")
    rows = [nih(f"{n}.png", "Mass" if n else "No Finding", f"{n}") for n in range(3)]
    (tmp_path / "test_list.txt").write_text("2.png\n")
    listing = films.from_nih(table(tmp_path / "d.csv", rows), [tmp_path / "images"], CHEST)
    loaded = films.load(listing, 16, tmp_path / "cache")
    assert loaded.training.tolist() == [0, 1]
    assert loaded.set_aside("test").tolist() == [2]
    assert films.split(loaded, 0.5, 0)[0].max() < 2


def test_who_has_a_film_set_aside_is_not_trained_with(tmp_path: Path) -> None:
    """A network that has seen a patient knows the test's answer, whoever wrote the list."""
    for n in range(3):
        picture(tmp_path / "images" / f"{n}.png")
    rows = [nih(f"{n}.png", "Mass", "7" if n else "8") for n in range(3)]
    (tmp_path / "test_list.txt").write_text("2.png\n")
    found = films.from_nih(table(tmp_path / "d.csv", rows), [tmp_path / "images"], CHEST)
    assert [(row.file, row.split) for row in found.rows] == [("0.png", ""), ("2.png", "test")]
    assert found.left_out == {"of a patient with films set aside": 1}


@pytest.mark.parametrize("what", ["column", "pictures", "label"])
def test_a_table_that_cannot_be_used_says_why(tmp_path: Path, what: str) -> None:
    """No such column, not one picture, no label of the task: in words, with the file's name."""
    picture(tmp_path / "images" / "0.png")
    rows = [nih("0.png", "Scoliosis", "1")]
    if what == "column":
        del rows[0]["Finding Labels"]
    images = tmp_path / ("nowhere" if what == "pictures" else "images")
    images.mkdir(exist_ok=True)
    words = {
        "column": "no column Finding Labels",
        "pictures": "none of the pictures",
        "label": "no film with",
    }
    with pytest.raises(SamplesError, match=words[what]):
        films.from_nih(table(tmp_path / "d.csv", rows), [images], CHEST)


def test_folders_of_classes_tell_class_patient_and_split(tmp_path: Path) -> None:
    """As Kermany's: the kind of pneumonia and the patient stand in the file's name."""
    names = ("train/PNEUMONIA/person12_bacteria_1", "train/PNEUMONIA/person12_bacteria_2")
    names += (
        "val/PNEUMONIA/person3_virus_9",
        "train/NORMAL/IM-0115-0001",
        "test/NORMAL/NORMAL2-IM-0007-0001",
    )
    for name in names:
        picture(tmp_path / f"{name}.jpeg")
    picture(tmp_path / "train" / "SCOLIOSIS" / "x.jpeg")
    found = films.from_folders(tmp_path, CHILD)
    told = {row.file.rsplit("/", 1)[1][:-5]: row for row in found.rows}
    assert told["person12_bacteria_1"].patient == told["person12_bacteria_2"].patient == "person12"
    assert told["person12_bacteria_1"].targets == (0, 1, 0)
    assert told["person3_virus_9"].targets == (0, 0, 1)
    assert (told["person3_virus_9"].split, told["NORMAL2-IM-0007-0001"].split) == ("", "test")
    assert told["IM-0115-0001"].targets == (1, 0, 0)
    assert found.left_out == {"SCOLIOSIS is none of Normal, Bacterial, Viral": 1}
    picture(tmp_path / "flat" / "viral" / "a.png")
    assert films.from_folders(tmp_path / "flat", CHILD).rows[0].targets == (0, 0, 1)


def test_a_manifest_keeps_what_is_set_aside_apart(tmp_path: Path) -> None:
    """Flagged films, other sites and laterals are no films of the task; splits keep their names."""
    base = {"site": "nih", "view": "frontal", "labels": "Edema|Mass", "age": "40", "projection": "AP"}
    rows = [{**base, "file": f"{n}.png", "group": f"g{n}", "split": "", "flag": ""} for n in range(6)]
    rows[1]["split"] = "accept"
    rows[2]["flag"] = "inverted"
    rows[3]["site"] = "web"
    rows[4]["view"] = "lateral"
    rows[5]["age"] = "7"
    for row in rows:
        picture(tmp_path / row["file"])
    table(tmp_path / "manifest.csv", rows)
    found = films.from_manifest(tmp_path, CHEST)
    assert [(row.file, row.split, row.patient, row.group) for row in found.rows] == [
        ("0.png", "", "g0", "AP"),
        ("1.png", "accept", "g1", "AP"),
    ]


def test_a_label_that_no_film_has_is_not_trained(tmp_path: Path) -> None:
    """Hernia among films without one: absent, and so is a label that every film has."""
    rows = tuple(
        Sample(f"{n}", Path("x"), f"{n}", "", "", (float(n == 0), 0.0, 1.0, math.nan)) for n in range(3)
    )
    targets = np.array([row.targets for row in rows], dtype=np.float32)
    task = Task("t", ("some", "nobody", "everybody", "unknown"))
    few = Samples(task, rows, np.zeros((3, 8, 8), dtype=np.uint8), targets)
    assert few.carried(few.training) == ("some",)
    assert few.only(("some",)).targets.tolist() == [[1], [0], [0]]


def test_pictures_are_decoded_once_and_bad_ones_left_out(tmp_path: Path) -> None:
    """The second time they come from the cache; a broken picture costs its row and nothing else."""
    rows = [
        Sample(f"{n}", picture(tmp_path / f"{n}.png", 50 + n), f"{n}", "", "", (float(n % 2),))
        for n in range(4)
    ]
    rows[2].path.write_bytes(b"no picture")
    listing = Listing(Task("t", ("x",)), tuple(rows))
    first = films.load(listing, 16, tmp_path / "cache")
    assert [row.file for row in first.rows] == ["0", "1", "3"]
    stamp = [(path.name, path.stat().st_mtime_ns) for path in sorted((tmp_path / "cache").iterdir())]
    again = films.load(listing, 16, tmp_path / "cache")
    assert [(path.name, path.stat().st_mtime_ns) for path in sorted((tmp_path / "cache").iterdir())] == stamp
    assert again.greys[:, 0, 0].tolist() == [50, 51, 53]
    assert again.targets[:, 0].tolist() == [0, 1, 1]


def test_no_patient_is_on_two_sides_and_rare_labels_are_on_all() -> None:
    """Folds and a split over many seeds: disjoint by patient, complete, the rare label everywhere."""
    many = invented()
    for seed in range(10):
        parts = films.folds(many, 4, seed)
        patients = [set(many.patients(part)) for part in parts]
        assert sum(map(len, patients)) == 60 == len(set.union(*patients))
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(many)))
        assert all((many.targets[part, 1] == 1).any() for part in parts)
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 6
        learn, check = films.split(many, 0.2, seed)
        assert not set(many.patients(learn)) & set(many.patients(check))
        assert 0.12 < len(check) / len(many) < 0.28


def test_a_split_repeats_itself_from_its_seed() -> None:
    """And another seed deals otherwise."""
    many = invented()
    first, again, other = (films.split(many, 0.3, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_what_a_classifier_sees_is_squashed_spread_and_finite() -> None:
    """The same as the gates' chain but for the interpolation of the percentiles; polarity survives."""
    film = torch.rand(2, 90, 60, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.2
    film[0, 0, 0] = torch.nan
    x = prepared(film, 32)
    assert x.shape == (2, 1, 32, 32)
    assert float(x.min()) == 0.0
    assert float(x.max()) == 1.0
    assert torch.isfinite(x).all()
    clean = film[1:]
    assert (prepared(clean, 32)[:, 0] - as_batch(clean, 32)).abs().max() < 0.05
    levels = (clean * 255).round()
    assert torch.equal(prepared(levels.byte(), 32), prepared(levels / 255, 32))
    assert prepared(torch.full((1, 20, 20), 0.5), 32).max() == 0  # flat: nothing is stretched


@pytest.mark.skipif(not SHARED.exists(), reason="the shared films are not here")
def test_the_real_manifest_has_adults_and_children() -> None:
    """Adults with a label each, and no film of the test split that could be trained with."""
    adults, children = (films.from_manifest(SHARED, task).rows for task in (CHEST, CHILD))
    large = [row for row in adults if row.source in ("nih_talo", "nih_jrzech")]  # the set grows by others
    assert 1200 < len(large) < 1300
    assert sum(row.split == "test" for row in children) == 624
    assert {row.group for row in children if row.split == "test"} == {"squashed", "native"}
    assert {label for row in adults for label, y in zip(CHEST14, row.targets, strict=False) if y == 1} == set(
        CHEST14
    )
