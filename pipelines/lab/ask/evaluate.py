"""Shows films to a gate in every way that it is judged by, and keeps what it made of each.

A gate is asked as it ships: one film at a time, from the picture as it is published. Each film is decoded
once and shown in all its cases; the answers go into one table (`measure/scores.py`), from which thresholds,
cards and reports are made without looking at a film again. `report/` counts and draws, nothing here does.

Black corners and painted borders are what a network likes to learn instead of anatomy, so the stress cases
show each tilt twice: with the corners filled black, and cropped in so far that there is no corner.
"""

from __future__ import annotations

import csv
import hashlib
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scipy import ndimage  # type: ignore[import-untyped]

from models.pictures import read_pixels
from pipelines.film import Box
from pipelines.lab.films.data import Row
from pipelines.lab.measure import scores
from pipelines.lab.measure.scores import UNSURE, Score
from pipelines.lab.measure.tables import SLOUCH

Pixels = NDArray[np.float32]  # (H, W) in [0, 1], as displayed
Ask = Callable[[Pixels], tuple[float, str]]  # a gate: its score, and the Reason it would give if bad
Span = tuple[float, float, float, float]  # x0, y0, x1, y1 in fractions of the film's width and height
FindBox = Callable[[Pixels], Span | None]  # a gate that boxes the lungs; None where it found none

CHUNK = 400  # films between two writings of the table: what a stopped run loses at most
STRESSED = 300  # patients a site whose films are tilted; one film of each
TILTS = tuple(range(-45, 46, 5))  # degrees, clockwise
HELD = ("LATERAL", "OTHER_PART", "NOT_A_RADIOGRAPH", "UNKNOWN_ANATOMY", UNSURE)


@dataclass(frozen=True, slots=True)
class Case:
    """One way to show films to a gate, and what it must answer."""

    name: str
    fits: Callable[[Row], bool]
    alter: Callable[[Pixels], Pixels]
    wanted: Callable[[Row], tuple[str, ...]]  # the right answers; () where there is none, only a curve
    most: int = 0  # patients a site, one film each; 0: all films


@dataclass(frozen=True, slots=True)
class BoxScore:
    """The lung box that a gate found in one film, beside the true one."""

    left_out: str
    file: str
    source: str
    site: str
    group: str
    iou: float  # intersection over union of the two boxes; 0 where none was found
    inside: float  # share of the true lung area inside of the found box; nan where the film has no mask
    found: str  # "x0 y0 x1 y1" in fractions of the film, "" where none was found
    true: str


# --- how films are shown ------------------------------------------------------------------------------------


def as_it_is(a: Pixels) -> Pixels:
    """The film as it is published."""
    return a


def negative(a: Pixels) -> Pixels:
    """The film in the other polarity."""
    return 1 - a


def mirrored(a: Pixels) -> Pixels:
    """Left and right exchanged."""
    return a[:, ::-1]


def flipped(a: Pixels) -> Pixels:
    """Top and bottom exchanged: a mirrored film turned by 180 degrees."""
    return a[::-1]


def turned(quarters: int) -> Callable[[Pixels], Pixels]:
    """The film turned clockwise by so many quarters, without resampling."""
    return lambda a: np.rot90(a, -quarters)


def one_after_another(*steps: Callable[[Pixels], Pixels]) -> Callable[[Pixels], Pixels]:
    """The film after all these steps."""

    def alter(a: Pixels) -> Pixels:
        for step in steps:
            a = step(a)
        return a

    return alter


def tilted(a: Pixels, degrees: float, cropped: bool) -> Pixels:
    """The film turned clockwise about its middle, bilinear, its corners black or cropped away.

    Cropping keeps the film's own aspect ratio: the largest such frame that fits into the tilted film.
    """
    picture = Image.fromarray(np.ascontiguousarray(a)).rotate(-degrees, Image.Resampling.BILINEAR)
    out = np.asarray(picture, dtype=np.float32)
    if not cropped:
        return out
    height, width = out.shape
    sine, cosine = abs(np.sin(np.deg2rad(degrees))), abs(np.cos(np.deg2rad(degrees)))
    share = min(width / (width * cosine + height * sine), height / (width * sine + height * cosine))
    rows, columns = int((height - 2) * share), int((width - 2) * share)  # the outermost pixels are half black
    top, left = (height - rows) // 2, (width - columns) // 2
    return out[top : top + rows, left : left + columns]


def white_border(a: Pixels) -> Pixels:
    """The film with its outermost 3 to 12 % painted white, each side for itself, as shutters are drawn.

    How much depends on the film alone, so that a film has the same border in every run.
    """
    rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(a).tobytes()))
    height, width = a.shape
    top, bottom = (rng.uniform(0.03, 0.12, 2) * height).astype(int)
    left, right = (rng.uniform(0.03, 0.12, 2) * width).astype(int)
    out = np.ones_like(a)
    out[top : height - bottom, left : width - right] = a[top : height - bottom, left : width - right]
    return out


def without_markers(a: Pixels) -> Pixels:
    """The film with small bright things near its edges painted out: letters, stickers, crosses.

    Small and bright: a grey opening of 7 % of the long side takes it away by more than a fifth of the
    range. Near: its middle lies in the outer 18 % of the film. What is longer than 14 % is anatomy and
    stays. The holes are filled with the mean of what is round them.
    """
    side = max(a.shape)
    opened = ndimage.grey_opening(a, size=(max(3, side * 7 // 100),) * 2)
    pieces, _ = ndimage.label(ndimage.binary_dilation(a - opened > 0.2))
    ink = np.zeros(a.shape, dtype=bool)
    for number, where in enumerate(ndimage.find_objects(pieces), start=1):
        if _longest(where) <= 0.14 * side and _near_the_edge(where, a.shape):
            ink[where] |= pieces[where] == number
    ink = ndimage.binary_dilation(ink, iterations=2)
    kept = (~ink).astype(np.float32)
    blur = partial(ndimage.uniform_filter, size=side // 10)
    return np.where(ink, blur(a * kept) / np.maximum(blur(kept), np.float32(1e-6)), a).astype(np.float32)


def _longest(where: tuple[slice, ...]) -> int:
    return max(int(axis.stop - axis.start) for axis in where)


def _near_the_edge(where: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    centres = ((axis.start + axis.stop) / 2 / n for axis, n in zip(where, shape, strict=True))
    return any(not 0.18 < centre < 0.82 for centre in centres)


def lettered(letter: str) -> Callable[[Pixels], Pixels]:
    """The film with a white letter at the right of the picture, near the top, 7 % of its height."""

    def alter(a: Pixels) -> Pixels:
        height, width = a.shape
        sheet = Image.new("L", (width, height))
        font = ImageFont.load_default(size=max(8, height * 0.09))
        ImageDraw.Draw(sheet).text((width * 0.92, height * 0.12), letter, fill=255, font=font, anchor="mm")
        ink = np.asarray(sheet, dtype=np.float32) / np.float32(255)
        out: Pixels = a * (1 - ink) + np.float32(0.97) * ink
        return out

    return alter


# --- the cases by gate --------------------------------------------------------------------------------------


def frontal(row: Row) -> bool:
    """Frontal chests, the only films that have an upright, a polarity and a handedness here."""
    return row.view == "frontal"


def _wants(*answers: str) -> Callable[[Row], tuple[str, ...]]:
    return lambda _: answers


def _of_anatomy(row: Row) -> tuple[str, ...]:
    """Any answer but "good" keeps another part from being taken for a chest; which one is for people."""
    return ("good",) if frontal(row) else HELD


def _tilts() -> Iterator[Case]:
    for cropped in (False, True):
        for degrees in TILTS:
            wanted = _wants("good") if abs(degrees) <= SLOUCH else _wants()
            alter = partial(tilted, degrees=degrees, cropped=cropped)
            yield Case(tilt_name(degrees, cropped), frontal, alter, wanted, STRESSED)


def tilt_name(degrees: int, cropped: bool) -> str:
    """The name of a tilt case: "tilt +15 cropped", "tilt -5 black"."""
    return f"tilt {degrees:+d} {'cropped' if cropped else 'black'}"


def _polarities() -> Iterator[Case]:
    for quarters in range(4):
        turn = f", turned {90 * quarters}" if quarters else ""
        yield Case(f"right polarity{turn}", frontal, turned(quarters), _wants("good"))
        alter = one_after_another(negative, turned(quarters))
        yield Case(f"inverted{turn}", frontal, alter, _wants("INVERTED"))
    yield Case("right polarity, white border", frontal, white_border, _wants("good"))
    alter = one_after_another(negative, white_border)
    yield Case("inverted, white border", frontal, alter, _wants("INVERTED"))


def _hands() -> Iterator[Case]:
    # The letter always speaks against the anatomy: R on the patient's left, or L on what is now the right.
    shown = (
        ("as it is", as_it_is, "good"),
        ("markers painted out", without_markers, "good"),
        ("letter on the wrong side", lettered("R"), "good"),
        ("mirrored", mirrored, "MIRROR_SUSPECTED"),
        ("flipped top to bottom", flipped, "MIRROR_SUSPECTED"),
        ("mirrored, markers painted out", one_after_another(mirrored, without_markers), "MIRROR_SUSPECTED"),
        ("mirrored, letter as if not", one_after_another(mirrored, lettered("L")), "MIRROR_SUSPECTED"),
    )
    for name, alter, wanted in shown:
        yield Case(name, frontal, alter, _wants(wanted))


CASES: dict[str, tuple[Case, ...]] = {
    "rotation": (
        Case("upright", frontal, as_it_is, _wants("good")),
        Case("turned 90", frontal, turned(1), _wants("ROTATED_90")),
        Case("turned 180", frontal, turned(2), _wants("ROTATED_180")),
        Case("turned 270", frontal, turned(3), _wants("ROTATED_270")),
        Case("upright, inverted", frontal, negative, _wants("good")),
        Case("upright, mirrored", frontal, mirrored, _wants("good")),
        Case("flipped top to bottom", frontal, flipped, _wants("ROTATED_180")),
        Case("turned 90 and inverted", frontal, one_after_another(negative, turned(1)), _wants("ROTATED_90")),
        *_tilts(),
    ),
    "inversion": tuple(_polarities()),
    "anatomy": (
        Case("as it is", lambda _: True, as_it_is, _of_anatomy),
        Case("turned 90 and inverted", lambda _: True, one_after_another(negative, turned(1)), _of_anatomy),
    ),
    "mirror": tuple(_hands()),
    "lungs": (Case("as it is", frontal, as_it_is, _wants("good", "LUNGS_CUT_OFF", "LUNG_BY_SYMMETRY")),),
}


# --- asking -------------------------------------------------------------------------------------------------


def score_films(
    gate: str,
    ask: Ask,
    films: Path,
    rows: Sequence[Row],
    left_out: str = "",
    cases: Sequence[Case] | None = None,
    out: Path | None = None,
    progress: bool = True,
) -> list[Score]:
    """What `gate` makes of these films in all its cases; each film is decoded once.

    With `out` the table is written there after every CHUNK films and at the end, and what it already holds
    of this gate and round is not asked again: remove it when the weights have changed. Raises OSError for a
    film that cannot be read and ValueError for a table that is none.
    """
    cases = CASES[gate] if cases is None else cases
    done = scores.read(out) if out and out.exists() else []
    known = {(score.file, score.case) for score in done if (score.gate, score.left_out) == (gate, left_out)}
    todo = [
        (row, missing)
        for row, wanted in _cases_of(rows, cases)
        if (missing := [case for case in wanted if (row.file, case.name) not in known])
    ]
    with _bar(progress) as bar:
        task = bar.add_task(f"{gate}, without {left_out}" if left_out else gate, total=len(todo))
        for count, (row, missing) in enumerate(todo, start=1):
            pixels = read_pixels(films / row.file, row.known)
            done.extend(_score(gate, left_out, row, case, ask, pixels) for case in missing)
            bar.advance(task)
            if out and count % CHUNK == 0:
                scores.write(out, done)
    if out and todo:
        scores.write(out, done)
    return done


def box_scores(
    find: FindBox,
    films: Path,
    rows: Sequence[Row],
    left_out: str = "",
    out: Path | None = None,
    progress: bool = True,
) -> list[BoxScore]:
    """The boxes of a gate against the true ones, for all rows that have one; written to `out` as CSV.

    Both boxes are compared in fractions of the film, so a squashed film counts as any other.
    """
    found = []
    with _bar(progress) as bar:
        boxed = [row for row in rows if row.box]
        task = bar.add_task("lung boxes", total=len(boxed))
        for row in boxed:
            found.append(_box_score(find, films, row, left_out))
            bar.advance(task)
    if out:
        write_boxes(out, found)
    return found


def write_boxes(path: Path, boxes: Iterable[BoxScore]) -> None:
    """Writes the boxes as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as handle:
        out = csv.DictWriter(handle, [field.name for field in fields(BoxScore)])
        out.writeheader()
        out.writerows(asdict(box) for box in boxes)


def read_boxes(path: Path) -> list[BoxScore]:
    """Reads such a table. Raises OSError or ValueError."""
    with path.open(newline="") as handle:
        return [
            BoxScore(**{**line, "iou": float(line["iou"]), "inside": float(line["inside"])})  # type: ignore[arg-type]
            for line in csv.DictReader(handle)
        ]


def overlap(a: Span, b: Span) -> float:
    """Intersection over union of two boxes."""
    return Box(*a).iou(Box(*b))


def covered(mask: NDArray[np.bool_], box: Span) -> float:
    """The share of a mask (H, W) that lies inside of a box, by the centres of its pixels."""
    height, width = mask.shape
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    kept = mask[(y >= box[1]) & (y <= box[3])][:, (x >= box[0]) & (x <= box[2])]
    return float(kept.sum() / mask.sum())


def _cases_of(rows: Sequence[Row], cases: Sequence[Case]) -> Iterator[tuple[Row, list[Case]]]:
    """Each film with the cases that it is shown in."""
    some = {case.most: _one_film_each(rows, case.most) for case in cases if case.most}
    for row in rows:
        yield (
            row,
            [case for case in cases if case.fits(row) and (not case.most or row.file in some[case.most])],
        )


def _one_film_each(rows: Sequence[Row], most: int) -> set[str]:
    """One frontal film each of at most so many patients a site, chosen by the digest of their names."""
    first: dict[tuple[str, str], str] = {}
    for row in rows:
        if frontal(row):
            first.setdefault((row.site, row.group), row.file)
    sites: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for (site, group), file in first.items():
        sites[site].append((hashlib.sha256(group.encode()).hexdigest(), file))
    return {file for films in sites.values() for _, file in sorted(films)[:most]}


def _score(gate: str, left_out: str, row: Row, case: Case, ask: Ask, pixels: Pixels) -> Score:
    score, named = ask(np.ascontiguousarray(case.alter(pixels)))
    wanted = "|".join(case.wanted(row))
    return Score(
        gate,
        left_out,
        row.file,
        row.source,
        row.site,
        row.group,
        row.view,
        row.part,
        case.name,
        wanted,
        float(score),
        named,
    )


def _box_score(find: FindBox, films: Path, row: Row, left_out: str) -> BoxScore:
    pixels = read_pixels(films / row.file, row.known)
    height, width = pixels.shape
    x0, y0, x1, y1 = map(float, row.box.split())
    true = (x0 / width, y0 / height, x1 / width, y1 / height)
    found = find(pixels)
    inside = float("nan")
    if row.mask:
        inside = covered(read_pixels(films / row.mask) > 0.5, found) if found else 0.0
    return BoxScore(
        left_out,
        row.file,
        row.source,
        row.site,
        row.group,
        overlap(found, true) if found else 0.0,
        inside,
        _text(found) if found else "",
        _text(true),
    )


def _text(box: Span) -> str:
    return " ".join(f"{value:.4f}" for value in box)


def _bar(progress: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not progress)
