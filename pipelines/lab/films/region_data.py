"""What a region is, read from a folder that a person writes: region.yaml, labels.csv and boxes.csv.

    region.yaml   its name, what it is for, how many boxes a film has at most, the terms of each source
    labels.csv    file,label[,patient][,source]   yes, turned, no or exclude; file may be a pattern, "chest/*"
    boxes.csv     file,x0,y0,x1,y1[,which]        in fractions of the film, from its left and upper edge

Files are named by their path in the folder of films, which is never written to. docs/new-gate.md is the walk
through it. Everything that is wrong is told at once, with its line: a person mends it in one go.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from models import plain_files
from models.pictures import is_picture
from pipelines import lined_yaml
from pipelines.lab.films.data import Row, read_rows

Span = tuple[float, float, float, float]  # x0, y0, x1, y1 in fractions of the film

YES, TURNED, NO, EXCLUDE = "yes", "turned", "no", "exclude"  # turned: of the region, but on its side
LABELS = (YES, TURNED, NO, EXCLUDE)
TERMS = ("open", "nc", "unclear")
# Below these a third held out says nothing: no error in 20 patients bounds the error by 14 %.
LEAST_PATIENTS = {YES: 60, NO: 200}
LEAST_BOXES = 80
MOST_OTHERS = 800  # films of one source: chests of one hospital teach no more than that here
TOLD = 20  # problems that are told one by one
NAME = re.compile(r"[a-z][a-z0-9_]{1,30}")


class RegionError(Exception):
    """Raised when a region cannot be used; it names every problem, one a line."""


@dataclass(frozen=True, slots=True)
class Film:
    """One labelled film."""

    name: str  # its path in the folder of films
    row: Row  # `view` is the label, yes, turned or no; `file` is the whole path
    boxes: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Region:
    """A region as its folder describes it, with the films that are there."""

    name: str
    what: str
    most: int  # boxes a film
    test_only: frozenset[str]  # sources that nothing is trained on
    films: tuple[Film, ...]
    excluded: int  # films labelled "exclude"
    aside: int  # films that the collection's own manifest keeps apart (split, flag): never used here
    digest: str  # sha256 of the three files

    @cached_property
    def boxes(self) -> Mapping[str, tuple[Span, ...]]:
        """The boxes of each film that has any, by the file of its row."""
        return {film.row.file: film.boxes for film in self.films if film.boxes}

    @cached_property
    def alike(self) -> frozenset[str]:
        """The sources that have films of the region."""
        return frozenset(film.row.source for film in self.films if film.row.view != NO)

    @property
    def trained(self) -> tuple[Film, ...]:
        """The films that may be trained on."""
        return tuple(film for film in self.films if film.row.source not in self.test_only)


@dataclass(frozen=True, slots=True)
class _Settings:
    name: str
    what: str = ""
    labels: str = "labels.csv"
    boxes: str = "boxes.csv"
    most: int = 1
    test_only: tuple[str, ...] = ()
    terms: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of labels.csv."""

    number: int
    label: str
    patient: str
    source: str


def read(path: Path, films: Path, *, ready: bool = True) -> Region:
    """The region that `path` (region.yaml) describes, on the films in the folder `films`.

    Raises RegionError; where `ready` is false it need not be enough to train with yet.
    """
    settings = _settings(path)
    labels, boxes = path.parent / settings.labels, path.parent / settings.boxes
    problems: list[str] = []
    there, aside = _collection(films)
    lines = dict(_labelled(labels, there, aside, problems))
    spans = _spans(boxes, settings.most, problems)
    for file in sorted(spans.keys() - aside):
        label = lines[file].label if file in lines else ""
        if label not in (YES, TURNED):
            problems.append(f"{boxes.name}: {file} has a box but is {_standing(file, label, there)}")
    region = Region(
        name=settings.name,
        what=settings.what,
        most=settings.most,
        test_only=frozenset(settings.test_only),
        films=tuple(
            Film(file, _row(films, file, there[file], line, settings), spans.get(file, ()))
            for file, line in lines.items()
            if line.label != EXCLUDE
        ),
        excluded=sum(line.label == EXCLUDE for line in lines.values()),
        aside=len(aside),
        digest=hashlib.sha256(b"".join(p.read_bytes() for p in (path, labels, boxes))).hexdigest(),
    )
    if ready:
        problems += [*_termless(region), *too_few(region)]
    if problems:
        more = [f"... and {len(problems) - TOLD} more"] if len(problems) > TOLD else []
        raise RegionError("\n".join(problems[:TOLD] + more))
    return region


def too_few(region: Region) -> Iterator[str]:
    """What is missing for a region that can be trained and tested, a sentence each."""
    for label, least in LEAST_PATIENTS.items():
        patients = {film.row.group for film in region.trained if film.row.view == label}
        if len(patients) < least:
            yield (
                f"{least - len(patients)} more patients with label {label} are needed: "
                f"{len(patients)} of {least} are there to train with"
            )
    drawn = sum(len(film.boxes) for film in region.trained)
    if drawn < LEAST_BOXES:
        yield f"{LEAST_BOXES - drawn} more boxes are needed: {drawn} of {LEAST_BOXES} are drawn"


def stage(region: Region, folder: Path) -> Path:
    """Writes the films to train on as a collection for pipelines.lab.train.gate_train, `folder/manifest.csv`.

    All films of the region, and of the others of each source the first MOST_OTHERS by the patient's digest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken: Counter[str] = Counter()
    rows: list[Row] = []
    for film in sorted(region.trained, key=lambda film: fraction(film.row.group)):
        if film.row.view != NO or taken[film.row.source] < MOST_OTHERS:
            taken[film.row.source] += film.row.view == NO
            rows.append(film.row)
    part = folder / f"manifest.{os.getpid()}"
    with part.open("w", newline="") as handle:
        out = csv.DictWriter(handle, _STAGED, lineterminator="\n")
        out.writeheader()
        out.writerows(_staged(row) for row in rows)
    part.replace(folder / "manifest.csv")  # several runs may share the folder
    return folder


def fraction(patient: str) -> float:
    """Where in [0, 1) a patient lies, the same in every run: folds and samples are cut from it."""
    return int(hashlib.sha256(patient.encode()).hexdigest()[:12], 16) / 16**12


_STAGED = (
    *("file", "source", "site", "group", "split", "view", "body_part", "terms", "age", "sex"),
    *("projection", "labels", "lung_mask", "lung_box", "flag", "note"),
)


def _staged(row: Row) -> dict[str, str]:
    names = {"file": row.file, "source": row.source, "site": row.site, "group": row.group, "view": row.view}
    rest = {"body_part": row.part, "terms": row.terms, "age": row.age, "sex": row.sex, "note": row.note}
    return dict.fromkeys(_STAGED, "") | names | rest


# --- the three files --------------------------------------------------------------------------------------


def _settings(path: Path) -> _Settings:
    try:
        tree = lined_yaml.parse(plain_files.read_text(path)).value
    except OSError as error:
        raise RegionError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # also YamlError, which names the line
        raise RegionError(f"{path}: {error}") from error
    if not isinstance(tree, dict):
        raise RegionError(f"{path}: write keys and values, at least `name: hip`")
    problems = list(_setting_problems(path.name, tree))
    if problems:
        raise RegionError("\n".join(problems))
    given = {**tree, "test_only": tuple(tree.get("test_only") or ()), "terms": dict(tree.get("terms") or {})}
    return _Settings(**given)


def _setting_problems(name: str, tree: dict[str, Any]) -> Iterator[str]:
    known = list(_Settings.__dataclass_fields__)
    for key in tree:
        if key not in known:
            yield f"{name}: unknown key {key!r}{_meant(str(key), known)}"
    if not NAME.fullmatch(str(tree.get("name", ""))):
        yield f"{name}: `name` must be small letters, digits and _, such as `name: hip`"
    if tree.get("most", 1) not in range(1, 9):
        yield f"{name}: `most`, the boxes a film has at most, must be from 1 to 8"
    if not isinstance(tree.get("test_only") or [], list):
        yield f"{name}: `test_only` is a list of sources"
    terms = tree.get("terms") or {}
    if not isinstance(terms, dict):
        yield f"{name}: `terms` gives each source one of {', '.join(TERMS)}"
        return
    for source, word in terms.items():
        if word not in TERMS:
            close = _meant(str(word), TERMS)
            yield f"{name}: terms of {source}: {word!r} is none of {', '.join(TERMS)}{close}"


def _collection(films: Path) -> tuple[dict[str, Row | None], frozenset[str]]:
    """The films that may be used, by their path in `films`, and those that are kept apart.

    A folder with a manifest.csv is a collection (pipelines.lab.films.data); in any other each picture counts.
    """
    if not films.is_dir():
        raise RegionError(f"there is no folder of films at {films}")
    if (films / "manifest.csv").exists():
        rows = {row.file: row for row in read_rows(films)}
        with (films / "manifest.csv").open(newline="") as handle:
            every = {line["file"] for line in csv.DictReader(handle)}
        return dict(rows), frozenset(every - rows.keys())
    pictures_there = (path for path in sorted(films.rglob("*")) if is_picture(path))
    return {path.relative_to(films).as_posix(): None for path in pictures_there}, frozenset()


def _labelled(
    path: Path, there: Mapping[str, Row | None], aside: frozenset[str], problems: list[str]
) -> Iterator[tuple[str, _Line]]:
    """Each film's line: the one that names it, else the last pattern that fits."""
    named: dict[str, _Line] = {}
    patterns: dict[str, _Line] = {}
    for number, cells in _lines(path, ("file", "label"), problems):
        file, label = cells["file"], cells["label"].lower()
        line = _Line(number, label, cells.get("patient", ""), cells.get("source", ""))
        if not label:
            continue  # not labelled yet
        if label not in LABELS:
            problems.append(
                f"{path.name} line {number}: label {cells['label']!r} is none of {', '.join(LABELS)}"
                + _meant(label, LABELS)
            )
        elif "*" in file:
            patterns[file] = line
            if not any(fnmatchcase(film, file) for film in (*there, *aside)):
                problems.append(f"{path.name} line {number}: no film is called {file}")
        elif file in named and named[file].label != label:
            problems.append(
                f"{path.name} line {number}: {file} is {named[file].label} in line {named[file].number}"
            )
        elif file not in there and file not in aside:
            problems.append(f"{path.name} line {number}: there is no film {file}{_meant(file, there)}")
        else:
            named[file] = line
    for film in there:
        fitting = [line for pattern, line in patterns.items() if fnmatchcase(film, pattern)]
        if film in named or fitting:
            yield film, named.get(film) or fitting[-1]


def _spans(path: Path, most: int, problems: list[str]) -> dict[str, tuple[Span, ...]]:
    """The boxes by film."""
    out: dict[str, tuple[Span, ...]] = {}
    for number, cells in _lines(path, ("file", "x0", "y0", "x1", "y1"), problems):
        where, file = f"{path.name} line {number}", cells["file"]
        try:
            x0, y0, x1, y1 = (float(cells[key]) for key in ("x0", "y0", "x1", "y1"))
        except ValueError:
            problems.append(f"{where}: x0, y0, x1, y1 must be numbers")
            continue
        box = (x0, y0, x1, y1)
        if max(box) > 1:
            problems.append(f"{where}: {max(box):g} is more than 1; write fractions of the film, not pixels")
        elif not (0 <= x0 < x1 and 0 <= y0 < y1):
            problems.append(f"{where}: it must be 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1")
        elif box in out.get(file, ()):
            problems.append(f"{where}: the same box is drawn twice on {file}")
        elif len(out.get(file, ())) == most:
            problems.append(f"{where}: {file} has more than {most} boxes, which region.yaml says is the most")
        else:
            out[file] = (*out.get(file, ()), box)
    return out


def _lines(path: Path, needed: tuple[str, ...], problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of a CSV file with their numbers, cells stripped."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:  # spreadsheets write a byte order mark
            reader = csv.DictReader(handle)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                problems.append(f"{path.name}: its first line must name the columns {', '.join(missing)}")
                return
            for cells in reader:
                yield reader.line_num, {key: (value or "").strip() for key, value in cells.items() if key}
    except OSError as error:
        raise RegionError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RegionError(f"{path} is not text in UTF-8") from error


def _row(films: Path, file: str, row: Row | None, line: _Line, settings: _Settings) -> Row:
    """The film's row, its label as the view; what labels.csv says goes before what the collection says."""
    if row is None:
        source = file.partition("/")[0] if "/" in file else films.name
        row = Row(file, source, source, file, "", "", "", "", "", "")
    source = line.source or row.source
    return replace(
        row,
        file=str((films / file).absolute()),
        source=source,
        site=line.source or row.site,
        group=line.patient or row.group,
        view=line.label,
        terms=settings.terms.get(source, row.terms),
    )


def _termless(region: Region) -> Iterator[str]:
    for source in sorted({film.row.source for film in region.trained if film.row.terms not in TERMS}):
        yield f"region.yaml: terms of {source}: none given; one of {', '.join(TERMS)}, or make it test_only"


def _standing(file: str, label: str, there: Mapping[str, Row | None]) -> str:
    if file not in there:
        return f"not in the folder of films{_meant(file, there)}"
    return f"labelled {label}" if label else "not labelled yes"


def _meant(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), n=1)
    return f" (do you mean {close[0]}?)" if close else ""
