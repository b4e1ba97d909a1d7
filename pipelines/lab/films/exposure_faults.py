"""Faults of a film's exposure or frame, made from a good film: one list for tests and tables.

Every fault is a function of displayed pixels (H, W) float32 in [0, 1], a source of chance, and a second film
that only the composites look at. Strengths are part of the name, so that a table can say down to where a
fault is found. An exposure is shifted along a sigmoid, which stands for the film's characteristic curve and
the viewer's window: 5 % and 95 % grey are six steps of the logit apart, about one decade of exposure on an
ordinary radiographic film, so a shift by three is an exposure three times too high or too low.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Greys = NDArray[np.float32]  # (H, W) in [0, 1], 0 black, as displayed
Make = Callable[[Greys, Generator, Greys], Greys]

LONG_PX = 512  # a composite is reduced to this, as the decoder does with any film
MIDDLE = 0.2  # cut from each side before shares are taken: air and collimator are honestly black


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to spoil a film."""

    reason: str  # the Reason that the exposure gate must give
    name: str
    make: Make
    barred: bool = True  # False: weaker than what the gate promises to find; only shown in the table
    also: tuple[str, ...] = ()  # reasons that are as right: a film far too dark is clipped as well


# --- blank --------------------------------------------------------------------------------------------------


def blank(shape: tuple[int, int], rng: Generator, noise: float, heel: float = 0.0) -> Greys:
    """An exposure with nobody in it: one grey, a gradient of `heel` grey in any direction, and noise."""
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    along = y * np.sin(angle) + x * np.cos(angle)
    grey = rng.uniform(0.3, 0.7) + heel / 2 * along - heel / 4 * along**2
    return _grey(grey + rng.normal(0, noise, shape))


def collimated_blank(shape: tuple[int, int], rng: Generator) -> Greys:
    """An empty exposure inside shutters, with a lead marker."""
    plate = blank(shape, rng, 0.02, 0.1)
    height, width = shape
    top, left = int(height * rng.uniform(0.05, 0.2)), int(width * rng.uniform(0.05, 0.2))
    plate[height // 4 : height // 4 + height // 20, width // 2 : width // 2 + width // 20] = 1
    plate[:top], plate[-top:], plate[:, :left], plate[:, -left:] = 0, 0, 0, 0
    return plate


# --- contrast and exposure ----------------------------------------------------------------------------------


def washed(film: Greys, rng: Generator, part: float) -> Greys:
    """All greys squeezed into `part` of the range, anywhere in it."""
    return _grey(rng.uniform(0, 1 - part) + part * film)


def narrow_window(film: Greys, times: float) -> Greys:
    """A window so many times too narrow, on the median of the film's middle."""
    centre = np.median(middle(film))
    return _grey(0.5 + times * (film - centre))


def cut_highlights(film: Greys, share: float) -> Greys:
    """A window too low: the brightest `share` of the middle is pure white, the rest fills the range."""
    low, high = np.quantile(middle(film), (0.005, 1 - share))
    return _grey((film - low) / max(high - low, 1e-3))


def cut_shadows(film: Greys, share: float) -> Greys:
    """A window too high: the darkest `share` of the middle is pure black, the rest fills the range."""
    low, high = np.quantile(middle(film), (share, 0.995))
    return _grey((film - low) / max(high - low, 1e-3))


def burnt_out(film: Greys, share: float, level: float) -> Greys:
    """A scan whose brightest `share` ends at `level`, short of white: a photograph of a film too bright."""
    return np.asarray(cut_highlights(film, share) * level, np.float32)


def exposed(film: Greys, steps: float) -> Greys:
    """Exposed more (positive: darker) or less, in steps of the logit."""
    inside = np.clip(film, 0.004, 0.996)
    return _grey(1 / (1 + (1 / inside - 1) * np.exp(steps)))


# --- border -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """How a film lies inside a border."""

    part: float  # its width and height against the picture's
    level: float = 0.0  # grey of the border
    noise: float = 0.0
    off: float = 0.0  # how far off centre, as a part of the room there is
    tilt: float = 0.0  # degrees


def framed(film: Greys, rng: Generator, frame: Frame) -> Greys:
    """The film, made smaller and perhaps tilted, inside a border of the picture's old size."""
    height, width = film.shape
    size = max(8, round(width * frame.part)), max(8, round(height * frame.part))
    small = _picture(film).resize(size, Image.Resampling.BOX)
    mask = Image.new("F", size, 1.0)
    if frame.tilt:
        turn = rng.choice((-1, 1)) * frame.tilt
        small = small.rotate(turn, Image.Resampling.BILINEAR, expand=True)
        mask = mask.rotate(turn, Image.Resampling.BILINEAR, expand=True)
    out = np.full((height, width), frame.level) + rng.normal(0, 1, (height, width)) * frame.noise
    room = height - small.height, width - small.width
    top, left = (round(r / 2 * (1 + rng.choice((-1, 1)) * frame.off)) for r in room)
    share = np.asarray(mask)
    place = (slice(top, top + small.height), slice(left, left + small.width))
    out[place] = out[place] * (1 - share) + np.asarray(small) * share  # both are 0 outside the tilted film
    return _grey(out)


# --- several films ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Join:
    """How two films lie in one picture."""

    stacked: bool = False
    gap: float = 0.0  # of the first film's side
    level: float = 0.0  # grey of the gap, and of what is left beside the smaller film
    scale: float = 1.0  # of the second film against the first
    trim: float = 0.0  # cut from each film's facing side: the films were cropped before they were joined


def joined(first: Greys, second: Greys, join: Join) -> Greys:
    """Both films in one picture: side by side, or the second below the first."""
    if join.stacked:
        turned = Join(gap=join.gap, level=join.level, scale=join.scale, trim=join.trim)
        return np.ascontiguousarray(joined(first.T, second.T, turned).T)
    height = round(first.shape[0] * join.scale)
    second = resized(second, (height, max(8, round(second.shape[1] * height / second.shape[0]))))
    first = first[:, : first.shape[1] - int(join.trim * first.shape[1])]
    second = second[:, int(join.trim * second.shape[1]) :]
    rows, gap = max(len(first), height), round(join.gap * first.shape[1])
    out = np.full((rows, first.shape[1] + gap + second.shape[1]), join.level, np.float32)
    for film, left in ((first, 0), (second, first.shape[1] + gap)):
        top = (rows - len(film)) // 2
        out[top : top + len(film), left : left + film.shape[1]] = film
    shrink = min(1.0, LONG_PX / max(out.shape))
    return resized(out, (round(out.shape[0] * shrink), round(out.shape[1] * shrink)))


# --- the list -----------------------------------------------------------------------------------------------


def _alone(reason: str, name: str, make: Callable[[Greys], Greys], *also: str, barred: bool = True) -> Fault:
    return Fault(reason, name, lambda film, _rng, _other: make(film), barred, also)


def _washed(name: str, part: float, barred: bool = True) -> Fault:
    return Fault("WASHED_OUT", name, lambda film, rng, _other: washed(film, rng, part), barred, ("BLANK",))


def _frame(name: str, barred: bool = True, **how: float) -> Fault:
    frame = Frame(**how)
    return Fault("BORDER", name, lambda film, rng, _other: framed(film, rng, frame), barred)


def _join(name: str, barred: bool = True, **how: float) -> Fault:
    join = Join(**how)  # type: ignore[arg-type]
    return Fault("SEVERAL_FILMS", name, lambda film, _rng, other: joined(film, other, join), barred)


FAULTS: tuple[Fault, ...] = (
    Fault("BLANK", "noise 2 %", lambda a, rng, _: blank(a.shape, rng, 0.02)),
    Fault("BLANK", "noise 10 %", lambda a, rng, _: blank(a.shape, rng, 0.10)),
    Fault("BLANK", "noise over the whole range", lambda a, rng, _: blank(a.shape, rng, 0.25)),
    Fault("BLANK", "gradient of 30 %, noise 2 %", lambda a, rng, _: blank(a.shape, rng, 0.02, 0.3)),
    Fault("BLANK", "shutters and a marker", lambda a, rng, _: collimated_blank(a.shape, rng)),
    _washed("a tenth of the range", 0.10),
    _washed("a seventh of the range", 0.15),
    _washed("a fifth of the range", 0.20),
    _washed("a quarter of the range", 0.25, barred=False),
    _alone("CLIPPED", "window 4 times too narrow", lambda a: narrow_window(a, 4), barred=False),
    _alone("CLIPPED", "window 6 times too narrow", lambda a: narrow_window(a, 6)),
    _alone("CLIPPED", "window 10 times too narrow", lambda a: narrow_window(a, 10)),
    _alone("CLIPPED", "brightest 20 % white", lambda a: cut_highlights(a, 0.20), barred=False),
    _alone("CLIPPED", "brightest 30 % white", lambda a: cut_highlights(a, 0.30)),
    _alone("CLIPPED", "brightest 50 % white", lambda a: cut_highlights(a, 0.50)),
    _alone("CLIPPED", "darkest 20 % black", lambda a: cut_shadows(a, 0.20), barred=False),
    _alone("CLIPPED", "darkest 30 % black", lambda a: cut_shadows(a, 0.30)),
    _alone("CLIPPED", "darkest 50 % black", lambda a: cut_shadows(a, 0.50)),
    _alone("CLIPPED", "brightest 50 % at 0.9", lambda a: burnt_out(a, 0.50, 0.9)),
    _alone("OVEREXPOSED", "exposure 2 steps up", lambda a: exposed(a, 2), "CLIPPED", barred=False),
    _alone("OVEREXPOSED", "exposure 3 steps up", lambda a: exposed(a, 3), "CLIPPED", "WASHED_OUT"),
    _alone("OVEREXPOSED", "exposure 4 steps up", lambda a: exposed(a, 4), "CLIPPED", "WASHED_OUT"),
    _alone("OVEREXPOSED", "gamma 5", lambda a: _grey(a**5), "CLIPPED", "WASHED_OUT", barred=False),
    _alone("OVEREXPOSED", "gamma 8", lambda a: _grey(a**8), "CLIPPED", "WASHED_OUT"),
    _alone("OVEREXPOSED", "level half a window off", lambda a: _grey(a - 0.5), "CLIPPED", "WASHED_OUT"),
    _alone("UNDEREXPOSED", "exposure 2 steps down", lambda a: exposed(a, -2), "CLIPPED", barred=False),
    _alone("UNDEREXPOSED", "exposure 3 steps down", lambda a: exposed(a, -3), "CLIPPED", "WASHED_OUT"),
    _alone("UNDEREXPOSED", "exposure 4 steps down", lambda a: exposed(a, -4), "CLIPPED", "WASHED_OUT"),
    _alone("UNDEREXPOSED", "gamma 1/8", lambda a: _grey(a**0.125), "CLIPPED", "WASHED_OUT"),
    _alone("UNDEREXPOSED", "level half a window off", lambda a: _grey(a + 0.5), "CLIPPED", "WASHED_OUT"),
    _frame("a third, black", part=1 / 3),
    _frame("a half, black", part=1 / 2),
    _frame("a half, white", part=1 / 2, level=1.0),
    _frame("a half, grey", part=1 / 2, level=0.5),
    _frame("a half, black with 2 % noise", part=1 / 2, noise=0.02),
    _frame("a half, grey with 2 % noise", part=1 / 2, level=0.5, noise=0.02),
    _frame("a half, black, in a corner", part=1 / 2, off=1.0),
    _frame("a half, white, off centre", part=1 / 2, level=1.0, off=0.5),
    _frame("a half, black, tilted by 5", part=1 / 2, tilt=5),
    _frame("a half, white, tilted by 12", part=1 / 2, level=1.0, tilt=12),
    _frame("two thirds, black", part=0.67, barred=False),
    _join("side by side, no gap"),
    _join("side by side, black gap of 3 %", gap=0.03),
    _join("side by side, white gap of 3 %", gap=0.03, level=1.0),
    _join("side by side, second at 70 %", gap=0.02, scale=0.7),
    _join("side by side, 8 % trimmed, no gap", trim=0.08),
    _join("stacked, no gap", stacked=True),
    _join("stacked, black gap of 3 %", stacked=True, gap=0.03),
    _join("stacked, white gap of 3 %", stacked=True, gap=0.03, level=1.0),
    _join("stacked, second at 70 %", stacked=True, gap=0.02, scale=0.7),
)


# --- tools --------------------------------------------------------------------------------------------------


def middle(film: Greys) -> Greys:
    """The middle of the film, without the outer fifths."""
    y, x = (int(n * MIDDLE) for n in film.shape)
    return film[y : film.shape[0] - y, x : film.shape[1] - x]


def resized(film: Greys, shape: tuple[int, int]) -> Greys:
    """The film with `shape` (rows, columns): area averaged when it shrinks."""
    if shape == film.shape:
        return film
    shrinks = shape[0] < film.shape[0]
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return _grey(np.asarray(_picture(film).resize((shape[1], shape[0]), how)))


def _picture(film: Greys) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(film, np.float32))


def _grey(values: NDArray[np.floating]) -> Greys:
    return np.asarray(np.clip(values, 0, 1), np.float32)
