"""The films to train a classifier with: where they are listed, what is known of them, and their pixels.

Three kinds of lists are read: a table in NIH's format beside folders of pictures, folders named after the
classes, and a manifest of films. A label that nobody told is NaN, never 0. Rows with a `split` are set
aside: nothing trains, tunes or chooses a threshold on them.
"""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import pictures
from models.picture_files import PictureError
from models.pictures import NOTHING, Known, is_picture
from pipelines.lab.films.labels import NO_FINDING, Task

ADULT = 10.0  # years from which chest14 takes a film: younger chests look otherwise
READERS = 2  # threads that decode pictures: PIL lets go of the interpreter meanwhile
UNKNOWN = math.nan
IN_TRAINING = ("train", "val", "")  # folders of a published split that may be trained with

Index = NDArray[np.int64]
Greys = NDArray[np.uint8]  # (N, px, px), as displayed
Targets = NDArray[np.float32]  # (N, labels): 1, 0, or NaN where nobody told


class SamplesError(ValueError):
    """Raised when films cannot be trained with; the text says what happened and what to do."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One film and what is known of it."""

    file: str  # as the list names it
    path: Path
    patient: str  # the unit of every split
    group: str  # a stratum for reports: "PA", "AP", "squashed", "native" or ""
    split: str  # "" may be trained with; anything else is set aside under that name
    targets: tuple[float, ...]  # in the order of the task's labels
    age: float = UNKNOWN  # years
    view: str = ""  # "PA", "AP", ...
    source: str = ""
    known: Known = NOTHING  # what a person says of the picture's values


@dataclass(frozen=True, slots=True)
class Listing:
    """The films of a list, and how many of its rows could not be used, by reason."""

    task: Task
    rows: tuple[Sample, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def told(self) -> str:
        """One line for people."""
        patients = len({row.patient for row in self.rows})
        why = "".join(f"; {n:,} left out: {reason}" for reason, n in sorted(self.left_out.items()))
        return f"{len(self.rows):,} films of {patients:,} patients{why}"


@dataclass(frozen=True, slots=True)
class Samples:
    """Films with their pixels and targets, row by row."""

    task: Task
    rows: tuple[Sample, ...]
    greys: Greys
    targets: Targets

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def px(self) -> int:
        """The side of a film in the cache."""
        return int(self.greys.shape[1])

    @property
    def training(self) -> Index:
        """Which films may be trained with."""
        return self.set_aside("")

    def set_aside(self, split: str) -> Index:
        """Which films are set aside under that name."""
        return np.array([n for n, row in enumerate(self.rows) if row.split == split], dtype=np.int64)

    def patients(self, rows: Index) -> list[str]:
        """The patient of each of these films."""
        return [self.rows[n].patient for n in rows]

    def carried(self, rows: Index) -> tuple[str, ...]:
        """The labels of which these films show both kinds; no other can be learned from them."""
        known = self.targets[rows]
        shown = (known == 1).any(axis=0) & (known == 0).any(axis=0)
        return tuple(label for label, both in zip(self.task.labels, shown, strict=True) if both)

    def only(self, labels: Sequence[str]) -> Samples:
        """The same films with fewer labels."""
        columns = [self.task.labels.index(label) for label in labels]
        rows = tuple(replace(row, targets=tuple(row.targets[c] for c in columns)) for row in self.rows)
        return Samples(self.task.only(tuple(labels)), rows, self.greys, self.targets[:, columns])


# --- pixels -------------------------------------------------------------------------------------------


def load(
    listing: Listing, px: int, cache: Path, advance: Callable[[int, int], None] | None = None
) -> Samples:
    """The films of a list with their pixels, decoded once and then mapped from a file in `cache`.

    `told(done, all)` hears how far the decoding is. A picture that cannot be decoded is left out, so the
    films of Samples may be fewer than those of the list.

    Raises:
        SamplesError: there is no film in the list.
    """
    if not listing.rows:
        raise SamplesError(f"no film is left to train with ({listing.told()})")
    names = "".join(f"{row.file}:{row.path.stat().st_size}{row.known.key};" for row in listing.rows)
    digest = hashlib.sha256(f"{pictures.RULES}{names}".encode()).hexdigest()[:12]
    path = cache / f"classifier-{px}-{digest}.npy"
    bad = path.with_suffix(".unread")
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unread = _decode_all(listing.rows, px, path, advance)
        bad.write_text("\n".join(map(str, unread)))
    greys: Greys = np.load(path, mmap_mode="r")
    rows = listing.rows
    if unreadable := {int(n) for n in bad.read_text().split()}:
        keep = [n for n in range(len(rows)) if n not in unreadable]
        rows, greys = tuple(rows[n] for n in keep), greys[keep]
    targets = np.array([row.targets for row in rows], dtype=np.float32)
    return Samples(listing.task, rows, greys, targets)


def decode(path: Path, px: int, known: Known = NOTHING) -> Greys:
    """One picture as a grey square (px, px), squashed: area averaged when made smaller, else interpolated.

    Raises PictureError or OSError.
    """
    grey = Image.fromarray(pictures.read(path, known).eights)
    how = Image.Resampling.BOX if min(grey.size) >= px else Image.Resampling.BILINEAR
    return np.asarray(grey.resize((px, px), how), dtype=np.uint8)


def _decode_all(
    rows: tuple[Sample, ...], px: int, path: Path, told: Callable[[int, int], None] | None
) -> list[int]:
    part = path.with_suffix(".part")
    greys = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(len(rows), px, px))
    unread: list[int] = []

    def read(n: int) -> Greys | None:
        try:
            return decode(rows[n].path, px, rows[n].known)
        except (OSError, PictureError):
            return None

    with ThreadPoolExecutor(READERS) as pool:
        for n, film in enumerate(pool.map(read, range(len(rows)))):
            if film is None:
                unread.append(n)
            else:
                greys[n] = film
            if told:
                told(n + 1, len(rows))
    greys.flush()
    part.replace(path)
    return unread


# --- lists --------------------------------------------------------------------------------------------


def from_nih(table: Path, images: Sequence[Path], task: Task, min_age: float = ADULT) -> Listing:
    """The films of a table like NIH's `Data_Entry_2017.csv`, with the pictures anywhere below `images`.

    A film named in `test_list.txt` beside the table, NIH's own test split, is set aside as "test".

    Raises:
        SamplesError: a column that is needed is not there, or no label is one of the task's.
        OSError: the table cannot be read.
    """
    there = {path.name: path for folder in images for path in _pictures(folder)}
    beside = table.parent / "test_list.txt"
    test = set(beside.read_text().split()) if beside.exists() else set()
    rows: list[Sample] = []
    left_out: Counter[str] = Counter()
    for line in _lines(table, ("Image Index", "Finding Labels", "Patient ID")):
        name, age = line["Image Index"], _years(line.get("Patient Age", ""))
        if age < min_age:
            left_out[f"younger than {min_age:g} years"] += 1
        elif name not in there:
            left_out["no such picture"] += 1
        else:
            view = line.get("View Position", "")
            split = "test" if name in test else ""
            targets = told_labels(line["Finding Labels"], task)
            patient = line["Patient ID"]
            known = Known.of_line(line)
            rows.append(Sample(name, there[name], patient, view, split, targets, age, view, "nih", known))
    if not rows and left_out["no such picture"]:
        raise SamplesError(
            f"none of the pictures of {table} is in {', '.join(map(str, images))}. "
            "Name the folders that hold them."
        )
    return _of_task(_apart(Listing(task, tuple(rows), left_out)), table)


def from_folders(root: Path, task: Task) -> Listing:
    """Films in folders named after the classes, or in train, val and test folders of such folders.

    Films below `test` are set aside. Kermany's PNEUMONIA folder holds two classes, told by the file name.

    Raises:
        SamplesError: no folder is named after one of the task's labels.
    """
    rows: list[Sample] = []
    left_out: Counter[str] = Counter()
    for split in (*IN_TRAINING, "test"):
        for folder in sorted(path for path in (root / split).glob("*") if path.is_dir()):
            if folder.name in (*IN_TRAINING, "test"):
                continue
            for path in _pictures(folder):
                label = _class_of(folder.name, path.stem, task)
                if label is None:
                    left_out[f"{folder.name} is none of {', '.join(task.labels)}"] += 1
                    continue
                targets = tuple(float(label == known) for known in task.labels)
                aside = "test" if split == "test" else ""
                patient = f"{'test ' if aside else ''}{patient_of(path.stem)}"  # numbered anew in test
                name = path.relative_to(root).as_posix()
                rows.append(Sample(name, path, patient, "", aside, targets, source=root.name))
    if not rows:
        raise SamplesError(
            f"{root} has no folder named after {', '.join(task.labels)}. "
            "Put the films of each class in a folder of that name, or name the folder above."
        )
    return Listing(task, tuple(rows), left_out)


def from_manifest(films: Path, task: Task, min_age: float = ADULT) -> Listing:
    """The frontal films of `films/manifest.csv` that answer the task; a row with a `flag` is no clean truth.

    For chest14 those of NIH from `min_age` years on, for pneumonia3 the children's. Rows set aside keep the
    name of their split.

    Raises:
        SamplesError: the manifest lacks a column, or has no film for the task.
        OSError: there is no manifest.
    """
    rows: list[Sample] = []
    left_out: Counter[str] = Counter()
    for line in _lines(films / "manifest.csv", ("file", "site", "group", "labels", "split")):
        if line["site"] != SITES.get(task.name, line["site"]) or line.get("view") not in ("frontal", None):
            continue
        age, path = _years(line.get("age", "")), films / line["file"]
        if line.get("flag"):
            left_out["flagged"] += 1
        elif task.name == "chest14" and not age >= min_age:
            left_out[f"not known to be {min_age:g} years old"] += 1
        elif not path.exists():
            left_out["no such picture"] += 1
        else:
            rows.append(_manifest_row(line, path, task, age))
    return _of_task(_apart(Listing(task, tuple(rows), left_out)), films / "manifest.csv")


SITES = {"chest14": "nih", "pneumonia3": "kermany"}  # whose films of a manifest answer a task
CHILD_LABELS = {"Normal": "Normal", "bacteria": "Bacterial", "virus": "Viral"}


def _manifest_row(line: dict[str, str], path: Path, task: Task, age: float) -> Sample:
    view = line.get("projection", "")
    group = view
    labels = line["labels"]
    if task.name == "pneumonia3":
        group = "squashed" if "squashed" in line.get("note", "") else "native"
        labels = "|".join(CHILD_LABELS.get(word, "") for word in labels.split("|"))
    targets, source = told_labels(labels, task), line.get("source", "")
    known = Known.of_line(line)
    return Sample(line["file"], path, line["group"], group, line["split"], targets, age, view, source, known)


def told_labels(findings: str, task: Task) -> tuple[float, ...]:
    """The targets of findings joined by `|`: 1 what is named, 0 what is not, NaN when nothing is said at all.

    >>> told_labels("Mass|Nodule", Task("t", ("Mass", "Edema")))
    (1.0, 0.0)
    """
    named = {word.strip() for word in findings.split("|")} - {""}
    if not named:
        return (UNKNOWN,) * len(task.labels)
    return tuple(float(label in named) for label in task.labels)


def patient_of(stem: str) -> str:
    """The patient as Kermany's file names tell it; another name is a patient of its own.

    >>> patient_of("person123_bacteria_1"), patient_of("NORMAL2-IM-0001-0001"), patient_of("IM-0001-0002")
    ('person123', 'NORMAL2-IM-0001', 'IM-0001')
    """
    told = re.match(r"(person\d+)_|((?:NORMAL2-)?IM-\d+)-", stem)
    return (told[1] or told[2]) if told else stem


def _class_of(folder: str, stem: str, task: Task) -> str | None:
    """The label that a folder and a file name tell; None when it is none of the task's."""
    words = f"{folder} {stem}".lower() if folder.lower() == "pneumonia" else folder.lower()
    known = {label.lower(): label for label in task.labels}
    if "Bacterial" in task.labels:
        known |= {"bacteria": "Bacterial", "virus": "Viral"}
    if folder.lower() in known:
        return known[folder.lower()]
    return next((label for word, label in known.items() if word in re.split(r"[^a-z]+", words)), None)


def _years(told: str) -> float:
    """An age as NIH ("058Y", "058") or DICOM ("018M") writes it; NaN when it says none."""
    parts = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([YMWD]?)\s*", told.upper())
    if not parts:
        return UNKNOWN
    return float(parts[1]) / {"": 1, "Y": 1, "M": 12, "W": 52.2, "D": 365.25}[parts[2]]


def _lines(table: Path, columns: Iterable[str]) -> Iterator[dict[str, str]]:
    with table.open(newline="", encoding="utf-8-sig") as handle:
        lines = csv.DictReader(handle)
        if missing := [name for name in columns if name not in (lines.fieldnames or ())]:
            raise SamplesError(f"{table} has no column {', '.join(missing)}. Is it a table of this kind?")
        yield from lines


def _pictures(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if is_picture(path))


def _apart(listing: Listing) -> Listing:
    """Without the films that may be trained with of patients of whom others are set aside."""
    aside = {row.patient for row in listing.rows if row.split}
    rows = tuple(row for row in listing.rows if row.split or row.patient not in aside)
    fewer = len(listing.rows) - len(rows)
    why = {"of a patient with films set aside": fewer} if fewer else {}
    return replace(listing, rows=rows, left_out={**listing.left_out, **why})


def _of_task(listing: Listing, table: Path) -> Listing:
    """
    Raises:
        SamplesError: not one film has a label of the task.
    """
    if not any(1.0 in row.targets for row in listing.rows):
        labels = ", ".join(label for label in listing.task.labels if label != NO_FINDING)
        raise SamplesError(f"{table} has no film with one of {labels} ({listing.told()})")
    return listing


# --- patients -----------------------------------------------------------------------------------------


def split(samples: Samples, share: float, seed: int, rows: Index | None = None) -> tuple[Index, Index]:
    """Two sides of the films that may be trained with: the second has about `share` of the patients."""
    first, second = _dealt(samples, (1 - share, share), seed, rows)
    return first, second


def folds(samples: Samples, k: int, seed: int, rows: Index | None = None) -> tuple[Index, ...]:
    """The films that may be trained with in `k` parts, no patient in two of them."""
    return _dealt(samples, (1 / k,) * k, seed, rows)


def _dealt(samples: Samples, shares: tuple[float, ...], seed: int, rows: Index | None) -> tuple[Index, ...]:
    """Patients dealt to sides, those with the rarest label first, each to the side that lacks it most.

    Iterative stratification (Sechidis et al. 2011), by patient: a label is a condition or a group.
    """
    rows = samples.training if rows is None else rows
    groups = sorted({samples.rows[n].group for n in rows})
    of_group = np.array([[samples.rows[n].group == group for group in groups] for n in rows], dtype=float)
    columns = np.hstack(
        [samples.targets[rows] == 1, of_group.reshape(len(rows), -1), np.ones((len(rows), 1))]
    )
    names, patient = np.unique(samples.patients(rows), return_inverse=True)
    counts = np.zeros((len(names), columns.shape[1]))  # films of each patient by label, group, and in all
    np.add.at(counts, patient, columns)
    whole = counts.sum(axis=0)
    rarity = np.where(counts > 0, whole, np.inf)
    rarest = rarity.argmin(axis=1)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(rarity.min(axis=1)[shuffled], kind="stable")]
    lacking = np.outer(shares, whole)  # (sides, columns)
    side = np.zeros(len(names), dtype=np.int64)
    for one in order:
        lack = lacking[:, rarest[one]] / shares, lacking[:, -1] / shares
        side[one] = max(range(len(shares)), key=lambda s: (lack[0][s], lack[1][s]))
        lacking[side[one]] -= counts[one]
    return tuple(rows[side[patient] == s] for s in range(len(shares)))
