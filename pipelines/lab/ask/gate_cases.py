"""Every way in which films are shown to a gate that it is judged by, and what it must answer.

Black corners and painted borders are what a network likes to learn instead of anatomy, so the stress cases
show each tilt twice: with the corners filled black, and cropped in so far that there is no corner.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage  # type: ignore[import-untyped]

from pipelines.lab.films.data import Row
from pipelines.lab.measure.scores import UNSURE
from pipelines.lab.measure.tables import SLOUCH

Pixels = NDArray[np.float32]  # (H, W) in [0, 1], as displayed

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
