"""The films to train with: which rows may be used, their pixels in a cache, and the split by patient.

Rows with a `split` ("accept", "test") never train, tune or calibrate anything; rows with a `flag` are no
clean truth. Both are dropped on reading, so nothing later can use them by mistake.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import pictures
from models.pictures import NOTHING, Known

TERMS = {"open": "open", "nc": "non-commercial or research only", "unclear": "unclear"}
CACHE_PX = 192  # side of a cached film: room to turn and zoom before the 128 px of the networks
# What each round of leave-site-out never sees: a site of chests, and sites of other parts.
ROUNDS: dict[str, tuple[str, ...]] = {
    "nih": ("nih", "cadma_spine", "rsna_boneage", "yolo8_upperlimb"),
    "web": ("web", "ufba425_dental", "oai_knee_clahe", "hbfmid"),
    "kermany": ("kermany", "fracatlas", "mednist_nonxray", "roboflow_scires2022"),
}
# Adults whose heart lies on the right, by the film's own marker: to suspect them is right, and no threshold
# of the mirror gate is set by them. Found among its alarms, by eye.
HEART_ON_THE_RIGHT = frozenset({"nih_jrzech/65ab2adbb861.jpg", "nih_talo/e7a9b837678a.jpg"})


@dataclass(frozen=True, slots=True)
class Row:
    """One film of the manifest that may be trained with."""

    file: str
    source: str
    site: str
    group: str
    view: str  # frontal, lateral, not_chest
    part: str
    terms: str  # open, nc, unclear
    age: str
    note: str
    mask: str  # path of the lung mask, "" when there is none
    sex: str = ""
    projection: str = ""  # PA, AP, "unknown" or ""
    labels: str = ""
    box: str = ""  # "x0 y0 x1 y1" round both lungs in pixels of the picture, "" when there is none
    known: Known = NOTHING  # what the manifest says of the picture's values

    @property
    def child(self) -> bool:
        """Whether the film shows a child under ten."""
        try:
            return float(self.age) < 10
        except ValueError:
            return self.source == "kermany" or "child" in self.age

    @property
    def squashed(self) -> bool:
        """Whether the picture was squashed to a square before it came to us."""
        return "squashed" in self.note


@dataclass(frozen=True, slots=True)
class Films:
    """Films with their pixels, row by row."""

    rows: tuple[Row, ...]
    greys: NDArray[np.uint8]  # (N, CACHE_PX, CACHE_PX), as displayed
    masks: NDArray[np.uint8]  # (N, CACHE_PX, CACHE_PX) 0 or 255; all 0 where there is no mask

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, keep: NDArray[np.bool_]) -> Films:
        """The films for which `keep` (N,) is true."""
        index = np.flatnonzero(keep)
        return Films(tuple(self.rows[i] for i in index), self.greys[index], self.masks[index])

    def plus(self, other: Films) -> Films:
        """These films and then the others."""
        return Films(
            self.rows + other.rows,
            np.concatenate([self.greys, other.greys]),
            np.concatenate([self.masks, other.masks]),
        )


def read_rows(films: Path, split: str = "") -> tuple[Row, ...]:
    """The usable rows of `films/manifest.csv`, in its order. Raises OSError when it is not there.

    With `split` the rows set aside under that name: only bench/accept.py asks for any, and only to count.
    """
    with (films / "manifest.csv").open(newline="") as handle:
        return tuple(
            _row(line) for line in csv.DictReader(handle) if line["split"] == split and not line["flag"]
        )


def left_out(rows: tuple[Row, ...], round_: str) -> NDArray[np.bool_]:
    """Which films (N,) the round never sees: its sites, and a third of the patients with a lateral film.

    All laterals come from one site, so they are left out by patient, with their frontal films.
    """
    laterals = {row.group for row in rows if row.view == "lateral"}
    in_order = sorted(laterals, key=lambda group: hashlib.sha256(group.encode()).hexdigest())
    unseen = set(in_order[list(ROUNDS).index(round_) :: len(ROUNDS)])

    def out(row: Row) -> bool:
        return row.group in unseen or (row.site in ROUNDS[round_] and row.view != "lateral")

    return np.array([out(row) for row in rows], dtype=bool)


def load(films: Path, cache: Path) -> Films:
    """The usable films with their pixels, decoded once and then read from `cache`."""
    rows = read_rows(films)
    names = "".join(row.file + row.known.key for row in rows)
    digest = hashlib.sha256(f"{pictures.RULES}{names}".encode()).hexdigest()[:12]
    path = cache / f"films-{CACHE_PX}-{digest}.npz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        greys = np.stack([decode(films / row.file, row.known) for row in rows])
        masks = np.stack([decode(films / row.mask) if row.mask else np.zeros_like(greys[0]) for row in rows])
        np.savez(path, greys=greys, masks=masks)
    with np.load(path) as stored:
        return Films(rows, stored["greys"], stored["masks"])


def decode(path: Path, known: Known = NOTHING) -> NDArray[np.uint8]:
    """One picture as a grey square (CACHE_PX, CACHE_PX), area averaged and squashed.

    Raises PictureError or OSError.
    """
    grey = Image.fromarray(pictures.read(path, known).eights)
    return np.asarray(grey.resize((CACHE_PX, CACHE_PX), Image.Resampling.BOX), dtype=np.uint8)


def _row(line: dict[str, str]) -> Row:
    return Row(
        file=line["file"],
        source=line["source"],
        site=line["site"],
        group=line["group"],
        view=line["view"],
        part=line["body_part"],
        terms=line["terms"],
        age=line["age"],
        note=line["note"],
        mask=line["lung_mask"],
        sex=line.get("sex") or "",
        projection=line.get("projection") or "",
        labels=line.get("labels") or "",
        box=line.get("lung_box") or "",
        known=Known.of_line(line),
    )


def data_table(rows: Iterable[Row]) -> str:
    """What a gate was trained on: films and patients by source, view and terms."""
    films: Counter[tuple[str, str, str]] = Counter()
    patients: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        key = (row.source, row.view, row.terms)
        films[key] += 1
        patients.setdefault(key, set()).add(row.group)
    lines = "".join(
        f"| {source} | {view} | {TERMS[terms]} | {count} | {len(patients[source, view, terms])} |\n"
        for (source, view, terms), count in sorted(films.items())
    )
    return (
        "## Data\n\nTrained on these films; the source `phantom` is our own synthetic films.\n\n"
        f"| source | view | terms | films | patients |\n|---|---|---|---|---|\n{lines}"
    )
